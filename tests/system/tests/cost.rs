//! What a commit and a read cost in rows doesn't depend on how long the history is.

#![allow(clippy::print_stdout, reason = "figures are for people")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use eidetica::backend::InMemory;
use eidetica::crdt::Doc;
use eidetica::store::DocStore;
use eidetica::{Database, Instance};
use eidetica_conformance::backend::{Counting, Counts};

/// Commits before the last measurement.
const LONG: u64 = 200_000;
const SHORT: u64 = 10;

/// One commit: the same key each time, and a new one in a map.
fn commit(database: &Database, number: u64) {
    let transaction = database.new_transaction().unwrap();
    let store = transaction.get_store::<DocStore>("data").unwrap();
    store.set("last", number).unwrap();
    store.set_path(format!("map.{:08}", number.wrapping_mul(7_919) % 100_000_000), number).unwrap();
    transaction.commit().unwrap();
}

fn counted(backend: &Counting, work: impl FnOnce()) -> Counts {
    let before = backend.counts();
    work();
    backend.counts() - before
}

#[test]
fn a_commit_on_a_long_history_touches_as_many_rows_as_on_a_short_one() {
    let backend = Counting::new(InMemory::new());
    let instance = Instance::open(Box::new(backend.clone())).unwrap();
    instance.create_user("user", None).unwrap();
    let user = instance.login_user("user", None).unwrap();
    let database = user.create_database(Doc::new(), user.get_default_key().unwrap()).unwrap();
    let read = || {
        let store = database.get_store_viewer::<DocStore>("data").unwrap();
        store.get("last").unwrap();
        store.get_path("map.00007919").unwrap();
    };
    let mut costs = Vec::new();
    for number in 0..=LONG {
        if number == SHORT || number == LONG {
            costs.push((counted(&backend, || commit(&database, number)), counted(&backend, read)));
        } else {
            commit(&database, number);
        }
    }
    for (cost, read) in &costs {
        println!("commit: {cost:?}\n  read: {read:?}");
    }
    let (short, long) = (costs[0], costs[1]);
    assert_eq!(short.0.gets, long.0.gets);
    assert_eq!(short.0.rows_scanned, long.0.rows_scanned);
    assert_eq!(short.0.rows_put, long.0.rows_put);
    assert_eq!(short.0.rows_deleted, long.0.rows_deleted);
    assert_eq!((short.0.commits, short.0.flushes), (1, 1), "one batch, one flush");
    assert_eq!((long.0.commits, long.0.flushes), (1, 1));
    // Numbers have grown by a few bytes.
    assert!(
        long.0.bytes_put < short.0.bytes_put + 64,
        "{} and {} bytes",
        short.0.bytes_put,
        long.0.bytes_put
    );
    assert_eq!(short.1, long.1, "reading a key");
}
