//! Either side of a transfer goes away in the middle of it and comes back: everything that was written down is still there.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use eidetica::auth::Permission;
use eidetica::backend::{Backend, File};
use eidetica::crdt::Value;
use eidetica::sync::state::{SyncCursor, SyncHistoryEntry, SyncMetadata, SyncStateManager};
use eidetica::sync::{Address, BootstrapRequest, PeerInfo, SyncError};
use eidetica::{Database, Error, Id, KeyId, Result};
use eidetica_system_tests::node::{Node, get, set, until, within};
use eidetica_system_tests::over::Over;
use eidetica_system_tests::route::Route;
use eidetica_system_tests::seeded::noise;
use eidetica_system_tests::state::{assert_clean, state};

eidetica_system_tests::over_http_and_iroh! {
    who_receives_is_closed_in_the_middle_of_a_transfer_and_comes_back,
    who_receives_is_dropped_in_the_middle_of_a_transfer_and_comes_back,
    who_sends_is_closed_in_the_middle_of_a_transfer_and_comes_back,
}

/// Bytes after which the transfer stands still: half of it, and far more than may be on its way unacknowledged.
const HALFWAY_BYTES: u64 = 3_000_000;
const ENTRIES: u64 = 1_000;

fn file(folder: &Path) -> Result<Box<dyn Backend>> {
    Ok(Box::new(File::open(folder)?))
}

/// What a node has written down of a peer and of databases shared with it.
#[derive(Debug)]
struct Known {
    peer: PeerInfo,
    trees: Vec<Id>,
    addresses: Vec<Address>,
    metadata: SyncMetadata,
    history: Vec<SyncHistoryEntry>,
    cursors: Vec<Option<SyncCursor>>,
    requests: Vec<BootstrapRequest>,
}

fn known(node: &Node, peer: KeyId, trees: &[Id]) -> Result<Known> {
    let sync = node.instance.sync()?;
    let operation = sync.sync_tree().new_operation()?;
    let state = SyncStateManager::new(&operation);
    let mut related = sync.get_peer_trees(peer)?;
    related.sort_unstable();
    Ok(Known {
        peer: sync.get_peer_info(peer)?.unwrap(),
        trees: related,
        addresses: sync.get_peer_addresses(peer)?,
        metadata: state.get_sync_metadata(peer)?.unwrap(),
        history: state.get_sync_history(peer, None)?,
        cursors: trees.iter().map(|tree| state.get_sync_cursor(peer, *tree)).collect::<Result<_>>()?,
        requests: sync.pending_bootstrap_requests()?,
    })
}

/// Nothing that was known is lost; a node that comes back may have learnt more.
fn assert_kept(before: &Known, after: &Known) {
    assert_eq!(after.trees, before.trees);
    assert_eq!(after.requests, before.requests);
    for address in &before.addresses {
        assert!(after.addresses.contains(address), "{address} is forgotten");
    }
    let of = |known: &Known| {
        let peer = &known.peer;
        (peer.pubkey.clone(), peer.display_name.clone(), peer.status, peer.first_seen)
    };
    assert_eq!(of(after), of(before));
    assert!(after.peer.last_successful_sync >= before.peer.last_successful_sync);
    assert!(after.history.ends_with(&before.history), "{:#?}\n{:#?}", before.history, after.history);
    let counts = |metadata: &SyncMetadata| {
        (metadata.successful_sync_count, metadata.total_entries_synced, metadata.total_bytes_synced)
    };
    assert!(counts(&after.metadata).0 >= counts(&before.metadata).0);
    assert!(counts(&after.metadata).1 >= counts(&before.metadata).1);
    assert!(counts(&after.metadata).2 >= counts(&before.metadata).2);
    for (before, after) in before.cursors.iter().zip(&after.cursors) {
        let total = |cursor: &Option<SyncCursor>| cursor.as_ref().map(|cursor| cursor.total_synced_count);
        assert!(total(after) >= total(before), "{before:?} {after:?}");
    }
}

/// Two nodes on files, in the middle of a transfer, with everything that there is to remember.
struct Middle {
    over: Over,
    folders: [tempfile::TempDir; 2],
    a: Node,
    b: Node,
    /// Asks A for access, and waits for an answer.
    c: Node,
    request: String,
    route: Route,
    /// In sync; a database of A's, and one of B's with a request for access, too.
    small: Database,
    /// On its way from A to B.
    large: Database,
    fetching: tokio::task::JoinHandle<Result<()>>,
}

fn pending(error: &Error) -> String {
    match error.sync_error() {
        Some(SyncError::BootstrapPending { request_id, .. }) => request_id.clone(),
        _ => panic!("not pending: {error}"),
    }
}

/// `c` asks for access; the request waits.
async fn ask(c: &Node, at: &str, database: &Id) -> Result<()> {
    let asking =
        c.instance.sync()?.sync_with_peer_for_bootstrap(at, database, "device_key", Permission::Write);
    within("an answer", asking).await
}

