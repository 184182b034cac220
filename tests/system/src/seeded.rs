//! Randomness and time that follow from a seed, so that a failing run can be run again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use eidetica_kernel::runtime::{BoxFuture, Clock, Context, Rng, Spawner, TaskGuard};
use eidetica_kernel::{SecretKey, Timestamp};
use tokio::sync::watch;

/// Random bytes that follow from a seed.
pub struct Seeded(Mutex<blake3::OutputReader>);

impl Seeded {
    /// The stream of one seed.
    pub fn new(seed: u64) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("eidetica system tests");
        Self(Mutex::new(hasher.update(&seed.to_le_bytes()).finalize_xof()))
    }
}

impl Rng for Seeded {
    fn fill(&self, buffer: &mut [u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill(buffer);
    }
}

/// `count` bytes that don't compress and follow from `seed`.
pub fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    Seeded::new(seed).fill(&mut bytes);
    bytes
}

/// The secret key of a seed.
pub fn key(seed: u64) -> SecretKey {
    SecretKey::generate(&Seeded::new(seed))
}

/// Choices that follow from a seed.
pub struct Dice(Seeded);

impl Dice {
    /// The choices of one seed.
    pub fn new(seed: u64) -> Self {
        Self(Seeded::new(seed ^ 0xd1ce))
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        (u64::from_le_bytes(bytes) % end as u64) as usize
    }

    /// `true` in `percent` of 100 cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// Puts a list into random order.
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for end in (1..list.len()).rev() {
            list.swap(end, self.below(end + 1));
        }
    }
}

/// Time that passes only when told to, shared by the nodes of one run.
#[derive(Clone, Debug)]
pub struct VirtualTime(Arc<watch::Sender<Duration>>);

/// When it begins: in the year 2026.
const START_MS: u64 = 1_780_000_000_000;

impl VirtualTime {
    /// Starts in the year 2026.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Duration::ZERO)))
    }

    /// Lets time pass, and wakes who has slept long enough.
    pub fn pass(&self, ms: u64) {
        self.0.send_modify(|now| *now += Duration::from_millis(ms));
    }

    /// How much has passed.
    pub fn passed(&self) -> Duration {
        *self.0.borrow()
    }

    /// What an engine without links needs: this time, `skew_ms` ahead or behind, and randomness from a seed.
    pub fn context(&self, seed: u64, skew_ms: i64) -> Context {
        Context {
            spawner: Arc::new(NoTasks),
            clock: Arc::new(Skewed { time: self.clone(), skew_ms }),
            rng: Arc::new(Seeded::new(seed)),
        }
    }
}

impl Default for VirtualTime {
    fn default() -> Self {
        Self::new()
    }
}

struct Skewed {
    time: VirtualTime,
    skew_ms: i64,
}

impl Clock for Skewed {
    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(START_MS.saturating_add_signed(self.skew_ms)).plus(self.time.passed())
    }

    fn monotonic(&self) -> Duration {
        self.time.passed()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.sleep_until(self.time.passed().saturating_add(duration))
    }

    fn sleep_until(&self, moment: Duration) -> BoxFuture<'static, ()> {
        let mut time = self.time.0.subscribe();
        Box::pin(async move {
            if time.wait_for(|now| *now >= moment).await.is_err() {
                // Nobody is left who could let time pass.
                std::future::pending().await
            }
        })
    }
}

/// An engine that talks to nobody starts no tasks.
struct NoTasks;

impl Spawner for NoTasks {
    fn spawn(&self, _: &'static str, _: BoxFuture<'static, ()>) -> TaskGuard {
        TaskGuard::new(|| ())
    }
}
