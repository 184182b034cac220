//! Every kind of sync error, produced through the public interface.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eidetica::auth::Permission;
use eidetica::backend::{Backend, InMemory};
use eidetica::crdt::Doc;
use eidetica::store::DocStore;
use eidetica::sync::transports::memory::{MemoryNetwork, MemoryTransport};
use eidetica::sync::{Address, Admission, InviteOptions, PeerStatus, Ticket};
use eidetica::{Id, Instance, Result};
use eidetica_auth_keys::Keys;
use eidetica_conformance::context::tokio_context;
use eidetica_kernel::auth::{
    AuthPolicy, Chains, Deed, Denial, NodeIx, NodeSet, RightsHistory, RightsOp, RightsTable,
};
use eidetica_kernel::backend::{Batch, Scan};
use eidetica_kernel::runtime::{BoxFuture, Clock, Context};
use eidetica_kernel::{PublicKey, Timestamp, Transport};
use eidetica_system_tests::node::{Node, get, set, within};

/// A clock that runs ahead, or on which waiting for 10 s or longer ends at once.
struct OddClock {
    clock: Arc<dyn Clock>,
    ahead: Duration,
    hasty: bool,
}

impl Clock for OddClock {
    fn wall(&self) -> Timestamp {
        self.clock.wall().plus(self.ahead)
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let hasty = self.hasty && duration >= Duration::from_secs(10);
        self.clock.sleep(if hasty { Duration::ZERO } else { duration })
    }
}

fn with_clock(network: &MemoryNetwork, ahead: Duration, hasty: bool) -> Instance {
    let context = tokio_context();
    let clock = Arc::new(OddClock { clock: context.clock.clone(), ahead, hasty });
    let builder = Instance::builder().context(Context { clock, ..context });
    let instance =
        builder.transport(Arc::new(MemoryTransport::on(network))).open().unwrap().enable_sync().unwrap();
    instance.create_user("user", None).unwrap();
    instance
}

fn plain() -> Instance {
    Instance::open(Box::new(InMemory::new())).unwrap()
}

/// What has gone wrong so far, by the name of its kind.
#[derive(Default)]
struct Seen(BTreeMap<String, String>);

impl Seen {
    #[track_caller]
    fn expect<T>(&mut self, kind: &str, result: Result<T>) {
        let Err(error) = result else { panic!("{kind}: it succeeded") };
        let Some(sync) = error.sync_error() else { panic!("{kind}: {error:?}") };
        assert!(error.is_sync_error());
        let debug = format!("{sync:?}");
        let name = debug.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap();
        assert_eq!(name, kind, "{error}");
        self.0.insert(name.to_owned(), error.to_string());
    }
}

