//! Random worlds: the policy against a naive model of its rules, and the invariants P1 to P5.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use eidetica_auth_keys::Keys;
use eidetica_kernel::auth::{
    AuthPolicy, Grant, Grantee, NodeSet, Right, RightsHistory, RightsNode, RightsOp, RightsTable, StoreScope,
};
use eidetica_kernel::{HybridClock, Id};
use support::model::{Model, Set};
use support::random::{self, Random};
use support::world::{Draft, Ix, ROOT, World, key};

fn nodes(world: &World, set: &Set) -> NodeSet {
    set.iter().filter_map(|ix| world.entries[*ix].node).collect()
}

fn ids(history: &RightsHistory, set: &NodeSet) -> BTreeSet<Id> {
    set.iter().map(|at| history.nodes()[at].id).collect()
}

/// A random set of operations closed under past.
fn closed(random: &mut Random, world: &World) -> Set {
    let mut set = Set::new();
    for _ in 0..1 + random.below(4) {
        let ix = random.below(world.entries.len());
        set.extend(world.entries[ix].past.iter().copied().chain([ix]));
    }
    set.into_iter().filter(|ix| world.entries[*ix].op.is_some()).collect()
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
        let world = random::world(seed, 6 + (seed % 9) as usize);
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
        let mut world = random::world(seed, 8);
        let mut random = Random::new(!seed);
        let author = random.below(6) as u8;
        let parents = vec![random.below(world.entries.len())];
        let (op, stores) = match random.below(4) {
            0 => (None, vec![random.pick(&["notes", "plans", "_settings", "_other"]).to_owned()]),
            _ => (Some(random::op(&mut random, &world, 6)), vec!["_rights".to_owned()]),
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
        let world = random::world(90_000 + seed, 9);
        let model = Model::new(&world);
        assert!(model.is_unique(&model.ops()), "world {seed}");
    }
}

#[test]
fn large_worlds_agree_too() {
    for seed in 0..80 {
        let world = random::world(50_000 + seed, 20 + (seed % 5) as usize * 5);
        let model = Model::new(&world);
        let mut random = Random::new(seed);
        agrees(&world, &model, &model.ops(), seed);
        agrees(&world, &model, &closed(&mut random, &world), seed);
    }
}

#[test]
fn the_order_of_arrival_decides_nothing() {
    for seed in 0..600 {
        let world = random::world(10_000 + seed, 14);
        let mut random = Random::new(seed);
        let mut shuffled = RightsHistory::new();
        let mut at = BTreeMap::new();
        let mut waiting: Vec<&RightsNode> = world.history.nodes().iter().collect();
        while !waiting.is_empty() {
            let ready: Vec<usize> = (0..waiting.len())
                .filter(|n| waiting[*n].past.iter().all(|node| at.contains_key(&node)))
                .collect();
            let node = waiting.remove(random.pick(&ready));
            let from = world.history.position(&node.id).expect("held");
            let past = node.past.iter().map(|node| at[&node]).collect();
            at.insert(from, shuffled.push(RightsNode { past, ..node.clone() }));
        }
        let counted = world.counted();
        let other = world.policy.counted(&shuffled, &shuffled.all(), &world);
        assert_eq!(ids(&world.history, &counted), ids(&shuffled, &other), "world {seed}");
        let (table, other) =
            (world.policy.table(&world.history, &counted), world.policy.table(&shuffled, &other));
        let named = |history: &RightsHistory, table: &RightsTable| -> Vec<_> {
            let rows = table.iter();
            rows.map(|(to, own)| (*to, own.grant.clone(), history.nodes()[own.node].id)).collect()
        };
        assert_eq!(named(&world.history, &table), named(&shuffled, &other), "world {seed}");
    }
}

#[test]
fn later_arrivals_change_no_admission_and_asking_twice_changes_nothing() {
    for seed in 0..300 {
        let world = random::world(20_000 + seed, 14);
        for x in 1..world.entries.len() {
            let entry = &world.entries[x];
            let counted = world.policy.counted(&world.history, &entry.past_ops, &world);
            let table = world.policy.table(&world.history, &counted);
            assert!(world.policy.permits(&table, &world.deed(x)).is_ok(), "{x} in world {seed}");
        }
        assert_eq!(world.counted(), world.counted());
        assert_eq!(world.table(), world.table());
    }
}

/// P6, for every operation as the one that comes last.
#[test]
fn what_counts_with_one_more_is_what_counts_of_all() {
    let mut changed = 0;
    for seed in 0..800 {
        let world = random::world(70_000 + seed, 6 + (seed % 20) as usize);
        let (mut history, mut counted) = (RightsHistory::new(), NodeSet::default());
        for (at, node) in world.history.nodes().iter().enumerate() {
            let before = world.policy.counted(&history, &node.past, &world);
            let before = world.policy.table(&history, &before);
            history.push(node.clone());
            let joined = world.policy.counted_with_last(&history, &counted, &before, &world);
            let expected = world.policy.counted(&history, &history.all(), &world);
            assert_eq!(joined, expected, "with {at} in world {seed}");
            let mut others = joined.clone();
            others.remove(at);
            changed += usize::from(others != counted);
            counted = joined;
        }
    }
    assert!(changed > 100, "only {changed} changed what counted before");
}

