//! One channel at work: messages in and out, the trees that are synced over it, and what others ask of it.

mod handle;
mod trees;

use std::collections::HashMap;
use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use eidetica_kernel::runtime::{Context, TaskGuard};
use eidetica_kernel::{Error, ErrorKind, Id, Result};
use tokio::sync::{mpsc, oneshot};

use handle::gone;
pub(crate) use handle::{COMMANDS_MAX, Command, LinkHandle, Refused};
use trees::Stream;

use super::admission;
use super::engine::SyncEngine;
use super::ledger::Ledger;
use super::machine::{Answer, Ask, TreeMachine};
use super::messages::{Admitted, List, Listed, MESSAGE_BYTES_MAX, Message, Refuse, kind};
use super::storage::ChannelFacts;
use crate::channel::{
    Channel, ChannelReceiver, ChannelSender, Class, Event, FLAG_COMPRESSED, Mux, Reason, decompress,
};
use crate::runtime::Runtime;

/// Messages between a link's tasks.
const QUEUE: usize = 8;
/// How long what has arrived over a link may take to be persisted once the link is gone.
const TAKING_IN_MAX: Duration = Duration::from_secs(5);
/// Bytes of parts of messages that one link may hold.
const PARTS_BYTES_MAX: usize = 8 * MESSAGE_BYTES_MAX;
/// How long a link that is asked to close may go on sending what is queued.
const CLOSING_MAX: Duration = Duration::from_secs(1);
/// Ended syncs of which what was received is still being taken in; of more than these it is dropped, and comes again.
const ENDING_MAX: usize = 16;
struct Driver {
    engine: Weak<SyncEngine>,
    runtime: Runtime,
    facts: ChannelFacts,
    compress: bool,
    mux: Mux,
    trees: HashMap<Id, Stream>,
    next_stream: u64,
    /// Machines whose sync has ended, while what they received before is taken in.
    ending: HashMap<u64, (Id, TreeMachine)>,
    /// Streams of ours that were closed, as long as frames wait on them: a new one for the same tree must not overtake these.
    draining: HashMap<Id, u32>,
    /// Which tree a stream of the peer's is about.
    inward: HashMap<u32, Id>,
    /// Parts of a message of entries, by stream.
    parts: HashMap<u32, BytesMut>,
    answers: mpsc::Sender<(Id, u64, Answer)>,
    changed: mpsc::Sender<Id>,
    deferred: Vec<(Id, u64, Ask)>,
    pings: Vec<oneshot::Sender<Duration>>,
    admits: HashMap<u64, oneshot::Sender<Admitted>>,
    lists: HashMap<u64, oneshot::Sender<Listed>>,
    replies: mpsc::Sender<Message>,
    next_request: u64,
    ledger: Ledger,
    refused: Refused,
    /// Asked to close: once what is queued has gone out, or at this time.
    closing: Option<(Reason, Duration)>,
}

