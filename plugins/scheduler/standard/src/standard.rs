//! The state machine.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use eidetica_kernel::scheduler::{Action, Event, Failure, Moment, Preferences};
use eidetica_kernel::{Id, PublicKey, SyncScheduler};

use crate::backoff::Backoff;
use crate::options::StandardOptions;

/// The least time between two periodic exchanges, whatever a user prefers.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// Pushes commits at once, reconciles now and then, retries with growing delays, probes open links.
///
/// | event | what follows |
/// |---|---|
/// | related, connected, reset | the relations concerned are synced at once |
/// | committed | pushed at once, unless its users or the options say no, or the peer is being retried anyway |
/// | committed while a sync is unanswered | one more sync after the answer |
/// | acknowledged | the next sync is due after the interval |
/// | unreachable | retried after 1, 2, 4, … 64 s, less jitter; a peer without a link is dialled once for all its trees |
/// | refused | nothing until something changes; when commits are refused again and again, as slowly as retries |
/// | disconnected | dialled again as after a failure |
/// | probe unanswered | the links are dropped and dialled again |
///
/// Due times rest in an ordered set, so an event costs a look-up per relation it concerns and the wake-up none.
#[derive(Debug)]
pub struct Standard {
    options: StandardOptions,
    backoff: Backoff,
    peers: BTreeMap<PublicKey, Peer>,
    /// Who is to hear of a tree's commits.
    related: BTreeMap<Id, BTreeSet<PublicKey>>,
    /// When something is due: a relation, or with no tree the peer's probe.
    timers: BTreeSet<(Moment, PublicKey, Option<Id>)>,
    /// How many relations wait for a retry.
    retries_pending: usize,
    now: Moment,
}

#[derive(Debug, Default)]
struct Peer {
    relations: BTreeMap<Id, Relation>,
    connected: bool,
    /// Failed attempts to reach it since the last answer.
    failures: u32,
    /// No dialling before this moment.
    gate: Option<Moment>,
    probe_due: Option<Moment>,
    probe: Probe,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Probe {
    #[default]
    Idle,
    Unanswered,
    /// Unanswered, and the link it went over is gone: its answer says nothing about a newer link.
    Stale,
}

#[derive(Debug)]
struct Relation {
    preferences: Preferences,
    /// `false`: ended while a sync was unanswered; kept for that answer, so that no second one is asked for.
    wanted: bool,
    unanswered: bool,
    /// Something changed since the unanswered sync began.
    dirty: bool,
    due: Option<Moment>,
    /// Failures over an open link since the last success.
    failures: u32,
    refusals: u32,
    refused_at: Option<Moment>,
    retrying: bool,
}

impl Relation {
    fn new(preferences: Preferences) -> Self {
        Self {
            preferences,
            wanted: true,
            unanswered: false,
            dirty: false,
            due: None,
            failures: 0,
            refusals: 0,
            refused_at: None,
            retrying: false,
        }
    }

    fn is_idle(&self) -> bool {
        self.wanted && !self.unanswered
    }
}

impl Standard {
    /// A scheduler that knows no peer yet. Options out of range are taken as the nearest valid ones; `seed` feeds the jitter.
    ///
    /// ```
    /// use eidetica_kernel::SyncScheduler;
    /// use eidetica_scheduler_standard::{Standard, StandardOptions};
    ///
    /// assert_eq!(Standard::new(StandardOptions::default(), 42).next_wakeup(), None);
    /// ```
    pub fn new(options: StandardOptions, seed: u64) -> Self {
        let options = options.clamped();
        Self {
            backoff: Backoff::new(&options, seed),
            options,
            peers: BTreeMap::new(),
            related: BTreeMap::new(),
            timers: BTreeSet::new(),
            retries_pending: 0,
            now: Moment::ZERO,
        }
    }

    fn interval(&self, preferences: &Preferences) -> Duration {
        let asked = preferences.interval.unwrap_or(Duration::MAX).max(INTERVAL_MIN);
        self.options.interval().min(asked)
    }

    fn after(&self, delay: Duration) -> Moment {
        self.now.saturating_add(delay)
    }

