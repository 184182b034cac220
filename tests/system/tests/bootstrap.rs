//! Requests for access that wait for a person.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use eidetica::auth::Permission;
use eidetica::backend::{Backend, InMemory};
use eidetica::sync::{Admission, AuthParams, ConnectionState, RequestStatus, SyncError, SyncPeerInfo};
use eidetica::{Database, Error, ErrorKind, Instance, Result};
use eidetica_conformance::backend::FaultyBackend;
use eidetica_system_tests::node::{Node, get, set, until, within};
use eidetica_system_tests::over::Over;

eidetica_system_tests::over_http_and_iroh! {
    a_request_waits_for_a_person_and_succeeds_once_approved,
    what_was_granted_to_the_node_is_written_by_its_users_and_by_nobody_else,
    a_rejected_request_is_denied_from_then_on_and_a_grant_lets_in_all_the_same,
    only_an_admin_decides_and_less_may_be_granted_than_was_asked_for,
    a_declared_peer_waits_for_the_approval_by_itself_and_a_restart_keeps_the_request,
    automatic_admission_is_signed_by_the_node_which_a_logged_in_admin_lets,
    what_one_peer_may_have_waiting_is_bounded,
}

async fn ask(from: &Node, at: &Node, database: &Database, permission: Permission) -> Result<()> {
    let sync = from.instance.sync()?;
    let address = at.address()?;
    let asking = sync.sync_with_peer_for_bootstrap(address, database.root_id(), "device_key", permission);
    within("an answer", asking).await
}

fn pending(error: &Error) -> String {
    match error.sync_error() {
        Some(SyncError::BootstrapPending { request_id, message }) => {
            assert!(!message.is_empty());
            request_id.clone()
        }
        _ => panic!("not pending: {error}"),
    }
}

async fn a_request_waits_for_a_person_and_succeeds_once_approved(over: Over) -> Result<()> {
    let (a, b) = (over.node()?, over.node()?);
    let here = a.create()?;
    set(&here, "greeting", "hello")?;
    let id = pending(&ask(&b, &a, &here, Permission::Write).await.unwrap_err());
    assert_eq!(pending(&ask(&b, &a, &here, Permission::Write).await.unwrap_err()), id, "one request per key");
    let sync = a.instance.sync()?;
    let waiting = sync.pending_bootstrap_requests()?;
    assert_eq!(waiting.len(), 1);
    let request = &waiting[0];
    assert_eq!((&request.request_id, request.permission), (&id, Permission::Write));
    assert_eq!((request.requesting_key, request.tree_id), (b.peer(), *here.root_id()));
    assert_eq!(request.peer_pubkey, b.peer().to_string());
    assert!(!b.instance.has_database(here.root_id())?);

    sync.approve_bootstrap_request(&id, a.key()?)?;
    assert!(sync.pending_bootstrap_requests()?.is_empty());
    assert_eq!(sync.approved_bootstrap_requests()?.len(), 1);
    let approved = sync.get_bootstrap_request(&id)?;
    assert!(matches!(approved.status, RequestStatus::Approved { permission: Permission::Write, .. }));
    assert_eq!(approved.status.to_string(), "approved");
    ask(&b, &a, &here, Permission::Write).await?;
    assert_eq!(here.permission_of(b.peer())?, Some(Permission::Write));
    let there = b.instance.load_database(here.root_id())?;
    assert_eq!(get(&there, "greeting")?, "hello");

    let again = sync.approve_bootstrap_request(&id, a.key()?).unwrap_err();
    assert!(matches!(again.sync_error(), Some(SyncError::InvalidRequestState { .. })), "{again}");
    let again = sync.reject_bootstrap_request(&id, a.key()?).unwrap_err();
    assert!(matches!(again.sync_error(), Some(SyncError::InvalidRequestState { .. })), "{again}");
    Ok(())
}

