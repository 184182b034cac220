//! What no policy may do, whatever it promises.

use std::time::Duration;

use eidetica_kernel::scheduler::{Action, Event, Failure, Moment, Preferences, WAKEUPS_PER_HOUR_MAX};
use eidetica_kernel::{Id, PublicKey};

use super::suite::{Case, Setup};
use super::world::{Manners, World, peer, tree};
use crate::check::{Outcome, ensure, fail};

pub(super) const CASES: &[Case] = &[
    Case::new("nothing_is_wanted_of_a_scheduler_that_knows_nobody", "H5 H8", knows_nobody),
    Case::new("promises_never_change", "H2", promises_stay),
    Case::new("at_most_one_sync_is_unanswered", "H3", one_unanswered),
    Case::new("an_event_acts_on_what_it_names_alone", "H4", bounded_actions),
    Case::new("wake_ups_lie_ahead", "H5", wakeups_ahead),
    Case::new("waiting_costs_a_bounded_number_of_wake_ups", "H5", bounded_wakeups),
    Case::new("an_interval_of_nothing_is_no_busy_loop", "H5 H8", no_interval),
    Case::new("ticks_that_nobody_asked_for_change_nothing", "H6", stray_ticks),
    Case::new("late_ticks_lose_nothing", "H6 H2", late_ticks),
    Case::new("what_is_planned_is_told", "H7", plans_are_told),
    Case::new("strangers_are_harmless", "H8", strangers),
    Case::new("duplicates_and_answers_that_nobody_awaits_are_harmless", "H8 H3", duplicates),
    Case::new("odd_numbers_are_survived", "H8", odd_numbers),
    Case::new("what_has_ended_is_forgotten", "H9", forgotten),
    Case::new("a_relation_that_is_back_before_its_answer_waits_for_it", "H9 H3", back_again),
    Case::new("commits_are_pushed_only_where_users_want_it", "H10", pushes),
];

pub(super) const MILLIS: Duration = Duration::from_millis(1);
pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const HOUR: Duration = Duration::from_secs(3_600);
pub(super) const SOON: Manners = Manners::Answers(Duration::from_millis(40));

/// Some of every manners: two peers that answer, and one each that doesn't as it should.
pub(super) fn mixed(world: World) -> World {
    world
        .with(peer(1), SOON)
        .with(peer(2), Manners::Answers(3 * SECOND))
        .with(peer(3), Manners::Unreachable(2 * SECOND))
        .with(peer(4), Manners::Refuses(50 * MILLIS))
        .with(peer(5), Manners::Stalls)
        .with(peer(6), Manners::Flaps(400 * MILLIS))
}

/// Relates six peers to two trees each, and commits now and then.
pub(super) fn some_hours(world: &mut World) -> Outcome {
    for n in 1..=6 {
        world.relate(peer(n), tree(1))?;
        world.relate(peer(n), tree(1 + n))?;
    }
    for n in 0..40 {
        world.run_for(Duration::from_secs(7 + 11 * (n % 23)))?;
        world.commit(tree(1 + (n % 7) as u16))?;
        if n % 9 == 0 {
            world.event(Event::PeerReset { peer: peer(1 + (n % 6) as u16) })?;
        }
    }
    Ok(())
}

fn knows_nobody(setup: &Setup) -> Outcome {
    let mut world = setup.world(1);
    world.run_for(24 * HOUR)?;
    ensure(world.log().is_empty() && world.wakeups() == 0, || {
        format!("{} actions and {} wake-ups", world.log().len(), world.wakeups())
    })
}

fn promises_stay(setup: &Setup) -> Outcome {
    let mut world = mixed(setup.world(1));
    let first = world.scheduler().promises();
    some_hours(&mut world)?;
    ensure(world.scheduler().promises() == first && setup.scheduler(2).promises() == first, || {
        "the promises change".to_owned()
    })
}

/// Whatever comes, a peer that never answers is asked once per relation, and probed once.
fn one_unanswered(setup: &Setup) -> Outcome {
    let mut world = setup.world(1).with(peer(1), Manners::Stalls);
    for n in 1..=3 {
        world.relate(peer(1), tree(n))?;
    }
    for n in 0..200 {
        world.commit(tree(1 + n % 3))?;
        if n % 20 == 0 {
            world.event(Event::PeerReset { peer: peer(1) })?;
            world.event(Event::Connected { peer: peer(1) })?;
            world.relate(peer(1), tree(1))?;
        }
        world.run_for(40 * SECOND)?;
    }
    for n in 1..=3 {
        let syncs = world.syncs(peer(1), tree(n)).len();
        ensure(syncs <= 1, || format!("{syncs} syncs of one relation, none of them answered"))?;
    }
    Ok(())
}

