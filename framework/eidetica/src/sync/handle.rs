//! Declared peers: say once with whom a database is to be kept in sync, and watch how it goes.

use eidetica_kernel::scheduler::Event;
use eidetica_kernel::{Id, PublicKey, Result, SyncError, Timestamp, ToId, ToKey};

use super::records::{PeerRecord, RelationRecord};
use super::{Address, AuthParams, ConnectionState, Sync};
use crate::instance::Inner;

/// A peer to keep a database in sync with; [`Sync::register_sync_peer`] takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncPeerInfo {
    /// The peer's device key, `ed25519:…`.
    pub peer_pubkey: String,
    /// The database; it need not be here yet.
    pub tree_id: Id,
    /// Where the peer can be reached, as far as is known.
    pub addresses: Vec<Address>,
    /// How to ask for access if the peer refuses; `None`: it isn't asked.
    pub auth: Option<AuthParams>,
    /// A name for people to see.
    pub display_name: Option<String>,
}

/// A declared peer and database: says how their sync goes. Dropping it changes nothing.
///
/// ```
/// use eidetica::sync::{Address, SyncPeerInfo};
/// use eidetica::{Instance, backend::InMemory};
///
/// let there = Instance::open(Box::new(InMemory::new()))?.device_key();
/// # let tree_id = eidetica::Id::from_bytes([7; 32]);
/// let instance = Instance::open(Box::new(InMemory::new()))?.enable_sync()?;
/// let handle = instance.sync()?.register_sync_peer(SyncPeerInfo {
///     peer_pubkey: there.to_string(),
///     tree_id,
///     addresses: vec![Address::http("127.0.0.1:8080")?],
///     auth: None,
///     display_name: Some("The other device".to_owned()),
/// })?;
/// assert!(!handle.status()?.has_local_data);
/// # Ok::<(), eidetica::Error>(())
/// ```
#[derive(Clone)]
pub struct SyncHandle {
    sync: Sync,
    declared: String,
    /// What the declared key parses to.
    peer: Result<PublicKey, String>,
    tree: Id,
}

/// How the sync of one database with one peer goes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SyncStatus {
    /// The database is held here, as far as it has come.
    pub has_local_data: bool,
    /// When both sides were found to hold the same last.
    pub last_sync: Option<Timestamp>,
    /// Why the last attempt failed; `None` once one has succeeded.
    pub last_error: Option<String>,
    /// Whether a link to the peer is open.
    pub connection: ConnectionState,
    /// Attempts since this instance was opened.
    pub attempts: u64,
    /// When it is tried again by itself; `None` if nothing is planned.
    pub next_retry: Option<Timestamp>,
    /// Entries held here that the peer isn't known to hold: it has neither sent nor acknowledged them.
    pub entries_behind: u64,
    /// No key at hand may read the database here, so that its sync can't be proven: log a user in, or grant the device key.
    pub locked: bool,
}

impl Sync {
    /// Declares that a database is to be kept in sync with a peer from now on. Needs no transport yet; merges with an earlier
    /// declaration. A key that can't be parsed is kept, and shows in [`SyncStatus::last_error`]; nothing is dialled for it.
    ///
    /// # Errors
    /// [`SyncError::LimitExceeded`] for more addresses than a peer may have; those of the backend.
    pub fn register_sync_peer(&self, info: SyncPeerInfo) -> Result<SyncHandle> {
        self.inner.check_open()?;
        let handle = SyncHandle {
            sync: self.clone(),
            peer: info.peer_pubkey.to_key().map_err(|error| error.to_string()),
            declared: info.peer_pubkey,
            tree: info.tree_id.to_id()?,
        };
        match handle.peer {
            Ok(peer) => {
                let first_seen = self.now();
                self.rows().change_peer(&peer, |record| {
                    let mut record = record.unwrap_or_else(|| PeerRecord::new(first_seen));
                    record.display_name = info.display_name.clone().or(record.display_name);
                    for address in &info.addresses {
                        record.add_address(peer, address)?;
                    }
                    Ok((Some(record), ()))
                })?;
                self.engine.relate(&peer, &handle.tree)?;
                if let Some(auth) = info.auth {
                    self.rows().change_relation(&peer, &handle.tree, |record| {
                        let declared = |record| RelationRecord { auth: Some(auth.clone()), ..record };
                        Ok((record.map(declared), ()))
                    })?;
                }
                // Declared again, it is tried again at once, whatever came of earlier tries.
                self.engine.tell(Event::PeerReset { peer });
            }
            Err(_) => self.rows().change_declared(&handle.declared, &handle.tree, |record| {
                let mut record = record.unwrap_or_default();
                record.display_name = info.display_name.clone().or(record.display_name);
                record.add_addresses(&handle.declared, &info.addresses)?;
                Ok((Some(record), ()))
            })?,
        }
        Ok(handle)
    }
}

