//! "Legacy Sync API": snippets 5 to 9.

use eidetica::Result;
use eidetica::auth::Permission;
use eidetica::sync::state::SyncStateManager;
use eidetica::sync::{Address, Admission, ConnectionState, PeerStatus, RequestStatus, SyncError};
use eidetica_system_tests::node::{Node, get, set, until, within};
use eidetica_system_tests::state::state;

use crate::prints::printed;
use crate::shared;

#[tokio::test]
#[expect(unused_qualifications, reason = "the seed's lines")]
#[rustfmt::skip]
async fn authenticated_bootstrap() -> Result<()> {
    let (host, guest) = (Node::http()?, Node::http()?);
    host.instance.sync()?.set_admission(Admission::Automatic { cap: Permission::Write });
    let there = host.create()?;
    for number in 0..10 {
        set(&there, &format!("key {number}"), number)?;
    }
    let (sync, peer_address, tree_id) = (guest.instance.sync()?, host.address()?, *there.root_id());
    // [snippet 5]
    // For new devices joining existing databases with authentication
    sync.sync_with_peer_for_bootstrap(
        &peer_address,
        &tree_id,
        "device_key",                    // Local authentication key
        eidetica::auth::Permission::Write // Requested permission level
    ).await?;

    // This automatically:
    // 1. Connects to peer and performs handshake
    // 2. Requests database access with specified permission level
    // 3. Receives auto-approved access (or manual approval in production)
    // 4. Downloads complete database state
    // 5. Grants authenticated write access
    // [end]
    let peer = sync.get_peer_info(host.peer())?.unwrap();
    assert_eq!(peer.connection_state, ConnectionState::Connected);
    assert_eq!(there.permission_of(guest.peer())?, Some(Permission::Write));
    assert!(host.instance.sync()?.pending_bootstrap_requests()?.is_empty());
    let here = guest.instance.load_database(tree_id)?;
    assert_eq!(state(&here)?, state(&there)?);
    let written = set(&here, "written", "by the guest")?;
    assert_eq!(here.entry(written)?.author, guest.peer());
    until("what the guest wrote arrives", || get(&there, "written").is_ok()).await;

    // With manual approval, as in production.
    host.instance.sync()?.set_admission(Admission::Manual);
    let another = Node::http()?;
    let sync = another.instance.sync()?;
    let ask = || sync.sync_with_peer_for_bootstrap(&peer_address, tree_id, "device_key", Permission::Write);
    let held = within("an answer", ask()).await.unwrap_err();
    let Some(SyncError::BootstrapPending { request_id, .. }) = held.sync_error() else { panic!("{held}") };
    assert_eq!(there.permission_of(another.peer())?, None);
    host.instance.sync()?.approve_bootstrap_request(request_id, host.key()?)?;
    let request = host.instance.sync()?.get_bootstrap_request(request_id)?;
    assert!(matches!(request.status, RequestStatus::Approved { .. }));
    within("access", ask()).await?;
    assert_eq!(state(&another.instance.load_database(tree_id)?)?, state(&there)?);
    Ok(())
}

#[tokio::test]
#[rustfmt::skip]
async fn simplified_sync() -> Result<()> {
    let (host, guest) = (Node::http()?, Node::http()?);
    let there = shared(&host)?;
    set(&there, "first", 1)?;
    let (sync, peer_address, tree_id) = (guest.instance.sync()?, host.address()?, *there.root_id());
    assert!(sync.list_peers()?.is_empty());
    // [snippet 6]
    // Single call handles connection, handshake, and sync detection
    sync.sync_with_peer(&peer_address, Some(&tree_id)).await?;

    // This automatically:
    // 1. Connects to peer and performs handshake
    // 2. Bootstraps database if you don't have it locally
    // 3. Syncs incrementally if you already have the database
    // 4. Handles peer registration internally
    // [end]
    let peer = sync.get_peer_info(host.peer())?.unwrap();
    assert_eq!(peer.connection_state, ConnectionState::Connected);
    assert_eq!(peer.addresses, [Address::http(&peer_address)?]);
    assert!(sync.is_tree_synced_with_peer(host.peer(), tree_id)?);
    let here = guest.user.open_database(tree_id)?;
    assert_eq!(state(&here)?, state(&there)?);

    set(&there, "second", 2)?;
    within("a second sync", sync.sync_with_peer(&peer_address, Some(&tree_id))).await?;
    assert_eq!(get(&here, "second")?, 2);
    let operation = sync.sync_tree().new_operation()?;
    let cursor = SyncStateManager::new(&operation).get_sync_cursor(host.peer(), tree_id)?.unwrap();
    assert_eq!(cursor.received_count, there.entry_count(), "each entry came once");
    Ok(())
}

