//! A database can be read as it was, and two of its states compared.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use eidetica::auth::Permission;
use eidetica::backend::InMemory;
use eidetica::crdt::{Doc, Value};
use eidetica::store::DocStore;
use eidetica::{Database, Id, Result};
use eidetica_system_tests::node::{Node, set, until, within};
use eidetica_system_tests::over::Over;

eidetica_system_tests::over_every_transport! { one_branch_is_read_without_the_other }

fn data(database: &Database, tips: &[Id]) -> Result<Doc> {
    database.at(tips)?.get_store_viewer::<DocStore>("data")?.get_all()
}

#[test]
fn every_state_that_was_can_be_read_again() -> Result<()> {
    let node = Node::http_on(Box::new(InMemory::new()))?;
    let database = node.create()?;
    let mut states = Vec::new();
    for round in 0..20 {
        let transaction = database.new_transaction()?;
        let store = transaction.get_store::<DocStore>("data")?;
        store.set(format!("key {}", round % 7), round)?;
        store.push("list", round)?;
        if round % 5 == 4 {
            store.delete(format!("key {}", round % 7))?;
        }
        transaction.commit()?;
        let now = database.get_store_viewer::<DocStore>("data")?.get_all()?;
        states.push((database.tips(), now));
    }
    for (tips, expected) in &states {
        assert_eq!(data(&database, tips)?, *expected);
    }
    let past = database.at(&states[3].0)?;
    assert_eq!((past.entry_count(), past.tips()), (5, &states[3].0[..]));
    let store = past.get_store_viewer::<DocStore>("data")?;
    assert!(store.set("key", 1).unwrap_err().is_permission_denied());
    assert!(past.get_store_viewer::<DocStore>("never")?.get_all()?.is_empty());
    assert!(database.at([Id::from_bytes([7; 32])]).unwrap_err().is_not_found());
    assert!(database.at(["no id"]).is_err());
    node.instance.close()?;
    assert!(store.get("key 1").is_err());
    Ok(())
}

#[test]
fn a_diff_names_entries_and_paths_of_both_sides() -> Result<()> {
    let node = Node::http_on(Box::new(InMemory::new()))?;
    let database = node.create()?;
    set(&database, "same", 0)?;
    let before = database.tips();
    let first = set(&database, "a", 1)?;
    let transaction = database.new_transaction()?;
    transaction.get_store::<DocStore>("data")?.set("b", 2)?;
    transaction.get_store::<DocStore>("other")?.set_path("deep.er", 3)?;
    let second = transaction.commit()?;
    let after = database.tips();

    let diff = database.diff(&before, &after)?;
    assert_eq!((&diff.added[..], &diff.removed[..]), (&[first, second][..], &[][..]));
    assert_eq!(diff.stores.keys().collect::<Vec<_>>(), ["data", "other"]);
    assert_eq!(diff.stores["data"], ["a", "b"]);
    let back = database.diff(&after, &before)?;
    assert_eq!((&back.added, &back.removed, &back.stores), (&diff.removed, &diff.added, &diff.stores));
    assert_eq!(database.diff(&after, &after)?, eidetica::Diff::default());
    Ok(())
}

async fn one_branch_is_read_without_the_other(over: Over) -> Result<()> {
    let (a, b) = (over.node()?, over.node()?);
    let here = a.create()?;
    here.grant(b.key()?, Permission::Write, 100)?;
    let there = within("the first sync", b.fetch(&a.at()?.to_string(), here.root_id())).await?;
    b.instance.sync()?.stop_server()?;
    a.instance.sync()?.stop_server()?;
    a.instance.sync()?.update_peer_status(b.peer(), eidetica::sync::PeerStatus::Blocked)?;
    let (mine, theirs) = (set(&here, "mine", 1)?, set(&there, "theirs", 2)?);
    a.instance.sync()?.update_peer_status(b.peer(), eidetica::sync::PeerStatus::Active)?;
    a.instance.sync()?.start_server(over.anywhere())?;
    within("syncing again", b.fetch(&a.at()?.to_string(), here.root_id())).await?;
    until("both branches are here", || here.tips().len() == 2).await;

    assert_eq!(data(&here, &[mine])?.get("mine"), Some(&Value::from(1)));
    assert!(data(&here, &[mine])?.get("theirs").is_none());
    assert!(data(&here, &[theirs])?.get("mine").is_none());
    let diff = here.diff([mine], [theirs])?;
    assert_eq!((diff.added, diff.removed), (vec![theirs], vec![mine]));
    assert_eq!(diff.stores["data"], ["mine", "theirs"]);

    // What is void today is void in the past, too.
    here.revoke_since(b.key()?, theirs)?;
    assert!(data(&here, &[theirs])?.get("theirs").is_none());
    Ok(())
}