#[test]
fn a_history_gives_back_what_was_added_last() {
    let mut world = random::world(9, 12);
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
        let world = random::world(30_000 + seed, 14);
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

/// What may only do less than `held`.
fn narrowed(random: &mut Random, held: &Grant) -> Grant {
    let lower: &[Right] = match held.right {
        Right::Admin => &[Right::Admin, Right::Write, Right::Read],
        Right::Write => &[Right::Write, Right::Read],
        other => &[other, Right::Read],
    };
    let stores = if random.chance(50) { held.stores.clone() } else { StoreScope::Only(vec![]) };
    Grant { right: random.pick(lower), seniority: held.seniority + random.below(3) as u32, stores }
}

/// P4: after an operation that only takes, sees all there is and keeps all that was written, nothing that was refused is
/// allowed, but for operations on whom it takes from.
#[test]
fn an_operation_that_only_takes_makes_nothing_admissible() {
    let (mut compared, mut taken) = (0, 0);
    for seed in 0..1_500 {
        let mut world = random::world(40_000 + seed, 10);
        let mut random = Random::new(seed);
        let tips: Vec<Ix> = (0..world.entries.len()).collect();
        let before = world.table();
        let victim = match random.below(7) {
            6 => Grantee::Anyone,
            n => Grantee::Key(key(n as u8)),
        };
        let held = match &victim {
            Grantee::Key(key) => before.grant(key).cloned(),
            Grantee::Anyone => before.get(&victim).and_then(|standing| standing.grant.clone()),
        };
        let op = match held {
            Some(held) if random.chance(50) => {
                RightsOp::Grant { to: victim, grant: narrowed(&mut random, &held), keep: vec![] }
            }
            _ => RightsOp::Revoke { from: victim, keep: vec![] },
        };
        // "*" keeps all that is in its own past.
        let theirs = |ix: &Ix| Grantee::Key(world.entries[*ix].author) == victim;
        let heads: Vec<Ix> = tips.iter().copied().filter(theirs).collect();
        let op = world.keeping(op, &heads);
        let names_it = |op: &RightsOp| match (victim, op.grantee()) {
            (Grantee::Anyone, Some(to @ Grantee::Key(_))) => before.get(&to).is_none(),
            (_, to) => to == Some(victim),
        };
        let mut probes = Vec::new();
        for author in 0..6 {
            for store in ["notes", "plans", "_settings"] {
                probes.push((author, None, store));
            }
            for _ in 0..6 {
                probes.push((author, Some(random::op(&mut random, &world, 6)), "_rights"));
            }
        }
        probes.retain(|(_, op, _)| op.as_ref().is_none_or(|op| !names_it(op)));
        let allowed = |world: &World, table: &RightsTable| -> Vec<bool> {
            let judge = |(author, op, store): &(u8, Option<RightsOp>, &str)| {
                let stores = [(*store).to_owned()];
                let mut deed = world.deed(ROOT);
                (deed.author, deed.is_root, deed.stores, deed.op) =
                    (key(*author), false, &stores, op.as_ref());
                world.policy.permits(table, &deed).is_ok()
            };
            probes.iter().map(judge).collect()
        };
        let first = allowed(&world, &before);
        let counted = world.counted();
        let author = random.below(6) as u8;
        let Some(taking) = [author, 0].iter().find_map(|by| world.try_op(*by, &tips, op.clone()).ok()) else {
            continue;
        };
        taken += usize::from(world.stands(taking));
        assert!(counted.iter().all(|at| world.counted().contains(at)), "world {seed}: it keeps all");
        let after = allowed(&world, &world.table());
        for (n, (before, after)) in first.iter().zip(&after).enumerate() {
            assert!(*before || !*after, "{:?} after {op:?} in world {seed}", probes[n]);
            compared += usize::from(!*before);
        }
    }
    assert!(compared > 5_000 && taken > 500, "{compared} compared, {taken} taken");
}

/// Taking more voids no less: every data entry that a grant bites is bitten by a revocation in its place.
#[test]
fn a_revocation_bites_at_least_what_a_narrowing_does() {
    for seed in 0..300 {
        let world = random::world(60_000 + seed, 12);
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

#[test]
fn operations_come_back_as_they_were_written() {
    let policy = Keys::new();
    let world = random::world(7, 30);
    let mut random = Random::new(7);
    for _ in 0..5_000 {
        let op = random::op(&mut random, &world, 6);
        let body = policy.encode(&op).expect("a valid operation");
        assert_eq!(policy.decode(&body).expect("its own bytes"), op);
    }
}

#[test]
fn hostile_bytes_are_refused_or_canonical() {
    let policy = Keys::new();
    let world = random::world(8, 30);
    let mut random = Random::new(8);
    let mut accepted = 0;
    for _ in 0..30_000 {
        let mut body = policy.encode(&random::op(&mut random, &world, 6)).expect("a valid operation");
        for _ in 0..random.below(4) {
            let at = random.below(body.len());
            match random.below(4) {
                0 => body[at] = random.next() as u8,
                1 => body[at] ^= 1 << random.below(8),
                2 => body.truncate(at.max(1)),
                _ => body.insert(at, random.next() as u8),
            }
        }
        if let Ok(op) = policy.decode(&body) {
            accepted += 1;
            assert_eq!(policy.encode(&op).expect("what was decoded"), body);
        }
    }
    assert!(accepted > 1_000);
    for length in 0..64 {
        let _either = policy.decode(&vec![0xff; length]);
        let _either = policy.decode(&vec![0; length]);
    }
}
