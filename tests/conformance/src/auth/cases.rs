//! Judging: pure, in any order, by the past alone.

use std::collections::{BTreeMap, BTreeSet};

use eidetica_kernel::auth::{
    Deed, Grant, Grantee, NodeSet, Permission, Right, RightsHistory, RightsNode, RightsOp, RightsTable,
    StoreScope,
};
use eidetica_kernel::{Id, PublicKey};

use super::random::{random_op, random_world_and_refused};
use super::suite::{Case, Setup};
use super::world::{Draft, Ix, ROOT, World, key};
use crate::check::{Outcome, ensure, fail};
use crate::store::Random;

pub(super) const CASES: &[Case] = &[
    Case::new("the_kind_names_its_version_and_stays", "P1", kind),
    Case::new("asking_twice_gives_the_same_answer", "P1", twice),
    Case::new("fresh_policies_agree", "P1", fresh),
    Case::new("the_order_of_arrival_decides_nothing", "P1 P2 P3", order),
    Case::new("what_lies_outside_of_a_set_decides_nothing", "P2 P3", outside),
    Case::new("admissible_is_decided_by_the_past_alone", "P3", past_alone),
    Case::new("an_operation_that_only_takes_makes_nothing_admissible", "P4", only_takes),
    Case::new("what_counts_with_one_more_is_what_counts_of_all", "P6", one_more),
    Case::new("a_tree_begins_with_its_creators_grant_and_no_other_way", "P8", begins),
    Case::new("who_holds_nothing_may_do_nothing", "P8", strangers),
    Case::new("a_grant_reaches_no_further_than_it_says", "P9", scopes),
];

fn kind(setup: &Setup) -> Outcome {
    let kind = setup.policy().kind();
    let version = kind.rsplit_once('/').map(|(name, version)| (!name.is_empty(), version.parse::<u32>()));
    ensure(matches!(version, Some((true, Ok(_)))), || format!("the kind {kind:?} isn't like \"name/1\""))?;
    ensure(setup.policy().kind() == kind, || "the kind changes".to_owned())
}

/// Everything that the policy says of a world, by ids.
fn said(world: &World) -> Outcome<Said> {
    let counted = world.counted();
    let table = world.policy.table(&world.history, &counted);
    let stands = (0..world.entries.len())
        .filter(|ix| world.stands_with(*ix, &counted))
        .map(|ix| world.entries[ix].id)
        .collect();
    let mut bites = BTreeSet::new();
    for (at, node) in world.history.nodes().iter().enumerate() {
        let bitten = (0..world.entries.len()).filter(|ix| world.bites(at, *ix));
        bites.extend(bitten.map(|ix| (node.id, world.entries[ix].id)));
    }
    let readers = (0..8).filter(|n| world.policy.may_read(&table, &key(*n))).collect();
    Ok(Said {
        counted: ids(&world.history, &counted),
        table: named(&world.history, &table)?,
        stands,
        bites,
        readers,
    })
}

#[derive(Debug, PartialEq, Eq)]
struct Said {
    counted: BTreeSet<Id>,
    table: Vec<(Grantee, Option<Grant>, Id)>,
    stands: BTreeSet<Id>,
    bites: BTreeSet<(Id, Id)>,
    readers: Vec<u8>,
}

impl Said {
    /// Fails where another says otherwise.
    fn same(&self, other: &Self, what: &str) -> Outcome {
        let differs = match () {
            () if self.counted != other.counted => "which operations count",
            () if self.table != other.table => "who holds what",
            () if self.bites != other.bites => "which operation bites what",
            () if self.stands != other.stands => "which entries stand",
            () if self.readers != other.readers => "who may read",
            () => return Ok(()),
        };
        fail(format!("{what}: {differs} differs"))
    }
}

fn ids(history: &RightsHistory, set: &NodeSet) -> BTreeSet<Id> {
    set.iter().filter_map(|at| history.nodes().get(at)).map(|node| node.id).collect()
}

fn named(history: &RightsHistory, table: &RightsTable) -> Outcome<Vec<(Grantee, Option<Grant>, Id)>> {
    let mut rows = Vec::new();
    for (to, own) in table.iter() {
        let Some(node) = history.nodes().get(own.node) else {
            return fail(format!("what {to} holds rests on operation {}, which isn't there", own.node));
        };
        rows.push((*to, own.grant.clone(), node.id));
    }
    Ok(rows)
}

