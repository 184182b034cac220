//! Accepting links.
//!
//! The listener owns its socket and takes connections in while `accept` is polled, so that dropping it frees the port
//! then and there. Each connection's handshake is a task of its own, bounded in number and time.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use eidetica_kernel::runtime::TaskGuard;
use eidetica_kernel::transport::{Link, Listener};
use eidetica_kernel::{Address, Context, Error, ErrorKind, Result};
use futures_util::future::{Either, select};
use hyper::StatusCode;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket, lookup_host};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::address::{SCHEME, Target, address};
use crate::io::Io;
use crate::link;
use crate::options::HttpOptions;
use crate::upgrade::{HEAD_BYTES_MAX, HEADERS_MAX, Rules};

/// Connections that the system keeps for us until `accept` is polled.
const BACKLOG: u32 = 1_024;

/// How long to wait when the system has nothing left to accept with.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

pub(crate) struct HttpListener {
    socket: Option<TcpListener>,
    addresses: Vec<Address>,
    context: Context,
    options: Arc<HttpOptions>,
    rules: Arc<Rules>,
    handshakes: Arc<Handshakes>,
    ready_in: mpsc::Sender<Link>,
    ready: mpsc::Receiver<Link>,
}

impl HttpListener {
    pub(crate) async fn bind(context: &Context, options: Arc<HttpOptions>, text: &str) -> Result<Self> {
        let target = Target::parse_listen(text)?;
        let (socket, bound) = bind(&target).await.map_err(|error| {
            let failed = Error::io("listening at", format_args!("http:{target}"), error);
            match failed.kind() {
                ErrorKind::InUse => {
                    failed.hint("another program listens there; choose another port, or 0 for a free one")
                }
                _ => failed,
            }
        })?;
        let addresses = dialable(bound, &options.advertise).await?;
        let (ready_in, ready) = mpsc::channel(options.accept_queue_max);
        Ok(Self {
            socket: Some(socket),
            addresses,
            context: context.clone(),
            rules: Arc::new(Rules { path: options.path.clone(), origins: options.origins.clone() }),
            options,
            handshakes: Arc::default(),
            ready_in,
            ready,
        })
    }

    fn begin_handshake(&self, stream: TcpStream, peer: SocketAddr) {
        // Only latency is lost if the system refuses.
        stream.set_nodelay(true).ok();
        let number = self.handshakes.reserve(self.options.handshakes_max);
        let (context, options, rules) = (self.context.clone(), self.options.clone(), self.rules.clone());
        let (handshakes, ready) = (self.handshakes.clone(), self.ready_in.clone());
        let guard = self.context.spawner.spawn(
            "http handshake",
            Box::pin(async move {
                let timeout = context.clock.sleep(Duration::from_millis(options.handshake_timeout_ms));
                match select(pin!(serve(stream, &rules)), timeout).await {
                    Either::Left((Ok(Some((io, early))), _)) => {
                        let name = format!("http:{peer}");
                        let link =
                            link::open(&context, io, early, Role::Server, name, options.read_buffer_bytes);
                        // Fails once the listener is gone, and the link with it.
                        ready.send(link.await).await.ok();
                    }
                    Either::Left((Ok(None), _)) => {}
                    Either::Left((Err(error), _)) => tracing::debug!(%peer, %error, "refused a connection"),
                    Either::Right(_) => tracing::debug!(%peer, "gave up waiting for a handshake"),
                }
                handshakes.finish(number);
            }),
        );
        self.handshakes.keep(number, guard);
    }

    fn end(&mut self) {
        self.socket = None;
        self.ready.close();
        while self.ready.try_recv().is_ok() {}
        self.handshakes.end();
    }
}

#[async_trait]
impl Listener for HttpListener {
    fn addresses(&self) -> Vec<Address> {
        self.addresses.clone()
    }

    async fn accept(&mut self) -> Result<Option<Link>> {
        loop {
            let Some(socket) = &self.socket else { return Ok(None) };
            let taken = match select(pin!(self.ready.recv()), pin!(socket.accept())).await {
                Either::Left((link, _)) => return Ok(link),
                Either::Right((taken, _)) => taken,
            };
            let error = match taken {
                Ok((stream, peer)) => {
                    self.begin_handshake(stream, peer);
                    continue;
                }
                Err(error) => error,
            };
            match error.kind() {
                // That connection is gone; the next may be well.
                io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::Interrupted => {}
                io::ErrorKind::InvalidInput | io::ErrorKind::NotConnected => {
                    let subject = self.addresses.first().map(Address::to_string).unwrap_or_default();
                    return Err(Error::io("accepting links at", subject, error));
                }
                // Files or memory ran out.
                _ => {
                    tracing::warn!(%error, "can't take connections in; the oldest handshake is ended");
                    self.handshakes.end_oldest();
                    let pause = self.context.clock.sleep(EXHAUSTED_PAUSE);
                    if let Either::Left((link, _)) = select(pin!(self.ready.recv()), pause).await {
                        return Ok(link);
                    }
                }
            }
        }
    }

