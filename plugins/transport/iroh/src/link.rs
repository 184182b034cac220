//! A link: the two halves of one QUIC stream.
//!
//! Receiving is done by whoever calls `recv`; what has come of a message is kept between calls. Sending is done by the
//! *writer*, a task that lives as long as the link and takes whole messages from a short queue: a `send` that is dropped
//! while the queue is full was never made, and no message is ever torn. The writer also brings out what is left when
//! the halves are dropped, and then lets go of the connection.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, Bytes, BytesMut};
use eidetica_kernel::runtime::TaskGuard;
use eidetica_kernel::transport::{Link, LinkReceiver, LinkSender, check_message};
use eidetica_kernel::{Context, Error, ErrorKind, Result};
use futures_util::future::{Either, select};
use futures_util::task::AtomicWaker;
use iroh::endpoint::{ReadError, RecvStream, SendStream, WriteError};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use crate::address::address;
use crate::carrier::{Carrier, code};

/// How long a dropped link may take to bring out what was sent over it.
const LINGER: Duration = Duration::from_secs(10);

/// Messages that wait for the writer.
const QUEUE_MESSAGES_MAX: usize = 2;

/// The length in front of each message, in bytes.
const HEADER_BYTES: usize = 2;

/// Least and most that is made room for at a time while a message comes in, in bytes.
const ROOM_BYTES: std::ops::RangeInclusive<usize> = 2_048..=16_384;

/// Makes a link of a stream that both sides have agreed on; `name` is for error messages.
pub(crate) fn open(
    context: &Context,
    carrier: Arc<Carrier>,
    name: String,
    outgoing: SendStream,
    incoming: RecvStream,
) -> Result<Link> {
    let binding = carrier.binding(outgoing.id())?;
    let (remote, remote_key) = (address(&carrier.remote()), carrier.remote_key());
    let (queue, queued) = mpsc::channel(QUEUE_MESSAGES_MAX);
    let shared = Arc::new(Shared {
        state: Mutex::default(),
        stage: watch::Sender::new(Stage::default()),
        receiving: AtomicWaker::new(),
        writer: Mutex::default(),
        name,
        _carrier: carrier,
    });
    let watch = Watch { shared: shared.clone(), ended: false };
    let writer = write(watch, context.clone(), Outgoing { stream: outgoing, ended: false }, queued);
    let guard = context.spawner.spawn("iroh link", Box::pin(writer));
    *shared.writer.lock() = Some(guard);

    let sender = Sender { shared: shared.clone(), queue };
    let receiver = Receiver { shared, incoming, buffer: BytesMut::new(), failed: false };
    let mut link = Link::new(sender, receiver).remote(remote);
    link.remote_key = Some(remote_key);
    link.binding = Some(binding);
    Ok(link)
}

struct Shared {
    state: Mutex<State>,
    stage: watch::Sender<Stage>,
    /// Woken when the link has failed.
    receiving: AtomicWaker,
    /// Kept until the writer has ended.
    writer: Mutex<Option<TaskGuard>>,
    name: String,
    /// The connection lasts while this does.
    _carrier: Arc<Carrier>,
}

#[derive(Default)]
struct State {
    /// This side has closed: a half of it was closed or dropped.
    closed_here: bool,
    /// The other side has closed, or takes nothing any more.
    closed_there: bool,
    /// Why the link broke.
    failure: Option<(ErrorKind, String)>,
}

#[derive(Default)]
struct Stage {
    /// Nothing further is to be sent.
    closing: bool,
    /// The link broke: what is queued is lost.
    failed: bool,
    /// Halves that were dropped.
    dropped: u8,
    /// Everything was handed on, or never will be.
    written: bool,
}

impl Shared {
    fn error(&self, kind: ErrorKind, operation: &'static str, reason: &str) -> Error {
        Error::new(kind, operation, format_args!("iroh:{}", self.name), reason)
    }

    fn failure(&self, operation: &'static str) -> Option<Error> {
        let state = self.state.lock();
        let (kind, reason) = state.failure.as_ref()?;
        Some(self.error(*kind, operation, reason))
    }

    /// Remembers why the link broke; the first reason stays.
    fn fail(&self, kind: ErrorKind, reason: String) {
        self.state.lock().failure.get_or_insert((kind, reason));
        self.stage.send_modify(|stage| (stage.closing, stage.failed) = (true, true));
        self.receiving.wake();
    }

