//! The state machine.

use std::time::Duration;

use eidetica_kernel::scheduler::{
    Action, Backoff, Event, Failure, Moment, Peers, Plan, Preferences, Promises, Retry,
};
use eidetica_kernel::{Id, PublicKey, SyncScheduler};

use crate::budget::{Budget, WINDOW};
use crate::options::AdaptiveOptions;
use crate::quiet::{self, Quiet};

/// The least time between two exchanges, whatever a user prefers.
const INTERVAL_MIN: Duration = Duration::from_secs(1);
/// While it is quiet or the budget is spent, look this often whether that still holds: clocks are set, and machines sleep.
const LOOK: Duration = Duration::from_secs(15 * 60);

/// Collects commits, backs off where nothing changes, keeps a budget and quiet hours.
///
/// | event | what follows |
/// |---|---|
/// | related, connected, reset | the relations concerned are synced at once |
/// | committed | synced when no more commits come, or some time after the first of them |
/// | acknowledged | the next sync is due after the least interval, doubled for each exchange since something changed |
/// | unreachable, link lost | tried again with growing delays; a peer without a link is dialled once for all its trees |
/// | refused | nothing until something happens; commits try it as slowly as retries |
///
/// In quiet hours, and while the hour's bytes have reached the budget, nothing is begun: it waits in the order in which it was due.
#[derive(Debug)]
pub struct Adaptive {
    options: AdaptiveOptions,
    backoff: Backoff,
    plan: Plan<Relation>,
    peers: Peers,
    budget: Budget,
    quiet: Quiet,
    now: Moment,
}

#[derive(Debug, Default)]
struct Relation {
    retry: Retry,
    /// When the first commit came that no sync was asked for since.
    burst: Option<Moment>,
    /// It is due because of that.
    collecting: bool,
    /// Exchanges since something was committed.
    idle: u32,
}

impl Adaptive {
    /// A scheduler that knows no peer yet. Options out of range are taken as the nearest valid ones; `seed` feeds the jitter.
    ///
    /// ```
    /// use eidetica_kernel::SyncScheduler;
    /// use eidetica_scheduler_adaptive::{Adaptive, AdaptiveOptions};
    ///
    /// assert_eq!(Adaptive::new(AdaptiveOptions::default(), 42).next_wakeup(), None);
    /// ```
    pub fn new(options: AdaptiveOptions, seed: u64) -> Self {
        let options = options.clamped();
        Self {
            backoff: options.backoff(seed),
            plan: Plan::default(),
            peers: Peers::default(),
            budget: Budget::new(options.hourly_budget_bytes),
            quiet: Quiet::new(options.quiet_hours.clone(), options.utc_offset_minutes),
            now: Moment::ZERO,
            options,
        }
    }

    /// The first moment from `at` on at which something may be begun.
    fn open(&self, at: Moment) -> Moment {
        self.quiet.end(self.budget.open(at))
    }

    /// When the next exchange is due if nothing happens.
    fn after_interval(&self, preferences: &Preferences, idle: u32) -> Moment {
        let doubled = self.options.interval_min().saturating_mul(1 << idle.min(31));
        let asked = preferences.interval.unwrap_or(Duration::MAX).max(INTERVAL_MIN);
        self.now.saturating_add(doubled.min(self.options.interval_max()).min(asked))
    }

    /// Until when the relation, or its peer, is to be left alone.
    fn waits_until(&self, peer: &PublicKey, tree: &Id) -> Option<Moment> {
        self.peers.waits_until(peer, &self.plan.get(peer, tree)?.of.retry, self.now)
    }

    /// Syncs the relation now, or once something may be begun.
    fn want(&mut self, peer: PublicKey, tree: Id, actions: &mut Vec<Action>) {
        if let Some(planned) = self.plan.get_mut(&peer, &tree) {
            planned.of.collecting = false;
        }
        self.plan.plan(&peer, &tree, Some(self.now));
        if self.open(self.now) <= self.now {
            self.begin(peer, tree, actions);
        } else {
            self.plan.sync_again(&peer, &tree);
        }
    }

    fn begin(&mut self, peer: PublicKey, tree: Id, actions: &mut Vec<Action>) {
        if let Some(planned) = self.plan.get_mut(&peer, &tree).filter(|planned| !planned.is_under_way()) {
            (planned.of.burst, planned.of.collecting) = (None, false);
        }
        self.plan.sync(peer, tree, actions);
    }

    fn related(&mut self, peer: PublicKey, tree: Id, preferences: Preferences, actions: &mut Vec<Action>) {
        let new = self.plan.relate(peer, tree, preferences);
        let Some(planned) = self.plan.get_mut(&peer, &tree) else { return };
        let refused = std::mem::take(&mut planned.of.retry.refused);
        let idle = planned.of.idle;
        if new || refused {
            self.want(peer, tree, actions);
        } else {
            let due = self.after_interval(&preferences, idle);
            self.plan.plan_by(&peer, &tree, due);
        }
    }

