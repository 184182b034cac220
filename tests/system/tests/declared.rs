//! Declared peers: what their handles say before, during and after a sync, and how access is asked for.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use eidetica::auth::Permission;
use eidetica::crdt::Value;
use eidetica::sync::state::SyncStateManager;
use eidetica::sync::transports::memory::{MemoryNetwork, MemoryTransport};
use eidetica::sync::{Address, Admission, AuthParams, ConnectionState, SyncError, SyncPeerInfo};
use eidetica::{Database, Result};
use eidetica_system_tests::node::{Node, get, set, until, within};
use eidetica_system_tests::over::Over;
use eidetica_system_tests::route::Route;
use eidetica_system_tests::seeded::{VirtualTime, noise};

eidetica_system_tests::over_http_and_iroh! {
    a_handle_says_how_the_sync_goes_before_during_and_after,
    a_handle_says_how_a_sync_stands_that_is_under_way,
    a_key_that_cannot_be_parsed_is_kept_and_shown_and_never_dialled,
    waiting_ends_with_the_refusal_of_a_peer_that_lets_nobody_in,
    access_that_was_declared_is_asked_for_and_granted_up_to_the_cap,
    asking_for_access_by_address_admits_syncs_and_names_unknown_keys,
}

fn declaration(a: &Node, database: &Database, address: Address) -> Result<SyncPeerInfo> {
    Ok(SyncPeerInfo {
        peer_pubkey: a.peer().to_string(),
        tree_id: *database.root_id(),
        addresses: vec![address],
        auth: None,
        display_name: Some("A".to_owned()),
    })
}

fn text(database: &Database, key: &str) -> Option<String> {
    get(database, key).ok().and_then(|value| value.as_str().map(str::to_owned))
}

async fn a_handle_says_how_the_sync_goes_before_during_and_after(over: Over) -> Result<()> {
    let (a, b) = (over.node()?, over.node()?);
    let here = a.create()?;
    here.grant(b.key()?, Permission::Write, 100)?;
    set(&here, "greeting", "hello")?;
    let route = Route::to(over, &a).await.unwrap();
    route.cut().await?;

    let handle = b.instance.sync()?.register_sync_peer(declaration(&a, &here, route.at())?)?;
    until("a first attempt fails", || handle.status().is_ok_and(|status| status.next_retry.is_some())).await;
    let before = handle.status()?;
    assert!(!before.has_local_data);
    assert_eq!(before.last_sync, None);
    assert_eq!(before.connection, ConnectionState::Disconnected);
    assert_eq!(before.entries_behind, 0, "nothing is here that the peer could lack");
    assert!(before.last_error.is_some());
    assert!(!before.locked);
    let info = b.instance.sync()?.get_peer_info(a.peer())?.unwrap();
    assert!(info.connection_attempts >= 1);
    assert!(info.last_error.is_some());

    route.heal().await?;
    b.instance.sync()?.reset_peer(a.peer())?;
    within("the first sync", handle.wait_for_initial_sync()).await?;
    let after = handle.status()?;
    assert!(after.has_local_data);
    assert!(after.last_sync.is_some());
    assert_eq!(after.last_error, None);
    assert_eq!(after.connection, ConnectionState::Connected);
    assert_eq!(after.entries_behind, 0);
    assert!(after.attempts >= 2);
    assert_eq!(b.instance.sync()?.get_peer_info(a.peer())?.unwrap().last_error, None);

    route.cut().await?;
    until("the link is gone", || {
        handle.status().is_ok_and(|status| status.connection == ConnectionState::Disconnected)
    })
    .await;
    let there = b.user.open_database(here.root_id())?;
    for number in 0..3 {
        set(&there, &format!("offline {number}"), "written while apart")?;
    }
    assert_eq!(handle.status()?.entries_behind, 3);
    route.heal().await?;
    b.instance.sync()?.reset_peer(a.peer())?;
    until("the peer has what was written while apart", || {
        handle.status().is_ok_and(|status| status.entries_behind == 0)
    })
    .await;
    assert_eq!(text(&here, "offline 2").as_deref(), Some("written while apart"));
    Ok(())
}

