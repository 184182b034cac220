//! Randomness and time that follow from a seed, so that a failing run can be run again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use eidetica_kernel::runtime::{BoxFuture, Clock, Context, Rng, Spawner, TaskGuard};
use eidetica_kernel::{SecretKey, Timestamp};

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

/// Wall time that passes only when told to, shared by the replicas of one run.
#[derive(Clone, Debug)]
pub struct VirtualTime(Arc<AtomicU64>);

impl VirtualTime {
    /// Starts in the year 2026.
    pub fn new() -> Self {
        Self(Arc::new(AtomicU64::new(1_780_000_000_000)))
    }

    /// Lets time pass.
    pub fn pass(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
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
        Timestamp::from_millis(self.time.0.load(Ordering::SeqCst).saturating_add_signed(self.skew_ms))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.time.0.load(Ordering::SeqCst))
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }
}

/// An engine that talks to nobody starts no tasks.
struct NoTasks;

impl Spawner for NoTasks {
    fn spawn(&self, _: &'static str, _: BoxFuture<'static, ()>) -> TaskGuard {
        TaskGuard::new(|| ())
    }
}