    /// Lets the writer bring out what is queued and end the stream.
    fn close(&self) {
        self.stage.send_modify(|stage| stage.closing = true);
    }

    fn close_here(&self) {
        self.state.lock().closed_here = true;
        self.close();
    }

    fn close_there(&self) {
        self.state.lock().closed_there = true;
        self.close();
    }

    fn release(&self) {
        self.close_here();
        self.stage.send_modify(|stage| stage.dropped += 1);
    }

    /// Why nothing can be sent, where that is so.
    fn check_open(&self) -> Result<()> {
        let operation = "sending to";
        if let Some(failure) = self.failure(operation) {
            return Err(failure);
        }
        let state = self.state.lock();
        let (kind, reason) = match *state {
            State { closed_there: true, .. } => (ErrorKind::Unreachable, "the other side has closed"),
            State { closed_here: true, .. } => (ErrorKind::Closed, "this side has closed"),
            _ => return Ok(()),
        };
        Err(self.error(kind, operation, reason))
    }

    async fn reached(&self, stage: impl Fn(&Stage) -> bool) {
        // Fails once the sender is gone, and that is in `self`.
        let _ = self.stage.subscribe().wait_for(|now| stage(now)).await;
    }
}

struct Sender {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Bytes>,
}

#[async_trait]
impl LinkSender for Sender {
    async fn send(&mut self, message: Bytes) -> Result<()> {
        check_message(&message)?;
        self.shared.check_open()?;
        match self.queue.reserve().await {
            Ok(place) => {
                place.send(message);
                Ok(())
            }
            Err(_) => {
                self.shared.check_open()?;
                Err(self.shared.error(ErrorKind::Unreachable, "sending to", "the connection is gone"))
            }
        }
    }

    async fn close(&mut self) -> Result<()> {
        self.shared.close_here();
        self.shared.reached(|stage| stage.written).await;
        self.shared.failure("closing the link to").map_or(Ok(()), Err)
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.shared.release();
    }
}

/// What the writer task does, until everything has arrived or the link is given up.
async fn write(mut watch: Watch, context: Context, outgoing: Outgoing, queued: mpsc::Receiver<Bytes>) {
    let shared = watch.shared.clone();
    let result = {
        let work = pin!(bring_out(&shared, outgoing, queued));
        let patience = pin!(async {
            shared.reached(|stage| stage.failed || stage.dropped == 2).await;
            if !shared.stage.borrow().failed {
                context.clock.sleep(LINGER).await;
            }
        });
        // Where the link has failed, nothing more is to be brought out: patience goes first.
        match select(patience, work).await {
            Either::Right((result, _)) => result,
            Either::Left(((), _)) => {
                tracing::debug!(remote = %shared.name, "gave up bringing out what was sent");
                Ok(())
            }
        }
    };
    match result {
        Ok(()) => {}
        Err(WriteError::Stopped(_)) => shared.close_there(),
        Err(WriteError::ConnectionLost(error)) => shared.fail(ErrorKind::Unreachable, error.to_string()),
        Err(error) => shared.fail(ErrorKind::Unreachable, error.to_string()),
    }
    watch.ended = true;
    drop(watch);
    let guard = shared.writer.lock().take();
    drop(shared);
    drop(guard);
}

/// Hands messages on as they come, until the link is closing and the queue is empty; ends once they have arrived.
async fn bring_out(
    shared: &Shared,
    mut outgoing: Outgoing,
    mut queued: mpsc::Receiver<Bytes>,
) -> Result<(), WriteError> {
    let mut closing = pin!(shared.reached(|stage| stage.closing));
    let mut stopped = pin!(outgoing.stream.stopped());
    let mut open = true;
    loop {
        let next = tokio::select! {
            biased;
            () = &mut closing, if open => {
                open = false;
                queued.close();
                continue;
            }
            next = queued.recv() => next,
            stopped = &mut stopped => {
                let code = stopped?.unwrap_or(code::DONE);
                return Err(WriteError::Stopped(code));
            }
        };
        let Some(message) = next else { break };
        // `send` has checked it.
        let length = u16::try_from(message.len()).unwrap_or(u16::MAX).to_le_bytes();
        outgoing.stream.write_all_chunks(&mut [Bytes::copy_from_slice(&length), message]).await?;
    }
    outgoing.ended = true;
    // Fails where the stream has ended already.
    outgoing.stream.finish().ok();
    shared.stage.send_modify(|stage| stage.written = true);
    // Not before may the connection go.
    stopped.await?;
    Ok(())
}

