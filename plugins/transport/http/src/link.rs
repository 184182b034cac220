//! A link over an open WebSocket.
//!
//! Both halves share one WebSocket under a lock that is held for one poll, never across an await. `send` takes its
//! message in the very poll that returns, once everything before it has reached the socket, so that a dropped `send`
//! was never made. What the socket didn't take at once is brought out by whoever comes first: the next `send`, `recv`,
//! or the *caretaker*, a task that begins when there is such a rest and ends with the link. It also says goodbye for
//! halves that were dropped.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context as TaskContext, Poll, Wake, Waker, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use eidetica_kernel::runtime::TaskGuard;
use eidetica_kernel::transport::{Link, LinkReceiver, LinkSender, MESSAGE_BYTES_MAX, check_message};
use eidetica_kernel::{Context, Error, ErrorKind, Result};
use futures_util::future::{Either, select};
use futures_util::task::AtomicWaker;
use futures_util::{Sink, Stream};
use parking_lot::Mutex;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode};
use tokio_tungstenite::tungstenite::{self, Message};

use crate::io::Io;

/// How long the goodbye of a dropped link may take.
const LINGER: Duration = Duration::from_secs(5);

/// Longest header of a WebSocket frame.
const FRAME_HEADER_BYTES_MAX: usize = 14;

/// Makes a link of an upgraded connection; `early` is what was read of it already, `name` is for error messages.
pub(crate) async fn open(
    context: &Context,
    io: Io,
    early: Bytes,
    role: Role,
    name: String,
    read_buffer_bytes: usize,
) -> Link {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX))
        .read_buffer_size(read_buffer_bytes)
        .write_buffer_size(0)
        // One message that the socket didn't take whole, and answers to pings.
        .max_write_buffer_size(2 * (MESSAGE_BYTES_MAX + FRAME_HEADER_BYTES_MAX));
    let socket = WebSocketStream::from_partially_read(io, early.into(), role, Some(config)).await;
    let wakers = Arc::new(WriteWakers::default());
    let shared = Arc::new(Shared {
        core: Mutex::new(Core {
            socket: Some(socket),
            halves: 2,
            closed: Closed::default(),
            send_failure: None,
            failure: None,
            caretaker: None,
            cared_for: false,
        }),
        writable: Waker::from(wakers.clone()),
        wakers,
        context: context.clone(),
        name,
    });
    Link::new(Sender(shared.clone()), Receiver(shared))
}

struct Shared {
    core: Mutex<Core>,
    wakers: Arc<WriteWakers>,
    /// Wakes all of `wakers`.
    writable: Waker,
    context: Context,
    name: String,
}

struct Core {
    /// `None` once the connection is given up.
    socket: Option<WebSocketStream<Io>>,
    /// How many halves are still held.
    halves: u8,
    closed: Closed,
    /// Why nothing can be sent any more. What has come before can still be read.
    send_failure: Option<Failure>,
    /// Why the connection was given up.
    failure: Option<Failure>,
    caretaker: Option<TaskGuard>,
    cared_for: bool,
}

type Failure = (ErrorKind, String);

#[derive(Default)]
struct Closed {
    here: bool,
    there: bool,
}

/// Who waits until the socket takes more. The WebSocket remembers only one of them, therefore it is given this.
#[derive(Default)]
struct WriteWakers {
    sender: AtomicWaker,
    caretaker: AtomicWaker,
    /// Whether the WebSocket holds bytes that the socket hasn't taken. Set before each attempt to write, so that the
    /// caretaker misses no chance.
    unflushed: AtomicBool,
}

impl Wake for WriteWakers {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.sender.wake();
        if self.unflushed.load(Ordering::Acquire) {
            self.caretaker.wake();
        }
    }
}

struct Sender(Arc<Shared>);

#[async_trait]
impl LinkSender for Sender {
    async fn send(&mut self, message: Bytes) -> Result<()> {
        check_message(&message)?;
        let shared = &self.0;
        poll_fn(|task| {
            let mut core = shared.core.lock();
            core.check_open(shared)?;
            if shared.unflushed() {
                ready!(shared.poll_flush_for_sender(&mut core, task))?;
            }
            shared.write(&mut core, Message::Binary(message.clone()))?;
            Poll::Ready(shared.flush_soon(&mut core))
        })
        .await
    }

