//! Storage's side of a tree's sync: answers the machine's questions from the backend. Blocking.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use eidetica_kernel::backend::{Batch, Scan};
use eidetica_kernel::entry::payload_hash;
use eidetica_kernel::{Id, PublicKey, Result};

use super::gap::{self, Plan, heads_digest};
use super::machine::{Answer, Ask, Ingest};
use super::messages::{Have, Open, PIECE_BYTES_MAX, Piece, Proof, Settled, Want};
use super::records::Rows;
use crate::channel::{Role, session_proof, verify_session_proof};
use crate::engine::ingest::{Incoming, Ingested, is_never};
use crate::engine::read;
use crate::engine::tree::Tree;
use crate::instance::Inner;

/// Bytes of unfinished payloads kept per tree; the oldest make room for new ones.
const STAGING_BYTES_MAX: u64 = 64 * 1_024 * 1_024;

/// What storage must know of the channel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChannelFacts {
    pub(crate) peer: PublicKey,
    pub(crate) session_id: [u8; 32],
    pub(crate) role: Role,
}

/// Answers one question about `tree`.
pub(crate) fn answer(inner: &Arc<Inner>, facts: &ChannelFacts, tree: &Id, ask: Ask) -> Answer {
    match try_answer(inner, facts, tree, ask) {
        Ok(answer) => answer,
        Err(error) => Answer::Failed(error.to_string()),
    }
}

fn try_answer(inner: &Arc<Inner>, facts: &ChannelFacts, id: &Id, ask: Ask) -> Result<Answer> {
    let tree = inner.trees.get(id)?;
    Ok(match ask {
        Ask::Open => Answer::Open(Open { tree: *id, proofs: proofs(inner, facts, id, tree.as_deref()) }),
        Ask::Check { open, wanted } => {
            let may = inner.syncs(id)? && open.tree == *id;
            // The peer may open first what this node asked it for: on another link, or before one broke.
            let wanted = wanted || Rows(&*inner.backend).relation(&facts.peer, id)?.is_some();
            Answer::Checked(if may { check(facts, id, tree.as_deref(), &open, wanted) } else { None })
        }
        Ask::Have { round } => Answer::Have(match &tree {
            Some(tree) => gap::have(tree, round)?,
            None => Have { round, heads_digest: heads_digest(&[]), ..Have::default() },
        }),
        Ask::Plan { known } => Answer::Planned(match &tree {
            Some(tree) => Some(Box::new(Plan::new(tree, &common(inner, facts, tree, known)?)?)),
            None => None,
        }),
        Ask::Read { mut plan, keys } => {
            let tree = held(tree, id)?;
            let replan = plan.epoch != tree.head().epoch;
            // Nobody has proven a key where the tree was asked for when nothing of it was here: they give, and get nothing.
            let entries = if replan || keys.is_empty() {
                Vec::new()
            } else {
                match read_for(&tree, &mut plan, &keys)? {
                    (entries, Some(_)) if entries.is_empty() => return Ok(Answer::Revoked),
                    (entries, _) => entries,
                }
            };
            Answer::Read { plan, entries, replan }
        }
        Ask::ReadPiece { want, keys } => {
            let tree = held(tree, id)?;
            if !keys.iter().any(|key| tree.may_read(key)) {
                return Ok(Answer::Revoked);
            }
            let (piece, last) = piece(&tree, want)?;
            Answer::Piece(piece, last)
        }
        Ask::Settled { round } => Answer::Settled(match &tree {
            Some(tree) => settled(tree, round)?,
            None => Settled { round, heads_digest: heads_digest(&[]), states: Vec::new() },
        }),
        Ask::Staged { entry, .. } | Ask::Stage { entry, .. } if entry.entry.tree() != *id => {
            Answer::Failed("an entry belongs to another database".to_owned())
        }
        Ask::Ingest { entries } if entries.iter().any(|incoming| incoming.entry.tree() != *id) => {
            let foreign = entries.iter().find(|incoming| incoming.entry.tree() != *id);
            let reason = "it belongs to another database".to_owned();
            let broken = foreign.map(|incoming| (incoming.entry.id(), reason));
            Answer::Ingested(Ingest { broken, ..Ingest::default() })
        }
        Ask::Staged { entry, store } => staged(inner, tree, *entry, store, None)?,
        Ask::Stage { entry, store, piece } => staged(inner, tree, *entry, store, Some(piece))?,
        Ask::Ingest { entries } => Answer::Ingested(ingest(inner, tree, entries)?),
        Ask::Compare(theirs) => Answer::Compared(match &tree {
            Some(tree) => differing_store(&settled(tree, theirs.round)?, &theirs),
            None => None,
        }),
    })
}

