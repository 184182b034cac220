//! Who may do what in a tree: rights operations, their history, and the policy that judges by them.
//!
//! The vocabulary (who gets which right where) is shared; a policy's *rules* are named by its kind with its version, and
//! never change under one name, because replicas that judge differently would differ for ever.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::HybridClock;
use crate::crypto::PublicKey;
use crate::error::{Error, ErrorKind, Result, excerpt};
use crate::id::Id;

/// How much a key may do in a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Permission {
    /// Read every store.
    Read,
    /// Read, and write the stores in its scope.
    Write,
    /// Write, and grant and revoke rights.
    Admin,
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        })
    }
}

impl FromStr for Permission {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "read" => Ok(Self::Read),
            "write" => Ok(Self::Write),
            "admin" => Ok(Self::Admin),
            _ => Err(Error::new(
                ErrorKind::InvalidInput,
                "reading the permission",
                excerpt(text, 40),
                "it isn't read, write or admin",
            )),
        }
    }
}

/// Seniority of whoever created a tree; lower is more senior.
pub const SENIORITY_CREATOR: u32 = 0;
/// Seniority of keys admitted by bootstrap or invite.
pub const SENIORITY_ADMITTED: u32 = 100;

/// Whom a rights operation speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Grantee {
    /// Every key that has no grant or revocation of its own: `*`.
    Anyone,
    /// One key.
    Key(PublicKey),
}

impl fmt::Display for Grantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anyone => f.write_str("*"),
            Self::Key(key) => key.fmt(f),
        }
    }
}

impl FromStr for Grantee {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "*" { Ok(Self::Anyone) } else { text.parse().map(Self::Key) }
    }
}

/// What is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Right {
    /// Read.
    Read,
    /// Read, and sign grants of at most `cap` to keys at `seniority_min` or junior; nothing else.
    Admit {
        /// The most it may grant.
        cap: Permission,
        /// The most senior number it may grant.
        seniority_min: u32,
    },
    /// Read and write.
    Write,
    /// Read, write, grant and revoke.
    Admin,
}

impl Right {
    /// The permission that comes with it.
    pub fn permission(&self) -> Permission {
        match self {
            Self::Read | Self::Admit { .. } => Permission::Read,
            Self::Write => Permission::Write,
            Self::Admin => Permission::Admin,
        }
    }
}

impl From<Permission> for Right {
    fn from(permission: Permission) -> Self {
        match permission {
            Permission::Read => Self::Read,
            Permission::Write => Self::Write,
            Permission::Admin => Self::Admin,
        }
    }
}

/// Which stores a grant lets write.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum StoreScope {
    /// All but the system's (`_…`), which need [`Right::Admin`].
    All,
    /// Exactly these names, sorted, each once.
    Only(Vec<String>),
}

impl StoreScope {
    /// `true` if `store` is in it.
    pub fn contains(&self, store: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.iter().any(|name| name == store),
        }
    }
}

/// A right, how senior its holder is, and where it holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Grant {
    /// What may be done.
    pub right: Right,
    /// Lower is more senior.
    pub seniority: u32,
    /// Where it may be written.
    pub stores: StoreScope,
}

impl Grant {
    /// A permission on all stores.
    pub fn new(permission: Permission, seniority: u32) -> Self {
        Self { right: permission.into(), seniority, stores: StoreScope::All }
    }
}

/// One rights operation: the body of an entry's payload for [`RIGHTS_STORE`](crate::entry::RIGHTS_STORE).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RightsOp {
    /// Gives, or replaces, a grant.
    Grant {
        /// To whom.
        to: Grantee,
        /// What.
        grant: Grant,
        /// Where it narrows: heads of that key's author chains that stand, sorted.
        keep: Vec<Id>,
    },
    /// Takes every right.
    Revoke {
        /// From whom.
        from: Grantee,
        /// Heads of that key's author chains that stand, sorted.
        keep: Vec<Id>,
    },
    /// Changes nothing, and joins the heads of rights operations in its past into one.
    Merge,
}

impl RightsOp {
    /// Whom it speaks of.
    pub fn grantee(&self) -> Option<Grantee> {
        match self {
            Self::Grant { to, .. } => Some(*to),
            Self::Revoke { from, .. } => Some(*from),
            Self::Merge => None,
        }
    }

