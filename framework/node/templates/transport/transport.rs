//! Names that listen, and the links between them.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
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

use crate::options::{{Type}}Options;

/// What stands before the colon of an address.
const SCHEME: &str = "{{name}}";

/// Links that wait to be accepted.
const ACCEPT_QUEUE: usize = 16;

/// Names, and who listens at them. Clones are the same network.
#[derive(Clone, Default)]
pub struct {{Type}}Network(Arc<Mutex<Names>>);

#[derive(Default)]
struct Names {
    listening: BTreeMap<String, mpsc::Sender<Link>>,
    fresh: u64,
}

impl {{Type}}Network {
    /// A network of its own, which nothing outside shares.
    pub fn new() -> Self {
        Self::default()
    }

    /// The one that the nodes of this process share when a config file selects the transport.
    pub fn process() -> Self {
        static PROCESS: OnceLock<{{Type}}Network> = OnceLock::new();
        PROCESS.get_or_init(Self::new).clone()
    }

    /// The transport of one node.
    pub fn node(&self, options: {{Type}}Options) -> {{Type}}Transport {
        {{Type}}Transport { network: self.clone(), options }
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for {{Type}}Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("{{Type}}Network")
    }
}

pub(crate) fn capabilities() -> TransportCapabilities {
    TransportCapabilities::default().binds()
}

/// A name to listen at: one that can be dialled, or none for a fresh one.
pub(crate) fn check_listen(name: &str) -> std::result::Result<(), &'static str> {
    if name.is_empty() { Ok(()) } else { check_name(name) }
}

fn check_name(name: &str) -> std::result::Result<(), &'static str> {
    if name.is_empty() {
        Err("it names nobody")
    } else if name.len() > ADDRESS_BYTES_MAX {
        Err("it is too long")
    } else if name.chars().any(|c| c.is_whitespace() || c.is_control()) {
        Err("there are blanks or control characters in it")
    } else {
        Ok(())
    }
}

fn no_name(name: &str, reason: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, "reading the address", excerpt(name, 80), reason)
        .hint("such addresses look like \"{{name}}:alice\"")
}

/// Links between nodes of one process.
#[derive(Clone, Debug)]
pub struct {{Type}}Transport {
    network: {{Type}}Network,
    options: {{Type}}Options,
}

#[async_trait]
impl Transport for {{Type}}Transport {
    fn scheme(&self) -> &'static str {
        SCHEME
    }

    fn capabilities(&self) -> TransportCapabilities {
        capabilities()
    }

    fn parse_address(&self, text: &str) -> Result<Address> {
        check_name(text).map_err(|reason| no_name(text, reason))?;
        Ok(Address::new(SCHEME, text))
    }

    async fn listen(&self, _context: &Context, address: &str) -> Result<Box<dyn Listener>> {
        check_listen(address).map_err(|reason| no_name(address, reason))?;
        let (accepting, accepted) = mpsc::channel(ACCEPT_QUEUE);
        let mut names = self.network.names();
        let mut name = address.to_owned();
        while name.is_empty() || address.is_empty() && names.listening.contains_key(&name) {
            names.fresh += 1;
            name = format!("node-{}", names.fresh);
        }
        if names.listening.contains_key(&name) {
            let subject = format_args!("{SCHEME}:{name}");
            return Err(Error::new(ErrorKind::InUse, "listening at", subject, "something listens there already")
                .hint("choose another name, or none for a fresh one"));
        }
        names.listening.insert(name.clone(), accepting);
        Ok(Box::new(NameListener { network: self.network.clone(), name, accepted: Some(accepted) }))
    }

    async fn connect(&self, context: &Context, address: &Address) -> Result<Link> {
        if address.transport_type != SCHEME {
            let reason = "it is another transport's address";
            return Err(Error::new(ErrorKind::InvalidInput, "connecting to", address, reason));
        }
        let gone = || Error::new(ErrorKind::Unreachable, "connecting to", address, "nothing listens there");
        let accepting = self.network.names().listening.get(&address.address).cloned().ok_or_else(gone)?;
        let (dialled, accepted) = pair(self.options.queue_messages_max);
        let queued = pin!(accepting.send(accepted));
        tokio::select! {
            queued = queued => queued.map(|()| dialled.remote(address.clone())).map_err(|_| gone()),
            () = context.clock.sleep(Duration::from_millis(self.options.connect_timeout_ms)) => {
                Err(Error::new(ErrorKind::Timeout, "connecting to", address, "it accepts nothing"))
            }
        }
    }
}

struct NameListener {
    network: {{Type}}Network,
    name: String,
    /// `None` once closed.
    accepted: Option<mpsc::Receiver<Link>>,
}

impl NameListener {
    fn end(&mut self) {
        if self.accepted.take().is_some() {
            self.network.names().listening.remove(&self.name);
        }
    }
}

#[async_trait]
impl Listener for NameListener {
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

impl Drop for NameListener {
    fn drop(&mut self) {
        self.end();
    }
}

/// Both ends of a link. Either half that goes, on either side, ends both directions.
fn pair(queue_messages_max: usize) -> (Link, Link) {
    let ended = Arc::new(watch::Sender::new(false));
    let (to_there, from_here) = mpsc::channel(queue_messages_max.max(1));
    let (to_here, from_there) = mpsc::channel(queue_messages_max.max(1));
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
        const SENDING: &str = "sending a message to";
        check_message(&message)?;
        if self.closed {
            return Err(Error::new(ErrorKind::Closed, SENDING, "the remote", "the link was closed here"));
        }
        let room = tokio::select! {
            biased;
            () = self.end.reached() => None,
            room = self.messages.reserve() => room.ok(),
        };
        let gone = || Error::new(ErrorKind::Unreachable, SENDING, "the remote", "it has gone").hint("connect again");
        room.ok_or_else(gone)?.send(message);
        Ok(())
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