/// Resets a stream that was given up, lest its end look like the link's.
struct Outgoing {
    stream: SendStream,
    ended: bool,
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if !self.ended {
            self.stream.reset(code::BROKEN).ok();
        }
    }
}

/// Tells the halves that the writer has ended, be it that it never ran.
struct Watch {
    shared: Arc<Shared>,
    ended: bool,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.ended {
            self.shared.fail(ErrorKind::Unreachable, "the runtime that it ran in has ended".to_owned());
        }
        self.shared.stage.send_modify(|stage| stage.written = true);
    }
}

struct Receiver {
    shared: Arc<Shared>,
    incoming: RecvStream,
    /// What has come and isn't a whole message yet, or is more than one.
    buffer: BytesMut,
    /// The link broke while receiving.
    failed: bool,
}

#[async_trait]
impl LinkReceiver for Receiver {
    async fn recv(&mut self) -> Result<Option<Bytes>> {
        poll_fn(|task| self.poll_recv(task)).await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.release();
    }
}

impl Receiver {
    fn poll_recv(&mut self, task: &mut TaskContext<'_>) -> Poll<Result<Option<Bytes>>> {
        self.shared.receiving.register(task.waker());
        loop {
            if let Some(message) = self.take_message() {
                return Poll::Ready(Ok(Some(message)));
            }
            if self.failed {
                return Poll::Ready(Err(self.failure()));
            }
            let held = self.buffer.len();
            // What is missing; room for it is made as it comes.
            let room = (self.message_bytes() - held).clamp(*ROOM_BYTES.start(), *ROOM_BYTES.end());
            self.buffer.resize(held + room, 0);
            let read = self.incoming.poll_read(task, &mut self.buffer[held..]);
            self.buffer.truncate(held + if let Poll::Ready(Ok(bytes)) = read { bytes } else { 0 });
            let Poll::Ready(read) = read else {
                // All that has come is read; nothing more can come of a link that failed.
                return match self.shared.stage.borrow().failed {
                    true => Poll::Ready(Err(self.failure())),
                    false => Poll::Pending,
                };
            };
            match read {
                Ok(0) if held == 0 => {
                    // The other side has closed; so does this one.
                    self.shared.close_there();
                    return Poll::Ready(Ok(None));
                }
                Ok(0) => {
                    let reason = "it ended the link within a message";
                    return Poll::Ready(Err(self.give_up(ErrorKind::Protocol, reason.to_owned())));
                }
                Ok(_) => {}
                Err(error) => {
                    let reason = match error {
                        ReadError::Reset(_) => "the other side gave the link up".to_owned(),
                        ReadError::ConnectionLost(error) => error.to_string(),
                        error => error.to_string(),
                    };
                    return Poll::Ready(Err(self.give_up(ErrorKind::Unreachable, reason)));
                }
            }
        }
    }

    /// How many bytes the message that comes next takes, its length included, as far as that is known.
    fn message_bytes(&self) -> usize {
        match self.buffer.first_chunk::<HEADER_BYTES>() {
            Some(length) => HEADER_BYTES + usize::from(u16::from_le_bytes(*length)),
            None => HEADER_BYTES,
        }
    }

    fn take_message(&mut self) -> Option<Bytes> {
        let bytes = self.message_bytes();
        if self.buffer.len() < HEADER_BYTES || self.buffer.len() < bytes {
            return None;
        }
        let mut message = self.buffer.split_to(bytes).freeze();
        message.advance(HEADER_BYTES);
        Some(message)
    }

    /// Gives the link up and remembers why.
    fn give_up(&mut self, kind: ErrorKind, reason: String) -> Error {
        self.failed = true;
        self.shared.fail(kind, reason);
        self.incoming.stop(code::BROKEN).ok();
        self.failure()
    }

    fn failure(&self) -> Error {
        let operation = "receiving from";
        let unknown = || self.shared.error(ErrorKind::Unreachable, operation, "the link broke");
        self.shared.failure(operation).unwrap_or_else(unknown)
    }
}
