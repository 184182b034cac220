//! How two nodes reach each other: links, which are ordered pipes of bounded messages.
//!
//! Authentication, encryption, multiplexing, retries and the sync protocol are the engine's, done once above every
//! transport.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::crypto::PublicKey;
use crate::error::{Error, ErrorKind, Result, excerpt};
use crate::runtime::{BoxFuture, Context};
use crate::sync_error::SyncError;

/// Longest message of a link, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 65_535;

/// Where a node can be reached, as `type:rest`.
///
/// ```
/// use eidetica_kernel::transport::Address;
///
/// let address: Address = "memory:alice".parse()?;
/// assert_eq!(address.transport_type, "memory");
/// assert_eq!(address.to_string(), "memory:alice");
/// # Ok::<(), eidetica_kernel::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Address {
    /// Which transport dials it: `http`, `iroh`, `memory`, ….
    pub transport_type: String,
    /// The rest, in that transport's own notation.
    pub address: String,
}

/// Longest text form of an address, in bytes.
pub const ADDRESS_BYTES_MAX: usize = 2_048;

impl Address {
    /// An address of a transport, its notation unchecked; [`Transport::parse_address`] checks it.
    pub fn new(transport_type: impl Into<String>, address: impl Into<String>) -> Self {
        Self { transport_type: transport_type.into(), address: address.into() }
    }

    /// An address that the transport `http` dials: `host:port`, `http://…` or `https://…`.
    ///
    /// ```
    /// use eidetica_kernel::Address;
    ///
    /// assert_eq!(Address::http("192.168.1.100:8080")?.to_string(), "http:192.168.1.100:8080");
    /// assert!(Address::http("not an address").is_err());
    /// # Ok::<(), eidetica_kernel::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`SyncError::InvalidAddress`] for what can't be one.
    pub fn http(address: impl AsRef<str>) -> Result<Self> {
        let text = address.as_ref().trim();
        let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")).unwrap_or(text);
        if host.is_empty() || host.starts_with([':', '/']) || (host == text && !host.contains(':')) {
            return Err(invalid_address(text, "it isn't host:port, http://… or https://…"));
        }
        Self::checked("http", text)
    }

    /// An address that the transport `iroh` dials: a ticket, or a node's id where address lookup is on.
    ///
    /// # Errors
    /// [`SyncError::InvalidAddress`] for what can't be one.
    pub fn iroh(address: impl AsRef<str>) -> Result<Self> {
        let text = address.as_ref().trim();
        Self::checked("iroh", text.strip_prefix("iroh:").unwrap_or(text))
    }

    fn checked(transport_type: &str, text: &str) -> Result<Self> {
        if text.is_empty() || text.len() > ADDRESS_BYTES_MAX {
            return Err(invalid_address(text, "it is empty or too long"));
        }
        if text.chars().any(|char| char.is_whitespace() || char.is_control()) {
            return Err(invalid_address(text, "there is white space in it"));
        }
        Ok(Self::new(transport_type, text))
    }
}

fn invalid_address(text: &str, reason: &str) -> Error {
    let address = text.chars().take(80).collect();
    SyncError::InvalidAddress { address, reason: reason.to_owned() }.into()
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transport_type, self.address)
    }
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = |reason: &str| {
            Error::new(ErrorKind::InvalidInput, "reading the address", excerpt(text, 80), reason)
                .hint("addresses look like \"http:127.0.0.1:8080\"")
        };
        if text.len() > ADDRESS_BYTES_MAX {
            return Err(invalid("it is too long"));
        }
        let (transport_type, address) =
            text.split_once(':').ok_or_else(|| invalid("it names no transport"))?;
        let named = !transport_type.is_empty()
            && transport_type.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if !named {
            return Err(invalid("it names no transport"));
        }
        Ok(Self::new(transport_type, address))
    }
}

/// What a transport can do beyond the mandatory contract.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransportCapabilities {
    /// [`Transport::listen`] uses the address it is given (a port to bind); otherwise it manages its own.
    pub binds: bool,
    /// Links name the remote's proven key in [`Link::remote_key`].
    pub proves_keys: bool,
    /// Links are encrypted and carry a channel binding in [`Link::binding`].
    pub encrypts: bool,
}

impl TransportCapabilities {
    /// Binds the address it is given.
    #[must_use]
    pub const fn binds(mut self) -> Self {
        self.binds = true;
        self
    }

