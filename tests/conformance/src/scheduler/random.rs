//! Random histories: the same for the same seed, and every invariant at every step.

use std::time::Duration;

use eidetica_kernel::scheduler::{Action, Event, Failure, Moment, Preferences};
use eidetica_kernel::{Id, PublicKey};

use super::cases::{SECOND, mixed, same_log, some_hours};
use super::suite::{Case, Setup};
use super::world::{World, peer, tree};
use crate::check::{Outcome, ensure};
use crate::store::Random;

pub(super) const CASES: &[Case] = &[
    Case::new("the_same_events_give_the_same_actions", "H1", deterministic),
    Case::new("any_history_keeps_the_invariants", "H2 H3 H4 H5 H7 H8 H9 H10", any_history),
];

const HISTORIES: u64 = 400;
const STEPS: usize = 120;

fn deterministic(setup: &Setup) -> Outcome {
    let log = |seed| -> Outcome<Vec<(Moment, Action)>> {
        let mut world = mixed(setup.world(seed));
        some_hours(&mut world)?;
        Ok(world.log().to_vec())
    };
    for seed in 0..3 {
        same_log(&log(seed)?, &log(seed)?, "the same seed and events")?;
    }
    for seed in 0..40 {
        let answers = || -> Outcome<Vec<String>> {
            let mut world = setup.world(seed);
            let mut told = Vec::new();
            history(&mut world, seed, |world| {
                let attempt = world.scheduler().next_attempt(&peer(1), &tree(1));
                let pushes = world.scheduler().pushes(&peer(1), &tree(1));
                told.push(format!("{:?} {attempt:?} {pushes}", world.scheduler().next_wakeup()));
            })?;
            told.push(format!("{:?}", world.log()));
            Ok(told)
        };
        ensure(answers()? == answers()?, || format!("history {seed}: two runs of it differ"))?;
    }
    Ok(())
}

fn any_history(setup: &Setup) -> Outcome {
    for seed in 0..HISTORIES {
        let mut world = setup.world(seed);
        history(&mut world, seed, |_| {}).map_err(|failed| {
            let why = failed.message().unwrap_or("it failed");
            libtest_mimic::Failed::from(format!("history {seed}: {why}"))
        })?;
    }
    Ok(())
}

/// Up to 3 peers and trees, to which anything happens; peers have no manners, and answer what was asked in any order and way.
fn history(world: &mut World, seed: u64, mut seen: impl FnMut(&World)) -> Outcome {
    let mut random = Random::new(seed);
    for _ in 0..STEPS {
        match random.below(11) {
            0..4 => {
                let event = event(&mut random);
                if may_come(world, &event) {
                    world.event(event)?;
                }
            }
            4..8 => answer(world, &mut random)?,
            _ => world.run_for(Duration::from_millis(random.below(120_000) as u64))?,
        }
        seen(world);
    }
    // Everybody answers from now on, and what is promised is kept for a while.
    for n in 0..3 {
        world.behaves(peer(n), super::cases::SOON);
    }
    for action in world.monitor().unanswered() {
        match action {
            Action::Sync { peer, tree } => {
                world.event(Event::Acknowledged { peer, tree, bytes: 9 })?;
            }
            Action::Probe { peer } => {
                world.event(Event::Probed { peer, alive: true })?;
            }
            _ => {}
        }
    }
    world.run_for(1_000 * SECOND)
}

fn pair(random: &mut Random) -> (PublicKey, Id) {
    (peer(random.below(3) as u16), tree(random.below(3) as u16))
}

fn event(random: &mut Random) -> Event {
    let (peer, tree) = pair(random);
    let failed = |failure| Event::SyncFailed { peer, tree, failure };
    match random.below(18) {
        0..3 => {
            let interval = random.percent(50).then(|| Duration::from_millis(random.below(400_000) as u64));
            Event::Related {
                peer,
                tree,
                preferences: Preferences { on_commit: random.percent(70), interval },
            }
        }
        3 => Event::Unrelated { peer, tree },
        4..8 => Event::Committed { tree },
        8..10 => Event::Connected { peer },
        10..12 => Event::Disconnected { peer },
        12 => Event::PeerReset { peer },
        13 => Event::Acknowledged { peer, tree, bytes: random.below(100_000) as u64 },
        14 => failed(Failure::Unreachable),
        15 => failed(Failure::Refused),
        16 => Event::Probed { peer, alive: random.percent(50) },
        _ => Event::Tick,
    }
}

/// Answers come here only where nobody awaits one: those that are awaited come by [`answer`].
fn may_come(world: &World, event: &Event) -> bool {
    match event {
        Event::Acknowledged { peer, tree, .. } | Event::SyncFailed { peer, tree, .. } => {
            !world.monitor().is_unanswered(peer, tree)
        }
        Event::Probed { peer, .. } => !world.monitor().is_probing(peer),
        _ => true,
    }
}

fn answer(world: &mut World, random: &mut Random) -> Outcome {
    let unanswered = world.monitor().unanswered();
    if unanswered.is_empty() {
        return Ok(());
    }
    let event = match random.pick(&unanswered) {
        Action::Sync { peer, tree } => {
            let (peer, tree) = (*peer, *tree);
            match random.below(5) {
                0..3 => Event::Acknowledged { peer, tree, bytes: random.below(10_000) as u64 },
                3 => Event::SyncFailed { peer, tree, failure: Failure::Unreachable },
                _ => Event::SyncFailed { peer, tree, failure: Failure::Refused },
            }
        }
        Action::Probe { peer } => Event::Probed { peer: *peer, alive: random.percent(70) },
        _ => return Ok(()),
    };
    world.event(event).map(drop)
}
