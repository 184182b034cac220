//! The state machine.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use eidetica_kernel::scheduler::{
    Action, Backoff, Event, Failure, Moment, Plan, Preferences, Promises, Wait,
};
use eidetica_kernel::{Id, PublicKey, SyncScheduler};

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
    plan: Plan<Relation>,
    /// Peers that have a link, a failure behind them, or an unanswered probe.
    peers: BTreeMap<PublicKey, Peer>,
    probes: BTreeSet<(Moment, PublicKey)>,
    /// How many relations wait for a retry.
    retries_pending: usize,
    now: Moment,
}

#[derive(Debug, Default)]
struct Peer {
    connected: bool,
    /// Failed attempts to reach it since the last answer; no dialling before they are waited for.
    wait: Wait,
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

#[derive(Debug, Default)]
struct Relation {
    /// Failures over an open link since the last success.
    failures: u32,
    refusals: u32,
    refused_at: Option<Moment>,
    retrying: bool,
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
            backoff: options.backoff(seed),
            options,
            plan: Plan::default(),
            peers: BTreeMap::new(),
            probes: BTreeSet::new(),
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
        self.retrying(&peer, &tree, retrying);
        self.plan.plan(&peer, &tree, due);
    }

    fn retrying(&mut self, peer: &PublicKey, tree: &Id, retrying: bool) {
        let Some(relation) = self.relation(peer, tree) else { return };
        let was_retrying = std::mem::replace(&mut relation.retrying, retrying);
        self.retries_pending = self.retries_pending + usize::from(retrying) - usize::from(was_retrying);
    }

    fn plan_probe(&mut self, peer: PublicKey, due: Option<Moment>) {
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        if let Some(before) = std::mem::replace(&mut entry.probe_due, due) {
            self.probes.remove(&(before, peer));
        }
        if let Some(due) = due {
            self.probes.insert((due, peer));
        }
    }

    fn relation(&mut self, peer: &PublicKey, tree: &Id) -> Option<&mut Relation> {
        self.plan.get_mut(peer, tree).map(|planned| &mut planned.of)
    }

    /// Asks for a sync now, or after the answer of the one under way.
    fn sync(&mut self, peer: PublicKey, tree: Id, actions: &mut Vec<Action>) {
        self.retrying(&peer, &tree, false);
        self.plan.sync(peer, tree, actions);
    }

    /// Syncs every relation of the peer that isn't under way.
    fn sync_all(&mut self, peer: PublicKey, actions: &mut Vec<Action>) {
        for tree in self.plan.idle_trees(&peer) {
            self.sync(peer, tree, actions);
        }
    }

    fn related(&mut self, peer: PublicKey, tree: Id, preferences: Preferences, actions: &mut Vec<Action>) {
        if self.plan.relate(peer, tree, preferences) {
            return self.sync(peer, tree, actions);
        }
        let Some(planned) = self.plan.get_mut(&peer, &tree) else { return };
        let refused = std::mem::take(&mut planned.of.refusals) > 0;
        match planned.due() {
            _ if refused => self.sync(peer, tree, actions),
            Some(_) if planned.of.retrying => {}
            Some(_) => self.plan.plan_by(&peer, &tree, self.after(self.interval(&preferences))),
            // Under way.
            None => self.sync(peer, tree, actions),
        }
    }

    fn unrelated(&mut self, peer: PublicKey, tree: Id) {
        self.retrying(&peer, &tree, false);
        self.plan.unrelate(&peer, &tree);
        self.forget_peer_if_done(peer);
    }