/// The monitor looks at the actions of every event: here with many relations at once.
fn bounded_actions(setup: &Setup) -> Outcome {
    let mut world = setup.world(1);
    for n in 1..=40 {
        world.behaves(peer(n), if n % 4 == 0 { Manners::Unreachable(SECOND) } else { SOON });
        for of in 1..=5 {
            world.relate(peer(n), tree(of))?;
        }
    }
    world.run_for(60 * SECOND)?;
    for n in 1..=20 {
        world.commit(tree(1 + n % 5))?;
        world.event(Event::PeerReset { peer: peer(n) })?;
        world.event(Event::Disconnected { peer: peer(n) })?;
        world.event(Event::Connected { peer: peer(n) })?;
        world.event(Event::Unrelated { peer: peer(n), tree: tree(1) })?;
        world.run_for(5 * SECOND)?;
    }
    Ok(())
}

/// Events at the very moment of a wake-up, and many at one moment.
fn wakeups_ahead(setup: &Setup) -> Outcome {
    let mut world = mixed(setup.world(1));
    for n in 1..=6 {
        world.relate(peer(n), tree(n))?;
    }
    for _ in 0..200 {
        // Just before the wake-up, so that what comes then comes first.
        let now = world.now();
        let wakeup = world.scheduler().next_wakeup().unwrap_or(now + SECOND).min(now + HOUR);
        world.run_for(wakeup.saturating_sub(now + MILLIS / 1_000))?;
        world.commit(tree(1))?;
        world.commit(tree(2))?;
        world.event(Event::Connected { peer: peer(3) })?;
        world.event(Event::Disconnected { peer: peer(3) })?;
        world.run_for(SECOND)?;
    }
    Ok(())
}

/// A day of doing nothing, with peers of every kind.
fn bounded_wakeups(setup: &Setup) -> Outcome {
    let manners = [
        SOON,
        Manners::Unreachable(SECOND),
        Manners::Refuses(50 * MILLIS),
        Manners::Stalls,
        Manners::Flaps(400 * MILLIS),
    ];
    for manners in manners {
        for relations in [1, 8] {
            let mut world = setup.world(1).with(peer(1), manners);
            for n in 1..=relations {
                world.relate(peer(1), tree(n))?;
            }
            world.run_for(24 * HOUR)?;
            let most = 24 * WAKEUPS_PER_HOUR_MAX * u64::from(relations);
            ensure(world.wakeups() <= most, || {
                format!(
                    "{relations} relations with a peer that {manners:?}: {} wake-ups a day, at most {most}",
                    world.wakeups()
                )
            })?;
            let syncs = world.log().len() as u64;
            ensure(syncs <= most, || format!("{manners:?}: {syncs} actions a day, at most {most}"))?;
        }
    }
    Ok(())
}

fn no_interval(setup: &Setup) -> Outcome {
    for interval in [Duration::ZERO, Duration::from_nanos(1), MILLIS] {
        let mut world = setup.world(1).with(peer(1), SOON);
        let preferences = Preferences { on_commit: true, interval: Some(interval) };
        world.event(Event::Related { peer: peer(1), tree: tree(1), preferences })?;
        world.run_for(HOUR)?;
        let most = 2 * 3_600 + WAKEUPS_PER_HOUR_MAX;
        let (wakeups, syncs) = (world.wakeups(), world.log().len() as u64);
        ensure(wakeups <= most && syncs <= most, || {
            format!(
                "an interval of {interval:?}: {wakeups} wake-ups and {syncs} syncs an hour, at most {most}"
            )
        })?;
    }
    Ok(())
}

fn stray_ticks(setup: &Setup) -> Outcome {
    let run = |every: Option<Duration>| -> Outcome<Vec<(Moment, Action)>> {
        let mut world = mixed(setup.world(7));
        for n in 1..=6 {
            world.relate(peer(n), tree(1))?;
            world.relate(peer(n), tree(1 + n))?;
        }
        for n in 0..6 {
            world.commit(tree(1 + n))?;
            match every {
                None => world.run_for(600 * SECOND)?,
                Some(every) => world.run_with_stray_ticks(600 * SECOND, every)?,
            }
        }
        Ok(world.log().to_vec())
    };
    let asked_for = run(None)?;
    let stray = run(Some(777 * MILLIS))?;
    same_log(&asked_for, &stray, "with ticks that nobody asked for")
}

