//! What reading, staging and folding cost, in rows: independent of what else is there.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::Replica;
use eidetica_kernel::store::RowOverlay;
use eidetica_kernel::{Result, Store};
use eidetica_store_doc::{DocKind, DocStore, Value};

/// Rows that `use_it` reads of the replica's store.
fn rows_read(replica: &Replica, use_it: impl FnOnce(&DocStore) -> Result<()>) -> usize {
    let before = replica.rows.counts().rows;
    use_it(&replica.read()).unwrap();
    replica.rows.counts().rows - before
}

fn crowded() -> Replica {
    let mut replica = Replica::new(1);
    replica.commit(|store| {
        let inner: Value = (0..2_000).collect();
        store.set("aside", inner)?;
        (0..2_000).try_for_each(|n| store.set_path(format!("map.{n}.below.deep"), n))?;
        store.extend("list", 0..2_000)
    });
    replica
}

#[test]
fn reading_a_key_costs_one_row_and_one_per_level() {
    let replica = crowded();
    assert_eq!(rows_read(&replica, |store| store.get_path("map.7.below.deep").map(drop)), 5);
    assert_eq!(rows_read(&replica, |store| store.contains("missing").map(drop)), 2);
}

#[test]
fn a_push_reads_a_few_rows_whatever_the_length_of_the_list() {
    let replica = crowded();
    let read = rows_read(&replica, |store| store.push("list", 1));
    assert!(read <= 10, "{read}");
    let read = rows_read(&replica, |store| (0..1_000).try_for_each(|n| store.push("list", n)));
    assert!(read <= 10_000, "{read}");
}

#[test]
fn listing_keys_skips_what_is_below_them() {
    let mut replica = Replica::new(1);
    replica.commit(|store| {
        for key in ["a", "b", "c"] {
            store.set(key, (0..20_000).collect::<Value>())?;
        }
        Ok(())
    });
    let read = rows_read(&replica, |store| store.keys().map(drop));
    assert!(read <= 500, "{read}");
}

#[test]
fn folding_one_key_reads_and_writes_its_path_only() {
    let mut replica = crowded();
    let written = replica.commit(|store| store.set_path("map.7.below.deep", "new"));
    let before = replica.rows.counts().rows;
    let mut newest = written.clone();
    newest.stamp.clock = eidetica_kernel::HybridClock::from_bits(1 << 50);
    let mut overlay = RowOverlay::new(&*replica.rows);
    DocKind.apply(&mut overlay, &newest.stamped(9)).unwrap();
    // Five paths: their rows, and who lost there.
    assert_eq!(overlay.changes().len(), 10);
    assert_eq!(replica.rows.counts().rows - before, 5);
}

#[test]
fn a_payload_of_one_key_is_small() {
    let written = Replica::new(1).commit(|store| store.set("k", 1));
    assert!(written.payload.body.len() <= 12, "{}", written.payload.body.len());
}
