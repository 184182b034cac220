//! What sync keeps in the backend: peers, which trees are synced with whom, cursors, invites. Local, never synced.

use std::fmt::Display;

use bytes::Bytes;
use eidetica_kernel::auth::Permission;
use eidetica_kernel::backend::{Backend, Batch, Scan, for_each_row};
use eidetica_kernel::{ErrorKind, Id, PublicKey, Result, SyncError, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::engine::ADDRESSES_MAX;
use super::{Address, AuthParams, PeerStatus};
use crate::engine::layout;
use crate::engine::records::{decode, encode};

const PEER: u8 = 1;
const RELATION: u8 = 2;
const INVITE: u8 = 3;
const DECLARED: u8 = 9;

/// A peer's row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PeerRecord {
    pub(crate) display_name: Option<String>,
    pub(crate) status: PeerStatus,
    /// The one that worked last comes first.
    pub(crate) addresses: Vec<Address>,
    pub(crate) first_seen: Timestamp,
    pub(crate) last_seen: Option<Timestamp>,
    pub(crate) last_successful_sync: Option<Timestamp>,
}

impl PeerRecord {
    pub(crate) fn new(first_seen: Timestamp) -> Self {
        Self {
            display_name: None,
            status: PeerStatus::Active,
            addresses: Vec::new(),
            first_seen,
            last_seen: None,
            last_successful_sync: None,
        }
    }

    /// Adds an address, after those that are known.
    pub(crate) fn add_address(&mut self, peer: impl Display, address: &Address) -> Result<()> {
        add_address(&mut self.addresses, peer, address)
    }
}

fn add_address(addresses: &mut Vec<Address>, peer: impl Display, address: &Address) -> Result<()> {
    if addresses.contains(address) {
        return Ok(());
    }
    let (found, allowed) = (addresses.len() as u64 + 1, ADDRESSES_MAX as u64);
    if found > allowed {
        let what = format!("the addresses of the peer {peer:.80}");
        return Err(SyncError::LimitExceeded { what, found, allowed }.into());
    }
    addresses.push(address.clone());
    Ok(())
}

/// A row for each database that was declared to be synced with a peer whose key can't be parsed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeclaredRecord {
    pub(crate) display_name: Option<String>,
    pub(crate) addresses: Vec<Address>,
}

impl DeclaredRecord {
    pub(crate) fn add_addresses(&mut self, declared: &str, addresses: &[Address]) -> Result<()> {
        addresses.iter().try_for_each(|address| add_address(&mut self.addresses, declared, address))
    }
}

/// A row for each tree that is synced with a peer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RelationRecord {
    pub(crate) last_sync: Option<Timestamp>,
    /// The last entry that the peer has acknowledged, or that was received from it.
    pub(crate) last_entry: Option<Id>,
    pub(crate) received: u64,
    pub(crate) acknowledged: u64,
    /// Entries here that the peer is known to hold: all, when both sides were found equal last, and what either has sent since.
    pub(crate) shared: u64,
    /// How to ask for access, if the peer wants to be asked.
    pub(crate) auth: Option<AuthParams>,
}

/// An invite's row; its secret is stored hashed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InviteRecord {
    pub(crate) tree: Id,
    pub(crate) permission: Permission,
    pub(crate) created: Timestamp,
    pub(crate) expires: Option<Timestamp>,
    pub(crate) uses_left: Option<u32>,
}

/// The rows of sync in a backend.
pub(crate) struct Rows<'a>(pub(crate) &'a dyn Backend);

