//! A tree of entries held by one replica, with the engine's part of the judging.

use std::collections::{BTreeMap, BTreeSet};

use eidetica_kernel::auth::{
    Chains, Deed, Denial, Grant, Grantee, NodeIx, NodeSet, Permission, RightsHistory, RightsNode, RightsOp,
    RightsTable, SENIORITY_CREATOR, SharedAuthPolicy,
};
use eidetica_kernel::{HybridClock, Id, PublicKey};

use crate::store::Random;

/// Number of an entry in its world.
pub type Ix = usize;

/// The entry that begins the tree.
pub const ROOT: Ix = 0;

/// The key that stands for number `n`. The tree is begun by key 0.
pub const fn key(n: u8) -> PublicKey {
    PublicKey::from_bytes([n; 32])
}

/// An entry that is held.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its id.
    pub id: Id,
    /// Who signed it.
    pub author: PublicKey,
    /// The author's entry before it.
    pub prev: Option<Ix>,
    /// Its number in its author's chain.
    pub seq: u64,
    /// Its clock.
    pub clock: u64,
    /// Every entry behind it.
    pub past: BTreeSet<Ix>,
    /// The stores it touches, sorted.
    pub stores: Vec<String>,
    /// Its rights operation.
    pub op: Option<RightsOp>,
    /// Where that is in the history.
    pub node: Option<NodeIx>,
    /// The operations in its past.
    pub past_ops: NodeSet,
}

/// An entry to be made.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// Its parents.
    pub parents: Vec<Ix>,
    /// The stores it touches.
    pub stores: Vec<String>,
    /// Its rights operation.
    pub op: Option<RightsOp>,
    /// How far its clock runs ahead.
    pub fast: u64,
    /// `Some` to fork the author's chain here.
    pub prev: Option<Option<Ix>>,
}

/// A tree as one replica holds it. Only what the policy admits gets in.
///
/// ```
/// use std::sync::Arc;
///
/// use eidetica_conformance::auth::{ROOT, Reference, World, key};
/// use eidetica_kernel::auth::{Grant, Grantee, Permission, RightsOp};
///
/// let mut world = World::new(Arc::new(Reference), 1)?;
/// let grant = Grant::new(Permission::Write, 100);
/// let granted = world.op(0, &[ROOT], RightsOp::Grant { to: Grantee::Key(key(1)), grant, keep: vec![] });
/// assert!(world.try_write(1, &[ROOT], "notes").is_err());
/// let note = world.write(1, &[granted]);
/// assert!(world.stands(note));
/// # Ok::<(), eidetica_kernel::auth::Denial>(())
/// ```
pub struct World {
    /// Who judges.
    pub policy: SharedAuthPolicy,
    /// What is held, each after its past.
    pub entries: Vec<Entry>,
    /// The operations among them.
    pub history: RightsHistory,
    pub(super) salt: u64,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("entries", &self.entries).finish_non_exhaustive()
    }
}

impl World {
    /// A tree begun by key 0 as the engine begins one; another salt makes other ids.
    ///
    /// # Errors
    /// The policy doesn't let it begin.
    pub fn new(policy: SharedAuthPolicy, salt: u64) -> Result<Self, Denial> {
        let mut world = Self { policy, entries: vec![], history: RightsHistory::new(), salt };
        let creator = Grant::new(Permission::Admin, SENIORITY_CREATOR);
        let op = RightsOp::Grant { to: Grantee::Key(key(0)), grant: creator, keep: vec![] };
        let stores = vec!["_rights".to_owned(), "_settings".to_owned()];
        world.add(0, Draft { stores, op: Some(op), ..Draft::default() })?;
        Ok(world)
    }

