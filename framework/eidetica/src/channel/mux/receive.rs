//! From messages to events.

use std::time::Duration;

use bytes::Bytes;
use eidetica_kernel::Result;

use super::super::frame::{
    CHANNEL_CREDIT, CLOSE, CREDIT, Class, Event, Frame, GOODBYE, KIND_SYNC_MIN, OPEN, OPEN_BYTES_MAX, PING,
    PONG, RESET, Reason, UNSUPPORTED,
};
use super::super::wire::Reader;
use super::stream::{Stream, cost};
use super::{Mux, STREAMS_MAX, State};

impl Mux {
    /// Takes in a message that arrived at `now`.
    ///
    /// # Errors
    /// [`eidetica_kernel::SyncError::ProtocolMismatch`] when the peer broke the protocol: the channel is over, and
    /// [`Mux::next_message`] yields one last message that says so.
    pub(crate) fn on_message(&mut self, message: Bytes, now: Duration) -> Result<Vec<Event>> {
        match self.state {
            State::Open => {}
            State::Leaving => return Ok(Vec::new()),
            State::Left => return Err(self.violation("it spoke after its goodbye")),
        }
        self.keepalive.heard = now;
        self.keepalive.pings_since = 0;
        if message.is_empty() {
            return Err(self.violation("it sent an empty message"));
        }
        let (mut rest, mut events) = (message.clone(), Vec::new());
        while !rest.is_empty() {
            if self.state != State::Open {
                return Err(self.violation("it spoke after its goodbye"));
            }
            let Some(mut frame) = Frame::split_off(&mut rest) else {
                return Err(self.violation("a frame reaches beyond its message"));
            };
            // A slice keeps the whole message in memory, for which a small body hasn't paid.
            if frame.body.len() < message.len() / 2 {
                frame.body = Bytes::copy_from_slice(&frame.body);
            }
            if let Some(event) = self.on_frame(frame, now)? {
                events.push(event);
            }
        }
        Ok(events)
    }

    fn on_frame(&mut self, frame: Frame, now: Duration) -> Result<Option<Event>> {
        let Frame { stream, kind, flags, ref body } = frame;
        if kind != OPEN && !self.was_opened(stream) {
            return Err(self.violation(format!("stream {stream} was never opened")));
        }
        if (OPEN..=CHANNEL_CREDIT).contains(&kind) && flags != 0 {
            return Err(self.malformed(kind));
        }
        let whole_channel = matches!(kind, PING | PONG | GOODBYE | CHANNEL_CREDIT);
        if (whole_channel && stream != 0) || (matches!(kind, OPEN | CLOSE | RESET) && stream == 0) {
            return Err(self.malformed(kind));
        }
        match kind {
            0 => Err(self.malformed(kind)),
            OPEN => self.on_open(stream, body.clone()).map(Some),
            CREDIT | CHANNEL_CREDIT => self.on_credit(stream, kind, body).map(|()| None),
            CLOSE => self.on_close(stream, body),
            RESET => {
                let Some((reason, text)) = Reason::read(body) else { return Err(self.malformed(kind)) };
                Ok(self.drop_stream(stream).then_some(Event::Reset { stream, reason, text }))
            }
            PING if body.len() == 8 => self.answer(Frame { kind: PONG, ..frame }).map(|()| None),
            PONG => {
                let mut reader = Reader::new(body);
                let Some(number) = reader.u64().and_then(|number| reader.end(number)) else {
                    return Err(self.malformed(kind));
                };
                Ok(self.on_pong(number, now))
            }
            GOODBYE => {
                let Some((reason, text)) = Reason::read(body) else { return Err(self.malformed(kind)) };
                self.end(State::Left);
                Ok(Some(Event::Goodbye { reason, text }))
            }
            UNSUPPORTED => match body[..] {
                [kind] => Ok(Some(Event::Unsupported { stream, kind })),
                _ => Err(self.malformed(kind)),
            },
            PING => Err(self.malformed(kind)),
            KIND_SYNC_MIN.. => self.on_sync(frame),
            _ => self.unsupported(stream, kind).map(|()| None),
        }
    }

