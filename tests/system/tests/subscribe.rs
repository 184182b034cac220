//! Subscribers hear of every change once, say where they are, and go on from there.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use eidetica::auth::Permission;
use eidetica::backend::{File, InMemory};
use eidetica::store::DocStore;
use eidetica::{Change, Database, Event, Id, Origin, Position, Result, Subscription};
use eidetica_system_tests::node::{Node, get, set, within};
use eidetica_system_tests::over::Over;

eidetica_system_tests::over_every_transport! {
    changes_of_this_node_and_of_a_peer_are_told_apart,
    a_revocation_that_voids_entries_resets_its_subscribers,
}

fn in_memory() -> Result<(Node, Database)> {
    let node = Node::http_on(Box::new(InMemory::new()))?;
    let database = node.create()?;
    Ok((node, database))
}

fn change(event: Option<Event>) -> Change {
    match event {
        Some(Event::Change(change)) => change,
        other => panic!("a change, not {other:?}"),
    }
}

/// What can be read now.
fn drain(changes: &mut Subscription) -> Result<Vec<Event>> {
    std::iter::from_fn(|| changes.try_next().transpose()).collect()
}

async fn changes_of_this_node_and_of_a_peer_are_told_apart(over: Over) -> Result<()> {
    let (a, b) = (over.node()?, over.node()?);
    let here = a.create()?;
    here.grant(b.key()?, Permission::Write, 100)?;
    let mut changes = here.subscribe()?;
    let own = set(&here, "colour", "red")?;
    let first = change(within("the own change", changes.next()).await.transpose()?);
    assert_eq!((&first.store[..], first.entry, first.author), ("data", own, a.key()?));
    assert_eq!((first.origin, &first.paths[..]), (Origin::Local, &["colour".to_owned()][..]));

    let there = within("the first sync", b.fetch(&a.at()?.to_string(), here.root_id())).await?;
    let theirs = set(&there, "size", 7)?;
    let second = change(within("the peer's change", changes.next()).await.transpose()?);
    assert_eq!((second.entry, second.author, second.origin), (theirs, b.key()?, Origin::Peer));
    assert_eq!(here.entry(theirs)?.origin, Origin::Peer);
    assert_eq!(here.entry(own)?.origin, Origin::Local);
    Ok(())
}

#[test]
fn a_subscriber_goes_on_after_a_restart_without_a_gap_or_a_repetition() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let (id, kept, expected) = {
        let node = Node::http_on(Box::new(File::open(folder.path())?))?;
        let database = node.create()?;
        let mut changes = database.subscribe()?;
        let transaction = database.new_transaction()?;
        transaction.get_store::<DocStore>("first")?.set("a", 1)?;
        transaction.get_store::<DocStore>("second")?.set("b", 2)?;
        let both = transaction.commit()?;
        // It stops between the two stores of one entry.
        let told = change(changes.try_next()?);
        assert_eq!((&told.store[..], told.entry), ("first", both));
        let later = set(&database, "c", 3)?;
        node.instance.close()?;
        (*database.root_id(), told.position.to_string(), vec![("second", both), ("data", later)])
    };
    let node = Node::http_on(Box::new(File::open(folder.path())?))?;
    let database = node.user.open_database(id)?;
    let mut changes = database.subscribe_from(kept.parse()?)?;
    let told: Vec<Change> = drain(&mut changes)?.into_iter().map(|event| change(Some(event))).collect();
    let told: Vec<(&str, Id)> = told.iter().map(|change| (&change.store[..], change.entry)).collect();
    assert_eq!(told, expected);
    node.instance.close()
}

#[test]
fn a_slow_subscriber_is_told_that_it_lags_and_can_have_what_it_missed() -> Result<()> {
    let (_node, database) = in_memory()?;
    let mut changes = database.subscribe()?;
    let mut written = Vec::new();
    for number in 0..1_025 {
        written.push(set(&database, "number", number)?);
    }
    let Some(Event::Lagged { resume }) = changes.try_next()? else { panic!("it lags") };
    assert_eq!(changes.try_next()?, None);
    let last = set(&database, "number", "last")?;
    assert_eq!(change(changes.try_next()?).entry, last);

    written.push(last);
    let mut every = database.subscribe_from(resume)?;
    let told: Vec<Id> = drain(&mut every)?.into_iter().map(|event| change(Some(event)).entry).collect();
    assert_eq!(told, written);
    Ok(())
}

#[test]
fn a_subscription_ends_with_the_instance_and_with_the_database() -> Result<()> {
    let (node, database) = in_memory()?;
    let other = node.create()?;
    let (mut ends_first, mut ends_later) = (other.subscribe()?, database.subscribe()?);
    let waiting = std::thread::spawn(move || ends_first.next_blocking().is_none());
    node.instance.remove_database(other.root_id())?;
    assert!(waiting.join().unwrap(), "removed");
    let waiting = std::thread::spawn(move || ends_later.next_blocking().is_none());
    node.instance.close()?;
    assert!(waiting.join().unwrap(), "closed");
    assert!(database.subscribe().is_err());
    Ok(())
}

