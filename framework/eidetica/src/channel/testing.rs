//! What the tests of this layer share: seeded randomness, a clock that is told the time, and links that record.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use eidetica_kernel::runtime::{BoxFuture, Clock, Rng, Spawner, TaskGuard};
use eidetica_kernel::transport::{Link, LinkReceiver, LinkSender, check_message};
use eidetica_kernel::{Context, Result, Timestamp};
use tokio::sync::mpsc;

/// `count` bytes that follow from `seed`.
pub(crate) fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Randomness that follows from a seed.
pub(crate) struct SeededRng(Mutex<blake3::OutputReader>);

impl SeededRng {
    /// From `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("eidetica channel tests");
        Self(Mutex::new(hasher.update(&seed.to_le_bytes()).finalize_xof()))
    }
}

impl Rng for SeededRng {
    fn fill(&self, buffer: &mut [u8]) {
        self.0.lock().unwrap().fill(buffer);
    }
}

/// A clock whose sleeps end at once or never.
struct FixedClock {
    wall: Timestamp,
    impatient: bool,
}

impl Clock for FixedClock {
    fn wall(&self) -> Timestamp {
        self.wall
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        match self.impatient {
            true => Box::pin(std::future::ready(())),
            false => Box::pin(std::future::pending()),
        }
    }
}

struct NoTasks;

impl Spawner for NoTasks {
    fn spawn(&self, _: &'static str, _: BoxFuture<'static, ()>) -> TaskGuard {
        TaskGuard::new(|| ())
    }
}

/// A context whose randomness follows from `seed` and whose sleeps never end.
pub(crate) fn context(seed: u64) -> Context {
    let clock = FixedClock { wall: Timestamp::from_millis(1_000_000 + seed), impatient: false };
    Context { spawner: Arc::new(NoTasks), clock: Arc::new(clock), rng: Arc::new(SeededRng::new(seed)) }
}

/// The same, but sleeps end at once.
pub(crate) fn impatient_context(seed: u64) -> Context {
    let clock = FixedClock { wall: Timestamp::from_millis(1_000_000 + seed), impatient: true };
    Context { clock: Arc::new(clock), ..context(seed) }
}

/// What somebody on the path does with message number `n` of one direction: what he returns arrives instead.
pub(crate) type Tamper = Box<dyn FnMut(usize, Bytes) -> Vec<Bytes> + Send>;

/// Lets everything through.
pub(crate) fn honest() -> Tamper {
    Box::new(|_, message| vec![message])
}

/// Every message as it was sent, in order, of both directions.
pub(crate) type Record = Arc<Mutex<Vec<Bytes>>>;

struct PairSender {
    messages: Option<mpsc::UnboundedSender<Bytes>>,
    record: Record,
    tamper: Tamper,
    sent: usize,
}

#[async_trait]
impl LinkSender for PairSender {
    async fn send(&mut self, message: Bytes) -> Result<()> {
        check_message(&message)?;
        self.record.lock().unwrap().push(message.clone());
        let number = self.sent;
        self.sent += 1;
        for message in (self.tamper)(number, message) {
            if let Some(messages) = &self.messages {
                let _ = messages.send(message);
            }
        }
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        self.messages = None;
        Ok(())
    }
}

struct PairReceiver(mpsc::UnboundedReceiver<Bytes>);

#[async_trait]
impl LinkReceiver for PairReceiver {
    async fn recv(&mut self) -> Result<Option<Bytes>> {
        Ok(self.0.recv().await)
    }
}

/// Two ends of one link: the initiator's and the responder's, and the record of what went over it.
pub(crate) fn pair(from_initiator: Tamper, from_responder: Tamper) -> (Link, Link, Record) {
    let record = Record::default();
    let (to_responder, at_responder) = mpsc::unbounded_channel();
    let (to_initiator, at_initiator) = mpsc::unbounded_channel();
    let sender =
        |messages, tamper| PairSender { messages: Some(messages), record: record.clone(), tamper, sent: 0 };
    let initiator = Link::new(sender(to_responder, from_initiator), PairReceiver(at_initiator));
    let responder = Link::new(sender(to_initiator, from_responder), PairReceiver(at_responder));
    (initiator, responder, record)
}
