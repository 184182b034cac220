//! Consistent views.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use eidetica_kernel::backend::{Batch, Row, Scan, Snapshot};
use eidetica_kernel::error::ErrorKind::{Closed, Expired};
use eidetica_kernel::error::Result;

use super::check::{Random, all_rows, bytes, put, puts};
use super::suite::{Case, Place};
use crate::check::{Outcome, ensure, fail, same};

pub(super) const CASES: &[Case] = &[
    Case::new("snapshot_sees_no_later_batch", "S1", snapshot_sees_no_later_batch),
    Case::new("snapshots_of_many_moments_stay_apart", "S1 S2", snapshots_of_many_moments_stay_apart),
    Case::new("snapshots_of_one_moment_stay_apart", "S1", snapshots_of_one_moment_stay_apart),
    Case::new("a_held_snapshot_blocks_no_writer", "S3", a_held_snapshot_blocks_no_writer),
    Case::new("snapshot_of_a_closed_backend_fails", "S2 B8", snapshot_of_a_closed_backend_fails),
];

/// Longest wait for something that is done at once where it is done at all.
const PATIENCE: Duration = Duration::from_secs(20);

/// `None` where the snapshot has expired, which it may at any time.
fn unless_expired<T>(result: Result<T>) -> Outcome<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == Expired => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn rows_of(snapshot: &dyn Snapshot, scan: Scan) -> Outcome<Option<Vec<Row>>> {
    let mut expired = false;
    let rows = all_rows(scan, |scan| match snapshot.scan(scan) {
        Err(error) if error.kind() == Expired => {
            expired = true;
            Ok(Default::default())
        }
        page => page,
    })?;
    Ok((!expired).then_some(rows))
}

fn snapshot_sees_no_later_batch(place: &Place) -> Outcome {
    let backend = place.open()?;
    backend.commit(puts(&[(b"changed", b"1"), (b"deleted", b"1"), (b"kept", b"1")]))?;
    let before = backend.snapshot()?;
    let mut batch = Batch::new();
    batch.put("changed", "2").delete("deleted").put("added", "2");
    backend.commit(batch)?;
    let after = backend.snapshot()?;
    backend.commit(puts(&[(b"changed", b"3"), (b"deleted", b"3")]))?;

    let keys: [&[u8]; 4] = [b"added", b"changed", b"deleted", b"kept"];
    let moments = [
        (before, [None, bytes(b"1"), bytes(b"1"), bytes(b"1")]),
        (after, [bytes(b"2"), bytes(b"2"), None, bytes(b"1")]),
    ];
    for (snapshot, expected) in moments {
        for (key, expected) in keys.iter().zip(&expected) {
            if let Some(found) = unless_expired(snapshot.get(key))? {
                same("get", found, expected.clone())?;
            }
        }
        if let Some(found) = unless_expired(snapshot.get_many(&keys))? {
            same("get_many", found, expected.to_vec())?;
        }
        let rows: Vec<Row> = keys
            .iter()
            .zip(expected)
            .filter_map(|(key, value)| Some((Bytes::copy_from_slice(key), value?)))
            .collect();
        if let Some(found) = rows_of(&*snapshot, Scan::all().limit(2))? {
            same("scan", found, rows.clone())?;
        }
        if let Some(found) = rows_of(&*snapshot, Scan::all().limit(2).backward())? {
            same("scan backward", found, rows.into_iter().rev().collect())?;
        }
    }
    Ok(())
}

fn snapshots_of_many_moments_stay_apart(place: &Place) -> Outcome {
    let backend = place.open()?;
    let mut random = Random::new(11);
    let mut model: BTreeMap<Bytes, Bytes> = BTreeMap::new();
    let mut held: Vec<(Arc<dyn Snapshot>, BTreeMap<Bytes, Bytes>)> = Vec::new();
    for round in 0..600 {
        let mut batch = Batch::new();
        for _ in 0..=random.below(3) {
            let key = Bytes::from(vec![b'a' + random.below(8) as u8]);
            if random.below(3) == 0 {
                batch.delete(key.clone());
                model.remove(&key);
            } else {
                let value = Bytes::from(round.to_string());
                batch.put(key.clone(), value.clone());
                model.insert(key, value);
            }
        }
        backend.commit(batch)?;
        match random.below(4) {
            0 => held.push((backend.snapshot()?, model.clone())),
            // Let go in any order.
            1 if !held.is_empty() => drop(held.swap_remove(random.below(held.len()))),
            _ => {}
        }
        if held.len() > 12 {
            held.swap_remove(random.below(held.len()));
        }
        if round % 7 == 0 {
            for (snapshot, model) in &held {
                if let Some(found) = rows_of(&**snapshot, Scan::all().limit(3))? {
                    same("rows", found, model.clone().into_iter().collect())?;
                }
            }
        }
    }
    Ok(())
}

/// Letting one go takes nothing from the others of its moment.
fn snapshots_of_one_moment_stay_apart(place: &Place) -> Outcome {
    let backend = place.open()?;
    backend.commit(puts(&[(b"changed", b"1"), (b"deleted", b"1")]))?;
    let expected = all_rows(Scan::all(), |scan| backend.scan(scan))?;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(backend.snapshot()?);
    }
    for round in 0..3_u8 {
        drop(held.remove(usize::from(round % 2)));
        let mut batch = put(b"changed", &[round]);
        batch.delete("deleted").put(vec![b'n', round], "new");
        backend.commit(batch)?;
        for snapshot in &held {
            if let Some(found) = rows_of(&**snapshot, Scan::all())? {
                same("rows, after another snapshot of the moment was let go", found, expected.clone())?;
            }
        }
    }
    Ok(())
}

fn a_held_snapshot_blocks_no_writer(place: &Place) -> Outcome {
    let backend = place.open()?;
    backend.commit(put(b"a", b"1"))?;
    let snapshot = backend.snapshot()?;
    let (done_tx, done) = mpsc::channel();
    let writer = backend.clone();
    std::thread::spawn(move || {
        let written = writer.commit(put(b"a", b"2")).and_then(|()| writer.flush());
        // The case may have given up waiting.
        done_tx.send(written).ok();
    });
    match done.recv_timeout(PATIENCE) {
        Ok(written) => written?,
        Err(_) => return fail("a commit didn't end while a snapshot was held"),
    }
    if let Some(found) = unless_expired(snapshot.get(b"a"))? {
        same("a", found, bytes(b"1"))?;
    }
    Ok(())
}

fn snapshot_of_a_closed_backend_fails(place: &Place) -> Outcome {
    let backend = place.open()?;
    backend.commit(put(b"a", b"1"))?;
    let snapshot = backend.snapshot()?;
    backend.close()?;
    for (what, result) in [
        ("get", snapshot.get(b"a").map(drop)),
        ("get_many", snapshot.get_many(&[b"a"]).map(drop)),
        ("scan", snapshot.scan(&Scan::all()).map(drop)),
    ] {
        let kind = result.err().map(|error| error.kind());
        ensure(matches!(kind, Some(Closed | Expired)), || {
            format!("{what} on a snapshot of a closed backend: expected Closed or Expired, found {kind:?}")
        })?;
    }
    Ok(())
}
