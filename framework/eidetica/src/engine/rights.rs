//! A tree's rights operations in memory, and the tables they resolve to.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use eidetica_kernel::auth::{
    AuthPolicy, Chains, Deed, Denial, Grantee, NodeIx, NodeSet, RightsHistory, RightsNode, RightsOp,
    RightsTable, SENIORITY_CREATOR,
};
use eidetica_kernel::backend::{Scan, Snapshot, for_each_row};
use eidetica_kernel::entry::RIGHTS_STORE;
use eidetica_kernel::{Envelope, Error, Id, PublicKey, Result, SignedEntry};

use super::layout::{Arrival, TreeKeys};
use super::read;
use super::records::{corrupt, decode};

/// Frontiers kept resolved; more are resolved again when needed.
const FRONTIERS_MAX: usize = 1_024;

/// A set of heads of rights operations, resolved.
pub(crate) struct Frontier {
    /// The operations at and behind the heads.
    pub(crate) past: NodeSet,
    /// Who holds what when the past is all there is: decides what is admissible.
    pub(crate) alone: Arc<RightsTable>,
    /// Who holds what by those operations of the past that count: decides what counts.
    held: Arc<RightsTable>,
    /// Operations that count and aren't in the past: they may void what is written here.
    later: Vec<NodeIx>,
}

/// A tree's rights operations and what follows from them.
pub(crate) struct Rights {
    policy: Arc<dyn AuthPolicy>,
    history: RightsHistory,
    counted: NodeSet,
    table: Arc<RightsTable>,
    frontiers: HashMap<Box<[Id]>, Arc<Frontier>>,
}

/// An admissible operation that isn't in the history yet, and what follows from it.
pub(crate) struct Judged {
    node: RightsNode,
    /// What counts once it is in the history.
    counted: NodeSet,
    counts: bool,
    reevaluate: bool,
}

impl Judged {
    /// Rule 2 for the operation itself.
    pub(crate) fn counts(&self) -> bool {
        self.counts
    }

    /// Whether entries that are held may have to be judged anew.
    pub(crate) fn reevaluate(&self) -> bool {
        self.reevaluate
    }

    /// Its author's rank.
    pub(crate) fn rank(&self) -> Option<u32> {
        self.node.rank
    }
}

impl Rights {
    pub(crate) fn new(policy: Arc<dyn AuthPolicy>) -> Self {
        Self {
            policy,
            history: RightsHistory::new(),
            counted: NodeSet::default(),
            table: Arc::default(),
            frontiers: HashMap::new(),
        }
    }

    /// Reads the operations of a tree from the backend.
    pub(crate) fn load(policy: Arc<dyn AuthPolicy>, reader: &dyn Snapshot, keys: TreeKeys) -> Result<Self> {
        let mut rights = Self::new(policy);
        let mut arrivals = Vec::new();
        for_each_row(
            Scan::prefix(&keys.all_rights()),
            |scan| reader.scan(scan),
            |(_, value)| {
                arrivals.push(decode::<(Arrival, Option<u32>)>("the list of rights operations", &value)?);
                Ok(())
            },
        )?;
        let chains = Chain::new(reader, keys);
        for (arrival, rank) in arrivals {
            let (_, entry) = read::entry_at(reader, keys, arrival)?
                .ok_or_else(|| corrupt("a rights operation", "its entry is missing"))?;
            let at = entry.header().stores.iter().position(|store| store.name == RIGHTS_STORE);
            let payload = match at {
                Some(at) => read::payload(reader, keys, arrival, &entry, at)?,
                None => None,
            }
            .ok_or_else(|| {
                corrupt(format_args!("the rights operation {}", entry.id()), "its payload is missing")
            })?;
            let past = rights.history.closure(&entry.header().rights).ok_or_else(|| {
                corrupt(
                    format_args!("the entry {}", entry.id()),
                    "it names rights operations that aren't held",
                )
            })?;
            let op = rights.op(&payload)?;
            rights.history.push(node(&entry, op, past, rank));
        }
        rights.counted = rights.policy.counted(&rights.history, &rights.history.all(), &chains);
        chains.check()?;
        rights.table = Arc::new(rights.policy.table(&rights.history, &rights.counted));
        Ok(rights)
    }

