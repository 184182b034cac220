//! Entries that are made in one step show together or not at all.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use eidetica::auth::Permission;
use eidetica::backend::InMemory;
use eidetica::crdt::{Doc, Import, Value};
use eidetica::store::DocStore;
use eidetica::{Database, Error, Instance, Result, User};
use eidetica_conformance::backend::{Counting, FaultyBackend};
use eidetica_kernel::{Backend, ErrorKind};
use eidetica_system_tests::seeded::VirtualTime;
use eidetica_system_tests::state::assert_clean;

const STORE: &str = "data";

struct Node {
    instance: Instance,
    user: User,
    database: Database,
}

fn node(backend: Arc<dyn Backend>) -> Node {
    let instance = Instance::builder().shared_backend(backend).open().unwrap();
    instance.create_user("user", None).unwrap();
    let user = instance.login_user("user", None).unwrap();
    let database = user.create_database(Doc::new(), user.get_default_key().unwrap()).unwrap();
    set(&database, "kept", 1).unwrap();
    Node { instance, user, database }
}

fn set(database: &Database, key: &str, value: i64) -> Result<eidetica::Id> {
    let transaction = database.new_transaction()?;
    transaction.get_store::<DocStore>(STORE)?.set(key, value)?;
    transaction.commit()
}

fn root(database: &Database) -> Value {
    database.get_store_viewer::<DocStore>(STORE).unwrap().root().unwrap()
}

/// More than fits in one entry: lists in maps in lists.
fn large() -> Value {
    let row = |n: i64| {
        let row =
            Doc::from_iter([("n".to_owned(), Value::from(n)), ("list".to_owned(), Value::from(vec![n, -n]))]);
        Value::from(row)
    };
    Value::List((0..5_000).map(row).collect())
}

/// As the command line imports what doesn't fit in one entry; says how many it took.
fn import(database: &Database, value: Value) -> Result<usize> {
    database.atomically(|database| {
        let (mut import, mut entries) = (Import::new(value), 0);
        while !import.is_done() {
            let transaction = database.new_transaction()?;
            import.stage(&transaction.get_store::<DocStore>(STORE)?)?;
            transaction.commit()?;
            entries += 1;
        }
        Ok(entries)
    })
}

#[test]
fn many_entries_are_one_batch_and_one_flush() {
    let backend = Counting::new(InMemory::new());
    let node = node(Arc::new(backend.clone()));
    let before = backend.counts();
    let entries = import(&node.database, large()).unwrap();
    let counts = backend.counts() - before;
    assert!(entries > 1, "{entries}");
    assert_eq!((counts.commits, counts.flushes), (1, 1));
    assert_eq!(root(&node.database), large());
    assert_eq!(node.database.tips().len(), 1);
    assert_clean(&node.database);
    // The chain goes on from there.
    set(&node.database, "after", 2).unwrap_err();
    let transaction = node.database.new_transaction().unwrap();
    transaction.get_store::<DocStore>("other").unwrap().set("after", 2).unwrap();
    transaction.commit().unwrap();
    assert_eq!(node.database.tips().len(), 1);
    assert_clean(&node.database);
}