/// Ids that the peer holds. Where it names some that aren't held here, its heads don't say where the two histories part: then
/// what it sent or acknowledged last does.
///
/// A peer that lost its data since is served all the same: once all its heads are held here, they alone decide.
fn common(inner: &Inner, facts: &ChannelFacts, tree: &Tree, mut known: Vec<Id>) -> Result<Vec<Id>> {
    for id in &known {
        if read::arrival_of(&*tree.shared.live, tree.keys, id)?.is_none() {
            let relation = Rows(&*inner.backend).relation(&facts.peer, &tree.id)?;
            known.extend(relation.and_then(|relation| relation.last_entry));
            return Ok(known);
        }
    }
    Ok(known)
}

/// The next entries for a peer that has proven `keys`. Where these may read no longer, up to the operation that took their right,
/// so that the peer learns of it, and nothing that came later; then with the end.
fn read_for(
    tree: &Tree,
    plan: &mut Plan,
    keys: &[PublicKey],
) -> Result<(Vec<super::messages::WireEntry>, Option<crate::engine::layout::Arrival>)> {
    let mut end = tree.readable_until(keys)?;
    loop {
        let mut attempt = plan.clone();
        let entries = attempt.read(tree, end)?;
        // A right may have been taken, or given back, meanwhile.
        let now = tree.readable_until(keys)?;
        if now == end {
            *plan = attempt;
            return Ok((entries, end));
        }
        end = now;
    }
}

fn held(tree: Option<Arc<Tree>>, id: &Id) -> Result<Arc<Tree>> {
    tree.ok_or_else(|| crate::instance::no_database(id))
}

/// Proofs of the keys by which this node may sync the tree: its own, and those of logged-in users.
pub(crate) fn proofs(inner: &Inner, facts: &ChannelFacts, id: &Id, tree: Option<&Tree>) -> Vec<Proof> {
    let mut keys = vec![inner.identity.clone()];
    for session in inner.sessions().iter().rev() {
        keys.extend(session.keys.lock().iter().map(|(_, _, key)| key.clone()));
    }
    // A copy by which none of them may read is no complete one, or out of date: it can't tell which of them may.
    let tree = tree.filter(|tree| keys.iter().any(|key| tree.may_read(&key.public_key())));
    let mut proofs = Vec::new();
    for key in keys {
        let public = key.public_key();
        // One that was revoked here may have been granted its right again there.
        let useful = tree.is_none_or(|tree| tree.may_read(&public) || tree.names(&public));
        if useful
            && proofs.len() < super::messages::PROOFS_MAX
            && !proofs.iter().any(|proof: &Proof| proof.key == public)
        {
            proofs.push(Proof {
                key: public,
                signature: session_proof(&key, facts.role, &facts.session_id, id),
            });
        }
    }
    proofs
}

/// The keys that the peer has proven and that may read; `None` if there is none. Who holds nothing of the tree has nothing
/// to hide, and asked for it: there any proven key will do.
fn check(
    facts: &ChannelFacts,
    id: &Id,
    tree: Option<&Tree>,
    open: &Open,
    wanted: bool,
) -> Option<Vec<PublicKey>> {
    let theirs = facts.role.other();
    let proven = open.proofs.iter().filter(|proof| {
        tree.is_none_or(|tree| tree.may_read(&proof.key))
            && verify_session_proof(&proof.key, theirs, &facts.session_id, id, &proof.signature)
    });
    let keys: Vec<PublicKey> = proven.map(|proof| proof.key).collect();
    (if tree.is_some() { !keys.is_empty() } else { wanted }).then_some(keys)
}

fn settled(tree: &Tree, round: u32) -> Result<Settled> {
    // Heads and states of one moment: a commit in between would look like a divergence.
    let snapshot = tree.shared.backend.snapshot()?;
    let head = read::head(&*snapshot, tree.keys)?.map(|(_, head)| head).unwrap_or_default();
    let mut states = Vec::new();
    for (name, kind, number) in tree.store_list() {
        let state = tree.store_state(&*snapshot, &head, number)?;
        if state.semantics != 0 {
            states.push((name, kind, state.semantics, state.digest.to_bytes()));
        }
    }
    states.truncate(256);
    Ok(Settled { round, heads_digest: heads_digest(&head.tips), states })
}

