//! Flushing, closing and opening again.

use eidetica_kernel::backend::{Batch, Scan};
use eidetica_kernel::error::ErrorKind::Closed;

use super::check::{all_rows, bytes, delete, put, puts};
use super::suite::{Case, Place};
use crate::check::{Outcome, ensure, fail, refused, same};

pub(super) const CASES: &[Case] = &[
    Case::new("closed_backend_refuses_every_call", "B8", closed_backend_refuses_every_call),
    Case::new("flushing_nothing_is_harmless", "B5 B9", flushing_nothing_is_harmless),
    Case::new("flushed_batches_survive_reopening", "B5", flushed_batches_survive_reopening).durable(),
    Case::new("unflushed_batches_survive_as_a_prefix", "B1 B5", unflushed_batches_survive_as_a_prefix)
        .durable(),
    Case::new("closing_flushes", "B5 B8", closing_flushes).durable(),
];

fn closed_backend_refuses_every_call(place: &Place) -> Outcome {
    let backend = place.open()?;
    backend.commit(put(b"a", b"1"))?;
    backend.close()?;
    refused("get", backend.get(b"a"), &[Closed])?;
    refused("get_many", backend.get_many(&[b"a"]), &[Closed])?;
    refused("scan", backend.scan(&Scan::all()), &[Closed])?;
    refused("snapshot", backend.snapshot(), &[Closed])?;
    refused("commit", backend.commit(put(b"b", b"1")), &[Closed])?;
    refused("an empty commit", backend.commit(Batch::new()), &[Closed])?;
    refused("flush", backend.flush(), &[Closed])?;
    // Neither may panic.
    drop(backend.watch(b"a"));
    backend.capabilities();
    match backend.close() {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == Closed => Ok(()),
        Err(error) => fail(format!("closing twice: {error:?}")),
    }
}

fn flushing_nothing_is_harmless(place: &Place) -> Outcome {
    let backend = place.open()?;
    backend.flush()?;
    backend.commit(put(b"a", b"1"))?;
    backend.flush()?;
    backend.flush()?;
    same("a", backend.get(b"a")?, bytes(b"1"))
}

fn flushed_batches_survive_reopening(place: &Place) -> Outcome {
    let large = vec![7; 300_000];
    for round in 0..3_u8 {
        let backend = place.open()?;
        for number in 0..20_u8 {
            let mut batch = puts(&[(&[round, number], b"small"), (b"last", &[round, number])]);
            batch.put(vec![round, number, 0], large.clone());
            if number > 0 {
                batch.delete(vec![round, number - 1, 0]);
            }
            backend.commit(batch)?;
        }
        backend.flush()?;
        // Not closed: as if the process had ended here.
        drop(backend);
    }
    let backend = place.open()?;
    for round in 0..3_u8 {
        for number in 0..20_u8 {
            same("a flushed row", backend.get(&[round, number])?, bytes(b"small"))?;
            let kept = backend.get(&[round, number, 0])?.is_some_and(|value| value == large);
            same("the large row of the last batch alone", kept, number == 19)?;
        }
    }
    same("the newest value", backend.get(b"last")?, bytes(&[2, 19]))
}

fn unflushed_batches_survive_as_a_prefix(place: &Place) -> Outcome {
    let backend = place.open()?;
    let batch = |number: u8| puts(&[(&[b'a', number], b"x"), (&[b'b', number], b"x"), (b"count", &[number])]);
    for number in 0..10 {
        backend.commit(batch(number))?;
    }
    backend.flush()?;
    for number in 10..60 {
        backend.commit(batch(number))?;
    }
    drop(backend);
    let backend = place.open()?;
    let Some(count) = backend.get(b"count")? else { return fail("what was flushed is gone") };
    ensure(count.len() == 1 && count[0] >= 9, || format!("flushed up to batch 9, found {count:?}"))?;
    for table in [b'a', b'b'] {
        let rows = all_rows(Scan::prefix(&[table]), |scan| backend.scan(scan))?;
        same("rows of the surviving batches", rows.len(), usize::from(count[0]) + 1)?;
    }
    Ok(())
}

fn closing_flushes(place: &Place) -> Outcome {
    let backend = place.open()?;
    backend.commit(puts(&[(b"a", b"1"), (b"b", b"1")]))?;
    backend.commit(delete(b"b"))?;
    backend.close()?;
    // Closing releases the place, even while the closed handle is still held.
    let again = place.open()?;
    same("a", again.get(b"a")?, bytes(b"1"))?;
    same("b", again.get(b"b")?, None)
}
