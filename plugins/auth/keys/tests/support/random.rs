//! Random worlds from a seed.

use eidetica_kernel::auth::{Grant, Grantee, Permission, Right, RightsOp, StoreScope};

use super::world::{Draft, Ix, World, key};

/// SplitMix64 (Steele, Lea, Flood, 2014).
pub struct Random(u64);

pub fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

/// A world of 2 to 6 keys and up to `entries` entries, of which some are data; every one is admissible.
pub fn world(seed: u64, entries: usize) -> World {
    let mut random = Random::new(seed);
    let mut world = World::salted(seed);
    let keys = 2 + random.below(5) as u8;
    let wide = random.chance(50);
    let mut tries = 0;
    while world.entries.len() < entries && tries < entries * 8 {
        tries += 1;
        let author = random.below(usize::from(keys)) as u8;
        let draft = draft(&mut random, &world, author, keys, wide);
        let _refused = world.add(author, draft);
    }
    world
}

fn draft(random: &mut Random, world: &World, author: u8, keys: u8, wide: bool) -> Draft {
    let held = world.entries.len();
    let reach = if wide { held } else { held.min(4) };
    let mut parents: Vec<Ix> = (0..1 + random.below(3)).map(|_| held - 1 - random.below(reach)).collect();
    parents.sort_unstable();
    parents.dedup();
    let mine: Vec<Ix> = (0..held).filter(|ix| world.entries[*ix].author == key(author)).collect();
    let prev = random.chance(15).then(|| (!mine.is_empty()).then(|| random.pick(&mine)));
    let fast = if random.chance(20) { random.below(1_000) as u64 } else { 0 };
    let (op, stores) = if random.chance(25) {
        (None, vec![random.pick(&["notes", "plans", "notes", "_settings"]).to_owned()])
    } else {
        (Some(op(random, world, keys)), vec!["_rights".to_owned()])
    };
    Draft { parents, stores, op, fast, prev }
}

pub fn op(random: &mut Random, world: &World, keys: u8) -> RightsOp {
    let grantee = if random.chance(15) {
        Grantee::Anyone
    } else {
        Grantee::Key(key(random.below(usize::from(keys)) as u8))
    };
    let mut keep = Vec::new();
    if random.chance(40) {
        let theirs: Vec<Ix> = (0..world.entries.len())
            .filter(|ix| Grantee::Key(world.entries[*ix].author) == grantee)
            .collect();
        for _ in 0..random.below(3).min(theirs.len()) {
            keep.push(world.entries[random.pick(&theirs)].id);
        }
        keep.sort();
        keep.dedup();
    }
    match random.below(20) {
        0 => RightsOp::Merge,
        1..8 => RightsOp::Revoke { from: grantee, keep },
        _ => RightsOp::Grant { to: grantee, grant: grant(random), keep },
    }
}

pub fn grant(random: &mut Random) -> Grant {
    let right = match random.below(12) {
        0 => Right::Read,
        1 => Right::Admit {
            cap: random.pick(&[Permission::Read, Permission::Write, Permission::Admin]),
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
