//! Random trees from a seed.

use eidetica_kernel::auth::{
    Denial, Grant, Grantee, Permission, Right, RightsOp, SharedAuthPolicy, StoreScope,
};

use super::world::{Draft, Ix, World, key};
use crate::store::Random;

/// A tree of 2 to 6 keys and up to `entries` entries, of which some are data; every one is admissible.
///
/// # Errors
/// The policy doesn't let it begin.
pub fn random_world(policy: SharedAuthPolicy, seed: u64, entries: usize) -> Result<World, Denial> {
    random_world_and_refused(policy, seed, entries).map(|(world, _)| world)
}

/// The same, with what was refused when the tree had so many entries: who tried what.
pub(super) fn random_world_and_refused(
    policy: SharedAuthPolicy,
    seed: u64,
    entries: usize,
) -> Result<(World, Vec<(u8, Draft)>), Denial> {
    let mut random = Random::new(seed);
    let mut world = World::new(policy, seed)?;
    let keys = 2 + random.below(5) as u8;
    let wide = random.percent(50);
    let mut refused = Vec::new();
    while world.entries.len() < entries && refused.len() + world.entries.len() < entries * 8 {
        let author = random.below(usize::from(keys)) as u8;
        let draft = random_draft(&mut random, &world, author, keys, wide);
        if world.add(author, draft.clone()).is_err() {
            refused.push((author, draft));
        }
    }
    Ok((world, refused))
}

fn random_draft(random: &mut Random, world: &World, author: u8, keys: u8, wide: bool) -> Draft {
    let held = world.entries.len();
    let reach = if wide { held } else { held.min(4) };
    let mut parents: Vec<Ix> = (0..1 + random.below(3)).map(|_| held - 1 - random.below(reach)).collect();
    parents.sort_unstable();
    parents.dedup();
    let mine: Vec<Ix> = (0..held).filter(|ix| world.entries[*ix].author == key(author)).collect();
    let fork = |random: &mut Random| (!mine.is_empty()).then(|| *random.pick(&mine));
    let prev = if random.percent(15) { Some(fork(random)) } else { None };
    let fast = if random.percent(20) { random.below(1_000) as u64 } else { 0 };
    let (op, stores) = if random.percent(25) {
        (None, vec![(*random.pick(&["notes", "plans", "notes", "_settings"])).to_owned()])
    } else {
        (Some(random_op(random, world, keys)), vec!["_rights".to_owned()])
    };
    Draft { parents, stores, op, fast, prev }
}

/// An operation on `*` or one of the first `keys` keys; some keep heads of that key's chains.
pub fn random_op(random: &mut Random, world: &World, keys: u8) -> RightsOp {
    let grantee = if random.percent(15) {
        Grantee::Anyone
    } else {
        Grantee::Key(key(random.below(usize::from(keys)) as u8))
    };
    let mut keep = Vec::new();
    if random.percent(40) {
        let theirs: Vec<Ix> = (0..world.entries.len())
            .filter(|ix| Grantee::Key(world.entries[*ix].author) == grantee)
            .collect();
        for _ in 0..random.below(3).min(theirs.len()) {
            keep.push(world.entries[*random.pick(&theirs)].id);
        }
        keep.sort();
        keep.dedup();
    }
    match random.below(20) {
        0 => RightsOp::Merge,
        1..8 => RightsOp::Revoke { from: grantee, keep },
        _ => RightsOp::Grant { to: grantee, grant: random_grant(random), keep },
    }
}

/// A grant at seniority 0 to 4, on all stores or on `notes` and `plans`.
pub fn random_grant(random: &mut Random) -> Grant {
    let right = match random.below(12) {
        0 => Right::Read,
        1 => Right::Admit {
            cap: *random.pick(&[Permission::Read, Permission::Write, Permission::Admin]),
            seniority_min: random.below(5) as u32,
        },
        2..5 => Right::Write,
        _ => Right::Admin,
    };
    let stores = match random.below(8) {
        0 => StoreScope::Only(vec!["notes".to_owned()]),
        1 => StoreScope::Only(vec!["notes".to_owned(), "plans".to_owned()]),
        _ => StoreScope::All,
    };
    Grant { right, seniority: random.below(5) as u32, stores }
}
