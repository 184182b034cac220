//! The transport itself.

use std::fmt;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use eidetica_kernel::options::{self, OptionFault};
use eidetica_kernel::registry::{About, Descriptor, OpenContext, Status, TransportFactory};
use eidetica_kernel::transport::{Address, Link, Listener, Transport, TransportCapabilities};
use eidetica_kernel::{Context, Error, ErrorKind, Result, register_transport};
use futures_util::future::{Either, select};
use iroh::RelayMode;
use tokio::sync::Mutex;

use crate::address::{SCHEME, address, parse};
use crate::dial::dial;
use crate::listener::IrohListener;
use crate::node::{Node, Settings};
use crate::options::IrohOptions;

/// Links over QUIC, direct where a way is open and over a relay where none is.
///
/// One endpoint serves for listening and for dialling. It is bound by the first [`Transport::listen`] or
/// [`Transport::connect`], under a key made then, and closed once the transport, its listener and all links are gone. The
/// address given to `listen` is ignored: [`IrohOptions::bind`] says where the endpoint is bound.
///
/// [`Link::remote_key`] is the key of the remote's *endpoint*, not of its node, and [`Link::binding`] is exported from TLS
/// for the link's stream. Closing either half of a link closes the link: what was sent before can still be read on
/// both sides, nothing more can be sent. A remote that vanished is noticed after 30 s.
///
/// ```
/// use eidetica_kernel::Transport;
/// use eidetica_transport_iroh::{IrohTransport, RelayMode};
///
/// let transport = IrohTransport::builder().relay_mode(RelayMode::Disabled).build()?;
/// let key = "ae58ff8833241ac82d6ff7611046ed67b5072d142c588d0063e942d9a75502b6";
/// assert!(transport.parse_address(key).is_err(), "a key is an address only where address lookup is on");
///
/// let transport = IrohTransport::builder().address_lookup(true).build()?;
/// assert_eq!(transport.parse_address(&format!("iroh://{key}"))?.to_string(), format!("iroh:{key}"));
/// # Ok::<(), eidetica_kernel::Error>(())
/// ```
pub struct IrohTransport {
    settings: Arc<Settings>,
    /// Bound at first use.
    node: Mutex<Option<Arc<Node>>>,
}

impl IrohTransport {
    /// With the default options. Binds nothing yet.
    pub fn new() -> Self {
        Self::with_settings(IrohTransportBuilder::default().settings())
    }

    /// Tuned. Binds nothing yet.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`], naming every option that is out of its range.
    pub fn with_options(options: IrohOptions) -> Result<Self> {
        IrohTransportBuilder { options, ..IrohTransportBuilder::default() }.build()
    }

    /// Tuned step by step.
    pub fn builder() -> IrohTransportBuilder {
        IrohTransportBuilder::default()
    }

    fn with_settings(settings: Settings) -> Self {
        Self { settings: Arc::new(settings), node: Mutex::default() }
    }

    /// The endpoint, bound anew where there is none, or its runtime is gone.
    pub(crate) async fn node(&self, context: &Context) -> Result<Arc<Node>> {
        let mut node = self.node.lock().await;
        if let Some(node) = node.as_ref().filter(|node| node.is_alive()) {
            return Ok(node.clone());
        }
        let bound = Node::bind(context, self.settings.clone()).await?;
        Ok(node.insert(bound).clone())
    }
}

impl Default for IrohTransport {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for IrohTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IrohTransport").field(&self.settings).finish()
    }
}

/// Makes an [`IrohTransport`].
///
/// ```
/// use eidetica_transport_iroh::{IrohTransport, RelayConfig, RelayMap, RelayMode, RelayUrl};
///
/// let url: RelayUrl = "https://relay.example.com".parse().expect("it is a URL");
/// let relay = RelayConfig::new(url, Some(Default::default()));
/// let transport = IrohTransport::builder()
///     .relay_mode(RelayMode::Custom(RelayMap::from_iter([relay])))
///     .bind_address("0.0.0.0:0".parse().expect("it is a socket address"))
///     .build()?;
/// # Ok::<(), eidetica_kernel::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "it makes nothing before `build`"]
pub struct IrohTransportBuilder {
    options: IrohOptions,
    relays: Option<RelayMode>,
    sockets: Vec<SocketAddr>,
}

impl IrohTransportBuilder {
    /// All options at once; what else is said to the builder goes over them.
    pub fn options(mut self, options: IrohOptions) -> Self {
        self.options = options;
        self
    }