    /// Plans the relation, or with `None` unplans it. `retrying` says that it waits because of a failure.
    fn plan(&mut self, peer: PublicKey, tree: Id, due: Option<Moment>, retrying: bool) {
        let Some(relation) = self.relation(&peer, &tree) else { return };
        let before = std::mem::replace(&mut relation.due, due);
        let was_retrying = std::mem::replace(&mut relation.retrying, retrying);
        if let Some(before) = before {
            self.timers.remove(&(before, peer, Some(tree)));
        }
        if let Some(due) = due {
            self.timers.insert((due, peer, Some(tree)));
        }
        self.retries_pending = self.retries_pending + usize::from(retrying) - usize::from(was_retrying);
    }

    fn plan_probe(&mut self, peer: PublicKey, due: Option<Moment>) {
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        if let Some(before) = std::mem::replace(&mut entry.probe_due, due) {
            self.timers.remove(&(before, peer, None));
        }
        if let Some(due) = due {
            self.timers.insert((due, peer, None));
        }
    }

    fn relation(&mut self, peer: &PublicKey, tree: &Id) -> Option<&mut Relation> {
        self.peers.get_mut(peer)?.relations.get_mut(tree)
    }

    /// Asks for a sync now, or after the answer of the one under way.
    fn sync(&mut self, peer: PublicKey, tree: Id, actions: &mut Vec<Action>) {
        let Some(relation) = self.relation(&peer, &tree) else { return };
        if !relation.wanted {
            return;
        }
        if relation.unanswered {
            relation.dirty = true;
            return;
        }
        relation.unanswered = true;
        relation.dirty = false;
        self.plan(peer, tree, None, false);
        actions.push(Action::Sync { peer, tree });
    }

    /// Syncs every relation of the peer that isn't under way.
    fn sync_all(&mut self, peer: PublicKey, actions: &mut Vec<Action>) {
        for tree in self.idle_trees(&peer) {
            self.sync(peer, tree, actions);
        }
    }

    fn idle_trees(&self, peer: &PublicKey) -> Vec<Id> {
        let relations = self.peers.get(peer).into_iter().flat_map(|peer| &peer.relations);
        relations.filter(|(_, relation)| relation.is_idle()).map(|(tree, _)| *tree).collect()
    }

    fn related(&mut self, peer: PublicKey, tree: Id, preferences: Preferences, actions: &mut Vec<Action>) {
        self.related.entry(tree).or_default().insert(peer);
        let relations = &mut self.peers.entry(peer).or_default().relations;
        let Some(relation) = relations.get_mut(&tree) else {
            relations.insert(tree, Relation::new(preferences));
            return self.sync(peer, tree, actions);
        };
        let resumed = !std::mem::replace(&mut relation.wanted, true);
        relation.preferences = preferences;
        let (due, retrying) = (relation.due, relation.retrying);
        let refused = std::mem::take(&mut relation.refusals) > 0;
        match due {
            _ if resumed || refused => self.sync(peer, tree, actions),
            Some(_) if retrying => {}
            Some(due) => {
                let sooner = self.after(self.interval(&preferences));
                self.plan(peer, tree, Some(due.min(sooner)), false);
            }
            // Under way.
            None => self.sync(peer, tree, actions),
        }
    }

    fn unrelated(&mut self, peer: PublicKey, tree: Id) {
        if let Some(peers) = self.related.get_mut(&tree) {
            peers.remove(&peer);
            if peers.is_empty() {
                self.related.remove(&tree);
            }
        }
        self.plan(peer, tree, None, false);
        if let Some(relation) = self.relation(&peer, &tree) {
            relation.wanted = false;
            relation.dirty = false;
        }
        self.forget_if_done(peer, &tree);
    }

    fn committed(&mut self, tree: Id, actions: &mut Vec<Action>) {
        if !self.options.on_commit {
            return;
        }
        let peers: Vec<PublicKey> = self.related.get(&tree).into_iter().flatten().copied().collect();
        for peer in peers {
            let Some(relation) = self.relation(&peer, &tree) else { continue };
            if !relation.preferences.on_commit || relation.retrying {
                continue;
            }
            if relation.refused_at.is_some() && !relation.unanswered {
                self.sync_refused(peer, tree, actions);
                continue;
            }
            let gate = self.peers.get(&peer).and_then(|peer| peer.gate).filter(|gate| *gate > self.now);
            match gate {
                Some(gate) if self.relation(&peer, &tree).is_some_and(|relation| !relation.unanswered) => {
                    self.plan(peer, tree, Some(gate), true);
                }
                _ => self.sync(peer, tree, actions),
            }
        }
    }

