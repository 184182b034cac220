//! Several threads that write to one database, and others that read it meanwhile.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::Duration;

use bytes::Bytes;
use eidetica::auth::Permission;
use eidetica::backend::{Backend, InMemory};
use eidetica::crdt::Doc;
use eidetica::store::{DocStore, RowId, Table};
use eidetica::{Database, Error, ErrorKind, Id, Instance, Result, User, testing};
use eidetica_conformance::backend::FaultyBackend;
use eidetica_kernel::backend::{BackendCapabilities, Batch, Page, Scan, Snapshot, Watch};
use eidetica_system_tests::node::{get, set};
use eidetica_system_tests::seeded::{Dice, key};
use eidetica_system_tests::state::assert_clean;
use serde::{Deserialize, Serialize};

const WRITERS: usize = 6;
const COMMITS: usize = 60;

fn node(backend: Arc<dyn Backend>) -> (Instance, User, Database) {
    let instance = Instance::builder().shared_backend(backend).open().unwrap();
    instance.create_user("user", None).unwrap();
    let user = instance.login_user("user", None).unwrap();
    let database = user.create_database(Doc::new(), user.get_default_key().unwrap()).unwrap();
    set(&database, "kept", 1).unwrap();
    (instance, user, database)
}

#[derive(Serialize, Deserialize)]
struct Row {
    writer: usize,
    number: usize,
}

/// Inserts a row, and sets a key of its own and one that all set, in one entry.
fn write(database: &Database, writer: usize, number: usize) -> Result<Id> {
    let transaction = database.new_transaction()?;
    transaction.get_store::<Table<Row>>("rows")?.insert(&Row { writer, number })?;
    let data = transaction.get_store::<DocStore>("data")?;
    data.set(writer.to_string(), number as i64)?;
    data.set("last", format!("{writer} {number}"))?;
    transaction.commit()
}

fn held(database: &Database) -> Vec<Id> {
    testing::export_entries(database).unwrap().iter().map(testing::RawEntry::id).collect()
}

/// The rows, sorted.
fn rows(database: &Database) -> Vec<Written> {
    let table = database.get_store_viewer::<Table<Row>>("rows").unwrap();
    let row = |row: Result<(RowId, Row)>| row.map(|(_, row)| (row.writer, row.number));
    let mut rows: Vec<_> = table.scan().map(row).collect::<Result<_>>().unwrap();
    rows.sort_unstable();
    rows
}

#[test]
fn what_several_threads_commit_is_one_chain_and_all_there() {
    let (_instance, _user, database) = node(Arc::new(InMemory::new()));
    let before = database.entry_count();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let database = database.clone();
            scope.spawn(move || {
                for number in 0..COMMITS {
                    write(&database, writer, number).unwrap();
                    assert_eq!(
                        get(&database, &writer.to_string()).unwrap().as_i64(),
                        Some(number as i64),
                        "its own write is readable when its commit returns"
                    );
                }
            });
        }
    });
    assert_eq!(database.entry_count() - before, (WRITERS * COMMITS) as u64);
    assert_eq!(database.tips().len(), 1);
    assert_eq!(
        rows(&database),
        (0..WRITERS).flat_map(|writer| (0..COMMITS).map(move |number| (writer, number))).collect::<Vec<_>>()
    );
    assert_clean(&database);
}

/// What the backend does to the next batch.
#[derive(Clone, Copy)]
enum Fault {
    /// It isn't written.
    Fails(ErrorKind),
    /// It is written, and reported as failed: the connection broke.
    Unknown,
}

#[test]
fn a_commit_that_fails_takes_no_other_with_it() {
    let faults = [ErrorKind::Io, ErrorKind::Conflict, ErrorKind::LimitExceeded, ErrorKind::Full];
    let Outcome { told, failed, rows } = beside_others(&faults.map(Fault::Fails));
    assert_eq!(rows, told, "what was told is there, and nothing else");
    // One that shared a batch is written by itself when the batch fails, and others begin anew after a conflict.
    assert!(failed <= ROUNDS * 3 / 4, "{failed}");
}

#[test]
fn a_commit_whose_fate_is_unknown_is_not_made_twice() {
    let Outcome { told, failed, rows } = beside_others(&[Fault::Unknown, Fault::Fails(ErrorKind::Conflict)]);
    assert!(rows.is_sorted_by(|a, b| a < b), "none is there twice");
    assert!(told.iter().all(|told| rows.binary_search(told).is_ok()), "what was told is there");
    assert!(rows.len() - told.len() <= failed);
    assert!(failed <= ROUNDS / 2, "{failed}");
}

const ROUNDS: usize = 60;

/// A writer, and the number of its write.
type Written = (usize, usize);

struct Outcome {
    /// What the writers were told is done, sorted.
    told: Vec<Written>,
    /// How many of their commits failed.
    failed: usize,
    /// The rows at the end.
    rows: Vec<Written>,
}

