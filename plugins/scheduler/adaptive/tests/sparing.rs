//! What `adaptive` promises beyond its trait: bursts, idle pairs, the budget, quiet hours.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use eidetica_conformance::scheduler::{Manners, World, peer, tree};
use eidetica_kernel::Timestamp;
use eidetica_kernel::registry::{Registry, SchedulerFactory};
use eidetica_kernel::scheduler::Event;
use eidetica_scheduler_adaptive::{ADAPTIVE, Adaptive, AdaptiveOptions};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const SOON: Manners = Manners::Answers(Duration::from_millis(40));

/// Related to one peer, and synced once. It is noon.
fn world(options: AdaptiveOptions) -> World {
    let mut world = World::new(Box::new(Adaptive::new(options, 1))).with(peer(1), SOON);
    world.relate(peer(1), tree(1)).unwrap();
    world
}

fn syncs(world: &World) -> usize {
    world.syncs(peer(1), tree(1)).len()
}

#[test]
fn a_burst_goes_in_one_exchange() {
    let mut world = world(AdaptiveOptions::default());
    world.run_for(10 * SECOND).unwrap();
    let before = syncs(&world);
    for _ in 0..100 {
        world.commit(tree(1)).unwrap();
        world.run_for(SECOND / 10).unwrap();
    }
    assert_eq!(syncs(&world), before, "more may come");
    world.run_for(2 * SECOND).unwrap();
    assert_eq!(syncs(&world), before + 1);
}

#[test]
fn a_burst_without_an_end_is_held_back_no_longer_than_allowed() {
    let mut world = world(AdaptiveOptions { interval_min_seconds: 3_600, ..AdaptiveOptions::default() });
    world.run_for(10 * SECOND).unwrap();
    let before = syncs(&world);
    for _ in 0..600 {
        world.commit(tree(1)).unwrap();
        world.run_for(SECOND).unwrap();
    }
    let bursts = syncs(&world) - before;
    assert!((37..=41).contains(&bursts), "{bursts} exchanges in 600 s at one per 15 s");
}

#[test]
fn idle_pairs_are_left_alone_ever_longer_until_something_changes() {
    let mut world = world(AdaptiveOptions::default());
    world.run_for(8 * HOUR).unwrap();
    let gaps = |world: &World| -> Vec<u64> {
        let at = world.syncs(peer(1), tree(1));
        at.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect()
    };
    assert_eq!(gaps(&world)[..8], [60, 120, 240, 480, 960, 1_920, 3_600, 3_600]);
    world.commit(tree(1)).unwrap();
    world.run_for(HOUR).unwrap();
    let found = gaps(&world);
    assert_eq!(found[found.len() - 5..], [60, 120, 240, 480, 960], "{found:?}");
}

#[test]
fn a_spent_budget_stops_exchanges_until_the_hour_has_passed() {
    let options = AdaptiveOptions { hourly_budget_bytes: Some(100_000), ..AdaptiveOptions::default() };
    let mut world = world(options).with_exchanges_of(10_000);
    for _ in 0..2_000 {
        world.commit(tree(1)).unwrap();
        world.run_for(20 * SECOND).unwrap();
    }
    let at = world.syncs(peer(1), tree(1));
    assert!(at.len() > 80, "{} exchanges in 11 hours", at.len());
    // The first was a small one.
    for (n, from) in at.iter().enumerate().skip(1) {
        let within = at[n..].iter().filter(|to| **to < *from + HOUR).count();
        assert!(within <= 10, "{within} exchanges of 10 kB in the hour from {from:?} on");
    }
}

#[test]
fn nothing_is_begun_in_quiet_hours_and_everything_after_them() {
    let options = AdaptiveOptions {
        quiet_hours: vec!["13:00-15:30".parse().unwrap()],
        interval_max_seconds: 600,
        ..AdaptiveOptions::default()
    };
    let mut world = world(options);
    for _ in 0..(5 * 60) {
        world.commit(tree(1)).unwrap();
        world.run_for(60 * SECOND).unwrap();
    }
    world.event(Event::PeerReset { peer: peer(1) }).unwrap();
    let at = world.syncs(peer(1), tree(1));
    let quiet = HOUR..3 * HOUR + HOUR / 2;
    assert!(!at.iter().any(|at| quiet.contains(at)), "{at:?}");
    assert!(at.contains(&quiet.end), "what waited is begun at once: {at:?}");
}

