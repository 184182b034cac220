//! What the scheduler does by default, and with each option changed, on virtual time.

use std::time::Duration;

use eidetica_kernel::registry::{Plugin, Registry, SchedulerFactory};
use eidetica_kernel::scheduler::{Action, Event, Failure, Moment, Preferences};
use eidetica_kernel::{Id, PublicKey, SyncScheduler};
use eidetica_scheduler_standard::{STANDARD, Standard, StandardOptions};

const fn peer(n: u8) -> PublicKey {
    PublicKey::from_bytes([n; 32])
}

const fn tree(n: u8) -> Id {
    Id::from_bytes([n; 32])
}

const PEER: PublicKey = peer(1);
const TREE: Id = tree(1);
const SYNC: Action = Action::Sync { peer: PEER, tree: TREE };
const PROBE: Action = Action::Probe { peer: PEER };

/// A scheduler and the time its world has reached.
struct World {
    scheduler: Standard,
    now: Moment,
}

impl World {
    fn new(options: StandardOptions) -> Self {
        Self { scheduler: Standard::new(options, 42), now: Moment::ZERO }
    }

    fn exact() -> Self {
        Self::new(StandardOptions { jitter: 0.0, ..StandardOptions::default() })
    }

    fn event(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        self.scheduler.handle(self.now, event, &mut actions);
        if let Some(wakeup) = self.scheduler.next_wakeup() {
            assert!(wakeup > self.now, "H5: {wakeup:?} isn't after {:?}", self.now);
        }
        actions
    }

    fn related(&mut self, preferences: Preferences) -> Vec<Action> {
        self.event(Event::Related { peer: PEER, tree: TREE, preferences })
    }

    fn connected(&mut self) -> Vec<Action> {
        self.event(Event::Connected { peer: PEER })
    }

    fn disconnected(&mut self) -> Vec<Action> {
        self.event(Event::Disconnected { peer: PEER })
    }

    fn committed(&mut self) -> Vec<Action> {
        self.event(Event::Committed { tree: TREE })
    }

    fn acknowledged(&mut self) -> Vec<Action> {
        self.event(Event::Acknowledged { peer: PEER, tree: TREE, bytes: 1 })
    }

    fn failed(&mut self, failure: Failure) -> Vec<Action> {
        self.event(Event::SyncFailed { peer: PEER, tree: TREE, failure })
    }

    /// Related, linked and synced at time zero.
    fn settled(mut self) -> Self {
        self.related(Preferences::default());
        self.connected();
        self.acknowledged();
        // Connecting while the first sync was under way asked for another.
        self.acknowledged();
        self
    }

    /// Sends ticks when asked for; returns the first action and the seconds until it.
    fn wait(&mut self) -> Option<(f64, Vec<Action>)> {
        let start = self.now;
        for _ in 0..10_000 {
            self.now = self.scheduler.next_wakeup()?;
            let actions = self.event(Event::Tick);
            if !actions.is_empty() {
                return Some(((self.now - start).as_secs_f64(), actions));
            }
        }
        panic!("10,000 ticks without an action");
    }

    /// As [`World::wait`], every probe answered.
    fn wait_for_sync(&mut self) -> Option<f64> {
        let start = self.now;
        loop {
            let (_, actions) = self.wait()?;
            for action in &actions {
                if let Action::Probe { peer } = action {
                    self.event(Event::Probed { peer: *peer, alive: true });
                }
            }
            if actions.contains(&SYNC) {
                return Some((self.now - start).as_secs_f64());
            }
        }
    }
}

#[test]
fn a_new_relation_is_synced_at_once() {
    assert_eq!(World::exact().related(Preferences::default()), [SYNC]);
}

#[test]
fn a_commit_is_pushed_to_every_related_peer_at_once() {
    let mut world = World::exact();
    for n in 1..=3 {
        world.event(Event::Related { peer: peer(n), tree: TREE, preferences: Preferences::default() });
        world.event(Event::Acknowledged { peer: peer(n), tree: TREE, bytes: 0 });
    }
    world.event(Event::Related { peer: peer(4), tree: tree(9), preferences: Preferences::default() });
    let pushes = (1..=3).map(|n| Action::Sync { peer: peer(n), tree: TREE }).collect::<Vec<_>>();
    assert_eq!(world.committed(), pushes);
}