/// Fails at the first difference.
pub(super) fn same_log(expected: &[(Moment, Action)], found: &[(Moment, Action)], what: &str) -> Outcome {
    let differs = expected.iter().zip(found).position(|(one, other)| one != other);
    let at = differs.or((expected.len() != found.len()).then(|| expected.len().min(found.len())));
    match at {
        None => Ok(()),
        Some(at) => {
            fail(format!("{what}: action {at} is {:?} instead of {:?}", found.get(at), expected.get(at)))
        }
    }
}

fn late_ticks(setup: &Setup) -> Outcome {
    for late in [MILLIS, SECOND, 45 * SECOND] {
        let mut world = mixed(setup.world(1).with_late_ticks(late));
        some_hours(&mut world)?;
        world.run_for(2 * HOUR)?;
    }
    Ok(())
}

/// The monitor compares plans and wake-ups after every event; here it is seen that strangers have no plan.
fn plans_are_told(setup: &Setup) -> Outcome {
    let mut world = mixed(setup.world(1));
    some_hours(&mut world)?;
    world.run_for(HOUR)?;
    for (of, other) in [(peer(1), tree(99)), (peer(99), tree(1)), (peer(2), tree(2))] {
        let attempt = world.scheduler().next_attempt(&of, &other);
        ensure(attempt.is_none(), || format!("who isn't related is tried at {attempt:?}"))?;
    }
    Ok(())
}

/// Every event about `peer` and `tree`, some of them twice.
fn everything_about(peer: PublicKey, tree: Id) -> Vec<Event> {
    let acknowledged = Event::Acknowledged { peer, tree, bytes: 1_000 };
    let failed = |failure| Event::SyncFailed { peer, tree, failure };
    vec![
        acknowledged.clone(),
        Event::Committed { tree },
        failed(Failure::Unreachable),
        failed(Failure::Refused),
        Event::Probed { peer, alive: false },
        Event::Probed { peer, alive: true },
        Event::Disconnected { peer },
        Event::PeerReset { peer },
        Event::Unrelated { peer, tree },
        Event::Unrelated { peer, tree },
        acknowledged,
        Event::Tick,
    ]
}

fn strangers(setup: &Setup) -> Outcome {
    let mut world = setup.world(1);
    for event in everything_about(peer(9), tree(9)) {
        world.event(event)?;
    }
    let wakeup = world.scheduler().next_wakeup();
    ensure(world.log().is_empty() && wakeup.is_none(), || {
        format!("strangers caused {:?} and a wake-up at {wakeup:?}", world.log())
    })?;
    ensure(!world.scheduler().pushes(&peer(9), &tree(9)), || "a stranger's commits are pushed".to_owned())?;
    // Nor beside a relation, whose plans they leave alone.
    let mut world = setup.world(1).with(peer(1), SOON);
    world.relate(peer(1), tree(1))?;
    world.run_for(20 * SECOND)?;
    let plan = |world: &World| world.scheduler().next_attempt(&peer(1), &tree(1));
    let (before, acted) = (plan(&world), world.log().len());
    for event in everything_about(peer(9), tree(9)) {
        world.event(event)?;
    }
    ensure(plan(&world) == before && world.log().len() == acted, || {
        format!("after events of strangers {:?} is planned, before it was {before:?}", plan(&world))
    })
}

fn duplicates(setup: &Setup) -> Outcome {
    let settled = || -> Outcome<World> {
        let mut world = setup.world(1).with(peer(1), SOON);
        world.relate(peer(1), tree(1))?;
        world.event(Event::Connected { peer: peer(1) })?;
        world.run_for(20 * SECOND)?;
        Ok(world)
    };
    let (peer, tree) = (peer(1), tree(1));
    let failed = |failure| Event::SyncFailed { peer, tree, failure };
    let stale = [
        Event::Acknowledged { peer, tree, bytes: 5_000 },
        failed(Failure::Unreachable),
        failed(Failure::Refused),
        Event::Probed { peer, alive: false },
        Event::Probed { peer, alive: true },
        Event::Connected { peer },
    ];
    for event in stale {
        let mut world = settled()?;
        let idle = world.monitor().unanswered().is_empty();
        ensure(idle, || "a peer that answers was asked 20 s ago and more".to_owned())?;
        for _ in 0..50 {
            let actions = world.event(event.clone())?;
            ensure(actions.is_empty(), || format!("{event:?}, which nobody awaited, caused {actions:?}"))?;
        }
        // And the relation goes on as promised.
        world.run_for(24 * HOUR)?;
    }
    let mut world = settled()?;
    for _ in 0..50 {
        world.event(Event::Disconnected { peer })?;
    }
    world.run_for(24 * HOUR)
}

