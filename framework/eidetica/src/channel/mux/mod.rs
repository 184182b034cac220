//! Many streams over one channel, as a machine without I/O: messages and time go in, messages and events come out.

mod receive;
mod send;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use eidetica_kernel::{Error, ErrorKind, PublicKey, Result, SyncError};

use self::stream::{ChannelCredit, Stream, cost};
use super::compress::Compression;
use super::frame::{
    CHANNEL_CREDIT, CLOSE, CREDIT, Class, FLAG_COMPRESSED, Frame, GOODBYE, HEADER_BYTES, KIND_SYNC_MIN, OPEN,
    OPEN_BYTES_MAX, PING, RESET, Reason, UNSUPPORTED,
};
use super::proof::Role;

/// Streams that one side may have open at a time.
pub(crate) const STREAMS_MAX: usize = 4_096;
/// A stream with this many bytes waiting isn't writable.
const STREAM_QUEUED_BYTES_MAX: usize = 131_072;
/// With this many bytes waiting on all streams together none is writable.
const QUEUED_BYTES_HIGH: usize = 16 << 20;
/// What [`Mux::push`] refuses to exceed.
const QUEUED_BYTES_MAX: usize = 32 << 20;
/// Answers that may wait for a peer who asks and doesn't read.
const ANSWERS_MAX: usize = 64;
/// Pings whose answers are waited for.
const PINGS_MAX: usize = 4;

/// What a [`Mux`] must know of its channel; see [`Channel::mux_config`](super::Channel::mux_config).
#[derive(Clone, Copy, Debug)]
pub(crate) struct MuxConfig {
    /// Whom errors name.
    pub(crate) peer: PublicKey,
    /// This end.
    pub(crate) role: Role,
    /// The longest message the peer takes.
    pub(crate) plain_bytes_max: usize,
    /// What was agreed on.
    pub(crate) compression: Option<Compression>,
    /// How often to ping an idle channel; `None` for no pings and no timeouts.
    pub(crate) keepalive: Option<Duration>,
}

/// The streams of one channel.
///
/// Stream 0 is always open. A producer asks [`Mux::is_writable`] before it makes another frame; a consumer calls
/// [`Mux::consumed`] once per frame it is done with. Times are readings of one monotonic clock.
pub(crate) struct Mux {
    config: MuxConfig,
    streams: BTreeMap<u32, Stream>,
    rings: [VecDeque<u32>; 3],
    /// Frames of this layer, which go before all others.
    control: VecDeque<Frame>,
    answers: usize,
    queued_bytes: usize,
    /// The number of the next stream opened here; `None` once the numbers are used up.
    next_own: Option<u32>,
    last_theirs: u32,
    opened_here: usize,
    opened_there: usize,
    credit: ChannelCredit,
    keepalive: Keepalive,
    state: State,
}

struct Keepalive {
    heard: Duration,
    pings_since: u32,
    waiting: VecDeque<(u64, Duration)>,
    next_ping: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// This side said goodbye, or is about to.
    Leaving,
    /// The peer did.
    Left,
}

impl Mux {
    /// A fresh channel's, at `now`.
    pub(crate) fn new(config: MuxConfig, now: Duration) -> Self {
        Self {
            config,
            streams: BTreeMap::from([(0, Stream::new())]),
            rings: Default::default(),
            control: VecDeque::new(),
            answers: 0,
            queued_bytes: 0,
            next_own: Some(if config.role == Role::Initiator { 1 } else { 2 }),
            last_theirs: 0,
            opened_here: 0,
            opened_there: 0,
            credit: ChannelCredit::new(),
            keepalive: Keepalive { heard: now, pings_since: 0, waiting: VecDeque::new(), next_ping: 0 },
            state: State::Open,
        }
    }

    /// The longest body that a frame may have, in bytes.
    pub(crate) fn body_bytes_max(&self) -> usize {
        self.config.plain_bytes_max - HEADER_BYTES
    }

    /// Opens a stream; `body`, at most 1,024 bytes, says what for.
    ///
    /// # Errors
    /// [`ErrorKind::LimitExceeded`] with [`STREAMS_MAX`] open or a longer body; [`ErrorKind::Closed`] at the end.
    pub(crate) fn open(&mut self, body: Bytes) -> Result<u32> {
        self.check_open()?;
        if body.len() > OPEN_BYTES_MAX {
            return Err(self.limit("opening a stream to", "the body of its open frame", OPEN_BYTES_MAX));
        }
        if self.opened_here >= STREAMS_MAX {
            return Err(self.limit("opening a stream to", "the number of open streams", STREAMS_MAX));
        }
        let Some(stream) = self.next_own else {
            return Err(self.error(ErrorKind::Expired, "opening a stream to", "the numbers are used up"));
        };
        self.next_own = stream.checked_add(2);
        self.opened_here += 1;
        self.streams.insert(stream, Stream::new());
        self.control.push_back(Frame { stream, kind: OPEN, flags: 0, body });
        Ok(stream)
    }