    /// A commit to a tree that the peer refused: the first is tried at once, further ones as slowly as retries.
    fn sync_refused(&mut self, peer: PublicKey, tree: Id, actions: &mut Vec<Action>) {
        let Some(relation) = self.relation(&peer, &tree) else { return };
        let (refusals, refused_at) = (relation.refusals, relation.refused_at);
        let earliest = match refused_at {
            Some(at) if refusals > 1 => at.saturating_add(self.backoff.delay(refusals - 1)),
            _ => self.now,
        };
        if earliest <= self.now {
            self.sync(peer, tree, actions);
        } else {
            self.plan(peer, tree, Some(earliest), true);
        }
    }

    fn connected(&mut self, peer: PublicKey, actions: &mut Vec<Action>) {
        let entry = self.peers.entry(peer).or_default();
        entry.gate = None;
        if std::mem::replace(&mut entry.connected, true) {
            return;
        }
        self.plan_probe(peer, Some(self.after(self.options.health_check())));
        self.sync_all(peer, actions);
    }

    /// The peer has no link any more: what isn't under way waits for a new one.
    fn disconnected(&mut self, peer: PublicKey) {
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        if !std::mem::replace(&mut entry.connected, false) {
            return;
        }
        if entry.probe == Probe::Unanswered {
            entry.probe = Probe::Stale;
        }
        self.plan_probe(peer, None);
        let gate = self.wait_for_link(peer);
        for tree in self.idle_trees(&peer) {
            let refused = self.relation(&peer, &tree).is_some_and(|relation| relation.refused_at.is_some());
            if !refused {
                self.plan(peer, tree, gate, true);
            }
        }
        self.forget_peer_if_done(peer);
    }

    /// When the peer may be dialled next. Failures that belong to one attempt share one delay.
    fn wait_for_link(&mut self, peer: PublicKey) -> Option<Moment> {
        let now = self.now;
        let entry = self.peers.get_mut(&peer)?;
        if entry.gate.is_none_or(|gate| gate <= now) {
            entry.failures = entry.failures.saturating_add(1);
            entry.gate = Some(now.saturating_add(self.backoff.delay(entry.failures)));
        }
        entry.gate
    }

    /// Takes the answer of a sync; `false` if none was awaited.
    fn answered(&mut self, peer: PublicKey, tree: Id) -> bool {
        let Some(relation) = self.relation(&peer, &tree) else { return false };
        let awaited = std::mem::replace(&mut relation.unanswered, false);
        self.forget_if_done(peer, &tree);
        awaited && self.relation(&peer, &tree).is_some()
    }

    fn acknowledged(&mut self, peer: PublicKey, tree: Id, actions: &mut Vec<Action>) {
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.failures = 0;
            entry.gate = None;
        }
        let awaited = self.answered(peer, tree);
        let Some(relation) = self.relation(&peer, &tree) else { return };
        relation.failures = 0;
        relation.refusals = 0;
        relation.refused_at = None;
        let (dirty, due, retrying) = (std::mem::take(&mut relation.dirty), relation.due, relation.retrying);
        let preferences = relation.preferences;
        if dirty {
            self.sync(peer, tree, actions);
        } else if awaited || due.is_none() || retrying {
            let due = self.after(self.interval(&preferences));
            self.plan(peer, tree, Some(due), false);
        }
    }