async fn a_handle_says_how_a_sync_stands_that_is_under_way(over: Over) -> Result<()> {
    const ENTRIES: u64 = 100;
    let (a, b) = (over.secluded()?, over.node()?);
    let here = a.create()?;
    here.grant(b.key()?, Permission::Write, 100)?;
    for number in 0..ENTRIES {
        set(&here, &number.to_string(), Value::from(noise(number, 20_000)))?;
    }
    let route = Route::to(over, &a).await.unwrap();
    route.stall_after(1_000_000);
    let handle = b.instance.sync()?.register_sync_peer(declaration(&a, &here, route.at())?)?;
    // What has come is written down as held by the peer a moment after it.
    until("something has come, and is known to be at the peer", || {
        handle.status().is_ok_and(|status| status.has_local_data && status.entries_behind == 0)
    })
    .await;
    let during = handle.status()?;
    assert_eq!(during.connection, ConnectionState::Connected);
    assert_eq!((during.last_sync, during.next_retry), (None, None));
    assert_eq!(during.last_error, None);
    assert!(
        get(&b.user.open_database(here.root_id())?, &(ENTRIES - 1).to_string()).is_err(),
        "it stands still"
    );

    route.reset();
    within("the first sync", handle.wait_for_initial_sync()).await?;
    let after = handle.status()?;
    assert!(after.last_sync.is_some());
    assert_eq!((after.last_error, after.entries_behind), (None, 0));
    until("the next one is planned", || {
        handle.status().is_ok_and(|status| status.next_retry > after.last_sync)
    })
    .await;
    let last = get(&b.user.open_database(here.root_id())?, &(ENTRIES - 1).to_string())?;
    assert!(last == Value::from(noise(ENTRIES - 1, 20_000)));
    Ok(())
}

