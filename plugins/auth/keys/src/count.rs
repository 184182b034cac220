//! Rule 2: which operations count.
//!
//! What an operation rests on depends on its own past alone, and so does whom it would bite; one pass in causal order
//! finds them. Which count *in a set* then follows in order of (rank, clock, id), since whatever an operation's
//! counting depends on comes before it in that order. Where nothing bites, which is nearly always, no set is built.

use std::collections::HashMap;
use std::rc::Rc;

use eidetica_kernel::auth::{Chains, Grant, Grantee, NodeIx, NodeSet, RightsHistory};
use eidetica_kernel::crypto::PublicKey;

use crate::bite::{narrows, stands_by_keep};
use crate::judge::Own;
use crate::standing::{Lanes, order};

/// What the pass in causal order finds, per operation.
struct Found {
    /// The grant that the author's standing rests on; `None` if it has none: such an operation never counts.
    support: Option<NodeIx>,
    /// What counts in its past; `None` where all of it does.
    counted_past: Option<Rc<NodeSet>>,
    /// What counts in its past and itself, once it was asked for.
    counted_after: Option<Rc<NodeSet>>,
    /// Operations by strictly more senior authors that bite it.
    bitten_by: Vec<NodeIx>,
    /// Operations by strictly junior authors that it bites.
    bitten: Vec<NodeIx>,
}

/// One reading of a history.
pub(crate) struct Count<'h> {
    history: &'h RightsHistory,
    chains: &'h dyn Chains,
    lanes: Lanes<'h>,
    found: Vec<Option<Found>>,
    by_author: HashMap<PublicKey, Vec<NodeIx>>,
    rest_on_anyone: Vec<NodeIx>,
    /// Every (biting, bitten) so far.
    pairs: Vec<(NodeIx, NodeIx)>,
    unsupported: Vec<NodeIx>,
}

impl<'h> Count<'h> {
    /// Reads the operations of `within`, which is closed under past.
    pub(crate) fn run(history: &'h RightsHistory, within: &NodeSet, chains: &'h dyn Chains) -> Self {
        let mut count = Self {
            history,
            chains,
            lanes: Lanes::new(history),
            found: Vec::new(),
            by_author: HashMap::new(),
            rest_on_anyone: Vec::new(),
            pairs: Vec::new(),
            unsupported: Vec::new(),
        };
        count.found.resize_with(history.nodes().len(), || None);
        for at in within.iter().take_while(|at| *at < history.nodes().len()) {
            count.read(at);
        }
        count
    }

    /// Those of `set` (closed under past, and read) that count when they are all there is.
    pub(crate) fn counted(&self, set: &NodeSet) -> NodeSet {
        if self.all_count(set) {
            return set.clone();
        }
        let mut members: Vec<NodeIx> =
            set.iter().filter(|at| self.found.get(*at).is_some_and(Option::is_some)).collect();
        members.sort_by_cached_key(|at| self.place(*at));
        let mut counted = NodeSet::default();
        for at in members {
            if self.counts(at, &counted) {
                counted.insert(at);
            }
        }
        counted
    }

    /// Rule 2's order.
    fn place(&self, at: NodeIx) -> impl Ord + use<> {
        let node = &self.history.nodes()[at];
        (order(node), node.clock, node.id)
    }

    /// Whether `at` counts, when `counted` holds what counts of those before it in rule 2's order.
    fn counts(&self, at: NodeIx, counted: &NodeSet) -> bool {
        let Some(Some(found)) = self.found.get(at) else { return false };
        let supported = self.history.nodes()[at].is_root
            || found.support.is_some_and(|support| counted.contains(support));
        supported && !found.bitten_by.iter().any(|by| counted.contains(*by))
    }

    fn all_count(&self, set: &NodeSet) -> bool {
        !self.pairs.iter().any(|(by, at)| set.contains(*by) && set.contains(*at))
            && !self.unsupported.iter().any(|at| set.contains(*at))
    }

    /// Finds what there is to know of `at`, whose past was read.
    fn read(&mut self, at: NodeIx) {
        let node = &self.history.nodes()[at];
        let counted_past = self.counted_past(at);
        let set = counted_past.as_deref().unwrap_or(&node.past);
        let support = self.lanes.support(&node.author, set);
        let support = support.filter(|support| self.history.nodes()[*support].op.grant().is_some());
        if support.is_none() && !node.is_root {
            self.unsupported.push(at);
        }
        self.found[at] = Some(Found {
            support,
            counted_past,
            counted_after: None,
            bitten_by: Vec::new(),
            bitten: Vec::new(),
        });
        self.meet_earlier(at);
        self.lanes.push(at);
        self.by_author.entry(node.author).or_default().push(at);
        if self.rests_on_anyone(at) {
            self.rest_on_anyone.push(at);
        }
    }

    fn rests_on_anyone(&self, at: NodeIx) -> bool {
        let support = self.found[at].as_ref().and_then(|found| found.support);
        support.is_some_and(|support| self.history.nodes()[support].op.grantee() == Some(Grantee::Anyone))
    }

