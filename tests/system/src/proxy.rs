//! A TCP proxy on loopback that counts and records what passes, and cuts or corrupts it when told to.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::websocket::Messages;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From who dialled to who listens.
    ToServer,
    /// Back.
    ToClient,
}

/// What the proxy does to connections.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// New connections are closed at once.
    pub refuse: bool,
    /// Every connection ends once this many bytes have passed in all, both ways, since [`Proxy::reset`].
    pub cut_after: Option<u64>,
    /// Nothing passes any more, and connections stay open, once this many bytes have passed in all, both ways, since [`Proxy::reset`].
    pub stall_after: Option<u64>,
    /// One bit of the byte at this offset of a direction is inverted, in the next connection that gets so far.
    pub flip: Option<(Direction, u64)>,
    /// The WebSocket message of this number in a direction goes out twice, in the next connection that gets so far.
    pub replay: Option<(Direction, usize)>,
}

/// What passed in one connection, by direction.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// From who dialled.
    pub to_server: Vec<u8>,
    /// To who dialled.
    pub to_client: Vec<u8>,
}

/// The proxy; it ends when dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    target: String,
    passed: AtomicU64,
    rules: Mutex<Rules>,
    recordings: Mutex<Vec<Recording>>,
    /// Connections end when it changes.
    ends: watch::Sender<u64>,
}

impl Proxy {
    /// A proxy in front of `target`, which is `host:port`, at a port that was free.
    ///
    /// # Errors
    /// Those of the socket.
    pub async fn to(target: impl Into<String>) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            target: target.into(),
            passed: AtomicU64::new(0),
            rules: Mutex::default(),
            recordings: Mutex::default(),
            ends: watch::Sender::new(0),
        });
        let accepting = tokio::spawn(accept(listener, shared.clone()));
        Ok(Self { address, shared, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Bytes that have passed since the last reset, both ways.
    pub fn passed(&self) -> u64 {
        self.shared.passed.load(Ordering::SeqCst)
    }

    /// Counts from 0 again, forgets what was recorded, and follows these rules from now on.
    pub fn reset(&self, rules: Rules) {
        *lock(&self.shared.rules) = rules;
        lock(&self.shared.recordings).clear();
        self.shared.passed.store(0, Ordering::SeqCst);
    }

    /// Ends every connection.
    pub fn cut(&self) {
        self.shared.ends.send_modify(|ends| *ends += 1);
    }

    /// What passed in each connection since the last reset.
    pub fn recordings(&self) -> Vec<Recording> {
        lock(&self.shared.recordings).clone()
    }

    /// `true` once the corruption that was asked for has taken place.
    pub fn has_corrupted(&self) -> bool {
        let rules = lock(&self.shared.rules);
        rules.flip.is_none() && rules.replay.is_none()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        if lock(&shared.rules).refuse {
            continue;
        }
        let number = {
            let mut recordings = lock(&shared.recordings);
            recordings.push(Recording::default());
            recordings.len() - 1
        };
        let shared = shared.clone();
        let mut ends = shared.ends.subscribe();
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect(&shared.target).await else { return };
            // Each message goes out as it came in.
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            tokio::select! {
                () = pass(&shared, number, Direction::ToServer, from_client, to_server) => {}
                () = pass(&shared, number, Direction::ToClient, from_server, to_client) => {}
                _ = ends.changed() => {}
            }
        });
    }
}

/// Passes one direction on until it ends, or is to be cut.
async fn pass(
    shared: &Shared,
    number: usize,
    direction: Direction,
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
) {
    let mut buffer = vec![0; 16 * 1_024];
    let mut offset = 0;
    let mut messages = Messages::default();
    loop {
        let read = match from.read(&mut buffer).await {
            Ok(read) if read > 0 => read,
            _ => return,
        };
        let mut chunk = buffer[..read].to_vec();
        if shared.is_stalled() {
            continue;
        }
        shared.record(number, direction, &chunk);
        shared.flip(direction, offset, &mut chunk);
        offset += read as u64;
        let chunk = shared.replay(direction, &mut messages, chunk);
        let (write, last) = shared.share(chunk.len());
        if to.write_all(&chunk[..write]).await.is_err() || last {
            return;
        }
    }
}

impl Shared {
    fn record(&self, number: usize, direction: Direction, chunk: &[u8]) {
        if let Some(recording) = lock(&self.recordings).get_mut(number) {
            match direction {
                Direction::ToServer => recording.to_server.extend_from_slice(chunk),
                Direction::ToClient => recording.to_client.extend_from_slice(chunk),
            }
        }
    }

    fn is_stalled(&self) -> bool {
        let limit = lock(&self.rules).stall_after;
        limit.is_some_and(|limit| self.passed.load(Ordering::SeqCst) >= limit)
    }

    fn flip(&self, direction: Direction, offset: u64, chunk: &mut [u8]) {
        let mut rules = lock(&self.rules);
        if let Some((wanted, at)) = rules.flip
            && wanted == direction
            && let Some(at) = at.checked_sub(offset)
            && let Some(byte) = chunk.get_mut(at as usize)
        {
            *byte ^= 0x10;
            rules.flip = None;
        }
    }

    /// The chunk, or with the message that is to be replayed in it a second time.
    fn replay(&self, direction: Direction, messages: &mut Messages, chunk: Vec<u8>) -> Vec<u8> {
        let mut rules = lock(&self.rules);
        let Some((wanted, at)) = rules.replay else { return chunk };
        if wanted != direction {
            return chunk;
        }
        let mut out = Vec::new();
        for (number, message) in messages.push(&chunk) {
            out.extend_from_slice(&message);
            if number == Some(at) {
                out.extend_from_slice(&message);
                rules.replay = None;
            }
        }
        if rules.replay.is_none() {
            out.extend_from_slice(messages.rest());
        }
        out
    }

    /// How much of a chunk may pass, and whether that is the end.
    fn share(&self, bytes: usize) -> (usize, bool) {
        let before = self.passed.fetch_add(bytes as u64, Ordering::SeqCst);
        match lock(&self.rules).cut_after {
            Some(limit) if before + bytes as u64 >= limit => {
                self.ends.send_modify(|ends| *ends += 1);
                (limit.saturating_sub(before) as usize, true)
            }
            _ => (bytes, false),
        }
    }
}
