//! A link's two bounded lanes, shared by its four halves.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use async_trait::async_trait;
use bytes::Bytes;
use eidetica_kernel::transport::{Link, LinkReceiver, LinkSender, check_message};
use eidetica_kernel::{Error, ErrorKind, Result};
use parking_lot::Mutex;

use crate::options::MemoryOptions;

/// Both directions of a link. Lane `s` holds what side `s` has sent.
pub(crate) struct Wire {
    state: Mutex<State>,
    messages_max: usize,
    bytes_max: usize,
    name: String,
}

struct State {
    lanes: [Lane; 2],
    end: End,
}

#[derive(Default)]
struct Lane {
    queue: VecDeque<Bytes>,
    bytes: usize,
    sending: Option<Waker>,
    receiving: Option<Waker>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    /// A half of this side was closed or dropped. What is queued can still be read.
    Closed(usize),
    /// What was queued is lost.
    Cut,
}

impl Wire {
    /// A wire to `name`: the end that dialled and the end that is accepted.
    pub(crate) fn pair(name: &str, options: &MemoryOptions) -> (Arc<Self>, Link, Link) {
        let wire = Arc::new(Self {
            state: Mutex::new(State { lanes: [Lane::default(), Lane::default()], end: End::Open }),
            messages_max: options.queue_messages_max.max(1),
            bytes_max: options.queue_bytes_max,
            name: name.to_owned(),
        });
        let link =
            |side| Link::new(Sending { wire: wire.clone(), side }, Receiving { wire: wire.clone(), side });
        let (dialled, accepted) = (link(0), link(1));
        (wire, dialled, accepted)
    }

    /// Breaks the link on both sides; what is under way is lost.
    pub(crate) fn cut(&self) {
        let mut state = self.state.lock();
        for lane in &mut state.lanes {
            lane.queue.clear();
            lane.bytes = 0;
        }
        self.end(&mut state, End::Cut);
    }

    fn close(&self, side: usize) {
        let mut state = self.state.lock();
        if state.end == End::Open {
            self.end(&mut state, End::Closed(side));
        }
    }

    fn end(&self, state: &mut State, end: End) {
        state.end = end;
        for lane in &mut state.lanes {
            wake(&mut lane.sending);
            wake(&mut lane.receiving);
        }
    }

    fn gone(&self, operation: &'static str, reason: &str) -> Error {
        Error::new(ErrorKind::Unreachable, operation, format_args!("memory:{}", self.name), reason)
    }
}

fn wake(waiting: &mut Option<Waker>) {
    if let Some(waker) = waiting.take() {
        waker.wake();
    }
}

struct Sending {
    wire: Arc<Wire>,
    side: usize,
}

#[async_trait]
impl LinkSender for Sending {
    async fn send(&mut self, message: Bytes) -> Result<()> {
        check_message(&message)?;
        let wire = &*self.wire;
        // The message is queued in the poll that returns, so a call that is dropped before hasn't been made.
        poll_fn(|context| {
            let mut state = wire.state.lock();
            match state.end {
                End::Open => {}
                End::Closed(side) if side == self.side => {
                    let error =
                        Error::new(ErrorKind::Closed, "sending to", &wire.name, "this side has closed");
                    return Poll::Ready(Err(error));
                }
                End::Closed(_) => {
                    return Poll::Ready(Err(wire.gone("sending to", "the other side has closed")));
                }
                End::Cut => return Poll::Ready(Err(wire.gone("sending to", "the link was cut"))),
            }
            let lane = &mut state.lanes[self.side];
            let fits = lane.queue.is_empty()
                || (lane.queue.len() < wire.messages_max && lane.bytes + message.len() <= wire.bytes_max);
            if !fits {
                lane.sending = Some(context.waker().clone());
                return Poll::Pending;
            }
            lane.bytes += message.len();
            lane.queue.push_back(message.clone());
            wake(&mut lane.receiving);
            Poll::Ready(Ok(()))
        })
        .await
    }

    async fn close(&mut self) -> Result<()> {
        self.wire.close(self.side);
        if self.wire.state.lock().end == End::Cut {
            return Err(self.wire.gone("closing the link to", "it was cut"));
        }
        Ok(())
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.wire.close(self.side);
    }
}

struct Receiving {
    wire: Arc<Wire>,
    side: usize,
}

#[async_trait]
impl LinkReceiver for Receiving {
    async fn recv(&mut self) -> Result<Option<Bytes>> {
        let wire = &*self.wire;
        poll_fn(|context| {
            let mut state = wire.state.lock();
            let end = state.end;
            let lane = &mut state.lanes[1 - self.side];
            if let Some(message) = lane.queue.pop_front() {
                lane.bytes -= message.len();
                wake(&mut lane.sending);
                return Poll::Ready(Ok(Some(message)));
            }
            match end {
                End::Open => {
                    lane.receiving = Some(context.waker().clone());
                    Poll::Pending
                }
                End::Closed(_) => Poll::Ready(Ok(None)),
                End::Cut => Poll::Ready(Err(wire.gone("receiving from", "the link was cut"))),
            }
        })
        .await
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.wire.close(self.side);
    }
}