/// The store whose state differs although both hold the same entries and fold them by the same rules.
fn differing_store(ours: &Settled, theirs: &Settled) -> Option<String> {
    if ours.heads_digest != theirs.heads_digest {
        return None;
    }
    let differs = |(name, kind, semantics, digest): &(String, String, u32, [u8; 32])| {
        let other = theirs
            .states
            .iter()
            .find(|(other, of, rules, _)| other == name && of == kind && rules == semantics);
        other.is_some_and(|(_, _, _, other)| other != digest)
    };
    ours.states.iter().find(|state| differs(state)).map(|(name, ..)| name.clone())
}

fn piece(tree: &Tree, want: Want) -> Result<(Piece, bool)> {
    let reader = &*tree.shared.live;
    let nothing = Piece { entry: want.entry, store: want.store, offset: want.offset, bytes: Bytes::new() };
    let Some((arrival, _, entry)) = read::numbered_entry(reader, tree.keys, &want.entry)? else {
        return Ok((nothing, true));
    };
    let at = usize::from(want.store);
    let Some(store) = entry.header().stores.get(at) else { return Ok((nothing, true)) };
    let (start, whole) = (want.offset as usize, store.payload_bytes as usize);
    if start >= whole {
        return Ok((nothing, true));
    }
    let end = whole.min(start + PIECE_BYTES_MAX);
    let mut bytes = BytesMut::with_capacity(end - start);
    let chunk_bytes = crate::engine::layout::PAYLOAD_CHUNK_BYTES;
    for chunk in start / chunk_bytes..=(end - 1) / chunk_bytes {
        let Some(held) = read::payload_chunk(reader, tree.keys, arrival, &entry, at, chunk as u32)? else {
            return Ok((nothing, true));
        };
        let from = start.saturating_sub(chunk * chunk_bytes).min(held.len());
        let to = (end - chunk * chunk_bytes).min(held.len());
        bytes.extend_from_slice(&held[from..to]);
    }
    Ok((Piece { bytes: bytes.freeze(), ..nothing }, end == whole))
}

/// Stages a piece, if one came, and says how much is there; hands the payload out once it is whole.
fn staged(
    inner: &Inner,
    tree: Option<Arc<Tree>>,
    entry: Incoming,
    store: usize,
    piece: Option<Piece>,
) -> Result<Answer> {
    let Some(wanted) = entry.entry.header().stores.get(store) else {
        return Ok(Answer::Staged { bytes: 0, payload: Some(Bytes::new()) });
    };
    let (hash, whole) = (wanted.payload_hash, wanted.payload_bytes as usize);
    let end = piece.as_ref().map(|piece| piece.offset as usize + piece.bytes.len());
    if end.is_some_and(|end| end > whole) {
        return Ok(Answer::Failed("a payload that comes in pieces is too long".to_owned()));
    }
    // Another link may have brought the entry meanwhile. The pieces under way here still come, and end with the last one.
    if let Some(payload) = held_payload(tree.as_deref(), &entry, store)? {
        let bytes = end.unwrap_or(whole);
        return Ok(Answer::Staged { bytes: bytes as u32, payload: (bytes == whole).then_some(payload) });
    }
    // A tree whose root itself has a long payload has no rows yet: its pieces are staged under the number it will have.
    let keys = match &tree {
        Some(tree) => tree.keys,
        None => inner.trees.keys_for(&entry.entry.tree())?,
    };
    let mut pieces = Vec::new();
    let reader = &*inner.trees.shared.live;
    eidetica_kernel::backend::for_each_row(
        Scan::prefix(&keys.staged(&hash)),
        |scan| reader.scan(scan),
        |(_, row)| {
            pieces.push(row);
            Ok(())
        },
    )?;
    let mut bytes: usize = pieces.iter().map(Bytes::len).sum();
    if let (Some(piece), Some(end)) = (&piece, end) {
        let Some(known) = bytes.checked_sub(piece.offset as usize) else {
            return Ok(Answer::Failed("a piece of a payload doesn't follow the one before".to_owned()));
        };
        // Another link may be ahead with the same payload.
        if end > bytes {
            if pieces.is_empty() {
                make_room(inner, keys, whole as u64)?;
            }
            let fresh = piece.bytes.slice(known..);
            let row = keys.staging(&hash, pieces.len() as u32);
            let mut batch = Batch::new();
            batch.expect_absent(row.clone()).put(row, fresh.clone());
            match inner.backend.commit(batch) {
                Err(error) if error.kind() == eidetica_kernel::ErrorKind::Conflict => {
                    return staged(inner, tree, entry, store, Some(piece.clone()));
                }
                done => done?,
            }
            bytes = end;
            pieces.push(fresh);
        }
        if end < whole {
            return Ok(Answer::Staged { bytes: end as u32, payload: None });
        }
    }
    if bytes < whole {
        return Ok(Answer::Staged { bytes: bytes as u32, payload: None });
    }
    let mut batch = Batch::new();
    for at in 0..pieces.len() {
        batch.delete(keys.staging(&hash, at as u32));
    }
    let payload = Bytes::from(pieces.concat());
    if payload.len() != whole || payload_hash(&payload) != hash {
        inner.backend.commit(batch)?;
        return Ok(Answer::Failed("a payload that came in pieces has another hash".to_owned()));
    }
    // The rows go only when the entry is persisted: see `clear_staged`.
    Ok(Answer::Staged { bytes: bytes as u32, payload: Some(payload) })
}

