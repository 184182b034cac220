//! A transport for tests: the contract in a few lines, without sockets.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use eidetica_kernel::error::excerpt;
use eidetica_kernel::transport::{
    ADDRESS_BYTES_MAX, Address, Link, LinkReceiver, LinkSender, Listener, Transport, TransportCapabilities,
    check_message,
};
use eidetica_kernel::{Context, Error, ErrorKind, Result};
use tokio::sync::{mpsc, watch};

const SCHEME: &str = "reference";

/// Messages under way in one direction of a link.
const QUEUE_MESSAGES: usize = 16;
/// Links that wait to be accepted.
const ACCEPT_QUEUE: usize = 16;
/// How long a connection attempt waits to be queued for acceptance.
const CONNECT_MAX: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Hub {
    listeners: BTreeMap<String, mpsc::Sender<Link>>,
    fresh: u64,
}

/// Names that listen, and the nodes that dial them.
///
/// ```
/// use eidetica_conformance::transport::{Reference, Transport};
///
/// let hub = Reference::new();
/// assert_eq!(hub.node().scheme(), "reference");
/// ```
#[derive(Clone, Default)]
pub struct Reference(Arc<Mutex<Hub>>);

impl Reference {
    /// A network of its own.
    pub fn new() -> Self {
        Self::default()
    }

    /// The transport of one node.
    pub fn node(&self) -> ReferenceNode {
        ReferenceNode(self.clone())
    }

    fn hub(&self) -> std::sync::MutexGuard<'_, Hub> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reference")
    }
}

/// The transport of one node of a [`Reference`].
#[derive(Clone, Debug)]
pub struct ReferenceNode(Reference);

#[async_trait]
impl Transport for ReferenceNode {
    fn scheme(&self) -> &'static str {
        SCHEME
    }

    fn capabilities(&self) -> TransportCapabilities {
        TransportCapabilities::default().binds()
    }

    fn parse_address(&self, text: &str) -> Result<Address> {
        let odd = |c: char| c.is_whitespace() || c.is_control();
        if text.is_empty() || text.len() > ADDRESS_BYTES_MAX || text.chars().any(odd) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "reading the address",
                excerpt(text, 80),
                "it is no name",
            )
            .hint("such addresses look like \"reference:node-1\""));
        }
        Ok(Address::new(SCHEME, text))
    }

    async fn listen(&self, _: &Context, address: &str) -> Result<Box<dyn Listener>> {
        let (accepting, accepted) = mpsc::channel(ACCEPT_QUEUE);
        let mut hub = self.0.hub();
        let name = if address.is_empty() {
            hub.fresh += 1;
            format!("node-{}", hub.fresh)
        } else {
            address.to_owned()
        };
        if hub.listeners.contains_key(&name) {
            let subject = format_args!("{SCHEME}:{name}");
            return Err(Error::new(ErrorKind::InUse, "listening at", subject, "somebody listens there"));
        }
        hub.listeners.insert(name.clone(), accepting);
        Ok(Box::new(ReferenceListener { hub: self.0.clone(), name, accepted: Some(accepted) }))
    }

    async fn connect(&self, context: &Context, address: &Address) -> Result<Link> {
        if address.transport_type != SCHEME {
            return Err(Error::new(ErrorKind::InvalidInput, "connecting to", address, "it isn't a name"));
        }
        let gone = || Error::new(ErrorKind::Unreachable, "connecting to", address, "nobody listens there");
        let accepting = self.0.hub().listeners.get(&address.address).cloned().ok_or_else(gone)?;
        let (dialled, accepted) = pair();
        let queued = pin!(accepting.send(accepted));
        tokio::select! {
            queued = queued => queued.map(|()| dialled.remote(address.clone())).map_err(|_| gone()),
            () = context.clock.sleep(CONNECT_MAX) => {
                Err(Error::new(ErrorKind::Timeout, "connecting to", address, "it accepts nothing"))
            }
        }
    }
}

struct ReferenceListener {
    hub: Reference,
    name: String,
    /// `None` once closed.
    accepted: Option<mpsc::Receiver<Link>>,
}

#[async_trait]
impl Listener for ReferenceListener {
    fn addresses(&self) -> Vec<Address> {
        vec![Address::new(SCHEME, &self.name)]
    }

    async fn accept(&mut self) -> Result<Option<Link>> {
        match &mut self.accepted {
            Some(accepted) => Ok(accepted.recv().await),
            None => Ok(None),
        }
    }

    async fn close(&mut self) -> Result<()> {
        self.end();
        Ok(())
    }
}

impl ReferenceListener {
    fn end(&mut self) {
        if self.accepted.take().is_some() {
            self.hub.hub().listeners.remove(&self.name);
        }
    }
}

impl Drop for ReferenceListener {
    fn drop(&mut self) {
        self.end();
    }
}

/// Both ends of a link. Either half that goes, on either side, ends both directions.
fn pair() -> (Link, Link) {
    let ended = Arc::new(watch::Sender::new(false));
    let (to_there, from_here) = mpsc::channel(QUEUE_MESSAGES);
    let (to_here, from_there) = mpsc::channel(QUEUE_MESSAGES);
    let link = |messages, queue| {
        let (sending, receiving) = (End(ended.clone()), End(ended.clone()));
        Link::new(Sender { messages, end: sending, closed: false }, Receiver { queue, end: receiving })
    };
    (link(to_there, from_there), link(to_here, from_here))
}

/// One half's hold on its link.
struct End(Arc<watch::Sender<bool>>);

impl End {
    async fn reached(&self) {
        // The sender is held here, so it can't be gone.
        let _ = self.0.subscribe().wait_for(|ended| *ended).await;
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

struct Sender {
    messages: mpsc::Sender<Bytes>,
    end: End,
    closed: bool,
}

#[async_trait]
impl LinkSender for Sender {
    async fn send(&mut self, message: Bytes) -> Result<()> {
        check_message(&message)?;
        let gone = |kind, reason: &str| Err(Error::new(kind, "sending a message", "", reason));
        if self.closed {
            return gone(ErrorKind::Closed, "the link was closed here");
        }
        tokio::select! {
            biased;
            () = self.end.reached() => gone(ErrorKind::Unreachable, "the remote has gone"),
            room = self.messages.reserve() => match room {
                Ok(room) => {
                    room.send(message);
                    Ok(())
                }
                Err(_) => gone(ErrorKind::Unreachable, "the remote has gone"),
            },
        }
    }

    async fn close(&mut self) -> Result<()> {
        self.closed = true;
        self.end.0.send_replace(true);
        Ok(())
    }
}

struct Receiver {
    queue: mpsc::Receiver<Bytes>,
    end: End,
}

#[async_trait]
impl LinkReceiver for Receiver {
    async fn recv(&mut self) -> Result<Option<Bytes>> {
        tokio::select! {
            biased;
            message = self.queue.recv() => Ok(message),
            // What was sent before the end is read first.
            () = self.end.reached() => Ok(self.queue.try_recv().ok()),
        }
    }
}
