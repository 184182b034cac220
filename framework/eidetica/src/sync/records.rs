//! What sync keeps in the backend: peers, which trees are synced with whom, cursors, invites. Local, never synced.

use std::collections::BTreeMap;
use std::fmt::Display;

use bytes::Bytes;
use eidetica_kernel::auth::Permission;
use eidetica_kernel::backend::{Backend, Batch, Scan, Snapshot, for_each_row};
use eidetica_kernel::{ErrorKind, Id, PublicKey, Result, SyncError, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::engine::ADDRESSES_MAX;
use super::requests::{RequestId, RequestRecord};
use super::{Address, AuthParams, PeerStatus};
use crate::engine::layout;
use crate::engine::records::{decode, encode};

const PEER: u8 = 1;
const RELATION: u8 = 2;
const INVITE: u8 = 3;
const TOTALS: u8 = 4;
const HISTORY: u8 = 5;
const REQUEST: u8 = 6;
const DECLARED: u8 = 9;

/// Exchanges that are remembered per peer; older ones are dropped.
pub(crate) const HISTORY_MAX: u64 = 256;

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
    /// When entries were exchanged last.
    pub(crate) last_exchange: Option<Timestamp>,
    /// Entries here that the peer is known to hold: all, when both sides were found equal last, and what either has sent since.
    pub(crate) shared: u64,
    /// How to ask for access, if the peer wants to be asked.
    pub(crate) auth: Option<AuthParams>,
}

impl RelationRecord {
    fn add(&mut self, change: &Change) {
        self.received += change.received;
        self.acknowledged += change.acknowledged;
        self.last_entry = change.last_entry.or(self.last_entry);
        self.last_sync = change.in_sync.or(self.last_sync);
        self.last_exchange = change.last_exchange.or(self.last_exchange);
        self.shared = change.shared_base.unwrap_or(self.shared) + change.shared_since;
    }
}

/// What has happened between a tree and a peer since it was written down last.
#[derive(Debug, Default)]
pub(crate) struct Change {
    pub(crate) received: u64,
    pub(crate) acknowledged: u64,
    pub(crate) bytes: u64,
    pub(crate) last_entry: Option<Id>,
    /// When entries were exchanged last.
    pub(crate) last_exchange: Option<Timestamp>,
    /// When both sides were found equal last.
    pub(crate) in_sync: Option<Timestamp>,
    /// Entries held when both sides were found equal, and what either has sent since.
    pub(crate) shared_base: Option<u64>,
    pub(crate) shared_since: u64,
    /// Exchanges that ended.
    pub(crate) ended: Vec<HistoryRecord>,
}

/// A peer's totals.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TotalsRecord {
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    /// Time that successful exchanges took, in microseconds.
    pub(crate) succeeded_us: u64,
    pub(crate) last_success: Option<Timestamp>,
    pub(crate) last_failure: Option<Timestamp>,
    /// The number of the next exchange.
    pub(crate) next: u64,
}

/// One exchange with a peer that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HistoryRecord {
    pub(crate) tree: Id,
    pub(crate) started: Timestamp,
    pub(crate) completed: Timestamp,
    pub(crate) duration_us: u64,
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    /// Why it failed, if it did.
    pub(crate) error: Option<String>,
}

/// Reads one row of sync's own tables.
fn read<T: DeserializeOwned>(reader: &dyn Snapshot, what: &'static str, key: &Bytes) -> Result<Option<T>> {
    reader.get(key)?.map(|row| decode(what, &row)).transpose()
}

/// The relation of a tree and a peer.
pub(crate) fn relation(reader: &dyn Snapshot, peer: &PublicKey, tree: &Id) -> Result<Option<RelationRecord>> {
    read(reader, "a relation", &Rows::relation_key(peer, tree))
}

/// A peer's totals.
pub(crate) fn totals(reader: &dyn Snapshot, peer: &PublicKey) -> Result<Option<TotalsRecord>> {
    read(reader, "a peer's totals", &layout::local(TOTALS, &[peer.as_bytes()]))
}

