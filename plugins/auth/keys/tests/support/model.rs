//! `keys/1` written down naively from RULES.md: sets of entries, recursion, a fixpoint. It shares no code with the policy.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use eidetica_kernel::PublicKey;
use eidetica_kernel::auth::{Chains, Grant, Grantee, Right, RightsOp, StoreScope};

use super::world::{Ix, ROOT, World};

pub type Set = BTreeSet<Ix>;
pub type Table = BTreeMap<Grantee, (Option<Grant>, Ix)>;

pub struct Model<'w> {
    world: &'w World,
    counted: RefCell<HashMap<Set, Set>>,
    tables: RefCell<HashMap<Set, Table>>,
    ranks: RefCell<HashMap<Ix, (Option<Ix>, u64)>>,
    bites: RefCell<HashMap<(Ix, Ix), bool>>,
}

impl<'w> Model<'w> {
    pub fn new(world: &'w World) -> Self {
        Self {
            world,
            counted: RefCell::default(),
            tables: RefCell::default(),
            ranks: RefCell::default(),
            bites: RefCell::default(),
        }
    }

    /// All operations held.
    pub fn ops(&self) -> Set {
        (0..self.world.entries.len()).filter(|x| self.world.entries[*x].op.is_some()).collect()
    }

    fn op(&self, x: Ix) -> &RightsOp {
        self.world.entries[x].op.as_ref().expect("an operation")
    }

    pub fn past(&self, x: Ix) -> Set {
        let ops = |y: &Ix| self.world.entries[*y].op.is_some();
        self.world.entries[x].past.iter().copied().filter(ops).collect()
    }

    fn own_table(&self, x: Ix) -> Table {
        self.table(&self.counted(&self.past(x)))
    }

    /// What the author's standing rests on, and its rank.
    fn support(&self, x: Ix) -> (Option<Ix>, u64) {
        if x == ROOT {
            return (None, 0);
        }
        if let Some(known) = self.ranks.borrow().get(&x) {
            return *known;
        }
        let (table, author) = (self.own_table(x), &self.world.entries[x].author);
        let found = (standing(&table, author).map(|(_, node)| *node), seniority(&table, author));
        self.ranks.borrow_mut().insert(x, found);
        found
    }

    /// The seniority of its author in its own past; the largest number where it holds nothing.
    pub fn rank(&self, x: Ix) -> u64 {
        self.support(x).1
    }

    /// Rule 2 as an equation: what counts if `guess` counts.
    fn step(&self, set: &Set, guess: &Set) -> Set {
        let counts = |x: &Ix| {
            let supported = *x == ROOT || self.support(*x).0.is_some_and(|support| guess.contains(&support));
            supported && !guess.iter().any(|r| self.rank(*r) < self.rank(*x) && self.bites(*r, *x))
        };
        set.iter().copied().filter(counts).collect()
    }

    /// The fixpoint of rule 2, reached from "everything" and from "nothing".
    pub fn counted(&self, set: &Set) -> Set {
        if let Some(known) = self.counted.borrow().get(set) {
            return known.clone();
        }
        let settle = |mut guess: Set| {
            for _ in 0..=2 * set.len() + 2 {
                let next = self.step(set, &guess);
                if next == guess {
                    return guess;
                }
                guess = next;
            }
            panic!("rule 2 doesn't settle");
        };
        let counted = settle(set.clone());
        assert_eq!(counted, settle(Set::new()), "rule 2 has two solutions");
        self.counted.borrow_mut().insert(set.clone(), counted.clone());
        counted
    }

    /// `true` if no other set than `counted` solves rule 2; tries every subset.
    pub fn is_unique(&self, set: &Set) -> bool {
        let members: Vec<Ix> = set.iter().copied().collect();
        let solutions = (0_u32..1 << members.len()).filter(|bits| {
            let chosen = (0..members.len()).filter(|n| bits & (1 << n) != 0);
            let guess: Set = chosen.map(|n| members[n]).collect();
            self.step(set, &guess) == guess
        });
        solutions.count() == 1
    }

    /// Rule 3.
    pub fn table(&self, counted: &Set) -> Table {
        if let Some(known) = self.tables.borrow().get(counted) {
            return known.clone();
        }
        let mut table = Table::new();
        let grantees: BTreeSet<Grantee> = counted.iter().filter_map(|x| self.op(*x).grantee()).collect();
        for grantee in grantees {
            let on = |x: &&Ix| self.op(**x).grantee() == Some(grantee);
            let all: Vec<Ix> = counted.iter().filter(on).copied().collect();
            let maximal = all.iter().filter(|x| !all.iter().any(|y| self.past(*y).contains(x)));
            let strict = |x: &Ix| (self.rank(*x), strictness(self.op(*x).grant()), self.world.entries[*x].id);
            let winner = maximal.copied().min_by_key(strict);
            let winner = winner.expect("some operation is maximal");
            table.insert(grantee, (self.op(winner).grant().cloned(), winner));
        }
        self.tables.borrow_mut().insert(counted.clone(), table.clone());
        table
    }

    /// Whether `r`, if it counts, makes `x` void.
    pub fn bites(&self, r: Ix, x: Ix) -> bool {
        let known = self.bites.borrow().get(&(r, x)).copied();
        known.unwrap_or_else(|| {
            let bites = self.finds_bite(r, x);
            self.bites.borrow_mut().insert((r, x), bites);
            bites
        })
    }