    /// What it grants; `None` where it grants nothing.
    pub fn grant(&self) -> Option<&Grant> {
        match self {
            Self::Grant { grant, .. } => Some(grant),
            Self::Revoke { .. } | Self::Merge => None,
        }
    }

    /// The heads of author chains that stand.
    pub fn keep(&self) -> &[Id] {
        match self {
            Self::Grant { keep, .. } | Self::Revoke { keep, .. } => keep,
            Self::Merge => &[],
        }
    }
}

/// Position of an operation in a [`RightsHistory`].
pub type NodeIx = usize;

/// A set of operations of one [`RightsHistory`].
///
/// ```
/// use eidetica_kernel::auth::NodeSet;
///
/// let mut set = NodeSet::default();
/// set.insert(70);
/// assert!(set.contains(70) && !set.contains(3));
/// assert_eq!(set.iter().collect::<Vec<_>>(), vec![70]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct NodeSet {
    words: Vec<u64>,
}

impl NodeSet {
    /// The set of `0..count`.
    pub fn all(count: usize) -> Self {
        let mut words = vec![u64::MAX; count / 64];
        if !count.is_multiple_of(64) {
            words.push((1 << (count % 64)) - 1);
        }
        Self { words }
    }

    /// Adds `node`.
    pub fn insert(&mut self, node: NodeIx) {
        if self.words.len() <= node / 64 {
            self.words.resize(node / 64 + 1, 0);
        }
        self.words[node / 64] |= 1 << (node % 64);
    }

    /// Takes `node` out.
    pub fn remove(&mut self, node: NodeIx) {
        if let Some(word) = self.words.get_mut(node / 64) {
            *word &= !(1 << (node % 64));
        }
    }

    /// `true` if `node` is in it.
    pub fn contains(&self, node: NodeIx) -> bool {
        self.words.get(node / 64).is_some_and(|word| word & (1 << (node % 64)) != 0)
    }

    /// Adds all of `other`.
    pub fn union_with(&mut self, other: &Self) {
        if self.words.len() < other.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        for (word, more) in self.words.iter_mut().zip(&other.words) {
            *word |= more;
        }
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self { words: self.words.iter().zip(&other.words).map(|(a, b)| a & b).collect() }
    }

    /// Its members, ascending.
    pub fn iter(&self) -> impl Iterator<Item = NodeIx> + '_ {
        self.words.iter().enumerate().flat_map(|(at, word)| {
            (0..64).filter(move |bit| word & (1 << bit) != 0).map(move |bit| at * 64 + bit)
        })
    }

    /// `true` if nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }
}

impl PartialEq for NodeSet {
    fn eq(&self, other: &Self) -> bool {
        let (short, long) = if self.words.len() < other.words.len() { (self, other) } else { (other, self) };
        let (same, rest) = long.words.split_at(short.words.len());
        same == short.words && rest.iter().all(|word| *word == 0)
    }
}

impl Eq for NodeSet {}

impl FromIterator<NodeIx> for NodeSet {
    fn from_iter<I: IntoIterator<Item = NodeIx>>(nodes: I) -> Self {
        let mut set = Self::default();
        for node in nodes {
            set.insert(node);
        }
        set
    }
}

/// One rights operation, with what a policy needs to know of its entry.
#[derive(Clone, Debug)]
pub struct RightsNode {
    /// The entry.
    pub id: Id,
    /// Who signed it.
    pub author: PublicKey,
    /// Its clock.
    pub clock: HybridClock,
    /// Its number in its author's chain.
    pub author_seq: u64,
    /// The stores its entry touches, sorted names.
    pub stores: Vec<String>,
    /// `true` for the entry that begins the tree.
    pub is_root: bool,
    /// The operation.
    pub op: RightsOp,
    /// The operations in its entry's past.
    pub past: NodeSet,
    /// The author's seniority in the entry's own past: that of `table(counted(past)).grant(author)`; 0 for the root;
    /// `None` where it holds nothing. Whoever pushes the operation fills it in.
    pub rank: Option<u32>,
}