/// The payload of an entry that is held by now.
fn held_payload(tree: Option<&Tree>, entry: &Incoming, store: usize) -> Result<Option<Bytes>> {
    let Some(tree) = tree else { return Ok(None) };
    let reader = &*tree.shared.live;
    match read::numbered_entry(reader, tree.keys, &entry.entry.id())? {
        Some((arrival, _, held)) => read::payload(reader, tree.keys, arrival, &held, store),
        None => Ok(None),
    }
}

fn make_room(inner: &Inner, keys: crate::engine::layout::TreeKeys, bytes: u64) -> Result<()> {
    let reader = &*inner.trees.shared.live;
    let mut held = 0;
    let mut rows = Vec::new();
    eidetica_kernel::backend::for_each_row(
        Scan::prefix(&keys.all_staged()),
        |scan| reader.scan(scan),
        |(key, row)| {
            held += row.len() as u64;
            rows.push(key);
            Ok(())
        },
    )?;
    if held + bytes <= STAGING_BYTES_MAX {
        return Ok(());
    }
    let mut batch = Batch::new();
    for key in rows {
        batch.delete(key);
    }
    inner.backend.commit(batch)
}

fn ingest(inner: &Arc<Inner>, tree: Option<Arc<Tree>>, mut entries: Vec<Incoming>) -> Result<Ingest> {
    let long: Vec<[u8; 32]> = entries
        .iter()
        .flat_map(|incoming| {
            let stores = &incoming.entry.header().stores;
            stores.iter().zip(super::messages::chunked(stores))
        })
        .filter(|(_, chunked)| *chunked)
        .map(|(store, _)| store.payload_hash)
        .collect();
    let mut outcome = Ingest::default();
    let tree = match tree {
        Some(tree) => tree,
        None => {
            if entries.is_empty() {
                return Ok(outcome);
            }
            let root = entries.remove(0);
            outcome.last = Some(root.entry.id());
            let tree = match inner.trees.adopt(root)? {
                Ok(tree) => tree,
                Err(time) => return Ok(Ingest { not_before: Some(time), ..Ingest::default() }),
            };
            outcome.accepted.push(0);
            inner.tree_appeared(&tree);
            tree
        }
    };
    if !entries.is_empty() {
        let Ingested { accepted, waiting, refused, bad_copies, not_before, .. } = tree.ingest(entries)?;
        outcome.last = accepted.last().map(|(id, _)| *id).or(outcome.last);
        outcome.accepted.extend(accepted.into_iter().map(|(_, arrival)| arrival));
        outcome.not_before = not_before.iter().map(|(_, time)| *time).max();
        outcome.broken = bad_copies.into_iter().chain(refused).next();
        let skewed: Vec<Id> = not_before.into_iter().map(|(id, _)| id).collect();
        // What waits for an entry of the future isn't the sender's fault.
        outcome.missing = if skewed.is_empty() {
            waiting.into_iter().map(|(_, missing)| missing).find(|missing| !is_never(missing))
        } else {
            None
        };
    }
    // Acknowledged is durable.
    inner.backend.flush()?;
    if !long.is_empty() {
        clear_staged(inner, &tree, &long)?;
    }
    Ok(outcome)
}

fn clear_staged(inner: &Inner, tree: &Tree, hashes: &[[u8; 32]]) -> Result<()> {
    let mut batch = Batch::new();
    for hash in hashes {
        let scan = Scan::prefix(&tree.keys.staged(hash));
        eidetica_kernel::backend::for_each_row(
            scan,
            |scan| tree.shared.live.scan(scan),
            |(key, _)| {
                batch.delete(key);
                Ok(())
            },
        )?;
    }
    if batch.is_empty() { Ok(()) } else { inner.backend.commit(batch) }
}