#[tokio::test]
#[rustfmt::skip]
async fn database_discovery() -> Result<()> {
    let (host, guest) = (Node::http()?, Node::http()?);
    let there = shared(&host)?;
    set(&there, "first", 1)?;
    let private = host.create()?;
    let (sync, peer_address) = (guest.instance.sync()?, host.address()?);
    printed();
    // [snippet 7]
    // Discover available databases on a peer
    let available_trees = sync.discover_peer_trees(&peer_address).await?;
    for tree in &available_trees {
        println!("Available: {} ({} entries)", tree.tree_id, tree.entry_count);
    }

    // Bootstrap from discovered database
    if let Some(tree) = available_trees.first() {
        sync.sync_with_peer(&peer_address, Some(&tree.tree_id)).await?;
    }
    // [end]
    assert_eq!(printed(), [format!("Available: {} ({} entries)", there.root_id(), there.entry_count())]);
    let here = guest.user.open_database(there.root_id())?;
    assert_eq!(state(&here)?, state(&there)?);
    assert!(!guest.instance.has_database(private.root_id())?);
    Ok(())
}

#[tokio::test]
#[rustfmt::skip]
async fn manual_peer_registration() -> Result<()> {
    let (host, guest) = (Node::http()?, Node::http()?);
    let there = shared(&host)?;
    set(&there, "first", 1)?;
    let (sync, peer_address, tree_id) = (guest.instance.sync()?, host.address()?, *there.root_id());
    let real_key = host.peer().to_string();
    // [snippet 8]
    // Register peer manually (for advanced use cases)
    let peer_key = real_key.as_str();
    sync.register_peer(peer_key, Some("Alice's Device"))?;

    // Add addresses
    sync.add_peer_address(peer_key, Address::http(&peer_address)?)?;
    sync.add_peer_address(peer_key, Address::iroh("iroh://peer_id")?)?;

    // Use low-level sync with registered peer
    sync.sync_tree_with_peer(&peer_key, &tree_id).await?;

    // Note: Manual registration is usually unnecessary
    // The sync_with_peer() method handles registration automatically
    // [end]
    let peer = sync.get_peer_info(peer_key)?.unwrap();
    assert_eq!((peer.pubkey.as_str(), peer.display_name.as_deref()), (peer_key, Some("Alice's Device")));
    assert_eq!(peer.addresses, [Address::http(&peer_address)?, Address::iroh("iroh://peer_id")?]);
    let here = guest.user.open_database(tree_id)?;
    assert_eq!(state(&here)?, state(&there)?);

    let another = Node::http()?;
    within("a sync", another.fetch(&peer_address, &tree_id)).await?;
    assert_eq!(another.instance.sync()?.list_peers()?[0].pubkey, peer_key, "registered automatically");
    Ok(())
}

#[tokio::test]
#[rustfmt::skip]
async fn peer_status_management() -> Result<()> {
    let (host, guest) = (Node::http()?, Node::http()?);
    let db = guest.instance.clone();
    let address = Address::http(host.address()?)?;
    let peer_key = within("a connection", db.sync()?.connect_to_peer(&address)).await?;
    let named = Node::http()?.peer().to_string();
    db.sync()?.register_peer(&named, Some("Alice's Device"))?;
    printed();
    // [snippet 9]
    // List all peers
    let peers = db.sync()?.list_peers()?;
    for peer in peers {
        println!("{}: {} ({})",
            peer.pubkey,
            peer.display_name.unwrap_or("Unknown".to_string()),
            peer.status
        );
    }
    // [end]
    let mut expected =
        [format!("{peer_key}: Unknown (active)"), format!("{named}: Alice's Device (active)")];
    expected.sort();
    assert_eq!(printed(), expected);
    // [snippet 9]

    // Get specific peer info
    if let Some(peer) = db.sync()?.get_peer_info(&peer_key)? {
        println!("Status: {:?}", peer.status);
        println!("Addresses: {:?}", peer.addresses);
    }
    // [end]
    assert_eq!(printed(), ["Status: Active".to_owned(), format!("Addresses: {:?}", [address])]);
    // [snippet 9]

    // Update peer status
    db.sync()?.update_peer_status(&peer_key, PeerStatus::Inactive)?;
    // [end]
    assert_eq!(db.sync()?.get_peer_info(&peer_key)?.unwrap().status, PeerStatus::Inactive);
    assert_eq!(db.sync()?.get_peer_info(&named)?.unwrap().status, PeerStatus::Active);
    Ok(())
}