    /// Queues a sync message.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] when the stream is closed or gone; [`ErrorKind::LimitExceeded`] for a body over
    /// [`Mux::body_bytes_max`], or when far more is queued than [`Mux::is_writable`] allows; [`ErrorKind::InvalidInput`]
    /// for types below [`KIND_SYNC_MIN`] and flags that weren't agreed on.
    pub(crate) fn push(&mut self, stream: u32, class: Class, kind: u8, flags: u8, body: Bytes) -> Result<()> {
        const SENDING: &str = "sending to";
        self.check_open()?;
        if kind < KIND_SYNC_MIN || !self.allows(flags) {
            let reason = format!("a frame of type {kind} with flags {flags} isn't a sync message");
            return Err(self.error(ErrorKind::InvalidInput, SENDING, reason));
        }
        if body.len() > self.body_bytes_max() {
            return Err(self.limit(SENDING, "a frame's body", self.body_bytes_max()));
        }
        if self.queued_bytes >= QUEUED_BYTES_MAX {
            return Err(self.limit(SENDING, "what waits to be sent", QUEUED_BYTES_MAX));
        }
        let Some(state) = self.streams.get_mut(&stream).filter(|state| !state.closing) else {
            return Err(self.error(ErrorKind::Closed, SENDING, format!("stream {stream} is closed")));
        };
        self.queued_bytes += cost(body.len()) as usize;
        if state.push(class, Frame { stream, kind, flags, body }) {
            self.rings[class as usize].push_back(stream);
        }
        Ok(())
    }

    /// Whether a producer should make another frame for this stream now.
    pub(crate) fn is_writable(&self, stream: u32) -> bool {
        self.queued_bytes < QUEUED_BYTES_HIGH
            && self
                .streams
                .get(&stream)
                .is_some_and(|state| !state.closing && state.queued_bytes < STREAM_QUEUED_BYTES_MAX)
    }

    /// `true` while frames wait on a stream that is closed once they have gone out.
    pub(crate) fn is_draining(&self, stream: u32) -> bool {
        self.streams.get(&stream).is_some_and(|state| state.closing && !state.closed_here)
    }

    /// Bytes that wait to be sent on all streams.
    pub(crate) fn bytes_queued(&self) -> usize {
        self.queued_bytes
    }

    /// Sends nothing more on this stream once what is queued has gone out. Stream 0 can't be closed.
    pub(crate) fn close(&mut self, stream: u32) {
        if stream != 0
            && let Some(state) = self.streams.get_mut(&stream)
        {
            state.closing = true;
            self.close_if_drained(stream);
        }
    }

    /// Ends this stream both ways, at once; what is queued on it is dropped. Stream 0 can't be reset.
    pub(crate) fn reset(&mut self, stream: u32, reason: Reason, text: &str) {
        if stream != 0 && self.drop_stream(stream) {
            self.control.push_back(Frame { stream, kind: RESET, flags: 0, body: reason.body(text) });
        }
    }

    /// The consumer is done with a frame of this stream whose body, as it was sent, had `body_bytes`.
    pub(crate) fn consumed(&mut self, stream: u32, body_bytes: usize) {
        let Some(state) = self.streams.get_mut(&stream) else { return };
        let (freed, grant) = state.consumed(body_bytes);
        if let Some(grant) = grant {
            self.grant(stream, CREDIT, grant);
        }
        self.freed(freed);
    }

    /// What arrived is dealt with, or nobody will deal with it.
    fn freed(&mut self, bytes: u32) {
        if let Some(grant) = self.credit.freed(bytes) {
            self.grant(0, CHANNEL_CREDIT, grant);
        }
    }

    fn grant(&mut self, stream: u32, kind: u8, bytes: u32) {
        let body = Bytes::copy_from_slice(&bytes.to_le_bytes());
        self.control.push_back(Frame { stream, kind, flags: 0, body });
    }

    /// Tells the peer that the type of a frame it sent isn't known here.
    ///
    /// # Errors
    /// [`ErrorKind::Protocol`] when too many answers wait already: the peer asks without reading.
    pub(crate) fn unsupported(&mut self, stream: u32, kind: u8) -> Result<()> {
        self.answer(Frame { stream, kind: UNSUPPORTED, flags: 0, body: Bytes::copy_from_slice(&[kind]) })
    }