#[test]
fn a_commit_waits_for_the_interval_where_users_or_options_turn_pushing_off() {
    let mut world = World::exact();
    world.related(Preferences { on_commit: false, interval: None });
    world.acknowledged();
    assert_eq!(world.committed(), []);
    assert_eq!(world.wait(), Some((300.0, vec![SYNC])));

    let mut world = World::new(StandardOptions { on_commit: false, ..StandardOptions::default() }).settled();
    assert_eq!(world.committed(), []);
}

#[test]
fn commits_during_an_unanswered_sync_cause_one_more_after_the_answer() {
    let mut world = World::exact().settled();
    assert_eq!(world.committed(), [SYNC]);
    assert_eq!(world.committed(), []);
    assert_eq!(world.committed(), []);
    assert_eq!(world.acknowledged(), [SYNC]);
    assert_eq!(world.acknowledged(), []);
}

#[test]
fn relations_are_synced_every_300_seconds_or_as_often_as_a_user_prefers() {
    let mut world = World::exact().settled();
    for _ in 0..3 {
        assert_eq!(world.wait_for_sync(), Some(300.0));
        world.acknowledged();
    }
    world.related(Preferences { on_commit: true, interval: Some(Duration::from_secs(20)) });
    assert_eq!(world.wait_for_sync(), Some(20.0));
    world.acknowledged();
    world.related(Preferences { on_commit: true, interval: Some(Duration::from_secs(9_000)) });
    world.event(Event::PeerReset { peer: PEER });
    world.acknowledged();
    assert_eq!(world.wait_for_sync(), Some(300.0));
    world.acknowledged();
    world.related(Preferences { on_commit: true, interval: Some(Duration::ZERO) });
    assert_eq!(world.wait_for_sync(), Some(1.0), "an interval of nothing is no busy loop");

    let mut world =
        World::new(StandardOptions { interval_seconds: 7, ..StandardOptions::default() }).settled();
    assert_eq!(world.wait_for_sync(), Some(7.0));
}

#[test]
fn an_unreachable_peer_is_retried_after_1_2_4_to_64_seconds() {
    let mut world = World::exact();
    world.related(Preferences::default());
    let mut delays = Vec::new();
    for _ in 0..8 {
        world.failed(Failure::Unreachable);
        delays.push(world.wait().unwrap().0);
    }
    assert_eq!(delays, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 64.0]);
    world.acknowledged();
    world.committed();
    world.failed(Failure::Unreachable);
    assert_eq!(world.wait().unwrap().0, 1.0, "a success starts over");
}

#[test]
fn jitter_shortens_the_first_retry_by_at_most_a_fifth() {
    for seed in 0..100 {
        let mut world =
            World { scheduler: Standard::new(StandardOptions::default(), seed), now: Moment::ZERO };
        world.related(Preferences::default());
        world.failed(Failure::Unreachable);
        let delay = world.wait().unwrap().0;
        assert!((0.8..=1.0).contains(&delay), "{delay}");
    }
}

