//! State is a cache of the entries: it can be lost, damaged and derived again.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use eidetica::auth::Permission;
use eidetica::backend::{Backend, InMemory};
use eidetica::crdt::{Doc, Value};
use eidetica::store::DocStore;
use eidetica::testing::{self, RawEntry};
use eidetica::{Database, ErrorKind, Id, Instance, KeyId};
use eidetica_conformance::backend::FaultyBackend;
use eidetica_kernel::Header;
use eidetica_kernel::backend::{Batch, Row, Scan, for_each_row};
use eidetica_system_tests::state::{State, assert_clean, state};

struct Place {
    backend: Arc<dyn Backend>,
    database: Database,
}

/// A database with nested maps, lists, deletes, losing writes, two stores, and an entry that a revocation voids.
fn place() -> Place {
    let backend: Arc<dyn Backend> = Arc::new(InMemory::new());
    let instance = Instance::builder().shared_backend(backend.clone()).open().unwrap();
    instance.create_user("user", None).unwrap();
    let user = instance.login_user("user", None).unwrap();
    let database = user.create_database(Doc::new(), user.get_default_key().unwrap()).unwrap();
    let write = |change: &dyn Fn(&DocStore)| {
        let transaction = database.new_transaction().unwrap();
        for name in ["data", "more"] {
            change(&transaction.get_store::<DocStore>(name).unwrap());
        }
        transaction.commit().unwrap()
    };
    for number in 0..40 {
        write(&|store| {
            store.set_path(format!("map.{}.n", number % 7), number).unwrap();
            store.push("list", Value::from(number)).unwrap();
            store.set("last", number).unwrap();
        });
    }
    write(&|store| {
        store.delete_path("map.3").unwrap();
        store.remove("list", 5).unwrap();
        store.move_item("list", 0, 10).unwrap();
    });
    let second = user.add_private_key(None).unwrap();
    database.grant(second, Permission::Admin, 50).unwrap();
    let entries = testing::export_entries(&database).unwrap();
    // The same user at another device, with the second key, while the first revokes it.
    let elsewhere = Instance::open(Box::new(InMemory::new())).unwrap();
    elsewhere.create_user("user", None).unwrap();
    let there = elsewhere.login_user("user", None).unwrap();
    there.import_key(&user.export_key(second).unwrap(), None).unwrap();
    testing::ingest(&elsewhere, database.root_id(), entries).unwrap();
    let theirs = there.open_database(database.root_id()).unwrap();
    let transaction = theirs.new_transaction().unwrap();
    transaction.get_store::<DocStore>("data").unwrap().set("void", true).unwrap();
    transaction.commit().unwrap();
    database.revoke(second).unwrap();
    testing::ingest(&instance, database.root_id(), testing::export_entries(&theirs).unwrap()).unwrap();
    let voided = database.get_store_viewer::<DocStore>("data").unwrap().get("void");
    assert!(voided.unwrap_err().is_not_found());
    Place { backend, database }
}

impl Place {
    fn rows(&self, prefix: &[u8]) -> Vec<Row> {
        let mut rows = Vec::new();
        for_each_row(
            Scan::prefix(prefix),
            |scan| self.backend.scan(scan),
            |row| {
                rows.push(row);
                Ok(())
            },
        )
        .unwrap();
        rows
    }

    fn derived(&self) -> Vec<Row> {
        testing::derived_rows(&self.database).iter().flat_map(|prefix| self.rows(prefix)).collect()
    }

    /// The rows are damaged; verifying says so, and a rebuild gives them back.
    fn damaged(&self, damage: Batch, before: (&State, &[Row])) {
        self.backend.commit(damage).unwrap();
        let found = self.database.verify().unwrap();
        assert!(!found.is_clean());
        assert!(found.problems.iter().any(|problem| problem.contains("\"data\"")), "{:#?}", found.problems);
        self.database.rebuild().unwrap();
        assert_clean(&self.database);
        assert_eq!(&state(&self.database).unwrap(), before.0);
        assert_eq!(self.derived(), before.1);
    }
}

#[test]
fn a_rebuild_gives_the_same_state_after_every_derived_row_was_deleted() {
    let place = place();
    assert_clean(&place.database);
    let (before, rows) = (state(&place.database).unwrap(), place.derived());
    assert!(rows.len() > 100, "{} rows", rows.len());
    let mut all = Batch::new();
    for (key, _) in &rows {
        all.delete(key.clone());
    }
    place.damaged(all, (&before, &rows));
}

