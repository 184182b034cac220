//! "Testing Patterns": snippets 24 and 25.

use std::time::Duration;

use eidetica::auth::Permission;
use eidetica::backend::InMemory;
use eidetica::crdt::Doc;
use eidetica::store::DocStore;
use eidetica::sync::transports::iroh;
use eidetica::sync::{Address, PeerStatus};
use eidetica::{Instance, Result};
use eidetica_system_tests::node::until;

use crate::text;

#[rustfmt::skip]
// [snippet 24]
#[tokio::test]
async fn test_iroh_sync_local() -> Result<()> {
    use iroh::RelayMode;
    use eidetica::sync::transports::iroh::IrohTransport;

    // Configure Iroh for local testing (no relay servers)
    let transport1 = IrohTransport::builder()
        .relay_mode(RelayMode::Disabled)
        .build()?;
    let transport2 = IrohTransport::builder()
        .relay_mode(RelayMode::Disabled)
        .build()?;

    // Setup databases with local Iroh transport
    let db1 = Instance::open(Box::new(InMemory::new()))?.enable_sync()?;
    db1.sync()?.enable_iroh_transport_with_config(transport1)?;
    db1.sync()?.start_server("ignored")?; // Iroh manages its own addresses

    let db2 = Instance::open(Box::new(InMemory::new()))?.enable_sync()?;
    db2.sync()?.enable_iroh_transport_with_config(transport2)?;
    db2.sync()?.start_server("ignored")?;

    // Get the serialized NodeAddr (includes direct addresses)
    let addr1 = db1.sync()?.get_server_address()?;
    let addr2 = db2.sync()?.get_server_address()?;

    // Connect peers using full NodeAddr info
    let peer1 = db2.sync()?.connect_to_peer(&Address::iroh(&addr1)?).await?;
    let peer2 = db1.sync()?.connect_to_peer(&Address::iroh(&addr2)?).await?;

    // Now they can sync directly via P2P
    // [end]
    assert_eq!((&peer1, &peer2), (&db1.device_key().to_string(), &db2.device_key().to_string()));
    db1.create_user("user", None)?;
    let user = db1.login_user("user", None)?;
    let database = user.create_database(Doc::new(), user.get_default_key()?)?;
    database.grant("*", Permission::Write, 100)?;
    db2.sync()?.sync_tree_with_peer(&peer1, database.root_id()).await?;
    let there = db2.load_database(database.root_id())?;
    let transaction = database.new_transaction()?;
    transaction.get_store::<DocStore>("data")?.set_string("test", "value")?;
    transaction.commit()?;
    until("the commit is there", || text(&there, "data", "test").as_deref() == Some("value")).await;
    // [snippet 24]
    Ok(())
}
// [end]

#[expect(unused_mut, reason = "the seed's lines")]
#[rustfmt::skip]
// [snippet 25]
#[tokio::test]
async fn test_sync_between_peers() -> Result<()> {
    // Setup first peer
    let instance1 = Instance::open(Box::new(InMemory::new()))?.enable_sync()?;
    instance1.create_user("peer1", None)?;
    let mut user1 = instance1.login_user("peer1", None)?;
    instance1.sync()?.enable_http_transport()?;
    instance1.sync()?.start_server("127.0.0.1:0")?; // Random port

    let addr1 = instance1.sync()?.get_server_address()?;

    // Setup second peer
    let instance2 = Instance::open(Box::new(InMemory::new()))?.enable_sync()?;
    instance2.create_user("peer2", None)?;
    let mut user2 = instance2.login_user("peer2", None)?;
    instance2.sync()?.enable_http_transport()?;

    // Connect peers
    let addr = Address::http(&addr1)?;
    let peer1_key = instance2.sync()?.connect_to_peer(&addr).await?;
    instance2.sync()?.update_peer_status(&peer1_key, PeerStatus::Active)?;

    // Setup sync relationship
    let key1 = user1.get_default_key()?;
    let tree1 = user1.create_database(Doc::new(), &key1)?;
    let key2 = user2.get_default_key()?;
    let tree2 = user2.create_database(Doc::new(), &key2)?;
    // [end]
    tree1.grant("*", Permission::Write, 100)?;
    // [snippet 25]

    instance2.sync()?.add_tree_sync(&peer1_key, &tree1.root_id().to_string())?;

    // Test sync
    let op1 = tree1.new_transaction()?;
    let store1 = op1.get_store::<DocStore>("data")?;
    store1.set_string("test", "value")?;
    op1.commit()?;

    // Wait for sync
    tokio::time::sleep(Duration::from_secs(2)).await;

    // Verify sync occurred
    // ... verification logic
    // [end]
    let root = tree1.root_id();
    until("the database is here", || instance2.has_database(root).unwrap()).await;
    let there = user2.open_database(root)?;
    until("the commit is here", || text(&there, "data", "test").as_deref() == Some("value")).await;
    assert!(!instance1.has_database(tree2.root_id())?, "the other was not shared");
    // [snippet 25]

    Ok(())
}
// [end]
