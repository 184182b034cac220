//! Reads entries and payloads from a snapshot.

use bytes::{Bytes, BytesMut};
use eidetica_kernel::backend::Snapshot;
use eidetica_kernel::entry::{StoreRef, payload_hash};
use eidetica_kernel::{Id, PublicKey, Result, SignedEntry};

use super::layout::{Arrival, AuthorNo, INLINE_BYTES_MAX, PAYLOAD_CHUNK_BYTES, TreeKeys};
use super::records::{Flags, TreeHead, corrupt, decode, decode_entry, inline_payload};

pub(crate) fn head(reader: &dyn Snapshot, keys: TreeKeys) -> Result<Option<(Bytes, TreeHead)>> {
    let Some(row) = reader.get(&keys.head())? else { return Ok(None) };
    let head = decode("the head of a tree", &row)?;
    Ok(Some((row, head)))
}

pub(crate) fn arrival_of(reader: &dyn Snapshot, keys: TreeKeys, id: &Id) -> Result<Option<Arrival>> {
    reader.get(&keys.arrival_of(id))?.map(|row| decode("an arrival number", &row)).transpose()
}

pub(crate) fn author_no(
    reader: &dyn Snapshot,
    keys: TreeKeys,
    author: &PublicKey,
) -> Result<Option<AuthorNo>> {
    reader.get(&keys.author(author))?.map(|row| decode("an author's number", &row)).transpose()
}

pub(crate) fn entry_at(
    reader: &dyn Snapshot,
    keys: TreeKeys,
    arrival: Arrival,
) -> Result<Option<(Flags, SignedEntry)>> {
    reader.get(&keys.entry(arrival))?.map(|row| decode_entry(&row)).transpose()
}

/// The entry of that id, hashed anew and compared.
pub(crate) fn entry(reader: &dyn Snapshot, keys: TreeKeys, id: &Id) -> Result<Option<(Flags, SignedEntry)>> {
    Ok(numbered_entry(reader, keys, id)?.map(|(_, flags, entry)| (flags, entry)))
}

/// As [`entry`], with its arrival number.
pub(crate) fn numbered_entry(
    reader: &dyn Snapshot,
    keys: TreeKeys,
    id: &Id,
) -> Result<Option<(Arrival, Flags, SignedEntry)>> {
    let Some(arrival) = arrival_of(reader, keys, id)? else { return Ok(None) };
    let (flags, entry) = entry_at(reader, keys, arrival)?
        .ok_or_else(|| corrupt(format_args!("the entry {id}"), "its row is missing"))?;
    if entry.id() != *id {
        return Err(corrupt(format_args!("the entry {id}"), "its bytes have another hash"));
    }
    Ok(Some((arrival, flags, entry)))
}

/// Piece `chunk` of the payload of the `store`-th store of an entry, as it is stored; `None` if it isn't held.
pub(crate) fn payload_chunk(
    reader: &dyn Snapshot,
    keys: TreeKeys,
    arrival: Arrival,
    entry: &SignedEntry,
    store: usize,
    chunk: u32,
) -> Result<Option<Bytes>> {
    let small = |wanted: &StoreRef| wanted.payload_bytes as usize <= INLINE_BYTES_MAX;
    if entry.header().stores.get(store).is_some_and(small) {
        match reader.get(&keys.entry(arrival))? {
            Some(row) => inline_payload(&row, store),
            None => Ok(None),
        }
    } else {
        reader.get(&keys.payload(arrival, store as u8, chunk))
    }
}

/// The whole payload of the `store`-th store of an entry, hashed anew and compared; `None` if it isn't held.
pub(crate) fn payload(
    reader: &dyn Snapshot,
    keys: TreeKeys,
    arrival: Arrival,
    entry: &SignedEntry,
    store: usize,
) -> Result<Option<Bytes>> {
    let Some(wanted) = entry.header().stores.get(store) else { return Ok(None) };
    let broken =
        |reason: &str| corrupt(format_args!("the payload of {} for \"{}\"", entry.id(), wanted.name), reason);
    let bytes_max = wanted.payload_bytes as usize;
    let Some(first) = payload_chunk(reader, keys, arrival, entry, store, 0)? else { return Ok(None) };
    let payload = if first.len() == bytes_max {
        first
    } else {
        let mut whole = BytesMut::with_capacity(bytes_max);
        whole.extend_from_slice(&first);
        let mut chunk = 1;
        while whole.len() < bytes_max {
            let piece = payload_chunk(reader, keys, arrival, entry, store, chunk)?
                .ok_or_else(|| broken("a piece of it is missing"))?;
            whole.extend_from_slice(&piece);
            chunk += 1;
        }
        whole.freeze()
    };
    if payload.len() != bytes_max || payload_hash(&payload) != wanted.payload_hash {
        return Err(broken("its bytes have another hash"));
    }
    Ok(Some(payload))
}

/// A payload in the pieces it is stored as; none for one in its entry's row.
pub(crate) fn chunks(payload: &Bytes) -> impl Iterator<Item = (u32, Bytes)> + '_ {
    let count =
        if payload.len() <= INLINE_BYTES_MAX { 0 } else { payload.len().div_ceil(PAYLOAD_CHUNK_BYTES) };
    (0..count).map(|at| {
        let start = at * PAYLOAD_CHUNK_BYTES;
        (at as u32, payload.slice(start..payload.len().min(start + PAYLOAD_CHUNK_BYTES)))
    })
}