    fn finds_bite(&self, r: Ix, x: Ix) -> bool {
        let (op, entry) = (self.op(r), &self.world.entries[x]);
        if x == ROOT || x == r || entry.past.contains(&r) {
            return false;
        }
        if op.keep().iter().any(|head| self.world.is_behind(&entry.author, &entry.id, entry.seq, head)) {
            return false;
        }
        let own = self.own_table(x);
        match op.grantee() {
            None => return false,
            Some(Grantee::Key(key)) if key != entry.author => return false,
            Some(Grantee::Key(_)) => {}
            Some(Grantee::Anyone) => {
                let spared = self.world.entries[r].past.contains(&x);
                let rests =
                    !own.contains_key(&Grantee::Key(entry.author)) && own.contains_key(&Grantee::Anyone);
                if spared || !rests {
                    return false;
                }
            }
        }
        match op {
            RightsOp::Grant { to, grant, .. } => {
                let before = self.own_table(r);
                let held = match to {
                    Grantee::Key(key) => standing(&before, key),
                    Grantee::Anyone => before.get(to),
                };
                let held = held.and_then(|(grant, _)| grant.clone());
                held.is_some_and(|held| self.allows(&held, x, &own)) && !self.allows(grant, x, &own)
            }
            _ => true,
        }
    }

    /// Rule 1 for an entry that isn't the root.
    pub fn admissible(&self, x: Ix) -> bool {
        let own = self.own_table(x);
        let held = standing(&own, &self.world.entries[x].author).and_then(|(grant, _)| grant.clone());
        held.is_some_and(|held| self.allows(&held, x, &own))
    }

    fn allows(&self, held: &Grant, x: Ix, table: &Table) -> bool {
        let entry = &self.world.entries[x];
        let is_admin = held.right == Right::Admin;
        let is_writer = is_admin || held.right == Right::Write;
        let is_merge = entry.op == Some(RightsOp::Merge);
        let stores_fit = entry.stores.iter().all(|store| {
            if store == "_rights" {
                is_admin || is_merge || matches!(held.right, Right::Admit { .. })
            } else if store.starts_with('_') {
                is_admin
            } else {
                is_writer && held.stores.contains(store)
            }
        });
        if !stores_fit {
            return false;
        }
        let Some(op) = &entry.op else { return is_writer };
        let Some(grantee) = op.grantee() else { return held.right != Right::Read };
        let current = table.get(&grantee);
        if is_admin {
            let reachable = match current {
                _ if grantee == Grantee::Key(entry.author) => true,
                Some((Some(current), _)) if current.right == Right::Admin => {
                    current.seniority > held.seniority
                }
                Some((Some(current), _)) => current.seniority >= held.seniority,
                _ => true,
            };
            let gives = op
                .grant()
                .is_none_or(|new| new.seniority >= held.seniority && within(&new.stores, &held.stores));
            return reachable && gives;
        }
        let (Right::Admit { cap, seniority_min }, Some(new), Grantee::Key(_)) =
            (held.right, op.grant(), grantee)
        else {
            return false;
        };
        let plain = !matches!(new.right, Right::Admit { .. });
        let capped = new.right.permission() <= cap
            && new.seniority >= seniority_min
            && new.seniority > held.seniority
            && within(&new.stores, &held.stores);
        let loses = |old: &Grant| {
            matches!(old.right, Right::Admit { .. })
                || old.right.permission() > new.right.permission()
                || (old.right != Right::Read && !within(&old.stores, &new.stores))
        };
        let adds = match current {
            Some((None, _)) => false,
            Some((Some(old), _)) => !loses(old) && new.seniority <= old.seniority,
            None => match table.get(&Grantee::Anyone) {
                Some((Some(old), _)) => !loses(old),
                _ => true,
            },
        };
        plain && capped && adds
    }
}

fn standing<'t>(table: &'t Table, key: &PublicKey) -> Option<&'t (Option<Grant>, Ix)> {
    table.get(&Grantee::Key(*key)).or_else(|| table.get(&Grantee::Anyone))
}

fn seniority(table: &Table, key: &PublicKey) -> u64 {
    let grant = standing(table, key).and_then(|(grant, _)| grant.as_ref());
    grant.map_or(u64::MAX, |grant| u64::from(grant.seniority))
}

fn within(inner: &StoreScope, outer: &StoreScope) -> bool {
    match (inner, outer) {
        (_, StoreScope::All) => true,
        (StoreScope::All, StoreScope::Only(_)) => false,
        (StoreScope::Only(inner), StoreScope::Only(outer)) => {
            inner.iter().collect::<BTreeSet<_>>().is_subset(&outer.iter().collect())
        }
    }
}

/// Sorts the most restrictive first.
fn strictness(grant: Option<&Grant>) -> (u8, i64, i64, i64, Vec<u8>) {
    let Some(grant) = grant else { return (0, 0, 0, 0, vec![]) };
    let (right, cap, senior_most) = match grant.right {
        Right::Read => (1, 0, 0),
        Right::Admit { cap, seniority_min } => (2, cap as i64, i64::from(seniority_min)),
        Right::Write => (3, 0, 0),
        Right::Admin => (4, 0, 0),
    };
    let stores = match &grant.stores {
        StoreScope::All => vec![0xff],
        StoreScope::Only(names) => postcard::to_stdvec(names).expect("encodes"),
    };
    (right, cap, -senior_most, -i64::from(grant.seniority), stores)
}
