//! A tree of entries held by one replica, with the engine's part of the judging.

use std::collections::BTreeSet;

use eidetica_auth_keys::Keys;
use eidetica_kernel::auth::{
    AuthPolicy, Chains, Deed, Denial, Grant, Grantee, NodeIx, NodeSet, Permission, Right, RightsHistory,
    RightsNode, RightsOp, RightsTable, StoreScope,
};
use eidetica_kernel::{HybridClock, Id, PublicKey};

/// Number of an entry in its world.
pub type Ix = usize;

pub struct Entry {
    pub id: Id,
    pub author: PublicKey,
    pub prev: Option<Ix>,
    pub seq: u64,
    pub clock: u64,
    /// Every entry behind it.
    pub past: BTreeSet<Ix>,
    pub stores: Vec<String>,
    pub op: Option<RightsOp>,
    pub node: Option<NodeIx>,
    pub past_ops: NodeSet,
}

pub struct World {
    pub policy: Keys,
    pub entries: Vec<Entry>,
    pub history: RightsHistory,
    pub salt: u64,
}

/// An entry to be made.
#[derive(Clone, Default)]
pub struct Draft {
    pub parents: Vec<Ix>,
    pub stores: Vec<String>,
    pub op: Option<RightsOp>,
    /// How far its clock runs ahead.
    pub fast: u64,
    /// `Some` to fork the author's chain here.
    pub prev: Option<Option<Ix>>,
}

pub const ROOT: Ix = 0;

pub fn key(n: u8) -> PublicKey {
    PublicKey::from_bytes([n; 32])
}

pub fn admin(seniority: u32) -> Grant {
    Grant::new(Permission::Admin, seniority)
}

pub fn write(seniority: u32) -> Grant {
    Grant::new(Permission::Write, seniority)
}

pub fn read(seniority: u32) -> Grant {
    Grant::new(Permission::Read, seniority)
}

pub fn admit(cap: Permission, seniority_min: u32, seniority: u32) -> Grant {
    Grant { right: Right::Admit { cap, seniority_min }, seniority, stores: StoreScope::All }
}

pub fn only(grant: Grant, names: &[&str]) -> Grant {
    Grant { stores: StoreScope::Only(names.iter().map(|name| (*name).to_owned()).collect()), ..grant }
}

pub fn to(grantee: u8, grant: Grant) -> RightsOp {
    RightsOp::Grant { to: Grantee::Key(key(grantee)), grant, keep: vec![] }
}

pub fn to_all(grant: Grant) -> RightsOp {
    RightsOp::Grant { to: Grantee::Anyone, grant, keep: vec![] }
}

pub fn revoke(grantee: u8) -> RightsOp {
    RightsOp::Revoke { from: Grantee::Key(key(grantee)), keep: vec![] }
}

pub fn revoke_all() -> RightsOp {
    RightsOp::Revoke { from: Grantee::Anyone, keep: vec![] }
}

impl World {
    /// A tree begun by key 0.
    pub fn new() -> Self {
        Self::salted(1)
    }

    /// The same with other ids.
    pub fn salted(salt: u64) -> Self {
        let mut world = Self { policy: Keys::new(), entries: vec![], history: RightsHistory::new(), salt };
        let stores = vec!["_rights".to_owned(), "_settings".to_owned()];
        let root = Draft { stores, op: Some(to(0, admin(0))), ..Draft::default() };
        world.add(0, root).expect("the root vouches for itself");
        world
    }

    /// Takes an entry in, as the engine does: refused unless its own past allows it.
    pub fn add(&mut self, author: u8, draft: Draft) -> Result<Ix, Denial> {
        let ix = self.entries.len();
        let author = key(author);
        let mut past = BTreeSet::new();
        let mut past_ops = NodeSet::default();
        for parent in &draft.parents {
            let entry = &self.entries[*parent];
            past.extend(entry.past.iter().copied());
            past.insert(*parent);
            past_ops.union_with(&entry.past_ops);
            if let Some(node) = entry.node {
                past_ops.insert(node);
            }
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
            past,
            stores: draft.stores,
            op: draft.op,
            node: None,
            past_ops,
        };
        entry.stores.sort();
        let deed = deed(&entry, ix);
        let counted = self.policy.counted(&self.history, &entry.past_ops, self);
        let table = self.policy.table(&self.history, &counted);
        self.policy.permits(&table, &deed)?;
        let rank = if ix == ROOT { Some(0) } else { table.grant(&author).map(|grant| grant.seniority) };
        if let Some(op) = &entry.op {
            entry.node = Some(self.history.push(RightsNode {
                id: entry.id,
                author,
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

    /// Takes an entry in without judging it.
    pub fn force(&mut self, author: u8, past: BTreeSet<Ix>, stores: Vec<String>, op: Option<RightsOp>) -> Ix {
        let ix = self.entries.len();
        let past_ops = past.iter().filter_map(|ix| self.entries[*ix].node).collect();
        let clock = past.iter().map(|ix| self.entries[*ix].clock).max().unwrap_or(0) + 1;
        let id = id(self.salt, ix as u64);
        let author = key(author);
        self.entries.push(Entry {
            id,
            author,
            prev: None,
            seq: 0,
            clock,
            past,
            stores,
            op,
            node: None,
            past_ops,
        });
        ix
    }

    /// Tries to write to a data store.
    pub fn try_write(&mut self, author: u8, parents: &[Ix], store: &str) -> Result<Ix, Denial> {
        let stores = vec![store.to_owned()];
        self.add(author, Draft { parents: parents.to_vec(), stores, ..Draft::default() })
    }

    pub fn write(&mut self, author: u8, parents: &[Ix]) -> Ix {
        self.try_write(author, parents, "notes").expect("admissible")
    }

    /// Tries an operation.
    pub fn try_op(&mut self, author: u8, parents: &[Ix], op: RightsOp) -> Result<Ix, Denial> {
        let stores = vec!["_rights".to_owned()];
        self.add(author, Draft { parents: parents.to_vec(), stores, op: Some(op), ..Draft::default() })
    }

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

    pub fn deed(&self, ix: Ix) -> Deed<'_> {
        deed(&self.entries[ix], ix)
    }

    pub fn counted(&self) -> NodeSet {
        self.policy.counted(&self.history, &self.history.all(), self)
    }

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
}

fn deed(entry: &Entry, ix: Ix) -> Deed<'_> {
    Deed {
        id: entry.id,
        author: entry.author,
        author_seq: entry.seq,
        is_root: ix == ROOT,
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
    for (n, chunk) in bytes.chunks_mut(8).enumerate() {
        chunk.copy_from_slice(&super::random::mix(salt ^ (ix << 20) ^ n as u64).to_be_bytes());
    }
    Id::from_bytes(bytes)
}