async fn what_was_granted_to_the_node_is_written_by_its_users_and_by_nobody_else(over: Over) -> Result<()> {
    let (a, b) = (over.node()?, over.node()?);
    a.instance.sync()?.set_admission(Admission::Automatic { cap: Permission::Write });
    let here = a.create()?;
    ask(&b, &a, &here, Permission::Write).await?;
    let there = b.instance.load_database(here.root_id())?;
    let written = set(&there, "by", "the node")?;
    assert_eq!(there.entry(written)?.author, b.peer());
    assert!(there.grant("*", Permission::Read, 200).unwrap_err().is_permission_denied());
    // A user's own key comes first.
    here.grant(b.key()?, Permission::Write, 100)?;
    until("the grant arrives", || there.permission_of(b.key().unwrap()).unwrap().is_some()).await;
    let written = set(&there, "by", "the user")?;
    assert_eq!(there.entry(written)?.author, b.key()?);
    b.instance.logout("user")?;
    let nobody = set(&there, "by", "nobody").unwrap_err();
    assert!(matches!(nobody.sync_error(), Some(SyncError::AuthenticationRequired { .. })), "{nobody}");
    // The key with which a node admits others signs nothing else.
    let owner = a.user.open_database(here.root_id())?;
    a.instance.create_user("other", None)?;
    a.instance.logout("user")?;
    let _other = a.instance.login_user("other", None)?;
    let stranger = set(&a.instance.load_database(owner.root_id())?, "by", "a stranger").unwrap_err();
    assert!(stranger.is_permission_denied(), "{stranger}");
    Ok(())
}

async fn a_rejected_request_is_denied_from_then_on_and_a_grant_lets_in_all_the_same(
    over: Over,
) -> Result<()> {
    let (a, b) = (over.node()?, over.node()?);
    let here = a.create()?;
    let id = pending(&ask(&b, &a, &here, Permission::Read).await.unwrap_err());
    let sync = a.instance.sync()?;
    sync.reject_bootstrap_request(&id, a.key()?)?;
    assert_eq!(sync.rejected_bootstrap_requests()?[0].request_id, id);
    let denied = ask(&b, &a, &here, Permission::Read).await.unwrap_err();
    assert!(matches!(denied.sync_error(), Some(SyncError::PermissionDenied { .. })), "{denied}");
    assert_eq!(here.permission_of(b.peer())?, None);
    here.grant(b.peer(), Permission::Read, 100)?;
    ask(&b, &a, &here, Permission::Read).await
}

async fn only_an_admin_decides_and_less_may_be_granted_than_was_asked_for(over: Over) -> Result<()> {
    let (a, b) = (over.node()?, over.node()?);
    let here = a.create()?;
    let id = pending(&ask(&b, &a, &here, Permission::Admin).await.unwrap_err());
    let sync = a.instance.sync()?;
    let writer = a.user.add_private_key(Some("writer"))?;
    here.grant(writer, Permission::Write, 100)?;
    let refused = sync.approve_bootstrap_request(&id, writer).unwrap_err();
    assert!(matches!(refused.sync_error(), Some(SyncError::InsufficientPermission { .. })), "{refused}");
    let refused = sync.approve_bootstrap_request(&id, b.key()?).unwrap_err();
    assert!(matches!(refused.sync_error(), Some(SyncError::InvalidKeyName { .. })), "{refused}");
    for unknown in ["nothing", "0011223344556677"] {
        let refused = sync.get_bootstrap_request(unknown).unwrap_err();
        assert!(matches!(refused.sync_error(), Some(SyncError::RequestNotFound(_))), "{refused}");
    }
    assert_eq!(sync.pending_bootstrap_requests()?.len(), 1, "nothing was decided");
    sync.approve_bootstrap_request_as(&id, a.key()?, Permission::Read)?;
    let less = ask(&b, &a, &here, Permission::Admin).await.unwrap_err();
    let (asked, granted) = (Permission::Admin, Permission::Read);
    assert_eq!(less.sync_error(), Some(&SyncError::GrantedLess { tree: *here.root_id(), asked, granted }));
    assert_eq!(here.permission_of(b.peer())?, Some(Permission::Read));
    assert!(b.instance.has_database(here.root_id())?, "it is synced as far as that goes");
    ask(&b, &a, &here, Permission::Read).await?;
    Ok(())
}

async fn a_declared_peer_waits_for_the_approval_by_itself_and_a_restart_keeps_the_request(
    over: Over,
) -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let file = || Box::new(eidetica::backend::File::open(folder.path()).unwrap());
    let a = over.node_on(file())?;
    let b = over.node()?;
    let here = a.create()?;
    let tree = *here.root_id();
    let id = pending(&ask(&b, &a, &here, Permission::Write).await.unwrap_err());
    drop(here);
    a.instance.close()?;
    drop(a);
    let a = over.node_on(file())?;
    let sync = a.instance.sync()?;
    assert_eq!(sync.pending_bootstrap_requests()?[0].request_id, id);
    let declared = SyncPeerInfo {
        peer_pubkey: a.peer().to_string(),
        tree_id: tree,
        addresses: vec![a.at()?],
        auth: Some(AuthParams { key_name: "device_key".to_owned(), permission: Permission::Write }),
        display_name: None,
    };
    let handle = b.instance.sync()?.register_sync_peer(declared)?;
    sync.approve_bootstrap_request(&id, a.key()?)?;
    within("the first sync", handle.wait_for_initial_sync()).await?;
    assert!(b.instance.has_database(tree)?);
    Ok(())
}

