//! The transport itself.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use eidetica_kernel::options::{self, OptionFault};
use eidetica_kernel::registry::{About, Descriptor, OpenContext, Status, TransportFactory};
use eidetica_kernel::transport::{Address, Link, Listener, Transport, TransportCapabilities};
use eidetica_kernel::{Context, Error, ErrorKind, Result, register_transport};
use futures_util::future::{Either, select};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::network::{Binding, MemoryNetwork, check_name};
use crate::options::MemoryOptions;
use crate::wire::Wire;

const SCHEME: &str = "memory";

/// Links between nodes of one process.
///
/// Messages move without being copied, encrypted or delayed. Closing either half of a link closes the link: what was
/// sent before can still be read on both sides, nothing more can be sent.
///
/// ```
/// use eidetica_kernel::Transport;
/// use eidetica_transport_memory::MemoryTransport;
///
/// let transport = MemoryTransport::new();
/// assert_eq!(transport.parse_address("alice")?.to_string(), "memory:alice");
/// # Ok::<(), eidetica_kernel::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryTransport {
    network: MemoryNetwork,
    options: MemoryOptions,
    /// What this node listens at, so that links it dials belong to that name too.
    listening: Arc<Mutex<Option<String>>>,
}

impl MemoryTransport {
    /// On the network that the whole process shares.
    pub fn new() -> Self {
        Self::on(&MemoryNetwork::process())
    }

    /// On this network.
    pub fn on(network: &MemoryNetwork) -> Self {
        Self::with_options(network, MemoryOptions::default())
    }

    /// On this network, tuned.
    pub fn with_options(network: &MemoryNetwork, options: MemoryOptions) -> Self {
        Self { network: network.clone(), options, listening: Arc::default() }
    }
}

#[async_trait]
impl Transport for MemoryTransport {
    fn scheme(&self) -> &'static str {
        SCHEME
    }

    fn capabilities(&self) -> TransportCapabilities {
        TransportCapabilities::default().binds()
    }

    fn parse_address(&self, text: &str) -> Result<Address> {
        check_name(text)?;
        Ok(Address::new(SCHEME, text))
    }

    async fn listen(&self, _context: &Context, address: &str) -> Result<Box<dyn Listener>> {
        let (binding, accepted) = self.network.bind(address, self.options.accept_queue_max)?;
        *self.listening.lock() = Some(binding.name.clone());
        let listening = self.listening.clone();
        Ok(Box::new(MemoryListener {
            address: binding.name.clone(),
            accepted,
            listening,
            binding: Some(binding),
        }))
    }

    async fn connect(&self, context: &Context, address: &Address) -> Result<Link> {
        if address.transport_type != SCHEME {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "connecting to",
                address,
                "it isn't a memory address",
            ));
        }
        let name = &address.address;
        check_name(name)?;
        let own = self.listening.lock().clone();
        let accepting = self.network.find(own.as_deref(), name)?;
        let (wire, dialled, mut accepted) = Wire::pair(name, &self.options);
        accepted.remote = own.as_ref().map(|own| Address::new(SCHEME, own));
        let names: Vec<&str> = own.as_deref().into_iter().chain([name.as_str()]).collect();
        self.network.track(&names, &wire);

        let timeout = context.clock.sleep(Duration::from_millis(self.options.connect_timeout_ms));
        match select(pin!(accepting.send(accepted)), timeout).await {
            Either::Left((Ok(()), _)) => Ok(dialled.remote(address.clone())),
            Either::Left((Err(_), _)) => {
                Err(Error::new(ErrorKind::Unreachable, "connecting to", address, "it stopped listening"))
            }
            Either::Right(_) => Err(Error::new(
                ErrorKind::Timeout,
                "connecting to",
                address,
                format_args!("it accepted nothing for {} ms", self.options.connect_timeout_ms),
            )),
        }
    }
}

struct MemoryListener {
    address: String,
    accepted: mpsc::Receiver<Link>,
    listening: Arc<Mutex<Option<String>>>,
    binding: Option<Binding>,
}

#[async_trait]
impl Listener for MemoryListener {
    fn addresses(&self) -> Vec<Address> {
        vec![Address::new(SCHEME, &self.address)]
    }

    async fn accept(&mut self) -> Result<Option<Link>> {
        if self.binding.is_none() {
            return Ok(None);
        }
        Ok(self.accepted.recv().await)
    }

    async fn close(&mut self) -> Result<()> {
        self.end();
        Ok(())
    }
}

impl MemoryListener {
    fn end(&mut self) {
        self.accepted.close();
        while self.accepted.try_recv().is_ok() {}
        if self.binding.take().is_some() {
            let mut listening = self.listening.lock();
            if listening.as_deref() == Some(self.address.as_str()) {
                *listening = None;
            }
        }
    }
}

impl Drop for MemoryListener {
    fn drop(&mut self) {
        self.end();
    }
}

/// The transport `memory`, on the network that the whole process shares.
///
/// ```
/// assert_eq!(eidetica_transport_memory::MEMORY.about.name, "memory");
/// ```
pub const MEMORY: Descriptor<dyn TransportFactory> = Descriptor {
    about: About {
        name: SCHEME,
        summary: "Links between nodes of one process, for tests without ports",
        status: Status::Stable,
        trust: "Everything in the process can reach every name",
        crate_name: env!("CARGO_PKG_NAME"),
        crate_version: env!("CARGO_PKG_VERSION"),
    },
    schema: || schemars::schema_for!(MemoryOptions).to_value(),
    defaults: options::defaults::<MemoryOptions>,
    parse: |given| Ok(Box::new(options::decode::<MemoryOptions>(given)?)),
};

register_transport!(MEMORY);

impl TransportFactory for MemoryOptions {
    fn validate(&self) -> Vec<OptionFault> {
        self.faults()
    }

    fn capabilities(&self) -> TransportCapabilities {
        TransportCapabilities::default().binds()
    }

    fn listen_address(&self) -> Option<String> {
        self.listen.clone()
    }

    fn open(&self, _context: &OpenContext) -> Result<Arc<dyn Transport>> {
        Ok(Arc::new(MemoryTransport::with_options(&MemoryNetwork::process(), self.clone())))
    }
}