    async fn close(&mut self) -> Result<()> {
        self.end();
        Ok(())
    }
}

impl Drop for HttpListener {
    fn drop(&mut self) {
        self.end();
    }
}

/// The handshakes in progress, oldest first.
#[derive(Default)]
struct Handshakes(Mutex<HandshakesState>);

#[derive(Default)]
struct HandshakesState {
    next: u64,
    running: BTreeMap<u64, TaskGuard>,
    /// The one that was spawned last, until its guard is kept or it has ended.
    starting: Option<u64>,
    ended: bool,
}

impl Handshakes {
    /// A number for one more; ends the oldest where there are too many.
    fn reserve(&self, max: usize) -> u64 {
        let mut state = self.0.lock();
        let evicted = if state.running.len() >= max { state.running.pop_first() } else { None };
        state.next += 1;
        let number = state.next;
        state.starting = Some(number);
        drop(state);
        drop(evicted);
        number
    }

    fn keep(&self, number: u64, guard: TaskGuard) {
        let mut state = self.0.lock();
        if state.starting.take() == Some(number) && !state.ended {
            state.running.insert(number, guard);
        } else {
            drop(state);
            drop(guard);
        }
    }

    fn finish(&self, number: u64) {
        let mut state = self.0.lock();
        let guard = state.running.remove(&number);
        if state.starting == Some(number) {
            state.starting = None;
        }
        drop(state);
        drop(guard);
    }

    fn end_oldest(&self) {
        let oldest = self.0.lock().running.pop_first();
        drop(oldest);
    }

    fn end(&self) {
        let mut state = self.0.lock();
        state.ended = true;
        let running = std::mem::take(&mut state.running);
        drop(state);
        drop(running);
    }
}

/// Answers one request. The connection and what was read beyond the request, if it becomes a link.
async fn serve(stream: TcpStream, rules: &Rules) -> hyper::Result<Option<(Io, Bytes)>> {
    let upgraded = AtomicBool::new(false);
    let service = service_fn(|request| {
        let answer = rules.answer(&request);
        upgraded.store(answer.status() == StatusCode::SWITCHING_PROTOCOLS, Ordering::Relaxed);
        std::future::ready(Ok::<_, Infallible>(answer))
    });
    let mut connection = hyper::server::conn::http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        // The whole handshake has its time limit, on the context's clock.
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(Io::Plain(stream)), service);
    let served = poll_fn(|task| connection.poll_without_shutdown(task)).await;
    let parts = connection.into_parts();
    let mut io = parts.io.into_inner();
    if served.is_ok() && upgraded.load(Ordering::Relaxed) {
        return Ok(Some((io, parts.read_buf)));
    }
    io.hang_up().await;
    served.map(|()| None)
}

async fn bind(target: &Target) -> io::Result<(TcpListener, SocketAddr)> {
    let mut failure = io::Error::new(io::ErrorKind::InvalidInput, "the host's name stands for no address");
    for address in lookup_host((target.host.as_str(), target.port)).await? {
        match bind_one(address) {
            Ok(bound) => return Ok(bound),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn bind_one(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Without it a port can't be bound while connections of its last listener fade away. On Windows it would let two
    // programs listen at one port.
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

/// What others can dial: the addresses the operator names, then the bound one. Bound to every interface, these are the
/// one that faces the network, and loopback.
async fn dialable(bound: SocketAddr, advertise: &[String]) -> Result<Vec<Address>> {
    let mut addresses = advertise.iter().map(|text| address(text)).collect::<Result<Vec<_>>>()?;
    let ips = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => {
            let facing = facing_ip(ip.into(), (Ipv4Addr::new(192, 0, 2, 1), 9).into()).await;
            facing.into_iter().chain([Ipv4Addr::LOCALHOST.into()]).collect()
        }
        IpAddr::V6(ip) if ip.is_unspecified() => {
            let facing =
                facing_ip(ip.into(), (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 9).into()).await;
            facing.into_iter().chain([Ipv6Addr::LOCALHOST.into()]).collect()
        }
        ip => vec![ip],
    };
    for ip in ips {
        let bound = Address::new(SCHEME, SocketAddr::new(ip, bound.port()).to_string());
        if !addresses.contains(&bound) {
            addresses.push(bound);
        }
    }
    Ok(addresses)
}

/// Our address on the way to `remote` (one reserved for documentation): connecting a datagram socket asks the routing
/// table and sends nothing.
async fn facing_ip(unspecified: IpAddr, remote: SocketAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind((unspecified, 0)).await.ok()?;
    socket.connect(remote).await.ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
}