/// Drives a channel until it ends.
pub(crate) async fn run(
    engine: Weak<SyncEngine>,
    runtime: Runtime,
    channel: Channel,
    mut commands: mpsc::Receiver<Command>,
    refused: Refused,
) -> Result<()> {
    let context = runtime.context.clone();
    let config = channel.mux_config();
    let facts = ChannelFacts { peer: channel.peer, session_id: channel.session_id, role: channel.role };
    let (out, _writer) = spawn_writer(&context, channel.sender);
    let (mut incoming, _reader) = spawn_reader(&context, channel.receiver);
    let (answers, mut answered) = mpsc::channel(COMMANDS_MAX);
    let (changed, mut changes) = mpsc::channel(COMMANDS_MAX);
    let (replies, mut replied) = mpsc::channel(COMMANDS_MAX);
    let ledger = Ledger::new(engine.clone(), runtime.clone(), facts.peer);
    let mut driver = Driver {
        engine,
        runtime,
        facts,
        compress: channel.compression.is_some(),
        mux: Mux::new(config, context.clock.monotonic()),
        trees: HashMap::new(),
        next_stream: 0,
        ending: HashMap::new(),
        draining: HashMap::new(),
        inward: HashMap::new(),
        parts: HashMap::new(),
        answers,
        changed,
        deferred: Vec::new(),
        pings: Vec::new(),
        admits: HashMap::new(),
        lists: HashMap::new(),
        replies,
        next_request: 0,
        ledger,
        refused,
        closing: None,
    };
    let ended: Result<()> = loop {
        driver.ledger.write();
        let now = context.clock.monotonic();
        if let Some((reason, latest)) = driver.closing
            && (driver.mux.bytes_queued() == 0 || latest <= now)
        {
            driver.mux.goodbye(reason, "asked to close");
        }
        let full = loop {
            let Ok(permit) = out.try_reserve() else { break true };
            match driver.mux.next_message() {
                Some(message) => permit.send(message),
                // What waited for room may go on now.
                None => {
                    drop(permit);
                    if !driver.retry_deferred() {
                        break false;
                    }
                }
            }
        };
        if driver.mux.is_ended() && !full {
            break Ok(());
        }
        let closing = driver.closing.map(|(_, latest)| latest);
        let deadline = driver.mux.next_deadline().into_iter().chain(closing).min();
        tokio::select! {
            message = incoming.recv() => match message {
                Some(Ok(message)) => {
                    match driver.mux.on_message(message, context.clock.monotonic()) {
                        Ok(events) => for event in events {
                            if let Err(error) = driver.event(event) {
                                driver.mux.goodbye(Reason::Violation, error.reason());
                                tracing::warn!(peer = %facts.peer, %error, "ending a link whose peer broke the protocol");
                            }
                        },
                        Err(error) => {
                            // The goodbye that says why.
                            if let (Some(last), Ok(permit)) = (driver.mux.next_message(), out.try_reserve()) {
                                permit.send(last);
                            }
                            break Err(error);
                        }
                    }
                }
                Some(Err(error)) => break Err(error),
                None => break Ok(()),
            },
            Some((tree, number, answer)) = answered.recv() => driver.answer(tree, number, answer),
            Some(tree) = changes.recv() => driver.changed(&tree),
            () = driver.ledger.written() => {}
            Some(reply) = replied.recv() => {
                driver.send_on(0, Class::Control, &reply);
            }
            command = commands.recv() => match command {
                Some(command) => driver.command(command, context.clock.monotonic()),
                None => {
                    commands.close();
                    driver.mux.goodbye(Reason::GoingAway, "the node stops");
                }
            },
            permit = out.reserve(), if full => match permit {
                Ok(permit) => if let Some(message) = driver.mux.next_message() { permit.send(message) },
                Err(_) => break Ok(()),
            },
            () = context.sleep_until(deadline) => {
                if let Err(error) = driver.mux.on_tick(context.clock.monotonic()) {
                    break Err(error);
                }
            }
        }
    };
    // From here on the link counts as gone: who needs one dials anew.
    commands.close();
    // What has arrived needn't come again: it is taken in although the link is gone.
    tokio::select! {
        () = driver.take_in(&mut answered) => {}
        () = context.clock.sleep(TAKING_IN_MAX) => {}
    }
    let reason = match &ended {
        Ok(()) => "the link ended".to_owned(),
        Err(error) => error.to_string(),
    };
    let reporter = driver.engine.upgrade();
    for (tree, stream) in std::mem::take(&mut driver.trees) {
        let network = gone(facts.peer, &driver.refused, reason.clone());
        let failure = stream.failure.as_ref().unwrap_or(&network);
        if let Some(engine) = &reporter {
            engine.tree_ended(&facts.peer, &tree, failure);
        }
        driver.ledger.failed(tree, failure);
        for waiter in stream.waiters {
            let _ = waiter.done.send(Err(failure.clone()));
        }
    }
    driver.ledger.finish().await;
    ended
}

fn spawn_writer(context: &Context, mut sender: ChannelSender) -> (mpsc::Sender<Bytes>, TaskGuard) {
    let (out, mut messages) = mpsc::channel::<Bytes>(QUEUE);
    let task = context.spawner.spawn(
        "link writer",
        Box::pin(async move {
            while let Some(message) = messages.recv().await {
                if sender.send(message).await.is_err() {
                    return;
                }
            }
            let _ = sender.close().await;
        }),
    );
    (out, task)
}

