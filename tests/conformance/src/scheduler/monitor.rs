//! Holds a policy to its promises: what is owed to each relation, and by when.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use eidetica_kernel::scheduler::{Action, Event, Failure, Moment, Preferences, Promises, Scope};
use eidetica_kernel::{Id, PublicKey, SyncScheduler};

use crate::check::{Outcome, ensure, fail};

/// A wake-up may be asked for so late at the earliest.
pub(super) const PUNCTUAL: Duration = Duration::from_millis(1);
/// The least interval that users can ask for.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// What the policy owes, as far as its promises and the events so far say.
#[derive(Debug)]
pub(super) struct Monitor {
    promises: Promises,
    relations: BTreeMap<(PublicKey, Id), Relation>,
    peers: BTreeMap<PublicKey, Peer>,
    /// How much later than promised, because ticks come late.
    pub(super) slack: Duration,
}

#[derive(Debug)]
struct Relation {
    /// `false`: ended, and its last sync is unanswered.
    wanted: bool,
    preferences: Preferences,
    unanswered: bool,
    /// A commit came while a sync was unanswered.
    committed: bool,
    refused: bool,
    /// Found in sync over a link that is still open.
    live: bool,
    owed: Option<Owed>,
}

#[derive(Clone, Copy, Debug)]
struct Owed {
    by: Moment,
    why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Interval,
    Commit,
    Retry,
}

#[derive(Debug, Default)]
struct Peer {
    connected: bool,
    /// Nobody answered there last time.
    away: bool,
    probing: bool,
}

impl Relation {
    fn idle(&self) -> bool {
        self.wanted && !self.unanswered
    }
}

impl Monitor {
    pub(super) fn new(promises: Promises) -> Self {
        Self { promises, relations: BTreeMap::new(), peers: BTreeMap::new(), slack: PUNCTUAL }
    }

    /// The pairs that are related.
    pub(super) fn related(&self) -> Vec<(PublicKey, Id)> {
        self.relations.iter().filter(|(_, relation)| relation.wanted).map(|(pair, _)| *pair).collect()
    }

    /// Syncs and probes without an answer.
    pub(super) fn unanswered(&self) -> Vec<Action> {
        let syncs = self.relations.iter().filter(|(_, relation)| relation.unanswered);
        let probes = self.peers.iter().filter(|(_, peer)| peer.probing);
        syncs
            .map(|((peer, tree), _)| Action::Sync { peer: *peer, tree: *tree })
            .chain(probes.map(|(peer, _)| Action::Probe { peer: *peer }))
            .collect()
    }

    pub(super) fn is_unanswered(&self, peer: &PublicKey, tree: &Id) -> bool {
        self.relations.get(&(*peer, *tree)).is_some_and(|relation| relation.unanswered)
    }

    pub(super) fn is_probing(&self, peer: &PublicKey) -> bool {
        self.peers.get(peer).is_some_and(|peer| peer.probing)
    }

    pub(super) fn is_connected(&self, peer: &PublicKey) -> bool {
        self.peers.get(peer).is_some_and(|peer| peer.connected)
    }

    fn within(&self, promised: Option<Duration>, now: Moment, why: Why) -> Option<Owed> {
        let by = now.saturating_add(promised?).saturating_add(self.promises.pause_max);
        Some(Owed { by: by.saturating_add(self.slack), why })
    }

    fn retry(&self, now: Moment) -> Option<Owed> {
        self.within(self.promises.retry_within, now, Why::Retry)
    }

    fn commit(&self, now: Moment) -> Option<Owed> {
        self.within(self.promises.commit_within, now, Why::Commit)
    }

    fn interval(&self, preferences: &Preferences, now: Moment) -> Option<Owed> {
        let asked = preferences.interval.unwrap_or(Duration::MAX).max(INTERVAL_MIN);
        let promised = self.promises.sync_within.map(|promised| promised.min(asked));
        self.within(promised, now, Why::Interval)
    }

