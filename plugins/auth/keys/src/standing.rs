//! Rule 3: who holds what when a set of operations counts.

use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;

use eidetica_kernel::auth::{
    Grant, Grantee, NodeIx, NodeSet, Right, RightsHistory, RightsNode, RightsTable, Standing, StoreScope,
};
use eidetica_kernel::crypto::PublicKey;

/// The table of `counted`: one standing for every grantee that a counted operation speaks of.
pub(crate) fn table(history: &RightsHistory, counted: &NodeSet) -> RightsTable {
    let mut lanes = Lanes::new(history);
    for at in counted.iter().take_while(|at| *at < history.nodes().len()) {
        lanes.push(at);
    }
    let mut table = RightsTable::default();
    for grantee in lanes.of.keys() {
        if let Some(node) = lanes.decided(grantee, counted) {
            table.set(*grantee, Standing { grant: history.nodes()[node].op.grant().cloned(), node });
        }
    }
    table
}

/// An author's rank as a number whose smallest is the most senior; a right that was taken is the least senior.
pub(crate) fn order(node: &RightsNode) -> u64 {
    node.rank.map_or(u64::MAX, u64::from)
}

/// The operations of a history, by whom they speak of.
pub(crate) struct Lanes<'h> {
    pub(crate) history: &'h RightsHistory,
    of: HashMap<Grantee, Lane>,
}

/// The operations on one grantee, each after those in its past.
#[derive(Default)]
struct Lane {
    nodes: Vec<NodeIx>,
    /// Per operation: `true` if all before it in the lane are in its past, so that a search may end there.
    covers: Vec<bool>,
}

impl<'h> Lanes<'h> {
    pub(crate) fn new(history: &'h RightsHistory) -> Self {
        Self { history, of: HashMap::new() }
    }

    /// Adds an operation; later than those in its past.
    pub(crate) fn push(&mut self, at: NodeIx) {
        let node = &self.history.nodes()[at];
        let Some(grantee) = node.op.grantee() else { return };
        let lane = self.of.entry(grantee).or_default();
        let covers = match (lane.nodes.last(), lane.covers.last()) {
            (Some(last), Some(covers)) => *covers && node.past.contains(*last),
            _ => true,
        };
        lane.nodes.push(at);
        lane.covers.push(covers);
    }

    /// The operations on `grantee` that aren't in `past`, latest first.
    pub(crate) fn outside(&self, grantee: &Grantee, past: &NodeSet) -> Vec<NodeIx> {
        let mut found = Vec::new();
        let Some(lane) = self.of.get(grantee) else { return found };
        for (at, covers) in lane.nodes.iter().zip(&lane.covers).rev() {
            if !past.contains(*at) {
                found.push(*at);
            } else if *covers {
                break;
            }
        }
        found
    }

    /// The operation that decides what exactly `grantee` holds when `set` counts.
    pub(crate) fn decided(&self, grantee: &Grantee, set: &NodeSet) -> Option<NodeIx> {
        let lane = self.of.get(grantee)?;
        let nodes = self.history.nodes();
        // Those of the set that aren't in another such one's past.
        let mut maximal: Vec<NodeIx> = Vec::new();
        for (at, covers) in lane.nodes.iter().zip(&lane.covers).rev() {
            if !set.contains(*at) || maximal.iter().any(|later| nodes[*later].past.contains(*at)) {
                continue;
            }
            maximal.push(*at);
            if *covers {
                break;
            }
        }
        maximal.into_iter().min_by(|a, b| winner_first(&nodes[*a], &nodes[*b]))
    }

    /// The operation that decides what `key` stands on when `set` counts: its own, else everybody's.
    pub(crate) fn support(&self, key: &PublicKey, set: &NodeSet) -> Option<NodeIx> {
        self.decided(&Grantee::Key(*key), set).or_else(|| self.decided(&Grantee::Anyone, set))
    }
}

/// Of two concurrent operations on one grantee, the one that wins comes first: the more senior author's, then the stricter.
fn winner_first(a: &RightsNode, b: &RightsNode) -> Ordering {
    let grants = || match (a.op.grant(), b.op.grant()) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (Some(a), Some(b)) => strictness(a).cmp(&strictness(b)),
    };
    order(a).cmp(&order(b)).then_with(grants).then_with(|| a.id.cmp(&b.id))
}

/// Smaller is stricter: the lower right, the larger seniority, named stores before all, fewer names before more.
fn strictness(grant: &Grant) -> impl Ord + use<'_> {
    let right = match grant.right {
        Right::Read => (0, None, Reverse(0)),
        Right::Admit { cap, seniority_min } => (1, Some(cap), Reverse(seniority_min)),
        Right::Write => (2, None, Reverse(0)),
        Right::Admin => (3, None, Reverse(0)),
    };
    let stores = match &grant.stores {
        StoreScope::Only(names) => (false, names.len(), names.iter().map(encoded).collect()),
        StoreScope::All => (true, 0, Vec::new()),
    };
    (right, Reverse(grant.seniority), stores)
}

/// Length, then bytes: names compare as their encodings do.
fn encoded(name: &String) -> (usize, &[u8]) {
    (name.len(), name.as_bytes())
}