#[test]
fn the_same_seed_and_events_give_the_same_actions_at_the_same_times() {
    let run = |seed| {
        let mut world =
            World { scheduler: Standard::new(StandardOptions::default(), seed), now: Moment::ZERO };
        world.related(Preferences::default());
        (0..20)
            .map(|_| {
                world.failed(Failure::Unreachable);
                world.wait()
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn a_commit_does_not_dial_a_peer_that_is_being_retried() {
    let mut world = World::exact();
    world.related(Preferences::default());
    world.failed(Failure::Unreachable);
    for _ in 0..100 {
        assert_eq!(world.committed(), []);
    }
    assert_eq!(world.wait(), Some((1.0, vec![SYNC])));
}

#[test]
fn an_unreachable_peer_is_dialled_once_for_all_its_trees() {
    let mut world = World::new(StandardOptions::default());
    for n in 1..=50 {
        world.event(Event::Related { peer: PEER, tree: tree(n), preferences: Preferences::default() });
    }
    for round in 0..6 {
        for n in 1..=50 {
            world.event(Event::SyncFailed { peer: PEER, tree: tree(n), failure: Failure::Unreachable });
        }
        let (delay, actions) = world.wait().unwrap();
        assert_eq!(actions.len(), 50, "round {round}");
        assert!(delay <= f64::from(1 << round) && delay >= 0.8 * f64::from(1 << round), "{round}: {delay}");
    }
}

#[test]
fn a_failing_peer_delays_no_other() {
    let mut world = World::exact().settled();
    let other = peer(2);
    world.event(Event::Related { peer: other, tree: TREE, preferences: Preferences::default() });
    for _ in 0..5 {
        world.event(Event::SyncFailed { peer: other, tree: TREE, failure: Failure::Unreachable });
        assert_eq!(world.committed(), [SYNC]);
        world.acknowledged();
        assert_eq!(world.wait().unwrap().1, [Action::Sync { peer: other, tree: TREE }]);
    }
}

#[test]
fn a_refused_relation_rests_until_something_changes() {
    let refused = || {
        let mut world = World::exact();
        world.related(Preferences::default());
        assert_eq!(world.failed(Failure::Refused), []);
        assert_eq!(world.scheduler.next_wakeup(), None);
        assert_eq!(world.scheduler.next_attempt(&PEER, &TREE), None);
        world
    };
    assert_eq!(refused().committed(), [SYNC]);
    assert_eq!(refused().connected(), [SYNC]);
    assert_eq!(refused().related(Preferences::default()), [SYNC]);
    assert_eq!(refused().event(Event::PeerReset { peer: PEER }), [SYNC]);
}

#[test]
fn commits_to_a_tree_that_is_refused_again_and_again_are_tried_as_slowly_as_retries() {
    let mut world = World::exact();
    world.related(Preferences::default());
    let mut delays = Vec::new();
    for _ in 0..8 {
        let mut first = world.failed(Failure::Refused);
        let start = world.now;
        first.extend(world.committed());
        if first.is_empty() {
            assert_eq!(world.wait().unwrap().1, [SYNC]);
        }
        delays.push((world.now - start).as_secs());
    }
    assert_eq!(delays, [0, 1, 2, 4, 8, 16, 32, 64]);
    world.failed(Failure::Refused);
    world.event(Event::PeerReset { peer: PEER });
    world.failed(Failure::Refused);
    assert_eq!(world.committed(), [SYNC], "a reset starts over");
}

#[test]
fn a_commit_while_a_sync_is_refused_is_tried_once_more() {
    let mut world = World::exact();
    world.related(Preferences::default());
    world.committed();
    assert_eq!(world.failed(Failure::Refused), [SYNC]);
    assert_eq!(world.failed(Failure::Refused), []);
}

#[test]
fn an_open_link_is_probed_every_60_seconds() {
    let mut world = World::exact();
    world.connected();
    for _ in 0..4 {
        assert_eq!(world.wait(), Some((60.0, vec![PROBE])));
        assert_eq!(world.event(Event::Probed { peer: PEER, alive: true }), []);
    }
    world.disconnected();
    assert_eq!(world.wait(), None, "no link, no probe");

    let mut world = World::new(StandardOptions { health_check_seconds: 5, ..StandardOptions::default() });
    world.connected();
    assert_eq!(world.wait(), Some((5.0, vec![PROBE])));
}

#[test]
fn an_unanswered_probe_drops_the_link_and_dials_again() {
    for reported in [false, true] {
        let mut world = World::exact().settled();
        assert_eq!(world.wait().unwrap().1, [PROBE]);
        let dropped = world.event(Event::Probed { peer: PEER, alive: false });
        assert_eq!(dropped, [Action::Drop { peer: PEER }]);
        if reported {
            assert_eq!(world.disconnected(), []);
        }
        assert_eq!(world.wait(), Some((1.0, vec![SYNC])));
        world.connected();
        world.acknowledged();
    }
}

#[test]
fn a_probe_of_a_former_link_says_nothing_about_the_next() {
    let mut world = World::exact().settled();
    assert_eq!(world.wait().unwrap().1, [PROBE]);
    world.disconnected();
    world.connected();
    assert_eq!(world.event(Event::Probed { peer: PEER, alive: false }), []);
}

#[test]
fn a_lost_link_is_dialled_again() {
    let mut world = World::exact().settled();
    assert_eq!(world.disconnected(), []);
    assert_eq!(world.wait(), Some((1.0, vec![SYNC])));
    assert_eq!(world.failed(Failure::Unreachable), []);
    assert_eq!(world.wait(), Some((2.0, vec![SYNC])));
}

#[test]
fn a_peer_that_connects_by_itself_is_synced_at_once() {
    let mut world = World::exact();
    world.related(Preferences::default());
    for _ in 0..5 {
        world.failed(Failure::Unreachable);
        world.wait();
    }
    world.failed(Failure::Unreachable);
    assert_eq!(world.connected(), [SYNC]);
}

#[test]
fn a_reset_forgets_the_backoff() {
    let mut world = World::exact();
    world.related(Preferences::default());
    for _ in 0..6 {
        world.failed(Failure::Unreachable);
        world.wait();
    }
    world.failed(Failure::Unreachable);
    assert_eq!(world.event(Event::PeerReset { peer: PEER }), [SYNC]);
    world.failed(Failure::Unreachable);
    assert_eq!(world.wait(), Some((1.0, vec![SYNC])));
}

#[test]
fn pending_retries_are_looked_at_every_30_seconds() {
    let mut world = World::exact();
    world.related(Preferences::default());
    for _ in 0..6 {
        world.failed(Failure::Unreachable);
        world.wait();
    }
    world.failed(Failure::Unreachable);
    assert_eq!(world.scheduler.next_attempt(&PEER, &TREE), Some(world.now + Duration::from_secs(64)));
    assert_eq!(world.scheduler.next_wakeup(), Some(world.now + Duration::from_secs(30)));

    let world = World::exact().settled();
    assert_eq!(world.scheduler.next_wakeup(), Some(Duration::from_secs(60)), "nothing to retry, no tick");
}

#[test]
fn an_ended_relation_is_left_alone_even_when_it_begins_again_before_the_answer() {
    let mut world = World::exact();
    world.related(Preferences::default());
    world.event(Event::Unrelated { peer: PEER, tree: TREE });
    assert_eq!(world.committed(), []);
    assert_eq!(world.related(Preferences::default()), [], "one sync is still unanswered");
    assert_eq!(world.acknowledged(), [SYNC]);
    world.event(Event::Unrelated { peer: PEER, tree: TREE });
    assert_eq!(world.acknowledged(), []);
    assert_eq!(world.scheduler.next_wakeup(), None);
    assert_eq!(world.scheduler.next_attempt(&PEER, &TREE), None);
}

#[test]
fn answers_and_events_of_strangers_are_harmless() {
    let mut world = World::exact();
    assert_eq!(world.acknowledged(), []);
    assert_eq!(world.failed(Failure::Unreachable), []);
    assert_eq!(world.event(Event::Probed { peer: PEER, alive: false }), []);
    assert_eq!(world.event(Event::PeerReset { peer: PEER }), []);
    assert_eq!(world.disconnected(), []);
    assert_eq!(world.committed(), []);
    assert_eq!(world.scheduler.next_wakeup(), None);
}

#[test]
fn every_option_out_of_range_is_reported_and_survived() {
    let wrong = StandardOptions {
        on_commit: true,
        interval_seconds: 0,
        retry_base_ms: 0,
        retry_max_seconds: 0,
        retry_tick_seconds: 0,
        jitter: f64::NAN,
        health_check_seconds: u64::MAX,
    };
    let faults: Vec<String> = wrong.validate().into_iter().map(|fault| fault.path).collect();
    let every = [
        "interval_seconds",
        "retry_base_ms",
        "retry_max_seconds",
        "retry_tick_seconds",
        "health_check_seconds",
        "jitter",
    ];
    assert_eq!(faults, every);
    let mut world = World::new(wrong).settled();
    assert_eq!(world.wait(), Some((1.0, vec![SYNC])));

    let longer = StandardOptions { retry_base_ms: 65_000, ..StandardOptions::default() };
    assert_eq!(
        longer.validate()[0].to_string(),
        "retry_base_ms: must be at most retry_max_seconds (64000 ms), is 65000"
    );
}

#[test]
fn options_are_decoded_by_name_and_unknown_ones_refused() {
    let parse = |options: serde_json::Value| {
        let mut options = <dyn erased_serde::Deserializer<'_>>::erase(options);
        (STANDARD.parse)(&mut options).map(drop)
    };
    assert_eq!(parse(serde_json::json!({"jitter": 0, "interval_seconds": 5})), Ok(()));
    let unknown = parse(serde_json::json!({"intervall": 5})).unwrap_err();
    assert!(unknown.message.contains("unknown field `intervall`"), "{unknown}");
    let mistyped = parse(serde_json::json!({"jitter": "much"})).unwrap_err();
    assert_eq!(mistyped.path, "jitter");
}

#[test]
fn it_registers_itself() {
    let registry = Registry::linked().unwrap();
    assert_eq!(registry.names("scheduler"), ["standard"]);
    assert!(matches!(registry.plugins(), [Plugin::Scheduler(_)]));
}
