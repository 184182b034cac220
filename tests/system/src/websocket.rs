//! Just enough of WebSocket framing (RFC 6455) to tell messages apart.

use std::ops::Range;

/// Cuts a stream of bytes, an HTTP upgrade first, into frames as they become complete.
#[derive(Debug, Default)]
pub struct Messages {
    bytes: Vec<u8>,
    upgraded: bool,
    next: usize,
}

impl Messages {
    /// Takes in bytes, and gives what they complete: the upgrade's head without a number, then frames, numbered from 0.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<(Option<usize>, Vec<u8>)> {
        self.bytes.extend_from_slice(bytes);
        let mut complete = Vec::new();
        if !self.upgraded {
            let Some(end) = head_end(&self.bytes) else { return complete };
            complete.push((None, self.bytes.drain(..end).collect()));
            self.upgraded = true;
        }
        while let Some(frame) = frame(&self.bytes) {
            complete.push((Some(self.next), self.bytes.drain(..frame.end).collect()));
            self.next += 1;
        }
        complete
    }

    /// What isn't a complete frame yet; it is handed out.
    pub fn rest(&mut self) -> &[u8] {
        self.upgraded = false;
        &self.bytes
    }
}

/// Where each frame's payload lies in a recorded stream, behind the HTTP upgrade.
pub fn payloads(stream: &[u8]) -> Vec<Range<usize>> {
    let mut payloads = Vec::new();
    let Some(mut at) = head_end(stream) else { return payloads };
    while let Some(frame) = frame(&stream[at..]) {
        payloads.push(at + frame.payload.start..at + frame.end);
        at += frame.end;
    }
    payloads
}

/// The payloads of a recorded stream, unmasked.
pub fn contents(stream: &[u8]) -> Vec<Vec<u8>> {
    let mut contents = Vec::new();
    let Some(mut at) = head_end(stream) else { return contents };
    while let Some(frame) = frame(&stream[at..]) {
        let whole = &stream[at..at + frame.end];
        let payload = &whole[frame.payload.start..];
        contents.push(match &frame.mask {
            Some(mask) => payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect(),
            None => payload.to_vec(),
        });
        at += frame.end;
    }
    contents
}

fn head_end(bytes: &[u8]) -> Option<usize> {
    Some(bytes.windows(4).position(|end| end == b"\r\n\r\n")? + 4)
}

struct Frame {
    payload: Range<usize>,
    end: usize,
    mask: Option<[u8; 4]>,
}

/// The frame that `bytes` begin with, if it is complete.
fn frame(bytes: &[u8]) -> Option<Frame> {
    let second = *bytes.get(1)?;
    let (length, mut at) = match second & 0x7f {
        126 => (usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
        127 => (usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?, 10),
        short => (usize::from(short), 2),
    };
    let mut mask = None;
    if second & 0x80 != 0 {
        mask = Some(bytes.get(at..at + 4)?.try_into().ok()?);
        at += 4;
    }
    let end = at.checked_add(length)?;
    (bytes.len() >= end).then_some(Frame { payload: at..end, end, mask })
}