#[test]
fn a_disk_that_is_full_and_a_crash_leave_what_was_there() {
    let backend = FaultyBackend::new(InMemory::new());
    let first = node(Arc::new(backend.again()));
    let before = root(&first.database);
    backend.fail_next_commit(ErrorKind::Full);
    let error = import(&first.database, large()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    assert_eq!(root(&first.database), before);
    assert_clean(&first.database);
    import(&first.database, large()).unwrap();
    assert_eq!(root(&first.database), large());
    import(&first.database, Value::from(7)).unwrap();
    let id = *first.database.root_id();

    backend.fail_next_flush(ErrorKind::Io);
    import(&first.database, large()).unwrap_err();
    // Power fails before anything of it was flushed.
    backend.crash(0).unwrap();
    let instance = Instance::open(Box::new(backend.again())).unwrap();
    let database = instance.login_user("user", None).unwrap().open_database(id).unwrap();
    assert_eq!(root(&database), Value::from(7));
    assert_clean(&database);
}

#[test]
fn nothing_shows_before_the_end_and_nothing_is_left_of_a_failure() {
    let node = node(Arc::new(InMemory::new()));
    let (database, before) = (&node.database, root(&node.database));
    let outside = database.clone();
    let failed: Result<()> = database.atomically(|inside| {
        set(inside, "a", 1)?;
        set(inside, "kept", 2)?;
        assert_eq!(inside.get_store_viewer::<DocStore>(STORE)?.get("kept")?, Value::from(2));
        assert_eq!(root(&outside), before);
        Err(Error::new(ErrorKind::InvalidInput, "making", "it", "the application says so"))
    });
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(root(database), before);

    let mut kept = None;
    let id = database
        .atomically(|inside| {
            kept = Some(inside.clone());
            set(inside, "a", 1)?;
            set(inside, "b", 2)
        })
        .unwrap();
    assert_eq!(database.tips(), [id]);
    let error = set(&kept.unwrap(), "c", 3).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    assert!(database.get_store_viewer::<DocStore>(STORE).unwrap().get("c").unwrap_err().is_not_found());
    assert!(database.atomically(|_| Ok(5)).unwrap() == 5, "nothing to do is done");
    let error = database.atomically(|inside| inside.new_transaction()?.commit_if_unchanged()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert_clean(database);
}

#[test]
fn what_others_commit_meanwhile_stands_beside_it() {
    let node = node(Arc::new(InMemory::new()));
    let database = &node.database;
    let outside = database.clone();
    database
        .atomically(|inside| {
            set(inside, "inside", 1)?;
            set(&outside, "outside", 2)?;
            set(inside, "inside", 3)
        })
        .unwrap();
    let store = database.get_store_viewer::<DocStore>(STORE).unwrap();
    assert_eq!(store.get("inside").unwrap(), Value::from(3));
    assert_eq!(store.get("outside").unwrap(), Value::from(2));
    assert_eq!(database.tips().len(), 2);
    set(database, "merged", 4).unwrap();
    assert_eq!(database.tips().len(), 1);
    assert_clean(database);
}

#[test]
fn rights_are_what_they_are_at_the_end() {
    let node = node(Arc::new(InMemory::new()));
    let (database, before) = (&node.database, root(&node.database));
    let error = database.atomically(|inside| {
        set(inside, "a", 1)?;
        inside.grant("*", Permission::Read, 100)
    });
    assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidInput);

    let key = node.user.add_private_key(None).unwrap();
    database.grant(key, Permission::Write, 50).unwrap();
    node.instance.create_user("guest", None).unwrap();
    let guest = node.instance.login_user("guest", None).unwrap();
    let guest_key = guest.get_default_key().unwrap();
    database.grant(guest_key, Permission::Write, 60).unwrap();
    let theirs = guest.open_database(database.root_id()).unwrap();
    let error = theirs.atomically(|inside| {
        set(inside, "a", 1)?;
        database.revoke(guest_key)
    });
    assert!(error.unwrap_err().is_permission_denied());
    assert_eq!(root(database), before);
    assert_clean(database);
}

#[test]
fn a_clock_that_was_set_back_is_no_hindrance() {
    let (time, backend) = (VirtualTime::new(), Arc::new(InMemory::new()));
    let open = |skew_ms: i64| {
        let context = time.context(skew_ms.unsigned_abs(), skew_ms);
        Instance::builder().shared_backend(backend.clone()).context(context).open().unwrap()
    };
    let instance = open(3_600_000);
    instance.create_user("user", None).unwrap();
    let user = instance.login_user("user", None).unwrap();
    let database = user.create_database(Doc::new(), user.get_default_key().unwrap()).unwrap();
    set(&database, "before", 1).unwrap();
    let id = *database.root_id();

    let instance = open(0);
    let database = instance.login_user("user", None).unwrap().open_database(id).unwrap();
    set(&database, "plain", 2).unwrap();
    database.atomically(|inside| set(inside, "step", 3)).unwrap();
    assert_eq!(database.get_store_viewer::<DocStore>(STORE).unwrap().get("step").unwrap(), Value::from(3));
    assert_clean(&database);
}
