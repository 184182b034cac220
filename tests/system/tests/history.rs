//! A database can be read as it was, and two of its states compared.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use eidetica::auth::Permission;
use eidetica::backend::InMemory;
use eidetica::crdt::{Doc, Value};
use eidetica::store::DocStore;
use eidetica::{Database, ErrorKind, Id, Result};
use eidetica_system_tests::node::{Node, get, set, until, within};
use eidetica_system_tests::over::Over;

eidetica_system_tests::over_every_transport! {
    one_branch_is_read_without_the_other,
    a_transaction_on_older_entries_is_a_branch_that_merges_everywhere
}

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

async fn a_transaction_on_older_entries_is_a_branch_that_merges_everywhere(over: Over) -> Result<()> {
    let (a, b) = (over.node()?, over.node()?);
    let database = a.create()?;
    database.grant("*", Permission::Write, 100)?;
    set(&database, "title", "first")?;
    let transaction = database.new_transaction()?;
    transaction.get_store::<DocStore>("data")?.push("list", 1)?;
    transaction.commit()?;
    let old = database.tips();
    let copy = b.fetch(&a.at()?.to_string(), database.root_id()).await?;
    set(&database, "title", "second")?;
    set(&database, "later", true)?;

    let transaction = database.new_transaction_at(&old)?;
    let store = transaction.get_store::<DocStore>("data")?;
    assert_eq!(store.get_string("title")?, "first");
    assert!(store.get("later").unwrap_err().is_not_found());
    assert!(store.delete("later").unwrap_err().is_not_found());
    store.push("list", 2)?;
    store.set("title", "branched")?;
    assert_eq!(store.get_string("title")?, "branched");
    let branched = transaction.commit()?;

    let parents = database.entry(branched)?.parents;
    assert_eq!(parents, old);
    assert_eq!(database.tips().len(), 2);
    // It was written last: its register wins. What the other branch alone wrote stays.
    assert_eq!(get(&database, "title")?.as_str(), Some("branched"));
    assert_eq!(get(&database, "later")?.as_bool(), Some(true));
    within("the branch on the other side", b.fetch(&a.at()?.to_string(), database.root_id())).await?;
    let all = |database: &Database| database.get_store_viewer::<DocStore>("data")?.get_all();
    assert_eq!(all(&copy)?, all(&database)?);
    assert_eq!(data(&database, &[branched])?, data(&copy, &[branched])?);
    let merged = set(&copy, "merged", true)?;
    assert_eq!(copy.tips(), [merged]);
    Ok(())
}

#[test]
fn a_transaction_on_older_entries_needs_entries_and_the_rights_of_then() -> Result<()> {
    let node = Node::http_on(Box::new(InMemory::new()))?;
    let database = node.create()?;
    let before = database.tips();
    let none: [Id; 0] = [];
    let error = database.new_transaction_at(none).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(database.new_transaction_at([Id::from_bytes([7; 32])]).unwrap_err().is_not_found());

    node.instance.create_user("other", None)?;
    let other = node.instance.login_user("other", None)?;
    database.grant(other.get_default_key()?, Permission::Write, 50)?;
    let theirs = other.open_database(database.root_id())?;
    let transaction = theirs.new_transaction_at(&before)?;
    transaction.get_store::<DocStore>("data")?.set("key", 1)?;
    assert!(transaction.commit().unwrap_err().is_permission_denied());

    // Too many to follow.
    let mut tips = Vec::new();
    for round in 0..40 {
        let transaction = database.new_transaction_at(&before)?;
        transaction.get_store::<DocStore>("data")?.set("key", round)?;
        tips.push(transaction.commit()?);
    }
    let transaction = database.new_transaction_at(&tips)?;
    transaction.get_store::<DocStore>("data")?.set("key", 41)?;
    let error = transaction.commit().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    assert_eq!(get(&database, "key")?.as_i64(), Some(39));
    Ok(())
}
