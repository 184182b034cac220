//! Talking to peers: transports, peers, tickets, and which databases are exchanged with whom.

mod access;
mod address;
mod admission;
mod engine;
mod exchange;
mod gap;
mod handle;
mod join;
mod ledger;
mod link;
mod machine;
mod messages;
mod peers;
mod records;
mod relations;
mod requests;
pub mod state;
mod storage;
mod ticket;
pub mod transports;

use std::fmt;
use std::sync::Arc;

pub use eidetica_kernel::transport::Address;
use eidetica_kernel::{Result, Transport};
pub use eidetica_kernel::{SyncError, Timestamp};

pub use self::access::AuthParams;
pub use self::address::ToAddress;
pub use self::admission::Admission;
pub(crate) use self::engine::SyncEngine;
pub use self::exchange::TreeInfo;
pub use self::handle::{SyncHandle, SyncPeerInfo, SyncStatus};
pub use self::join::{InviteInfo, InviteOptions};
pub use self::peers::{ConnectionState, PeerInfo, PeerStatus};
use self::records::Rows;
pub use self::relations::TreeSyncState;
pub use self::requests::{BootstrapRequest, RequestStatus};
pub use self::ticket::Ticket;
use crate::database::{Database, Signer};
use crate::instance::Inner;

/// The handle for everything that talks to peers; [`Instance::sync`](crate::Instance::sync) gives it.
#[derive(Clone)]
pub struct Sync {
    inner: Arc<Inner>,
    engine: Arc<SyncEngine>,
}

impl Sync {
    pub(crate) fn new(inner: Arc<Inner>, engine: Arc<SyncEngine>) -> Self {
        Self { inner, engine }
    }

    /// Enables the HTTP transport with its defaults; twice is harmless.
    ///
    /// # Errors
    /// [`SyncError::InstanceDropped`].
    #[cfg(feature = "http")]
    pub fn enable_http_transport(&self) -> Result<()> {
        self.add_transport(Box::new(eidetica_transport_http::HttpTransport::new()))
    }

    /// Enables the iroh transport with its defaults: the public relays, every network interface. Twice is harmless.
    ///
    /// # Errors
    /// [`SyncError::InstanceDropped`].
    #[cfg(feature = "iroh")]
    pub fn enable_iroh_transport(&self) -> Result<()> {
        self.enable_iroh_transport_with_config(transports::iroh::IrohTransport::new())
    }

    /// Enables this iroh transport. It manages its own addresses: what [`Sync::start_server`] is given doesn't bind it.
    ///
    /// ```
    /// use eidetica::backend::InMemory;
    /// use eidetica::sync::Address;
    /// use eidetica::sync::transports::iroh::{IrohTransport, RelayMode};
    /// use eidetica::Instance;
    ///
    /// let node = || -> eidetica::Result<Instance> {
    ///     let instance = Instance::open(Box::new(InMemory::new()))?.enable_sync()?;
    ///     // No relays: the two find each other on the local network.
    ///     let transport = IrohTransport::builder().relay_mode(RelayMode::Disabled).build()?;
    ///     instance.sync()?.enable_iroh_transport_with_config(transport)?;
    ///     instance.sync()?.start_server("ignored")?;
    ///     Ok(instance)
    /// };
    /// let (alice, bob) = (node()?, node()?);
    /// let address = Address::iroh(alice.sync()?.get_server_address()?)?;
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    /// # runtime.block_on(async {
    /// let key = bob.sync()?.connect_to_peer(&address).await?;
    /// assert!(key.starts_with("ed25519:"));
    /// # Ok::<(), eidetica::Error>(())
    /// # })?;
    /// # Ok::<(), eidetica::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`SyncError::InstanceDropped`].
    #[cfg(feature = "iroh")]
    pub fn enable_iroh_transport_with_config(
        &self,
        transport: transports::iroh::IrohTransport,
    ) -> Result<()> {
        self.add_transport(Box::new(transport))
    }