impl Rows<'_> {
    fn get<T: DeserializeOwned>(&self, what: &'static str, key: &Bytes) -> Result<Option<T>> {
        self.0.get(key)?.map(|row| decode(what, &row)).transpose()
    }

    /// Changes a row, however many others change it at the same time. `change` may see it several times.
    fn change<T: DeserializeOwned + Serialize, R>(
        &self,
        what: &'static str,
        key: Bytes,
        mut change: impl FnMut(Option<T>) -> Result<(Option<T>, R)>,
    ) -> Result<R> {
        loop {
            let before = self.0.get(&key)?;
            let decoded = before.as_ref().map(|row| decode(what, row)).transpose()?;
            let (after, result) = change(decoded)?;
            let mut batch = Batch::new();
            match &before {
                Some(row) => batch.expect_equals(key.clone(), row.clone()),
                None => batch.expect_absent(key.clone()),
            };
            match after {
                Some(record) => batch.put(key.clone(), encode(what, &record)?),
                None => batch.delete(key.clone()),
            };
            match self.0.commit(batch) {
                Ok(()) => return Ok(result),
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) fn peer(&self, peer: &PublicKey) -> Result<Option<PeerRecord>> {
        self.get("a peer", &layout::local(PEER, &[peer.as_bytes()]))
    }

    pub(crate) fn change_peer<R>(
        &self,
        peer: &PublicKey,
        change: impl FnMut(Option<PeerRecord>) -> Result<(Option<PeerRecord>, R)>,
    ) -> Result<R> {
        self.change("a peer", layout::local(PEER, &[peer.as_bytes()]), change)
    }

    pub(crate) fn peers(&self) -> Result<Vec<(PublicKey, PeerRecord)>> {
        let mut peers = Vec::new();
        for_each_row(
            Scan::prefix(&layout::local(PEER, &[])),
            |scan| self.0.scan(scan),
            |(key, row)| {
                if let Some(peer) = key.get(2..).and_then(|key| key.try_into().ok()) {
                    peers.push((PublicKey::from_bytes(peer), decode("a peer", &row)?));
                }
                Ok(())
            },
        )?;
        Ok(peers)
    }

    fn relation_key(peer: &PublicKey, tree: &Id) -> Bytes {
        layout::local(RELATION, &[peer.as_bytes(), tree.as_bytes()])
    }

    pub(crate) fn relation(&self, peer: &PublicKey, tree: &Id) -> Result<Option<RelationRecord>> {
        self.get("a relation", &Self::relation_key(peer, tree))
    }

    pub(crate) fn change_relation<R>(
        &self,
        peer: &PublicKey,
        tree: &Id,
        change: impl FnMut(Option<RelationRecord>) -> Result<(Option<RelationRecord>, R)>,
    ) -> Result<R> {
        self.change("a relation", Self::relation_key(peer, tree), change)
    }

    /// All relations, or those of one peer.
    pub(crate) fn relations(&self, peer: Option<&PublicKey>) -> Result<Vec<(PublicKey, Id, RelationRecord)>> {
        let prefix = match peer {
            Some(peer) => layout::local(RELATION, &[peer.as_bytes()]),
            None => layout::local(RELATION, &[]),
        };
        let mut relations = Vec::new();
        for_each_row(
            Scan::prefix(&prefix),
            |scan| self.0.scan(scan),
            |(key, row)| {
                let peer = key.get(2..34).and_then(|key| key.try_into().ok());
                let tree = key.get(34..66).and_then(|key| key.try_into().ok());
                if let (Some(peer), Some(tree)) = (peer, tree) {
                    relations.push((
                        PublicKey::from_bytes(peer),
                        Id::from_bytes(tree),
                        decode("a relation", &row)?,
                    ));
                }
                Ok(())
            },
        )?;
        Ok(relations)
    }

    /// A declaration whose key can't be parsed.
    pub(crate) fn change_declared<R>(
        &self,
        declared: &str,
        tree: &Id,
        change: impl FnMut(Option<DeclaredRecord>) -> Result<(Option<DeclaredRecord>, R)>,
    ) -> Result<R> {
        let hash =
            blake3::Hasher::new_derive_key("eidetica 1 declared peer").update(declared.as_bytes()).finalize();
        self.change("a declared peer", layout::local(DECLARED, &[hash.as_bytes(), tree.as_bytes()]), change)
    }

    fn invite_key(secret: &[u8; 16]) -> Bytes {
        let hash = blake3::Hasher::new_derive_key("eidetica 1 invite").update(secret).finalize();
        layout::local(INVITE, &[hash.as_bytes()])
    }

    pub(crate) fn change_invite<R>(
        &self,
        secret: &[u8; 16],
        change: impl FnMut(Option<InviteRecord>) -> Result<(Option<InviteRecord>, R)>,
    ) -> Result<R> {
        self.change("an invite", Self::invite_key(secret), change)
    }
}
