//! The peers of a node: who they are, where they can be reached, how they are treated.

use std::fmt;
use std::time::Duration;

use eidetica_kernel::scheduler::Event;
use eidetica_kernel::{PublicKey, Result, SyncError, Timestamp, ToKey};
use serde::{Deserialize, Serialize};

use super::engine::Tries;
use super::link::Command;
use super::records::PeerRecord;
use super::{Address, Sync};
use crate::channel::Reason;

/// How a peer is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PeerStatus {
    /// Synced with.
    Active,
    /// Not dialled automatically.
    Inactive,
    /// Refused, both ways.
    Blocked,
}

impl fmt::Display for PeerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Blocked => "blocked",
        })
    }
}

/// Whether a link to a peer is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ConnectionState {
    /// At least one link is open.
    Connected,
    /// None is.
    Disconnected,
}

impl fmt::Display for ConnectionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
        })
    }
}

/// What is known of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerInfo {
    /// Its device key, `ed25519:…`.
    pub pubkey: String,
    /// The name it was given here.
    pub display_name: Option<String>,
    /// How it is treated.
    pub status: PeerStatus,
    /// Where it can be reached, the address that worked last first.
    pub addresses: Vec<Address>,
    /// Whether a link is open.
    pub connection_state: ConnectionState,
    /// When it was registered, or connected first.
    pub first_seen: Timestamp,
    /// When a link to it was opened or used last.
    pub last_seen: Option<Timestamp>,
    /// When a database was found in sync with it last.
    pub last_successful_sync: Option<Timestamp>,
    /// How often it was dialled since this instance was opened.
    pub connection_attempts: u64,
    /// Why dialling it failed last; `None` once it has succeeded.
    pub last_error: Option<String>,
}

impl Sync {
    /// Connects to an address, and returns the proven key of the peer there, which is registered by it.
    ///
    /// # Errors
    /// [`SyncError::NoTransportEnabled`], [`SyncError::NoTransportForAddress`], [`SyncError::ConnectionFailed`],
    /// [`SyncError::HandshakeFailed`], [`SyncError::PeerBlocked`], [`SyncError::Timeout`].
    pub fn connect_to_peer(&self, address: &Address) -> impl Future<Output = Result<String>> + Send + use<> {
        let (engine, address) = (self.engine.clone(), address.clone());
        self.run("connecting", async move { Ok(engine.reach(&address).await?.peer().to_string()) })
    }

    /// Registers a peer by its key.
    ///
    /// # Errors
    /// [`SyncError::PeerAlreadyExists`]; [`SyncError::InvalidPublicKey`].
    pub fn register_peer(&self, key: impl ToKey, display_name: Option<&str>) -> Result<()> {
        let key = key.to_key()?;
        let first_seen = self.now();
        let exists = self.rows().change_peer(&key, |record| {
            let exists = record.is_some();
            let fresh =
                PeerRecord { display_name: display_name.map(str::to_owned), ..PeerRecord::new(first_seen) };
            Ok((Some(record.unwrap_or(fresh)), exists))
        })?;
        if exists { Err(SyncError::PeerAlreadyExists { peer: key.to_string() }.into()) } else { Ok(()) }
    }

    /// Forgets a peer, its addresses and which databases are synced with it; ends its links.
    ///
    /// # Errors
    /// [`SyncError::PeerNotFound`].
    pub fn remove_peer(&self, key: impl ToKey) -> Result<()> {
        let key = key.to_key()?;
        for (_, tree, _) in self.rows().relations(Some(&key))? {
            self.engine.unrelate(&key, &tree)?;
        }
        let was = self.rows().change_peer(&key, |record| Ok((None, record.is_some())))?;
        self.rows().forget_past(&key)?;
        self.engine.close_links(&key, Reason::Done);
        if was { Ok(()) } else { Err(SyncError::PeerNotFound(key.to_string()).into()) }
    }

    /// Forgets a peer's failures: it is tried again at once.
    ///
    /// # Errors
    /// [`SyncError::PeerNotFound`].
    pub fn reset_peer(&self, key: impl ToKey) -> Result<()> {
        let key = key.to_key()?;
        self.known(&key)?;
        self.engine.tell(Event::PeerReset { peer: key });
        Ok(())
    }

