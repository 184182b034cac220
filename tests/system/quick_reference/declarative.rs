//! "Declarative Sync API": snippets 3 and 4.

use eidetica::Result;
use eidetica::auth::Permission;
use eidetica::sync::{Address, ConnectionState, SyncPeerInfo};
use eidetica_system_tests::node::{Node, get, set, until, within};
use eidetica_system_tests::proxy::{Proxy, Rules};

use crate::prints::printed;
use crate::{block_on, shared};

#[test]
#[expect(unused_extern_crates, unused_qualifications, unused_mut, clippy::clone_on_copy, reason = "the seed's lines")]
#[rustfmt::skip]
fn register_sync_peer() {
    // [snippet 3]
    extern crate eidetica;
    use eidetica::sync::{SyncPeerInfo, Address};
    use eidetica::{Instance, backend::database::InMemory, crdt::Doc};

    fn main() -> eidetica::Result<()> {
    let backend = Box::new(InMemory::new());
    let instance = Instance::open(backend)?;
    instance.enable_sync()?;
    instance.create_user("alice", None)?;
    let mut user = instance.login_user("alice", None)?;
    let default_key = user.get_default_key()?;
    let db = user.create_database(Doc::new(), &default_key)?;
    let tree_id = db.root_id().clone();
    let sync = instance.sync().expect("Sync enabled");
    let peer_pubkey = "ed25519:abc123".to_string();
    // Register a peer for persistent sync
    let handle = sync.register_sync_peer(SyncPeerInfo {
        peer_pubkey,
        tree_id,
        addresses: vec![Address {
            transport_type: "http".to_string(),
            address: "http://peer.example.com:8080".to_string(),
        }],
        auth: None,
        display_name: Some("Peer Device".to_string()),
    })?;

    // Background sync engine now handles synchronization automatically
    // [end]
    let status = handle.status()?;
    assert!(status.has_local_data);
    assert!(status.last_error.is_some_and(|error| error.contains("abc123")), "the key is no key");
    assert_eq!(status.attempts, 0);

    // The same with a peer that there is.
    let peer = Node::http()?;
    db.grant(peer.key()?, Permission::Write, 100)?;
    peer.instance.sync()?.add_tree_sync(instance.device_key(), tree_id)?;
    let handle = sync.register_sync_peer(SyncPeerInfo {
        peer_pubkey: peer.peer().to_string(),
        tree_id,
        addresses: vec![Address {
            transport_type: "http".to_string(),
            address: format!("http://{}", peer.address()?),
        }],
        auth: None,
        display_name: Some("Peer Device".to_string()),
    })?;
    sync.enable_http_transport()?;
    set(&db, "declared", 1)?;
    block_on(within("the first sync", handle.wait_for_initial_sync()))?;
    let there = peer.user.open_database(tree_id)?;
    assert_eq!(get(&there, "declared")?, 1);
    set(&db, "automatic", 1)?;
    block_on(until("a commit arrives", || get(&there, "automatic").is_ok()));
    assert_eq!(sync.get_peer_info(peer.peer())?.unwrap().display_name.as_deref(), Some("Peer Device"));
    // [snippet 3]
    Ok(())
    }
    // [end]

    main().unwrap();
}

#[tokio::test]
#[rustfmt::skip]
async fn monitor_sync_status() -> Result<()> {
    let (host, guest) = (Node::http()?, Node::http()?);
    let there = shared(&host)?;
    let sync = guest.instance.sync()?;
    let proxy = Proxy::to(host.address()?).await.unwrap();
    let (address, away) = (proxy.address(), || Rules { refuse: true, ..Rules::default() });
    proxy.reset(away());
    let handle = sync.register_sync_peer(SyncPeerInfo {
        peer_pubkey: host.peer().to_string(),
        tree_id: *there.root_id(),
        addresses: vec![Address::http(&address)?],
        auth: None,
        display_name: None,
    })?;
    printed();
    // [snippet 4]
    // Check current status
    let status = handle.status()?;
    println!("Has local data: {}", status.has_local_data);
    // [end]
    assert_eq!(printed(), ["Has local data: false"]);
    proxy.reset(Rules::default());
    // [snippet 4]

    // Wait for initial bootstrap
    handle.wait_for_initial_sync().await?;
    // [end]
    let status = handle.status()?;
    assert!(status.has_local_data && status.last_sync.is_some());
    let here = guest.user.open_database(there.root_id())?;
    // [snippet 4]

    // Add more address hints
    handle.add_address(Address {
        transport_type: "iroh".to_string(),
        address: "iroh://node_id".to_string(),
    })?;
    // [end]
    let known = sync.get_peer_addresses(host.peer())?;
    assert_eq!(known, [Address::http(&address)?, Address::new("iroh", "iroh://node_id")]);

    // A hint that leads nowhere harms nothing: the peer is gone for a while, and found again at its other address.
    proxy.reset(away());
    proxy.cut();
    let failed = || {
        let peer = sync.get_peer_info(host.peer()).unwrap().unwrap();
        peer.connection_state == ConnectionState::Disconnected && peer.last_error.is_some()
    };
    until("the link is gone, and neither address answers", failed).await;
    set(&there, "meanwhile", 1)?;
    proxy.reset(Rules::default());
    until("the peer is found again", || get(&here, "meanwhile").is_ok()).await;
    Ok(())
}
