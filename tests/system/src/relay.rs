//! A UDP relay on loopback that counts and records what passes, and damages, doubles or drops it when told to.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::{Error, Result};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use iroh::{EndpointAddr, TransportAddr};
use iroh_tickets::endpoint::EndpointTicket;
use tokio::net::UdpSocket;
use tokio::task::{JoinHandle, JoinSet};

use crate::proxy::Direction;

/// Longest datagram.
const DATAGRAM_BYTES_MAX: usize = 65_536;

/// What the relay does to datagrams.
#[derive(Clone, Debug, Default)]
pub struct Weather {
    /// Nothing passes any more once this many bytes have passed in all, both ways, since [`Relay::reset`].
    pub drop_after: Option<u64>,
    /// One bit of each datagram whose number is a multiple of this is inverted.
    pub damage_every: Option<usize>,
    /// Each datagram whose number is a multiple of this passes twice.
    pub double_every: Option<usize>,
}

/// The datagrams that passed between one who dialled and the target.
#[derive(Clone, Debug, Default)]
pub struct Datagrams {
    /// From who dialled.
    pub to_server: Vec<Vec<u8>>,
    /// To who dialled.
    pub to_client: Vec<Vec<u8>>,
}

/// The relay; it ends when dropped.
pub struct Relay {
    ticket: String,
    shared: Arc<Shared>,
    relaying: JoinHandle<()>,
}

struct Shared {
    target: SocketAddr,
    passed: AtomicU64,
    number: AtomicUsize,
    altered: AtomicUsize,
    weather: Mutex<Weather>,
    recordings: Mutex<Vec<Datagrams>>,
}

impl Relay {
    /// A relay in front of the endpoint of a ticket, at a port that was free.
    ///
    /// # Errors
    /// Those of the socket; a ticket that can't be read.
    pub async fn to(ticket: &str) -> Result<Self> {
        let endpoint = EndpointAddr::from(ticket.parse::<EndpointTicket>().map_err(Error::other)?);
        let target = endpoint.ip_addrs().next().copied();
        let target = target.ok_or_else(|| Error::other("the ticket names no socket"))?;
        let listening = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let here = TransportAddr::Ip(listening.local_addr()?);
        let ticket = EndpointTicket::new(EndpointAddr::from_parts(endpoint.id, [here])).to_string();
        let shared = Arc::new(Shared {
            target,
            passed: AtomicU64::new(0),
            number: AtomicUsize::new(0),
            altered: AtomicUsize::new(0),
            weather: Mutex::default(),
            recordings: Mutex::default(),
        });
        let relaying = tokio::spawn(relay(Arc::new(listening), shared.clone()));
        Ok(Self { ticket, shared, relaying })
    }

    /// The ticket of the endpoint behind it, with the relay as the only way.
    pub fn ticket(&self) -> &str {
        &self.ticket
    }

    /// Bytes that have passed since the last reset, both ways.
    pub fn passed(&self) -> u64 {
        self.shared.passed.load(Ordering::SeqCst)
    }

    /// How many datagrams were damaged or doubled since the last reset.
    pub fn altered(&self) -> usize {
        self.shared.altered.load(Ordering::SeqCst)
    }

    /// Counts from 0 again, forgets what was recorded, and does this to datagrams from now on.
    pub fn reset(&self, weather: Weather) {
        *lock(&self.shared.weather) = weather;
        lock(&self.shared.recordings).iter_mut().for_each(|recording| *recording = Datagrams::default());
        self.shared.passed.store(0, Ordering::SeqCst);
        self.shared.altered.store(0, Ordering::SeqCst);
    }

    /// What passed since the last reset, for each who dialled.
    pub fn recordings(&self) -> Vec<Datagrams> {
        lock(&self.shared.recordings).clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.relaying.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Passes on what comes from those who dial; each has a socket of its own towards the target, by which answers find back.
async fn relay(listening: Arc<UdpSocket>, shared: Arc<Shared>) {
    let mut sockets: HashMap<SocketAddr, (usize, Arc<UdpSocket>)> = HashMap::new();
    let mut answering = JoinSet::new();
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        // An error is what became of an earlier datagram: its receiver is gone.
        let Ok((bytes, client)) = listening.recv_from(&mut buffer).await else { continue };
        let (number, socket) = match sockets.entry(client) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(vacant) => {
                let Ok(socket) = towards(shared.target).await else { return };
                let socket = Arc::new(socket);
                let number = shared.add_recording();
                let back = answer(socket.clone(), listening.clone(), client, shared.clone(), number);
                answering.spawn(back);
                vacant.insert((number, socket))
            }
        };
        for datagram in shared.pass(*number, Direction::ToServer, &buffer[..bytes]) {
            let _ = socket.send(&datagram).await;
        }
    }
}

async fn towards(target: SocketAddr) -> Result<UdpSocket> {
    let socket = match target {
        SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?,
        SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).await?,
    };
    socket.connect(target).await?;
    Ok(socket)
}

async fn answer(
    from: Arc<UdpSocket>,
    to: Arc<UdpSocket>,
    client: SocketAddr,
    shared: Arc<Shared>,
    number: usize,
) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let Ok(bytes) = from.recv(&mut buffer).await else { continue };
        for datagram in shared.pass(number, Direction::ToClient, &buffer[..bytes]) {
            let _ = to.send_to(&datagram, client).await;
        }
    }
}

impl Shared {
    fn add_recording(&self) -> usize {
        let mut recordings = lock(&self.recordings);
        recordings.push(Datagrams::default());
        recordings.len() - 1
    }

    /// What goes out for a datagram that came in.
    fn pass(&self, recording: usize, direction: Direction, datagram: &[u8]) -> Vec<Vec<u8>> {
        let weather = lock(&self.weather).clone();
        if weather.drop_after.is_some_and(|limit| self.passed.load(Ordering::SeqCst) >= limit) {
            return Vec::new();
        }
        self.passed.fetch_add(datagram.len() as u64, Ordering::SeqCst);
        if let Some(recording) = lock(&self.recordings).get_mut(recording) {
            match direction {
                Direction::ToServer => recording.to_server.push(datagram.to_vec()),
                Direction::ToClient => recording.to_client.push(datagram.to_vec()),
            }
        }
        let number = self.number.fetch_add(1, Ordering::SeqCst);
        let due = |every: Option<usize>| every.is_some_and(|every| number.is_multiple_of(every));
        let mut datagram = datagram.to_vec();
        if due(weather.damage_every)
            && let Some(byte) = datagram.last_mut()
        {
            *byte ^= 0x10;
            self.altered.fetch_add(1, Ordering::SeqCst);
        }
        if due(weather.double_every) {
            self.altered.fetch_add(1, Ordering::SeqCst);
            return vec![datagram.clone(), datagram];
        }
        vec![datagram]
    }
}
