//! Which relations there are, which of them is under way, and when each is due.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Action, Moment, Preferences};
use crate::crypto::PublicKey;
use crate::id::Id;

/// The relations of a policy, which keeps a `T` for each.
///
/// It sees to it that at most one sync per relation is unanswered (H3), that what comes up meanwhile isn't lost (H2), and that
/// what has ended is forgotten once its last answer is in (H9). Due times rest in an ordered set: the next one costs nothing.
///
/// ```
/// use std::time::Duration;
///
/// use eidetica_kernel::scheduler::{Action, Plan, Preferences};
/// use eidetica_kernel::{Id, PublicKey};
///
/// let (peer, tree) = (PublicKey::from_bytes([1; 32]), Id::from_bytes([2; 32]));
/// let mut plan = Plan::<()>::default();
/// assert!(plan.relate(peer, tree, Preferences::default()));
/// let mut actions = Vec::new();
/// plan.sync(peer, tree, &mut actions);
/// plan.sync(peer, tree, &mut actions); // one is unanswered: again after that
/// assert_eq!(actions, [Action::Sync { peer, tree }]);
/// assert_eq!(plan.answered(&peer, &tree), Some(true));
/// plan.plan(&peer, &tree, Some(Duration::from_secs(9)));
/// assert_eq!(plan.next_due(), Some(Duration::from_secs(9)));
/// ```
#[derive(Clone, Debug)]
pub struct Plan<T> {
    peers: BTreeMap<PublicKey, BTreeMap<Id, Planned<T>>>,
    /// Who is related to a tree.
    trees: BTreeMap<Id, BTreeSet<PublicKey>>,
    timers: BTreeSet<(Moment, PublicKey, Id)>,
}

impl<T> Default for Plan<T> {
    fn default() -> Self {
        Self { peers: BTreeMap::new(), trees: BTreeMap::new(), timers: BTreeSet::new() }
    }
}

/// One relation.
#[derive(Clone, Debug)]
pub struct Planned<T> {
    /// What its users want.
    pub preferences: Preferences,
    /// What the policy keeps of it.
    pub of: T,
    /// `false`: ended while a sync was unanswered; kept for that answer, so that no second one is asked for.
    wanted: bool,
    unanswered: bool,
    again: bool,
    due: Option<Moment>,
}

impl<T> Planned<T> {
    /// When it is due; `None` if that isn't planned.
    pub fn due(&self) -> Option<Moment> {
        self.due
    }

    /// `true` while a sync is unanswered.
    pub fn is_under_way(&self) -> bool {
        self.unanswered
    }

    /// `true` if another sync was asked for while one is under way.
    pub fn is_wanted_again(&self) -> bool {
        self.again
    }
}

impl<T: Default> Plan<T> {
    /// Takes in a relation, or its new preferences; `true` if it is new. One that ended and is back before the answer to its last
    /// sync is new, and is synced again after it.
    pub fn relate(&mut self, peer: PublicKey, tree: Id, preferences: Preferences) -> bool {
        self.trees.entry(tree).or_default().insert(peer);
        let relations = self.peers.entry(peer).or_default();
        match relations.get_mut(&tree) {
            Some(planned) if planned.wanted => {
                planned.preferences = preferences;
                false
            }
            known => {
                let unanswered = known.is_some();
                let new = Planned {
                    preferences,
                    of: T::default(),
                    wanted: true,
                    unanswered,
                    again: unanswered,
                    due: None,
                };
                relations.insert(tree, new);
                true
            }
        }
    }
}

impl<T> Plan<T> {
    /// Ends a relation.
    pub fn unrelate(&mut self, peer: &PublicKey, tree: &Id) {
        if let Some(peers) = self.trees.get_mut(tree) {
            peers.remove(peer);
            if peers.is_empty() {
                self.trees.remove(tree);
            }
        }
        self.plan(peer, tree, None);
        if let Some(planned) = self.any_mut(peer, tree) {
            planned.wanted = false;
            planned.again = false;
        }
        self.forget_if_done(peer, tree);
    }