#[test]
fn a_subscription_keeps_no_instance_alive() -> Result<()> {
    let (node, database) = in_memory()?;
    let mut changes = database.subscribe()?;
    set(&database, "key", 1)?;
    drop((node, database));
    let waiting = std::thread::spawn(move || changes.blocking_iter().count());
    assert!(waiting.join().unwrap() <= 1, "it ends");
    Ok(())
}

async fn a_revocation_that_voids_entries_resets_its_subscribers(over: Over) -> Result<()> {
    let (a, b) = (over.node()?, over.node()?);
    let here = a.create()?;
    here.grant(b.key()?, Permission::Write, 100)?;
    let there = within("the first sync", b.fetch(&a.at()?.to_string(), here.root_id())).await?;
    let mut changes = here.subscribe()?;
    let stolen = set(&there, "key", "stolen")?;
    assert_eq!(change(within("the change", changes.next()).await.transpose()?).entry, stolen);
    let mut changes = here.subscribe()?;
    let before = changes.position();
    let revocation = here.revoke_since(b.key()?, stolen)?;
    let Some(Event::Reset { position }) = changes.try_next()? else { panic!("a reset") };
    assert!(get(&here, "key").unwrap_err().is_not_found(), "the stores are derived when it is told");
    assert!(!here.entry(stolen)?.counts);
    let told = change(changes.try_next()?);
    assert_eq!((&told.store[..], told.entry), ("_rights", revocation));
    assert_ne!(before, position);

    // Who reads from the beginning is told only of what counts.
    let text = position.to_string();
    let mut parts: Vec<&str> = text.split('-').collect();
    parts[3] = "0";
    let start: Position = parts.join("-").parse()?;
    let told = drain(&mut here.subscribe_from(start)?)?;
    let told: BTreeSet<Id> = told.into_iter().map(|event| change(Some(event)).entry).collect();
    assert!(told.contains(here.root_id()) && told.contains(&revocation) && !told.contains(&stolen));
    Ok(())
}

#[test]
fn positions_of_another_database_and_of_another_copy_are_recognised() -> Result<()> {
    let (node, database) = in_memory()?;
    let other = node.create()?;
    let foreign = other.subscribe()?.position();
    let error = database.subscribe_from(foreign).unwrap_err();
    assert!(error.to_string().contains("another database"), "{error}");
    // A position ahead of the log: the data folder was restored from an older backup.
    let ahead = database.subscribe()?.position().to_string();
    let mut parts: Vec<&str> = ahead.split('-').collect();
    parts[3] = "ffff";
    let mut changes = database.subscribe_from(parts.join("-").parse()?)?;
    let Some(Event::Reset { position }) = changes.try_next()? else { panic!("a reset") };
    assert_eq!(position, database.subscribe()?.position());
    for bad in ["", "-", "1-2-3-4", "1-2-3-4-5-6", "+1-2-3-4-5", "1-2-3-4-fff", "g-1-1-1-1", "1-1-1-1-"] {
        assert!(bad.parse::<Position>().is_err(), "{bad:?}");
    }
    Ok(())
}

#[test]
fn entries_come_in_causal_order_in_pages() -> Result<()> {
    let (node, database) = in_memory()?;
    let mut written = vec![*database.root_id()];
    for number in 0..300 {
        written.push(set(&database, "number", number)?);
    }
    let mut entries = database.entries()?;
    let first = entries.next().unwrap()?;
    assert!(first.parents.is_empty() && first.counts && first.author == node.key()?);
    // What comes while one reads isn't part of it.
    set(&database, "number", "later")?;
    let mut known = BTreeSet::from([first.id]);
    let mut order = vec![first.id];
    for entry in entries {
        let entry = entry?;
        assert!(!entry.parents.is_empty() && entry.parents.iter().all(|parent| known.contains(parent)));
        assert_eq!((&entry.stores[..], entry.origin), (&["data".to_owned()][..], Origin::Local));
        known.insert(entry.id);
        order.push(entry.id);
    }
    assert_eq!(order, written);
    node.instance.close()?;
    assert!(database.entries().is_err());
    Ok(())
}

#[test]
fn names_that_begin_with_an_underscore_belong_to_the_system() -> Result<()> {
    let (_node, database) = in_memory()?;
    let transaction = database.new_transaction()?;
    for name in ["_rights", "_mine", "_"] {
        let error = transaction.get_store::<DocStore>(name).unwrap_err();
        assert_eq!(error.kind(), eidetica::ErrorKind::InvalidInput, "{name}");
    }
    transaction.get_store::<DocStore>("_settings")?.set("name", "mine")?;
    transaction.commit()?;
    assert_eq!(database.name()?.as_deref(), Some("mine"));
    Ok(())
}
