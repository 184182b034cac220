//! From queues to messages.

use bytes::Bytes;

use super::super::frame::{Class, Frame, PONG, UNSUPPORTED};
use super::Mux;

impl Mux {
    /// The next message to send, filled with what may go now; `None` while nothing may.
    pub(crate) fn next_message(&mut self) -> Option<Bytes> {
        let mut message = Vec::new();
        while let Some(frame) = self.next_frame(self.config.plain_bytes_max - message.len()) {
            frame.write(&mut message);
        }
        (!message.is_empty()).then(|| message.into())
    }

    /// The next frame, if it fits into `room` bytes; one behind it that would fit waits its turn.
    fn next_frame(&mut self, room: usize) -> Option<Frame> {
        if let Some(frame) = self.control.front() {
            if frame.bytes() > room {
                return None;
            }
            let frame = self.control.pop_front()?;
            self.answers -= usize::from(matches!(frame.kind, PONG | UNSUPPORTED));
            return Some(frame);
        }
        for class in Class::ALL {
            while let Some(stream) = self.rings[class as usize].pop_front() {
                // Numbers of streams that are gone stay in the ring until their turn comes.
                let Some(state) = self.streams.get_mut(&stream) else { continue };
                let waits = |frame: &Frame| frame.bytes() > room || !self.credit.covers(frame.body.len());
                if state.head(class).is_some_and(waits) {
                    self.rings[class as usize].push_front(stream);
                    return None;
                }
                state.unlist(class);
                let queued_before = state.queued_bytes;
                let Some(frame) = state.pop(class) else { continue };
                self.queued_bytes -= queued_before - state.queued_bytes;
                self.credit.spent(frame.body.len());
                if state.list(class) {
                    self.rings[class as usize].push_back(stream);
                }
                self.close_if_drained(stream);
                return Some(frame);
            }
        }
        None
    }
}