    /// Notes who bites whom between `at` and the operations read before it.
    fn meet_earlier(&mut self, at: NodeIx) {
        let node = &self.history.nodes()[at];
        let mut pairs = Vec::new();
        // Nothing read earlier has `at` in its past.
        let bitten: Vec<NodeIx> = match node.op.grantee() {
            None => Vec::new(),
            Some(Grantee::Key(key)) => self.by_author.get(&key).cloned().unwrap_or_default(),
            Some(Grantee::Anyone) => {
                self.rest_on_anyone.iter().copied().filter(|other| !node.past.contains(*other)).collect()
            }
        };
        let held = self.held_before(at);
        pairs
            .extend(bitten.into_iter().filter(|other| self.bites(at, held, *other)).map(|other| (at, other)));

        let mut biting = self.lanes.outside(&Grantee::Key(node.author), &node.past);
        if self.rests_on_anyone(at) {
            biting.extend(self.lanes.outside(&Grantee::Anyone, &node.past));
        }
        for by in biting {
            if self.bites(by, self.held_before(by), at) {
                pairs.push((by, at));
            }
        }
        for (by, at) in pairs {
            self.pairs.push((by, at));
            if let Some(found) = &mut self.found[by] {
                found.bitten.push(at);
            }
            if let Some(found) = &mut self.found[at] {
                found.bitten_by.push(by);
            }
        }
    }

    /// What the grantee of the operation `by` held in its past.
    fn held_before(&self, by: NodeIx) -> Option<&'h Grant> {
        let node = &self.history.nodes()[by];
        node.op.grant()?;
        let past = self.past_set(by);
        let decided = match node.op.grantee()? {
            Grantee::Key(key) => self.lanes.support(&key, past),
            Grantee::Anyone => self.lanes.decided(&Grantee::Anyone, past),
        };
        self.history.nodes()[decided?].op.grant()
    }

    fn past_set(&self, at: NodeIx) -> &NodeSet {
        let counted = self.found[at].as_ref().and_then(|found| found.counted_past.as_deref());
        counted.unwrap_or(&self.history.nodes()[at].past)
    }

    /// Whether `by` bites `at`, when it names its author or what that rests on and isn't in its past.
    fn bites(&self, by: NodeIx, held: Option<&Grant>, at: NodeIx) -> bool {
        let (biting, bitten) = (&self.history.nodes()[by], &self.history.nodes()[at]);
        if bitten.is_root || order(biting) >= order(bitten) {
            return false;
        }
        let deed = bitten.deed();
        let takes = match (biting.op.grant(), held) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(new), Some(held)) => narrows(held, new, &deed, &|grantee| self.own_before(at, grantee)),
        };
        takes && !stands_by_keep(biting, &deed, self.chains)
    }

    /// What was decided for exactly `grantee` in the past of `at`.
    fn own_before(&self, at: NodeIx, grantee: &Grantee) -> Own<'h> {
        let decided = self.lanes.decided(grantee, self.past_set(at))?;
        Some(self.history.nodes()[decided].op.grant())
    }

    /// What counts in the past of `at`; `None` if all of it.
    fn counted_past(&mut self, at: NodeIx) -> Option<Rc<NodeSet>> {
        let past = &self.history.nodes()[at].past;
        if self.all_count(past) {
            return None;
        }
        let (base, rest) = self.split(at, past)?;
        let before = self.counted_after(base);
        if rest.is_empty() {
            return Some(before);
        }
        Some(Rc::new(self.extended(&before, &rest).unwrap_or_else(|| self.counted(past))))
    }

    /// What counts in the past of `at` and itself.
    fn counted_after(&mut self, at: NodeIx) -> Rc<NodeSet> {
        if let Some(after) = self.found[at].as_ref().and_then(|found| found.counted_after.clone()) {
            return after;
        }
        let after = self.extended(self.past_set(at), &[at]).unwrap_or_else(|| {
            let mut closure = self.history.nodes()[at].past.clone();
            closure.insert(at);
            self.counted(&closure)
        });
        let after = Rc::new(after);
        if let Some(found) = &mut self.found[at] {
            found.counted_after = Some(after.clone());
        }
        after
    }

    /// What counts of a set, when `before` counts of a closed part of it and `rest` is what is left; `None` if an operation
    /// of `rest` bites one of `before`, so that all must be counted anew.
    fn extended(&self, before: &NodeSet, rest: &[NodeIx]) -> Option<NodeSet> {
        let mut rest = rest.to_vec();
        rest.sort_by_cached_key(|at| self.place(*at));
        let mut counted = before.clone();
        for at in rest {
            if !self.counts(at, &counted) {
                continue;
            }
            let bitten = self.found[at].as_ref().map_or(&[][..], |found| &found.bitten);
            if bitten.iter().any(|other| before.contains(*other)) {
                return None;
            }
            counted.insert(at);
        }
        Some(counted)
    }

    /// The head of `past` (the past of `at`) with most behind it, and what of `past` isn't at or behind that head.
    fn split(&self, at: NodeIx, past: &NodeSet) -> Option<(NodeIx, Vec<NodeIx>)> {
        let nodes = self.history.nodes();
        let mut base: Option<(usize, NodeIx, NodeSet)> = None;
        let mut behind = NodeSet::default();
        for head in (0..at).rev() {
            if !past.contains(head) || behind.contains(head) {
                continue;
            }
            let mut closure = nodes[head].past.clone();
            closure.insert(head);
            behind.union_with(&closure);
            let done = behind == *past;
            let single = done && base.is_none();
            let size = if single { 0 } else { closure.iter().count() };
            if base.as_ref().is_none_or(|(most, _, _)| size > *most) {
                base = Some((size, head, closure));
            }
            if done {
                break;
            }
        }
        let (_, base, mut covered) = base?;
        let mut rest = Vec::new();
        let mut done = covered == *past;
        let mut candidates = (0..at).rev();
        while !done && let Some(other) = candidates.next() {
            if past.contains(other) && !covered.contains(other) {
                covered.insert(other);
                rest.push(other);
                done = covered == *past;
            }
        }
        Some((base, rest))
    }
}
