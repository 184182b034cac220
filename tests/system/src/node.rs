//! Whole nodes for tests: an instance with one user, and what tests do with its databases.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use eidetica::backend::{Backend, InMemory};
use eidetica::crdt::{Doc, Value};
use eidetica::store::DocStore;
use eidetica::sync::Address;
use eidetica::sync::transports::memory::{MemoryNetwork, MemoryTransport};
use eidetica::{Database, Id, Instance, KeyId, Result, User};
use eidetica_conformance::context::tokio_context;
use eidetica_kernel::{Context, Transport};

use crate::seeded::VirtualTime;

/// An instance that syncs, with a logged-in user.
pub struct Node {
    /// The instance.
    pub instance: Instance,
    /// Its only user.
    pub user: User,
}

impl Node {
    /// A node in memory that listens on loopback over HTTP, at a port that was free.
    ///
    /// # Errors
    /// Those of the instance.
    pub fn http() -> Result<Self> {
        Self::http_on(Box::new(InMemory::new()))
    }

    /// As [`Node::http`], on a backend of the test's.
    ///
    /// # Errors
    /// Those of the instance.
    pub fn http_on(backend: Box<dyn Backend>) -> Result<Self> {
        let node = Self::open(backend)?;
        node.instance.sync()?.enable_http_transport()?;
        node.instance.sync()?.start_server("127.0.0.1:0")?;
        Ok(node)
    }

    /// A node in memory with links to all others on `network`.
    ///
    /// # Errors
    /// Those of the instance.
    pub fn memory(network: &MemoryNetwork) -> Result<Self> {
        let node = Self::open(Box::new(InMemory::new()))?;
        node.instance.sync()?.add_transport(Box::new(MemoryTransport::on(network)))?;
        node.instance.sync()?.start_server("")?;
        Ok(node)
    }

    /// A node that can't be reached yet.
    ///
    /// # Errors
    /// Those of the instance.
    pub fn open(backend: Box<dyn Backend>) -> Result<Self> {
        Self::of(Instance::open(backend)?.enable_sync()?)
    }

    /// An instance that was opened somehow, as a node; its user is made if it has none.
    ///
    /// # Errors
    /// Those of the instance.
    pub fn of(instance: Instance) -> Result<Self> {
        log();
        if instance.list_users()?.is_empty() {
            instance.create_user("user", None)?;
        }
        let user = instance.login_user("user", None)?;
        Ok(Self { instance, user })
    }

    /// A node in memory whose time is virtual, and that listens over this transport. Its tasks run where this is called.
    ///
    /// # Errors
    /// Those of the instance.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn timed(time: &VirtualTime, seed: u64, transport: Arc<dyn Transport>) -> Result<Self> {
        log();
        let context = Context { spawner: tokio_context().spawner, ..time.context(seed, 0) };
        let instance = Instance::builder().context(context).transport(transport).open()?.enable_sync()?;
        instance.create_user("user", None)?;
        let user = instance.login_user("user", None)?;
        instance.sync()?.start_server("0")?;
        Ok(Self { instance, user })
    }

    /// Makes a database of this node's user.
    ///
    /// # Errors
    /// Those of the instance.
    pub fn create(&self) -> Result<Database> {
        self.user.create_database(Doc::new(), self.key()?)
    }

    /// The user's key.
    ///
    /// # Errors
    /// Those of the instance.
    pub fn key(&self) -> Result<KeyId> {
        self.user.get_default_key()
    }

    /// Where it listens, without the transport's name.
    ///
    /// # Errors
    /// Those of the instance.
    pub fn address(&self) -> Result<String> {
        self.instance.sync()?.get_server_address()
    }

    /// Where it listens.
    ///
    /// # Errors
    /// Those of the instance.
    pub fn at(&self) -> Result<Address> {
        Ok(self.instance.sync()?.get_server_addresses()?.swap_remove(0))
    }

    /// The node's own key.
    pub fn peer(&self) -> KeyId {
        self.instance.device_key()
    }

    /// Fetches a database from an address, and opens it.
    ///
    /// # Errors
    /// Those of sync.
    pub async fn fetch(&self, address: &str, database: &Id) -> Result<Database> {
        self.instance.sync()?.sync_with_peer(address, Some(database)).await?;
        self.user.open_database(database)
    }
}

/// Shows what nodes log, as `RUST_LOG` asks for.
fn log() {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
}

/// Sets one key of the store `data` in a transaction of its own.
///
/// # Errors
/// Those of the commit.
pub fn set(database: &Database, key: &str, value: impl Into<Value>) -> Result<Id> {
    let transaction = database.new_transaction()?;
    transaction.get_store::<DocStore>("data")?.set(key, value)?;
    transaction.commit()
}

/// The value of a key in the store `data`.
///
/// # Errors
/// `is_not_found()`; those of the backend.
pub fn get(database: &Database, key: &str) -> Result<Value> {
    database.get_store_viewer::<DocStore>("data")?.get(key)
}

/// Waits, by watching, until something holds.
///
/// # Panics
/// If it doesn't within 30 s.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    within(what, async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Waits for something that ends by itself.
///
/// # Panics
/// If it doesn't within 30 s.
pub async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(30), work).await {
        Ok(done) => done,
        Err(_) => panic!("within 30 s: {what}"),
    }
}
