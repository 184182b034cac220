//! A link: a task that writes what is queued, and two halves.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use eidetica_kernel::runtime::TaskGuard;
use eidetica_kernel::transport::{Link, LinkReceiver, LinkSender, MESSAGE_BYTES_MAX, check_message};
use eidetica_kernel::{Context, Error, ErrorKind, Result};
use futures_util::StreamExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};
use tokio_util::codec::{Encoder as _, FramedRead, LengthDelimitedCodec};

use crate::options::UnixOptions;

/// Two bytes of length: what they can say is what a message may have.
fn codec() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().length_field_type::<u16>().max_frame_length(MESSAGE_BYTES_MAX).new_codec()
}

/// How far a link is. Both halves and the task hold it.
struct State {
    /// One of the halves has gone, or the sender was closed: what is queued is written, nothing more.
    ending: watch::Sender<bool>,
    /// The task has written its last.
    ended: watch::Sender<bool>,
    /// The task's; it outlives the halves until what was sent is written.
    task: Mutex<Option<TaskGuard>>,
}

pub(crate) fn open(stream: UnixStream, context: &Context, options: &UnixOptions) -> Link {
    let (incoming, outgoing) = stream.into_split();
    let (messages, queue) = mpsc::channel(options.queue_messages_max);
    let state = Arc::new(State {
        ending: watch::Sender::new(false),
        ended: watch::Sender::new(false),
        task: Mutex::default(),
    });
    let linger = Duration::from_millis(options.linger_ms);
    let writing = write(outgoing, queue, state.clone(), context.clone(), linger);
    let task = context.spawner.spawn("unix link", Box::pin(writing));
    *state.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
    Link::new(
        Sender { messages, state: state.clone() },
        Receiver { frames: FramedRead::new(incoming, codec()), failed: None, state },
    )
}

/// Writes what is queued until the link ends; then the rest of it, as long as that may take.
async fn write(
    mut outgoing: OwnedWriteHalf,
    mut queue: mpsc::Receiver<Bytes>,
    state: Arc<State>,
    context: Context,
    linger: Duration,
) {
    let mut ending = state.ending.subscribe();
    let lasting = async {
        until(&mut ending).await;
        context.clock.sleep(linger).await;
    };
    let (mut codec, mut frames) = (codec(), BytesMut::new());
    let writing = async {
        let mut ending = state.ending.subscribe();
        loop {
            let next = tokio::select! {
                biased;
                message = queue.recv() => Some(message),
                () = until(&mut ending) => None,
            };
            let next = match next {
                Some(next) => next,
                None => {
                    queue.close();
                    queue.recv().await
                }
            };
            let Some(message) = next else { return };
            // No error: every message was checked for its length.
            if codec.encode(message, &mut frames).is_err()
                || outgoing.write_all_buf(&mut frames).await.is_err()
            {
                return;
            }
        }
    };
    tokio::select! {
        () = writing => {}
        () = lasting => {}
    }
    // Tells the remote that nothing follows.
    drop(outgoing);
    state.ended.send_replace(true);
}

/// Ends once it is so. Who tells of it is held by whoever waits.
async fn until(so: &mut watch::Receiver<bool>) {
    so.wait_for(|so| *so).await.ok();
}

struct Sender {
    messages: mpsc::Sender<Bytes>,
    state: Arc<State>,
}

fn gone(operation: &'static str) -> Error {
    Error::new(ErrorKind::Unreachable, operation, "the remote", "the link has ended").hint("connect again")
}

#[async_trait]
impl LinkSender for Sender {
    async fn send(&mut self, message: Bytes) -> Result<()> {
        const SENDING: &str = "sending a message to";
        check_message(&message)?;
        let room = self.messages.reserve().await.map_err(|_| gone(SENDING))?;
        if *self.state.ending.borrow() {
            return Err(gone(SENDING));
        }
        room.send(message);
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        self.state.ending.send_replace(true);
        until(&mut self.state.ended.subscribe()).await;
        Ok(())
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.state.ending.send_replace(true);
    }
}

struct Receiver {
    frames: FramedRead<OwnedReadHalf, LengthDelimitedCodec>,
    failed: Option<ErrorKind>,
    state: Arc<State>,
}

#[async_trait]
impl LinkReceiver for Receiver {
    async fn recv(&mut self) -> Result<Option<Bytes>> {
        const RECEIVING: &str = "receiving from";
        if let Some(kind) = self.failed {
            return Err(Error::new(kind, RECEIVING, "the remote", "the link broke before"));
        }
        match self.frames.next().await {
            None => Ok(None),
            Some(Ok(message)) => Ok(Some(message.freeze())),
            Some(Err(error)) => {
                self.failed = Some(ErrorKind::Unreachable);
                Err(Error::new(ErrorKind::Unreachable, RECEIVING, "the remote", &error).caused_by(error))
            }
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.state.ending.send_replace(true);
    }
}