    fn committed(&mut self, tree: Id) {
        for peer in self.plan.peers(&tree) {
            let waits = self.waits_until(&peer, &tree);
            let now = self.now;
            let Some(planned) = self.plan.get_mut(&peer, &tree) else { continue };
            let preferences = planned.preferences;
            planned.of.idle = 0;
            if !preferences.on_commit {
                if !planned.of.retry.refused && !planned.is_under_way() && waits.is_none() {
                    let due = self.after_interval(&preferences, 0);
                    self.plan.plan_by(&peer, &tree, due);
                }
                continue;
            }
            planned.of.burst.get_or_insert(now);
            if planned.is_under_way() {
                self.plan.sync_again(&peer, &tree);
            } else if let Some(until) = waits {
                self.plan.plan_by(&peer, &tree, until);
            } else {
                self.collect(&peer, &tree);
            }
        }
    }

    /// Waits for more commits, but not for long.
    fn collect(&mut self, peer: &PublicKey, tree: &Id) {
        let now = self.now;
        let Some(planned) = self.plan.get_mut(peer, tree) else { return };
        let first = *planned.of.burst.get_or_insert(now);
        let calm = now.saturating_add(self.options.debounce());
        let due = calm.min(first.saturating_add(self.options.debounce_max())).max(now);
        // What is due anyway, and sooner, takes the commits along.
        if planned.of.collecting || planned.due().is_none_or(|planned| planned > due) {
            planned.of.collecting = true;
            self.plan.plan(peer, tree, Some(due));
        }
    }

    fn connected(&mut self, peer: PublicKey, actions: &mut Vec<Action>) {
        if self.peers.connected(peer) {
            for tree in self.plan.idle_trees(&peer) {
                self.want(peer, tree, actions);
            }
        }
    }

    fn disconnected(&mut self, peer: PublicKey) {
        let Some(until) = self.peers.disconnected(&peer, self.now, &mut self.backoff) else { return };
        for tree in self.plan.idle_trees(&peer) {
            self.retry_at(&peer, &tree, until);
        }
        self.forget_peer_if_done(peer);
    }

    fn retry_at(&mut self, peer: &PublicKey, tree: &Id, until: Moment) {
        if let Some(planned) = self.plan.get_mut(peer, tree).filter(|planned| !planned.of.retry.refused) {
            planned.of.collecting = false;
            self.plan.plan(peer, tree, Some(until));
        }
    }

    fn acknowledged(&mut self, peer: PublicKey, tree: Id, bytes: u64) {
        self.budget.spend(self.now, bytes);
        let Some(again) = self.plan.answered(&peer, &tree) else { return self.forget_peer_if_done(peer) };
        self.peers.clear(&peer);
        let Some(planned) = self.plan.get_mut(&peer, &tree) else { return };
        planned.of.retry.wait.clear();
        planned.of.retry.refused = false;
        let (idle, preferences) = (planned.of.idle, planned.preferences);
        planned.of.idle = idle.saturating_add(1);
        let due = self.after_interval(&preferences, idle);
        self.plan.plan(&peer, &tree, Some(due));
        if again {
            self.collect(&peer, &tree);
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
            self.want(peer, tree, actions);
        }
        self.forget_peer_if_done(peer);
    }

    fn forget_peer_if_done(&mut self, peer: PublicKey) {
        if !self.plan.knows(&peer) {
            self.peers.forget(&peer);
        }
    }
}

impl SyncScheduler for Adaptive {
    fn promises(&self) -> Promises {
        let quiet = quiet::longest(&self.options.quiet_hours).unwrap_or_default();
        let spent = self.options.hourly_budget_bytes.map_or(Duration::ZERO, |_| WINDOW);
        Promises {
            sync_within: Some(self.options.interval_max()),
            commit_within: Some(self.options.debounce_max()),
            retry_within: Some(self.options.retry_max()),
            pause_max: quiet + spent,
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
            Event::Committed { tree } => self.committed(tree),
            Event::Connected { peer } => self.connected(peer, actions),
            Event::Disconnected { peer } => self.disconnected(peer),
            Event::Acknowledged { peer, tree, bytes } => self.acknowledged(peer, tree, bytes),
            Event::SyncFailed { peer, tree, failure } => self.failed(peer, tree, failure),
            Event::PeerReset { peer } => self.reset(peer, actions),
            Event::WallClock { wall } => self.quiet.told(self.now, wall),
            Event::Tick if self.open(self.now) <= self.now => {
                while let Some((_, peer, tree)) = self.plan.first_due().filter(|(at, ..)| *at <= self.now) {
                    self.begin(peer, tree, actions);
                }
            }
            _ => {}
        }
    }

    fn next_wakeup(&self) -> Option<Moment> {
        let due = self.plan.next_due()?.max(self.now);
        let open = self.open(due);
        let look = self.now.saturating_add(LOOK);
        let at = if open > due { open.min(look) } else { due };
        // Something may be due already, when another event came first: the tick for it still lies ahead.
        Some(at.max(self.now.saturating_add(Duration::from_millis(1))))
    }

    fn next_attempt(&self, peer: &PublicKey, tree: &Id) -> Option<Moment> {
        self.plan.get(peer, tree)?.due().map(|due| self.open(due))
    }

    fn pushes(&self, _peer: &PublicKey, _tree: &Id) -> bool {
        false
    }
}
