//! Frames: what a message holds, and what is told to whoever drives a channel.

use std::time::Duration;

use bytes::Bytes;

use super::wire::Reader;

/// Length, stream, type and flags before each body, in bytes.
pub(crate) const HEADER_BYTES: usize = 8;
/// The first of the types that are sync messages; those below are this layer's.
pub(crate) const KIND_SYNC_MIN: u8 = 32;
/// Flag of a body that [`decompress`](super::decompress) reads.
pub(crate) const FLAG_COMPRESSED: u8 = 1;
/// Longest body of an `open`, in bytes.
pub(crate) const OPEN_BYTES_MAX: usize = 1_024;
/// Longest text of a `reset` or `goodbye`, in bytes.
pub(crate) const TEXT_BYTES_MAX: usize = 256;

pub(crate) const OPEN: u8 = 1;
pub(crate) const CREDIT: u8 = 2;
pub(crate) const CLOSE: u8 = 3;
pub(crate) const RESET: u8 = 4;
pub(crate) const PING: u8 = 5;
pub(crate) const PONG: u8 = 6;
pub(crate) const GOODBYE: u8 = 7;
pub(crate) const UNSUPPORTED: u8 = 8;
pub(crate) const CHANNEL_CREDIT: u8 = 9;

/// Which frames go first. The sender's choice, invisible to the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// Requests, answers, acknowledgements.
    Control,
    /// New entries for those who follow a tree.
    Live,
    /// History and payload chunks.
    Bulk,
}

impl Class {
    /// All, first to last.
    pub(crate) const ALL: [Self; 3] = [Self::Control, Self::Live, Self::Bulk];
}

/// Why a stream or a channel ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Reason {
    /// Nothing more to say.
    Done = 0,
    /// The node stops, or the channel is used up: connect again.
    GoingAway = 1,
    /// Try later.
    Busy = 2,
    /// Not allowed.
    Refused = 3,
    /// Over a limit of the sender of this reason.
    TooMuch = 4,
    /// The receiver of this reason broke the protocol.
    Violation = 5,
    /// The sender of this reason failed.
    Failed = 6,
}

impl Reason {
    /// From its number on the wire; unknown ones are failures.
    pub(crate) fn from_u16(code: u16) -> Self {
        [Self::Done, Self::GoingAway, Self::Busy, Self::Refused, Self::TooMuch, Self::Violation]
            .into_iter()
            .find(|reason| *reason as u16 == code)
            .unwrap_or(Self::Failed)
    }

    /// The body of a `reset` or `goodbye`; the text is cut at [`TEXT_BYTES_MAX`].
    pub(crate) fn body(self, text: &str) -> Bytes {
        let text = &text[..text.floor_char_boundary(TEXT_BYTES_MAX)];
        [&(self as u16).to_le_bytes()[..], text.as_bytes()].concat().into()
    }

    /// Reads such a body.
    pub(crate) fn read(body: &[u8]) -> Option<(Self, String)> {
        let mut reader = Reader::new(body);
        let reason = Self::from_u16(reader.u16()?);
        let text = std::str::from_utf8(reader.rest()).ok()?;
        (text.len() <= TEXT_BYTES_MAX).then(|| (reason, text.to_owned()))
    }
}

/// What a message from the peer meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The peer opened a stream.
    Opened {
        /// Its number.
        stream: u32,
        /// What it is for.
        body: Bytes,
    },
    /// A sync message. Once it is dealt with, [`Mux::consumed`](super::Mux::consumed) lets the peer send more.
    Frame {
        /// On which stream.
        stream: u32,
        /// Its type, at least [`KIND_SYNC_MIN`].
        kind: u8,
        /// [`FLAG_COMPRESSED`] or 0.
        flags: u8,
        /// As it was sent, compressed if the flag says so.
        body: Bytes,
    },
    /// The peer sends nothing more on this stream.
    Closed {
        /// Its number.
        stream: u32,
    },
    /// The peer ended this stream, both ways.
    Reset {
        /// Its number.
        stream: u32,
        /// Why.
        reason: Reason,
        /// For logs.
        text: String,
    },
    /// The peer doesn't know this type of frame.
    Unsupported {
        /// On which stream it was sent.
        stream: u32,
        /// Its type.
        kind: u8,
    },
    /// A ping was answered.
    Pong {
        /// Time since it was queued.
        rtt: Duration,
    },
    /// The peer ends the channel.
    Goodbye {
        /// Why.
        reason: Reason,
        /// For logs.
        text: String,
    },
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) stream: u32,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) body: Bytes,
}

impl Frame {
    /// Its bytes in a message.
    pub(crate) fn bytes(&self) -> usize {
        HEADER_BYTES + self.body.len()
    }

    /// Appends it to a message; its body has at most 65,511 bytes.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        debug_assert!(self.body.len() <= usize::from(u16::MAX), "push() bounds bodies");
        out.reserve(self.bytes());
        out.extend_from_slice(&(self.body.len() as u16).to_le_bytes());
        out.extend_from_slice(&self.stream.to_le_bytes());
        out.extend_from_slice(&[self.kind, self.flags]);
        out.extend_from_slice(&self.body);
    }

    /// Cuts the first frame off `message`; `None` if it isn't whole.
    pub(crate) fn split_off(message: &mut Bytes) -> Option<Self> {
        let mut reader = Reader::new(message);
        let length = usize::from(reader.u16()?);
        let (stream, kind, flags) = (reader.u32()?, reader.u8()?, reader.u8()?);
        reader.take(length)?;
        let mut frame = message.split_to(HEADER_BYTES + length);
        let body = frame.split_off(HEADER_BYTES);
        Some(Self { stream, kind, flags, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_share_a_message_and_read_back() {
        let frames = [
            Frame { stream: 1, kind: 32, flags: 0, body: Bytes::from_static(b"one") },
            Frame { stream: 0, kind: 255, flags: 1, body: Bytes::new() },
        ];
        let mut message = Vec::new();
        frames.iter().for_each(|frame| frame.write(&mut message));
        assert_eq!(message[..HEADER_BYTES], [3, 0, 1, 0, 0, 0, 32, 0]);
        let mut message = Bytes::from(message);
        for frame in &frames {
            assert_eq!(Frame::split_off(&mut message).as_ref(), Some(frame));
        }
        assert!(message.is_empty());
    }

    #[test]
    fn a_frame_that_reaches_beyond_its_message_is_none() {
        let mut message = Vec::new();
        Frame { stream: 1, kind: 32, flags: 0, body: Bytes::from_static(b"one") }.write(&mut message);
        for end in 0..message.len() {
            assert_eq!(Frame::split_off(&mut Bytes::copy_from_slice(&message[..end])), None);
        }
    }

    #[test]
    fn reasons_read_back_and_long_texts_are_cut_between_characters() {
        let (reason, text) = Reason::read(&Reason::Busy.body(&"ä".repeat(300))).unwrap();
        assert_eq!((reason, text), (Reason::Busy, "ä".repeat(128)));
        assert_eq!(Reason::read(&[9, 9]), Some((Reason::Failed, String::new())));
        assert_eq!(Reason::read(&[0]), None);
        assert_eq!(Reason::read(&[0, 0, 0xff]), None);
    }
}
