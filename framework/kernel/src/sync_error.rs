//! What can go wrong between two nodes.

use std::time::Duration;

use crate::auth::Permission;
use crate::clock::Timestamp;
use crate::crypto::PublicKey;
use crate::error::{Error, ErrorKind, Fault, Retry};
use crate::id::Id;

/// What went wrong between two nodes; found in an [`Error`] by [`Error::sync_error`].
///
/// ```
/// use eidetica_kernel::{Error, SyncError};
///
/// let error: Error = SyncError::NoTransportEnabled.into();
/// assert!(error.is_sync_error());
/// assert_eq!(error.sync_error(), Some(&SyncError::NoTransportEnabled));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SyncError {
    /// No transport is enabled.
    #[error("no transport is enabled; enable one first")]
    NoTransportEnabled,
    /// The server isn't running.
    #[error("the sync server isn't running; start it first")]
    ServerNotRunning,
    /// Sync isn't enabled.
    #[error("sync isn't enabled on this instance; enable it first")]
    SyncNotEnabled,
    /// The instance behind this handle was closed or dropped.
    #[error("the instance behind this handle is closed")]
    InstanceDropped,
    /// Two nodes couldn't agree on a session.
    #[error("the handshake failed: {0}")]
    HandshakeFailed(String),
    /// No such peer is registered.
    #[error("no peer {0} is registered; register it, or connect to it, first")]
    PeerNotFound(String),
    /// No such bootstrap request.
    #[error("no bootstrap request {0}; list those that wait to see their ids")]
    RequestNotFound(String),
    /// No enabled transport dials such addresses.
    #[error("no enabled transport dials {address}; enabled: {enabled}")]
    NoTransportForAddress {
        /// The address.
        address: String,
        /// The address types that are served, separated by commas.
        enabled: String,
    },
    /// The server runs already.
    #[error("the sync server runs already at {address}; stop it first")]
    ServerAlreadyRunning {
        /// Where.
        address: String,
    },
    /// The server's address can't be bound.
    #[error(
        "starting the sync server at {address}: {reason}; choose another address or port (port 0 takes any)"
    )]
    ServerBind {
        /// The address.
        address: String,
        /// Why.
        reason: String,
    },
    /// A peer couldn't be reached.
    #[error("connecting to {address}: {reason}; check that the peer runs and the address is right")]
    ConnectionFailed {
        /// The address.
        address: String,
        /// Why.
        reason: String,
    },
    /// A link broke.
    #[error("talking to {peer}: {reason}; what was received is kept, the next try resumes")]
    Network {
        /// The peer.
        peer: String,
        /// Why.
        reason: String,
    },
    /// A peer didn't answer in time.
    #[error("waiting for {peer} while {operation}: no answer within {after:?}")]
    Timeout {
        /// The peer.
        peer: String,
        /// What was being done.
        operation: String,
        /// How long was waited.
        after: Duration,
    },
    /// The peer speaks another protocol, or broke it.
    #[error("talking to {peer}: {reason}; check that both sides run compatible versions")]
    ProtocolMismatch {
        /// The peer.
        peer: String,
        /// What didn't fit.
        reason: String,
    },
    /// The peer is registered already.
    #[error("the peer {peer} is registered already")]
    PeerAlreadyExists {
        /// The peer.
        peer: String,
    },
    /// The peer is blocked here.
    #[error("the peer {peer} is blocked here; update_peer_status(.., PeerStatus::Active) lets it in again")]
    PeerBlocked {
        /// The peer.
        peer: String,
    },
    /// The peer has blocked this node.
    #[error("{peer} refuses to talk to this node; ask who runs it to let this node in again")]
    BlockedByPeer {
        /// The peer.
        peer: String,
    },
    /// A key of this node's must be proven first, and none is at hand.
    #[error("{operation} needs a logged-in user's key; log in first")]
    AuthenticationRequired {
        /// What was being done.
        operation: String,
    },
    /// The peer doesn't let us.
    #[error(
        "{operation} was refused by {peer}: no key of ours may; ask an admin of the database for a ticket or a grant"
    )]
    PermissionDenied {
        /// The peer.
        peer: String,
        /// What was being done.
        operation: String,
    },
    /// The request for access waits for an admin.
    #[error("the request {request_id} waits for approval: {message}")]
    BootstrapPending {
        /// The request, as the peer numbers it.
        request_id: String,
        /// What the peer says.
        message: String,
    },
    /// The peer granted less than was asked for.
    #[error(
        "{asked} was asked for and {granted} granted to {tree}, which is synced as far as that goes; ask an admin of it for more"
    )]
    GrantedLess {
        /// The tree.
        tree: Id,
        /// What was asked for.
        asked: Permission,
        /// What was granted.
        granted: Permission,
    },
    /// The bootstrap request was decided already.
    #[error("the bootstrap request {request_id} is {state} already")]
    InvalidRequestState {
        /// The request.
        request_id: String,
        /// Its state.
        state: String,
    },
    /// The key may not do that.
    #[error("{key} may not {operation} of {tree}; an admin's key is needed")]
    InsufficientPermission {
        /// The key.
        key: String,
        /// What was being done.
        operation: String,
        /// The tree.
        tree: Id,
    },
    /// Text that isn't a public key.
    #[error("\"{key}\" isn't a public key: {reason}")]
    InvalidPublicKey {
        /// The text.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// No key of that name.
    #[error(
        "no logged-in user has a key \"{key_name}\"; list_keys() names them, \"device_key\" is the node's own"
    )]
    InvalidKeyName {
        /// The name.
        key_name: String,
    },
    /// Text that isn't an address.
    #[error("\"{address}\" isn't an address: {reason}")]
    InvalidAddress {
        /// The text.
        address: String,
        /// What is wrong.
        reason: String,
    },
    /// Text that isn't a ticket.
    #[error("this isn't a ticket: {reason}; copy it whole, from \"eidetica:\" to the end")]
    InvalidTicket {
        /// What is wrong.
        reason: String,
    },
    /// The invite was used as often as it may be.
    #[error("the invite was used as often as it may be; ask for a new one")]
    InviteSpent,
    /// The invite is over.
    #[error("the invite has expired or was revoked; ask for a new one")]
    InviteExpired {
        /// Since when, where known.
        since: Option<Timestamp>,
    },
    /// An entry that breaks the format or the rules of rights.
    #[error("the entry {entry} is refused: {reason}")]
    InvalidEntry {
        /// The entry.
        entry: Id,
        /// Why.
        reason: String,
    },
    /// No such entry here.
    #[error("the entry {entry} isn't held here")]
    EntryNotFound {
        /// The entry.
        entry: Id,
    },
    /// A bound was reached.
    #[error("{what}: {found} is over the limit of {allowed}")]
    LimitExceeded {
        /// Of what.
        what: String,
        /// How much there was.
        found: u64,
        /// How much is allowed.
        allowed: u64,
    },
    /// Both sides hold the same entries and don't hold the same state.
    #[error(
        "{peer} and this node hold the same entries of {tree} and not the same state of its store \"{store}\"; run `eidetica verify` and `eidetica rebuild` on both"
    )]
    StateDiverged {
        /// The peer.
        peer: PublicKey,
        /// The tree.
        tree: Id,
        /// The store.
        store: String,
    },
    /// The clocks of both sides disagree.
    #[error("the clock of {peer} and this node's differ by {difference:?}; set the clock that is wrong")]
    ClockSkew {
        /// The peer.
        peer: String,
        /// By how much.
        difference: Duration,
    },
}

