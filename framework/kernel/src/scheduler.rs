//! When to sync what with whom: a pure state machine on the engine's time.

use std::time::Duration;

use crate::crypto::PublicKey;
use crate::id::Id;

/// Monotonic time since the engine's start.
pub type Moment = Duration;

/// Why an attempt failed, as far as a policy cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// Nobody answered, or the link broke: worth trying again.
    Unreachable,
    /// The peer refused: trying again helps only after something has changed.
    Refused,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// `tree` is to be kept in sync with `peer`. Repeating it changes the preferences.
    Related {
        /// The peer.
        peer: PublicKey,
        /// The tree.
        tree: Id,
        /// What its users want.
        preferences: Preferences,
    },
    /// `tree` is no longer to be synced with `peer`.
    Unrelated {
        /// The peer.
        peer: PublicKey,
        /// The tree.
        tree: Id,
    },
    /// New entries of `tree` are held here.
    Committed {
        /// The tree.
        tree: Id,
    },
    /// A link to `peer` is open.
    Connected {
        /// The peer.
        peer: PublicKey,
    },
    /// The last link to `peer` is gone.
    Disconnected {
        /// The peer.
        peer: PublicKey,
    },
    /// Both sides hold the same entries of `tree`, as far as `peer` has acknowledged.
    Acknowledged {
        /// The peer.
        peer: PublicKey,
        /// The tree.
        tree: Id,
        /// Bytes that the exchange moved, both ways.
        bytes: u64,
    },
    /// A [`Action::Sync`] failed.
    SyncFailed {
        /// The peer.
        peer: PublicKey,
        /// The tree.
        tree: Id,
        /// Why.
        failure: Failure,
    },
    /// A [`Action::Probe`] was answered, or not.
    Probed {
        /// The peer.
        peer: PublicKey,
        /// Whether it was answered in time.
        alive: bool,
    },
    /// The peer has a new address, was unblocked, or somebody asked for another try: forget its backoff.
    PeerReset {
        /// The peer.
        peer: PublicKey,
    },
    /// The wake-up asked for has come.
    Tick,
}

/// What the users of a tree want of its synchronisation; several users combine to the most eager wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preferences {
    /// Sync as soon as something was committed.
    pub on_commit: bool,
    /// Sync at least this often; `None` leaves it to the policy.
    pub interval: Option<Duration>,
}

impl Default for Preferences {
    fn default() -> Self {
        Self { on_commit: true, interval: None }
    }
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Action {
    /// Reconcile `tree` with `peer`, connecting first if need be. Answered by [`Event::Acknowledged`] or
    /// [`Event::SyncFailed`], exactly once.
    Sync {
        /// The peer.
        peer: PublicKey,
        /// The tree.
        tree: Id,
    },
    /// Ping `peer` on its open link. Answered by [`Event::Probed`], exactly once.
    Probe {
        /// The peer.
        peer: PublicKey,
    },
    /// Close the links to `peer`.
    Drop {
        /// The peer.
        peer: PublicKey,
    },
}

/// When to sync what with whom.
///
/// - **H1** Pure: what it answers depends on the events, their times and the seed it was opened with, on nothing else.
/// - **H2** No relation is forgotten: one that is related and not answered with [`Failure::Refused`] is synced again and again.
/// - **H3** At most one [`Action::Sync`] per relation and one [`Action::Probe`] per peer is unanswered at any time.
/// - **H4** One event causes a number of actions bounded by the relations it concerns; a failing peer delays no other.
/// - **H5** `next_wakeup` lies in the future of the last event's time, or is `None`: no busy loop.
pub trait SyncScheduler: Send + 'static {
    /// Takes an event at `now` and adds what to do to `actions`. Times never go back.
    fn handle(&mut self, now: Moment, event: Event, actions: &mut Vec<Action>);

    /// When to send [`Event::Tick`] at the latest; asked after every event.
    fn next_wakeup(&self) -> Option<Moment>;

    /// When the relation is tried next, for people to see; `None` if nothing is planned.
    fn next_attempt(&self, peer: &PublicKey, tree: &Id) -> Option<Moment>;
}
