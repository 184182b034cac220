//! What `on-commit` promises beyond its trait.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use eidetica_conformance::scheduler::{Manners, World, peer, tree};
use eidetica_kernel::registry::{Registry, SchedulerFactory};
use eidetica_kernel::scheduler::{Event, Preferences};
use eidetica_scheduler_on_commit::{OnCommit, OnCommitOptions};

const HOUR: Duration = Duration::from_secs(3_600);

fn world(manners: Manners) -> World {
    let options = OnCommitOptions { jitter: 0.0, ..OnCommitOptions::default() };
    World::new(Box::new(OnCommit::new(options, 1))).with(peer(1), manners)
}

#[test]
fn at_rest_it_never_wakes_up() {
    let mut world = world(Manners::Answers(Duration::from_millis(40)));
    for n in 1..=5 {
        world.relate(peer(1), tree(n)).unwrap();
    }
    world.run_for(Duration::from_secs(10)).unwrap();
    let acted = world.log().len();
    world.run_for(30 * 24 * HOUR).unwrap();
    assert_eq!((world.wakeups(), world.log().len()), (0, acted));
}

#[test]
fn an_interval_that_users_ask_for_is_kept() {
    let mut world = world(Manners::Answers(Duration::from_millis(40)));
    let preferences = Preferences { on_commit: false, interval: Some(Duration::from_secs(600)) };
    world.event(Event::Related { peer: peer(1), tree: tree(1), preferences }).unwrap();
    world.run_for(10 * HOUR).unwrap();
    let syncs = world.syncs(peer(1), tree(1)).len();
    assert!((60..=62).contains(&syncs), "{syncs}");
}

#[test]
fn retries_slow_down_to_the_maximum() {
    let mut world = world(Manners::Unreachable(Duration::ZERO));
    world.relate(peer(1), tree(1)).unwrap();
    world.run_for(2 * HOUR).unwrap();
    let tries = world.syncs(peer(1), tree(1));
    let delays: Vec<u64> = tries.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
    assert_eq!(delays[..11], [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    // Commits don't shorten the wait.
    for _ in 0..100 {
        assert_eq!(world.commit(tree(1)).unwrap(), []);
    }
}

#[test]
fn options_out_of_range_are_reported_and_survived() {
    let wrong = OnCommitOptions { retry_base_ms: 0, retry_max_seconds: u64::MAX, jitter: 2.0 };
    let faults: Vec<String> = wrong.validate().into_iter().map(|fault| fault.path).collect();
    assert_eq!(faults, ["retry_base_ms", "retry_max_seconds", "jitter"]);
    let longer = OnCommitOptions { retry_base_ms: 300_001, ..OnCommitOptions::default() };
    let fault = longer.validate()[0].to_string();
    assert_eq!(fault, "retry_base_ms: must be at most retry_max_seconds (300000 ms), is 300001");
    let mut world = World::new(wrong.open(1)).with(peer(1), Manners::Unreachable(Duration::ZERO));
    world.relate(peer(1), tree(1)).unwrap();
    world.run_for(HOUR).unwrap();
}

#[test]
fn it_registers_itself() {
    // The kit may have linked others beside it.
    assert!(Registry::linked().unwrap().names("scheduler").contains(&"on-commit"));
}