    async fn close(&mut self) -> Result<()> {
        let shared = &self.0;
        poll_fn(|task| {
            let mut core = shared.core.lock();
            shared.say_goodbye(&mut core, None);
            if let Some((kind, reason)) = core.failure.as_ref().or(core.send_failure.as_ref()) {
                return Poll::Ready(Err(shared.error(*kind, "closing the link to", reason)));
            }
            if shared.unflushed() {
                shared.poll_flush_for_sender(&mut core, task)
            } else {
                Poll::Ready(Ok(()))
            }
        })
        .await
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.release();
    }
}

struct Receiver(Arc<Shared>);

#[async_trait]
impl LinkReceiver for Receiver {
    async fn recv(&mut self) -> Result<Option<Bytes>> {
        let shared = &self.0;
        poll_fn(|task| shared.poll_recv(&mut shared.core.lock(), task)).await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.0.release();
    }
}

impl Core {
    fn check_open(&self, shared: &Shared) -> Result<()> {
        if let Some((kind, reason)) = self.failure.as_ref().or(self.send_failure.as_ref()) {
            return Err(shared.error(*kind, "sending to", reason));
        }
        if self.closed.here && !self.closed.there {
            return Err(shared.error(ErrorKind::Closed, "sending to", "this side has closed"));
        }
        if self.closed.there || self.socket.is_none() {
            return Err(shared.error(ErrorKind::Unreachable, "sending to", "the other side has closed"));
        }
        Ok(())
    }
}

impl Shared {
    fn error(&self, kind: ErrorKind, operation: &'static str, reason: &str) -> Error {
        Error::new(kind, operation, &self.name, reason)
    }

    fn unflushed(&self) -> bool {
        self.wakers.unflushed.load(Ordering::Acquire)
    }

    /// Gives the connection up and remembers why.
    fn give_up(&self, core: &mut Core, error: &tungstenite::Error) -> Error {
        let (kind, reason) = describe(error);
        let told = self.error(kind, "receiving from", &reason);
        core.socket = None;
        core.failure = Some((kind, reason));
        self.wakers.sender.wake();
        told
    }

    /// Gives sending up and remembers why.
    fn give_up_sending(&self, core: &mut Core, error: &tungstenite::Error) -> Error {
        let (kind, reason) = describe(error);
        let told = self.error(kind, "sending to", &reason);
        core.send_failure = Some((kind, reason));
        self.wakers.unflushed.store(false, Ordering::Release);
        self.wakers.sender.wake();
        told
    }

    /// Queues a message whole; some of it may wait for [`Shared::poll_flush`].
    fn write(&self, core: &mut Core, message: Message) -> Result<()> {
        let Some(socket) = &mut core.socket else { return Ok(()) };
        self.wakers.unflushed.store(true, Ordering::Release);
        match Pin::new(socket).start_send(message) {
            Ok(()) => Ok(()),
            Err(tungstenite::Error::ConnectionClosed) => Ok(()),
            Err(error) => Err(self.give_up_sending(core, &error)),
        }
    }