    /// Proves the remote's key.
    #[must_use]
    pub const fn proves_keys(mut self) -> Self {
        self.proves_keys = true;
        self
    }

    /// Encrypts and binds the channel.
    #[must_use]
    pub const fn encrypts(mut self) -> Self {
        self.encrypts = true;
        self
    }

    /// The names of what is declared, sorted.
    pub fn names(&self) -> Vec<&'static str> {
        [("binds", self.binds), ("encrypts", self.encrypts), ("proves-keys", self.proves_keys)]
            .into_iter()
            .filter_map(|(name, declared)| declared.then_some(name))
            .collect()
    }
}

/// An open pipe to another node.
///
/// Invariants, cited by the conformance suite:
///
/// - **L1** Messages of 0 to [`MESSAGE_BYTES_MAX`] bytes arrive whole, once, in the order they were sent. Longer ones are
///   refused by `send` with [`ErrorKind::LimitExceeded`], and received ones end the link before they are allocated.
/// - **L2** What is under way is bounded: when the remote doesn't read, `send` waits.
/// - **L3** After either half is closed or dropped on one side, read up or not, the other side's `recv` ends with `Ok(None)` or an
///   error once what was sent before has been read, and its `send` with an error; neither hangs when the transport can know.
/// - **L4** `send` and `recv` may be dropped while they wait. The link is then closed, or goes on as if the call
///   hadn't been made; a message is never torn or doubled.
/// - **L5** Links are independent: one that nobody reads delays no other, between the same two nodes too.
/// - **L6** What `send` has taken arrives without a further call on either half, also when the link is dropped right after.
/// - **L7** Both ends have the same `keepalive` and the same `binding`, and no two links share a binding. `remote_key` and `binding`
///   are there if the capabilities say so, and only then; each side's key stays the same from link to link.
pub struct Link {
    /// The remote's address, where the transport knows one that is worth dialling or logging.
    pub remote: Option<Address>,
    /// The remote's key, where the transport has proven it.
    pub remote_key: Option<PublicKey>,
    /// 32 bytes that both ends of this very channel compute and nobody else can choose (a TLS exporter).
    pub binding: Option<[u8; 32]>,
    /// How often to ping an idle link. `None` turns off pings, timeouts and health checks.
    pub keepalive: Option<Duration>,
    /// The half that sends.
    pub sender: Box<dyn LinkSender>,
    /// The half that receives.
    pub receiver: Box<dyn LinkReceiver>,
}

impl Link {
    /// Ping interval for links across proxies, which cut what is idle for 60 s.
    pub const KEEPALIVE: Duration = Duration::from_secs(25);

    /// A link of two halves, pinged every [`Link::KEEPALIVE`], its remote unknown.
    pub fn new(sender: impl LinkSender + 'static, receiver: impl LinkReceiver + 'static) -> Self {
        Self {
            remote: None,
            remote_key: None,
            binding: None,
            keepalive: Some(Self::KEEPALIVE),
            sender: Box::new(sender),
            receiver: Box::new(receiver),
        }
    }

    /// With the remote's address.
    #[must_use]
    pub fn remote(mut self, address: Address) -> Self {
        self.remote = Some(address);
        self
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("remote", &self.remote)
            .field("remote_key", &self.remote_key)
            .field("keepalive", &self.keepalive)
            .finish_non_exhaustive()
    }
}

/// The sending half of a [`Link`].
#[async_trait]
pub trait LinkSender: Send {
    /// Sends one message; waits while the link is full.
    ///
    /// # Errors
    /// [`ErrorKind::LimitExceeded`] over [`MESSAGE_BYTES_MAX`]; [`ErrorKind::Unreachable`] when the link is gone.
    async fn send(&mut self, message: Bytes) -> Result<()>;

    /// Hands on what is buffered and tells the remote that nothing follows. Closing twice is harmless.
    ///
    /// # Errors
    /// [`ErrorKind::Unreachable`] when the link was gone already.
    async fn close(&mut self) -> Result<()>;
}

/// The receiving half of a [`Link`].
#[async_trait]
pub trait LinkReceiver: Send {
    /// The next message; `None` when the remote has closed.
    ///
    /// # Errors
    /// [`ErrorKind::Unreachable`] when the link broke; [`ErrorKind::Protocol`] when the remote sent what isn't a message.
    async fn recv(&mut self) -> Result<Option<Bytes>>;
}

