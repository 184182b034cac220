//! Transports, and accepting links.

use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use eidetica_kernel::runtime::{Context, TaskGuard};
use eidetica_kernel::transport::{Link, Listener};
use eidetica_kernel::{Error, Result, SyncError, Transport};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::oneshot;

use super::SyncEngine;
use crate::channel::{self, Reason};
use crate::sync::Address;
use crate::sync::link::Command;

/// Links in all.
const LINKS_MAX: usize = 1_024;
/// Handshakes of strangers under way at once, per listener.
const HANDSHAKES_MAX: usize = 64;

pub(super) struct Server {
    pub(super) addresses: Vec<Address>,
    accepting: Vec<Accepting>,
}

/// The task that accepts links at one listener.
struct Accepting {
    task: TaskGuard,
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
            let address = server.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return Err(SyncError::ServerAlreadyRunning { address }.into());
        }
        let transports = self.transports.lock().clone();
        if transports.is_empty() {
            return Err(SyncError::NoTransportEnabled.into());
        }
        let mut addresses = Vec::new();
        let mut accepting = Vec::new();
        for transport in transports {
            // A text with a type in front is for that transport alone; others choose an address of their own.
            let own = match address.parse::<Address>() {
                Ok(typed) if typed.transport_type == transport.scheme() => typed.address,
                _ => address.clone(),
            };
            let listener = transport.listen(self.context(), &own).await.map_err(|error| {
                Error::from(SyncError::ServerBind { address: own.clone(), reason: error.reason().to_owned() })
            })?;
            addresses.extend(listener.addresses());
            let (held, gone) = oneshot::channel();
            let listening = Listening { listener, _held: held };
            let work = accept(self.me.clone(), self.context().clone(), listening);
            accepting.push(Accepting { task: self.context().spawner.spawn("accept", Box::pin(work)), gone });
        }
        *self.server.lock() = Some(Server { addresses: addresses.clone(), accepting });
        Ok(addresses)
    }

    pub(crate) async fn stop_server(self: Arc<Self>) -> Result<()> {
        let server = self.server.lock().take().ok_or(SyncError::ServerNotRunning)?;
        let gone: Vec<_> = server.accepting.into_iter().map(Accepting::end).collect();
        for (handle, _, accepted) in self.links.lock().values().flatten() {
            if *accepted {
                let _ = handle.commands.try_send(Command::Close { reason: Reason::GoingAway });
            }
        }
        for gone in gone {
            let Err(_) = gone.await;
        }
        Ok(())
    }

    pub(crate) fn server_addresses(&self) -> Option<Vec<Address>> {
        self.server.lock().as_ref().map(|server| server.addresses.clone())
    }
}

impl Accepting {
    /// Ends the task, which may take a moment.
    fn end(self) -> oneshot::Receiver<Infallible> {
        drop(self.task);
        self.gone
    }
}

/// A listener, and below it what is dropped after it.
struct Listening {
    listener: Box<dyn Listener>,
    _held: oneshot::Sender<Infallible>,
}

/// Accepts links until it is dropped; a stranger who stalls in its handshake holds up nobody else.
async fn accept(engine: Weak<SyncEngine>, context: Context, mut listening: Listening) {
    let mut handshakes = FuturesUnordered::new();
    loop {
        tokio::select! {
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
    let welcomed = channel::respond(link, &engine.identity, &engine.config, &context).await;
    if let Err(error) = welcomed.and_then(|channel| engine.add_link(channel, None)) {
        tracing::debug!(%error, "a stranger's link wasn't taken");
    }
}