    fn committed(&mut self, tree: Id, actions: &mut Vec<Action>) {
        if !self.options.on_commit {
            return;
        }
        for peer in self.plan.peers(&tree) {
            let Some(planned) = self.plan.get(&peer, &tree) else { continue };
            if !planned.preferences.on_commit || planned.of.retrying {
                continue;
            }
            if planned.is_under_way() {
                self.plan.sync_again(&peer, &tree);
                continue;
            }
            if planned.of.refused_at.is_some() {
                self.sync_refused(peer, tree, actions);
                continue;
            }
            match self.peers.get(&peer).and_then(|peer| peer.wait.until(self.now)) {
                Some(until) => self.plan(peer, tree, Some(until), true),
                None => self.sync(peer, tree, actions),
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
        entry.wait.end();
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
        let until = self.wait_for_link(peer);
        for tree in self.plan.idle_trees(&peer) {
            let refused = self.relation(&peer, &tree).is_some_and(|relation| relation.refused_at.is_some());
            if !refused {
                self.plan(peer, tree, Some(until), true);
            }
        }
        self.forget_peer_if_done(peer);
    }

    /// When the peer may be dialled next. Failures that belong to one attempt share one delay.
    fn wait_for_link(&mut self, peer: PublicKey) -> Moment {
        self.peers.entry(peer).or_default().wait.failed(self.now, &mut self.backoff)
    }

    /// Takes the answer of a sync: whether another was asked for meanwhile; `None` if none was awaited.
    fn answered(&mut self, peer: PublicKey, tree: Id) -> Option<bool> {
        let answered = self.plan.answered(&peer, &tree);
        self.forget_peer_if_done(peer);
        answered
    }

    fn acknowledged(&mut self, peer: PublicKey, tree: Id, actions: &mut Vec<Action>) {
        let Some(again) = self.answered(peer, tree) else { return };
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.wait.clear();
            self.forget_peer_if_done(peer);
        }
        let Some(planned) = self.plan.get_mut(&peer, &tree) else { return };
        planned.of = Relation::default();
        let preferences = planned.preferences;
        if again {
            self.sync(peer, tree, actions);
        } else {
            let due = self.after(self.interval(&preferences));
            self.plan(peer, tree, Some(due), false);
        }
    }

    fn failed(&mut self, peer: PublicKey, tree: Id, failure: Failure, actions: &mut Vec<Action>) {
        let Some(again) = self.answered(peer, tree) else { return };
        let (now, linked) = (self.now, self.peers.get(&peer).is_some_and(|peer| peer.connected));
        let Some(relation) = self.relation(&peer, &tree) else { return };
        match failure {
            Failure::Refused => {
                relation.refusals = relation.refusals.saturating_add(1);
                relation.refused_at = Some(now);
                if again {
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
                let until = self.wait_for_link(peer);
                self.plan(peer, tree, Some(until), true);
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
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.wait.clear();
        }
        for tree in self.plan.trees(&peer) {
            if let Some(relation) = self.relation(&peer, &tree) {
                relation.failures = 0;
                relation.refusals = 0;
            }
            self.plan.sync_again(&peer, &tree);
        }
        self.sync_all(peer, actions);
        self.forget_peer_if_done(peer);
    }

    fn tick(&mut self, actions: &mut Vec<Action>) {
        while let Some((_, peer)) = self.probes.first().copied().filter(|(at, _)| *at <= self.now) {
            self.plan_probe(peer, Some(self.after(self.options.health_check())));
            if let Some(entry) = self.peers.get_mut(&peer).filter(|entry| entry.probe == Probe::Idle) {
                entry.probe = Probe::Unanswered;
                actions.push(Action::Probe { peer });
            }
        }
        while let Some((_, peer, tree)) = self.plan.first_due().filter(|(at, ..)| *at <= self.now) {
            self.sync(peer, tree, actions);
        }
    }

    fn forget_peer_if_done(&mut self, peer: PublicKey) {
        let idle = |peer: &Peer| !peer.connected && peer.probe == Probe::Idle;
        if !self.plan.knows(&peer) && self.peers.get(&peer).is_some_and(idle) {
            self.peers.remove(&peer);
        }
    }
}

impl SyncScheduler for Standard {
    fn promises(&self) -> Promises {
        Promises {
            sync_within: Some(self.options.interval()),
            commit_within: self.options.on_commit.then_some(Duration::ZERO),
            retry_within: Some(self.options.retry_max()),
            pause_max: Duration::ZERO,
        }
    }

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
        let probe = self.probes.first().map(|(at, _)| *at);
        let due = probe.into_iter().chain(self.plan.next_due()).min()?;
        let due = if self.retries_pending > 0 { due.min(self.after(self.options.retry_tick())) } else { due };
        // Something may be due already, when another event came first: the tick for it still lies ahead.
        Some(due.max(self.after(Duration::from_millis(1))))
    }

    fn next_attempt(&self, peer: &PublicKey, tree: &Id) -> Option<Moment> {
        self.plan.get(peer, tree)?.due()
    }

    fn pushes(&self, peer: &PublicKey, tree: &Id) -> bool {
        self.options.on_commit
            && self.plan.get(peer, tree).is_some_and(|planned| planned.preferences.on_commit)
    }
}