fn spawn_reader(
    context: &Context,
    mut receiver: ChannelReceiver,
) -> (mpsc::Receiver<Result<Bytes>>, TaskGuard) {
    let (arrived, incoming) = mpsc::channel(QUEUE);
    let task = context.spawner.spawn(
        "link reader",
        Box::pin(async move {
            loop {
                let message = match receiver.recv().await {
                    Ok(Some(message)) => Ok(message),
                    Ok(None) => return,
                    Err(error) => Err(error),
                };
                let last = message.is_err();
                if arrived.send(message).await.is_err() || last {
                    return;
                }
            }
        }),
    );
    (incoming, task)
}

impl Driver {
    fn command(&mut self, command: Command, now: Duration) {
        match command {
            Command::Sync { tree, done } => self.sync(tree, vec![done]),
            Command::Push { tree } => self.changed(&tree),
            Command::Forget { tree } => {
                if let Some(known) = self.trees.get_mut(&tree) {
                    let reason = "it is kept in sync with this peer no longer";
                    known.failure = Some(Error::new(ErrorKind::Closed, "syncing the database", tree, reason));
                    self.end_tree(&tree);
                }
            }
            Command::Ping { done } => {
                self.pings.push(done);
                self.mux.ping(now);
            }
            Command::Admit { mut admit, done } => {
                admit.request = self.request_number();
                self.admits.insert(admit.request, done);
                self.send_on(0, Class::Control, &Message::Admit(*admit));
            }
            Command::List { proofs, done } => {
                let request = self.request_number();
                self.lists.insert(request, done);
                self.send_on(0, Class::Control, &Message::List(List { request, proofs }));
            }
            Command::Close { reason } => self.closing = Some((reason, now + CLOSING_MAX)),
        }
    }

    fn request_number(&mut self) -> u64 {
        self.next_request += 1;
        self.next_request
    }

    fn event(&mut self, event: Event) -> Result<()> {
        tracing::trace!(role = ?self.facts.role, ?event, "link");
        match event {
            Event::Opened { stream, body } => {
                let Ok(tree) = <[u8; 32]>::try_from(&body[..]).map(Id::from_bytes) else {
                    self.mux.reset(stream, Reason::Violation, "a stream is opened with a database's id");
                    return Ok(());
                };
                // It ended this database's sync and begins anew; what it had still to say of the old one is on its way.
                if self.trees.get(&tree).is_some_and(|known| known.peer_left) {
                    self.end_tree(&tree);
                }
                self.stream(tree);
                if let Some(known) = self.trees.get_mut(&tree) {
                    if known.inward.is_some() {
                        self.mux.reset(stream, Reason::Violation, "this database has a stream already");
                        return Ok(());
                    }
                    known.inward = Some(stream);
                    self.inward.insert(stream, tree);
                }
            }
            Event::Frame { stream, kind, flags, body } => {
                let cost = body.len();
                let body =
                    if flags == FLAG_COMPRESSED { decompress(&body, MESSAGE_BYTES_MAX)? } else { body };
                self.frame(stream, kind, body, cost)?;
            }
            Event::Closed { stream } | Event::Reset { stream, .. } => {
                let refused = matches!(event, Event::Reset { reason: Reason::Refused, .. });
                self.parts.remove(&stream);
                let ours =
                    self.trees.iter().find(|(_, known)| known.out == Some(stream)).map(|(tree, _)| *tree);
                if matches!(event, Event::Closed { .. })
                    && let Some(known) = ours.and_then(|tree| self.trees.get_mut(&tree))
                    && known.inward.is_some()
                {
                    // It takes no more; why, it says on its own stream, whose close follows.
                    known.peer_left = true;
                    return Ok(());
                }
                if let Some(tree) = self.inward.remove(&stream).or(ours) {
                    match self.trees.get_mut(&tree) {
                        // That ends it, and may begin it anew.
                        Some(known) if refused => {
                            let outputs = known.machine.message(Message::Refuse(Refuse::NotForYou), 0);
                            self.perform(tree, outputs);
                        }
                        _ => self.end_tree(&tree),
                    }
                }
            }
            Event::Unsupported { .. } => {}
            Event::Pong { rtt } => {
                for waiter in self.pings.drain(..) {
                    let _ = waiter.send(rtt);
                }
            }
            Event::Goodbye { reason, text } => {
                tracing::debug!(peer = %self.facts.peer, ?reason, text, "the peer ended the link");
                self.refused.fetch_or(reason == Reason::Refused, Ordering::AcqRel);
            }
        }
        Ok(())
    }

