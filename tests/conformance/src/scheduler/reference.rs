//! A policy as simple as the contract lets it be.

use std::time::Duration;

use eidetica_kernel::scheduler::{
    Action, Backoff, Event, Failure, Moment, Plan, Planned, Preferences, Promises, SyncScheduler,
};
use eidetica_kernel::{Id, PublicKey};

const INTERVAL: Duration = Duration::from_secs(120);
const RETRY: Duration = Duration::from_secs(20);

/// Syncs what is new or committed at once, everything every two minutes, and what failed after 20 s or a little less. For tests of the
/// suite, and to read.
#[derive(Debug)]
pub struct Reference {
    plan: Plan<Relation>,
    backoff: Backoff,
    now: Moment,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Relation {
    #[default]
    Fine,
    Failed,
    Refused,
}

impl Reference {
    /// A scheduler that knows no peer yet; `seed` feeds its jitter.
    pub fn new(seed: u64) -> Self {
        Self { plan: Plan::default(), backoff: Backoff::new(RETRY, RETRY, 0.2, seed), now: Moment::ZERO }
    }

    fn after(&self, preferences: &Preferences) -> Moment {
        let asked = preferences.interval.unwrap_or(INTERVAL).max(Duration::from_secs(1));
        self.now.saturating_add(asked.min(INTERVAL))
    }

    fn retry(&mut self, peer: &PublicKey, tree: &Id) {
        let due = self.now.saturating_add(self.backoff.delay(1));
        // A report that comes twice puts nothing off.
        self.plan.plan_by(peer, tree, due);
    }

    fn answered(&mut self, peer: PublicKey, tree: Id, failure: Option<Failure>, actions: &mut Vec<Action>) {
        let Some(again) = self.plan.answered(&peer, &tree) else { return };
        let Some(planned) = self.plan.get_mut(&peer, &tree) else { return };
        match failure {
            None => {
                planned.of = Relation::Fine;
                let preferences = planned.preferences;
                if again {
                    return self.plan.sync(peer, tree, actions);
                }
                self.plan.plan(&peer, &tree, Some(self.after(&preferences)));
            }
            Some(Failure::Unreachable) => {
                planned.of = Relation::Failed;
                self.retry(&peer, &tree);
            }
            Some(Failure::Refused) => planned.of = Relation::Refused,
        }
    }

    fn is(&self, peer: &PublicKey, tree: &Id, state: Relation) -> bool {
        self.plan.get(peer, tree).is_some_and(|planned| planned.of == state)
    }
}

impl SyncScheduler for Reference {
    fn promises(&self) -> Promises {
        Promises {
            sync_within: Some(INTERVAL),
            commit_within: Some(Duration::ZERO),
            retry_within: Some(RETRY),
            pause_max: Duration::ZERO,
        }
    }

    fn handle(&mut self, now: Moment, event: Event, actions: &mut Vec<Action>) {
        self.now = self.now.max(now);
        match event {
            Event::Related { peer, tree, preferences } => {
                let refused = self.is(&peer, &tree, Relation::Refused);
                if self.plan.relate(peer, tree, preferences) || refused {
                    self.plan.sync(peer, tree, actions);
                } else {
                    self.plan.plan_by(&peer, &tree, self.after(&preferences));
                }
            }
            Event::Unrelated { peer, tree } => self.plan.unrelate(&peer, &tree),
            Event::Committed { tree } => {
                for peer in self.plan.peers(&tree) {
                    let Some(planned) = self.plan.get(&peer, &tree) else { continue };
                    let waits = planned.of != Relation::Fine && !planned.is_under_way();
                    if planned.preferences.on_commit && !waits {
                        self.plan.sync(peer, tree, actions);
                    }
                }
            }
            Event::Disconnected { peer } => {
                for tree in self.plan.idle_trees(&peer) {
                    if self.is(&peer, &tree, Relation::Fine) {
                        self.retry(&peer, &tree);
                    }
                }
            }
            Event::Acknowledged { peer, tree, .. } => self.answered(peer, tree, None, actions),
            Event::SyncFailed { peer, tree, failure } => self.answered(peer, tree, Some(failure), actions),
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

    fn pushes(&self, peer: &PublicKey, tree: &Id) -> bool {
        self.plan.get(peer, tree).is_some_and(|planned| planned.preferences.on_commit)
    }
}