/// The kinds there are, as the kernel declares them.
fn kinds() -> Vec<String> {
    let source = include_str!("../../../framework/kernel/src/sync_error.rs");
    let body = source.split_once("pub enum SyncError {").unwrap().1.split_once("\n}").unwrap().0;
    let is_kind =
        |line: &&str| line.starts_with("    ") && line[4..].starts_with(|c: char| c.is_ascii_uppercase());
    let name =
        |line: &str| line.trim().split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap().to_owned();
    body.lines().filter(is_kind).map(name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_sync_error_is_produced() -> Result<()> {
    let mut seen = Seen::default();
    server_and_lookup(&mut seen)?;
    connecting(&mut seen).await?;
    rights(&mut seen).await?;
    entries(&mut seen).await?;
    let kinds = kinds();
    assert!(kinds.len() >= 25, "{kinds:?}");
    let missing: Vec<_> = kinds.iter().filter(|kind| !seen.0.contains_key(*kind)).collect();
    assert!(missing.is_empty(), "not produced: {missing:?}");
    for (kind, message) in &seen.0 {
        assert!(message.len() > 30, "{kind} says what was being done, and what to do: {message}");
    }
    Ok(())
}

fn server_and_lookup(seen: &mut Seen) -> Result<()> {
    let instance = plain();
    seen.expect("SyncNotEnabled", instance.sync());
    let sync = instance.enable_sync()?.sync()?;
    seen.expect("NoTransportEnabled", sync.start_server("127.0.0.1:0"));
    sync.enable_http_transport()?;
    seen.expect("ServerNotRunning", sync.stop_server());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    seen.expect("ServerBind", sync.start_server(taken.local_addr().unwrap().to_string()));
    sync.start_server("127.0.0.1:0")?;
    seen.expect("ServerAlreadyRunning", sync.start_server("127.0.0.1:0"));
    let peer = plain().device_key();
    seen.expect("PeerNotFound", sync.get_peer_addresses(peer));
    seen.expect("RequestNotFound", sync.get_bootstrap_request("0000"));
    seen.expect("InvalidPublicKey", sync.register_peer("ed25519:abc", None));
    seen.expect("InvalidAddress", Address::http("no port here"));
    seen.expect("InvalidTicket", "eidetica:?db=1".parse::<Ticket>());
    sync.register_peer(peer, None)?;
    seen.expect("PeerAlreadyExists", sync.register_peer(peer, None));
    let mut added = Ok(());
    for port in 0..64 {
        added = added.and_then(|()| {
            sync.add_peer_address(peer, Address::http(format!("127.0.0.1:{}", 9_000 + port))?)
        });
    }
    seen.expect("LimitExceeded", added);
    instance.close()?;
    seen.expect("InstanceDropped", sync.list_peers());
    Ok(())
}

async fn connecting(seen: &mut Seen) -> Result<()> {
    let (a, b) = (Node::http()?, Node::http()?);
    let sync = b.instance.sync()?;
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let connect = |address: Address| {
        let connecting = sync.connect_to_peer(&address);
        async move { within("connecting", connecting).await }
    };
    seen.expect("ConnectionFailed", connect(Address::http(closed)?).await);
    let pigeon = Address { transport_type: "pigeon".to_owned(), address: "coop 7".to_owned() };
    seen.expect("NoTransportForAddress", connect(pigeon).await);
    // Its own address: the key there is its own.
    seen.expect("HandshakeFailed", connect(Address::http(b.address()?)?).await);
    connect(Address::http(a.address()?)?).await?;
    sync.update_peer_status(a.peer(), PeerStatus::Blocked)?;
    seen.expect("PeerBlocked", within("pinging", sync.ping_peer(a.peer())).await);
    let (tree, refused) = (a.create()?, a.instance.sync()?);
    let refused = refused.sync_with_peer(b.address()?, Some(tree.root_id()));
    seen.expect("BlockedByPeer", within("a sync", refused).await);

    // Peers that say nothing, or something else.
    let network = MemoryNetwork::new();
    let context = tokio_context();
    let transport = MemoryTransport::on(&network);
    for (kind, answer) in [
        ("Timeout", None),
        ("ProtocolMismatch", Some(Bytes::from_static(&[255, 1, 9, 0, 9, 0]))),
        ("HandshakeFailed", Some(Bytes::from_static(b"good day"))),
    ] {
        let instance = with_clock(&network, Duration::ZERO, answer.is_none());
        let mut listener = transport.listen(&context, "").await?;
        let address = listener.addresses()[0].clone();
        let answering = async {
            let link = listener.accept().await.unwrap().unwrap();
            let (mut sender, mut receiver) = (link.sender, link.receiver);
            receiver.recv().await.unwrap();
            if let Some(answer) = answer {
                sender.send(answer).await.unwrap();
            }
            std::future::pending::<()>().await;
        };
        let failed = tokio::select! {
            failed = instance.sync()?.connect_to_peer(&address) => failed,
            () = answering => unreachable!(),
        };
        seen.expect(kind, failed);
    }
    Ok(())
}

async fn rights(seen: &mut Seen) -> Result<()> {
    let (a, b) = (Node::http()?, Node::http()?);
    let here = a.create()?;
    let (there, host) = (b.instance.sync()?, a.instance.sync()?);
    let stranger = within("a sync", there.sync_with_peer(a.address()?, Some(here.root_id()))).await;
    seen.expect("PermissionDenied", stranger);
    let ask = |name: &'static str| {
        there.sync_with_peer_for_bootstrap(a.address().unwrap(), here.root_id(), name, Permission::Write)
    };
    seen.expect("InvalidKeyName", within("an answer", ask("no such key")).await);
    seen.expect("BootstrapPending", within("an answer", ask("device_key")).await);
    let id = host.pending_bootstrap_requests()?[0].request_id.clone();
    let other = a.user.add_private_key(None)?;
    seen.expect("InsufficientPermission", host.approve_bootstrap_request(&id, other));
    host.reject_bootstrap_request(&id, a.key()?)?;
    let more = b.user.add_private_key(Some("more"))?;
    within("an answer", ask("more")).await.unwrap_err();
    let request = host.pending_bootstrap_requests()?.remove(0);
    assert_eq!(request.requesting_key, more);
    host.approve_bootstrap_request_as(&request.request_id, a.key()?, Permission::Read)?;
    seen.expect("GrantedLess", within("an answer", ask("more")).await);
    seen.expect("InvalidRequestState", host.approve_bootstrap_request(&id, a.key()?));
    // More requests than one peer may have waiting.
    host.set_admission(Admission::Manual);
    let mut last = Ok(());
    for number in 0..=16 {
        let name = format!("key {number}");
        b.user.add_private_key(Some(&name))?;
        let asking = there.sync_with_peer_for_bootstrap(a.address()?, here.root_id(), name, Permission::Read);
        last = within("an answer", asking).await;
    }
    seen.expect("Network", last);
    let invite = |options| here.invite(Permission::Read, options);
    let spent = invite(InviteOptions { expires_in: None, uses: Some(1) })?;
    within("joining", b.user.join(&spent)).await?;
    let c = Node::http()?;
    seen.expect("InviteSpent", within("joining", c.user.join(&spent)).await);
    let expired = invite(InviteOptions { expires_in: Some(Duration::ZERO), uses: None })?;
    seen.expect("InviteExpired", within("joining", c.user.join(&expired)).await);
    seen.expect("EntryNotFound", here.why(Id::from_bytes([7; 32])));
    a.instance.logout("user")?;
    seen.expect("AuthenticationRequired", set(&a.instance.load_database(here.root_id())?, "key", 1));
    Ok(())
}

async fn entries(seen: &mut Seen) -> Result<()> {
    let network = MemoryNetwork::new();
    let backend = Arc::new(InMemory::new());
    let builder = Instance::builder().shared_backend(backend.clone());
    let instance = builder.transport(Arc::new(MemoryTransport::on(&network))).open()?.enable_sync()?;
    instance.create_user("user", None)?;
    let user = instance.login_user("user", None)?;
    let here = user.create_database(Doc::new(), user.get_default_key()?)?;
    here.grant("*", Permission::Read, 100)?;
    set(&here, "key", "value")?;
    let sync = instance.sync()?;
    sync.start_server("")?;
    let address = sync.get_server_addresses()?[0].to_string();

    // A node whose rules let everybody write brings what nobody else takes.
    let lax = Instance::builder().auth_policy(Arc::new(Lax(Keys::new())));
    let lax = lax.transport(Arc::new(MemoryTransport::on(&network))).open()?.enable_sync()?;
    lax.create_user("user", None)?;
    let reader = lax.login_user("user", None)?;
    let fetching = lax.sync()?.sync_with_peer(&address, Some(here.root_id()));
    within("a sync", fetching).await?;
    set(&reader.open_database(here.root_id())?, "key", "overwritten")?;
    lax.sync()?.start_server("")?;
    let theirs = lax.sync()?.get_server_addresses()?[0].to_string();
    let refused = within("a sync", sync.sync_with_peer(&theirs, Some(here.root_id()))).await;
    seen.expect("InvalidEntry", refused);
    assert_eq!(get(&here, "key")?, "value");

    // The state of the store that was written last is part of the head; that of this one has a row of its own.
    let transaction = here.new_transaction()?;
    transaction.get_store::<DocStore>("another")?.set("key", 1)?;
    transaction.commit()?;
    let node = Node::memory(&network)?;
    let fetch = || async {
        let fetching = node.instance.sync().unwrap().sync_with_peer(&address, Some(here.root_id()));
        within("a sync", fetching).await
    };
    fetch().await?;

    // The digest of a store's state was altered where it rests.
    alter(&backend, |key, row| {
        (key.first() == Some(&0x10) && key.get(5) == Some(&0x07)).then(|| {
            let mut row = row.to_vec();
            row[1] ^= 1;
            row.into()
        })
    });
    seen.expect("StateDiverged", fetch().await);
    let state = node.instance.sync()?.tree_sync_state(instance.device_key(), here.root_id())?.unwrap();
    assert!(state.last_error.unwrap().contains("not the same state"), "and it shows");

    // An entry of the future.
    let ahead = with_clock(&network, Duration::from_secs(3_600), false);
    let user = ahead.login_user("user", None)?;
    let future = user.create_database(Doc::new(), user.get_default_key()?)?;
    future.grant("*", Permission::Write, 100)?;
    ahead.sync()?.start_server("")?;
    let address = ahead.sync()?.get_server_addresses()?[0].to_string();
    let fetching = node.instance.sync()?.sync_with_peer(&address, Some(future.root_id()));
    seen.expect("ClockSkew", within("a sync", fetching).await);
    Ok(())
}

/// Changes rows of a backend behind everybody's back.
fn alter(backend: &InMemory, change: impl Fn(&[u8], &[u8]) -> Option<Bytes>) {
    let rows = backend.scan(&Scan::prefix(&[])).unwrap().rows;
    let mut batch = Batch::new();
    for (key, row) in rows {
        if let Some(changed) = change(&key, &row) {
            batch.put(key, changed);
        }
    }
    assert!(!batch.is_empty(), "nothing to alter was found");
    backend.commit(batch).unwrap();
}

/// Rules under which everybody may write, by the name of rules under which they may not.
struct Lax(Keys);

impl AuthPolicy for Lax {
    fn kind(&self) -> &'static str {
        self.0.kind()
    }

    fn encode(&self, op: &RightsOp) -> Result<Vec<u8>> {
        self.0.encode(op)
    }

    fn decode(&self, body: &[u8]) -> Result<RightsOp> {
        self.0.decode(body)
    }

    fn counted(&self, history: &RightsHistory, within: &NodeSet, chains: &dyn Chains) -> NodeSet {
        self.0.counted(history, within, chains)
    }

    fn table(&self, history: &RightsHistory, counted: &NodeSet) -> RightsTable {
        self.0.table(history, counted)
    }

    fn permits(&self, _: &RightsTable, _: &Deed<'_>) -> std::result::Result<(), Denial> {
        Ok(())
    }

    fn bites(&self, history: &RightsHistory, by: NodeIx, deed: &Deed<'_>, chains: &dyn Chains) -> bool {
        self.0.bites(history, by, deed, chains)
    }

    fn may_read(&self, table: &RightsTable, key: &PublicKey) -> bool {
        self.0.may_read(table, key)
    }
}
