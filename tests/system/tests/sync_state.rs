//! What is known of past exchanges, and what users want of future ones.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use eidetica::auth::Permission;
use eidetica::backend::InMemory;
use eidetica::sync::state::SyncStateManager;
use eidetica::user::{DatabasePreferences, SyncSettings};
use eidetica::{Database, ErrorKind, Result};
use eidetica_conformance::backend::FaultyBackend;
use eidetica_system_tests::node::{Node, get, set, until, within};
use eidetica_system_tests::over::Over;

eidetica_system_tests::over_http_and_iroh! {
    cursor_metadata_and_history_tell_what_was_exchanged,
    failures_are_counted_and_everything_survives_a_restart,
    a_database_whose_users_turned_its_sync_off_is_as_if_it_were_not_there,
    without_on_commit_a_commit_waits_for_the_next_exchange,
}

fn shared(a: &Node) -> Result<Database> {
    let here = a.create()?;
    here.grant("*", Permission::Write, 100)?;
    Ok(here)
}

async fn cursor_metadata_and_history_tell_what_was_exchanged(over: Over) -> Result<()> {
    let (a, b) = (over.node()?, over.node()?);
    let here = shared(&a)?;
    let last = set(&here, "one", 1)?;
    let sync = b.instance.sync()?;
    let nothing = SyncStateManager::new(&sync.sync_tree().new_operation()?).get_sync_metadata(a.peer())?;
    assert!(nothing.is_none());

    within("a sync", sync.sync_with_peer(a.address()?, Some(here.root_id()))).await?;
    let operation = sync.sync_tree().new_operation()?;
    let state = SyncStateManager::new(&operation);
    let cursor = state.get_sync_cursor(a.peer(), here.root_id())?.unwrap();
    assert_eq!((cursor.last_synced_entry, cursor.total_synced_count), (Some(last), here.entry_count()));
    assert_eq!((cursor.received_count, cursor.acknowledged_count), (here.entry_count(), 0));
    assert!(cursor.last_sync_time.is_some());
    let metadata = state.get_sync_metadata(a.peer())?.unwrap();
    assert!(metadata.successful_sync_count >= 1);
    assert_eq!(metadata.failed_sync_count, 0);
    assert_eq!(metadata.total_entries_synced, here.entry_count());
    assert!(metadata.total_bytes_synced > 500, "{metadata:?}");
    assert!(metadata.average_sync_duration_ms > 0.0);
    assert!((metadata.sync_success_rate() - 1.0).abs() < f64::EPSILON);
    let history = state.get_sync_history(a.peer(), Some(10))?;
    let first = history.last().unwrap();
    assert!(first.success && first.error_message.is_none());
    assert_eq!((first.tree_id, first.entries_count), (*here.root_id(), here.entry_count()));
    assert!(first.bytes_transferred > 0 && first.started_at <= first.completed_at);

    // The other side counts what was acknowledged.
    let of_b = || {
        let operation = a.instance.sync().unwrap().sync_tree().new_operation().unwrap();
        SyncStateManager::new(&operation).get_sync_cursor(b.peer(), here.root_id()).unwrap()
    };
    until("a's cursor", || of_b().is_some_and(|cursor| cursor.acknowledged_count == here.entry_count()))
        .await;
    // A transaction reads as of its first read.
    set(&here, "two", 2)?;
    let there = b.user.open_database(here.root_id())?;
    until("the commit arrives", || get(&there, "two").is_ok()).await;
    assert_eq!(state.get_sync_cursor(a.peer(), here.root_id())?.unwrap(), cursor);
    Ok(())
}