    /// Enables a transport; a second one for the same address type is ignored.
    ///
    /// # Errors
    /// [`SyncError::InstanceDropped`].
    pub fn add_transport(&self, transport: Box<dyn Transport>) -> Result<()> {
        self.inner.check_open()?;
        self.engine.add_transport(Arc::from(transport));
        Ok(())
    }

    /// Starts to accept links over every enabled transport. `address` is for those that bind one; port 0 takes a free one.
    ///
    /// # Errors
    /// [`SyncError::NoTransportEnabled`], [`SyncError::ServerAlreadyRunning`], [`SyncError::ServerBind`].
    pub fn start_server(&self, address: impl AsRef<str>) -> Result<()> {
        let work = self.engine.clone().start_server(address.as_ref().to_owned());
        self.inner.runtime.wait("starting the server", work).map(drop)
    }

    /// As [`Sync::start_server`].
    ///
    /// # Errors
    /// As [`Sync::start_server`].
    pub fn start_server_async(
        &self,
        address: impl AsRef<str>,
    ) -> impl Future<Output = Result<()>> + Send + 'static {
        let work = self.engine.clone().start_server(address.as_ref().to_owned());
        let started = self.inner.runtime.run("starting the server", work);
        async move { started.await.map(drop) }
    }

    /// Stops accepting links, and ends those that were accepted. The same address binds again at once.
    ///
    /// # Errors
    /// [`SyncError::ServerNotRunning`].
    pub fn stop_server(&self) -> Result<()> {
        let work = self.engine.clone().stop_server();
        self.inner.runtime.wait("stopping the server", work)
    }

    /// As [`Sync::stop_server`].
    ///
    /// # Errors
    /// As [`Sync::stop_server`].
    pub fn stop_server_async(&self) -> impl Future<Output = Result<()>> + Send + use<> {
        self.inner.runtime.run("stopping the server", self.engine.clone().stop_server())
    }

    /// Whether links are accepted.
    pub fn is_server_running(&self) -> bool {
        self.engine.server_addresses().is_some()
    }

    /// The address of the first enabled transport, without its type.
    ///
    /// # Errors
    /// [`SyncError::ServerNotRunning`].
    pub fn get_server_address(&self) -> Result<String> {
        let first = self.get_server_addresses()?.into_iter().next();
        Ok(first.ok_or(SyncError::ServerNotRunning)?.address)
    }

    /// As [`Sync::get_server_address`].
    ///
    /// # Errors
    /// As [`Sync::get_server_address`].
    pub fn get_server_address_async(&self) -> impl Future<Output = Result<String>> + Send + use<> {
        std::future::ready(self.get_server_address())
    }

    /// Every address at which links are accepted now; where a transport's own change (another network, a relay found later), so do these.
    ///
    /// # Errors
    /// [`SyncError::ServerNotRunning`].
    pub fn get_server_addresses(&self) -> Result<Vec<Address>> {
        self.inner.check_open()?;
        Ok(self.engine.server_addresses().ok_or(SyncError::ServerNotRunning)?)
    }

    /// The sync state behind the interface of a database: local rows that the engine writes, which are never synced and can't be
    /// written through it. [`state::SyncStateManager`] reads it.
    pub fn sync_tree(&self) -> Database {
        Database::new(self.inner.clone(), self.engine.state_tree(), Signer::Engine)
    }

    /// Sets whether this node lets strangers in who ask without an invite.
    pub fn set_admission(&self, admission: Admission) {
        self.engine.set_admission(admission);
    }

    fn run<T, F>(
        &self,
        operation: &'static str,
        work: F,
    ) -> impl Future<Output = Result<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let open = self.inner.check_open();
        self.inner.runtime.run(operation, async move {
            open?;
            work.await
        })
    }

    fn rows(&self) -> Rows<'_> {
        Rows(&*self.inner.backend)
    }

    fn now(&self) -> Timestamp {
        self.inner.runtime.context.clock.wall()
    }
}

impl fmt::Debug for Sync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sync").field("addresses", &self.engine.server_addresses()).finish_non_exhaustive()
    }
}
