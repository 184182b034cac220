//! Two machines and a pipe between them.

mod credit;
mod hostile;
mod keepalive;
mod order;
mod streams;

use std::time::Duration;

use bytes::Bytes;
use eidetica_kernel::{Error, SecretKey, SyncError};

use super::super::compress::Compression;
use super::super::frame::{Event, Frame};
use super::super::{Class, Role};
use super::{Mux, MuxConfig};

const NOW: Duration = Duration::from_secs(1_000);
const KEEPALIVE: Duration = Duration::from_secs(25);
/// Some type of sync message.
const KIND: u8 = 40;

fn config(role: Role) -> MuxConfig {
    MuxConfig {
        peer: SecretKey::from_bytes([role as u8; 32]).public_key(),
        role,
        plain_bytes_max: 65_519,
        compression: Some(Compression::Lz4),
        keepalive: Some(KEEPALIVE),
    }
}

/// The machines of an initiator and a responder.
fn machines() -> (Mux, Mux) {
    (Mux::new(config(Role::Initiator), NOW), Mux::new(config(Role::Responder), NOW))
}

/// Moves everything that `from` may send over to `to`.
fn deliver(from: &mut Mux, to: &mut Mux) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some(message) = from.next_message() {
        events.extend(to.on_message(message, NOW).expect("machines keep to the protocol"));
    }
    events
}

/// The frames of every message that `mux` may send.
fn drain(mux: &mut Mux) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some(mut message) = mux.next_message() {
        while !message.is_empty() {
            frames.push(Frame::split_off(&mut message).expect("messages hold whole frames"));
        }
    }
    frames
}

/// A message of one frame.
fn message(stream: u32, kind: u8, flags: u8, body: &[u8]) -> Bytes {
    let mut message = Vec::new();
    Frame { stream, kind, flags, body: Bytes::copy_from_slice(body) }.write(&mut message);
    message.into()
}

fn push(mux: &mut Mux, stream: u32, class: Class, body: impl Into<Bytes>) {
    mux.push(stream, class, KIND, 0, body.into()).expect("the stream is open");
}

/// Checks that `mux` gives up on `message`, and says so to its peer.
fn refuses(mux: &mut Mux, message: Bytes) -> Error {
    let error = mux.on_message(message, NOW).expect_err("the message breaks the protocol");
    assert!(matches!(error.sync_error(), Some(SyncError::ProtocolMismatch { .. })), "{error}");
    assert!(mux.is_ended());
    let last = drain(mux);
    assert_eq!(last.len(), 1);
    assert_eq!((last[0].kind, last[0].stream, &last[0].body[..2]), (7, 0, &[5, 0][..]));
    error
}