    fn failed(&mut self, peer: PublicKey, tree: Id, failure: Failure, actions: &mut Vec<Action>) {
        if !self.answered(peer, tree) {
            return;
        }
        let (now, linked) = (self.now, self.peers.get(&peer).is_some_and(|peer| peer.connected));
        let Some(relation) = self.relation(&peer, &tree) else { return };
        let dirty = std::mem::take(&mut relation.dirty);
        match failure {
            Failure::Refused => {
                relation.refusals = relation.refusals.saturating_add(1);
                relation.refused_at = Some(now);
                if dirty {
                    self.sync_refused(peer, tree, actions);
                }
            }
            Failure::Unreachable if linked => {
                relation.failures = relation.failures.saturating_add(1);
                let failures = relation.failures;
                let due = now.saturating_add(self.backoff.delay(failures));
                self.plan(peer, tree, Some(due), true);
            }
            Failure::Unreachable => {
                let gate = self.wait_for_link(peer);
                self.plan(peer, tree, gate, true);
            }
        }
    }

    fn probed(&mut self, peer: PublicKey, alive: bool, actions: &mut Vec<Action>) {
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        let probe = std::mem::take(&mut entry.probe);
        if probe == Probe::Unanswered && !alive {
            actions.push(Action::Drop { peer });
            // The engine reports the links it drops; waiting for that would leave a lost report without a retry.
            self.disconnected(peer);
        }
        self.forget_peer_if_done(peer);
    }

    fn reset(&mut self, peer: PublicKey, actions: &mut Vec<Action>) {
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        entry.failures = 0;
        entry.gate = None;
        for relation in entry.relations.values_mut() {
            relation.failures = 0;
            relation.refusals = 0;
            relation.dirty |= relation.unanswered && relation.wanted;
        }
        self.sync_all(peer, actions);
    }

    fn tick(&mut self, actions: &mut Vec<Action>) {
        while let Some((at, peer, what)) = self.timers.first().copied().filter(|(at, ..)| *at <= self.now) {
            match what {
                Some(tree) => self.sync(peer, tree, actions),
                None => {
                    self.plan_probe(peer, Some(self.after(self.options.health_check())));
                    if let Some(entry) = self.peers.get_mut(&peer).filter(|entry| entry.probe == Probe::Idle)
                    {
                        entry.probe = Probe::Unanswered;
                        actions.push(Action::Probe { peer });
                    }
                }
            }
            // What was due has been planned anew or unplanned; this holds even if it belonged to nobody.
            self.timers.remove(&(at, peer, what));
        }
    }

    fn forget_if_done(&mut self, peer: PublicKey, tree: &Id) {
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        if entry.relations.get(tree).is_some_and(|relation| !relation.wanted && !relation.unanswered) {
            entry.relations.remove(tree);
        }
        self.forget_peer_if_done(peer);
    }

    fn forget_peer_if_done(&mut self, peer: PublicKey) {
        let done = |peer: &Peer| peer.relations.is_empty() && !peer.connected && peer.probe == Probe::Idle;
        if self.peers.get(&peer).is_some_and(done) {
            self.peers.remove(&peer);
        }
    }
}

impl SyncScheduler for Standard {
    fn handle(&mut self, now: Moment, event: Event, actions: &mut Vec<Action>) {
        self.now = self.now.max(now);
        match event {
            Event::Related { peer, tree, preferences } => self.related(peer, tree, preferences, actions),
            Event::Unrelated { peer, tree } => self.unrelated(peer, tree),
            Event::Committed { tree } => self.committed(tree, actions),
            Event::Connected { peer } => self.connected(peer, actions),
            Event::Disconnected { peer } => self.disconnected(peer),
            Event::Acknowledged { peer, tree, .. } => self.acknowledged(peer, tree, actions),
            Event::SyncFailed { peer, tree, failure } => self.failed(peer, tree, failure, actions),
            Event::Probed { peer, alive } => self.probed(peer, alive, actions),
            Event::PeerReset { peer } => self.reset(peer, actions),
            Event::Tick => self.tick(actions),
            _ => {}
        }
    }

    fn next_wakeup(&self) -> Option<Moment> {
        let (due, ..) = self.timers.first()?;
        let tick = self.after(self.options.retry_tick());
        let due = if self.retries_pending > 0 { (*due).min(tick) } else { *due };
        // Something may be due already, when another event came first: the tick for it still lies ahead.
        Some(due.max(self.after(Duration::from_millis(1))))
    }

    fn next_attempt(&self, peer: &PublicKey, tree: &Id) -> Option<Moment> {
        self.peers.get(peer)?.relations.get(tree)?.due
    }
}