    /// Reads the payload of a rights operation.
    pub(crate) fn op(&self, payload: &[u8]) -> Result<RightsOp> {
        let envelope = Envelope::decode(payload)?;
        if envelope.codec != eidetica_kernel::entry::Codec::Plain || envelope.version != 1 {
            return Err(corrupt("a rights operation", "it is sealed, or of another version"));
        }
        self.policy.decode(&envelope.body)
    }

    /// The operation that an entry with this frontier is.
    pub(crate) fn node(&self, entry: &SignedEntry, op: RightsOp, frontier: &Frontier) -> RightsNode {
        let header = entry.header();
        let rank = if header.is_root() {
            Some(SENIORITY_CREATOR)
        } else {
            frontier.alone.grant(&header.author).map(|grant| grant.seniority)
        };
        node(entry, op, frontier.past.clone(), rank)
    }

    /// Rule 2 with an operation that isn't in the history yet. All that is held must be written, so that `chains` sees it.
    pub(crate) fn judge(
        &mut self,
        node: RightsNode,
        frontier: &Frontier,
        chains: &Chain<'_>,
    ) -> Result<Judged> {
        let narrows = match &node.op {
            RightsOp::Merge => false,
            RightsOp::Revoke { .. } => true,
            RightsOp::Grant { to: Grantee::Key(key), .. } => frontier.alone.grant(key).is_some(),
            RightsOp::Grant { to: Grantee::Anyone, .. } => {
                frontier.alone.get(&Grantee::Anyone).is_some_and(|held| held.grant.is_some())
            }
        };
        let at = self.history.push(node.clone());
        let counted = self.policy.counted_with_last(&self.history, &self.counted, &frontier.alone, chains);
        self.history.pop();
        chains.check()?;
        let counts = counted.contains(at);
        let mut others = counted.clone();
        others.remove(at);
        let reevaluate = others != self.counted || counts && narrows;
        Ok(Judged { node, counted, counts, reevaluate })
    }

    /// Adds an operation to the history that it was judged with.
    pub(crate) fn push(&mut self, judged: Judged) {
        self.history.push(judged.node);
        self.counted = judged.counted;
        self.table = Arc::new(self.policy.table(&self.history, &self.counted));
        self.frontiers.clear();
    }

    /// Resolves a set of heads.
    pub(crate) fn frontier(&mut self, heads: &[Id], chains: &Chain<'_>) -> Result<Option<Arc<Frontier>>> {
        if let Some(known) = self.frontiers.get(heads) {
            return Ok(Some(known.clone()));
        }
        let Some(past) = self.history.closure(heads) else { return Ok(None) };
        let (alone, held) = if past == self.history.all() {
            (self.table.clone(), self.table.clone())
        } else {
            let alone = self.policy.counted(&self.history, &past, chains);
            chains.check()?;
            let held = self.counted.intersection(&past);
            let same = alone == held;
            let alone = Arc::new(self.policy.table(&self.history, &alone));
            (alone.clone(), if same { alone } else { Arc::new(self.policy.table(&self.history, &held)) })
        };
        let later = self.counted.iter().filter(|op| !past.contains(*op)).collect();
        let frontier = Arc::new(Frontier { past, alone, held, later });
        if self.frontiers.len() >= FRONTIERS_MAX {
            self.frontiers.clear();
        }
        self.frontiers.insert(heads.into(), frontier.clone());
        Ok(Some(frontier))
    }

    /// Rule 1: whether an entry may be, by its own past alone.
    pub(crate) fn admissible(&self, frontier: &Frontier, deed: &Deed<'_>) -> Result<(), Denial> {
        self.policy.permits(&frontier.alone, deed)
    }

    /// Rule 2: whether an admissible entry counts.
    pub(crate) fn counts(&self, frontier: &Frontier, deed: &Deed<'_>, chains: &Chain<'_>) -> Result<bool> {
        if let Some(at) = deed.op.and_then(|_| self.history.position(&deed.id)) {
            return Ok(self.counted.contains(at));
        }
        let counts = self.policy.permits(&frontier.held, deed).is_ok()
            && !frontier.later.iter().any(|op| self.policy.bites(&self.history, *op, deed, chains));
        chains.check()?;
        Ok(counts)
    }

    /// Of heads gathered from several parents, those that aren't behind another.
    pub(crate) fn reduce(&self, heads: &[Id]) -> Option<Vec<Id>> {
        let set: Option<NodeSet> = heads.iter().map(|head| self.history.position(head)).collect();
        Some(self.history.heads(&set?))
    }

