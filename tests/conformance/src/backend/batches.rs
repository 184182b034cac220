//! Batches and their preconditions.

use std::collections::BTreeMap;

use bytes::Bytes;
use eidetica_kernel::backend::{Batch, Scan};
use eidetica_kernel::error::ErrorKind::Conflict;

use super::check::{Random, all_rows, bytes, delete, put, puts};
use super::suite::{Case, Place};
use crate::check::{Outcome, refused, same};

pub(super) const CASES: &[Case] = &[
    Case::new("batch_is_seen_by_every_later_read", "B1 B4", batch_is_seen_by_every_later_read),
    Case::new("last_write_to_a_key_stands", "B1", last_write_to_a_key_stands),
    Case::new("last_write_stands_in_large_batches", "B1", last_write_stands_in_large_batches),
    Case::new("refused_batch_leaves_nothing", "B1 B2", refused_batch_leaves_nothing),
    Case::new("preconditions_decide", "B2", preconditions_decide),
    Case::new("preconditions_are_judged_before_the_writes", "B2", preconditions_are_judged_before_the_writes),
    Case::new("batches_without_writes_are_allowed", "B2 B9", batches_without_writes_are_allowed),
    Case::new("deleting_what_is_absent_is_no_error", "B9", deleting_what_is_absent_is_no_error),
    Case::new("empty_value_is_not_absence", "B2 B6", empty_value_is_not_absence),
    Case::new("get_many_answers_in_the_order_asked", "B4", get_many_answers_in_the_order_asked),
    Case::new("watch_never_misses_a_change", "B4", watch_never_misses_a_change),
];

fn batch_is_seen_by_every_later_read(place: &Place) -> Outcome {
    let backend = place.open()?;
    backend.commit(puts(&[(b"a", b"1"), (b"b", b"2"), (b"c", b"3")]))?;
    let mut batch = Batch::new();
    batch.put("a", "4").delete("b").put("d", "5");
    backend.commit(batch)?;
    same("get a", backend.get(b"a")?, bytes(b"4"))?;
    same("get b", backend.get(b"b")?, None)?;
    same("get_many", backend.get_many(&[b"c", b"d"])?, vec![bytes(b"3"), bytes(b"5")])?;
    let keys: Vec<_> = backend.scan(&Scan::all())?.rows.into_iter().map(|(key, _)| key).collect();
    same("scan", keys, vec!["a".into(), "c".into(), "d".into()])
}

fn last_write_to_a_key_stands(place: &Place) -> Outcome {
    let backend = place.open()?;
    let mut batch = Batch::new();
    batch.put("a", "1").put("a", "2").put("b", "1").delete("b").delete("c").put("c", "1");
    backend.commit(batch)?;
    let expected = vec![bytes(b"2"), None, bytes(b"1")];
    same("a, b, c", backend.get_many(&[b"a", b"b", b"c"])?, expected)?;
    let mut batch = Batch::new();
    batch.put("c", "2").delete("c").put("c", "3").delete("a").put("a", "3").delete("a");
    backend.commit(batch)?;
    same("a, b, c", backend.get_many(&[b"a", b"b", b"c"])?, vec![None, None, bytes(b"3")])?;
    same("rows", backend.scan(&Scan::all())?.rows.len(), 1)
}

/// Sorting that keeps the order of few equals may not keep that of many.
fn last_write_stands_in_large_batches(place: &Place) -> Outcome {
    let backend = place.open()?;
    let mut random = Random::new(11);
    let mut expected = BTreeMap::new();
    for writes in [50, 500, 5_000] {
        let mut batch = Batch::with_capacity(writes);
        for number in 0..writes {
            let key = Bytes::from(format!("key/{}", random.below(9)));
            if random.below(4) == 0 {
                batch.delete(key.clone());
                expected.remove(&key);
            } else {
                let value = Bytes::from(format!("{writes}/{number}"));
                batch.put(key.clone(), value.clone());
                expected.insert(key, value);
            }
        }
        backend.commit(batch)?;
        let rows = all_rows(Scan::all(), |scan| backend.scan(scan))?;
        same(
            &format!("rows after a batch of {writes} writes to 9 keys"),
            rows,
            expected.clone().into_iter().collect(),
        )?;
    }
    Ok(())
}

fn refused_batch_leaves_nothing(place: &Place) -> Outcome {
    let backend = place.open()?;
    backend.commit(puts(&[(b"a", b"1"), (b"b", b"2")]))?;
    let mut batch = Batch::new();
    batch.put("a", "9").delete("b").put("c", "9");
    batch.expect_equals("a", "1").expect_absent("b").expect_absent("c");
    refused("the batch", backend.commit(batch), &[Conflict])?;
    let rows = all_rows(Scan::all(), |scan| backend.scan(scan))?;
    same("rows", rows, vec![("a".into(), "1".into()), ("b".into(), "2".into())])
}