    /// Pings the peer now; [`Event::Pong`](super::Event::Pong) follows.
    pub(crate) fn ping(&mut self, now: Duration) {
        if self.state != State::Open {
            return;
        }
        let number = self.keepalive.next_ping;
        self.keepalive.next_ping = number.wrapping_add(1);
        if self.keepalive.waiting.len() >= PINGS_MAX {
            self.keepalive.waiting.pop_front();
            // One that never left is of no use either.
            if let Some(at) = self.control.iter().position(|frame| frame.kind == PING) {
                self.control.remove(at);
            }
        }
        self.keepalive.waiting.push_back((number, now));
        let body = Bytes::copy_from_slice(&number.to_le_bytes());
        self.control.push_back(Frame { stream: 0, kind: PING, flags: 0, body });
    }

    /// Ends the channel: the next message says so and is the last; what is queued is dropped. Whoever wants it sent
    /// waits for [`Mux::bytes_queued`] to be 0.
    pub(crate) fn goodbye(&mut self, reason: Reason, text: &str) {
        if self.state == State::Open {
            self.end(State::Leaving);
            self.control.push_back(Frame { stream: 0, kind: GOODBYE, flags: 0, body: reason.body(text) });
        }
    }

    /// `true` once either side has said goodbye.
    pub(crate) fn is_ended(&self) -> bool {
        self.state != State::Open
    }

    /// Time has passed: pings an idle peer.
    ///
    /// # Errors
    /// [`SyncError::Timeout`] when it has been silent for too long.
    pub(crate) fn on_tick(&mut self, now: Duration) -> Result<()> {
        let Some(deadline) = self.next_deadline().filter(|deadline| *deadline <= now) else { return Ok(()) };
        if deadline < self.dead_at() && now < self.dead_at() {
            self.keepalive.pings_since += 1;
            self.ping(now);
            return Ok(());
        }
        self.end(State::Leaving);
        Err(SyncError::Timeout {
            peer: self.config.peer.to_string(),
            operation: "the connection was idle".into(),
            after: now.saturating_sub(self.keepalive.heard),
        }
        .into())
    }

    /// When [`Mux::on_tick`] must be called next.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let interval = self.config.keepalive.filter(|_| self.state == State::Open)?;
        Some(match self.keepalive.pings_since {
            pings @ 0..2 => self.keepalive.heard + interval * (pings + 1),
            _ => self.dead_at(),
        })
    }

    /// When a peer silent since it was last heard is given up: 60 s at the usual interval of 25 s.
    fn dead_at(&self) -> Duration {
        self.config.keepalive.map_or(Duration::MAX, |interval| self.keepalive.heard + interval * 12 / 5)
    }

    fn allows(&self, flags: u8) -> bool {
        flags == 0 || (flags == FLAG_COMPRESSED && self.config.compression.is_some())
    }

    fn is_own(&self, stream: u32) -> bool {
        (stream % 2 == 1) == (self.config.role == Role::Initiator)
    }

    fn answer(&mut self, frame: Frame) -> Result<()> {
        if self.answers >= ANSWERS_MAX {
            return Err(self.violation("it asks without reading the answers"));
        }
        self.answers += 1;
        self.control.push_back(frame);
        Ok(())
    }

    /// Queues `close` behind the last frame of a stream that is to be closed.
    fn close_if_drained(&mut self, stream: u32) {
        let Some(state) = self.streams.get_mut(&stream) else { return };
        if state.closing && !state.closed_here && state.queued_bytes == 0 {
            state.closed_here = true;
            let both = state.closed_there;
            self.control.push_back(Frame { stream, kind: CLOSE, flags: 0, body: Bytes::new() });
            if both {
                self.drop_stream(stream);
            }
        }
    }

    fn drop_stream(&mut self, stream: u32) -> bool {
        let Some(state) = self.streams.remove(&stream) else { return false };
        self.queued_bytes -= state.queued_bytes;
        self.freed(state.unconsumed());
        match self.is_own(stream) {
            true => self.opened_here -= 1,
            false => self.opened_there -= 1,
        }
        true
    }

    fn end(&mut self, state: State) {
        self.state = state;
        self.streams.clear();
        self.rings = Default::default();
        self.control.clear();
        self.answers = 0;
        self.queued_bytes = 0;
    }

    /// The peer broke the protocol: the channel is over, and the peer is told.
    fn violation(&mut self, reason: impl Into<String>) -> Error {
        let reason = reason.into();
        self.goodbye(Reason::Violation, &reason);
        SyncError::ProtocolMismatch { peer: self.config.peer.to_string(), reason }.into()
    }

    fn check_open(&self) -> Result<()> {
        match self.state {
            State::Open => Ok(()),
            _ => Err(self.error(ErrorKind::Closed, "sending to", "the channel has ended")),
        }
    }

    fn error(&self, kind: ErrorKind, operation: &'static str, reason: impl std::fmt::Display) -> Error {
        Error::new(kind, operation, self.config.peer, reason)
    }

    fn limit(&self, operation: &'static str, what: &str, allowed: usize) -> Error {
        self.error(ErrorKind::LimitExceeded, operation, format!("{what} is over the limit of {allowed}"))
    }
}