fn twice(setup: &Setup) -> Outcome {
    for seed in 0..60 {
        let (world, other) = (setup.world(seed, 12)?, setup.world(1_000 + seed, 12)?);
        let first = said(&world)?;
        // Another tree in between, judged by the same policy.
        let (_, again) = (said(&World { policy: world.policy.clone(), ..other })?, said(&world)?);
        first.same(&again, &format!("world {seed}, asked again"))?;
        let table = world.table();
        for x in 0..world.entries.len() {
            let (one, two) =
                (world.policy.permits(&table, &world.deed(x)), world.policy.permits(&table, &world.deed(x)));
            ensure(one == two, || format!("world {seed}: {one:?}, asked again {two:?}"))?;
        }
    }
    Ok(())
}

fn fresh(setup: &Setup) -> Outcome {
    for seed in 0..120 {
        let (world, other) = (setup.world(seed, 12)?, setup.world(seed, 12)?);
        ensure(world.entries.len() == other.entries.len(), || {
            format!("world {seed}: two policies admit {} and {}", world.entries.len(), other.entries.len())
        })?;
        said(&world)?.same(&said(&other)?, &format!("world {seed}, judged by another policy"))?;
        // And one that has judged nothing before.
        let other = World { policy: setup.policy(), ..other };
        said(&world)?.same(&said(&other)?, &format!("world {seed}, judged by a new policy"))?;
    }
    Ok(())
}

fn order(setup: &Setup) -> Outcome {
    let mut concurrent = 0;
    for seed in 0..250 {
        let world = setup.world(10_000 + seed, 14)?;
        concurrent += usize::from(world.entries.iter().enumerate().any(|(ix, entry)| entry.past.len() < ix));
        let first = said(&world)?;
        let mut random = Random::new(seed);
        for _ in 0..2 {
            let there = world
                .delivered(setup.policy(), &mut random)
                .or_else(|denial| fail(format!("world {seed}, in another order: {denial} (P3)")))?;
            first.same(&said(&there)?, &format!("world {seed}, in another order"))?;
            // One right after the other: what is remembered of the one is of no use for the other.
            for one in [&world, &there, &world] {
                let counted = world.policy.counted(&one.history, &one.history.all(), one);
                ensure(ids(&one.history, &counted) == first.counted, || {
                    format!("world {seed}: which operations count depends on what was asked before (P1)")
                })?;
            }
        }
    }
    ensure(concurrent > 50, || format!("only {concurrent} of the worlds have concurrent entries"))
}

/// What counts of a set is what counts in a history that holds nothing else.
fn outside(setup: &Setup) -> Outcome {
    let mut smaller = 0;
    for seed in 0..250 {
        let world = setup.world(20_000 + seed, 14)?;
        let mut random = Random::new(seed);
        for _ in 0..3 {
            let within = world.closed(&mut random);
            let mut alone = RightsHistory::new();
            let mut at = BTreeMap::new();
            for from in within.iter() {
                let node = &world.history.nodes()[from];
                let past = node.past.iter().map(|node| at[&node]).collect();
                at.insert(from, alone.push(RightsNode { past, ..node.clone() }));
            }
            smaller += usize::from(alone.nodes().len() < world.history.nodes().len());
            let expected = world.policy.counted(&alone, &alone.all(), &world);
            let found = world.policy.counted(&world.history, &within, &world);
            ensure(ids(&alone, &expected) == ids(&world.history, &found), || {
                format!("world {seed}: what counts of a set depends on what lies outside")
            })?;
            let tables = (
                named(&alone, &world.policy.table(&alone, &expected))?,
                named(&world.history, &world.policy.table(&world.history, &found))?,
            );
            ensure(tables.0 == tables.1, || {
                format!("world {seed}: who holds what after a set depends on what lies outside")
            })?;
        }
    }
    ensure(smaller > 100, || format!("only {smaller} sets were smaller than their histories"))
}

/// What was admitted stays so whatever came later; what was refused is refused again.
fn past_alone(setup: &Setup) -> Outcome {
    let mut refusals = 0;
    for seed in 0..150 {
        let begun = random_world_and_refused(setup.policy(), 30_000 + seed, 14);
        let (mut world, refused) =
            begun.or_else(|denial| fail(format!("a tree can't be begun: {denial} (P8)")))?;
        for x in 0..world.entries.len() {
            let counted = world.policy.counted(&world.history, &world.entries[x].past_ops, &world);
            let table = world.policy.table(&world.history, &counted);
            let verdict = world.policy.permits(&table, &world.deed(x));
            ensure(verdict.is_ok(), || format!("world {seed}: {verdict:?} of what was admitted before"))?;
        }
        for (author, draft) in refused {
            refusals += 1;
            ensure(world.add(author, draft).is_err(), || {
                format!("world {seed}: what was refused is admitted after more has arrived")
            })?;
        }
    }
    ensure(refusals > 100, || format!("only {refusals} entries were refused"))
}