async fn automatic_admission_is_signed_by_the_node_which_a_logged_in_admin_lets(over: Over) -> Result<()> {
    let (a, b) = (over.node()?, over.node()?);
    let here = a.create()?;
    a.instance.sync()?.set_admission(Admission::Automatic { cap: Permission::Write });
    let above = ask(&b, &a, &here, Permission::Admin).await.unwrap_err();
    assert!(matches!(above.sync_error(), Some(SyncError::PermissionDenied { .. })), "{above}");
    a.instance.logout("user")?;
    // Nobody is there to let the node's key admit.
    pending(&ask(&b, &a, &here, Permission::Write).await.unwrap_err());
    let _user = a.instance.login_user("user", None)?;
    ask(&b, &a, &here, Permission::Write).await?;
    assert_eq!(here.permission_of(b.peer())?, Some(Permission::Write));
    Ok(())
}

async fn what_one_peer_may_have_waiting_is_bounded(over: Over) -> Result<()> {
    let (a, b) = (over.node()?, over.node()?);
    let here = a.create()?;
    for number in 0..16 {
        b.user.add_private_key(Some(&format!("key {number}")))?;
        let asking = b.instance.sync()?.sync_with_peer_for_bootstrap(
            a.address()?,
            here.root_id(),
            format!("key {number}"),
            Permission::Read,
        );
        pending(&within("an answer", asking).await.unwrap_err());
    }
    let busy = ask(&b, &a, &here, Permission::Read).await.unwrap_err();
    assert!(matches!(busy.sync_error(), Some(SyncError::Network { .. })), "{busy}");
    assert_eq!(a.instance.sync()?.pending_bootstrap_requests()?.len(), 16);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_that_broke_off_before_its_grant_waits_for_a_person_again() -> Result<()> {
    let (backend, theirs) = (FaultyBackend::new(InMemory::new()), Arc::new(InMemory::new()));
    let a = Node::http_on(Box::new(backend.again()))?;
    let sync = a.instance.sync()?;
    let asking = || {
        let backend: Arc<dyn Backend> = theirs.clone();
        let node = Node::of(Instance::builder().shared_backend(backend).open()?.enable_sync()?)?;
        node.instance.sync()?.enable_http_transport()?;
        Ok::<_, Error>(node)
    };
    let here = a.create()?;
    let b = asking()?;
    let (peer, id) = (b.peer(), pending(&ask(&b, &a, &here, Permission::Write).await.unwrap_err()));
    drop(b);
    let info = || sync.get_peer_info(peer).unwrap().unwrap();
    until("it has left", || info().connection_state == ConnectionState::Disconnected).await;
    // The decision is written, and neither the grant nor that it is taken back.
    backend.spare_next_commit();
    backend.fail_next_commit(ErrorKind::Io);
    backend.fail_next_commit(ErrorKind::Io);
    sync.approve_bootstrap_request(&id, a.key()?).unwrap_err();
    assert_eq!(sync.get_bootstrap_request(&id)?.status.to_string(), "approved");
    assert_eq!(here.permission_of(peer)?, None);
    let b = asking()?;
    assert_eq!(pending(&ask(&b, &a, &here, Permission::Write).await.unwrap_err()), id);
    sync.approve_bootstrap_request(&id, a.key()?)?;
    ask(&b, &a, &here, Permission::Write).await?;
    assert_eq!(here.permission_of(peer)?, Some(Permission::Write));

    // One whose grant was written although it was reported as failed stands.
    let c = Node::http()?;
    let id = pending(&ask(&c, &a, &here, Permission::Read).await.unwrap_err());
    let peer = c.peer();
    drop(c);
    let info = || sync.get_peer_info(peer).unwrap().unwrap();
    until("it has left", || info().connection_state == ConnectionState::Disconnected).await;
    backend.spare_next_commit();
    backend.tear_next_commit(usize::MAX);
    sync.approve_bootstrap_request(&id, a.key()?)?;
    assert_eq!(here.permission_of(peer)?, Some(Permission::Read));
    Ok(())
}