impl SyncHandle {
    /// How the sync goes now.
    ///
    /// # Errors
    /// [`SyncError::PeerNotFound`] if the two aren't related any more; [`SyncError::InstanceDropped`]; those of the backend.
    pub fn status(&self) -> Result<SyncStatus> {
        let (inner, engine) = (&self.sync.inner, &self.sync.engine);
        let tree = inner.tree(&self.tree);
        let tree = match tree {
            Ok(tree) => Some(tree),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error),
        };
        let held = tree.as_ref().map_or(0, |tree| tree.head().entries());
        let locked = tree.as_ref().is_some_and(|tree| !has_reader(inner, tree));
        let peer = match &self.peer {
            Ok(peer) => peer,
            Err(reason) => {
                return Ok(SyncStatus {
                    has_local_data: tree.is_some(),
                    last_sync: None,
                    last_error: Some(reason.clone()),
                    connection: ConnectionState::Disconnected,
                    attempts: 0,
                    next_retry: None,
                    entries_behind: held,
                    locked,
                });
            }
        };
        let relation = self.sync.rows().relation(peer, &self.tree)?;
        let relation = relation.ok_or_else(|| SyncError::PeerNotFound(self.declared.clone()))?;
        let live = engine.live(peer, &self.tree);
        let clock = &engine.context().clock;
        let (now, wall) = (clock.monotonic(), clock.wall());
        Ok(SyncStatus {
            has_local_data: tree.is_some(),
            last_sync: relation.last_sync,
            last_error: live.last_error.or_else(|| engine.tries(peer).last_error),
            connection: if engine.connected_peers().contains(peer) {
                ConnectionState::Connected
            } else {
                ConnectionState::Disconnected
            },
            attempts: live.attempts,
            next_retry: live.next_attempt.map(|at| wall.plus(at.saturating_sub(now))),
            entries_behind: held.saturating_sub(relation.shared),
            locked,
        })
    }

    /// Waits until one complete exchange has taken place; at once if one has. Waits as long as the peer can't be reached.
    ///
    /// # Errors
    /// [`SyncError::InvalidPublicKey`] for a declared key that can't be parsed; what the peer refused with, such as
    /// [`SyncError::PermissionDenied`]; [`SyncError::PeerNotFound`] once cancelled; [`SyncError::InstanceDropped`].
    pub fn wait_for_initial_sync(&self) -> impl Future<Output = Result<()>> + Send + use<> {
        let handle = self.clone();
        self.sync.run("waiting for the first sync", async move { handle.wait().await })
    }

    async fn wait(self) -> Result<()> {
        let key = || self.declared.chars().take(80).collect::<String>();
        let peer = match &self.peer {
            Ok(peer) => *peer,
            Err(reason) => {
                return Err(SyncError::InvalidPublicKey { key: key(), reason: reason.clone() }.into());
            }
        };
        let SyncHandle { sync, tree, .. } = &self;
        let mut changes = sync.engine.changes();
        loop {
            changes.borrow_and_update();
            sync.inner.check_open()?;
            let relation = sync.rows().relation(&peer, tree)?;
            let relation = relation.ok_or_else(|| SyncError::PeerNotFound(key()))?;
            if relation.last_sync.is_some() {
                return Ok(());
            }
            if let Some(refused) = &sync.engine.live(&peer, tree).refused {
                return Err(refused.as_ref().clone());
            }
            if changes.changed().await.is_err() {
                return Err(SyncError::InstanceDropped.into());
            }
        }
    }

    /// Adds an address at which the peer can be reached; it is tried at once.
    ///
    /// # Errors
    /// As [`Sync::add_peer_address`].
    pub fn add_address(&self, address: Address) -> Result<()> {
        match &self.peer {
            Ok(peer) => self.sync.add_peer_address(*peer, address),
            Err(_) => self.sync.rows().change_declared(&self.declared, &self.tree, |record| {
                let mut record = record.ok_or_else(|| SyncError::PeerNotFound(self.declared.clone()))?;
                record.add_addresses(&self.declared, std::slice::from_ref(&address))?;
                Ok((Some(record), ()))
            }),
        }
    }

    /// The database.
    pub fn tree_id(&self) -> &Id {
        &self.tree
    }

    /// The peer's key, as it was declared.
    pub fn peer_pubkey(&self) -> &str {
        &self.declared
    }

    /// Takes the declaration back: the database is kept in sync with the peer no longer. What is here stays.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn cancel(&self) -> Result<()> {
        match &self.peer {
            Ok(peer) => self.sync.engine.unrelate(peer, &self.tree).map(drop),
            Err(_) => self.sync.rows().change_declared(&self.declared, &self.tree, |_| Ok((None, ()))),
        }
    }
}

impl std::fmt::Debug for SyncHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SyncHandle").field("peer", &self.declared).field("tree", &self.tree).finish()
    }
}

/// Whether a key at hand may read the database: only then can its sync be proven to peers.
fn has_reader(inner: &Inner, tree: &crate::engine::tree::Tree) -> bool {
    tree.may_read(&inner.identity.public_key())
        || inner.sessions().iter().any(|session| session.key(|key| tree.may_read(key)).is_some())
}