async fn a_key_that_cannot_be_parsed_is_kept_and_shown_and_never_dialled(over: Over) -> Result<()> {
    let (a, b) = (over.node()?, over.node()?);
    let here = a.create()?;
    let mut wrong = declaration(&a, &here, a.at()?)?;
    wrong.peer_pubkey = "ed25519:abc123".to_owned();
    let handle = b.instance.sync()?.register_sync_peer(wrong)?;
    handle.add_address(Address::http("127.0.0.1:9")?)?;
    let status = handle.status()?;
    assert!(status.last_error.is_some_and(|error| error.contains("abc123")));
    assert_eq!(status.attempts, 0);
    let waited = within("a refusal", handle.wait_for_initial_sync()).await.unwrap_err();
    assert!(matches!(waited.sync_error(), Some(SyncError::InvalidPublicKey { .. })), "{waited}");
    assert!(b.instance.sync()?.list_peers()?.is_empty());
    handle.cancel()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_whose_transport_is_not_enabled_ends_no_attempts() -> Result<()> {
    let network = MemoryNetwork::new();
    let (a, b) = (Node::memory(&network)?, Node::http()?);
    let here = a.create()?;
    here.grant(b.key()?, Permission::Write, 100)?;
    let sync = b.instance.sync()?;
    let mut declared = declaration(&a, &here, Address::http("127.0.0.1:9")?)?;
    declared.addresses.push(Address::new("memory", a.address()?));
    let handle = sync.register_sync_peer(declared)?;
    let failed = || handle.status().unwrap().last_error;
    until("both were tried", || failed().is_some()).await;
    let failed = failed().unwrap();
    assert!(failed.contains("127.0.0.1:9"), "where the peer could have been is told: {failed}");
    sync.remove_peer_address(a.peer(), &Address::http("127.0.0.1:9")?)?;
    sync.reset_peer(a.peer())?;
    let waits =
        || handle.status().unwrap().last_error.is_some_and(|error| error.contains("no enabled transport"));
    until("the other alone is tried", waits).await;
    sync.add_transport(Box::new(MemoryTransport::on(&network)))?;
    within("the first sync", handle.wait_for_initial_sync()).await?;
    Ok(())
}

async fn waiting_ends_with_the_refusal_of_a_peer_that_lets_nobody_in(over: Over) -> Result<()> {
    let (a, b) = (over.node()?, over.node()?);
    let here = a.create()?;
    let handle = b.instance.sync()?.register_sync_peer(declaration(&a, &here, a.at()?)?)?;
    let refused = within("a refusal", handle.wait_for_initial_sync()).await.unwrap_err();
    assert!(matches!(refused.sync_error(), Some(SyncError::PermissionDenied { .. })), "{refused}");
    assert!(!handle.status()?.has_local_data);
    handle.cancel()?;
    let gone = handle.status().unwrap_err();
    assert!(matches!(gone.sync_error(), Some(SyncError::PeerNotFound(_))), "{gone}");
    Ok(())
}

async fn access_that_was_declared_is_asked_for_and_granted_up_to_the_cap(over: Over) -> Result<()> {
    let (a, b) = (over.node()?, over.node()?);
    a.instance.sync()?.set_admission(Admission::Automatic { cap: Permission::Write });
    let here = a.create()?;
    set(&here, "greeting", "hello")?;
    // Lets the node's own key admit.
    here.invite(Permission::Write, eidetica::sync::InviteOptions::default())?;
    let mut declared = declaration(&a, &here, a.at()?)?;
    let auth = |permission| Some(AuthParams { key_name: "device_key".to_owned(), permission });
    declared.auth = auth(Permission::Admin);
    let sync = b.instance.sync()?;
    let refused =
        within("a refusal", sync.register_sync_peer(declared.clone())?.wait_for_initial_sync()).await;
    assert!(refused.unwrap_err().is_permission_denied(), "asking above the cap grants nothing");
    assert_eq!(here.permission_of(b.peer())?, None);

    declared.auth = auth(Permission::Write);
    let handle = sync.register_sync_peer(declared)?;
    within("access", handle.wait_for_initial_sync()).await?;
    assert_eq!(here.permission_of(b.peer())?, Some(Permission::Write));
    let there = b.instance.load_database(here.root_id())?;
    assert_eq!(text(&there, "greeting").as_deref(), Some("hello"));
    Ok(())
}

async fn asking_for_access_by_address_admits_syncs_and_names_unknown_keys(over: Over) -> Result<()> {
    let (a, b) = (over.node()?, over.node()?);
    let here = a.create()?;
    set(&here, "greeting", "hello")?;
    here.invite(Permission::Write, eidetica::sync::InviteOptions::default())?;
    let sync = b.instance.sync()?;
    let ask = |name: &'static str, permission| {
        sync.sync_with_peer_for_bootstrap(a.address().unwrap(), here.root_id(), name, permission)
    };
    let unknown = within("an answer", ask("nobody's key", Permission::Write)).await.unwrap_err();
    assert!(matches!(unknown.sync_error(), Some(SyncError::InvalidKeyName { .. })), "{unknown}");
    a.instance.sync()?.set_admission(Admission::Deny);
    let denied = within("an answer", ask("device_key", Permission::Write)).await.unwrap_err();
    assert!(denied.is_permission_denied(), "{denied}");
    a.instance.sync()?.set_admission(Admission::Automatic { cap: Permission::Write });
    within("access", ask("device_key", Permission::Write)).await?;
    let there = b.instance.load_database(here.root_id())?;
    assert_eq!(text(&there, "greeting").as_deref(), Some("hello"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_connects_by_itself_is_not_failing_while_it_is_away() -> Result<()> {
    let (network, time) = (MemoryNetwork::new(), VirtualTime::new());
    let clock = time.context(0, 0).clock;
    let node = |seed| Node::timed(&time, seed, Arc::new(MemoryTransport::on(&network)));
    let (a, b) = (node(1)?, node(2)?);
    let here = a.create()?;
    here.grant(b.key()?, Permission::Write, 100)?;
    within("a sync", b.fetch(&a.at()?.to_string(), here.root_id())).await?;
    let sync = a.instance.sync()?;
    let mut declared = declaration(&b, &here, b.at()?)?;
    declared.addresses.clear();
    let handle = sync.register_sync_peer(declared)?;
    b.instance.close()?;
    let status = || handle.status().unwrap();
    until("it is away", || status().connection == ConnectionState::Disconnected).await;
    let failures = || {
        let operation = sync.sync_tree().new_operation().unwrap();
        let state = SyncStateManager::new(&operation);
        state.get_sync_metadata(b.peer()).unwrap().unwrap().failed_sync_count
    };
    let ahead = || status().next_retry.filter(|next| *next > clock.wall());
    let mut counted = Vec::new();
    for _ in 0..6 {
        let mut next = None;
        until("it is looked for again later", || {
            next = ahead();
            next.is_some()
        })
        .await;
        let planned = next.unwrap();
        time.pass(planned.since(clock.wall()).as_millis() as u64 + 1);
        until("it was looked for", || ahead().is_some_and(|next| next > planned)).await;
        counted.push(failures());
    }
    // The first time includes a sync that was under way when it left.
    assert!(counted.iter().all(|failures| *failures == counted[0]), "{counted:?}");
    assert!(!status().last_error.is_some_and(|error| error.contains("no address")), "{:?}", status());
    assert_eq!(sync.get_peer_info(b.peer())?.unwrap().last_error, None);
    // Who asks is told.
    let asked = within("a sync", sync.sync_tree_with_peer(b.peer(), here.root_id())).await.unwrap_err();
    assert!(asked.to_string().contains("it has connected by itself"), "{asked}");
    Ok(())
}
