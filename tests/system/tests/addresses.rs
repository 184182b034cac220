//! A node's own addresses may change while it listens; what it tells of them follows.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use async_trait::async_trait;
use eidetica::auth::Permission;
use eidetica::backend::InMemory;
use eidetica::sync::transports::memory::{MemoryNetwork, MemoryTransport};
use eidetica::sync::{Address, InviteOptions, SyncError};
use eidetica::{Instance, Result};
use eidetica_kernel::runtime::BoxFuture;
use eidetica_kernel::transport::{Link, Listener, Transport, TransportCapabilities};
use eidetica_kernel::{Context, ErrorKind};
use eidetica_system_tests::node::{Node, get, set, until, within};
use eidetica_system_tests::over::Over;
use tokio::sync::watch;

/// Links in memory; what its listeners tell of themselves is up to the test.
struct Moving {
    links: MemoryTransport,
    told: watch::Sender<Vec<Address>>,
}

struct MovingListener {
    listener: Box<dyn Listener>,
    told: watch::Receiver<Vec<Address>>,
}

#[async_trait]
impl Transport for Moving {
    fn scheme(&self) -> &'static str {
        self.links.scheme()
    }

    fn capabilities(&self) -> TransportCapabilities {
        self.links.capabilities()
    }

    fn parse_address(&self, text: &str) -> Result<Address> {
        self.links.parse_address(text)
    }

    async fn listen(&self, context: &Context, address: &str) -> Result<Box<dyn Listener>> {
        let listener = self.links.listen(context, address).await?;
        Ok(Box::new(MovingListener { listener, told: self.told.subscribe() }))
    }

    async fn connect(&self, context: &Context, address: &Address) -> Result<Link> {
        self.links.connect(context, address).await
    }
}

#[async_trait]
impl Listener for MovingListener {
    fn addresses(&self) -> Vec<Address> {
        self.told.borrow().clone()
    }

    fn addresses_changed(&self) -> BoxFuture<'static, ()> {
        let mut told = self.told.clone();
        told.mark_unchanged();
        Box::pin(async move {
            if told.changed().await.is_err() {
                std::future::pending().await
            }
        })
    }

    async fn accept(&mut self) -> Result<Option<Link>> {
        self.listener.accept().await
    }

    async fn close(&mut self) -> Result<()> {
        self.listener.close().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_tells_of_its_addresses_follows_their_changes() -> Result<()> {
    let network = MemoryNetwork::new();
    let (told, wrong) = (watch::Sender::new(Vec::new()), Address::new("memory", "where-it-was"));
    told.send_replace(vec![wrong.clone()]);
    let a = Instance::open(Box::new(InMemory::new()))?.enable_sync()?;
    a.create_user("user", None)?;
    let user = a.login_user("user", None)?;
    let sync = a.sync()?;
    sync.add_transport(Box::new(Moving { links: MemoryTransport::on(&network), told: told.clone() }))?;
    sync.start_server("where-it-is")?;
    let here = user.create_database(eidetica::crdt::Doc::new(), user.get_default_key()?)?;
    set(&here, "first", 1)?;
    let b = Node::memory(&network)?;
    let stale = here.invite(Permission::Write, InviteOptions::default())?;
    assert_eq!((stale.addresses(), sync.get_server_addresses()?), (&[wrong.clone()][..], vec![wrong]));
    let error = within("joining where nobody is", b.user.join(&stale)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");

    let new = Address::new("memory", "where-it-is");
    let (both, only) = (vec![Address::new("memory", "elsewhere"), new.clone()], vec![new]);
    for addresses in [both, only] {
        told.send_replace(addresses.clone());
        until("the change is known", || sync.get_server_addresses().unwrap() == addresses).await;
        assert_eq!(sync.get_server_address()?, addresses[0].address);
        assert_eq!(here.ticket()?.addresses(), addresses);
    }
    let ticket = here.invite(Permission::Write, InviteOptions::default())?;
    let there = within("joining where it is", b.user.join(&ticket)).await?;
    assert_eq!(get(&there, "first")?.as_i64(), Some(1));

    // Who starts again begins with what the listener tells then.
    sync.stop_server()?;
    assert!(sync.get_server_addresses().is_err());
    told.send_replace(vec![Address::new("memory", "later")]);
    sync.start_server("where-it-is")?;
    assert_eq!(sync.get_server_address()?, "later");
    Ok(())
}

/// A transport that can't listen takes down with it those that could; they listen again at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_could_not_start_leaves_nothing_behind() -> Result<()> {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let node = Node::open(Box::new(InMemory::new()))?;
    Over::Iroh.enable(&node.instance)?;
    Over::Http.enable(&node.instance)?;
    let sync = node.instance.sync()?;
    for _ in 0..3 {
        let error = sync.start_server(taken.local_addr().unwrap().to_string()).unwrap_err();
        assert!(matches!(error.sync_error(), Some(SyncError::ServerBind { .. })), "{error}");
        assert!(error.to_string().contains(&taken.local_addr().unwrap().to_string()), "{error}");
        assert!(!sync.is_server_running());
    }
    sync.start_server("127.0.0.1:0")?;
    assert_eq!(sync.get_server_addresses()?.len(), 2);
    Ok(())
}
