//! What `periodic` promises beyond its trait.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use eidetica_conformance::scheduler::{Manners, World, peer, tree};
use eidetica_kernel::registry::{Registry, SchedulerFactory};
use eidetica_scheduler_periodic::{Periodic, PeriodicOptions};

const SOON: Manners = Manners::Answers(Duration::from_millis(40));

#[test]
fn relations_share_their_wake_ups() {
    let options = PeriodicOptions { interval_seconds: 600, jitter: 0.2 };
    let mut world = World::new(Box::new(Periodic::new(options, 1)));
    for n in 1..=20 {
        world.behaves(peer(n), SOON);
        world.relate(peer(n), tree(n)).unwrap();
        world.run_for(Duration::from_secs(3)).unwrap();
    }
    let before = world.wakeups();
    world.run_for(Duration::from_secs(10 * 3_600)).unwrap();
    let wakeups = world.wakeups() - before;
    // 600 s at most and 480 s at least lie between two of them.
    assert!((60..=76).contains(&wakeups), "{wakeups} wake-ups for 20 relations in ten hours");
}

#[test]
fn commits_wait_for_the_interval() {
    let options = PeriodicOptions { interval_seconds: 60, jitter: 0.0 };
    let mut world = World::new(Box::new(Periodic::new(options, 1))).with(peer(1), SOON);
    world.relate(peer(1), tree(1)).unwrap();
    for _ in 0..59 {
        world.run_for(Duration::from_secs(1)).unwrap();
        assert_eq!(world.commit(tree(1)).unwrap(), []);
    }
    assert_eq!(world.syncs(peer(1), tree(1)), [Duration::ZERO]);
    world.run_for(Duration::from_secs(2)).unwrap();
    assert_eq!(world.syncs(peer(1), tree(1)).len(), 2);
}

#[test]
fn options_out_of_range_are_reported_and_survived() {
    let wrong = PeriodicOptions { interval_seconds: 0, jitter: f64::NAN };
    let faults: Vec<String> = wrong.validate().into_iter().map(|fault| fault.path).collect();
    assert_eq!(faults, ["interval_seconds", "jitter"]);
    let mut world = World::new(wrong.open(1)).with(peer(1), SOON);
    world.relate(peer(1), tree(1)).unwrap();
    world.run_for(Duration::from_secs(10)).unwrap();
    assert_eq!(world.syncs(peer(1), tree(1)).len(), 10);
}

#[test]
fn it_registers_itself() {
    // The kit may have linked others beside it.
    assert!(Registry::linked().unwrap().names("scheduler").contains(&"periodic"));
}
