//! What a policy that promises it must do. That it does so in time is the monitor's to find; that it does so at all is seen here.

use eidetica_kernel::scheduler::{Event, Preferences, Promises};

use super::cases::{HOUR, MILLIS, SECOND, SOON};
use super::suite::{Case, Needs, Setup};
use super::world::{Manners, World, peer, tree};
use crate::check::{Outcome, ensure};

pub(super) const CASES: &[Case] = &[
    Case::new("a_new_relation_is_synced", "H2", new_relation).needs(Needs::Retries),
    Case::new("a_commit_goes_out", "H2 H10", commit).needs(Needs::Commits),
    Case::new("what_is_committed_during_a_sync_goes_out_after_it", "H2 H3", commit_meanwhile)
        .needs(Needs::Commits),
    Case::new("commits_wait_where_users_do_not_want_them_pushed", "H2 H10", calm).needs(Needs::Commits),
    Case::new("every_relation_is_synced_again_and_again", "H2", again).needs(Needs::Intervals),
    Case::new("a_shorter_interval_of_users_is_kept", "H2", interval).needs(Needs::Intervals),
    Case::new("an_unreachable_peer_is_tried_again_and_again", "H2", unreachable).needs(Needs::Retries),
    Case::new("a_lost_link_is_dialled_again", "H2", lost_link).needs(Needs::Retries),
    Case::new("a_reset_is_followed_by_a_try", "H2", reset).needs(Needs::Retries),
    Case::new("a_refused_relation_is_tried_when_it_is_related_again", "H2", refused).needs(Needs::Retries),
    Case::new("a_peer_that_comes_back_gets_what_it_missed", "H2", comes_back).needs(Needs::Retries),
];

/// Long enough for whatever is promised within `promised`.
fn enough(promises: &Promises, promised: Option<std::time::Duration>) -> std::time::Duration {
    promised.unwrap_or_default() + promises.pause_max + SECOND
}

fn related(setup: &Setup, manners: Manners) -> Outcome<World> {
    let mut world = setup.world(1).with(peer(1), manners);
    world.relate(peer(1), tree(1))?;
    Ok(world)
}

/// Related, and synced since.
fn settled(setup: &Setup, manners: Manners) -> Outcome<World> {
    let promises = setup.promises();
    let mut world = related(setup, manners)?;
    world.run_for(enough(&promises, promises.retry_within) + 10 * SECOND)?;
    Ok(world)
}

fn synced(world: &World, before: usize, what: &str) -> Outcome {
    let syncs = world.syncs(peer(1), tree(1)).len();
    ensure(syncs > before, || format!("{what}: no sync by {:?}", world.now()))
}

fn new_relation(setup: &Setup) -> Outcome {
    synced(&settled(setup, SOON)?, 0, "a new relation")
}

fn commit(setup: &Setup) -> Outcome {
    let promises = setup.promises();
    let mut world = settled(setup, SOON)?;
    for _ in 0..20 {
        let (before, at) = (world.syncs(peer(1), tree(1)).len(), world.now());
        // What is pushed over an open link needs no sync.
        let pushed = world.scheduler().pushes(&peer(1), &tree(1)) && before > 0;
        world.commit(tree(1))?;
        world.run_for(enough(&promises, promises.commit_within))?;
        if !pushed {
            synced(&world, before, &format!("a commit at {at:?}"))?;
        }
        world.run_for(17 * SECOND)?;
    }
    // Without a link nothing can be pushed.
    let mut world = settled(setup, SOON)?;
    world.event(Event::Disconnected { peer: peer(1) })?;
    let before = world.syncs(peer(1), tree(1)).len();
    world.commit(tree(1))?;
    world.run_for(enough(&promises, promises.commit_within.max(promises.retry_within)))?;
    let retried = promises.retry_within.is_some();
    ensure(!retried || world.syncs(peer(1), tree(1)).len() > before, || {
        "a commit without a link: no sync".to_owned()
    })
}

fn commit_meanwhile(setup: &Setup) -> Outcome {
    let promises = setup.promises();
    let mut world = setup.world(1).with(peer(1), Manners::Answers(5 * SECOND));
    world.relate(peer(1), tree(1))?;
    world.commit(tree(1))?;
    // Until a sync is under way.
    for _ in 0..10_000 {
        if world.monitor().is_unanswered(&peer(1), &tree(1)) {
            break;
        }
        let next = world.scheduler().next_wakeup().map_or(SECOND, |at| at.saturating_sub(world.now()));
        world.run_for(next)?;
    }
    ensure(world.monitor().is_unanswered(&peer(1), &tree(1)), || "a commit: no sync".to_owned())?;
    let before = world.syncs(peer(1), tree(1)).len();
    let pushed = world.scheduler().pushes(&peer(1), &tree(1));
    for _ in 0..5 {
        world.commit(tree(1))?;
        world.run_for(100 * MILLIS)?;
    }
    let after = |world: &World| world.syncs(peer(1), tree(1)).len() - before;
    world.run_for(5 * SECOND + promises.commit_within.unwrap_or_default())?;
    ensure(after(&world) <= 2, || format!("5 commits during a sync caused {} more", after(&world)))?;
    world.run_for(enough(&promises, None))?;
    ensure(after(&world) >= usize::from(!pushed), || "commits during a sync were lost".to_owned())
}