/// Accepts links.
///
/// - **A1** Dropping or closing a listener frees what it had bound: the same address binds again at once, and until then a second
///   one there is refused. Links it has accepted stay open; those that wait to be accepted end.
/// - **A2** A stranger who connects and says nothing, or nonsense, delays nobody else's `accept`.
/// - **A3** `accept` may be dropped while it waits; no link is lost by it.
/// - **A4** What `addresses_changed` gives ends with the first change after the call that made it, however late it is polled, and
///   never without one.
/// - **A5** Each of its addresses can be dialled as it is, and reads back as itself; listening at "any address" (a port 0) gives
///   every listener its own.
/// - **A6** A node that listens already refuses to listen once more with [`ErrorKind::InUse`], or listens at a further address; the
///   first listener goes on either way, and once it is closed the node can listen again.
#[async_trait]
pub trait Listener: Send {
    /// Addresses that other nodes can dial now, best first.
    fn addresses(&self) -> Vec<Address>;

    /// Ends once [`Listener::addresses`] gives others than it did at this call. By default they never change.
    fn addresses_changed(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }

    /// The next link; `None` once closed.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when listening itself failed; a failed handshake of one stranger is no error.
    async fn accept(&mut self) -> Result<Option<Link>>;

    /// Stops listening. Links it accepted stay open. Closing twice is harmless.
    ///
    /// # Errors
    /// [`ErrorKind::Io`]; it is closed all the same.
    async fn close(&mut self) -> Result<()>;
}

/// Opens and accepts links of one address type.
///
/// - **T1** `parse_address` is pure: it opens nothing and looks nothing up.
/// - **T2** All tasks are spawned through the [`Context`] and end when their link or listener is dropped, or when the transport is.
/// - **T3** `connect` and `listen` are polled inside tokio with I/O and time enabled; nothing else is assumed of the runtime.
/// - **T4** Nothing is allocated on a stranger's word, and nothing a stranger sends panics.
/// - **T5** `connect` and `listen` may be dropped while they wait, and leave nothing behind; a link that the other side may have
///   accepted meanwhile ends there.
/// - **T6** Its scheme is made of `a`-`z`, `0`-`9`, `-` and `_`, and is the type of every address it gives; `connect` refuses
///   addresses of another type with [`ErrorKind::InvalidInput`].
/// - **T7** `connect` ends by itself: to where nobody listens with [`ErrorKind::Unreachable`] or [`ErrorKind::Timeout`], to who listens
///   and accepts nothing with these or a link.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// The address type it serves, `[a-z0-9_-]+`: the part of an address before the `:`.
    fn scheme(&self) -> &'static str;

    /// What it can do.
    fn capabilities(&self) -> TransportCapabilities;

    /// Checks and normalises the part of an address behind the `:`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`], saying what such addresses look like.
    fn parse_address(&self, text: &str) -> Result<Address>;

    /// Starts to accept links at `address` (ignored by transports that manage their own).
    ///
    /// # Errors
    /// [`ErrorKind::InUse`] when something else is bound there; [`ErrorKind::InvalidInput`], [`ErrorKind::PermissionDenied`],
    /// [`ErrorKind::Io`].
    async fn listen(&self, context: &Context, address: &str) -> Result<Box<dyn Listener>>;

    /// Opens a link.
    ///
    /// # Errors
    /// [`ErrorKind::Unreachable`], [`ErrorKind::Timeout`], [`ErrorKind::InvalidInput`].
    async fn connect(&self, context: &Context, address: &Address) -> Result<Link>;

    /// Reserved: opens a further raw pipe to a node that is linked already.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] by default.
    async fn open_pipe(&self, _context: &Context, address: &Address, _name: &str) -> Result<Link> {
        Err(Error::new(ErrorKind::Unsupported, "opening a pipe to", address, "this transport has links only"))
    }
}

/// Refuses a message over [`MESSAGE_BYTES_MAX`]; every [`LinkSender::send`] calls this first.
///
/// # Errors
/// [`ErrorKind::LimitExceeded`].
pub fn check_message(message: &[u8]) -> Result<()> {
    if message.len() <= MESSAGE_BYTES_MAX {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::LimitExceeded,
        "sending a message",
        "",
        format_args!("it has {} bytes, {MESSAGE_BYTES_MAX} are allowed", message.len()),
    ))
}
