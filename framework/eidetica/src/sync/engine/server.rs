//! Transports, and accepting links.

use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use eidetica_kernel::runtime::{Context, TaskGuard};
use eidetica_kernel::transport::{Link, Listener};
use eidetica_kernel::{Error, Result, SyncError, Transport};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::SyncEngine;
use crate::channel::{self, Channel, Mux, Reason};
use crate::sync::Address;
use crate::sync::link::Command;

/// Links in all.
const LINKS_MAX: usize = 1_024;
/// Handshakes of strangers under way at once, per listener.
const HANDSHAKES_MAX: usize = 64;
/// How long a peer that is blocked may take to hear so and go.
const REFUSING_MAX: Duration = Duration::from_secs(1);

pub(super) struct Server {
    accepting: Vec<Accepting>,
}

/// Where one listener can be dialled now, as it said last.
type Told = Arc<Mutex<Vec<Address>>>;

/// The task that accepts links at one listener.
struct Accepting {
    _task: TaskGuard,
    told: Told,
    /// Fails once the listener is gone, and its address free.
    gone: oneshot::Receiver<Infallible>,
}

impl SyncEngine {
    pub(crate) fn add_transport(&self, transport: Arc<dyn Transport>) {
        let mut transports = self.transports.lock();
        if !transports.iter().any(|known| known.scheme() == transport.scheme()) {
            transports.push(transport);
        }
    }

    pub(crate) fn transport_for(&self, address: &Address) -> Result<Arc<dyn Transport>> {
        let transports = self.transports.lock();
        if transports.is_empty() {
            return Err(SyncError::NoTransportEnabled.into());
        }
        let found = transports.iter().find(|transport| transport.scheme() == address.transport_type);
        found.cloned().ok_or_else(|| {
            let enabled: Vec<&str> = transports.iter().map(|transport| transport.scheme()).collect();
            SyncError::NoTransportForAddress { address: address.to_string(), enabled: enabled.join(", ") }
                .into()
        })
    }

    pub(crate) async fn start_server(self: Arc<Self>, address: String) -> Result<Vec<Address>> {
        if self.starting.swap(true, Ordering::AcqRel) {
            return Err(SyncError::ServerAlreadyRunning { address }.into());
        }
        let started = self.clone().listen(address).await;
        self.starting.store(false, Ordering::Release);
        started
    }

    async fn listen(self: Arc<Self>, address: String) -> Result<Vec<Address>> {
        if let Some(server) = &*self.server.lock() {
            let addresses = server.addresses();
            let address = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return Err(SyncError::ServerAlreadyRunning { address }.into());
        }
        let transports = self.transports.lock().clone();
        if transports.is_empty() {
            return Err(SyncError::NoTransportEnabled.into());
        }
        let mut accepting = Vec::new();
        for transport in transports {
            match self.listen_over(&*transport, &address).await {
                Ok(begun) => accepting.push(begun),
                Err(error) => {
                    Accepting::end_all(accepting).await;
                    return Err(error);
                }
            }
        }
        let server = Server { accepting };
        let addresses = server.addresses();
        *self.server.lock() = Some(server);
        Ok(addresses)
    }

    async fn listen_over(&self, transport: &dyn Transport, address: &str) -> Result<Accepting> {
        // A text with a type in front is for that transport alone; others choose an address of their own.
        let own = match address.parse::<Address>() {
            Ok(typed) if typed.transport_type == transport.scheme() => typed.address,
            _ => address.to_owned(),
        };
        let listener = transport.listen(self.context(), &own).await.map_err(|error| {
            Error::from(SyncError::ServerBind { address: own, reason: error.reason().to_owned() })
        })?;
        let told = Told::new(Mutex::new(listener.addresses()));
        let (held, gone) = oneshot::channel();
        let listening = Listening { listener, told: told.clone(), _held: held };
        let work = accept(self.me.clone(), self.context().clone(), listening);
        let task = self.context().spawner.spawn("accept", Box::pin(work));
        Ok(Accepting { _task: task, told, gone })
    }