    /// Takes an event in, before the policy does. `Err` if something was owed before it.
    pub(super) fn event(&mut self, now: Moment, event: &Event, scheduler: &dyn SyncScheduler) -> Outcome {
        self.overdue(now)?;
        match event {
            Event::Related { peer, tree, preferences } => self.related_to(now, *peer, *tree, *preferences),
            Event::Unrelated { peer, tree } => {
                if let Some(relation) = self.relations.get_mut(&(*peer, *tree)) {
                    relation.wanted = false;
                    relation.owed = None;
                }
                self.forget(peer, tree);
            }
            Event::Committed { tree } => self.committed(now, tree, scheduler),
            Event::Connected { peer } => {
                let peer = self.peers.entry(*peer).or_default();
                (peer.connected, peer.away) = (true, false);
            }
            Event::Disconnected { peer } => self.disconnected(now, peer),
            Event::Acknowledged { peer, tree, .. } => self.acknowledged(now, peer, tree, scheduler),
            Event::SyncFailed { peer, tree, failure } => self.failed(now, peer, tree, *failure),
            Event::Probed { peer, .. } => {
                if let Some(peer) = self.peers.get_mut(peer) {
                    peer.probing = false;
                }
            }
            Event::PeerReset { peer } => {
                let retry = self.retry(now);
                for (_, relation) in self.of_peer(peer).filter(|(_, relation)| relation.idle()) {
                    relation.refused = false;
                    relation.owed = sooner(relation.owed, retry);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn of_peer(&mut self, peer: &PublicKey) -> impl Iterator<Item = (&Id, &mut Relation)> {
        let of = *peer;
        let mine = self.relations.iter_mut().filter(move |((peer, _), _)| *peer == of);
        mine.map(|((_, tree), relation)| (tree, relation))
    }

    fn related_to(&mut self, now: Moment, peer: PublicKey, tree: Id, preferences: Preferences) {
        let (retry, interval) = (self.retry(now), self.interval(&preferences, now));
        let new = || Relation {
            wanted: false,
            preferences,
            unanswered: false,
            committed: false,
            refused: false,
            live: false,
            owed: None,
        };
        let relation = self.relations.entry((peer, tree)).or_insert_with(new);
        let again = std::mem::replace(&mut relation.wanted, true);
        relation.preferences = preferences;
        let refused = std::mem::replace(&mut relation.refused, false);
        if relation.unanswered {
            return;
        }
        relation.owed = match relation.owed {
            _ if !again || refused => retry,
            Some(Owed { why: Why::Interval, .. }) => interval,
            owed => owed,
        };
    }

    fn committed(&mut self, now: Moment, tree: &Id, scheduler: &dyn SyncScheduler) {
        let (commit, retry) = (self.commit(now), self.retry(now));
        let peers = &self.peers;
        for ((peer, _), relation) in self.relations.iter_mut().filter(|((_, of), _)| of == tree) {
            if commit.is_none() || !relation.wanted || !relation.preferences.on_commit || relation.refused {
                continue;
            }
            if relation.unanswered {
                relation.committed = true;
                continue;
            }
            // The engine sends it by itself.
            if relation.live && scheduler.pushes(peer, tree) {
                continue;
            }
            let away = peers.get(peer).is_some_and(|peer| peer.away);
            let failed = relation.owed.is_some_and(|owed| owed.why == Why::Retry);
            relation.owed = sooner(relation.owed, if away || failed { retry } else { commit });
        }
    }

    fn disconnected(&mut self, now: Moment, peer: &PublicKey) {
        let Some(known) = self.peers.get_mut(peer) else { return };
        if !std::mem::replace(&mut known.connected, false) {
            return;
        }
        known.away = true;
        let retry = self.retry(now);
        for (_, relation) in self.of_peer(peer) {
            relation.live = false;
            if relation.idle() && !relation.refused {
                // The lost link comes first, whatever was to go over it.
                let waits = relation.owed.filter(|owed| owed.why == Why::Retry);
                relation.owed = sooner(waits, retry);
            }
        }
    }

    fn acknowledged(&mut self, now: Moment, peer: &PublicKey, tree: &Id, scheduler: &dyn SyncScheduler) {
        let commit = self.commit(now);
        let connected = self.is_connected(peer);
        let Some(relation) = self.relations.get(&(*peer, *tree)) else { return };
        let interval = self.interval(&relation.preferences, now);
        let Some(relation) = self.relations.get_mut(&(*peer, *tree)) else { return };
        if !std::mem::replace(&mut relation.unanswered, false) {
            return;
        }
        relation.refused = false;
        relation.live = connected;
        let pushed = relation.live && scheduler.pushes(peer, tree);
        let committed = std::mem::replace(&mut relation.committed, false) && relation.preferences.on_commit;
        let committed = committed && !pushed;
        relation.owed =
            relation.wanted.then(|| if committed { sooner(interval, commit) } else { interval }).flatten();
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.away = false;
        }
        self.forget(peer, tree);
    }

    fn failed(&mut self, now: Moment, peer: &PublicKey, tree: &Id, failure: Failure) {
        let retry = self.retry(now);
        let Some(relation) = self.relations.get_mut(&(*peer, *tree)) else { return };
        if !std::mem::replace(&mut relation.unanswered, false) {
            return;
        }
        (relation.live, relation.committed) = (false, false);
        relation.refused = failure == Failure::Refused;
        relation.owed = retry.filter(|_| relation.wanted && !relation.refused);
        if failure == Failure::Unreachable {
            self.peers.entry(*peer).or_default().away = true;
        }
        self.forget(peer, tree);
    }

    fn forget(&mut self, peer: &PublicKey, tree: &Id) {
        let ended = |relation: &Relation| !relation.wanted && !relation.unanswered;
        if self.relations.get(&(*peer, *tree)).is_some_and(ended) {
            self.relations.remove(&(*peer, *tree));
        }
    }

    /// Checks what the policy did with an event.
    pub(super) fn actions(
        &mut self,
        now: Moment,
        event: &Event,
        actions: &[Action],
        scheduler: &dyn SyncScheduler,
    ) -> Outcome {
        let scope = event.scope();
        let mut once = BTreeSet::new();
        for action in actions {
            ensure(may_cause(scope, action), || {
                format!("{} has nothing to do with {} (H4)", show(action), shown(event))
            })?;
            ensure(once.insert(action), || format!("{} twice in one answer (H4 H3)", show(action)))?;
            match action {
                Action::Sync { peer, tree } => {
                    let Some(relation) = self.relations.get_mut(&(*peer, *tree)).filter(|of| of.wanted)
                    else {
                        return fail(format!("{} isn't related (H9)", show(action)));
                    };
                    if std::mem::replace(&mut relation.unanswered, true) {
                        return fail(format!("{} while one is unanswered (H3)", show(action)));
                    }
                    (relation.owed, relation.committed) = (None, false);
                }
                Action::Probe { peer } => {
                    let peer = self.peers.entry(*peer).or_default();
                    ensure(peer.connected, || "a peer without a link is probed (H3)".to_owned())?;
                    ensure(!peer.probing, || "a second probe while one is unanswered (H3)".to_owned())?;
                    peer.probing = true;
                }
                // The engine's report of it comes later.
                Action::Drop { peer } => self.disconnected(now, peer),
                _ => {}
            }
        }
        self.pushes(event, scheduler)?;
        self.overdue(now)?;
        self.told(now, scheduler)
    }

    /// Nothing is pushed that nobody wants pushed.
    fn pushes(&self, event: &Event, scheduler: &dyn SyncScheduler) -> Outcome {
        let scope = event.scope();
        for ((peer, tree), relation) in &self.relations {
            if !scope.includes(peer, tree) {
                continue;
            }
            let pushes = scheduler.pushes(peer, tree);
            let wanted =
                relation.wanted && relation.preferences.on_commit && self.promises.commit_within.is_some();
            ensure(wanted || !pushes, || {
                format!("commits are pushed after {}, which nobody wants (H10)", shown(event))
            })?;
        }
        Ok(())
    }

    /// Fails if something should have been done by now.
    pub(super) fn overdue(&self, now: Moment) -> Outcome {
        let late = |relation: &&Relation| relation.idle() && relation.owed.is_some_and(|owed| owed.by < now);
        match self.relations.values().find(late).and_then(|relation| relation.owed) {
            None => Ok(()),
            Some(Owed { by, why }) => {
                let what = match why {
                    Why::Interval => "the interval",
                    Why::Commit => "a commit",
                    Why::Retry => "a new relation, a failure, a lost link or a reset",
                };
                fail(format!("at {now:?} nothing was done about {what}, owed by {by:?} (H2)"))
            }
        }
    }

    /// What the policy tells of its plans.
    fn told(&self, now: Moment, scheduler: &dyn SyncScheduler) -> Outcome {
        let wakeup = scheduler.next_wakeup();
        if let Some(wakeup) = wakeup {
            ensure(wakeup > now, || format!("the wake-up {wakeup:?} isn't after {now:?} (H5)"))?;
        }
        for ((peer, tree), relation) in &self.relations {
            let attempt = scheduler.next_attempt(peer, tree);
            if relation.unanswered || !relation.wanted {
                ensure(attempt.is_none(), || {
                    format!("an attempt is planned for {attempt:?} while a sync is unanswered (H7)")
                })?;
            } else if let Some(attempt) = attempt {
                // One that is due already waits for the tick.
                let latest = attempt.max(now.saturating_add(Duration::from_millis(1)));
                ensure(wakeup.is_some_and(|wakeup| wakeup <= latest), || {
                    format!("an attempt is planned for {attempt:?}, the next wake-up is {wakeup:?} (H7)")
                })?;
            }
        }
        Ok(())
    }
}

fn sooner(one: Option<Owed>, other: Option<Owed>) -> Option<Owed> {
    [one, other].into_iter().flatten().min_by_key(|owed| owed.by)
}

/// Whether an event may cause that action.
fn may_cause(scope: Scope, action: &Action) -> bool {
    match action {
        Action::Sync { peer, tree } => scope.includes(peer, tree),
        Action::Probe { peer } | Action::Drop { peer } => scope.includes_peer(peer),
        _ => false,
    }
}

/// An action without the whole keys.
fn show(action: &Action) -> String {
    match action {
        Action::Sync { peer, tree } => format!("a sync of {} with {}", tree.short(), named(peer)),
        Action::Probe { peer } => format!("a probe of {}", named(peer)),
        Action::Drop { peer } => format!("a drop of {}", named(peer)),
        other => format!("{other:?}"),
    }
}

fn named(peer: &PublicKey) -> String {
    peer.to_string().chars().take(20).collect()
}

fn shown(event: &Event) -> String {
    let text = format!("{event:?}");
    text.split([' ', '{']).next().unwrap_or_default().to_owned()
}
