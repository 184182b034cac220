//! When to sync what with whom: a pure state machine on the engine's time.
//!
//! [`Plan`], [`Peers`], [`Backoff`] and [`Wait`] are the bookkeeping that policies have in common; none has to use them.

mod backoff;
mod peers;
mod plan;

use std::time::Duration;

use crate::clock::Timestamp;
use crate::crypto::PublicKey;
use crate::id::Id;

pub use backoff::{Backoff, Wait};
pub use peers::{Peers, Retry};
pub use plan::{Plan, Planned};

/// Monotonic time since the engine's start.
pub type Moment = Duration;

/// Wake-ups an hour that a policy may ask for per relation, where users ask for no interval of their own.
pub const WAKEUPS_PER_HOUR_MAX: u64 = 360;

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
        /// Bytes of messages about the tree that went to the peer or came from it since the last acknowledgement,
        /// whoever began and however it ended.
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
    /// The time of day. Comes before any other event, and again once it has jumped; in between it runs with [`Moment`].
    WallClock {
        /// What it is now.
        wall: Timestamp,
    },
    /// The wake-up asked for has come.
    Tick,
}

impl Event {
    /// Which relations it is about.
    ///
    /// ```
    /// use eidetica_kernel::scheduler::{Event, Scope};
    /// use eidetica_kernel::{Id, PublicKey};
    ///
    /// let (peer, tree) = (PublicKey::from_bytes([1; 32]), Id::from_bytes([2; 32]));
    /// let committed = Event::Committed { tree }.scope();
    /// assert!(committed.includes(&peer, &tree));
    /// assert!(!committed.includes(&peer, &Id::from_bytes([3; 32])));
    /// assert_eq!(Event::Tick.scope(), Scope::ALL);
    /// ```
    pub fn scope(&self) -> Scope {
        let (peer, tree) = match self {
            Self::Related { peer, tree, .. }
            | Self::Unrelated { peer, tree }
            | Self::Acknowledged { peer, tree, .. }
            | Self::SyncFailed { peer, tree, .. } => (Some(*peer), Some(*tree)),
            Self::Committed { tree } => (None, Some(*tree)),
            Self::Connected { peer }
            | Self::Disconnected { peer }
            | Self::Probed { peer, .. }
            | Self::PeerReset { peer } => (Some(*peer), None),
            Self::WallClock { .. } | Self::Tick => (None, None),
        };
        Scope { peer, tree }
    }
}

/// The relations that something is about: those of a peer, of a tree, one, or all. [`Event::scope`] gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Only this peer's.
    pub peer: Option<PublicKey>,
    /// Only this tree's.
    pub tree: Option<Id>,
}

impl Scope {
    /// Every relation.
    pub const ALL: Self = Self { peer: None, tree: None };

    /// `true` if it is about that relation.
    pub fn includes(&self, peer: &PublicKey, tree: &Id) -> bool {
        self.includes_peer(peer) && self.tree.is_none_or(|of| of == *tree)
    }

    /// `true` if it is about that peer, whatever the tree.
    pub fn includes_peer(&self, peer: &PublicKey) -> bool {
        self.peer.is_none_or(|of| of == *peer)
    }
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

/// What a policy does by itself, and how soon: what its suite holds it to, and what people may rely on.
///
/// The default promises nothing: such a policy syncs only what somebody asks the engine for.
///
/// ```
/// use std::time::Duration;
///
/// use eidetica_kernel::scheduler::Promises;
///
/// let hourly = Promises { sync_within: Some(Duration::from_secs(3_600)), ..Promises::default() };
/// assert_eq!(hourly.commit_within, None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Promises {
    /// A relation is synced again at most this long after it was acknowledged, or after the interval that its users ask for if
    /// that is shorter (but a second at least); `None`: not by itself.
    pub sync_within: Option<Duration>,
    /// A commit is pushed over a link that is open, or a sync asked for, at most this much later; `None`: it goes with the next
    /// sync.
    pub commit_within: Option<Duration>,
    /// A relation that is new, that failed with [`Failure::Unreachable`], whose peer lost its link or was reset, is tried at
    /// most this much later; `None`: not by itself.
    pub retry_within: Option<Duration>,
    /// For how long all that may be held back besides, by quiet hours or a spent budget.
    pub pause_max: Duration,
}

/// When to sync what with whom.
///
/// - **H1** Pure: what it answers depends on the events, their times and the seed it was opened with, on nothing else.
/// - **H2** No relation is forgotten: what [`promises`](Self::promises) says is kept for every relation and peer, and never
///   changes. After [`Failure::Refused`] nothing is owed until the relation is related again or the peer reset; while a sync is
///   unanswered nothing is due, and what was committed meanwhile is due after the answer.
/// - **H3** At most one [`Action::Sync`] per relation and one [`Action::Probe`] per peer is unanswered at any time; only peers
///   with a link are probed.
/// - **H4** An event causes actions only on the relations that it names, each at most once (a tick: on any that is due). A peer
///   that stalls, fails or refuses delays no other.
/// - **H5** `next_wakeup` lies in the future of the last event's time, or is `None`. Where users ask for no interval, at most
///   [`WAKEUPS_PER_HOUR_MAX`] per relation come true, whether peers answer or not: no busy loop.
/// - **H6** A tick that nobody asked for changes nothing; one that is late loses nothing.
/// - **H7** `next_attempt` tells what is planned: no wake-up is asked for later than it; it is `None` for who isn't related and
///   while a sync is unanswered.
/// - **H8** Whatever comes is survived: duplicates, answers that nobody awaits, events of strangers, odd numbers. None of it
///   causes an action or a wake-up for who is neither related nor linked.
/// - **H9** What is no longer related is forgotten: it causes no action, and once nothing is related or linked, no wake-up.
/// - **H10** `pushes` is `false` for who isn't related, where [`Preferences::on_commit`] is, and always if
///   [`Promises::commit_within`] is `None`.
pub trait SyncScheduler: Send + 'static {
    /// What it does by itself. The same at all times.
    fn promises(&self) -> Promises;

    /// Takes an event at `now` and adds what to do to `actions`. Times never go back.
    fn handle(&mut self, now: Moment, event: Event, actions: &mut Vec<Action>);

    /// When to send [`Event::Tick`] at the latest; asked after every event.
    fn next_wakeup(&self) -> Option<Moment>;

    /// When the relation is tried next, for people to see; `None` if nothing is planned.
    fn next_attempt(&self, peer: &PublicKey, tree: &Id) -> Option<Moment>;

    /// Whether the engine sends what is committed to `tree` down a link to `peer` that is open and in sync, at once and without
    /// an [`Action::Sync`]. Asked after every event that concerns the relation.
    fn pushes(&self, peer: &PublicKey, tree: &Id) -> bool;
}