fn calm(setup: &Setup) -> Outcome {
    let mut world = setup.world(1).with(peer(1), SOON);
    let preferences = Preferences { on_commit: false, interval: None };
    world.event(Event::Related { peer: peer(1), tree: tree(1), preferences })?;
    world.run_for(10 * SECOND)?;
    for _ in 0..50 {
        let actions = world.commit(tree(1))?;
        ensure(actions.is_empty(), || format!("a commit that no user wants pushed caused {actions:?}"))?;
    }
    Ok(())
}

fn again(setup: &Setup) -> Outcome {
    let promises = setup.promises();
    let mut world = setup.world(1);
    for n in 1..=4 {
        world.behaves(peer(n), if n == 4 { Manners::Answers(3 * SECOND) } else { SOON });
        for of in 1..=3 {
            world.relate(peer(n), tree(of))?;
        }
    }
    let rounds = 6;
    world.run_for(rounds * (enough(&promises, promises.sync_within) + 3 * SECOND))?;
    for n in 1..=4 {
        for of in 1..=3 {
            let syncs = world.syncs(peer(n), tree(of)).len();
            ensure(syncs >= rounds as usize, || format!("{syncs} syncs in {rounds} intervals"))?;
        }
    }
    Ok(())
}

fn interval(setup: &Setup) -> Outcome {
    let promises = setup.promises();
    let mut world = settled(setup, SOON)?;
    let preferences = Preferences { on_commit: true, interval: Some(5 * SECOND) };
    world.event(Event::Related { peer: peer(1), tree: tree(1), preferences })?;
    let before = world.syncs(peer(1), tree(1)).len();
    world.run_for(promises.pause_max + 60 * SECOND)?;
    let syncs = world.syncs(peer(1), tree(1)).len() - before;
    ensure(syncs >= 8, || format!("{syncs} syncs in a minute where users ask for one every 5 s"))
}

fn unreachable(setup: &Setup) -> Outcome {
    let promises = setup.promises();
    let mut world = related(setup, Manners::Unreachable(SECOND))?;
    world.run_for(20 * (enough(&promises, promises.retry_within) + SECOND))?;
    let tries = world.syncs(peer(1), tree(1)).len();
    ensure(tries >= 20, || format!("{tries} tries in 20 of the longest waits"))
}

fn lost_link(setup: &Setup) -> Outcome {
    let promises = setup.promises();
    for _ in 0..3 {
        let mut world = settled(setup, SOON)?;
        let before = world.syncs(peer(1), tree(1)).len();
        world.event(Event::Disconnected { peer: peer(1) })?;
        world.run_for(enough(&promises, promises.retry_within))?;
        synced(&world, before, "a lost link")?;
    }
    Ok(())
}

fn reset(setup: &Setup) -> Outcome {
    let promises = setup.promises();
    for manners in [SOON, Manners::Unreachable(SECOND), Manners::Refuses(SECOND)] {
        let mut world = settled(setup, manners)?;
        world.run_for(HOUR)?;
        let before = world.syncs(peer(1), tree(1)).len();
        world.event(Event::PeerReset { peer: peer(1) })?;
        world.run_for(enough(&promises, promises.retry_within))?;
        synced(&world, before, &format!("a reset of a peer that {manners:?}"))?;
    }
    Ok(())
}

fn refused(setup: &Setup) -> Outcome {
    let promises = setup.promises();
    let mut world = settled(setup, Manners::Refuses(50 * MILLIS))?;
    world.run_for(HOUR)?;
    world.behaves(peer(1), SOON);
    let before = world.syncs(peer(1), tree(1)).len();
    world.relate(peer(1), tree(1))?;
    world.run_for(enough(&promises, promises.retry_within))?;
    synced(&world, before, "a relation that was refused, related again")
}

fn comes_back(setup: &Setup) -> Outcome {
    let promises = setup.promises();
    let mut world = related(setup, Manners::Unreachable(SECOND))?;
    world.run_for(5 * HOUR)?;
    world.commit(tree(1))?;
    world.behaves(peer(1), SOON);
    let before = world.syncs(peer(1), tree(1)).len();
    world.run_for(enough(&promises, promises.retry_within) + SECOND)?;
    synced(&world, before, "a peer that is back after 5 hours")
}