    pub(crate) fn policy(&self) -> &Arc<dyn AuthPolicy> {
        &self.policy
    }

    pub(crate) fn history(&self) -> &RightsHistory {
        &self.history
    }

    pub(crate) fn counted(&self) -> &NodeSet {
        &self.counted
    }

    /// Who holds what now.
    pub(crate) fn table(&self) -> &Arc<RightsTable> {
        &self.table
    }
}

fn node(entry: &SignedEntry, op: RightsOp, past: NodeSet, rank: Option<u32>) -> RightsNode {
    let header = entry.header();
    RightsNode {
        id: entry.id(),
        author: header.author,
        clock: header.clock,
        author_seq: header.author_seq,
        stores: header.stores.iter().map(|store| store.name.clone()).collect(),
        is_root: header.is_root(),
        op,
        past,
        rank,
    }
}

/// Author chains over what the backend holds.
pub(crate) struct Chain<'a> {
    reader: &'a dyn Snapshot,
    keys: TreeKeys,
    failed: RefCell<Option<Error>>,
    /// Arrival numbers of what is in the past of an entry that was asked about, a bit each.
    pasts: RefCell<HashMap<Id, NodeSet>>,
}

impl<'a> Chain<'a> {
    pub(crate) fn new(reader: &'a dyn Snapshot, keys: TreeKeys) -> Self {
        Self { reader, keys, failed: RefCell::new(None), pasts: RefCell::default() }
    }

    /// The error that an answer hid, if any.
    pub(crate) fn check(&self) -> Result<()> {
        self.failed.borrow_mut().take().map_or(Ok(()), Err)
    }

    /// Whether `entry` is in the past of `of`. The past is walked once, however many entries are asked about.
    fn look_behind(&self, entry: &Id, of: &Id) -> Result<bool> {
        let Some(arrival) = read::arrival_of(self.reader, self.keys, entry)? else { return Ok(false) };
        if let Some(past) = self.pasts.borrow().get(of) {
            return Ok(past.contains(arrival as NodeIx));
        }
        let mut past = NodeSet::default();
        let mut todo = vec![*of];
        while let Some(id) = todo.pop() {
            let Some((_, at)) = read::entry(self.reader, self.keys, &id)? else { continue };
            for parent in &at.header().parents {
                let Some(behind) = read::arrival_of(self.reader, self.keys, parent)? else { continue };
                if !past.contains(behind as NodeIx) {
                    past.insert(behind as NodeIx);
                    todo.push(*parent);
                }
            }
        }
        let found = past.contains(arrival as NodeIx);
        self.pasts.borrow_mut().insert(*of, past);
        Ok(found)
    }

    fn walk(&self, author: &PublicKey, entry: &Id, entry_seq: u64, head: &Id) -> Result<bool> {
        let Some(arrival) = read::arrival_of(self.reader, self.keys, entry)? else { return Ok(false) };
        let Some((_, mut at)) = read::entry(self.reader, self.keys, head)? else { return Ok(false) };
        if at.header().author != *author || at.header().author_seq < entry_seq {
            return Ok(false);
        }
        if let Some(number) = read::author_no(self.reader, self.keys, author)? {
            let here = self.reader.scan(&Scan::prefix(&self.keys.chain_at(number, entry_seq)).limit(2))?;
            if let [(only, _)] = &here.rows[..] {
                // The chain behind `head` is held whole and passes every lower number once.
                return Ok(TreeKeys::chain_in(only).is_some_and(|(_, found)| found == arrival));
            }
        }
        loop {
            if at.id() == *entry {
                return Ok(true);
            }
            if at.header().author_seq <= entry_seq {
                return Ok(false);
            }
            let Some(previous) = at.header().author_prev else { return Ok(false) };
            let Some((_, next)) = read::entry(self.reader, self.keys, &previous)? else { return Ok(false) };
            at = next;
        }
    }
}

impl Chains for Chain<'_> {
    fn is_behind(&self, author: &PublicKey, entry: &Id, entry_seq: u64, head: &Id) -> bool {
        self.walk(author, entry, entry_seq, head).unwrap_or_else(|error| {
            *self.failed.borrow_mut() = Some(error);
            false
        })
    }

    fn is_ancestor(&self, entry: &Id, of: &Id) -> bool {
        self.look_behind(entry, of).unwrap_or_else(|error| {
            *self.failed.borrow_mut() = Some(error);
            false
        })
    }
}