/// What may only do less than `held`.
fn narrowed(random: &mut Random, held: &Grant) -> Grant {
    let lower: &[Right] = match held.right {
        Right::Admin => &[Right::Admin, Right::Write, Right::Read],
        Right::Write => &[Right::Write, Right::Read],
        other => &[other, Right::Read],
    };
    let stores = if random.percent(50) { held.stores.clone() } else { StoreScope::Only(vec![]) };
    Grant { right: *random.pick(lower), seniority: held.seniority + random.below(3) as u32, stores }
}

fn only_takes(setup: &Setup) -> Outcome {
    let (mut compared, mut taken) = (0, 0);
    for seed in 0..800 {
        let mut world = setup.world(40_000 + seed, 10)?;
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
            Some(held) if random.percent(50) => {
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
        let mut probes: Vec<(u8, Option<RightsOp>, [String; 1])> = Vec::new();
        for author in 0..6 {
            for store in ["notes", "plans", "_settings"] {
                probes.push((author, None, [store.to_owned()]));
            }
            for _ in 0..6 {
                probes.push((author, Some(random_op(&mut random, &world, 6)), ["_rights".to_owned()]));
            }
        }
        probes.retain(|(_, op, _)| op.as_ref().is_none_or(|op| !names_it(op)));
        let allowed = |world: &World, table: &RightsTable| -> Vec<bool> {
            let judge = |(author, op, stores): &(u8, Option<RightsOp>, [String; 1])| {
                let probe = Deed {
                    author: key(*author),
                    is_root: false,
                    stores,
                    op: op.as_ref(),
                    ..world.deed(ROOT)
                };
                world.policy.permits(table, &probe).is_ok()
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
        let now = world.counted();
        ensure(counted.iter().all(|at| now.contains(at)), || {
            format!("world {seed}: {op:?} keeps all, and voids operations")
        })?;
        let after = allowed(&world, &world.table());
        for (n, (before, after)) in first.iter().zip(&after).enumerate() {
            ensure(*before || !*after, || {
                format!("world {seed}: after {op:?} is allowed {:?}, which was not before", probes[n])
            })?;
            compared += usize::from(!*before);
        }
    }
    ensure(compared > 5_000 && taken > 100, || {
        format!("only {compared} refusals compared, after {taken} operations that take")
    })
}

/// For every operation as the one that comes last.
fn one_more(setup: &Setup) -> Outcome {
    for seed in 0..400 {
        let world = setup.world(70_000 + seed, 6 + (seed % 20) as usize)?;
        let (mut history, mut counted) = (RightsHistory::new(), NodeSet::default());
        for (at, node) in world.history.nodes().iter().enumerate() {
            let before = world.policy.counted(&history, &node.past, &world);
            let before = world.policy.table(&history, &before);
            history.push(node.clone());
            let joined = world.policy.counted_with_last(&history, &counted, &before, &world);
            let expected = world.policy.counted(&history, &history.all(), &world);
            ensure(joined == expected, || format!("world {seed}: otherwise with operation {at}"))?;
            counted = joined;
        }
    }
    Ok(())
}

fn begins(setup: &Setup) -> Outcome {
    setup.begun()?;
    let policy = setup.policy();
    let none = RightsTable::default();
    let everything = Grant::new(Permission::Admin, 0);
    let to =
        |n, grant: &Grant| RightsOp::Grant { to: Grantee::Key(key(n)), grant: grant.clone(), keep: vec![] };
    let past = NodeSet::default();
    let stores = ["_rights".to_owned(), "_settings".to_owned()];
    let others = [
        None,
        Some(RightsOp::Merge),
        Some(RightsOp::Revoke { from: Grantee::Key(key(0)), keep: vec![] }),
        Some(to(1, &everything)),
        Some(to(0, &Grant::new(Permission::Write, 0))),
        Some(to(0, &Grant::new(Permission::Admin, 1))),
        Some(to(0, &Grant::new(Permission::Admin, u32::MAX))),
        Some(to(0, &Grant { stores: StoreScope::Only(vec!["notes".to_owned()]), ..everything.clone() })),
        Some(RightsOp::Grant { to: Grantee::Anyone, grant: everything.clone(), keep: vec![] }),
    ];
    for op in &others {
        let root = Deed {
            id: Id::from_bytes([9; 32]),
            author: key(0),
            author_seq: 0,
            is_root: true,
            stores: &stores,
            op: op.as_ref(),
            past: &past,
        };
        ensure(policy.permits(&none, &root).is_err(), || format!("a tree begins with {op:?}"))?;
        // The right operation, in an entry that begins nothing.
        let op = to(0, &everything);
        let behind = Deed { is_root: false, op: Some(&op), ..root };
        ensure(policy.permits(&none, &behind).is_err(), || "a grant to oneself makes an admin".to_owned())?;
    }
    Ok(())
}

/// Names that are nearly the granted one are others.
fn scopes(setup: &Setup) -> Outcome {
    let only = |names: &[&str]| StoreScope::Only(names.iter().map(|name| (*name).to_owned()).collect());
    let admit = Right::Admit { cap: Permission::Write, seniority_min: 100 };
    let grants = [
        (Right::Read, StoreScope::All),
        (admit, StoreScope::All),
        (Right::Write, StoreScope::All),
        (Right::Write, only(&["notes"])),
        (Right::Write, only(&["notes", "plans"])),
        (Right::Write, only(&[])),
        (Right::Admin, only(&["notes"])),
    ];
    let names =
        ["notes", "plans", "note", "notes2", "notes-private", "Notes", "notes/", "no", "_settings", "_notes"];
    for (right, stores) in grants {
        let mut world = setup.begun()?;
        let grant = Grant { right, seniority: 100, stores };
        let op = RightsOp::Grant { to: Grantee::Key(key(1)), grant: grant.clone(), keep: vec![] };
        // A policy needn't know every grant.
        if world.policy.encode(&op).is_err() {
            continue;
        }
        let Ok(granted) = world.try_op(0, &[ROOT], op) else { continue };
        let writes = grant.right.permission() >= Permission::Write;
        for name in names {
            let within = match name.starts_with('_') {
                true => grant.right == Right::Admin,
                false => writes && grant.stores.contains(name),
            };
            let tried = world.try_write(1, &[granted], name);
            ensure(within || tried.is_err(), || {
                format!("a holder of {grant:?} may write the store {name:?}")
            })?;
        }
        // One store that is granted opens no other in the same entry.
        let both = vec!["notes".to_owned(), "others".to_owned()];
        let tried = world.add(1, Draft { parents: vec![granted], stores: both, ..Draft::default() });
        let within = writes && grant.stores == StoreScope::All;
        ensure(within || tried.is_err(), || {
            format!("a holder of {grant:?} may write the store \"others\" beside \"notes\"")
        })?;
    }
    Ok(())
}

fn strangers(setup: &Setup) -> Outcome {
    let world = setup.begun()?;
    let stranger = 7;
    let everything = Grant::new(Permission::Admin, 0);
    let ops = [
        RightsOp::Merge,
        RightsOp::Revoke { from: Grantee::Key(key(0)), keep: vec![] },
        RightsOp::Revoke { from: Grantee::Anyone, keep: vec![] },
        RightsOp::Grant { to: Grantee::Key(key(stranger)), grant: everything.clone(), keep: vec![] },
        RightsOp::Grant { to: Grantee::Anyone, grant: Grant::new(Permission::Read, 200), keep: vec![] },
    ];
    let stores = ["notes", "_settings", "_rights", ""].map(|store| vec![store.to_owned()]);
    let drafts = stores
        .into_iter()
        .map(|stores| Draft { stores, ..Draft::default() })
        .chain(ops.map(|op| Draft { stores: vec!["_rights".to_owned()], op: Some(op), ..Draft::default() }));
    let drafts: Vec<Draft> = drafts.chain([Draft::default()]).collect();
    let mut world = world;
    for draft in drafts {
        let shown = format!("{draft:?}");
        let added = world.add(stranger, Draft { parents: vec![ROOT], ..draft });
        ensure(added.is_err(), || format!("a stranger may add {shown}"))?;
    }
    let reader: PublicKey = key(stranger);
    ensure(!world.policy.may_read(&world.table(), &reader), || "a stranger may read".to_owned())?;
    // Nor who may only read.
    let grant = Grant::new(Permission::Read, 100);
    let granted = world.op(0, &[ROOT], RightsOp::Grant { to: Grantee::Key(reader), grant, keep: vec![] });
    ensure(world.policy.may_read(&world.table(), &reader), || "who was granted it may not read".to_owned())?;
    ensure(world.try_write(stranger, &[granted], "notes").is_err(), || "a reader may write".to_owned())
}