/// Several threads write while the backend has these faults in turn, beside commits of other kinds and entries of another replica.
fn beside_others(faults: &[Fault]) -> Outcome {
    let backend = Arc::new(FaultyBackend::new(InMemory::new()));
    let (instance, user, database) = node(backend.clone());
    let peer = Instance::open(Box::new(InMemory::new())).unwrap();
    peer.create_user("user", None).unwrap();
    let peer_user = peer.login_user("user", None).unwrap();
    database.grant(peer_user.get_default_key().unwrap(), Permission::Write, 100).unwrap();
    testing::ingest(&peer, database.root_id(), testing::export_entries(&database).unwrap()).unwrap();
    let there = peer_user.open_database(database.root_id()).unwrap();
    let own = user.get_default_key().unwrap();
    let (told, failed, done) = (Mutex::new(Vec::new()), AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (database, told, failed, done) = (&database, &told, &failed, &done);
            scope.spawn(move || {
                for number in (0..).take_while(|_| !done.load(Ordering::Relaxed)) {
                    match write(database, writer, number) {
                        Ok(id) => told.lock().unwrap().push((id, (writer, number))),
                        Err(error) => {
                            assert_ne!(error.kind(), ErrorKind::Conflict, "{error}");
                            failed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
        scope.spawn(|| {
            let may_fail = |failed: Option<Error>| {
                let by_test = |error: &Error| error.to_string().contains("the test asked for this failure");
                assert!(failed.as_ref().is_none_or(by_test), "{failed:?}");
            };
            let mut dice = Dice::new(1);
            while !done.load(Ordering::Relaxed) {
                match dice.below(4) {
                    0 => {
                        let to = key(dice.below(9) as u64 + 100).public_key();
                        may_fail(database.grant(to, Permission::Read, 100).err());
                    }
                    1 => {
                        let transaction = database.new_transaction().unwrap();
                        transaction.get_store::<DocStore>("data").unwrap().set("unchanged", 1).unwrap();
                        let failed = transaction.commit_if_unchanged().err();
                        may_fail(failed.filter(|error| error.kind() != ErrorKind::Conflict));
                    }
                    2 => {
                        set(&there, "from the peer", 1).unwrap();
                        let theirs = testing::export_entries(&there).unwrap();
                        may_fail(testing::ingest(&instance, database.root_id(), theirs).err());
                    }
                    _ => {
                        assert_eq!(database.permission_of(own).unwrap(), Some(Permission::Admin));
                        assert_clean(&database);
                    }
                }
            }
        });
        for fault in faults.iter().cycle().take(ROUNDS) {
            match fault {
                Fault::Fails(kind) => backend.fail_next_commit(*kind),
                Fault::Unknown => backend.tear_next_commit(usize::MAX),
            }
            let seen = database.entry_count();
            while database.entry_count() < seen + 5 {
                std::thread::yield_now();
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    let (ids, mut rows_told): (Vec<Id>, Vec<_>) = told.into_inner().unwrap().into_iter().unzip();
    let held: HashSet<Id> = held(&database).into_iter().collect();
    assert!(ids.iter().all(|id| held.contains(id)), "what was told to be committed is there");
    rows_told.sort_unstable();
    assert_clean(&database);
    Outcome { told: rows_told, failed: failed.into_inner(), rows: rows(&database) }
}

/// A backend whose commits wait while the gate is shut.
struct Gated {
    inner: InMemory,
    /// Whether it is shut, and how many wait at it.
    gate: Mutex<(bool, usize)>,
    moved: Condvar,
}

impl Gated {
    fn shut(&self, shut: bool) {
        self.gate.lock().unwrap().0 = shut;
        self.moved.notify_all();
    }

    fn wait_for_one(&self) {
        drop(self.moved.wait_while(self.gate.lock().unwrap(), |(_, waiting)| *waiting == 0).unwrap());
    }
}

impl Backend for Gated {
    fn capabilities(&self) -> BackendCapabilities {
        self.inner.capabilities()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.inner.get(key)
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        self.inner.get_many(keys)
    }

    fn scan(&self, scan: &Scan) -> Result<Page> {
        self.inner.scan(scan)
    }

    fn snapshot(&self) -> Result<Arc<dyn Snapshot>> {
        self.inner.snapshot()
    }

    fn commit(&self, batch: Batch) -> Result<()> {
        let mut gate = self.gate.lock().unwrap();
        gate.1 += 1;
        self.moved.notify_all();
        let mut gate = self.moved.wait_while(gate, |(shut, _)| *shut).unwrap();
        gate.1 -= 1;
        drop(gate);
        self.inner.commit(batch)
    }

    fn flush(&self) -> Result<()> {
        self.inner.flush()
    }

    fn watch(&self, prefix: &[u8]) -> Option<Box<dyn Watch>> {
        self.inner.watch(prefix)
    }

    fn close(&self) -> Result<()> {
        self.inner.close()
    }
}

#[test]
fn who_reads_does_not_wait_for_who_writes() {
    let backend =
        Arc::new(Gated { inner: InMemory::new(), gate: Mutex::new((false, 0)), moved: Condvar::new() });
    let (_instance, _user, database) = node(backend.clone());
    backend.shut(true);
    let (done, committed) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| done.send(set(&database, "kept", 2)).unwrap());
        backend.wait_for_one();
        let (read, values) = mpsc::channel();
        let at = &database;
        scope.spawn(move || {
            let transaction = at.new_transaction().unwrap();
            let data = transaction.get_store::<DocStore>("data").unwrap();
            let values = [data.get("kept").unwrap(), get(at, "kept").unwrap()];
            read.send(values.map(|value| value.as_i64())).unwrap();
        });
        // All of this while that commit is under way; who waits for it goes on only after the failure was seen.
        let values = values.recv_timeout(Duration::from_secs(30));
        let under_way = committed.try_recv().is_err();
        backend.shut(false);
        assert_eq!(values, Ok([Some(1); 2]));
        assert!(under_way);
        committed.recv().unwrap().unwrap();
    });
    assert_eq!(get(&database, "kept").unwrap().as_i64(), Some(2));
}