    fn frame(&mut self, stream: u32, frame_kind: u8, body: Bytes, cost: usize) -> Result<()> {
        if frame_kind == kind::PART {
            let held: usize = self.parts.values().map(BytesMut::len).sum();
            let parts = self.parts.entry(stream).or_default();
            if parts.len() + body.len() > MESSAGE_BYTES_MAX || held + body.len() > PARTS_BYTES_MAX {
                return Err(super::messages::broken("its parts are too long together"));
            }
            parts.extend_from_slice(&body);
            // The credit of parts comes back at once: what they may add up to is bounded above.
            self.mux.consumed(stream, cost);
            return Ok(());
        }
        let parts = if frame_kind == kind::ENTRIES { self.parts.remove(&stream) } else { None };
        let body = match parts {
            Some(mut parts) if parts.len() + body.len() <= MESSAGE_BYTES_MAX => {
                parts.extend_from_slice(&body);
                parts.freeze()
            }
            Some(_) => return Err(super::messages::broken("its parts are too long together")),
            None => body,
        };
        let Some(message) = Message::decode(frame_kind, &body)? else {
            self.mux.consumed(stream, cost);
            return self.mux.unsupported(stream, frame_kind);
        };
        if stream == 0 {
            self.mux.consumed(0, cost);
            return self.control(message);
        }
        let Some(tree) = self.inward.get(&stream).copied() else {
            self.mux.consumed(stream, cost);
            return Ok(());
        };
        if let Some(known) = self.trees.get_mut(&tree) {
            if matches!(message, Message::Have(_)) {
                self.ledger.begin(tree);
            }
            self.ledger.moved(tree, cost);
            let outputs = known.machine.message(message, cost);
            self.perform(tree, outputs);
        }
        Ok(())
    }

    /// A message about no tree's stream.
    fn control(&mut self, message: Message) -> Result<()> {
        match message {
            Message::Admit(admit) => {
                self.reply(move |engine, facts| Message::Admitted(admission::decide(engine, facts, admit)))
            }
            Message::List(list) => {
                self.reply(move |engine, facts| Message::Listed(admission::list(engine, facts, list)))
            }
            Message::Admitted(admitted) => {
                if let Some(waiter) = self.admits.remove(&admitted.request) {
                    let _ = waiter.send(admitted);
                }
            }
            Message::Listed(listed) => {
                if let Some(waiter) = self.lists.remove(&listed.request) {
                    let _ = waiter.send(listed);
                }
            }
            _ => return Err(super::messages::broken("it belongs to a database's stream")),
        }
        Ok(())
    }

    /// Answers a request off this task.
    fn reply(&self, answer: impl FnOnce(&SyncEngine, &ChannelFacts) -> Message + Send + 'static) {
        let (engine, facts, replies) = (self.engine.clone(), self.facts, self.replies.clone());
        let Some(permit) = replies.try_reserve_owned().ok() else { return };
        self.runtime.detach_blocking(move || {
            if let Some(engine) = engine.upgrade() {
                permit.send(answer(&engine, &facts));
            }
        });
    }

    /// Waits until what has been received whole is persisted.
    async fn take_in(&mut self, answered: &mut mpsc::Receiver<(Id, u64, Answer)>) {
        let live = |driver: &Self| driver.trees.values().any(|known| known.machine.is_taking_in());
        while live(self) || !self.ending.is_empty() {
            let Some((tree, number, answer)) = answered.recv().await else { return };
            self.answer(tree, number, answer);
        }
    }

    /// Queues a message; how long it is.
    fn send_on(&mut self, stream: u32, class: Class, message: &Message) -> usize {
        let mut bytes = 0;
        let pushed = message.encode(self.compress).and_then(|(kind, body)| {
            bytes = body.len();
            let bytes_max = self.mux.body_bytes_max();
            let mut rest = body;
            while rest.len() > bytes_max {
                self.mux.push(stream, class, kind::PART, 0, rest.split_to(bytes_max))?;
            }
            self.mux.push(stream, class, kind, 0, rest)
        });
        if let Err(error) = pushed
            && error.kind() != ErrorKind::Closed
        {
            tracing::warn!(peer = %self.facts.peer, %error, "a message couldn't be sent");
            self.mux.goodbye(Reason::Failed, "a message couldn't be sent");
        }
        bytes
    }
}