    pub(crate) async fn stop_server(self: Arc<Self>) -> Result<()> {
        let server = self.server.lock().take().ok_or(SyncError::ServerNotRunning)?;
        let gone = Accepting::end_all(server.accepting);
        for (handle, _, accepted) in self.links.lock().values().flatten() {
            if *accepted {
                let _ = handle.commands.try_send(Command::Close { reason: Reason::GoingAway });
            }
        }
        gone.await;
        Ok(())
    }

    pub(crate) fn server_addresses(&self) -> Option<Vec<Address>> {
        self.server.lock().as_ref().map(Server::addresses)
    }
}

impl Server {
    /// Where it can be dialled now.
    fn addresses(&self) -> Vec<Address> {
        self.accepting.iter().flat_map(|accepting| accepting.told.lock().clone()).collect()
    }
}

impl Accepting {
    /// Ends the tasks; what comes back ends once the listeners are gone, which may take a moment.
    fn end_all(accepting: Vec<Self>) -> impl Future<Output = ()> {
        let gone: Vec<_> = accepting.into_iter().map(|accepting| accepting.gone).collect();
        async move {
            for gone in gone {
                let Err(_) = gone.await;
            }
        }
    }
}

/// A listener, and below it what is dropped after it.
struct Listening {
    listener: Box<dyn Listener>,
    told: Told,
    _held: oneshot::Sender<Infallible>,
}

impl Listening {
    /// Tells where it can be dialled now.
    fn tell(&self) {
        let addresses = self.listener.addresses();
        let mut told = self.told.lock();
        if *told != addresses {
            tracing::info!(addresses = ?addresses.iter().map(ToString::to_string).collect::<Vec<_>>(), "this node's addresses have changed");
            *told = addresses;
        }
    }
}

/// Accepts links until it is dropped; a stranger who stalls in its handshake holds up nobody else.
async fn accept(engine: Weak<SyncEngine>, context: Context, mut listening: Listening) {
    let mut handshakes = FuturesUnordered::new();
    let mut changed = listening.listener.addresses_changed();
    // They may have changed since the server was started.
    listening.tell();
    loop {
        tokio::select! {
            () = &mut changed => {
                changed = listening.listener.addresses_changed();
                listening.tell();
                if let Some(engine) = engine.upgrade() {
                    engine.announce();
                }
            }
            accepted = listening.listener.accept(), if handshakes.len() < HANDSHAKES_MAX => match accepted {
                Ok(Some(link)) => handshakes.push(greet(engine.clone(), context.clone(), link)),
                Ok(None) => return,
                Err(error) => {
                    tracing::error!(%error, "accepting links ended");
                    return;
                }
            },
            Some(()) = handshakes.next() => {}
        }
    }
}

async fn greet(engine: Weak<SyncEngine>, context: Context, link: Link) {
    let Some(engine) = engine.upgrade() else { return };
    let busy = engine.links.lock().values().map(Vec::len).sum::<usize>() >= LINKS_MAX;
    if busy {
        let _ = channel::refuse_busy(link).await;
        return;
    }
    let welcomed = async {
        let channel = channel::respond(link, &engine.identity, &engine.config, &context).await?;
        match engine.is_blocked(&channel.peer)? {
            true => refuse(channel, &context).await,
            false => engine.add_link(channel, None).map(drop),
        }
    };
    if let Err(error) = welcomed.await {
        tracing::debug!(%error, "a stranger's link wasn't taken");
    }
}

/// Says that the peer is blocked, and waits a moment for it to go.
async fn refuse(mut channel: Channel, context: &Context) -> Result<()> {
    let peer = channel.peer;
    let mut mux = Mux::new(channel.mux_config(), context.clock.monotonic());
    mux.goodbye(Reason::Refused, "this node is blocked here");
    let goodbye = async {
        while let Some(message) = mux.next_message() {
            channel.sender.send(message).await?;
        }
        while channel.receiver.recv().await?.is_some() {}
        Ok::<(), Error>(())
    };
    tokio::select! {
        told = goodbye => told?,
        () = context.clock.sleep(REFUSING_MAX) => {}
    }
    Err(SyncError::PeerBlocked { peer: peer.to_string() }.into())
}