    /// Takes an entry in, as the engine does: refused unless its own past allows it.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn add(&mut self, author: u8, draft: Draft) -> Result<Ix, Denial> {
        let entry = self.draft(author, draft);
        self.take(entry)
    }

    fn draft(&self, author: u8, draft: Draft) -> Entry {
        let ix = self.entries.len();
        let author = key(author);
        let mut past = BTreeSet::new();
        for parent in &draft.parents {
            past.extend(self.entries[*parent].past.iter().copied());
            past.insert(*parent);
        }
        let last = self.entries.iter().rposition(|entry| entry.author == author);
        let prev = draft.prev.unwrap_or(last);
        let behind = draft.parents.iter().chain(&prev).map(|ix| self.entries[*ix].clock).max().unwrap_or(0);
        let mut entry = Entry {
            id: id(self.salt, ix as u64),
            author,
            prev,
            seq: prev.map_or(0, |prev| self.entries[prev].seq + 1),
            clock: behind + 1 + draft.fast,
            past_ops: self.ops_of(&past),
            past,
            stores: draft.stores,
            op: draft.op,
            node: None,
        };
        entry.stores.sort();
        entry
    }

    fn ops_of(&self, past: &BTreeSet<Ix>) -> NodeSet {
        past.iter().filter_map(|ix| self.entries[*ix].node).collect()
    }

    fn take(&mut self, mut entry: Entry) -> Result<Ix, Denial> {
        let ix = self.entries.len();
        let deed = deed(&entry, ix == ROOT);
        let counted = self.policy.counted(&self.history, &entry.past_ops, self);
        let table = self.policy.table(&self.history, &counted);
        self.policy.permits(&table, &deed)?;
        let rank = if ix == ROOT { Some(0) } else { table.grant(&entry.author).map(|grant| grant.seniority) };
        entry.node = None;
        if let Some(op) = &entry.op {
            entry.node = Some(self.history.push(RightsNode {
                id: entry.id,
                author: entry.author,
                clock: HybridClock::from_bits(entry.clock),
                author_seq: entry.seq,
                stores: entry.stores.clone(),
                is_root: ix == ROOT,
                op: op.clone(),
                past: entry.past_ops.clone(),
                rank,
            }));
        }
        self.entries.push(entry);
        Ok(ix)
    }

    /// Takes an entry in without judging it, and without its operation counting.
    pub fn force(&mut self, author: u8, past: BTreeSet<Ix>, stores: Vec<String>, op: Option<RightsOp>) -> Ix {
        let mut entry = self.draft(author, Draft { stores, op, prev: Some(None), ..Draft::default() });
        entry.clock = past.iter().map(|ix| self.entries[*ix].clock).max().unwrap_or(0) + 1;
        entry.past_ops = self.ops_of(&past);
        entry.past = past;
        self.entries.push(entry);
        self.entries.len() - 1
    }

    /// The same entries at another replica, where they arrive in another order: each after its past, as ever.
    ///
    /// # Errors
    /// One that was admitted here is refused there.
    pub fn delivered(&self, policy: SharedAuthPolicy, random: &mut Random) -> Result<Self, Denial> {
        let mut there = Self { policy, entries: vec![], history: RightsHistory::new(), salt: self.salt };
        let mut arrived: BTreeMap<Ix, Ix> = BTreeMap::new();
        let mut waiting: Vec<Ix> = (0..self.entries.len()).collect();
        while !waiting.is_empty() {
            let needs = |ix: &Ix| self.entries[*ix].past.iter().chain(&self.entries[*ix].prev);
            let ready: Vec<usize> = (0..waiting.len())
                .filter(|at| needs(&waiting[*at]).all(|behind| arrived.contains_key(behind)))
                .collect();
            let ix = waiting.swap_remove(*random.pick(&ready));
            let mut entry = self.entries[ix].clone();
            entry.past = entry.past.iter().map(|behind| arrived[behind]).collect();
            entry.prev = entry.prev.map(|prev| arrived[&prev]);
            entry.past_ops = there.ops_of(&entry.past);
            arrived.insert(ix, there.take(entry)?);
        }
        Ok(there)
    }

    /// Tries to write to a store.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn try_write(&mut self, author: u8, parents: &[Ix], store: &str) -> Result<Ix, Denial> {
        let stores = vec![store.to_owned()];
        self.add(author, Draft { parents: parents.to_vec(), stores, ..Draft::default() })
    }

    /// Writes to the store `notes`.
    ///
    /// # Panics
    /// If that is refused.
    pub fn write(&mut self, author: u8, parents: &[Ix]) -> Ix {
        self.try_write(author, parents, "notes").expect("admissible")
    }

    /// Tries an operation.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn try_op(&mut self, author: u8, parents: &[Ix], op: RightsOp) -> Result<Ix, Denial> {
        let stores = vec!["_rights".to_owned()];
        self.add(author, Draft { parents: parents.to_vec(), stores, op: Some(op), ..Draft::default() })
    }

    /// Makes an operation.
    ///
    /// # Panics
    /// If that is refused.
    pub fn op(&mut self, author: u8, parents: &[Ix], op: RightsOp) -> Ix {
        self.try_op(author, parents, op).expect("admissible")
    }

    /// `op`, keeping what is at and behind `heads`.
    pub fn keeping(&self, op: RightsOp, heads: &[Ix]) -> RightsOp {
        let mut ids: Vec<Id> = heads.iter().map(|ix| self.entries[*ix].id).collect();
        ids.sort();
        match op {
            RightsOp::Grant { to, grant, .. } => RightsOp::Grant { to, grant, keep: ids },
            RightsOp::Revoke { from, .. } => RightsOp::Revoke { from, keep: ids },
            RightsOp::Merge => RightsOp::Merge,
        }
    }

    /// The entry as the policy sees it.
    pub fn deed(&self, ix: Ix) -> Deed<'_> {
        deed(&self.entries[ix], ix == ROOT)
    }

    /// Which operations count.
    pub fn counted(&self) -> NodeSet {
        self.policy.counted(&self.history, &self.history.all(), self)
    }

    /// Who holds what.
    pub fn table(&self) -> RightsTable {
        self.policy.table(&self.history, &self.counted())
    }

    /// What a key may do after all that is held.
    pub fn grant_of(&self, of: u8) -> Option<Grant> {
        self.table().grant(&key(of)).cloned()
    }

    /// `true` if the entry counts: the engine's part for data entries.
    pub fn stands(&self, ix: Ix) -> bool {
        self.stands_with(ix, &self.counted())
    }

    /// As [`World::stands`], if exactly these operations count.
    pub fn stands_with(&self, ix: Ix, counted: &NodeSet) -> bool {
        let entry = &self.entries[ix];
        if let Some(node) = entry.node {
            return counted.contains(node);
        }
        let deed = self.deed(ix);
        let table = self.policy.table(&self.history, &counted.intersection(&entry.past_ops));
        self.policy.permits(&table, &deed).is_ok()
            && !counted.iter().any(|by| !entry.past_ops.contains(by) && self.bites(by, ix))
    }

    /// Asks the policy, except where an operation on `*` has a data entry in its own past: only the engine knows that.
    pub fn bites(&self, by: NodeIx, ix: Ix) -> bool {
        let node = &self.history.nodes()[by];
        let spared = node.op.grantee() == Some(Grantee::Anyone)
            && self.entries[ix].node.is_none()
            && self.entries.iter().any(|entry| entry.node == Some(by) && entry.past.contains(&ix));
        !spared && self.policy.bites(&self.history, by, &self.deed(ix), self)
    }

    /// A random set of operations that is closed under past.
    pub fn closed(&self, random: &mut Random) -> NodeSet {
        let mut set = NodeSet::default();
        for _ in 0..1 + random.below(4) {
            let entry = random.pick(&self.entries);
            set.union_with(&entry.past_ops);
            if let Some(node) = entry.node {
                set.insert(node);
            }
        }
        set
    }
}

fn deed(entry: &Entry, is_root: bool) -> Deed<'_> {
    Deed {
        id: entry.id,
        author: entry.author,
        author_seq: entry.seq,
        is_root,
        stores: &entry.stores,
        op: entry.op.as_ref(),
        past: &entry.past_ops,
    }
}

impl Chains for World {
    fn is_behind(&self, author: &PublicKey, entry: &Id, _entry_seq: u64, head: &Id) -> bool {
        let mut at = self.entries.iter().position(|other| other.id == *head && other.author == *author);
        while let Some(ix) = at {
            if self.entries[ix].id == *entry {
                return true;
            }
            at = self.entries[ix].prev;
        }
        false
    }

    fn is_ancestor(&self, entry: &Id, of: &Id) -> bool {
        let find = |id: &Id| self.entries.iter().position(|other| other.id == *id);
        let (Some(entry), Some(of)) = (find(entry), find(of)) else { return false };
        self.entries[of].past.contains(&entry)
    }
}

fn id(salt: u64, ix: u64) -> Id {
    let mut bytes = [0; 32];
    Random::new(salt ^ (ix << 20)).fill(&mut bytes);
    Id::from_bytes(bytes)
}