/// The rights operations of a tree that are admissible, each after those in its past.
#[derive(Clone, Debug, Default)]
pub struct RightsHistory {
    nodes: Vec<RightsNode>,
    positions: HashMap<Id, NodeIx>,
}

impl RightsHistory {
    /// No operation.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an operation whose past is already in it.
    pub fn push(&mut self, node: RightsNode) -> NodeIx {
        let at = self.nodes.len();
        self.positions.insert(node.id, at);
        self.nodes.push(node);
        at
    }

    /// Takes back the operation that was added last.
    pub fn pop(&mut self) -> Option<RightsNode> {
        let node = self.nodes.pop()?;
        self.positions.remove(&node.id);
        Some(node)
    }

    /// The operations.
    pub fn nodes(&self) -> &[RightsNode] {
        &self.nodes
    }

    /// Where the operation of that entry is.
    pub fn position(&self, id: &Id) -> Option<NodeIx> {
        self.positions.get(id).copied()
    }

    /// All of them.
    pub fn all(&self) -> NodeSet {
        NodeSet::all(self.nodes.len())
    }

    /// The operations at and behind `heads`; `None` if one of them isn't here.
    pub fn closure(&self, heads: &[Id]) -> Option<NodeSet> {
        let mut set = NodeSet::default();
        for head in heads {
            let at = self.position(head)?;
            set.union_with(&self.nodes[at].past);
            set.insert(at);
        }
        Some(set)
    }

    /// Those of `set` that are in no other's past, as sorted ids.
    pub fn heads(&self, set: &NodeSet) -> Vec<Id> {
        let mut behind = NodeSet::default();
        for at in set.iter() {
            behind.union_with(&self.nodes[at].past);
        }
        let mut heads: Vec<Id> =
            set.iter().filter(|at| !behind.contains(*at)).map(|at| self.nodes[at].id).collect();
        heads.sort_unstable();
        heads
    }
}

/// Answers where an entry stands in its author's chains, over the entries held.
pub trait Chains {
    /// `true` if `entry` is `head`, or lies behind it on its author's chain (by `author_prev`). Both are by `author`.
    fn is_behind(&self, author: &PublicKey, entry: &Id, entry_seq: u64, head: &Id) -> bool;

    /// `true` if `entry` is in the past of `of`.
    fn is_ancestor(&self, entry: &Id, of: &Id) -> bool;
}

/// What a policy needs to know of an entry to judge it.
#[derive(Clone, Debug)]
pub struct Deed<'a> {
    /// The entry.
    pub id: Id,
    /// Who signed it.
    pub author: PublicKey,
    /// Its number in its author's chain.
    pub author_seq: u64,
    /// `true` for the entry that begins the tree.
    pub is_root: bool,
    /// The names of the stores it touches, sorted.
    pub stores: &'a [String],
    /// Its rights operation, where it has one.
    pub op: Option<&'a RightsOp>,
    /// The operations in its past.
    pub past: &'a NodeSet,
}

impl RightsNode {
    /// The deed that this operation's entry is.
    pub fn deed(&self) -> Deed<'_> {
        Deed {
            id: self.id,
            author: self.author,
            author_seq: self.author_seq,
            is_root: self.is_root,
            stores: &self.stores,
            op: Some(&self.op),
            past: &self.past,
        }
    }
}

/// What one grantee holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What was granted last; `None` after a revocation.
    pub grant: Option<Grant>,
    /// The operation that decided.
    pub node: NodeIx,
}

/// Who holds what after a set of operations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RightsTable {
    standings: BTreeMap<Grantee, Standing>,
}

impl RightsTable {
    /// Sets what `grantee` holds.
    pub fn set(&mut self, grantee: Grantee, standing: Standing) {
        self.standings.insert(grantee, standing);
    }

    /// What was decided for exactly this grantee.
    pub fn get(&self, grantee: &Grantee) -> Option<&Standing> {
        self.standings.get(grantee)
    }

    /// What `key` stands on: its own standing if it has one (a revocation too), else everybody's.
    pub fn standing(&self, key: &PublicKey) -> Option<&Standing> {
        self.standings.get(&Grantee::Key(*key)).or_else(|| self.standings.get(&Grantee::Anyone))
    }