impl SyncError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoTransportEnabled
            | Self::ServerNotRunning
            | Self::SyncNotEnabled
            | Self::NoTransportForAddress { .. }
            | Self::InvalidPublicKey { .. }
            | Self::InvalidKeyName { .. }
            | Self::InvalidAddress { .. }
            | Self::InvalidTicket { .. }
            | Self::InvalidRequestState { .. }
            | Self::PeerAlreadyExists { .. } => ErrorKind::InvalidInput,
            Self::InstanceDropped => ErrorKind::Closed,
            Self::HandshakeFailed(_)
            | Self::ProtocolMismatch { .. }
            | Self::InvalidEntry { .. }
            | Self::ClockSkew { .. } => ErrorKind::Protocol,
            Self::PeerNotFound(_) | Self::RequestNotFound(_) | Self::EntryNotFound { .. } => {
                ErrorKind::NotFound
            }
            Self::ServerAlreadyRunning { .. } | Self::ServerBind { .. } => ErrorKind::InUse,
            Self::ConnectionFailed { .. } | Self::Network { .. } => ErrorKind::Unreachable,
            Self::Timeout { .. } => ErrorKind::Timeout,
            Self::PeerBlocked { .. }
            | Self::BlockedByPeer { .. }
            | Self::GrantedLess { .. }
            | Self::AuthenticationRequired { .. }
            | Self::PermissionDenied { .. }
            | Self::BootstrapPending { .. }
            | Self::InsufficientPermission { .. } => ErrorKind::PermissionDenied,
            Self::InviteSpent | Self::InviteExpired { .. } => ErrorKind::Expired,
            Self::LimitExceeded { .. } => ErrorKind::LimitExceeded,
            Self::StateDiverged { .. } => ErrorKind::Corrupt,
        }
    }
}

impl From<SyncError> for Error {
    fn from(error: SyncError) -> Self {
        let kind = error.kind();
        let fault = match kind {
            ErrorKind::Protocol => Fault::Peer,
            ErrorKind::Unreachable | ErrorKind::Timeout | ErrorKind::Corrupt => Fault::Environment,
            _ => Fault::Caller,
        };
        let retry = match kind {
            ErrorKind::Unreachable | ErrorKind::Timeout => Retry::After(Duration::from_secs(1)),
            _ => Retry::Never,
        };
        Self::new(kind, "", "", &error).retrying(retry).blame(fault).caused_by(error)
    }
}
