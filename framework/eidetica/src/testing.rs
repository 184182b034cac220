//! Entries by hand, for tests: out of one database, into another, in any order.

use std::collections::BTreeMap;

use bytes::Bytes;
use eidetica_kernel::{Error, ErrorKind, Id, Result, Signature, SignedEntry, Timestamp};

use crate::engine::ingest::{Incoming, Ingested};
use crate::engine::layout::Arrival;
use crate::engine::read;
use crate::{Database, Instance};

/// An entry as bytes: what travels between replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawEntry {
    /// The header's exact bytes.
    pub header: Bytes,
    /// The author's signature over the entry's id.
    pub signature: Signature,
    /// In the order of the header's stores; `None` where the payload isn't held.
    pub payloads: Vec<Option<Bytes>>,
}

impl RawEntry {
    /// The entry's id.
    pub fn id(&self) -> Id {
        eidetica_kernel::entry::entry_id(&self.header)
    }

    fn open(self) -> Result<Incoming> {
        let entry = SignedEntry::decode(self.header, self.signature)?;
        Ok(Incoming { entry, payloads: self.payloads, checked: false })
    }
}

/// What became of entries that were handed in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Persisted now, those that had waited for them included.
    pub accepted: Vec<Id>,
    /// Held already.
    pub known: Vec<Id>,
    /// Kept until what they depend on arrives.
    pub waiting: Vec<Id>,
    /// Broken for ever, and why.
    pub refused: Vec<(Id, String)>,
    /// This copy's signature or payload is wrong.
    pub bad_copies: Vec<(Id, String)>,
    /// Their clocks run ahead of this node's.
    pub not_before: Vec<(Id, Timestamp)>,
}

/// Every entry that a database holds, void ones included, in the order they arrived.
///
/// # Errors
/// Those of the backend.
pub fn export_entries(database: &Database) -> Result<Vec<RawEntry>> {
    export(database, false)
}

/// The entries that are offered to peers: those that count and what they depend on, in the order they arrived.
///
/// # Errors
/// Those of the backend.
pub fn export_offered(database: &Database) -> Result<Vec<RawEntry>> {
    export(database, true)
}

fn export(database: &Database, offered: bool) -> Result<Vec<RawEntry>> {
    let tree = &database.tree;
    let reader = &*tree.shared.live;
    let mut entries = Vec::new();
    tree.for_each_entry(reader, 0, Arrival::MAX, |arrival, flags, entry| {
        if offered && !flags.inside {
            return Ok(true);
        }
        let payloads = (0..entry.header().stores.len())
            .map(|at| read::payload(reader, tree.keys, arrival, &entry, at))
            .collect::<Result<_>>()?;
        entries.push(RawEntry {
            header: entry.header_bytes().clone(),
            signature: *entry.signature(),
            payloads,
        });
        Ok(true)
    })?;
    Ok(entries)
}

/// Hands entries to an instance as a peer would. The root of a database that it doesn't hold may be anywhere among them.
///
/// # Errors
/// `is_not_found()` if the database isn't held and its root isn't among them; [`ErrorKind::InvalidInput`] for headers that
/// can't be decoded; those of the backend.
pub fn ingest(instance: &Instance, database: &Id, entries: Vec<RawEntry>) -> Result<Report> {
    let trees = &instance.inner.trees;
    let mut incoming = entries.into_iter().map(RawEntry::open).collect::<Result<Vec<_>>>()?;
    let mut report = Report::default();
    let tree = match trees.get(database)? {
        Some(tree) => tree,
        None => {
            let at =
                incoming.iter().position(|incoming| incoming.entry.id() == *database).ok_or_else(|| {
                    Error::new(ErrorKind::NotFound, "taking in", database, "its root isn't among the entries")
                })?;
            let tree = match trees.adopt(incoming.remove(at))? {
                Ok(tree) => tree,
                Err(time) => {
                    report.not_before.push((*database, time));
                    return Ok(report);
                }
            };
            report.accepted.push(*database);
            tree
        }
    };
    let Ingested { accepted, known, waiting, refused, bad_copies, not_before } = tree.ingest(incoming)?;
    report.accepted.extend(accepted.into_iter().map(|(id, _)| id));
    report.known = known;
    report.waiting = waiting.into_iter().map(|(id, _)| id).collect();
    report.refused = refused;
    report.bad_copies = bad_copies;
    report.not_before = not_before;
    instance.inner.backend.flush()?;
    Ok(report)
}

/// The digest of each store's state, by name and kind; equal states have equal digests.
///
/// # Errors
/// Those of the backend.
pub fn state_digests(database: &Database) -> Result<BTreeMap<(String, String), [u8; 32]>> {
    let tree = &database.tree;
    let head = tree.head();
    let digests = tree.store_list().into_iter().map(|(name, kind, number)| {
        let state = tree.store_state(&*tree.shared.live, &head, number)?;
        Ok(((name, kind), state.digest.to_bytes()))
    });
    digests.collect()
}

/// The keys under which a database's derived rows rest in the backend: a prefix for its state rows, and one for its losing rows.
pub fn derived_rows(database: &Database) -> [Bytes; 2] {
    let keys = database.tree.keys;
    [keys.all_state(), keys.all_losing()]
}
