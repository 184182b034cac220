//! Random worlds: the policy against a naive model of its rules.

mod support;

use std::collections::BTreeSet;

use eidetica_conformance::auth::random_op;
use eidetica_conformance::store::Random;
use eidetica_kernel::auth::{NodeSet, RightsHistory, RightsNode, RightsOp};
use eidetica_kernel::{HybridClock, Id};
use support::model::{Model, Set};
use support::world::{Draft, Ix, World, key, random_world};

fn nodes(world: &World, set: &Set) -> NodeSet {
    set.iter().filter_map(|ix| world.entries[*ix].node).collect()
}

/// A random set of operations closed under past.
fn closed(random: &mut Random, world: &World) -> Set {
    let set = world.closed(random);
    let is_in = |ix: &Ix| world.entries[*ix].node.is_some_and(|node| set.contains(node));
    (0..world.entries.len()).filter(is_in).collect()
}

fn agrees(world: &World, model: &Model<'_>, set: &Set, seed: u64) {
    let expected = model.counted(set);
    let counted = world.policy.counted(&world.history, &nodes(world, set), world);
    assert_eq!(counted, nodes(world, &expected), "counted in world {seed}");
    let table: Vec<_> = world
        .policy
        .table(&world.history, &counted)
        .iter()
        .map(|(grantee, standing)| (*grantee, (standing.grant.clone(), standing.node)))
        .collect();
    let expected: Vec<_> = model
        .table(&expected)
        .into_iter()
        .map(|(grantee, (grant, ix))| (grantee, (grant, world.entries[ix].node.expect("an operation"))))
        .collect();
    assert_eq!(table, expected, "table in world {seed}");
}

#[test]
fn the_policy_agrees_with_the_naive_model() {
    let (mut void, mut bites) = (0, 0);
    for seed in 0..1_200 {
        let world = random_world(seed, 6 + (seed % 9) as usize);
        let model = Model::new(&world);
        let mut random = Random::new(seed);
        let all = model.ops();
        agrees(&world, &model, &all, seed);
        for _ in 0..3 {
            agrees(&world, &model, &closed(&mut random, &world), seed);
        }
        void += all.len() - model.counted(&all).len();
        for r in &all {
            for x in 0..world.entries.len() {
                let node = world.entries[*r].node.expect("an operation");
                assert_eq!(world.bites(node, x), model.bites(*r, x), "{r} bites {x} in world {seed}");
                bites += usize::from(model.bites(*r, x));
            }
        }
        for r in &all {
            let node = &world.history.nodes()[world.entries[*r].node.expect("an operation")];
            assert_eq!(node.rank.map_or(u64::MAX, u64::from), model.rank(*r), "rank of {r} in world {seed}");
        }
        for x in 1..world.entries.len() {
            assert!(model.admissible(x), "{x} in world {seed} was let in");
        }
    }
    assert!(void > 300 && bites > 1_000, "the worlds are too peaceful: {void} void, {bites} bites");
}

#[test]
fn what_the_model_refuses_is_refused() {
    let mut refused = 0;
    for seed in 0..1_500 {
        let mut world = random_world(seed, 8);
        let mut random = Random::new(!seed);
        let author = random.below(6) as u8;
        let parents = vec![random.below(world.entries.len())];
        let (op, stores) = match random.below(4) {
            0 => (None, vec![(*random.pick(&["notes", "plans", "_settings", "_other"])).to_owned()]),
            _ => (Some(random_op(&mut random, &world, 6)), vec!["_rights".to_owned()]),
        };
        let draft = Draft { parents, stores, op, ..Draft::default() };
        if let Err(denial) = world.add(author, draft.clone()) {
            refused += 1;
            assert!(denial.reason.contains("keys/1") && denial.reason.contains(&key(author).to_string()));
            // The same entry let in by force, so that the model can judge it.
            let past: BTreeSet<Ix> =
                world.entries[draft.parents[0]].past.iter().copied().chain(draft.parents).collect();
            let ix = world.force(author, past, draft.stores, draft.op);
            assert!(!Model::new(&world).admissible(ix), "world {seed} refused: {denial}");
        }
    }
    assert!(refused > 300, "only {refused} refused");
}

#[test]
fn exactly_one_set_solves_rule_2() {
    for seed in 0..150 {
        let world = random_world(90_000 + seed, 9);
        let model = Model::new(&world);
        assert!(model.is_unique(&model.ops()), "world {seed}");
    }
}

#[test]
fn large_worlds_agree_too() {
    for seed in 0..80 {
        let world = random_world(50_000 + seed, 20 + (seed % 5) as usize * 5);
        let model = Model::new(&world);
        let mut random = Random::new(seed);
        agrees(&world, &model, &model.ops(), seed);
        agrees(&world, &model, &closed(&mut random, &world), seed);
    }
}

#[test]
fn a_history_gives_back_what_was_added_last() {
    let mut world = random_world(9, 12);
    let before = world.table();
    let ids: Vec<Id> = world.history.nodes().iter().map(|node| node.id).collect();
    let tip = world.entries.len() - 1;
    let added = world.op(0, &[tip], RightsOp::Merge);
    let node = world.history.pop().expect("added above");
    assert_eq!(node.id, world.entries[added].id);
    assert_eq!(world.history.position(&node.id), None);
    assert!(world.history.nodes().iter().map(|node| node.id).eq(ids));
    assert_eq!(world.table(), before);
}

#[test]
fn clocks_that_agree_with_causality_change_nothing() {
    for seed in 0..400 {
        let world = random_world(30_000 + seed, 14);
        let mut random = Random::new(seed);
        let mut other = RightsHistory::new();
        let mut clocks: Vec<u64> = Vec::new();
        for node in world.history.nodes() {
            let behind = node.past.iter().map(|at| clocks[at]).max().unwrap_or(0);
            clocks.push(behind + 1 + random.below(1_000_000) as u64);
            other.push(RightsNode { clock: HybridClock::from_bits(behind + 1), ..node.clone() });
        }
        let mut fast = RightsHistory::new();
        for (node, clock) in world.history.nodes().iter().zip(clocks) {
            fast.push(RightsNode { clock: HybridClock::from_bits(clock), ..node.clone() });
        }
        let counted = world.counted();
        for history in [other, fast] {
            assert_eq!(counted, world.policy.counted(&history, &history.all(), &world), "world {seed}");
            assert_eq!(world.table(), world.policy.table(&history, &counted), "world {seed}");
        }
    }
}

/// Taking more voids no less: every data entry that a grant bites is bitten by a revocation in its place.
#[test]
fn a_revocation_bites_at_least_what_a_narrowing_does() {
    for seed in 0..300 {
        let world = random_world(60_000 + seed, 12);
        for (at, node) in world.history.nodes().iter().enumerate() {
            let RightsOp::Grant { to, keep, .. } = &node.op else { continue };
            let mut harsher = RightsHistory::new();
            for (other, node) in world.history.nodes().iter().enumerate() {
                let op = if other == at && !node.is_root {
                    RightsOp::Revoke { from: *to, keep: keep.clone() }
                } else {
                    node.op.clone()
                };
                harsher.push(RightsNode { op, ..node.clone() });
            }
            for x in 0..world.entries.len() {
                let deed = world.deed(x);
                // Below it the past would differ as well.
                if !deed.past.contains(at) && world.policy.bites(&world.history, at, &deed, &world) {
                    assert!(world.policy.bites(&harsher, at, &deed, &world), "{at} on {x} in world {seed}");
                }
            }
        }
    }
}
