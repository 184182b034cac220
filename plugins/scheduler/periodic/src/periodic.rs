//! The state machine.

use std::time::Duration;

use eidetica_kernel::scheduler::{
    Action, Backoff, Event, Failure, Moment, Plan, Planned, Preferences, Promises,
};
use eidetica_kernel::{Id, PublicKey, SyncScheduler};

use crate::options::PeriodicOptions;

/// The least time between two exchanges, whatever a user prefers.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// Syncs every relation at intervals, and on nothing else.
///
/// | event | what follows |
/// |---|---|
/// | related, reset | the relations concerned are synced at once |
/// | committed | nothing: it goes with the next exchange |
/// | acknowledged, unreachable, link lost | the next sync is due after the interval |
/// | refused | nothing until it is related again, reset, or the peer connects |
#[derive(Debug)]
pub struct Periodic {
    options: PeriodicOptions,
    chance: Backoff,
    plan: Plan<Relation>,
    now: Moment,
}

#[derive(Debug, Default)]
struct Relation {
    refused: bool,
}

impl Periodic {
    /// A scheduler that knows no peer yet. Options out of range are taken as the nearest valid ones; `seed` feeds the jitter.
    ///
    /// ```
    /// use eidetica_kernel::SyncScheduler;
    /// use eidetica_scheduler_periodic::{Periodic, PeriodicOptions};
    ///
    /// assert_eq!(Periodic::new(PeriodicOptions::default(), 42).next_wakeup(), None);
    /// ```
    pub fn new(options: PeriodicOptions, seed: u64) -> Self {
        let options = options.clamped();
        Self { chance: options.chance(seed), options, plan: Plan::default(), now: Moment::ZERO }
    }

    fn interval(&self, preferences: &Preferences) -> Duration {
        let asked = preferences.interval.unwrap_or(Duration::MAX).max(INTERVAL_MIN);
        self.options.interval().min(asked)
    }

    /// Plans the next exchange: together with another that is due about then, so that one wake-up does for both.
    fn plan_next(&mut self, peer: &PublicKey, tree: &Id) {
        let Some(planned) = self.plan.get(peer, tree) else { return };
        let interval = self.interval(&planned.preferences);
        let soonest = self.now.saturating_add(interval.mul_f64(1.0 - self.options.jitter));
        let latest = self.now.saturating_add(interval);
        let due = match self.plan.due_within(soonest..=latest) {
            Some(due) => due,
            None => self.now.saturating_add(self.chance.shortened(interval)),
        };
        self.plan.plan(peer, tree, Some(due));
    }

    fn related(&mut self, peer: PublicKey, tree: Id, preferences: Preferences, actions: &mut Vec<Action>) {
        let new = self.plan.relate(peer, tree, preferences);
        let Some(planned) = self.plan.get_mut(&peer, &tree) else { return };
        let refused = std::mem::take(&mut planned.of.refused);
        if new || refused {
            self.plan.sync(peer, tree, actions);
        } else {
            let due = self.now.saturating_add(self.interval(&preferences));
            self.plan.plan_by(&peer, &tree, due);
        }
    }

    fn answered(&mut self, peer: PublicKey, tree: Id, failure: Option<Failure>, actions: &mut Vec<Action>) {
        let Some(again) = self.plan.answered(&peer, &tree) else { return };
        let Some(planned) = self.plan.get_mut(&peer, &tree) else { return };
        planned.of.refused = failure == Some(Failure::Refused);
        match failure {
            None if again => self.plan.sync(peer, tree, actions),
            None | Some(Failure::Unreachable) => self.plan_next(&peer, &tree),
            Some(Failure::Refused) => {}
        }
    }
}

impl SyncScheduler for Periodic {
    fn promises(&self) -> Promises {
        let interval = Some(self.options.interval());
        Promises {
            sync_within: interval,
            commit_within: None,
            retry_within: interval,
            pause_max: Duration::ZERO,
        }
    }

    fn handle(&mut self, now: Moment, event: Event, actions: &mut Vec<Action>) {
        self.now = self.now.max(now);
        match event {
            Event::Related { peer, tree, preferences } => self.related(peer, tree, preferences, actions),
            Event::Unrelated { peer, tree } => self.plan.unrelate(&peer, &tree),
            Event::Acknowledged { peer, tree, .. } => self.answered(peer, tree, None, actions),
            Event::SyncFailed { peer, tree, failure } => self.answered(peer, tree, Some(failure), actions),
            Event::Connected { peer } => {
                for tree in self.plan.idle_trees(&peer) {
                    if self.plan.get(&peer, &tree).is_some_and(|planned| planned.of.refused) {
                        self.plan.sync(peer, tree, actions);
                    }
                }
            }
            Event::PeerReset { peer } => {
                for tree in self.plan.trees(&peer) {
                    self.plan.sync(peer, tree, actions);
                }
            }
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

    fn pushes(&self, _peer: &PublicKey, _tree: &Id) -> bool {
        false
    }
}