    /// What `key` may do.
    pub fn grant(&self, key: &PublicKey) -> Option<&Grant> {
        self.standing(key)?.grant.as_ref()
    }

    /// Every standing, sorted by grantee.
    pub fn iter(&self) -> impl Iterator<Item = (&Grantee, &Standing)> {
        self.standings.iter()
    }
}

/// Why an entry may not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// In a sentence: who, what, under which rule.
    pub reason: String,
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// Who may read, write, and change rights in a tree.
///
/// - **P1** Pure: answers depend on the arguments alone; two nodes that hold the same operations agree.
/// - **P2** `counted` and `table` don't depend on the order in which operations were pushed (only on their ids, pasts, ranks and
///   contents).
/// - **P3** What is admissible is decided by [`Deed::past`] alone: entries that arrive later never change it.
/// - **P4** Monotone denial: let an operation that can only take (a revocation; a grant of less than what is held) join a history,
///   with all of it in its past and keeping all that was written. `permits`, by the table of what counts, then allows no
///   entry that it didn't allow before, but for operations on those it takes from.
/// - **P5** `decode(encode(op)) == op`; bytes that don't encode to themselves are refused, with [`ErrorKind::InvalidInput`] or
///   [`ErrorKind::LimitExceeded`]; a body never exceeds a payload, and limits hold both ways; nothing panics.
/// - **P6** `counted_with_last` is `counted` of all of the history.
/// - **P7** A revocation holds: where one of a key counts, and nothing later speaks of that key, `permits` allows it nothing and
///   it may not read, whatever `*` may. It `bites` every entry of that key but the root that neither has it in its past nor is at
///   or behind a head it keeps, and no other key's.
/// - **P8** Closed: who holds nothing may do nothing. A tree begins with a grant to its own author of [`Right::Admin`] at
///   [`SENIORITY_CREATOR`] on all stores, and in no other way.
/// - **P9** A grant reaches no further than it says: data is written by holders of [`Right::Write`] and [`Right::Admin`] alone, in the
///   stores of their [`StoreScope`] alone, each store of an entry by itself; the system's stores (`_…`) need [`Right::Admin`].
pub trait AuthPolicy: Send + Sync + 'static {
    /// The policy and the version of its rules: `keys/1`. It is the kind of the tree's rights store.
    fn kind(&self) -> &'static str;

    /// The body of a rights payload.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] where the rules know no such operation, [`ErrorKind::LimitExceeded`].
    fn encode(&self, op: &RightsOp) -> Result<Vec<u8>>;

    /// Reads the body of a rights payload.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for anything that isn't canonical, [`ErrorKind::LimitExceeded`].
    fn decode(&self, body: &[u8]) -> Result<RightsOp>;

    /// Which of the operations in `within` (closed under past) count when they are all there is.
    fn counted(&self, history: &RightsHistory, within: &NodeSet, chains: &dyn Chains) -> NodeSet;

    /// Which operations of all of `history` count. Its last one is new: `counted` are those that counted before it came,
    /// and `before` is who holds what in its own past ([`table`](Self::table) of what is [`counted`](Self::counted) there).
    ///
    /// Counts all anew, unless a policy knows a shorter way to the same answer.
    fn counted_with_last(
        &self,
        history: &RightsHistory,
        counted: &NodeSet,
        before: &RightsTable,
        chains: &dyn Chains,
    ) -> NodeSet {
        let _ = (counted, before);
        self.counted(history, &history.all(), chains)
    }

    /// Who holds what when exactly the operations of `counted` count.
    fn table(&self, history: &RightsHistory, counted: &NodeSet) -> RightsTable;

    /// Whether `table` lets the entry be.
    ///
    /// # Errors
    /// The rule that forbids it.
    fn permits(&self, table: &RightsTable, deed: &Deed<'_>) -> Result<(), Denial>;

    /// Whether the operation `by`, if it counts, makes void an entry that doesn't have it in its past.
    fn bites(&self, history: &RightsHistory, by: NodeIx, deed: &Deed<'_>, chains: &dyn Chains) -> bool;

    /// Whether `key` may read the tree.
    fn may_read(&self, table: &RightsTable, key: &PublicKey) -> bool;
}

/// A shared policy.
pub type SharedAuthPolicy = Arc<dyn AuthPolicy>;
