//! A peer that stalls, fails or refuses delays no other.

use std::time::Duration;

use super::cases::{MILLIS, SECOND, SOON};
use super::suite::{Case, Setup};
use super::world::{Manners, World, peer, tree};
use crate::check::{Outcome, ensure};

pub(super) const CASES: &[Case] = &[
    Case::new("a_stalled_peer_delays_no_other", "H4", stalled),
    Case::new("an_unreachable_peer_delays_no_other", "H4", unreachable),
    Case::new("a_refusing_peer_delays_no_other", "H4", refusing),
    Case::new("a_peer_that_loses_its_links_delays_no_other", "H4", flapping),
];

/// Peers that behave; the others come first in every order.
const SOUND: [u16; 3] = [7, 8, 9];

/// An hour with commits to a tree that all share and to one of each, while peers 1 to 6 have these manners. The monitor holds
/// the policy to what it promises to everyone.
fn hour(setup: &Setup, others: Manners) -> Outcome<World> {
    let mut world = setup.world(3);
    for n in 1..=9 {
        world.behaves(peer(n), if SOUND.contains(&n) { SOON } else { others });
        for of in [1, 10 + n, 20 + n] {
            world.relate(peer(n), tree(of))?;
        }
    }
    for n in 0..120_u16 {
        world.run_for(Duration::from_secs(30))?;
        world.commit(tree(if n % 2 == 0 { 1 } else { 10 + 1 + n % 9 }))?;
    }
    world.run_for(60 * SECOND)?;
    Ok(world)
}

fn held_against(setup: &Setup, others: Manners) -> Outcome {
    let (sound, world) = (hour(setup, SOON)?, hour(setup, others)?);
    for n in SOUND {
        for of in [1, 10 + n, 20 + n] {
            let (expected, found) =
                (sound.syncs(peer(n), tree(of)).len(), world.syncs(peer(n), tree(of)).len());
            // Chance may move a few of them over the end.
            let least = expected - expected / 5;
            ensure(found + 1 >= least, || {
                format!("with others that {others:?}, a sound peer had {found} syncs instead of {expected}")
            })?;
        }
    }
    Ok(())
}

fn stalled(setup: &Setup) -> Outcome {
    held_against(setup, Manners::Stalls)
}

fn unreachable(setup: &Setup) -> Outcome {
    held_against(setup, Manners::Unreachable(2 * SECOND))
}

fn refusing(setup: &Setup) -> Outcome {
    held_against(setup, Manners::Refuses(100 * MILLIS))
}

fn flapping(setup: &Setup) -> Outcome {
    held_against(setup, Manners::Flaps(700 * MILLIS))
}