#[test]
fn a_clock_that_is_set_ends_or_begins_quiet_hours() {
    let options = AdaptiveOptions {
        quiet_hours: vec!["12:30-11:00".parse().unwrap()],
        utc_offset_minutes: -60,
        ..AdaptiveOptions::default()
    };
    // It is eleven o'clock there.
    let mut world = world(options);
    world.run_for(2 * HOUR).unwrap();
    let before = syncs(&world);
    world.commit(tree(1)).unwrap();
    assert_eq!(world.scheduler().next_attempt(&peer(1), &tree(1)), Some(24 * HOUR));
    world.run_for(HOUR).unwrap();
    assert_eq!(syncs(&world), before);
    let noon = 20_000 * 86_400_000 + 43_200_000;
    world.event(Event::WallClock { wall: Timestamp::from_millis(noon) }).unwrap();
    world.run_for(SECOND).unwrap();
    assert_eq!(syncs(&world), before + 1);
}

#[test]
fn options_out_of_range_are_reported_and_survived() {
    let wrong = AdaptiveOptions {
        debounce_ms: 0,
        debounce_max_ms: 0,
        interval_min_seconds: 0,
        interval_max_seconds: u64::MAX,
        hourly_budget_bytes: Some(0),
        quiet_hours: vec!["00:00-12:00".parse().unwrap(), "12:00-00:00".parse().unwrap()],
        utc_offset_minutes: i32::MIN,
        retry_base_ms: 0,
        retry_max_seconds: 0,
        jitter: f64::NAN,
    };
    let faults: Vec<String> = wrong.validate().into_iter().map(|fault| fault.path).collect();
    let every = [
        "debounce_ms",
        "debounce_max_ms",
        "interval_min_seconds",
        "interval_max_seconds",
        "retry_base_ms",
        "retry_max_seconds",
        "hourly_budget_bytes",
        "quiet_hours",
        "utc_offset_minutes",
        "jitter",
    ];
    assert_eq!(faults, every);
    let mut world = World::new(wrong.open(1)).with(peer(1), SOON);
    world.relate(peer(1), tree(1)).unwrap();
    world.run_for(30 * HOUR).unwrap();
    assert!(syncs(&world) > 0);

    let swapped = AdaptiveOptions {
        debounce_ms: 20_000,
        interval_min_seconds: 4_000,
        retry_base_ms: 901_000,
        ..AdaptiveOptions::default()
    };
    let faults: Vec<String> = swapped.validate().iter().map(ToString::to_string).collect();
    assert_eq!(
        faults,
        [
            "debounce_ms: must be at most debounce_max_ms (15000 ms), is 20000",
            "interval_min_seconds: must be at most interval_max_seconds (3600 s), is 4000",
            "retry_base_ms: must be at most retry_max_seconds (900000 ms), is 901000",
        ]
    );
}

#[test]
fn options_are_decoded_by_name() {
    let parse = |options: serde_json::Value| {
        let mut options = <dyn erased_serde::Deserializer<'_>>::erase(options);
        (ADAPTIVE.parse)(&mut options).map(drop)
    };
    assert_eq!(parse(serde_json::json!({"quiet_hours": ["22:00-06:00"], "hourly_budget_bytes": 5})), Ok(()));
    let wrong = parse(serde_json::json!({"quiet_hours": ["22:00-06:00", "late"]})).unwrap_err();
    assert!(wrong.path.starts_with("quiet_hours") && wrong.message.contains("22:00-06:00"), "{wrong}");
    assert!(parse(serde_json::json!({"budget": 5})).unwrap_err().message.contains("budget"));
    assert_eq!((ADAPTIVE.defaults)()["quiet_hours"], serde_json::json!([]));
}

#[test]
fn it_registers_itself() {
    // The kit may have linked others beside it.
    assert!(Registry::linked().unwrap().names("scheduler").contains(&"adaptive"));
}