/// The last exchanges with a peer, at most `most`, newest first, with their numbers.
pub(crate) fn history(
    reader: &dyn Snapshot,
    peer: &PublicKey,
    most: usize,
) -> Result<Vec<(u64, HistoryRecord)>> {
    let mut found = Vec::new();
    let scan = Scan::prefix(&layout::local(HISTORY, &[peer.as_bytes()])).backward();
    for_each_row(
        scan.limit(most.min(HISTORY_MAX as usize)),
        |scan| reader.scan(scan),
        |(key, row)| {
            if let Some(number) = key.get(34..).and_then(|number| number.try_into().ok())
                && found.len() < most
            {
                found.push((u64::from_be_bytes(number), decode("an exchange", &row)?));
            }
            Ok(())
        },
    )?;
    Ok(found)
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

/// Puts a row, if it is still what it was.
fn replace(batch: &mut Batch, key: Bytes, before: Option<Bytes>, after: Bytes) {
    match before {
        Some(row) => batch.expect_equals(key.clone(), row),
        None => batch.expect_absent(key.clone()),
    };
    batch.put(key, after);
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

    /// Writes down what has happened between a peer and trees, in one batch. Trees that aren't related any more are left out.
    pub(crate) fn record(&self, peer: &PublicKey, changes: &BTreeMap<Id, Change>) -> Result<()> {
        loop {
            let mut batch = Batch::new();
            for (tree, change) in changes {
                let key = Self::relation_key(peer, tree);
                let Some(row) = self.0.get(&key)? else { continue };
                let mut record: RelationRecord = decode("a relation", &row)?;
                record.add(change);
                replace(&mut batch, key, Some(row), encode("a relation", &record)?);
            }
            self.record_totals(peer, changes, &mut batch)?;
            self.record_success(peer, changes, &mut batch)?;
            match self.0.commit(batch) {
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                done => return done,
            }
        }
    }

    fn record_totals(
        &self,
        peer: &PublicKey,
        changes: &BTreeMap<Id, Change>,
        batch: &mut Batch,
    ) -> Result<()> {
        let key = layout::local(TOTALS, &[peer.as_bytes()]);
        let before = self.0.get(&key)?;
        let mut totals: TotalsRecord = before
            .as_ref()
            .map_or_else(|| Ok(TotalsRecord::default()), |row| decode("a peer's totals", row))?;
        for change in changes.values() {
            totals.entries += change.received + change.acknowledged;
            totals.bytes += change.bytes;
            for ended in &change.ended {
                match ended.error {
                    None => {
                        totals.succeeded += 1;
                        totals.succeeded_us += ended.duration_us;
                        totals.last_success = Some(ended.completed);
                    }
                    Some(_) => {
                        totals.failed += 1;
                        totals.last_failure = Some(ended.completed);
                    }
                }
                let row = |number: u64| layout::local(HISTORY, &[peer.as_bytes(), &number.to_be_bytes()]);
                batch.put(row(totals.next), encode("an exchange", ended)?);
                if let Some(oldest) = totals.next.checked_sub(HISTORY_MAX) {
                    batch.delete(row(oldest));
                }
                totals.next += 1;
            }
        }
        replace(batch, key, before, encode("a peer's totals", &totals)?);
        Ok(())
    }

    /// Both sides were found equal: the peer's own row says when.
    fn record_success(
        &self,
        peer: &PublicKey,
        changes: &BTreeMap<Id, Change>,
        batch: &mut Batch,
    ) -> Result<()> {
        let Some(at) = changes.values().filter_map(|change| change.in_sync).max() else { return Ok(()) };
        let key = layout::local(PEER, &[peer.as_bytes()]);
        let Some(row) = self.0.get(&key)? else { return Ok(()) };
        let mut record: PeerRecord = decode("a peer", &row)?;
        record.last_seen = Some(at);
        record.last_successful_sync = Some(at);
        replace(batch, key, Some(row), encode("a peer", &record)?);
        Ok(())
    }

    /// Forgets how exchanges with a peer went.
    pub(crate) fn forget_past(&self, peer: &PublicKey) -> Result<()> {
        let mut batch = Batch::new();
        batch.delete(layout::local(TOTALS, &[peer.as_bytes()]));
        for_each_row(
            Scan::prefix(&layout::local(HISTORY, &[peer.as_bytes()])),
            |scan| self.0.scan(scan),
            |(key, _)| {
                batch.delete(key);
                Ok(())
            },
        )?;
        self.0.commit(batch)
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

    fn request_key(id: &RequestId) -> Bytes {
        layout::local(REQUEST, &[id])
    }

    pub(crate) fn request(&self, id: &RequestId) -> Result<Option<RequestRecord>> {
        self.get("a request for access", &Self::request_key(id))
    }

    pub(crate) fn change_request<R>(
        &self,
        id: &RequestId,
        change: impl FnMut(Option<RequestRecord>) -> Result<(Option<RequestRecord>, R)>,
    ) -> Result<R> {
        self.change("a request for access", Self::request_key(id), change)
    }

    pub(crate) fn requests(&self) -> Result<Vec<(RequestId, RequestRecord)>> {
        let mut requests = Vec::new();
        for_each_row(
            Scan::prefix(&layout::local(REQUEST, &[])),
            |scan| self.0.scan(scan),
            |(key, row)| {
                if let Some(id) = key.get(2..).and_then(|id| id.try_into().ok()) {
                    requests.push((id, decode("a request for access", &row)?));
                }
                Ok(())
            },
        )?;
        Ok(requests)
    }

    pub(crate) fn change_invite<R>(
        &self,
        secret: &[u8; 16],
        change: impl FnMut(Option<InviteRecord>) -> Result<(Option<InviteRecord>, R)>,
    ) -> Result<R> {
        self.change("an invite", layout::local(INVITE, &[&invite_hash(secret)]), change)
    }

    /// As [`Rows::change_invite`], by what [`invite_id`] gives; text that is no such id names no invite.
    pub(crate) fn change_invite_by_id<R>(
        &self,
        id: &str,
        change: impl FnMut(Option<InviteRecord>) -> Result<(Option<InviteRecord>, R)>,
    ) -> Result<R> {
        let hash = data_encoding::HEXLOWER.decode(id.as_bytes()).unwrap_or_default();
        self.change("an invite", layout::local(INVITE, &[&hash]), change)
    }

    /// The invites to a tree, with their ids.
    pub(crate) fn invites(&self, tree: &Id) -> Result<Vec<(String, InviteRecord)>> {
        let mut invites = Vec::new();
        for_each_row(
            Scan::prefix(&layout::local(INVITE, &[])),
            |scan| self.0.scan(scan),
            |(key, row)| {
                let record: InviteRecord = decode("an invite", &row)?;
                if record.tree == *tree {
                    invites.push((data_encoding::HEXLOWER.encode(&key[2..]), record));
                }
                Ok(())
            },
        )?;
        Ok(invites)
    }
}

/// What an invite is stored under: its secret is shown once.
fn invite_hash(secret: &[u8; 16]) -> [u8; 32] {
    *blake3::Hasher::new_derive_key("eidetica 1 invite").update(secret).finalize().as_bytes()
}

/// Names an invite without being it.
pub(crate) fn invite_id(secret: &[u8; 16]) -> String {
    data_encoding::HEXLOWER.encode(&invite_hash(secret))
}
