//! One stream: what waits to be sent on it, and the credit of both directions; the credit of the channel.

use std::collections::VecDeque;

use super::super::frame::{Class, Frame};

/// Credit that each direction of each stream starts with, in bytes.
pub(crate) const WINDOW_INITIAL: u32 = 131_072;
/// What a frame costs beyond its body, so that empty ones can't pile up.
pub(crate) const FRAME_COST: usize = 64;
/// The most a stream's window grows to, in bytes.
const WINDOW_MAX: u32 = 4 << 20;
/// Credit is granted once this many bytes are taken: often enough that slow links are never silent for long, and that
/// what the peer has left (the window less this) always covers the longest frame.
const GRANT_BYTES: u32 = 32_768;
/// The most credit of a stream that a peer may grant at once.
const CREDIT_MAX: u32 = 1 << 24;
/// Credit of each direction of a channel, in bytes: what a peer can make this node hold at most.
pub(crate) const CHANNEL_WINDOW: u32 = 16 << 20;
const CHANNEL_GRANT_BYTES: u32 = 1 << 20;

/// What a frame with a body of `body_bytes` takes off the credit.
pub(crate) fn cost(body_bytes: usize) -> u32 {
    u32::try_from(body_bytes + FRAME_COST).unwrap_or(u32::MAX)
}

/// The state of a stream.
pub(crate) struct Stream {
    queues: [VecDeque<Frame>; 3],
    /// Whether it stands in the ring of a class.
    listed: [bool; 3],
    /// Cost of what is queued.
    pub(crate) queued_bytes: usize,
    /// The consumer will push nothing more.
    pub(crate) closing: bool,
    /// `close` was queued.
    pub(crate) closed_here: bool,
    /// The peer's `close` arrived.
    pub(crate) closed_there: bool,
    send_credit: u32,
    receive_credit: u32,
    window: u32,
    /// Cost of what arrived and isn't consumed. With `receive_credit` and `taken` it makes up the window.
    unconsumed: u32,
    /// Consumed and not granted again.
    taken: u32,
    taken_since_growth: u32,
}

impl Stream {
    /// A stream just opened.
    pub(crate) fn new() -> Self {
        Self {
            queues: Default::default(),
            listed: [false; 3],
            queued_bytes: 0,
            closing: false,
            closed_here: false,
            closed_there: false,
            send_credit: WINDOW_INITIAL,
            receive_credit: WINDOW_INITIAL,
            window: WINDOW_INITIAL,
            unconsumed: 0,
            taken: 0,
            taken_since_growth: 0,
        }
    }

    /// Cost of what arrived and isn't consumed.
    pub(crate) fn unconsumed(&self) -> u32 {
        self.unconsumed
    }

    /// Queues a frame. `true` if it must be listed in the ring of its class.
    pub(crate) fn push(&mut self, class: Class, frame: Frame) -> bool {
        self.queued_bytes += cost(frame.body.len()) as usize;
        self.queues[class as usize].push_back(frame);
        self.list(class)
    }

    /// `true` if it has frames of that class and credit for the first, and isn't listed yet; it is from now on.
    pub(crate) fn list(&mut self, class: Class) -> bool {
        let ready = self.is_ready(class) && !self.listed[class as usize];
        self.listed[class as usize] |= ready;
        ready
    }

    /// It was taken off the ring of `class`.
    pub(crate) fn unlist(&mut self, class: Class) {
        self.listed[class as usize] = false;
    }

    fn is_ready(&self, class: Class) -> bool {
        self.head(class).is_some_and(|frame| cost(frame.body.len()) <= self.send_credit)
    }

    /// The next frame of `class`.
    pub(crate) fn head(&self, class: Class) -> Option<&Frame> {
        self.queues[class as usize].front()
    }

    /// Takes the next frame of `class`, if there is credit for it.
    pub(crate) fn pop(&mut self, class: Class) -> Option<Frame> {
        if !self.is_ready(class) {
            return None;
        }
        let frame = self.queues[class as usize].pop_front()?;
        let cost = cost(frame.body.len());
        self.send_credit -= cost;
        self.queued_bytes -= cost as usize;
        Some(frame)
    }

    /// The peer granted more; `false` if that is more than may be granted.
    pub(crate) fn credited(&mut self, bytes: u32) -> bool {
        self.send_credit = self.send_credit.saturating_add(bytes);
        self.send_credit <= CREDIT_MAX
    }

    /// A frame arrived; `false` if the peer had no credit for it.
    pub(crate) fn received(&mut self, body_bytes: usize) -> bool {
        let cost = cost(body_bytes);
        let Some(left) = self.receive_credit.checked_sub(cost) else { return false };
        self.receive_credit = left;
        self.unconsumed += cost;
        true
    }

    /// The consumer is done with a frame: how much that frees, and what to grant for it if it is time to.
    pub(crate) fn consumed(&mut self, body_bytes: usize) -> (u32, Option<u32>) {
        let freed = cost(body_bytes).min(self.unconsumed);
        self.unconsumed -= freed;
        self.taken += freed;
        self.taken_since_growth = self.taken_since_growth.saturating_add(freed);
        if self.closed_there || self.taken < GRANT_BYTES {
            return (freed, None);
        }
        let mut grant = std::mem::take(&mut self.taken);
        if self.taken_since_growth >= self.window {
            let growth = self.window.min(WINDOW_MAX - self.window);
            self.taken_since_growth = 0;
            self.window += growth;
            grant += growth;
        }
        self.receive_credit += grant;
        (freed, Some(grant))
    }
}

/// Credit of one direction of the whole channel, on top of the streams'.
pub(crate) struct ChannelCredit {
    send: u32,
    receive: u32,
    taken: u32,
}

impl ChannelCredit {
    /// A fresh channel's.
    pub(crate) fn new() -> Self {
        Self { send: CHANNEL_WINDOW, receive: CHANNEL_WINDOW, taken: 0 }
    }

    /// Whether a frame may go out.
    pub(crate) fn covers(&self, body_bytes: usize) -> bool {
        cost(body_bytes) <= self.send
    }

    /// A frame went out that [`ChannelCredit::covers`] allowed.
    pub(crate) fn spent(&mut self, body_bytes: usize) {
        self.send = self.send.saturating_sub(cost(body_bytes));
    }

    /// The peer granted more; `false` if that is more than may be granted.
    pub(crate) fn credited(&mut self, bytes: u32) -> bool {
        self.send = self.send.saturating_add(bytes);
        self.send <= CHANNEL_WINDOW
    }

    /// A frame arrived; `false` if the peer had no credit for it.
    pub(crate) fn received(&mut self, body_bytes: usize) -> bool {
        let left = self.receive.checked_sub(cost(body_bytes));
        self.receive = left.unwrap_or(0);
        left.is_some()
    }

    /// So much of what arrived is dealt with: what to grant for it, if it is time to.
    pub(crate) fn freed(&mut self, bytes: u32) -> Option<u32> {
        self.taken += bytes;
        if self.taken < CHANNEL_GRANT_BYTES {
            return None;
        }
        self.receive += self.taken;
        Some(std::mem::take(&mut self.taken))
    }
}
