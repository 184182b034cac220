//! The trees that are synced over a link: what their machines ask for and tell.

use std::sync::Arc;

use bytes::Bytes;
use eidetica_kernel::runtime::TaskGuard;
use eidetica_kernel::{Error, Id, Result, SyncError};
use tokio::sync::{mpsc, oneshot};

use super::{Driver, ENDING_MAX};
use crate::channel::{Class, Reason};
use crate::sync::engine::SyncEngine;
use crate::sync::machine::{Answer, Ask, Output, Report, TreeMachine};
use crate::sync::messages::{Message, Refuse};
use crate::sync::storage;

/// A tree that is synced over this link.
pub(super) struct Stream {
    /// Tells answers for it from those for an earlier sync of the same tree.
    pub(super) number: u64,
    pub(super) machine: TreeMachine,
    /// The stream that we send on.
    pub(super) out: Option<u32>,
    /// The stream that the peer sends on.
    pub(super) inward: Option<u32>,
    /// The peer has closed `out`.
    pub(super) peer_left: bool,
    pub(super) waiters: Vec<Waiter>,
    /// Why it ended, for those who wait.
    pub(super) failure: Option<Error>,
    pub(super) _watch: Option<TaskGuard>,
    /// Found out in this round: the same entries, and not the same state.
    pub(super) diverged: Option<Error>,
}

/// Who waits for a tree's exchange.
pub(super) struct Waiter {
    pub(super) done: oneshot::Sender<Result<()>>,
    /// The round at whose end the exchange is complete.
    pub(super) round: u32,
    /// Our proofs went out before it asked: a refusal may be older than what made it ask.
    pub(super) joined: bool,
}

impl Driver {
    /// Begins an exchange of a tree, or another round of the one under way.
    pub(super) fn sync(&mut self, tree: Id, waiting: Vec<oneshot::Sender<Result<()>>>) {
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

    /// The stream of a tree; made if there is none.
    pub(super) fn stream(&mut self, tree: Id) {
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

    pub(super) fn answer(&mut self, tree: Id, number: u64, answer: Answer) {
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
    pub(super) fn finish(&mut self, tree: Id, number: u64, outputs: Vec<Output>) {
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

    pub(super) fn changed(&mut self, tree: &Id) {
        // What isn't pushed goes with the next exchange.
        if !self.engine.upgrade().is_some_and(|engine| engine.pushes(&self.facts.peer, tree)) {
            return;
        }
        if let Some(known) = self.trees.get_mut(tree) {
            let outputs = known.machine.tree_changed();
            self.perform(*tree, outputs);
        }
    }

    pub(super) fn perform(&mut self, tree: Id, outputs: Vec<Output>) {
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

    pub(super) fn send(&mut self, tree: Id, message: Message, live: bool) {
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

    pub(super) fn ask(&mut self, tree: Id, ask: Ask) {
        let Some(known) = self.trees.get(&tree) else { return };
        match self.must_wait(&tree, known, &ask) {
            true => self.deferred.push((tree, known.number, ask)),
            false => self.ask_storage(tree, known.number, ask),
        }
    }

    /// Whether a question's answer couldn't be sent now.
    pub(super) fn must_wait(&self, tree: &Id, known: &Stream, ask: &Ask) -> bool {
        let full = ask.produces() && known.out.is_some_and(|out| !self.mux.is_writable(out));
        let follows = matches!(ask, Ask::Open)
            && self.draining.get(tree).is_some_and(|before| self.mux.is_draining(*before));
        full || follows
    }

    pub(super) fn ask_storage(&self, tree: Id, number: u64, ask: Ask) {
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
    pub(super) fn retry_deferred(&mut self) -> bool {
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

    pub(super) fn report(&mut self, tree: Id, report: Report) {
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
                    let result = diverged.as_ref().map_or(Ok(()), |diverged| Err(diverged.clone()));
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

    pub(super) fn end_tree(&mut self, tree: &Id) {
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
            let _ = waiter.done.send(Err(failure.clone()));
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
