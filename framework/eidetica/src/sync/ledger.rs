//! What one link has exchanged, collected until it is written down: one batch at a time, however much happens meanwhile.

use std::collections::{BTreeMap, HashMap};
use std::sync::Weak;
use std::time::Duration;

use eidetica_kernel::runtime::Context;
use eidetica_kernel::{Error, Id, PublicKey, Result, Timestamp};
use tokio::sync::oneshot;

use super::engine::{SyncEngine, reports};
use super::records::{Change, HistoryRecord};
use crate::runtime::Runtime;

/// Collects what is exchanged with one peer.
pub(super) struct Ledger {
    engine: Weak<SyncEngine>,
    runtime: Runtime,
    peer: PublicKey,
    /// What both sides are busy with until they hold the same.
    exchanges: HashMap<Id, Exchange>,
    /// What is to be written down.
    changes: BTreeMap<Id, Change>,
    /// Who waits for an exchange that has ended, until that is written down.
    answers: Vec<(oneshot::Sender<Result<()>>, Result<()>)>,
    /// Ends when what was collected before is written down.
    writing: Option<oneshot::Receiver<()>>,
}

/// An exchange under way.
struct Exchange {
    started: Timestamp,
    since: Duration,
    entries: u64,
    bytes: u64,
}

impl Exchange {
    fn begin(context: &Context) -> Self {
        Self { started: context.clock.wall(), since: context.clock.monotonic(), entries: 0, bytes: 0 }
    }

    fn end(self, tree: Id, context: &Context, error: Option<&Error>) -> HistoryRecord {
        let duration = context.clock.monotonic().saturating_sub(self.since);
        HistoryRecord {
            tree,
            started: self.started,
            completed: context.clock.wall(),
            duration_us: u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
            entries: self.entries,
            bytes: self.bytes,
            error: error.map(reports::kept),
        }
    }
}

impl Ledger {
    pub(super) fn new(engine: Weak<SyncEngine>, runtime: Runtime, peer: PublicKey) -> Self {
        Self {
            engine,
            runtime,
            peer,
            exchanges: HashMap::new(),
            changes: BTreeMap::new(),
            answers: Vec::new(),
            writing: None,
        }
    }

    /// An exchange of a tree begins, unless one is under way.
    pub(super) fn begin(&mut self, tree: Id) {
        self.exchanges.entry(tree).or_insert_with(|| Exchange::begin(&self.runtime.context));
    }

    /// Bytes of a message about a tree went out or came in.
    pub(super) fn moved(&mut self, tree: Id, bytes: usize) {
        self.changes.entry(tree).or_default().bytes += bytes as u64;
        if let Some(exchange) = self.exchanges.get_mut(&tree) {
            exchange.bytes += bytes as u64;
        }
    }

    /// Entries were persisted here, or acknowledged by the peer.
    pub(super) fn exchanged(&mut self, tree: Id, received: u64, acknowledged: u64, last: Option<Id>) {
        let entries = received + acknowledged;
        let change = self.changes.entry(tree).or_default();
        change.received += received;
        change.acknowledged += acknowledged;
        change.shared_since += entries;
        change.last_entry = last.or(change.last_entry);
        change.last_exchange = Some(self.runtime.context.clock.wall());
        if let Some(exchange) = self.exchanges.get_mut(&tree) {
            exchange.entries += entries;
        }
    }

    /// Both sides hold the same entries: `held` of them, if that is known. `diverged` if not the same state.
    pub(super) fn equal(&mut self, tree: Id, held: Option<u64>, diverged: Option<&Error>) {
        let context = &self.runtime.context;
        let change = self.changes.entry(tree).or_default();
        change.in_sync = Some(context.clock.wall());
        if held.is_some() {
            (change.shared_base, change.shared_since) = (held, 0);
        }
        change
            .ended
            .extend(self.exchanges.remove(&tree).map(|exchange| exchange.end(tree, context, diverged)));
    }

    /// The exchange of a tree, if one was under way, failed.
    pub(super) fn failed(&mut self, tree: Id, error: &Error) {
        if let Some(exchange) = self.exchanges.remove(&tree) {
            let failed = exchange.end(tree, &self.runtime.context, Some(error));
            self.changes.entry(tree).or_default().ended.push(failed);
        }
    }

    /// `waiter` is to be answered once what has happened so far is written down.
    pub(super) fn answer(&mut self, waiter: oneshot::Sender<Result<()>>, result: Result<()>) {
        self.answers.push((waiter, result));
    }

    /// Begins to write down what has happened, unless something is being written; [`Ledger::written`] tells when to ask again.
    pub(super) fn write(&mut self) {
        if self.writing.is_some() || (self.changes.is_empty() && self.answers.is_empty()) {
            return;
        }
        let changes = std::mem::take(&mut self.changes);
        let answers = std::mem::take(&mut self.answers);
        let (engine, peer) = (self.engine.clone(), self.peer);
        let (done, writing) = oneshot::channel();
        self.writing = Some(writing);
        self.runtime.detach_blocking(move || {
            if let Some(engine) = engine.upgrade() {
                engine.record(&peer, &changes);
            }
            for (waiter, result) in answers {
                let _ = waiter.send(result);
            }
            let _ = done.send(());
        });
    }

    /// Ends when what is being written is written; never while nothing is.
    pub(super) async fn written(&mut self) {
        match &mut self.writing {
            Some(writing) => drop(writing.await),
            None => std::future::pending().await,
        }
        self.writing = None;
    }

    /// Writes down the rest. It is written when this ends, so that whoever sees the link gone finds it recorded.
    pub(super) async fn finish(&mut self) {
        loop {
            if self.writing.is_some() {
                self.written().await;
            }
            self.write();
            if self.writing.is_none() {
                return;
            }
        }
    }
}