    fn on_open(&mut self, stream: u32, body: Bytes) -> Result<Event> {
        if self.is_own(stream) || stream <= self.last_theirs || body.len() > OPEN_BYTES_MAX {
            return Err(self.malformed(OPEN));
        }
        if self.opened_there >= STREAMS_MAX {
            return Err(self.violation("it opened too many streams"));
        }
        self.last_theirs = stream;
        self.opened_there += 1;
        self.streams.insert(stream, Stream::new());
        Ok(Event::Opened { stream, body })
    }

    fn on_credit(&mut self, stream: u32, kind: u8, body: &Bytes) -> Result<()> {
        let mut reader = Reader::new(body);
        let Some(bytes) = reader.u32().and_then(|bytes| reader.end(bytes)) else {
            return Err(self.malformed(kind));
        };
        if kind == CHANNEL_CREDIT {
            // Streams that waited for this stayed in their rings.
            return match self.credit.credited(bytes) {
                true => Ok(()),
                false => Err(self.violation("it granted more credit than may be held")),
            };
        }
        let Some(state) = self.streams.get_mut(&stream) else { return Ok(()) };
        if !state.credited(bytes) {
            return Err(self.violation("it granted more credit than may be held"));
        }
        for class in Class::ALL {
            if state.list(class) {
                self.rings[class as usize].push_back(stream);
            }
        }
        Ok(())
    }

    fn on_close(&mut self, stream: u32, body: &Bytes) -> Result<Option<Event>> {
        let Some(state) = self.streams.get_mut(&stream) else { return Ok(None) };
        if state.closed_there || !body.is_empty() {
            return Err(self.malformed(CLOSE));
        }
        state.closed_there = true;
        if state.closed_here {
            self.drop_stream(stream);
        }
        Ok(Some(Event::Closed { stream }))
    }

    fn on_pong(&mut self, number: u64, now: Duration) -> Option<Event> {
        let waiting = &mut self.keepalive.waiting;
        let at = waiting.iter().position(|(waiting, _)| *waiting == number)?;
        let sent = waiting.drain(..=at).next_back()?.1;
        Some(Event::Pong { rtt: now.saturating_sub(sent) })
    }

    fn on_sync(&mut self, frame: Frame) -> Result<Option<Event>> {
        let Frame { stream, kind, flags, body } = frame;
        if !self.credit.received(body.len()) {
            return Err(self.violation("it sent without credit"));
        }
        let Some(state) = self.streams.get_mut(&stream) else {
            self.freed(cost(body.len()));
            return Ok(None);
        };
        if state.closed_there {
            return Err(self.violation(format!("it sent on stream {stream} after closing it")));
        }
        if !state.received(body.len()) {
            return Err(self.violation(format!("it sent on stream {stream} without credit")));
        }
        if self.allows(flags) {
            return Ok(Some(Event::Frame { stream, kind, flags, body }));
        }
        if self.allows_unknown(flags) {
            self.consumed(stream, body.len());
            self.unsupported(stream, kind)?;
            return Ok(None);
        }
        Err(self.violation("it compressed a frame, which was not agreed on"))
    }

    /// Flags of the future are declined; compression that wasn't agreed on is a fault.
    fn allows_unknown(&self, flags: u8) -> bool {
        self.allows(flags & super::FLAG_COMPRESSED)
    }

    fn was_opened(&self, stream: u32) -> bool {
        match self.is_own(stream) {
            _ if stream == 0 => true,
            true => self.next_own.is_none_or(|next| stream < next),
            false => stream <= self.last_theirs,
        }
    }

    fn malformed(&mut self, kind: u8) -> eidetica_kernel::Error {
        self.violation(format!("a frame of type {kind} is malformed"))
    }
}
