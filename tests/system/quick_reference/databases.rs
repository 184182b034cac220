//! "Database Synchronization": snippets 10 to 13.

use eidetica::Result;
use eidetica::auth::Permission;
use eidetica::store::DocStore;
use eidetica::sync::Address;
use eidetica_system_tests::node::{Node, get, set, until, within};
use eidetica_system_tests::state::state;

use crate::prints::printed;
use crate::{block_on, shared, text};

#[test]
#[expect(unused_extern_crates, unused_qualifications, unused_mut, reason = "the seed's lines")]
#[rustfmt::skip]
fn create_and_share_database() {
    // [snippet 10]
    extern crate eidetica;
    use eidetica::{Instance, backend::database::InMemory, crdt::Doc, store::DocStore};

    fn main() -> eidetica::Result<()> {
    let backend = Box::new(InMemory::new());
    let instance = Instance::open(backend)?;
    instance.enable_sync()?;
    instance.create_user("alice", None)?;
    let mut user = instance.login_user("alice", None)?;
    // [end]
    printed();
    // [snippet 10]
    // Create a database to share
    let mut settings = Doc::new();
    settings.set_string("name", "My Chat Room");
    settings.set_string("description", "A room for team discussions");

    let default_key = user.get_default_key()?;
    let database = user.create_database(settings, &default_key)?;
    let tree_id = database.root_id();

    // Add some initial data
    let op = database.new_transaction()?;
    let store = op.get_store::<DocStore>("messages")?;
    store.set_string("welcome", "Welcome to the room!")?;
    op.commit()?;

    // Share the tree_id with others
    println!("Room ID: {}", tree_id);
    // [end]
    assert_eq!(printed(), [format!("Room ID: {}", database.root_id())]);
    database.grant("*", Permission::Write, 100)?;
    instance.sync()?.enable_http_transport()?;
    instance.sync()?.start_server("127.0.0.1:0")?;
    let address = instance.sync()?.get_server_address()?;

    let guest = Node::http()?;
    let told = tree_id.to_string();
    block_on(within("a sync", guest.instance.sync()?.sync_with_peer(address, Some(&told))))?;
    let there = guest.user.open_database(&told)?;
    assert_eq!(there.name()?.as_deref(), Some("My Chat Room"));
    assert_eq!(there.settings()?.get_string("description"), Some("A room for team discussions"));
    assert_eq!(text(&there, "messages", "welcome").as_deref(), Some("Welcome to the room!"));
    // [snippet 10]
    Ok(())
    }
    // [end]

    main().unwrap();
}

#[tokio::test]
#[rustfmt::skip]
async fn bootstrap_from_shared_database() -> Result<()> {
    let (host, guest) = (Node::http()?, Node::http()?);
    let there = shared(&host)?;
    let transaction = there.new_transaction()?;
    transaction.get_store::<DocStore>("messages")?.set_string("welcome", "Welcome to the room!")?;
    transaction.commit()?;
    let (db, sync) = (guest.instance.clone(), guest.instance.sync()?);
    let (peer_address, real_id) = (host.address()?, there.root_id().to_string());
    printed();
    // [snippet 11]
    // Join someone else's database using the tree_id
    let room_id = real_id.as_str(); // Received from another user
    sync.sync_with_peer(&peer_address, Some(&room_id)).await?;

    // You now have the full database locally
    let database = db.load_database(&room_id)?;
    let op = database.new_transaction()?;
    let store = op.get_store::<DocStore>("messages")?;
    println!("Welcome message: {}", store.get_string("welcome")?);
    // [end]
    assert_eq!(printed(), ["Welcome message: Welcome to the room!"]);
    assert_eq!(state(&database)?, state(&there)?);
    Ok(())
}

#[tokio::test]
#[rustfmt::skip]
async fn ongoing_synchronization() -> Result<()> {
    let (host, guest, third) = (Node::http()?, Node::http()?, Node::http()?);
    let there = shared(&host)?;
    let (sync, peer_address, tree_id) = (guest.instance.sync()?, host.address()?, *there.root_id());
    let database = within("a sync", guest.fetch(&peer_address, &tree_id)).await?;
    let at_third = within("the third's sync", third.fetch(&guest.address()?, &tree_id)).await?;
    // [snippet 12]
    // All changes automatically sync after bootstrap
    let op = database.new_transaction()?;
    let store = op.get_store::<DocStore>("messages")?;
    store.set_string("my_message", "Hello everyone!")?;
    op.commit()?; // Automatically syncs to all connected peers
    // [end]
    for replica in [&there, &at_third] {
        let arrived = || text(replica, "messages", "my_message").as_deref() == Some("Hello everyone!");
        until("the commit arrives", arrived).await;
    }
    set(&there, "latest", 1)?;
    // [snippet 12]

    // Manually sync to get latest changes
    sync.sync_with_peer(&peer_address, Some(&tree_id)).await?;
    // [end]
    assert_eq!(get(&database, "latest")?, 1);
    Ok(())
}

#[tokio::test]
#[rustfmt::skip]
async fn manual_sync_relationships() -> Result<()> {
    let (host, guest) = (Node::http()?, Node::http()?);
    let there = shared(&host)?;
    let (sync, tree_id) = (guest.instance.sync()?, *there.root_id());
    let peer_key = within("a connection", sync.connect_to_peer(&Address::http(host.address()?)?)).await?;
    // [snippet 13]
    // For fine-grained control (usually not needed)
    sync.add_tree_sync(&peer_key, &tree_id)?;
    // [end]
    until("the database is here", || {
        sync.tree_sync_state(&peer_key, tree_id).unwrap().is_some_and(|state| state.last_sync.is_some())
    })
    .await;
    let here = guest.user.open_database(tree_id)?;
    set(&there, "kept", "in sync")?;
    until("a commit arrives", || get(&here, "kept").is_ok()).await;
    // [snippet 13]

    // List synced databases for peer
    let databases = sync.get_peer_trees(&peer_key)?;

    // List peers syncing a database
    let peers = sync.get_tree_peers(&tree_id)?;
    // [end]
    assert_eq!((databases, peers), (vec![tree_id], vec![peer_key.clone()]));
    // [snippet 13]

    // Remove sync relationship
    sync.remove_tree_sync(&peer_key, &tree_id)?;
    // [end]
    assert!(!sync.is_tree_synced_with_peer(&peer_key, tree_id)?);
    assert!(sync.get_peer_trees(&peer_key)?.is_empty() && sync.get_tree_peers(tree_id)?.is_empty());
    assert!(guest.instance.has_database(tree_id)?, "what is here stays");
    Ok(())
}
