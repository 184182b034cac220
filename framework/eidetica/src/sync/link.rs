//! One channel at work: messages in and out, the trees that are synced over it, and what others ask of it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use eidetica_kernel::runtime::{Context, TaskGuard};
use eidetica_kernel::{Error, ErrorKind, Id, PublicKey, Result, SyncError};
use tokio::sync::{mpsc, oneshot};

use super::admission;
use super::engine::SyncEngine;
use super::ledger::Ledger;
use super::machine::{Answer, Ask, Output, Report, TreeMachine};
use super::messages::{Admit, Admitted, List, Listed, MESSAGE_BYTES_MAX, Message, Refuse, kind};
use super::storage::{self, ChannelFacts};
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
/// Commands that may wait for a link.
pub(crate) const COMMANDS_MAX: usize = 256;

/// What others ask of a link.
pub(crate) enum Command {
    /// Exchange a tree; answered when both sides have what the other had.
    Sync { tree: Id, done: oneshot::Sender<Result<()>> },
    /// Commits to a tree are pushed from now on.
    Push { tree: Id },
    /// Stop exchanging a tree.
    Forget { tree: Id },
    /// Answered with the round-trip time.
    Ping { done: oneshot::Sender<Duration> },
    /// Ask for rights.
    Admit { admit: Box<Admit>, done: oneshot::Sender<Admitted> },
    /// Ask which trees there are.
    List { proofs: Vec<super::messages::Proof>, done: oneshot::Sender<Listed> },
    /// End the link.
    Close { reason: Reason },
}

/// A link, as the rest of the engine sees it.
#[derive(Clone)]
pub(crate) struct LinkHandle {
    pub(crate) number: u64,
    pub(crate) facts: ChannelFacts,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) refused: Refused,
}

/// Set once the peer has said that it doesn't talk to this node.
pub(crate) type Refused = Arc<AtomicBool>;

/// What ended talking to a peer: its refusal, or something on the way.
fn gone(peer: PublicKey, refused: &Refused, reason: String) -> Error {
    let peer = peer.to_string();
    match refused.load(Ordering::Acquire) {
        true => SyncError::BlockedByPeer { peer }.into(),
        false => SyncError::Network { peer, reason }.into(),
    }
}

/// A tree that is synced over this link.
struct Stream {
    /// Tells answers for it from those for an earlier sync of the same tree.
    number: u64,
    machine: TreeMachine,
    /// The stream that we send on.
    out: Option<u32>,
    /// The stream that the peer sends on.
    inward: Option<u32>,
    /// The peer has closed `out`.
    peer_left: bool,
    waiters: Vec<Waiter>,
    /// Why it ended, for those who wait.
    failure: Option<Error>,
    _watch: Option<TaskGuard>,
    /// Found out in this round: the same entries, and not the same state.
    diverged: Option<Error>,
}

/// Who waits for a tree's exchange.
struct Waiter {
    done: oneshot::Sender<Result<()>>,
    /// The round at whose end the exchange is complete.
    round: u32,
    /// Our proofs went out before it asked: a refusal may be older than what made it ask.
    joined: bool,
}

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
        let deadline = deadline.map(|deadline| deadline.saturating_sub(now));
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
            () = sleep(&context, deadline) => {
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
            let _ = waiter.done.send(Err(copy(failure)));
        }
    }
    driver.ledger.finish().await;
    ended
}

/// An error again, for a further waiter.
pub(crate) fn copy(error: &Error) -> Error {
    match error.sync_error() {
        Some(sync) => sync.clone().into(),
        None => Error::new(error.kind(), error.operation().to_owned(), error.subject(), error.reason()),
    }
}