#[test]
fn a_rebuild_gives_the_same_state_after_any_single_row_was_altered_deleted_or_added() {
    let place = place();
    let (before, rows) = (state(&place.database).unwrap(), place.derived());
    // Rows of the store "data" alone: keys of one store share their beginning, and it was written to first.
    let one_store = &rows[0].0[..10];
    let mine: Vec<&Row> = rows.iter().filter(|(key, _)| key[6..10] == one_store[6..10]).collect();
    for (key, value) in mine.iter().step_by(9) {
        let mut altered = value.to_vec();
        match altered.last_mut() {
            Some(last) => *last ^= 1,
            None => altered.push(1),
        }
        let mut damage = Batch::new();
        damage.put((*key).clone(), altered);
        place.damaged(damage, (&before, &rows));
        let mut damage = Batch::new();
        damage.delete((*key).clone());
        place.damaged(damage, (&before, &rows));
        let mut damage = Batch::new();
        damage.put([&key[..], b"\xff"].concat(), (*value).clone());
        place.damaged(damage, (&before, &rows));
    }
}

/// The database of an admin and a member, here; the member's key; and its second entry, which the first one doesn't need.
fn shared(backend: Arc<dyn Backend>) -> (Instance, Database, KeyId, Id) {
    let node = |backend| {
        let instance = Instance::builder().shared_backend(backend).open().unwrap();
        instance.create_user("user", None).unwrap();
        let user = instance.login_user("user", None).unwrap();
        let key = user.get_default_key().unwrap();
        (instance, user, key)
    };
    let (here, admin, key) = node(backend);
    let database = admin.create_database(Doc::new(), key).unwrap();
    let (there, member, key) = node(Arc::new(InMemory::new()));
    database.grant(key, Permission::Write, 100).unwrap();
    testing::ingest(&there, database.root_id(), testing::export_entries(&database).unwrap()).unwrap();
    let theirs = member.open_database(database.root_id()).unwrap();
    let write = |value: i64| {
        let transaction = theirs.new_transaction().unwrap();
        for store in ["data", "more"] {
            transaction.get_store::<DocStore>(store).unwrap().set("member", value).unwrap();
        }
        transaction.commit().unwrap()
    };
    write(1);
    let second = write(2);
    testing::ingest(&here, database.root_id(), testing::export_entries(&theirs).unwrap()).unwrap();
    (here, database, key, second)
}

fn rights_operations(database: &Database) -> usize {
    let entries = testing::export_entries(database).unwrap();
    let header = |entry: &RawEntry| Header::decode(&entry.header).unwrap();
    entries.iter().filter(|entry| header(entry).store("_rights").is_some()).count()
}

#[test]
fn a_revocation_that_breaks_off_is_finished_by_whoever_writes_next() {
    // The operation, what counts since, either store, and that it is done: five batches.
    const BATCHES: usize = 5;
    for name in ["fails", "unknown", "conflicts"] {
        for spared in 0..=BATCHES {
            let at = format!("{name} after {spared}");
            let backend = Arc::new(FaultyBackend::new(InMemory::new()));
            let (_instance, database, member, second) = shared(backend.clone());
            let before = rights_operations(&database);
            (0..spared).for_each(|_| backend.spare_next_commit());
            match name {
                "fails" => backend.fail_next_commit(ErrorKind::Io),
                // It is written, and reported as failed.
                "unknown" => backend.tear_next_commit(usize::MAX),
                _ => backend.fail_next_commit(ErrorKind::Conflict),
            }
            let told = database.revoke_since(member, second);
            assert_eq!(told.is_ok(), name == "conflicts" || spared == BATCHES, "{at}: {told:?}");
            let set = || {
                let transaction = database.new_transaction()?;
                transaction.get_store::<DocStore>("data")?.set("after", 1)?;
                transaction.commit()
            };
            if spared == BATCHES && name != "conflicts" {
                set().unwrap_err();
            }
            set().unwrap();
            let written = name != "fails" || spared > 0;
            assert_eq!(rights_operations(&database) - before, usize::from(written), "{at}");
            for store in ["data", "more"] {
                let value = database.get_store_viewer::<DocStore>(store).unwrap().get("member").unwrap();
                assert_eq!(value.as_i64(), Some(if written { 1 } else { 2 }), "{at}: {store}");
            }
            assert_clean(&database);
            let again = Instance::builder().shared_backend(Arc::new(backend.again())).open().unwrap();
            assert_clean(&again.load_database(database.root_id()).unwrap());
        }
    }
}
