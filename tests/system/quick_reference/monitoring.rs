//! "Monitoring and Diagnostics": snippets 16 to 18.

use eidetica::sync::state::SyncStateManager;
use eidetica::sync::{Address, SyncError};
use eidetica::{Database, Id, Instance, Result, backend::InMemory};
use eidetica_system_tests::node::{Node, set, until, within};

use crate::prints::printed;
use crate::shared;

#[tokio::test]
#[rustfmt::skip]
async fn server_control() -> Result<()> {
    let db = Instance::open(Box::new(InMemory::new()))?.enable_sync()?;
    db.sync()?.enable_http_transport()?;
    let stopped = db.sync()?.get_server_address().unwrap_err();
    assert_eq!(stopped.sync_error(), Some(&SyncError::ServerNotRunning));
    let peer = Node::http()?;
    printed();
    // [snippet 16]
    // Start/stop sync server
    let sync = db.sync()?;
    sync.start_server("127.0.0.1:0")?;

    // Check server status
    if sync.is_server_running() {
        let addr = sync.get_server_address()?;
        println!("Server running at: {}", addr);
    }
    // [end]
    let address = Address::http(sync.get_server_address()?)?;
    assert_eq!(printed(), [format!("Server running at: {}", address.address)]);
    let key = within("a connection", peer.instance.sync()?.connect_to_peer(&address)).await?;
    assert_eq!(key, db.device_key().to_string());
    until("the peer is registered here", || {
        sync.get_peer_info(peer.peer()).is_ok_and(|peer| peer.is_some())
    })
    .await;
    // [snippet 16]

    // Stop server
    sync.stop_server()?;
    // [end]
    assert!(!sync.is_server_running());
    sync.start_server(&address.address)?;
    assert_eq!(sync.get_server_address()?, address.address, "the port binds again at once");
    sync.stop_server()?;
    let another = Node::http()?;
    let refused = within("a refusal", another.instance.sync()?.connect_to_peer(&address)).await.unwrap_err();
    assert!(matches!(refused.sync_error(), Some(SyncError::ConnectionFailed { .. })), "{refused}");
    Ok(())
}

/// A database that was synced with a peer, which refused another one: once, or twice where the scheduler asked too.
async fn synced() -> Result<(Node, Database, Node)> {
    let (host, guest) = (Node::http()?, Node::http()?);
    let there = shared(&host)?;
    set(&there, "last", 1)?;
    let (sync, address) = (guest.instance.sync()?, host.address()?);
    within("a sync", sync.sync_with_peer(&address, Some(there.root_id()))).await?;
    let unknown = Id::from_bytes([9; 32]);
    within("a refusal", sync.sync_with_peer(&address, Some(&unknown))).await.unwrap_err();
    let failed = || {
        let operation = sync.sync_tree().new_operation().unwrap();
        let metadata = SyncStateManager::new(&operation).get_sync_metadata(host.peer()).unwrap();
        metadata.is_some_and(|metadata| metadata.failed_sync_count > 0)
    };
    until("the refusal is written down", failed).await;
    sync.remove_tree_sync(host.peer(), unknown)?;
    Ok((host, there, guest))
}

#[tokio::test]
#[rustfmt::skip]
async fn sync_state_tracking() -> Result<()> {
    let (host, there, guest) = within("two syncs", synced()).await?;
    let (db, peer_key, tree_id) = (guest.instance.clone(), host.peer(), *there.root_id());
    printed();
    // [snippet 17]
    // Get sync state manager
    let op = db.sync()?.sync_tree().new_operation()?;
    let state_manager = SyncStateManager::new(&op);

    // Get sync cursor for peer-database relationship
    let cursor = state_manager.get_sync_cursor(&peer_key, &tree_id)?;
    if let Some(cursor) = cursor {
        println!("Last synced: {:?}", cursor.last_synced_entry);
        println!("Total synced: {}", cursor.total_synced_count);
    }

    // Get peer metadata
    let metadata = state_manager.get_sync_metadata(&peer_key)?;
    if let Some(meta) = metadata {
        println!("Successful syncs: {}", meta.successful_sync_count);
        println!("Failed syncs: {}", meta.failed_sync_count);
    }
    // [end]
    let metadata = state_manager.get_sync_metadata(peer_key)?.unwrap();
    assert!(metadata.successful_sync_count >= 1 && metadata.failed_sync_count >= 1, "{metadata:?}");
    assert_eq!(printed(), [
        format!("Last synced: {:?}", Some(there.tips()[0])),
        format!("Total synced: {}", there.entry_count()),
        format!("Successful syncs: {}", metadata.successful_sync_count),
        format!("Failed syncs: {}", metadata.failed_sync_count),
    ]);
    let stranger = Node::http()?.peer();
    assert!(state_manager.get_sync_cursor(stranger, tree_id)?.is_none());
    assert!(state_manager.get_sync_metadata(stranger)?.is_none());
    Ok(())
}

#[tokio::test]
#[rustfmt::skip]
async fn sync_state_tracking_with_history() -> Result<()> {
    let (host, there, guest) = within("two syncs", synced()).await?;
    let (sync, peer_key, tree_id) = (guest.instance.sync()?, host.peer(), *there.root_id());
    printed();
    // [snippet 18]
    use eidetica::sync::state::SyncStateManager;

    // Get sync database operation
    let op = sync.sync_tree().new_operation()?;
    let state_manager = SyncStateManager::new(&op);

    // Check sync cursor
    let cursor = state_manager.get_sync_cursor(&peer_key, &tree_id)?.expect("synced before");
    println!("Last synced: {:?}", cursor.last_synced_entry);
    println!("Total synced: {}", cursor.total_synced_count);

    // Check sync metadata
    let metadata = state_manager.get_sync_metadata(&peer_key)?.expect("synced before");
    println!("Success rate: {:.2}%", metadata.sync_success_rate() * 100.0);
    println!("Avg duration: {:.1}ms", metadata.average_sync_duration_ms);

    // Get recent sync history
    let history = state_manager.get_sync_history(&peer_key, Some(10))?;
    for entry in history {
        println!("Sync {}: {} entries in {:.1}ms",
            entry.sync_id, entry.entries_count, entry.duration_ms);
    }
    // [end]
    assert!(metadata.successful_sync_count >= 1 && metadata.failed_sync_count >= 1, "{metadata:?}");
    assert!(metadata.average_sync_duration_ms > 0.0);
    let past = state_manager.get_sync_history(peer_key, None)?;
    assert!((2..=10).contains(&past.len()));
    let (succeeded, failed) = (metadata.successful_sync_count as f64, metadata.failed_sync_count as f64);
    let mut expected = vec![
        format!("Last synced: {:?}", Some(there.tips()[0])),
        format!("Total synced: {}", there.entry_count()),
        format!("Success rate: {:.2}%", succeeded / (succeeded + failed) * 100.0),
        format!("Avg duration: {:.1}ms", metadata.average_sync_duration_ms),
    ];
    expected.extend(past.iter().map(|sync| {
        format!("Sync {}: {} entries in {:.1}ms", sync.sync_id, sync.entries_count, sync.duration_ms)
    }));
    assert_eq!(printed(), expected);
    let first = past.last().unwrap();
    assert!(first.success && first.duration_ms > 0.0);
    assert_eq!((first.tree_id, first.entries_count), (tree_id, there.entry_count()));
    let refused = past.iter().filter(|sync| !sync.success && sync.error_message.is_some());
    assert_eq!(refused.count() as u64, metadata.failed_sync_count);
    Ok(())
}
