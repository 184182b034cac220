//! "Configuration Examples": snippets 21 to 23.

use eidetica::sync::{Address, ConnectionState};
use eidetica::{Instance, Result, backend::InMemory};
use eidetica_system_tests::node::{Node, get, set, until, within};

use crate::shared;

#[tokio::test]
#[rustfmt::skip]
async fn development_setup() -> Result<()> {
    let there = Node::http()?;
    let db = Instance::open(Box::new(InMemory::new()))?.enable_sync()?;
    let peer_address = there.address()?;
    // [snippet 21]
    // Fast, responsive sync for development
    // Enable HTTP transport for easy debugging
    db.sync()?.enable_http_transport()?;
    db.sync()?.start_server("127.0.0.1:0")?;

    // Connect to local test peer
    let addr = Address::http(&peer_address)?;
    let peer = db.sync()?.connect_to_peer(&addr).await?;
    // [end]
    assert_eq!(peer, there.peer().to_string());
    let known = db.sync()?.get_peer_info(&peer)?.unwrap();
    assert_eq!((known.connection_state, known.addresses), (ConnectionState::Connected, vec![addr]));

    let another = Node::http()?;
    let address = Address::http(db.sync()?.get_server_address()?)?;
    let served = within("a connection", another.instance.sync()?.connect_to_peer(&address)).await?;
    assert_eq!(served, db.device_key().to_string());

    // Commits are seen at once.
    let database = shared(&there)?;
    within("a sync", db.sync()?.sync_tree_with_peer(&peer, database.root_id())).await?;
    let here = db.load_database(database.root_id())?;
    set(&database, "key", 1)?;
    until("a commit arrives", || get(&here, "key").is_ok()).await;
    Ok(())
}

#[tokio::test]
#[rustfmt::skip]
async fn production_setup() -> std::result::Result<(), Box<dyn std::error::Error>> {
    use eidetica::sync::transports::iroh;

    /// A node that is reached by its sockets alone.
    fn peer() -> Result<Instance> {
        let instance = Instance::open(Box::new(InMemory::new()))?.enable_sync()?;
        let transport = IrohTransport::builder().relay_mode(RelayMode::Disabled).build()?;
        instance.sync()?.enable_iroh_transport_with_config(transport)?;
        instance.sync()?.start_server("ignored")?;
        Ok(instance)
    }

    let there = peer()?;
    let peer_node_id = there.sync()?.get_server_address()?;
    let db = Instance::open(Box::new(InMemory::new()))?.enable_sync()?;
    // [snippet 22]
    // Use Iroh for production deployments (defaults to n0's relay servers)
    db.sync()?.enable_iroh_transport()?;
    // [end]
    // Nobody relays here: what is on this machine is reached all the same.
    let by_default = within("a connection", db.sync()?.connect_to_peer(&Address::iroh(&peer_node_id)?)).await?;
    assert_eq!(by_default, there.device_key().to_string());
    let db = Instance::open(Box::new(InMemory::new()))?.enable_sync()?;
    // [snippet 22]

    // Or configure for specific environments:
    use iroh::RelayMode;
    use eidetica::sync::transports::iroh::IrohTransport;

    // Custom relay server (e.g., enterprise deployment)
    let relay_url: iroh::RelayUrl = "https://relay.example.com".parse()?;
    let relay_node = iroh::RelayConfig::new(relay_url, Some(Default::default()));
    let transport = IrohTransport::builder()
        .relay_mode(RelayMode::Custom(iroh::RelayMap::from_iter([relay_node])))
        .build()?;
    db.sync()?.enable_iroh_transport_with_config(transport)?;

    // Connect to peers
    let addr = Address::iroh(peer_node_id)?;
    let peer = db.sync()?.connect_to_peer(&addr).await?;

    // Sync happens automatically:
    // - Immediate on commit
    // - Retry with exponential backoff
    // - Periodic sync every 5 minutes
    // [end]
    // Retries and the period are every instance's: `setup` has them.
    assert_eq!(peer, there.device_key().to_string());
    there.create_user("user", None)?;
    let user = there.login_user("user", None)?;
    let host = Node { instance: there, user };
    let database = shared(&host)?;
    db.sync()?.add_tree_sync(&peer, database.root_id())?;
    until("the database is here", || db.has_database(database.root_id()).unwrap()).await;
    let here = db.load_database(database.root_id())?;
    set(&database, "key", 1)?;
    until("a commit arrives", || get(&here, "key").is_ok()).await;
    Ok(())
}

#[tokio::test]
#[rustfmt::skip]
async fn multi_database_setup() -> Result<()> {
    // [snippet 23]
    // Run multiple sync-enabled databases
    let db1 = Instance::open(Box::new(InMemory::new()))?.enable_sync()?;
    db1.sync()?.enable_http_transport()?;
    db1.sync()?.start_server("127.0.0.1:0")?;

    let db2 = Instance::open(Box::new(InMemory::new()))?.enable_sync()?;
    db2.sync()?.enable_http_transport()?;
    db2.sync()?.start_server("127.0.0.1:0")?;

    // Connect them together
    let addr = Address::http(db1.sync()?.get_server_address()?)?;
    let peer = db2.sync()?.connect_to_peer(&addr).await?;
    // [end]
    assert_eq!(peer, db1.device_key().to_string());
    assert_ne!(db1.sync()?.get_server_address()?, db2.sync()?.get_server_address()?);
    let known = || db1.sync().unwrap().get_peer_info(db2.device_key()).unwrap();
    let connected = || known().is_some_and(|peer| peer.connection_state == ConnectionState::Connected);
    until("each knows the other", connected).await;

    db1.create_user("user", None)?;
    let user = db1.login_user("user", None)?;
    let database = shared(&Node { instance: db1.clone(), user })?;
    within("a sync", db2.sync()?.sync_tree_with_peer(&peer, database.root_id())).await?;
    let there = db2.load_database(database.root_id())?;
    set(&database, "key", 1)?;
    until("a commit arrives", || get(&there, "key").is_ok()).await;
    Ok(())
}