fn odd_numbers(setup: &Setup) -> Outcome {
    let years = Duration::from_secs(200 * 365 * 24 * 3_600);
    for interval in [None, Some(Duration::ZERO), Some(Duration::MAX)] {
        let mut world = setup.world(u64::MAX).with(peer(1), SOON).with_exchanges_of(u64::MAX);
        let preferences = Preferences { on_commit: true, interval };
        world.event(Event::Related { peer: peer(1), tree: tree(1), preferences })?;
        world.run_for(SECOND)?;
        world.commit(tree(1))?;
        world.run_for(10 * SECOND)?;
    }
    // Far from the start, and back to a wall clock of long ago.
    let mut scheduler = setup.scheduler(0);
    let mut actions = Vec::new();
    let (peer, tree) = (peer(1), tree(1));
    for now in [years, years, 10 * years, Duration::MAX] {
        for wall in [0, 1, u64::MAX] {
            let wall = eidetica_kernel::Timestamp::from_millis(wall);
            scheduler.handle(now, Event::WallClock { wall }, &mut actions);
            scheduler.handle(
                now,
                Event::Related { peer, tree, preferences: Preferences::default() },
                &mut actions,
            );
            scheduler.handle(
                now,
                Event::SyncFailed { peer, tree, failure: Failure::Unreachable },
                &mut actions,
            );
            scheduler.handle(now, Event::Committed { tree }, &mut actions);
            scheduler.handle(now, Event::Acknowledged { peer, tree, bytes: u64::MAX }, &mut actions);
            scheduler.handle(now, Event::Tick, &mut actions);
            let _ = (scheduler.next_wakeup(), scheduler.next_attempt(&peer, &tree));
        }
    }
    Ok(())
}

fn forgotten(setup: &Setup) -> Outcome {
    let mut world = mixed(setup.world(1));
    some_hours(&mut world)?;
    for (peer, tree) in world.monitor().related() {
        world.event(Event::Unrelated { peer, tree })?;
    }
    for n in 1..=6 {
        world.event(Event::Disconnected { peer: peer(n) })?;
    }
    let acted = world.log().len();
    // What was under way is answered, and what happens to the trees and peers concerns nobody any more.
    for action in world.monitor().unanswered() {
        match action {
            Action::Sync { peer, tree } => {
                world.event(Event::SyncFailed { peer, tree, failure: Failure::Unreachable })?;
            }
            Action::Probe { peer } => {
                world.event(Event::Probed { peer, alive: false })?;
            }
            _ => {}
        }
    }
    for n in 1..=7 {
        world.commit(tree(n))?;
        world.event(Event::PeerReset { peer: peer(n) })?;
    }
    world.run_for(20 * SECOND)?;
    for n in 1..=6 {
        world.event(Event::Disconnected { peer: peer(n) })?;
    }
    let ended = world.wakeups();
    world.run_for(24 * HOUR)?;
    let wakeup = world.scheduler().next_wakeup();
    ensure(world.log().len() == acted, || format!("it still asks for {:?}", &world.log()[acted..]))?;
    ensure(wakeup.is_none() && world.wakeups() == ended, || format!("it still wakes up, next at {wakeup:?}"))
}

fn back_again(setup: &Setup) -> Outcome {
    let mut world = setup.world(1).with(peer(1), Manners::Answers(10 * SECOND));
    world.relate(peer(1), tree(1))?;
    for _ in 0..5 {
        world.commit(tree(1))?;
        world.run_for(SECOND)?;
        world.event(Event::Unrelated { peer: peer(1), tree: tree(1) })?;
        world.relate(peer(1), tree(1))?;
        world.run_for(SECOND)?;
    }
    world.run_for(24 * HOUR)
}

/// The monitor asks after every event; here the wish comes and goes.
fn pushes(setup: &Setup) -> Outcome {
    let mut world = setup.world(1).with(peer(1), SOON);
    let (peer, tree) = (peer(1), tree(1));
    for on_commit in [true, false, true, false] {
        let preferences = Preferences { on_commit, interval: None };
        world.event(Event::Related { peer, tree, preferences })?;
        world.run_for(20 * SECOND)?;
        world.commit(tree)?;
        world.run_for(20 * SECOND)?;
        let pushes = world.scheduler().pushes(&peer, &tree);
        ensure(!pushes || on_commit, || "commits are pushed though no user wants it".to_owned())?;
    }
    let preferences = Preferences { on_commit: true, interval: None };
    world.event(Event::Related { peer, tree, preferences })?;
    world.event(Event::Unrelated { peer, tree })?;
    ensure(!world.scheduler().pushes(&peer, &tree), || "commits are pushed to who isn't related".to_owned())
}
