//! The endpoint of a transport: bound once, shared by listening, dialling and every link, closed after the last of them.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use eidetica_kernel::runtime::TaskGuard;
use eidetica_kernel::{Context, Error, ErrorKind, Result};
use futures_util::StreamExt;
use futures_util::future::select;
use futures_util::stream::FuturesUnordered;
use iroh::address_lookup::{DnsAddressLookup, PkarrPublisher, PkarrResolver};
use iroh::endpoint::{BindError, Builder, PortmapperConfig, QuicTransportConfig, VarInt, presets};
use iroh::{Endpoint, EndpointAddr, RelayMode, SecretKey};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::address::Means;
use crate::carrier::ALPN;
use crate::dial::Slot;
use crate::options::IrohOptions;
use crate::reception::Reception;

/// How long saying goodbye to every connection may take; iroh itself needs up to 3 s where a remote is silent.
const CLOSING: Duration = Duration::from_secs(10);

/// What an endpoint is bound with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) options: IrohOptions,
    pub(crate) relays: RelayMode,
    pub(crate) sockets: Vec<SocketAddr>,
}

impl Settings {
    pub(crate) fn means(&self) -> Means {
        Means { lookup: self.options.address_lookup, relays: self.relays != RelayMode::Disabled }
    }

    /// How QUIC behaves. Keepalives and time-outs are iroh's own, which its changes of path rely on: every path is
    /// pinged each 5 s and given up after 15 s of silence, 30 s over a relay.
    pub(crate) fn quic(&self, streams: u32) -> QuicTransportConfig {
        let window = self.options.receive_window_bytes;
        QuicTransportConfig::builder()
            .max_concurrent_bidi_streams(VarInt::from_u32(streams))
            .max_concurrent_uni_streams(VarInt::from_u32(0))
            .datagram_receive_buffer_size(None)
            .stream_receive_window(VarInt::from_u32(window))
            .receive_window(VarInt::from_u32(window.saturating_mul(4)))
            .send_window(u64::from(window) * 4)
            .build()
    }

    fn builder(&self) -> Result<Builder> {
        let mut builder = Endpoint::builder(presets::Minimal)
            .alpns(vec![ALPN.to_vec()])
            .relay_mode(self.relays.clone())
            .transport_config(self.quic(self.options.links_per_endpoint_max));
        if !self.sockets.is_empty() {
            builder = builder.clear_ip_transports();
        }
        for address in &self.sockets {
            builder = builder.bind_addr(*address).map_err(|error| {
                Error::new(ErrorKind::InvalidInput, "binding", format_args!("iroh:{address}"), error)
            })?;
        }
        let local = !self.sockets.is_empty() && self.sockets.iter().all(|address| address.ip().is_loopback());
        if local || !self.options.port_mapping {
            builder = builder.portmapper_config(PortmapperConfig::Disabled);
        }
        if self.options.address_lookup {
            builder = builder
                .address_lookup(PkarrPublisher::n0_dns())
                .address_lookup(PkarrResolver::n0_dns())
                .address_lookup(DnsAddressLookup::n0_dns());
        }
        Ok(builder)
    }
}

/// As long as one of these is held, the endpoint stays open.
#[derive(Clone)]
pub(crate) struct Lease(mpsc::Sender<Infallible>);

/// A bound endpoint.
pub(crate) struct Node {
    pub(crate) endpoint: Endpoint,
    pub(crate) settings: Arc<Settings>,
    pub(crate) reception: Arc<Reception>,
    /// The connections that this side dialled, by the way that was dialled.
    pub(crate) dialled: Mutex<HashMap<EndpointAddr, Slot>>,
    pub(crate) lease: Lease,
}

impl Node {
    pub(crate) async fn bind(context: &Context, settings: Arc<Settings>) -> Result<Arc<Self>> {
        let key = SecretKey::from_bytes(&context.rng.array());
        let bound = settings.builder()?.secret_key(key).bind().await;
        let endpoint = bound.map_err(|error| unbound(&settings, error))?;
        let (lease, leases) = mpsc::channel(1);
        let reception = Arc::new(Reception::new(context.clone(), settings.clone()));
        let guard = Arc::<Mutex<Option<TaskGuard>>>::default();
        let task = run(endpoint.clone(), context.clone(), reception.clone(), leases, guard.clone());
        let started = context.spawner.spawn("iroh endpoint", Box::pin(task));
        *guard.lock() = Some(started);
        let (dialled, lease) = (Mutex::default(), Lease(lease));
        Ok(Arc::new(Self { endpoint, settings, reception, dialled, lease }))
    }

    /// `false` once its task has ended, be it with the runtime that it was bound in.
    pub(crate) fn is_alive(&self) -> bool {
        !self.lease.0.is_closed()
    }

    /// Waits until [`Node::is_alive`] is false.
    pub(crate) async fn ended(&self) {
        self.lease.0.closed().await;
    }
}

/// Takes connections in until no lease is left, then closes the endpoint.
async fn run(
    endpoint: Endpoint,
    context: Context,
    reception: Arc<Reception>,
    mut leases: mpsc::Receiver<Infallible>,
    guard: Arc<Mutex<Option<TaskGuard>>>,
) {
    let mut visits = FuturesUnordered::new();
    loop {
        tokio::select! {
            _none = leases.recv() => break,
            incoming = endpoint.accept() => match incoming {
                Some(incoming) if reception.is_open() => visits.push(reception.receive(incoming)),
                Some(incoming) => incoming.refuse(),
                None => {
                    tracing::warn!("the iroh endpoint has stopped; the next use binds a new one");
                    break;
                }
            },
            Some(()) = visits.next() => {}
        }
    }
    leases.close();
    drop(visits);
    let closing = Box::pin(endpoint.close());
    select(closing, context.clock.sleep(CLOSING)).await;
    drop(endpoint);
    let guard = guard.lock().take();
    drop(guard);
}

fn unbound(settings: &Settings, error: BindError) -> Error {
    let subject = match settings.sockets.as_slice() {
        [] => "iroh".to_owned(),
        sockets => format!("iroh:{}", sockets.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")),
    };
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            let io = std::io::Error::new(io.kind(), io.to_string());
            let failed = Error::io("binding", subject, io);
            return match failed.kind() {
                ErrorKind::InUse => failed.hint("another program is bound there; choose another port, or 0"),
                _ => failed,
            };
        }
        source = cause.source();
    }
    Error::new(ErrorKind::Io, "binding", subject, format_args!("{error:#}"))
}