    /// Which relays help where no direct way is open, over [`IrohOptions::relay_mode`]. Here they may need a token.
    pub fn relay_mode(mut self, relays: RelayMode) -> Self {
        self.relays = Some(relays);
        self
    }

    /// Where to bind, over [`IrohOptions::bind`]; once for each address family. Port 0 stands for a free one.
    pub fn bind_address(mut self, address: SocketAddr) -> Self {
        self.sockets.push(address);
        self
    }

    /// Sets [`IrohOptions::address_lookup`].
    pub fn address_lookup(mut self, on: bool) -> Self {
        self.options.address_lookup = on;
        self
    }

    /// The transport. Nothing is bound before it listens or connects, and no runtime is needed here.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`], naming everything that is out of its range.
    pub fn build(mut self) -> Result<IrohTransport> {
        if !self.sockets.is_empty() {
            self.options.bind = self.sockets.iter().map(SocketAddr::to_string).collect();
        }
        let mut faults = self.options.faults();
        if let Some(RelayMode::Custom(relays)) = &self.relays
            && relays.is_empty()
        {
            faults.push(OptionFault::new("relay_mode", "must name a relay, as it is custom"));
        }
        if faults.is_empty() {
            return Ok(IrohTransport::with_settings(self.settings()));
        }
        let reason = faults.iter().map(OptionFault::to_string).collect::<Vec<_>>().join("; ");
        Err(Error::new(ErrorKind::InvalidInput, "opening the transport", SCHEME, reason))
    }

    fn settings(self) -> Settings {
        let relays = self.relays.unwrap_or_else(|| self.options.relays());
        Settings { sockets: self.options.sockets(), options: self.options, relays }
    }
}

#[async_trait]
impl Transport for IrohTransport {
    fn scheme(&self) -> &'static str {
        SCHEME
    }

    fn capabilities(&self) -> TransportCapabilities {
        capabilities()
    }

    fn parse_address(&self, text: &str) -> Result<Address> {
        Ok(address(&parse(text, self.settings.means())?))
    }

    async fn listen(&self, context: &Context, _address: &str) -> Result<Box<dyn Listener>> {
        let node = self.node(context).await?;
        Ok(Box::new(IrohListener::open(context, node).await?))
    }

    async fn connect(&self, context: &Context, to: &Address) -> Result<Link> {
        if to.transport_type != SCHEME {
            return Err(Error::new(ErrorKind::InvalidInput, "connecting to", to, "it isn't an iroh address"));
        }
        let target = parse(&to.address, self.settings.means())?;
        let normal = address(&target);
        let dialling = async {
            let node = self.node(context).await?;
            dial(&node, context, &normal, &target).await
        };
        let timeout_ms = self.settings.options.connect_timeout_ms;
        match select(pin!(dialling), context.clock.sleep(Duration::from_millis(timeout_ms))).await {
            Either::Left((dialled, _)) => dialled,
            Either::Right(_) => {
                let reason = format_args!("it didn't answer for {timeout_ms} ms");
                Err(Error::new(ErrorKind::Timeout, "connecting to", &normal, reason))
            }
        }
    }
}

fn capabilities() -> TransportCapabilities {
    TransportCapabilities::default().proves_keys().encrypts()
}

/// The transport `iroh`.
///
/// ```
/// assert_eq!(eidetica_transport_iroh::IROH.about.name, "iroh");
/// ```
pub const IROH: Descriptor<dyn TransportFactory> = Descriptor {
    about: About {
        name: SCHEME,
        summary: "Links over QUIC to nodes known by a key, through NATs too",
        status: Status::Stable,
        trust: "Strangers may connect and say anything; relays see who talks to whom and how much, not what",
        crate_name: env!("CARGO_PKG_NAME"),
        crate_version: env!("CARGO_PKG_VERSION"),
    },
    schema: || schemars::schema_for!(IrohOptions).to_value(),
    defaults: options::defaults::<IrohOptions>,
    parse: |given| Ok(Box::new(options::decode::<IrohOptions>(given)?)),
};

register_transport!(IROH);

impl TransportFactory for IrohOptions {
    fn validate(&self) -> Vec<OptionFault> {
        self.faults()
    }

    fn capabilities(&self) -> TransportCapabilities {
        capabilities()
    }

    fn open(&self, _context: &OpenContext) -> Result<Arc<dyn Transport>> {
        Ok(Arc::new(IrohTransport::with_options(self.clone())?))
    }
}