    /// The relation, unless it has ended.
    pub fn get(&self, peer: &PublicKey, tree: &Id) -> Option<&Planned<T>> {
        self.peers.get(peer)?.get(tree).filter(|planned| planned.wanted)
    }

    /// The relation, unless it has ended.
    pub fn get_mut(&mut self, peer: &PublicKey, tree: &Id) -> Option<&mut Planned<T>> {
        self.any_mut(peer, tree).filter(|planned| planned.wanted)
    }

    fn any_mut(&mut self, peer: &PublicKey, tree: &Id) -> Option<&mut Planned<T>> {
        self.peers.get_mut(peer)?.get_mut(tree)
    }

    /// `true` if the peer is related to some tree, or a sync with it is still unanswered.
    pub fn knows(&self, peer: &PublicKey) -> bool {
        self.peers.contains_key(peer)
    }

    /// The trees that the peer is related to, sorted.
    pub fn trees(&self, peer: &PublicKey) -> Vec<Id> {
        let relations = self.peers.get(peer).into_iter().flatten();
        relations.filter(|(_, planned)| planned.wanted).map(|(tree, _)| *tree).collect()
    }

    /// Those of them without a sync under way.
    pub fn idle_trees(&self, peer: &PublicKey) -> Vec<Id> {
        let relations = self.peers.get(peer).into_iter().flatten();
        let idle = |planned: &Planned<T>| planned.wanted && !planned.unanswered;
        relations.filter(|(_, planned)| idle(planned)).map(|(tree, _)| *tree).collect()
    }

    /// The peers that are related to the tree, sorted.
    pub fn peers(&self, tree: &Id) -> Vec<PublicKey> {
        self.trees.get(tree).into_iter().flatten().copied().collect()
    }

    /// Asks for a sync now, or after the answer of the one under way. Nothing for who isn't related.
    pub fn sync(&mut self, peer: PublicKey, tree: Id, actions: &mut Vec<Action>) {
        let Some(planned) = self.get_mut(&peer, &tree) else { return };
        if planned.unanswered {
            planned.again = true;
            return;
        }
        planned.unanswered = true;
        planned.again = false;
        let due = planned.due.take();
        if let Some(due) = due {
            self.timers.remove(&(due, peer, tree));
        }
        actions.push(Action::Sync { peer, tree });
    }

    /// Another sync is to follow the one under way.
    pub fn sync_again(&mut self, peer: &PublicKey, tree: &Id) {
        if let Some(planned) = self.get_mut(peer, tree).filter(|planned| planned.unanswered) {
            planned.again = true;
        }
    }

    /// Takes the answer of a sync: whether another one was asked for meanwhile; `None` if no answer was awaited, or nobody wants
    /// the relation any more.
    pub fn answered(&mut self, peer: &PublicKey, tree: &Id) -> Option<bool> {
        let planned = self.any_mut(peer, tree)?;
        let awaited = std::mem::replace(&mut planned.unanswered, false);
        let again = std::mem::replace(&mut planned.again, false);
        let wanted = planned.wanted;
        self.forget_if_done(peer, tree);
        (awaited && wanted).then_some(again)
    }

    /// When the relation is due from now on; ignored while a sync is under way and for who isn't related.
    pub fn plan(&mut self, peer: &PublicKey, tree: &Id, due: Option<Moment>) {
        let Some(planned) = self.get_mut(peer, tree).filter(|planned| !planned.unanswered) else { return };
        let before = std::mem::replace(&mut planned.due, due);
        if let Some(before) = before {
            self.timers.remove(&(before, *peer, *tree));
        }
        if let Some(due) = due {
            self.timers.insert((due, *peer, *tree));
        }
    }

    /// As [`Plan::plan`], unless the relation is due earlier.
    pub fn plan_by(&mut self, peer: &PublicKey, tree: &Id, due: Moment) {
        let earlier = self.get(peer, tree).and_then(Planned::due).is_some_and(|planned| planned <= due);
        if !earlier {
            self.plan(peer, tree, Some(due));
        }
    }

