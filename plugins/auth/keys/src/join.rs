//! Rule 2 where one operation joins a history: nearly always it changes nothing for those that were there.

use eidetica_kernel::auth::{Grantee, NodeSet, RightsHistory, RightsNode, RightsTable};

use crate::standing::order;

/// What counts with the last operation of `history`, when `counted` did without it and `before` is the table over its past;
/// `None` if it may bite or be bitten, so that all must be counted.
///
/// Exact: no other has it in its past, so that no other's rank, support or bites depend on it. Whether one counts changes
/// only if it is bitten.
pub(crate) fn joined(history: &RightsHistory, counted: &NodeSet, before: &RightsTable) -> Option<NodeSet> {
    let (new, earlier) = history.nodes().split_last()?;
    let takes = takes(new, before);
    for (at, other) in earlier.iter().enumerate() {
        let behind = new.past.contains(at);
        let bites = takes
            && !other.is_root
            && order(new) < order(other)
            && match new.op.grantee() {
                Some(Grantee::Key(key)) => key == other.author,
                // Whether the other rests on everybody's standing isn't asked here, nor below.
                _ => !behind,
            };
        let bitten = !behind
            && order(other) < order(new)
            && match other.op.grantee() {
                Some(Grantee::Key(key)) => key == new.author,
                Some(Grantee::Anyone) => true,
                None => false,
            };
        if bites || bitten && counted.contains(at) {
            return None;
        }
    }
    let support = before.standing(&new.author).filter(|standing| standing.grant.is_some());
    let mut joined = counted.clone();
    if new.is_root || support.is_some_and(|support| counted.contains(support.node)) {
        joined.insert(earlier.len());
    }
    Some(joined)
}

/// Whether the operation can bite anything at all.
fn takes(new: &RightsNode, before: &RightsTable) -> bool {
    let Some(grant) = new.op.grant() else { return new.op.grantee().is_some() };
    let held = match new.op.grantee() {
        Some(Grantee::Key(key)) => before.grant(&key),
        _ => before.get(&Grantee::Anyone).and_then(|standing| standing.grant.as_ref()),
    };
    held.is_some_and(|held| held != grant)
}