impl Middle {
    async fn new(over: Over) -> Result<Self> {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let a = over.secluded_on(file(folders[0].path())?)?;
        let b = over.node_on(file(folders[1].path())?)?;
        let c = over.node()?;
        let route = Route::to(over, &a).await.unwrap();
        let (small, large) = (a.create()?, a.create()?);
        for database in [&small, &large] {
            database.grant(b.key()?, Permission::Write, 100)?;
        }
        set(&small, "small", 1)?;
        let there = within("the small one", b.fetch(&route.address(), small.root_id())).await?;
        set(&there, "back", 2)?;
        until("what B wrote is at A", || get(&small, "back").is_ok()).await;
        let own = b.create()?;
        let request = pending(&ask(&c, &route.address(), small.root_id()).await.unwrap_err());
        pending(&ask(&c, &b.address()?, own.root_id()).await.unwrap_err());
        let dead = over.node()?;
        b.instance.sync()?.add_peer_address(a.peer(), dead.at()?)?;
        dead.instance.close()?;

        for number in 0..ENTRIES {
            set(&large, &number.to_string(), Value::from(noise(number, 6_000)))?;
        }
        route.stall_after(HALFWAY_BYTES);
        let syncing = b.instance.sync()?.sync_with_peer(route.address(), Some(large.root_id()));
        let fetching = tokio::spawn(syncing);
        until("the transfer stands still", || route.passed() >= HALFWAY_BYTES).await;
        until("some of it is written down", || {
            let known = known(&b, a.peer(), &[*large.root_id()]).unwrap();
            known.cursors[0].as_ref().is_some_and(|cursor| cursor.received_count > 0)
        })
        .await;
        Ok(Self { over, folders, a, b, c, request, route, small, large, fetching })
    }

    fn trees(&self) -> [Id; 2] {
        [*self.small.root_id(), *self.large.root_id()]
    }

    /// The transfer comes to its end at B, and the request for access too.
    async fn complete(self) -> Result<()> {
        self.route.reset();
        let Self { over, a, b, c, request, small, large, .. } = self;
        let route = Route::to(over, &a).await.unwrap();
        for database in [&small, &large] {
            let there = within("the rest", b.fetch(&route.address(), database.root_id())).await?;
            until("both are equal", || state(&there).unwrap() == state(database).unwrap()).await;
            assert_clean(&there);
            assert_clean(database);
        }
        for (node, peer) in [(&b, a.peer()), (&a, b.peer())] {
            let ended = known(node, peer, &[])?.history;
            let done = |sync: &SyncHistoryEntry| sync.success && sync.tree_id == *large.root_id();
            assert!(ended.iter().any(done), "{ended:#?}");
        }
        a.instance.sync()?.approve_bootstrap_request(&request, a.key()?)?;
        ask(&c, &route.address(), small.root_id()).await?;
        let at_c = c.instance.load_database(small.root_id())?;
        assert_eq!(get(&at_c, "back")?.as_i64(), Some(2));
        Ok(())
    }
}

/// Opens a folder whose last user may still be on its way out.
async fn reopened(over: Over, folder: &Path) -> Result<Node> {
    let mut backend = None;
    until("the folder is free", || {
        backend = File::open(folder).ok();
        backend.is_some()
    })
    .await;
    over.node_on(Box::new(backend.unwrap()))
}

async fn who_receives_is_closed_in_the_middle_of_a_transfer_and_comes_back(over: Over) -> Result<()> {
    receiver_restarts(over, |node| node.instance.close()).await
}

async fn who_receives_is_dropped_in_the_middle_of_a_transfer_and_comes_back(over: Over) -> Result<()> {
    receiver_restarts(over, |_| Ok(())).await
}

async fn receiver_restarts(over: Over, end: impl FnOnce(&Node) -> Result<()>) -> Result<()> {
    let middle = Middle::new(over).await?;
    let (peer, trees) = (middle.a.peer(), middle.trees());
    let before = known(&middle.b, peer, &trees)?;
    let held = before.cursors[1].as_ref().unwrap().received_count;
    assert!(held < ENTRIES, "it stands still in the middle: {held}");
    assert!(before.cursors[0].as_ref().unwrap().acknowledged_count >= 1, "{before:?}");
    assert_eq!((before.trees.len(), before.addresses.len(), before.requests.len()), (2, 2, 1));
    assert!(before.history.iter().any(|sync| sync.success));

    middle.fetching.abort();
    end(&middle.b)?;
    let Middle { over, folders, a, b, c, request, route, small, large, fetching } = middle;
    let _ = fetching.await;
    drop(b);
    let b = reopened(over, folders[1].path()).await?;
    let after = known(&b, peer, &trees)?;
    assert_kept(&before, &after);
    let there = b.user.open_database(large.root_id())?;
    assert!(there.entry_count() >= held, "{} of {held} entries", there.entry_count());
    assert_clean(&there);
    let fetching = tokio::spawn(async { Ok(()) });
    Middle { over, folders, a, b, c, request, route, small, large, fetching }.complete().await
}

async fn who_sends_is_closed_in_the_middle_of_a_transfer_and_comes_back(over: Over) -> Result<()> {
    let middle = Middle::new(over).await?;
    let (peer, trees) = (middle.b.peer(), middle.trees());
    until("an acknowledgement is written down", || {
        let known = known(&middle.a, peer, &trees).unwrap();
        known.cursors[1].as_ref().is_some_and(|cursor| cursor.acknowledged_count > 0)
    })
    .await;
    let before = known(&middle.a, peer, &trees)?;
    assert!(before.cursors[1].as_ref().unwrap().acknowledged_count < ENTRIES, "{before:?}");
    assert_eq!((before.trees.len(), before.requests.len()), (2, 1));

    let Middle { over, folders, a, b, c, request, route, small, large, fetching } = middle;
    a.instance.close()?;
    let ids = [*small.root_id(), *large.root_id()];
    drop((a, small, large));
    let a = over.secluded_on(Box::new(File::open(folders[0].path())?))?;
    assert_kept(&before, &known(&a, peer, &trees)?);
    let [small, large] = ids.map(|id| a.user.open_database(id).unwrap());
    assert_clean(&large);
    Middle { over, folders, a, b, c, request, route, small, large, fetching }.complete().await
}
