//! Rule 2: which operations void an entry that doesn't have them in its past.

use eidetica_kernel::auth::{
    Chains, Deed, Grant, Grantee, NodeIx, NodeSet, RightsHistory, RightsNode, RightsTable,
};

use crate::count::Count;
use crate::judge::{self, Own};
use crate::standing;

/// Whether the operation `by`, if it counts, makes void the entry `deed`, which doesn't have it in its past.
pub(crate) fn bites(history: &RightsHistory, by: NodeIx, deed: &Deed<'_>, chains: &dyn Chains) -> bool {
    let Some(node) = history.nodes().get(by) else { return false };
    if deed.is_root || deed.past.contains(by) || node.id == deed.id {
        return false;
    }
    match node.op.grantee() {
        None => return false,
        Some(Grantee::Key(key)) if key != deed.author => return false,
        Some(Grantee::Key(_)) => {}
        Some(Grantee::Anyone) => {
            let spared = match history.position(&deed.id) {
                Some(at) => node.past.contains(at),
                None => chains.is_ancestor(&deed.id, &node.id),
            };
            if spared || !rests_on_anyone(history, deed, chains) {
                return false;
            }
        }
    }
    if stands_by_keep(node, deed, chains) {
        return false;
    }
    let Some(new) = node.op.grant() else { return true };
    if deed.op.is_none() && judge::allows(new, deed, &|_| None).is_ok() {
        return false;
    }
    let held = table_of(history, &node.past, chains);
    let held = match node.op.grantee() {
        Some(Grantee::Key(key)) => held.grant(&key),
        _ => held.get(&Grantee::Anyone).and_then(|standing| standing.grant.as_ref()),
    };
    let Some(held) = held else { return false };
    let table = deed.op.map(|_| table_of(history, deed.past, chains)).unwrap_or_default();
    narrows(held, new, deed, &|grantee| table.get(grantee).map(|own| own.grant.as_ref()))
}

/// Whether the author of an admissible entry had no standing of its own, and so that of everybody.
fn rests_on_anyone(history: &RightsHistory, deed: &Deed<'_>, chains: &dyn Chains) -> bool {
    let own = Some(Grantee::Key(deed.author));
    let names_it = |(at, node): (NodeIx, &RightsNode)| node.op.grantee() == own && deed.past.contains(at);
    if !history.nodes().iter().enumerate().any(names_it) {
        return true;
    }
    let before = table_of(history, deed.past, chains);
    before.get(&Grantee::Key(deed.author)).is_none()
        && before.get(&Grantee::Anyone).is_some_and(|standing| standing.grant.is_some())
}

fn table_of(history: &RightsHistory, past: &NodeSet, chains: &dyn Chains) -> RightsTable {
    standing::table(history, &Count::run(history, past, chains).counted(past))
}

/// `true` if a head in the operation's `keep` is the entry, or has it behind it.
pub(crate) fn stands_by_keep(by: &RightsNode, deed: &Deed<'_>, chains: &dyn Chains) -> bool {
    by.op.keep().iter().any(|head| chains.is_behind(&deed.author, &deed.id, deed.author_seq, head))
}

/// `true` if `held` lets the entry be and `new` doesn't.
pub(crate) fn narrows<'t>(
    held: &Grant,
    new: &Grant,
    deed: &Deed<'_>,
    own: &dyn Fn(&Grantee) -> Own<'t>,
) -> bool {
    held != new && judge::allows(held, deed, own).is_ok() && judge::allows(new, deed, own).is_err()
}