async fn sleep(context: &Context, duration: Option<Duration>) {
    match duration {
        Some(duration) => context.clock.sleep(duration).await,
        None => std::future::pending().await,
    }
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

    /// Begins an exchange of a tree, or another round of the one under way.
    fn sync(&mut self, tree: Id, waiting: Vec<oneshot::Sender<Result<()>>>) {
        self.stream(tree);
        if let Some(stream) = self.trees.get_mut(&tree) {
            let joined = stream.machine.is_introduced();
            let round = stream.machine.next_round();
            self.ledger.begin(tree);
            stream.waiters.extend(waiting.into_iter().map(|done| Waiter { done, round, joined }));
            let outputs = stream.machine.request();
            self.perform(tree, outputs);
        }
    }

    fn request_number(&mut self) -> u64 {
        self.next_request += 1;
        self.next_request
    }

    /// The stream of a tree; made if there is none.
    fn stream(&mut self, tree: Id) {
        let number = self.next_stream;
        let fresh = || Stream {
            number,
            machine: TreeMachine::new(),
            out: None,
            inward: None,
            peer_left: false,
            waiters: Vec::new(),
            failure: None,
            _watch: None,
            diverged: None,
        };
        self.trees.entry(tree).or_insert_with(fresh);
        self.next_stream += 1;
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

    fn answer(&mut self, tree: Id, number: u64, answer: Answer) {
        if let Some((_, machine)) = self.ending.get_mut(&number) {
            let outputs = machine.answer(answer);
            return self.finish(tree, number, outputs);
        }
        if let Some(known) = self.trees.get_mut(&tree).filter(|known| known.number == number) {
            let outputs = known.machine.answer(answer);
            self.perform(tree, outputs);
        }
    }

    /// What a machine whose sync has ended still wants: to take in what came before the end.
    fn finish(&mut self, tree: Id, number: u64, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Ask(ask) => self.ask_storage(tree, number, ask),
                Output::Report(Report::Received { entries, last }) => {
                    self.ledger.exchanged(tree, entries, 0, last)
                }
                _ => {}
            }
        }
        if self.ending.get(&number).is_some_and(|(_, machine)| !machine.is_taking_in()) {
            self.ending.remove(&number);
        }
    }

    fn changed(&mut self, tree: &Id) {
        // What isn't pushed goes with the next exchange.
        if !self.engine.upgrade().is_some_and(|engine| engine.pushes(&self.facts.peer, tree)) {
            return;
        }
        if let Some(known) = self.trees.get_mut(tree) {
            let outputs = known.machine.tree_changed();
            self.perform(*tree, outputs);
        }
    }

    fn perform(&mut self, tree: Id, outputs: Vec<Output>) {
        for output in outputs {
            tracing::trace!(role = ?self.facts.role, tree = %tree.short(), ?output, "sync");
            match output {
                Output::Send { message, live } => self.send(tree, message, live),
                Output::Ask(ask) => self.ask(tree, ask),
                Output::Consumed(cost) => {
                    if let Some(stream) = self.trees.get(&tree).and_then(|known| known.inward) {
                        self.mux.consumed(stream, cost);
                    }
                }
                Output::Report(report) => self.report(tree, report),
                Output::End => self.end_tree(&tree),
            }
        }
    }

    fn send(&mut self, tree: Id, message: Message, live: bool) {
        // Read before its users turned its sync off; that ends its stream in a moment.
        if matches!(message, Message::Entries(_) | Message::Piece(_))
            && self.engine.upgrade().is_some_and(|engine| engine.preferences(&tree).is_none())
        {
            return;
        }
        let Some(known) = self.trees.get_mut(&tree) else { return };
        let stream = match known.out {
            Some(stream) => stream,
            None if matches!(message, Message::Refuse(_)) => {
                if let Some(inward) = known.inward.take() {
                    self.inward.remove(&inward);
                    self.mux.reset(inward, Reason::Refused, "");
                }
                return;
            }
            None => match self.mux.open(Bytes::copy_from_slice(tree.as_bytes())) {
                Ok(stream) => {
                    known.out = Some(stream);
                    stream
                }
                Err(error) => {
                    known.failure = Some(error);
                    return self.end_tree(&tree);
                }
            },
        };
        let class = match &message {
            Message::Entries(_) | Message::Piece(_) if live => Class::Live,
            Message::Entries(_) | Message::Piece(_) => Class::Bulk,
            _ => Class::Control,
        };
        // Order matters within a stream: `Settled` and the like must not overtake entries.
        let class = if matches!(message, Message::Settled(_)) { Class::Bulk } else { class };
        let bytes = self.send_on(stream, class, &message);
        self.ledger.moved(tree, bytes);
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

    fn ask(&mut self, tree: Id, ask: Ask) {
        let Some(known) = self.trees.get(&tree) else { return };
        match self.must_wait(&tree, known, &ask) {
            true => self.deferred.push((tree, known.number, ask)),
            false => self.ask_storage(tree, known.number, ask),
        }
    }

    /// Whether a question's answer couldn't be sent now.
    fn must_wait(&self, tree: &Id, known: &Stream, ask: &Ask) -> bool {
        let full = ask.produces() && known.out.is_some_and(|out| !self.mux.is_writable(out));
        let follows = matches!(ask, Ask::Open)
            && self.draining.get(tree).is_some_and(|before| self.mux.is_draining(*before));
        full || follows
    }

    fn ask_storage(&self, tree: Id, number: u64, ask: Ask) {
        let (engine, facts, answers) = (self.engine.clone(), self.facts, self.answers.clone());
        let answer = self.runtime.blocking("syncing", move || {
            let engine = engine.upgrade().ok_or(SyncError::InstanceDropped)?;
            let inner = engine.inner()?;
            Ok(storage::answer(&inner, &facts, &tree, ask))
        });
        self.runtime.detach(async move {
            let answer = answer.await.unwrap_or_else(|error| Answer::Failed(error.to_string()));
            let _ = answers.send((tree, number, answer)).await;
        });
    }

    /// Asks again what waited for room; `true` if something needn't wait any more.
    fn retry_deferred(&mut self) -> bool {
        self.draining.retain(|_, stream| self.mux.is_draining(*stream));
        let deferred = std::mem::take(&mut self.deferred);
        let before = deferred.len();
        for (tree, number, ask) in deferred {
            if self.trees.get(&tree).is_some_and(|known| known.number == number) {
                self.ask(tree, ask);
            }
        }
        self.deferred.len() < before
    }

    fn report(&mut self, tree: Id, report: Report) {
        let peer = self.facts.peer;
        let Some(known) = self.trees.get_mut(&tree) else { return };
        let Some(engine) = self.engine.upgrade() else { return };
        match report {
            Report::Proven => engine.proven(&peer, &tree),
            Report::Received { entries, last } => {
                known._watch.get_or_insert_with(|| watch(&engine, &self.changed, tree));
                engine.watch_tree(&tree);
                self.ledger.exchanged(tree, entries, 0, last);
            }
            Report::Acknowledged { entries, last } => self.ledger.exchanged(tree, 0, entries, Some(last)),
            Report::InSync { round } => {
                tracing::debug!(%peer, tree = %tree.short(), round, "in sync");
                known._watch.get_or_insert_with(|| watch(&engine, &self.changed, tree));
                // What was committed before the watch began isn't announced by it.
                let _ = self.changed.try_send(tree);
                let diverged = known.diverged.take();
                for waiter in known.waiters.extract_if(.., |waiter| waiter.round <= round) {
                    let result = diverged.as_ref().map_or(Ok(()), |diverged| Err(copy(diverged)));
                    self.ledger.answer(waiter.done, result);
                }
                self.ledger.equal(tree, engine.entries_held(&tree), diverged.as_ref());
                if !known.waiters.is_empty() {
                    // A further round was asked for already.
                    self.ledger.begin(tree);
                }
                engine.in_sync(&peer, &tree, diverged.as_ref());
            }
            Report::Refused(refuse) => {
                let operation = format!("syncing the database {}", tree.short());
                known.failure = Some(match refuse {
                    Refuse::NotForYou => {
                        SyncError::PermissionDenied { peer: peer.to_string(), operation }.into()
                    }
                    Refuse::Busy => {
                        SyncError::Network { peer: peer.to_string(), reason: "it is busy".to_owned() }.into()
                    }
                    Refuse::Broken(reason) => {
                        SyncError::ProtocolMismatch { peer: peer.to_string(), reason }.into()
                    }
                    Refuse::Failed => {
                        SyncError::Network { peer: peer.to_string(), reason: "it failed there".to_owned() }
                            .into()
                    }
                });
            }
            Report::NotBefore(time) => {
                let difference = time.since(self.runtime.context.clock.wall());
                let difference = difference + eidetica_kernel::clock::CLOCK_SKEW_MAX;
                let skew = SyncError::ClockSkew { peer: peer.to_string(), difference };
                tracing::warn!(%peer, tree = %tree.short(), "{skew}");
                known.failure = Some(skew.into());
            }
            Report::Diverged(store) => {
                let diverged = SyncError::StateDiverged { peer, tree, store };
                tracing::error!("{diverged}");
                known.diverged = Some(diverged.into());
            }
            Report::Invalid { entry, reason } => {
                let invalid = SyncError::InvalidEntry { entry, reason };
                tracing::warn!(%peer, tree = %tree.short(), "{invalid}");
                known.failure = Some(invalid.into());
            }
            Report::Failed(reason) => {
                tracing::warn!(%peer, tree = %tree.short(), reason, "a database's sync ended");
                known.failure = Some(SyncError::ProtocolMismatch { peer: peer.to_string(), reason }.into());
            }
        }
    }

    fn end_tree(&mut self, tree: &Id) {
        let Some(stream) = self.trees.remove(tree) else { return };
        if let Some(inward) = stream.inward {
            self.inward.remove(&inward);
            self.mux.close(inward);
        }
        if let Some(out) = stream.out {
            self.mux.close(out);
            if self.mux.is_draining(out) {
                self.draining.insert(*tree, out);
            }
        }
        let mut machine = stream.machine;
        let outputs = machine.cut();
        if machine.is_taking_in() && self.ending.len() < ENDING_MAX {
            self.ending.insert(stream.number, (*tree, machine));
            self.finish(*tree, stream.number, outputs);
        }
        let failure = stream.failure.unwrap_or_else(|| {
            let reason = "the peer ended the database's sync".to_owned();
            SyncError::Network { peer: self.facts.peer.to_string(), reason }.into()
        });
        let stale = matches!(
            failure.sync_error(),
            Some(SyncError::PermissionDenied { .. } | SyncError::Network { .. })
        ) && self.closing.is_none();
        let (again, ended): (Vec<_>, Vec<_>) =
            stream.waiters.into_iter().partition(|waiter| waiter.joined && stale);
        for waiter in ended {
            let _ = waiter.done.send(Err(copy(&failure)));
        }
        self.ledger.failed(*tree, &failure);
        if let Some(engine) = self.engine.upgrade() {
            engine.tree_ended(&self.facts.peer, tree, &failure);
        }
        if !again.is_empty() {
            self.sync(*tree, again.into_iter().map(|waiter| waiter.done).collect());
        }
    }
}

/// Tells the driver when entries of a tree appear.
fn watch(engine: &Arc<SyncEngine>, changed: &mpsc::Sender<Id>, tree: Id) -> TaskGuard {
    let changed = changed.clone();
    let watched =
        engine.inner().ok().and_then(|inner| inner.trees.get(&tree).ok().flatten()).map(|tree| tree.watch());
    engine.context().spawner.spawn(
        "tree watch",
        Box::pin(async move {
            let Some(mut watched) = watched else { return };
            while watched.changed().await.is_ok() {
                if changed.send(tree).await.is_err() {
                    return;
                }
            }
        }),
    )
}

/// Whom a link leads to.
impl LinkHandle {
    pub(crate) fn peer(&self) -> PublicKey {
        self.facts.peer
    }

    /// Sends a command and waits for its answer.
    pub(crate) async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T> {
        let gone = || gone(self.peer(), &self.refused, "the link ended".to_owned());
        let (done, answer) = oneshot::channel();
        self.commands.send(command(done)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }
}