    /// Brings out what is queued; wakes all [`WriteWakers`] when there is a reason to try again.
    fn poll_flush(&self, core: &mut Core) -> Poll<Result<()>> {
        let Some(socket) = core.socket.as_mut().filter(|_| core.send_failure.is_none()) else {
            self.wakers.unflushed.store(false, Ordering::Release);
            return Poll::Ready(Ok(()));
        };
        self.wakers.unflushed.store(true, Ordering::Release);
        let flushed = ready!(Pin::new(socket).poll_flush(&mut TaskContext::from_waker(&self.writable)));
        self.wakers.unflushed.store(false, Ordering::Release);
        Poll::Ready(match flushed {
            Ok(()) | Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed) => Ok(()),
            Err(error) => Err(self.give_up_sending(core, &error)),
        })
    }

    fn poll_flush_for_sender(&self, core: &mut Core, task: &mut TaskContext<'_>) -> Poll<Result<()>> {
        self.wakers.sender.register(task.waker());
        let flushed = ready!(self.poll_flush(core));
        self.wakers.sender.take();
        Poll::Ready(flushed)
    }

    /// Tries to bring out what is queued and leaves the rest to the caretaker.
    fn flush_soon(self: &Arc<Self>, core: &mut Core) -> Result<()> {
        match self.poll_flush(core) {
            Poll::Ready(flushed) => flushed,
            Poll::Pending => {
                self.care(core);
                Ok(())
            }
        }
    }

    /// Tells the other side, once, that nothing follows.
    fn say_goodbye(self: &Arc<Self>, core: &mut Core, frame: Option<CloseFrame>) {
        if core.closed.here || core.closed.there || core.socket.is_none() || core.send_failure.is_some() {
            return;
        }
        core.closed.here = true;
        // A failure is remembered, and there is nobody else to tell.
        if self.write(core, Message::Close(frame)).is_ok() {
            self.flush_soon(core).ok();
        }
    }

    fn poll_recv(
        self: &Arc<Self>,
        core: &mut Core,
        task: &mut TaskContext<'_>,
    ) -> Poll<Result<Option<Bytes>>> {
        if let Some((kind, reason)) = &core.failure {
            return Poll::Ready(Err(self.error(*kind, "receiving from", reason)));
        }
        loop {
            let Some(socket) = core.socket.as_mut().filter(|_| !core.closed.there) else {
                return Poll::Ready(Ok(None));
            };
            match ready!(Pin::new(socket).poll_next(task)) {
                Some(Ok(Message::Binary(message))) => return Poll::Ready(Ok(Some(message))),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Text(_))) => {
                    let error = tungstenite::Error::Utf8("a text message came".to_owned());
                    let frame =
                        CloseFrame { code: CloseCode::Unsupported, reason: "binary messages only".into() };
                    self.say_goodbye(core, Some(frame));
                    return Poll::Ready(Err(self.give_up(core, &error)));
                }
                Some(Ok(Message::Close(_))) => {
                    core.closed.there = true;
                    // The answer is due at once; that it can't be sent doesn't matter any more.
                    self.flush_soon(core).ok();
                }
                Some(Err(error)) => {
                    if matches!(error, tungstenite::Error::Capacity(_)) {
                        let frame = CloseFrame { code: CloseCode::Size, reason: "message too long".into() };
                        self.say_goodbye(core, Some(frame));
                    }
                    return Poll::Ready(Err(self.give_up(core, &error)));
                }
                None => core.closed.there = true,
            }
        }
    }

    /// One half was dropped.
    fn release(self: &Arc<Self>) {
        let mut core = self.core.lock();
        core.halves = core.halves.saturating_sub(1);
        self.say_goodbye(&mut core, None);
        if core.halves == 0 && core.socket.is_some() {
            self.care(&mut core);
            self.wakers.caretaker.wake();
        }
    }

    /// Starts the caretaker unless it has begun.
    fn care(self: &Arc<Self>, core: &mut Core) {
        if core.cared_for {
            return;
        }
        core.cared_for = true;
        let shared = self.clone();
        let guard = self.context.spawner.spawn(
            "http link",
            Box::pin(async move {
                shared.flush_until_released().await;
                let goodbye = std::pin::pin!(shared.finish_goodbye());
                if let Either::Right(_) = select(goodbye, shared.context.clock.sleep(LINGER)).await {
                    tracing::debug!(remote = %shared.name, "gave up saying goodbye");
                }
                let mut core = shared.core.lock();
                core.socket = None;
                let guard = core.caretaker.take();
                drop(core);
                drop(guard);
            }),
        );
        core.caretaker = Some(guard);
    }

    /// Ends once both halves are dropped.
    async fn flush_until_released(self: &Arc<Self>) {
        poll_fn(|task| {
            self.wakers.caretaker.register(task.waker());
            let mut core = self.core.lock();
            if core.halves == 0 {
                return Poll::Ready(());
            }
            if self.unflushed() {
                // A failure is remembered for the halves.
                let _ = self.poll_flush(&mut core);
            }
            Poll::Pending
        })
        .await;
    }

    /// Brings out the last bytes and hangs up.
    async fn finish_goodbye(self: &Arc<Self>) {
        let flushed = poll_fn(|task| {
            self.wakers.caretaker.register(task.waker());
            self.poll_flush(&mut self.core.lock())
        });
        if flushed.await.is_err() {
            return;
        }
        let Some(mut socket) = self.core.lock().socket.take() else { return };
        socket.get_mut().hang_up().await;
    }
}

fn describe(error: &tungstenite::Error) -> (ErrorKind, String) {
    use tungstenite::Error as E;
    match error {
        E::Capacity(_) => {
            (ErrorKind::Protocol, format!("it sent a message of over {MESSAGE_BYTES_MAX} bytes"))
        }
        E::Utf8(_) => (ErrorKind::Protocol, "it sent text, where messages are binary".to_owned()),
        E::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            (ErrorKind::Unreachable, "the connection broke off".to_owned())
        }
        E::Protocol(ProtocolError::SendAfterClosing) | E::ConnectionClosed | E::AlreadyClosed => {
            (ErrorKind::Unreachable, "the other side has closed".to_owned())
        }
        E::Protocol(error) => (ErrorKind::Protocol, error.to_string()),
        E::Io(error) => (ErrorKind::Unreachable, error.to_string()),
        error => (ErrorKind::Unreachable, error.to_string()),
    }
}