async fn failures_are_counted_and_everything_survives_a_restart(over: Over) -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let file = || Box::new(eidetica::backend::File::open(folder.path()).unwrap());
    let a = over.node()?;
    let here = shared(&a)?;
    let peer = a.peer();
    {
        let b = over.node_on(file())?;
        let sync = b.instance.sync()?;
        within("a sync", sync.sync_with_peer(a.address()?, Some(here.root_id()))).await?;
        a.instance.close()?;
        let failed = || {
            let operation = sync.sync_tree().new_operation().unwrap();
            let state = SyncStateManager::new(&operation);
            state.get_sync_history(peer, None).unwrap().into_iter().find(|sync| !sync.success)
        };
        let _ = within("a failure", sync.sync_tree_with_peer(peer, here.root_id())).await;
        until("the failure is written down", || failed().is_some()).await;
        assert!(!failed().unwrap().error_message.unwrap().is_empty());
        b.instance.close()?;
    }
    let b = over.node_on(file())?;
    let sync = b.instance.sync()?;
    assert!(sync.is_tree_synced_with_peer(peer, here.root_id())?);
    let operation = sync.sync_tree().new_operation()?;
    let state = SyncStateManager::new(&operation);
    assert!(state.get_sync_cursor(peer, here.root_id())?.is_some());
    let metadata = state.get_sync_metadata(peer)?.unwrap();
    assert!(metadata.successful_sync_count >= 1 && metadata.failed_sync_count >= 1, "{metadata:?}");
    assert!(metadata.sync_success_rate() < 1.0);
    assert!(state.get_sync_history(peer, Some(1))?.len() == 1);
    sync.remove_peer(peer)?;
    let operation = sync.sync_tree().new_operation()?;
    assert!(SyncStateManager::new(&operation).get_sync_metadata(peer)?.is_none());
    Ok(())
}

#[test]
fn the_sync_state_cannot_be_written_through_its_interface() -> Result<()> {
    let node = Node::http()?;
    let tree = node.instance.sync()?.sync_tree();
    let written = set(&tree, "cursor", 1).unwrap_err();
    assert!(written.is_permission_denied(), "{written}");
    assert!(tree.grant("*", Permission::Read, 100).unwrap_err().is_permission_denied());
    assert!(!node.instance.has_database(tree.root_id())?);
    assert_eq!(tree.entry_count(), 0);
    Ok(())
}

fn preferences(node: &Node, database: &Database, settings: SyncSettings) -> Result<DatabasePreferences> {
    Ok(DatabasePreferences { database_id: *database.root_id(), key_id: node.key()?, sync_settings: settings })
}

async fn a_database_whose_users_turned_its_sync_off_is_as_if_it_were_not_there(over: Over) -> Result<()> {
    let (a, b) = (over.node()?, over.node()?);
    let here = shared(&a)?;
    let off = SyncSettings { sync_enabled: false, ..SyncSettings::default() };
    a.user.add_database(preferences(&a, &here, off.clone())?)?;
    let sync = b.instance.sync()?;
    let refused =
        within("a sync", sync.sync_with_peer(a.address()?, Some(here.root_id()))).await.unwrap_err();
    assert!(refused.is_permission_denied(), "{refused}");
    assert!(within("a list", sync.discover_peer_trees(a.address()?)).await?.is_empty());
    a.user.set_prefs(preferences(&a, &here, SyncSettings::default())?)?;
    within("a sync", sync.sync_with_peer(a.address()?, Some(here.root_id()))).await?;

    // Off again: the open link carries nothing more, and the node itself doesn't sync it either.
    a.user.set_prefs(preferences(&a, &here, off)?)?;
    set(&here, "hidden", 1)?;
    let there = b.user.open_database(here.root_id())?;
    let _ = within("a sync", sync.sync_with_peer(a.address()?, Some(here.root_id()))).await.unwrap_err();
    assert!(get(&there, "hidden").unwrap_err().is_not_found());
    let own = a.instance.sync()?.sync_tree_with_peer(b.peer(), here.root_id());
    assert!(within("its own sync", own).await.is_err());
    // A second user of it wants it: that is enough.
    a.instance.create_user("other", None)?;
    let other = a.instance.login_user("other", None)?;
    let key_id = other.get_default_key()?;
    let wanted =
        DatabasePreferences { database_id: *here.root_id(), key_id, sync_settings: SyncSettings::default() };
    other.add_database(wanted)?;
    within("a sync", sync.sync_with_peer(a.address()?, Some(here.root_id()))).await?;
    assert_eq!(get(&there, "hidden")?.as_i64(), Some(1));
    Ok(())
}

