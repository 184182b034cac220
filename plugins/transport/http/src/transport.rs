//! The transport itself.

use std::fmt;
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
use tokio_rustls::rustls::ClientConfig;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::address::{SCHEME, Target, address};
use crate::options::HttpOptions;
use crate::{dial, link, listener, tls};

/// Links over WebSockets, through any proxy that forwards these.
///
/// Closing either half of a link closes the link: what was sent before can still be read on both sides, nothing more
/// can be sent. Neither side is known by its key, and only `https` is encrypted; the engine's secure channel does both.
///
/// ```
/// use eidetica_kernel::Transport;
/// use eidetica_transport_http::{HttpOptions, HttpTransport};
///
/// let transport = HttpTransport::new();
/// assert_eq!(transport.parse_address("http://[::1]:8080/")?.to_string(), "http:[::1]:8080");
///
/// let patient = HttpTransport::with_options(HttpOptions { connect_timeout_ms: 60_000, ..HttpOptions::default() })?;
/// # drop(patient);
/// # Ok::<(), eidetica_kernel::Error>(())
/// ```
#[derive(Default)]
pub struct HttpTransport {
    options: Arc<HttpOptions>,
    /// Made when the first `https` address is dialled.
    tls: Mutex<Option<Arc<ClientConfig>>>,
}

impl HttpTransport {
    /// With the default options.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tuned.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`], naming every option that is out of its range.
    pub fn with_options(options: HttpOptions) -> Result<Self> {
        let faults: Vec<String> = options.faults().iter().map(OptionFault::to_string).collect();
        if !faults.is_empty() {
            let reason = faults.join("; ");
            return Err(Error::new(ErrorKind::InvalidInput, "opening the transport", "http", reason));
        }
        Ok(Self { options: Arc::new(options), tls: Mutex::default() })
    }

    fn tls(&self) -> Result<Arc<ClientConfig>> {
        let mut tls = self.tls.lock();
        if let Some(config) = &*tls {
            return Ok(config.clone());
        }
        let config = tls::client_config(self.options.ca_file.as_deref())?;
        Ok(tls.insert(config).clone())
    }
}

impl fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HttpTransport").field(&self.options).finish()
    }
}

#[async_trait]
impl Transport for HttpTransport {
    fn scheme(&self) -> &'static str {
        SCHEME
    }

    fn capabilities(&self) -> TransportCapabilities {
        capabilities()
    }

    fn parse_address(&self, text: &str) -> Result<Address> {
        address(text)
    }

    async fn listen(&self, context: &Context, address: &str) -> Result<Box<dyn Listener>> {
        Ok(Box::new(listener::HttpListener::bind(context, self.options.clone(), address).await?))
    }

    async fn connect(&self, context: &Context, address: &Address) -> Result<Link> {
        if address.transport_type != SCHEME {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "connecting to",
                address,
                "it isn't an http address",
            ));
        }
        let target = Target::parse(&address.address)?;
        let normal = Address::new(SCHEME, target.to_string());
        let tls = if target.tls { Some(self.tls()?) } else { None };
        let dialling = dial::dial(context, &normal, &target, &self.options.path, tls);
        let timeout_ms = self.options.connect_timeout_ms;
        let (io, early) =
            match select(pin!(dialling), context.clock.sleep(Duration::from_millis(timeout_ms))).await {
                Either::Left((dialled, _)) => dialled?,
                Either::Right(_) => {
                    let reason = format_args!("it didn't answer for {timeout_ms} ms");
                    return Err(Error::new(ErrorKind::Timeout, "connecting to", &normal, reason));
                }
            };
        let buffer = self.options.read_buffer_bytes;
        let link = link::open(context, io, early, Role::Client, normal.to_string(), buffer).await;
        Ok(link.remote(normal))
    }
}

fn capabilities() -> TransportCapabilities {
    TransportCapabilities::default().binds()
}

/// The transport `http`.
///
/// ```
/// assert_eq!(eidetica_transport_http::HTTP.about.name, "http");
/// ```
pub const HTTP: Descriptor<dyn TransportFactory> = Descriptor {
    about: About {
        name: SCHEME,
        summary: "Links over WebSockets, through proxies too",
        status: Status::Stable,
        trust: "Strangers may connect and say anything; the network may read and alter what isn't https",
        crate_name: env!("CARGO_PKG_NAME"),
        crate_version: env!("CARGO_PKG_VERSION"),
    },
    schema: || schemars::schema_for!(HttpOptions).to_value(),
    defaults: options::defaults::<HttpOptions>,
    parse: |given| Ok(Box::new(options::decode::<HttpOptions>(given)?)),
};

register_transport!(HTTP);

impl TransportFactory for HttpOptions {
    fn validate(&self) -> Vec<OptionFault> {
        self.faults()
    }

    fn capabilities(&self) -> TransportCapabilities {
        capabilities()
    }

    fn listen_address(&self) -> Option<String> {
        self.listen.clone()
    }

    fn open(&self, context: &OpenContext) -> Result<Arc<dyn Transport>> {
        let mut options = self.clone();
        if let (Some(file), Some(folder)) = (&options.ca_file, &context.data_dir) {
            options.ca_file = Some(folder.join(file));
        }
        Ok(Arc::new(HttpTransport::with_options(options)?))
    }
}