fn preconditions_decide(place: &Place) -> Outcome {
    let backend = place.open()?;
    backend.commit(puts(&[(b"present", b"value"), (b"other", b"value")]))?;
    let mut several = put(b"written", b"yes");
    several.expect_absent("missing").expect_equals("present", "value").expect_absent("other");
    let conflicts = [
        ("absent, of what is present", absent("present")),
        ("equals, of another value", equals("present", "valu")),
        ("equals, of a longer value", equals("present", "values")),
        ("equals, of what is absent", equals("missing", "value")),
        ("equals nothing, of what is absent", equals("missing", "")),
        ("the last of several", several),
    ];
    for (what, batch) in conflicts {
        refused(what, backend.commit(batch), &[Conflict])?;
        same(what, backend.get(b"written")?, None)?;
    }
    let mut held = put(b"written", b"yes");
    held.expect_absent("missing").expect_equals("present", "value").expect_equals("other", "value");
    backend.commit(held)?;
    same("all hold", backend.get(b"written")?, bytes(b"yes"))
}

fn absent(key: &'static str) -> Batch {
    let mut batch = put(b"written", b"yes");
    batch.expect_absent(key);
    batch
}

fn equals(key: &'static str, value: &'static str) -> Batch {
    let mut batch = put(b"written", b"yes");
    batch.expect_equals(key, value);
    batch
}

fn preconditions_are_judged_before_the_writes(place: &Place) -> Outcome {
    let backend = place.open()?;
    let mut batch = put(b"a", b"1");
    batch.expect_absent("a");
    backend.commit(batch.clone())?;
    refused("the same batch again", backend.commit(batch), &[Conflict])?;
    let mut batch = put(b"a", b"2");
    batch.expect_equals("a", "2");
    refused("what the batch itself would write", backend.commit(batch), &[Conflict])?;
    same("a", backend.get(b"a")?, bytes(b"1"))
}

fn batches_without_writes_are_allowed(place: &Place) -> Outcome {
    let backend = place.open()?;
    backend.commit(Batch::new())?;
    let mut batch = Batch::new();
    batch.expect_absent("a");
    backend.commit(batch.clone())?;
    backend.commit(put(b"a", b"1"))?;
    refused("a precondition alone", backend.commit(batch), &[Conflict]).map(drop)
}

fn deleting_what_is_absent_is_no_error(place: &Place) -> Outcome {
    let backend = place.open()?;
    backend.commit(delete(b"a"))?;
    backend.commit(put(b"a", b"1"))?;
    backend.commit(delete(b"a"))?;
    backend.commit(delete(b"a"))?;
    same("a", backend.get(b"a")?, None)?;
    same("rows", backend.scan(&Scan::all())?.rows.len(), 0)
}

fn empty_value_is_not_absence(place: &Place) -> Outcome {
    let backend = place.open()?;
    backend.commit(put(b"a", b""))?;
    same("a", backend.get(b"a")?, bytes(b""))?;
    same("rows", backend.scan(&Scan::all())?.rows, vec![("a".into(), "".into())])?;
    let mut batch = put(b"b", b"1");
    batch.expect_absent("a");
    refused("absent, of an empty value", backend.commit(batch), &[Conflict])?;
    let mut batch = put(b"b", b"1");
    batch.expect_equals("a", "");
    backend.commit(batch)?;
    Ok(())
}

fn get_many_answers_in_the_order_asked(place: &Place) -> Outcome {
    let backend = place.open()?;
    backend.commit(puts(&[(b"a", b"1"), (b"b", b"2"), (b"c", b"3")]))?;
    let keys: [&[u8]; 6] = [b"c", b"missing", b"a", b"c", b"b", b"aa"];
    let expected = vec![bytes(b"3"), None, bytes(b"1"), bytes(b"3"), bytes(b"2"), None];
    same("backend", backend.get_many(&keys)?, expected.clone())?;
    same("snapshot", backend.snapshot()?.get_many(&keys)?, expected)?;
    same("no keys", backend.get_many(&[])?, vec![])
}

fn watch_never_misses_a_change(place: &Place) -> Outcome {
    let backend = place.open()?;
    // A backend without watches is polled by the engine.
    let Some(mut watch) = backend.watch(b"a/") else { return Ok(()) };
    for batch in [put(b"a/1", b"1"), put(b"a/1", b"2"), delete(b"a/1")] {
        watch.changed();
        backend.commit(batch)?;
        same("changed after a commit", watch.changed(), true)?;
    }
    Ok(())
}