async fn without_on_commit_a_commit_waits_for_the_next_exchange(over: Over) -> Result<()> {
    let (a, b) = (over.node()?, over.node()?);
    let here = shared(&a)?;
    let calm = SyncSettings { sync_on_commit: false, ..SyncSettings::default() };
    a.user.add_database(preferences(&a, &here, calm)?)?;
    let sync = b.instance.sync()?;
    within("a sync", sync.sync_with_peer(a.address()?, Some(here.root_id()))).await?;
    let there = b.user.open_database(here.root_id())?;
    // Both sides' schedulers begin with an exchange of their own.
    for (node, peer, attempts) in [(&a, &b, 1), (&b, &a, 2)] {
        let sync = node.instance.sync()?;
        let begun =
            || sync.tree_sync_state(peer.peer(), here.root_id()).unwrap().unwrap().attempts >= attempts;
        until("the scheduler's first exchange", begun).await;
        within("its end", sync.sync_tree_with_peer(peer.peer(), here.root_id())).await?;
    }
    set(&here, "calm", 1)?;
    // Another database's commit does come: so would this one's.
    let other = shared(&a)?;
    within("a sync", sync.sync_with_peer(a.address()?, Some(other.root_id()))).await?;
    set(&other, "eager", 1)?;
    let eager = b.user.open_database(other.root_id())?;
    until("the other's commit", || get(&eager, "eager").is_ok()).await;
    assert!(get(&there, "calm").unwrap_err().is_not_found());
    within("a sync", sync.sync_with_peer(a.address()?, Some(here.root_id()))).await?;
    assert_eq!(get(&there, "calm")?.as_i64(), Some(1));
    Ok(())
}

#[test]
fn preferences_are_kept_per_user_and_checked() -> Result<()> {
    let node = Node::http()?;
    let here = node.create()?;
    assert!(node.user.database_prefs(here.root_id()).unwrap_err().is_not_found());
    assert!(
        node.user.set_prefs(preferences(&node, &here, SyncSettings::default())?).unwrap_err().is_not_found()
    );
    let second = node.user.add_private_key(Some("second"))?;
    here.grant(second, Permission::Write, 100)?;
    let mut wanted = preferences(&node, &here, SyncSettings::default())?;
    wanted.key_id = second;
    wanted.sync_settings.properties.insert("colour".to_owned(), "green".to_owned());
    node.user.add_database(wanted.clone())?;
    assert_eq!(node.user.database_prefs(here.root_id())?, wanted);
    assert_eq!(node.user.list_database_prefs()?, [wanted.clone()]);
    // It is opened with the key that was named: one that may write, and not grant.
    let opened = node.user.open_database(here.root_id())?;
    set(&opened, "by", "second")?;
    assert!(opened.grant("*", Permission::Read, 200).unwrap_err().is_permission_denied());
    wanted.sync_settings.interval_seconds = Some(0);
    assert!(node.user.add_database(wanted.clone()).is_err());
    wanted.key_id = node.peer();
    assert!(node.user.add_database(wanted).unwrap_err().is_not_found());
    node.user.remove_database(here.root_id())?;
    assert!(node.user.list_database_prefs()?.is_empty());
    assert!(node.instance.has_database(here.root_id())?, "the database itself stays");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn preferences_count_as_they_are_written_also_where_the_flush_fails() -> Result<()> {
    let backend = FaultyBackend::new(InMemory::new());
    let (a, b) = (Node::http_on(Box::new(backend.again()))?, Node::http()?);
    let here = a.create()?;
    here.grant("*", Permission::Read, 200)?;
    let off = SyncSettings { sync_enabled: false, ..SyncSettings::default() };
    backend.fail_next_flush(ErrorKind::Io);
    assert_eq!(a.user.add_database(preferences(&a, &here, off)?).unwrap_err().kind(), ErrorKind::Io);
    assert!(!a.user.database_prefs(here.root_id())?.sync_settings.sync_enabled);
    within("a refusal", b.fetch(&a.address()?, here.root_id())).await.unwrap_err();
    a.user.remove_database(here.root_id())?;
    within("a sync", b.fetch(&a.address()?, here.root_id())).await?;
    Ok(())
}