    /// Connects to a peer if need be, and measures the round trip.
    ///
    /// # Errors
    /// As [`Sync::connect_to_peer`]; [`SyncError::PeerNotFound`].
    pub fn ping_peer(&self, key: impl ToKey) -> impl Future<Output = Result<Duration>> + Send + 'static {
        let (engine, key) = (self.engine.clone(), key.to_key());
        self.run("pinging", async move {
            let link = engine.link_to(&key?).await?;
            link.ask(|done| Command::Ping { done }).await
        })
    }

    /// Adds an address at which a peer can be reached.
    ///
    /// # Errors
    /// [`SyncError::PeerNotFound`]; [`SyncError::LimitExceeded`].
    pub fn add_peer_address(&self, key: impl ToKey, address: Address) -> Result<()> {
        let key = key.to_key()?;
        self.change_known(&key, |record| record.add_address(key, &address))?;
        self.engine.tell(Event::PeerReset { peer: key });
        Ok(())
    }

    /// Removes an address of a peer's.
    ///
    /// # Errors
    /// [`SyncError::PeerNotFound`].
    pub fn remove_peer_address(&self, key: impl ToKey, address: &Address) -> Result<()> {
        self.change_known(&key.to_key()?, |record| {
            record.addresses.retain(|known| known != address);
            Ok(())
        })
    }

    /// The addresses of a peer, the one that worked last first.
    ///
    /// # Errors
    /// [`SyncError::PeerNotFound`].
    pub fn get_peer_addresses(&self, key: impl ToKey) -> Result<Vec<Address>> {
        Ok(self.known(&key.to_key()?)?.addresses)
    }

    /// Every peer, sorted by key.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn list_peers(&self) -> Result<Vec<PeerInfo>> {
        self.inner.check_open()?;
        let connected = self.engine.connected_peers();
        let info = |(key, record): (_, PeerRecord)| {
            peer_info(&key, record, connected.contains(&key), self.engine.tries(&key))
        };
        Ok(self.rows().peers()?.into_iter().map(info).collect())
    }

    /// What is known of a peer.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn get_peer_info(&self, key: impl ToKey) -> Result<Option<PeerInfo>> {
        let key = key.to_key()?;
        let connected = self.engine.connected_peers().contains(&key);
        Ok(self.rows().peer(&key)?.map(|record| peer_info(&key, record, connected, self.engine.tries(&key))))
    }

    /// Changes how a peer is treated. A blocked one is refused both ways at once.
    ///
    /// # Errors
    /// [`SyncError::PeerNotFound`].
    pub fn update_peer_status(&self, key: impl ToKey, status: PeerStatus) -> Result<()> {
        let key = key.to_key()?;
        self.change_known(&key, |record| {
            record.status = status;
            Ok(())
        })?;
        match status {
            PeerStatus::Blocked => self.engine.close_links(&key, Reason::Refused),
            PeerStatus::Active => self.engine.tell(Event::PeerReset { peer: key }),
            PeerStatus::Inactive => {}
        }
        Ok(())
    }

    fn known(&self, key: &PublicKey) -> Result<PeerRecord> {
        self.inner.check_open()?;
        Ok(self.rows().peer(key)?.ok_or_else(|| SyncError::PeerNotFound(key.to_string()))?)
    }

    fn change_known(
        &self,
        key: &PublicKey,
        mut change: impl FnMut(&mut PeerRecord) -> Result<()>,
    ) -> Result<()> {
        self.inner.check_open()?;
        self.rows().change_peer(key, |record| {
            let mut record = record.ok_or_else(|| SyncError::PeerNotFound(key.to_string()))?;
            change(&mut record)?;
            Ok((Some(record), ()))
        })
    }
}

fn peer_info(key: &PublicKey, record: PeerRecord, connected: bool, tries: Tries) -> PeerInfo {
    PeerInfo {
        pubkey: key.to_string(),
        display_name: record.display_name,
        status: record.status,
        addresses: record.addresses,
        connection_state: if connected { ConnectionState::Connected } else { ConnectionState::Disconnected },
        first_seen: record.first_seen,
        last_seen: record.last_seen,
        last_successful_sync: record.last_successful_sync,
        connection_attempts: tries.attempts,
        last_error: tries.last_error,
    }
}
