//! Several threads that write to one database, and others that read it meanwhile.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};

use bytes::Bytes;
use eidetica::auth::Permission;
use eidetica::backend::{Backend, InMemory};
use eidetica::crdt::Doc;
use eidetica::store::{DocStore, Table};
use eidetica::{Database, ErrorKind, Id, Instance, Result, User, testing};
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

/// Inserts a row and sets a key, in one entry.
fn write(database: &Database, writer: usize, number: usize) -> Result<Id> {
    let transaction = database.new_transaction()?;
    transaction.get_store::<Table<Row>>("rows")?.insert(&Row { writer, number })?;
    transaction.get_store::<DocStore>("data")?.set(writer.to_string(), number as i64)?;
    transaction.commit()
}

fn held(database: &Database) -> Vec<Id> {
    testing::export_entries(database).unwrap().iter().map(testing::RawEntry::id).collect()
}

fn rows(database: &Database) -> usize {
    database.get_store_viewer::<Table<Row>>("rows").unwrap().count().unwrap()
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
    assert_eq!(rows(&database), WRITERS * COMMITS);
    assert_clean(&database);
}

/// Beside the writers: commits of other kinds, entries of another replica, and a backend that fails now and then.
#[test]
fn a_commit_that_fails_takes_no_other_with_it() {
    const FAULTS: [ErrorKind; 4] =
        [ErrorKind::Io, ErrorKind::Conflict, ErrorKind::LimitExceeded, ErrorKind::Full];
    const ROUNDS: usize = 60;
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
    let note = |result: Result<Id>| match result {
        Ok(id) => told.lock().unwrap().push(id),
        Err(error) => {
            assert!(FAULTS.contains(&error.kind()), "{error}");
            failed.fetch_add(1, Ordering::Relaxed);
        }
    };
    let before = held(&database).len();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (database, note, done) = (&database, &note, &done);
            scope.spawn(move || {
                let numbers = (0..).take_while(|_| !done.load(Ordering::Relaxed));
                numbers.for_each(|number| note(write(database, writer, number)));
            });
        }
        scope.spawn(|| {
            let mut dice = Dice::new(1);
            while !done.load(Ordering::Relaxed) {
                match dice.below(4) {
                    0 => {
                        let to = key(dice.below(9) as u64 + 100).public_key();
                        let granted = database.grant(to, Permission::Read, 100);
                        assert!(granted.is_ok() || FAULTS.contains(&granted.unwrap_err().kind()));
                    }
                    1 => {
                        let transaction = database.new_transaction().unwrap();
                        let data = transaction.get_store::<DocStore>("data").unwrap();
                        data.set("unchanged", 1).unwrap();
                        match transaction.commit_if_unchanged() {
                            Err(error) if error.kind() == ErrorKind::Conflict => {}
                            other => note(other),
                        }
                    }
                    2 => {
                        set(&there, "from the peer", 1).unwrap();
                        let theirs = testing::export_entries(&there).unwrap();
                        let taken = testing::ingest(&instance, database.root_id(), theirs);
                        assert!(taken.is_ok() || FAULTS.contains(&taken.unwrap_err().kind()));
                    }
                    _ => {
                        assert_eq!(database.permission_of(own).unwrap(), Some(Permission::Admin));
                        assert!(database.verify().unwrap().is_clean());
                    }
                }
            }
        });
        for round in 0..ROUNDS {
            backend.fail_next_commit(FAULTS[round % FAULTS.len()]);
            let seen = database.entry_count();
            while database.entry_count() < seen + 5 {
                std::thread::yield_now();
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    let told = told.into_inner().unwrap();
    let held: HashSet<Id> = held(&database).into_iter().collect();
    assert!(told.iter().all(|id| held.contains(id)), "what was told to be committed is there");
    assert!(failed.load(Ordering::Relaxed) <= ROUNDS * WRITERS, "who isn't concerned goes on");
    assert!(held.len() - before >= told.len());
    assert_clean(&database);
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
        // All of this while that commit is under way.
        let transaction = database.new_transaction().unwrap();
        let data = transaction.get_store::<DocStore>("data").unwrap();
        assert_eq!(data.get("kept").unwrap().as_i64(), Some(1));
        assert_eq!(get(&database, "kept").unwrap().as_i64(), Some(1));
        assert!(committed.try_recv().is_err(), "it is still under way");
        backend.shut(false);
        committed.recv().unwrap().unwrap();
    });
    assert_eq!(get(&database, "kept").unwrap().as_i64(), Some(2));
}
