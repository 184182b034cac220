//! The state machine.

use std::time::Duration;

use eidetica_kernel::scheduler::{
    Action, Backoff, Event, Failure, Moment, Peers, Plan, Planned, Preferences, Promises, Retry,
};
use eidetica_kernel::{Id, PublicKey, SyncScheduler};

use crate::options::OnCommitOptions;

/// The least time between two exchanges that a user asks for.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// Syncs when something happens, and never by the clock, but for retries.
///
/// | event | what follows |
/// |---|---|
/// | related, connected, reset | the relations concerned are synced at once |
/// | committed | pushed at once, unless its users say no, or the peer is being waited for |
/// | acknowledged | nothing; the next sync is due only if users ask for an interval |
/// | unreachable, link lost | tried again with growing delays; a peer without a link is dialled once for all its trees |
/// | refused | nothing until something happens; commits try it as slowly as retries |
#[derive(Debug)]
pub struct OnCommit {
    options: OnCommitOptions,
    backoff: Backoff,
    plan: Plan<Relation>,
    peers: Peers,
    now: Moment,
}

#[derive(Debug, Default)]
struct Relation {
    retry: Retry,
}

impl OnCommit {
    /// A scheduler that knows no peer yet. Options out of range are taken as the nearest valid ones; `seed` feeds the jitter.
    ///
    /// ```
    /// use eidetica_kernel::SyncScheduler;
    /// use eidetica_scheduler_on_commit::{OnCommit, OnCommitOptions};
    ///
    /// assert_eq!(OnCommit::new(OnCommitOptions::default(), 42).next_wakeup(), None);
    /// ```
    pub fn new(options: OnCommitOptions, seed: u64) -> Self {
        let options = options.clamped();
        let backoff = options.backoff(seed);
        Self { options, backoff, plan: Plan::default(), peers: Peers::default(), now: Moment::ZERO }
    }

    /// When the relation is due without anything happening: only if its users ask for it.
    fn by_users(&self, preferences: &Preferences) -> Option<Moment> {
        let interval = preferences.interval?.max(INTERVAL_MIN);
        Some(self.now.saturating_add(interval))
    }

    /// Until when the relation, or its peer, is to be left alone.
    fn waits_until(&self, peer: &PublicKey, tree: &Id) -> Option<Moment> {
        self.peers.waits_until(peer, &self.plan.get(peer, tree)?.of.retry, self.now)
    }

    fn related(&mut self, peer: PublicKey, tree: Id, preferences: Preferences, actions: &mut Vec<Action>) {
        let new = self.plan.relate(peer, tree, preferences);
        let Some(planned) = self.plan.get_mut(&peer, &tree) else { return };
        let refused = std::mem::take(&mut planned.of.retry.refused);
        if new || refused {
            self.plan.sync(peer, tree, actions);
        } else if let Some(due) = self.by_users(&preferences) {
            self.plan.plan_by(&peer, &tree, due);
        }
    }

    fn committed(&mut self, tree: Id, actions: &mut Vec<Action>) {
        for peer in self.plan.peers(&tree) {
            let Some(planned) = self.plan.get(&peer, &tree) else { continue };
            if !planned.preferences.on_commit {
                continue;
            }
            match self.waits_until(&peer, &tree) {
                Some(until) if !planned.is_under_way() => self.plan.plan_by(&peer, &tree, until),
                _ => self.plan.sync(peer, tree, actions),
            }
        }
    }

    fn connected(&mut self, peer: PublicKey, actions: &mut Vec<Action>) {
        if self.peers.connected(peer) {
            for tree in self.plan.idle_trees(&peer) {
                self.plan.sync(peer, tree, actions);
            }
        }
    }

    fn disconnected(&mut self, peer: PublicKey) {
        let Some(until) = self.peers.disconnected(&peer, self.now, &mut self.backoff) else { return };
        for tree in self.plan.idle_trees(&peer) {
            if self.plan.get(&peer, &tree).is_some_and(|planned| !planned.of.retry.refused) {
                self.plan.plan(&peer, &tree, Some(until));
            }
        }
        self.forget_peer_if_done(peer);
    }

    fn acknowledged(&mut self, peer: PublicKey, tree: Id, actions: &mut Vec<Action>) {
        let Some(again) = self.plan.answered(&peer, &tree) else { return self.forget_peer_if_done(peer) };
        self.peers.clear(&peer);
        let Some(planned) = self.plan.get_mut(&peer, &tree) else { return };
        planned.of = Relation::default();
        let preferences = planned.preferences;
        if again {
            self.plan.sync(peer, tree, actions);
        } else {
            self.plan.plan(&peer, &tree, self.by_users(&preferences));
        }
    }

    fn failed(&mut self, peer: PublicKey, tree: Id, failure: Failure) {
        let Some(again) = self.plan.answered(&peer, &tree) else { return self.forget_peer_if_done(peer) };
        let Some(planned) = self.plan.get_mut(&peer, &tree) else { return };
        let until = self.peers.failed(&peer, &mut planned.of.retry, failure, self.now, &mut self.backoff);
        if failure == Failure::Unreachable || again {
            self.plan.plan(&peer, &tree, Some(until));
        }
    }

    fn reset(&mut self, peer: PublicKey, actions: &mut Vec<Action>) {
        self.peers.clear(&peer);
        for tree in self.plan.trees(&peer) {
            if let Some(planned) = self.plan.get_mut(&peer, &tree) {
                planned.of.retry.wait.clear();
            }
            self.plan.sync(peer, tree, actions);
        }
        self.forget_peer_if_done(peer);
    }

    fn forget_peer_if_done(&mut self, peer: PublicKey) {
        if !self.plan.knows(&peer) {
            self.peers.forget(&peer);
        }
    }
}

impl SyncScheduler for OnCommit {
    fn promises(&self) -> Promises {
        Promises {
            sync_within: None,
            commit_within: Some(Duration::ZERO),
            retry_within: Some(self.options.retry_max()),
            pause_max: Duration::ZERO,
        }
    }

    fn handle(&mut self, now: Moment, event: Event, actions: &mut Vec<Action>) {
        self.now = self.now.max(now);
        match event {
            Event::Related { peer, tree, preferences } => self.related(peer, tree, preferences, actions),
            Event::Unrelated { peer, tree } => {
                self.plan.unrelate(&peer, &tree);
                self.forget_peer_if_done(peer);
            }
            Event::Committed { tree } => self.committed(tree, actions),
            Event::Connected { peer } => self.connected(peer, actions),
            Event::Disconnected { peer } => self.disconnected(peer),
            Event::Acknowledged { peer, tree, .. } => self.acknowledged(peer, tree, actions),
            Event::SyncFailed { peer, tree, failure } => self.failed(peer, tree, failure),
            Event::PeerReset { peer } => self.reset(peer, actions),
            Event::Tick => self.plan.sync_due(self.now, actions),
            _ => {}
        }
    }

    fn next_wakeup(&self) -> Option<Moment> {
        self.plan.next_wakeup(self.now)
    }

    fn next_attempt(&self, peer: &PublicKey, tree: &Id) -> Option<Moment> {
        self.plan.get(peer, tree).and_then(Planned::due)
    }

    fn pushes(&self, peer: &PublicKey, tree: &Id) -> bool {
        self.plan.get(peer, tree).is_some_and(|planned| planned.preferences.on_commit)
    }
}
