//! The state machine: what follows which event.

use std::time::Duration;

use eidetica_kernel::scheduler::{
    self, Action, Backoff, Event, Failure, Moment, Plan, Planned, Preferences, Promises,
};
use eidetica_kernel::{Id, PublicKey};

use crate::options::{SECONDS_MAX, {{Type}}Options};

/// The least time between two exchanges, whatever a user prefers.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// How much of an interval is left to chance, so that not every node syncs at once.
const JITTER: f64 = 0.1;

/// Syncs every relation at intervals, and on nothing else. Commits wait for the next exchange.
#[derive(Debug)]
pub struct {{Type}}Scheduler {
    interval: Duration,
    chance: Backoff,
    plan: Plan<Relation>,
    now: Moment,
}

/// What is remembered of a peer and a tree beside what [`Plan`] keeps.
#[derive(Debug, Default)]
struct Relation {
    refused: bool,
}

impl {{Type}}Scheduler {
    /// A scheduler that knows no peer yet; `seed` feeds its jitter. An interval out of range is taken as the nearest valid one.
    pub fn new(options: {{Type}}Options, seed: u64) -> Self {
        let interval = Duration::from_secs(options.interval_seconds.clamp(1, SECONDS_MAX));
        let chance = Backoff::new(interval, interval, JITTER, seed);
        Self { interval, chance, plan: Plan::default(), now: Moment::ZERO }
    }

    /// When the next exchange is due after one that ends now.
    fn next(&mut self, preferences: &Preferences) -> Moment {
        let asked = preferences.interval.unwrap_or(Duration::MAX).max(INTERVAL_MIN);
        self.now.saturating_add(self.chance.delay(1).min(asked))
    }

    fn related(&mut self, peer: PublicKey, tree: Id, preferences: Preferences, actions: &mut Vec<Action>) {
        let new = self.plan.relate(peer, tree, preferences);
        let Some(planned) = self.plan.get_mut(&peer, &tree) else { return };
        let refused = std::mem::take(&mut planned.of.refused);
        if new || refused {
            self.plan.sync(peer, tree, actions);
        } else {
            let due = self.next(&preferences);
            self.plan.plan_by(&peer, &tree, due);
        }
    }

    fn answered(&mut self, peer: PublicKey, tree: Id, failure: Option<Failure>, actions: &mut Vec<Action>) {
        let Some(again) = self.plan.answered(&peer, &tree) else { return };
        let Some(planned) = self.plan.get_mut(&peer, &tree) else { return };
        planned.of.refused = failure == Some(Failure::Refused);
        let preferences = planned.preferences;
        match failure {
            None if again => self.plan.sync(peer, tree, actions),
            None | Some(Failure::Unreachable) => {
                let due = self.next(&preferences);
                self.plan.plan(&peer, &tree, Some(due));
            }
            // It would only refuse again.
            Some(Failure::Refused) => {}
        }
    }
}

impl scheduler::SyncScheduler for {{Type}}Scheduler {
    fn promises(&self) -> Promises {
        let interval = Some(self.interval);
        Promises { sync_within: interval, retry_within: interval, ..Promises::default() }
    }

    fn handle(&mut self, now: Moment, event: Event, actions: &mut Vec<Action>) {
        self.now = self.now.max(now);
        match event {
            Event::Related { peer, tree, preferences } => self.related(peer, tree, preferences, actions),
            Event::Unrelated { peer, tree } => self.plan.unrelate(&peer, &tree),
            Event::Acknowledged { peer, tree, .. } => self.answered(peer, tree, None, actions),
            Event::SyncFailed { peer, tree, failure } => self.answered(peer, tree, Some(failure), actions),
            Event::PeerReset { peer } => {
                for tree in self.plan.trees(&peer) {
                    self.plan.sync(peer, tree, actions);
                }
            }
            Event::Tick => {
                while let Some((_, peer, tree)) = self.plan.first_due().filter(|(at, ..)| *at <= self.now) {
                    self.plan.sync(peer, tree, actions);
                }
            }
            _ => {}
        }
    }

    fn next_wakeup(&self) -> Option<Moment> {
        // Something may be due already, when another event came first: the tick for it still lies ahead.
        Some(self.plan.next_due()?.max(self.now.saturating_add(Duration::from_millis(1))))
    }

    fn next_attempt(&self, peer: &PublicKey, tree: &Id) -> Option<Moment> {
        self.plan.get(peer, tree).and_then(Planned::due)
    }

    /// Open links carry nothing between exchanges.
    fn pushes(&self, _peer: &PublicKey, _tree: &Id) -> bool {
        false
    }
}
