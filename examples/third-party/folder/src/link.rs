//! A link: a task that writes what is queued and says the end, and two halves.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use eidetica_kernel::runtime::TaskGuard;
use eidetica_kernel::transport::{Link, LinkReceiver, LinkSender, check_message};
use eidetica_kernel::{Context, Error, ErrorKind, Result};
use tokio::sync::{mpsc, watch};

use crate::off::{Off, off};
use crate::options::FolderOptions;
use crate::side::{Inbox, Put, Side, Taken};

/// Messages that wait in memory; more wait in the folder.
const QUEUE_MESSAGES_MAX: usize = 4;

/// How far a link is. Both halves and the task hold it.
struct State {
    /// One of the halves has gone, or the sender was closed: what is queued is written, nothing more.
    ending: watch::Sender<bool>,
    /// The receiver has gone.
    deaf: watch::Sender<bool>,
    /// The task has written its last.
    ended: watch::Sender<bool>,
    /// Why nothing can be written, if so.
    failed: Mutex<Option<String>>,
    /// The task's; it outlives the halves until what was sent is written.
    task: Mutex<Option<TaskGuard>>,
}

pub(crate) fn open(side: Side, context: &Context, options: &FolderOptions) -> Link {
    let inbox = Inbox::of(&side);
    let (messages, queue) = mpsc::channel(QUEUE_MESSAGES_MAX);
    let state = Arc::new(State {
        ending: watch::Sender::new(false),
        deaf: watch::Sender::new(false),
        ended: watch::Sender::new(false),
        failed: Mutex::default(),
        task: Mutex::default(),
    });
    let keeping = keep(side, queue, state.clone(), context.clone(), options.clone());
    let task = context.spawner.spawn("folder link", Box::pin(keeping));
    *state.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
    let poll = Duration::from_millis(options.poll_ms);
    let inbox = Off::Here(inbox);
    let mut link = Link::new(
        Sender { messages, state: state.clone() },
        Receiver { inbox, ended: None, poll, context: context.clone(), state },
    );
    // Who carries a stick may take days.
    link.keepalive = None;
    link
}

/// Ends once it is so. Who tells of it is held by whoever waits.
async fn until(so: &watch::Sender<bool>) {
    so.subscribe().wait_for(|so| *so).await.ok();
}

/// What the task works on, and how long it waits where it has to try again.
struct Keeper {
    side: Off<Side, io::Result<Put>>,
    context: Context,
    poll: Duration,
}

impl Keeper {
    /// Does it as soon as there is room and the folder is there; `false` if there is no need any more.
    async fn put(
        &mut self,
        put: impl Fn(&mut Side) -> io::Result<Put> + Clone + Send + 'static,
    ) -> Result<bool> {
        loop {
            let done = self.side.run(put.clone()).await?;
            match done.map_err(|error| Error::io("writing into", "the folder", error))? {
                Put::Written => return Ok(true),
                Put::Gone => return Ok(false),
                Put::Later => self.context.clock.sleep(self.poll).await,
            }
        }
    }

    /// Writes what is queued until the link ends, then the rest of it.
    async fn write(
        &mut self,
        mut queue: mpsc::Receiver<Bytes>,
        state: &Arc<State>,
        ahead_max: u64,
    ) -> Result<()> {
        loop {
            let next = tokio::select! {
                biased;
                message = queue.recv() => Some(message),
                () = until(&state.ending) => None,
            };
            let next = match next {
                Some(next) => next,
                None => {
                    queue.close();
                    queue.recv().await
                }
            };
            let Some(message) = next else { return Ok(()) };
            let state = state.clone();
            let put = move |side: &mut Side| {
                // Before what waits for room: two sides that leave could wait for each other.
                if *state.deaf.borrow() {
                    side.say_deaf()?;
                }
                side.put(&message, ahead_max)
            };
            if !self.put(put).await? {
                return Ok(());
            }
        }
    }

    /// Leaves once both halves have gone.
    async fn keep(&mut self, queue: mpsc::Receiver<Bytes>, state: &Arc<State>, ahead_max: u64) -> Result<()> {
        self.write(queue, state, ahead_max).await?;
        state.ending.send_replace(true);
        self.put(Side::say_end).await?;
        state.ended.send_replace(true);
        until(&state.deaf).await;
        self.put(Side::say_deaf).await.map(drop)
    }
}

async fn keep(
    side: Side,
    queue: mpsc::Receiver<Bytes>,
    state: Arc<State>,
    context: Context,
    options: FolderOptions,
) {
    let poll = Duration::from_millis(options.poll_ms);
    let mut keeper = Keeper { side: Off::Here(side), context: context.clone(), poll };
    let lasting = async {
        until(&state.deaf).await;
        context.clock.sleep(Duration::from_millis(options.linger_ms)).await;
    };
    tokio::select! {
        kept = keeper.keep(queue, &state, options.queue_messages_max) => if let Err(error) = kept {
            *state.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
        },
        () = lasting => {}
    }
    state.ending.send_replace(true);
    state.ended.send_replace(true);
    // Broken, it is kept until whoever reads has seen that.
    until(&state.deaf).await;
    off(move || drop(keeper)).await.ok();
}

struct Sender {
    messages: mpsc::Sender<Bytes>,
    state: Arc<State>,
}

impl Sender {
    fn gone(&self) -> Error {
        let failed = self.state.failed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let reason = failed.unwrap_or_else(|| "the link has ended".to_owned());
        Error::new(ErrorKind::Unreachable, "sending a message to", "the remote", reason).hint("connect again")
    }
}

#[async_trait]
impl LinkSender for Sender {
    async fn send(&mut self, message: Bytes) -> Result<()> {
        check_message(&message)?;
        let room = self.messages.reserve().await.map_err(|_| self.gone())?;
        if *self.state.ending.borrow() {
            return Err(self.gone());
        }
        room.send(message);
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        self.state.ending.send_replace(true);
        until(&self.state.ended).await;
        Ok(())
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.state.ending.send_replace(true);
    }
}

struct Receiver {
    inbox: Off<Inbox, io::Result<Taken>>,
    /// How it ended, if it has: in order, or broken.
    ended: Option<std::result::Result<(), ErrorKind>>,
    poll: Duration,
    context: Context,
    state: Arc<State>,
}

impl Receiver {
    fn broken(&mut self, kind: ErrorKind, reason: impl std::fmt::Display) -> Error {
        self.ended = Some(Err(kind));
        Error::new(kind, "receiving from", "the remote", reason).hint("connect again")
    }
}

#[async_trait]
impl LinkReceiver for Receiver {
    async fn recv(&mut self) -> Result<Option<Bytes>> {
        match self.ended {
            Some(Ok(())) => return Ok(None),
            Some(Err(kind)) => return Err(self.broken(kind, "the link broke before")),
            None => {}
        }
        loop {
            match self.inbox.run(Inbox::take).await? {
                Ok(Taken::Message(message)) => return Ok(Some(message.into())),
                Ok(Taken::Later) => self.context.clock.sleep(self.poll).await,
                Ok(Taken::End) => {
                    self.ended = Some(Ok(()));
                    return Ok(None);
                }
                Ok(Taken::Gone) => {
                    return Err(self.broken(ErrorKind::Unreachable, "the link was removed from the folder"));
                }
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    return Err(self.broken(ErrorKind::Protocol, &error).caused_by(error));
                }
                Err(error) => return Err(self.broken(ErrorKind::Unreachable, &error).caused_by(error)),
            }
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.state.deaf.send_replace(true);
        self.state.ending.send_replace(true);
    }
}