    /// The relation that is due first.
    pub fn first_due(&self) -> Option<(Moment, PublicKey, Id)> {
        self.timers.first().copied()
    }

    /// Asks for a sync of every relation that is due.
    pub fn sync_due(&mut self, now: Moment, actions: &mut Vec<Action>) {
        while let Some((_, peer, tree)) = self.first_due().filter(|(due, ..)| *due <= now) {
            self.sync(peer, tree, actions);
        }
    }

    /// When to be woken for the first relation that is due. Where that is over, because another event came first, the tick for
    /// it still lies ahead (H5).
    pub fn next_wakeup(&self, now: Moment) -> Option<Moment> {
        Some(self.next_due()?.max(now.saturating_add(Duration::from_millis(1))))
    }

    /// When the first relation is due.
    pub fn next_due(&self) -> Option<Moment> {
        self.first_due().map(|(due, ..)| due)
    }

    /// A moment within `range` at which some relation is due already.
    pub fn due_within(&self, range: RangeInclusive<Moment>) -> Option<Moment> {
        let lowest = (PublicKey::from_bytes([0; 32]), Id::from_bytes([0; 32]));
        let mut behind = self.timers.range((*range.start(), lowest.0, lowest.1)..);
        behind.next().map(|(due, ..)| *due).filter(|due| range.contains(due))
    }

    fn forget_if_done(&mut self, peer: &PublicKey, tree: &Id) {
        let Some(relations) = self.peers.get_mut(peer) else { return };
        if relations.get(tree).is_some_and(|planned| !planned.wanted && !planned.unanswered) {
            relations.remove(tree);
        }
        if relations.is_empty() {
            self.peers.remove(peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: PublicKey = PublicKey::from_bytes([1; 32]);
    const TREE: Id = Id::from_bytes([2; 32]);
    const SECOND: Duration = Duration::from_secs(1);

    fn related() -> Plan<u8> {
        let mut plan = Plan::default();
        assert!(plan.relate(PEER, TREE, Preferences::default()));
        plan
    }

    #[test]
    fn a_relation_that_is_back_before_its_answer_waits_for_it() {
        let mut plan = related();
        let mut actions = Vec::new();
        plan.sync(PEER, TREE, &mut actions);
        plan.unrelate(&PEER, &TREE);
        assert!(plan.get(&PEER, &TREE).is_none() && plan.knows(&PEER));
        assert!(plan.relate(PEER, TREE, Preferences::default()));
        plan.sync(PEER, TREE, &mut actions);
        assert_eq!(actions.len(), 1);
        assert_eq!(plan.answered(&PEER, &TREE), Some(true));
    }

    #[test]
    fn what_has_ended_is_forgotten_with_its_answer() {
        let mut plan = related();
        let mut actions = Vec::new();
        plan.plan(&PEER, &TREE, Some(SECOND));
        plan.sync(PEER, TREE, &mut actions);
        assert_eq!(plan.next_due(), None);
        plan.plan(&PEER, &TREE, Some(SECOND));
        assert_eq!(plan.next_due(), None, "under way");
        plan.unrelate(&PEER, &TREE);
        assert_eq!(plan.answered(&PEER, &TREE), None);
        assert!(!plan.knows(&PEER) && plan.peers(&TREE).is_empty());
        assert_eq!(plan.answered(&PEER, &TREE), None);
    }

    #[test]
    fn due_times_move_and_are_found_in_a_window() {
        let mut plan = related();
        plan.plan(&PEER, &TREE, Some(9 * SECOND));
        plan.plan_by(&PEER, &TREE, 12 * SECOND);
        assert_eq!(plan.first_due(), Some((9 * SECOND, PEER, TREE)));
        plan.plan_by(&PEER, &TREE, 5 * SECOND);
        assert_eq!(plan.next_due(), Some(5 * SECOND));
        assert_eq!(plan.due_within(5 * SECOND..=6 * SECOND), Some(5 * SECOND));
        assert_eq!(plan.due_within(6 * SECOND..=9 * SECOND), None);
        plan.plan(&PEER, &TREE, None);
        assert_eq!(plan.next_due(), None);
    }
}
