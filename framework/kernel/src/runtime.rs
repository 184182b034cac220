//! What the engine lends to plugins instead of globals: tasks, time and randomness.
//!
//! A simulation swaps all three; that is why no plugin reads a clock or spawns a task on its own.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;

/// A boxed future that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Ends the task it stands for when dropped.
#[must_use = "dropping it ends the task"]
pub struct TaskGuard(Option<Box<dyn FnOnce() + Send + Sync>>);

impl TaskGuard {
    /// A guard that calls `stop` when dropped.
    pub fn new(stop: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(stop)))
    }
}

impl Drop for TaskGuard {
    fn drop(&mut self) {
        if let Some(stop) = self.0.take() {
            stop();
        }
    }
}

impl fmt::Debug for TaskGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TaskGuard")
    }
}

/// Runs tasks.
pub trait Spawner: Send + Sync + 'static {
    /// Starts `task`; it ends when it returns or its guard is dropped.
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) -> TaskGuard;
}

/// Tells time.
pub trait Clock: Send + Sync + 'static {
    /// Wall time. May jump.
    fn wall(&self) -> Timestamp;

    /// Time since some fixed moment. Never goes back.
    fn monotonic(&self) -> Duration;

    /// Ends after `duration` of monotonic time.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;

    /// Ends once [`monotonic`](Self::monotonic) has reached `moment`. A clock that jumps, as that of a simulation, implements it
    /// without looking at the time first: what is left may have changed when it goes to sleep.
    fn sleep_until(&self, moment: Duration) -> BoxFuture<'static, ()> {
        self.sleep(moment.saturating_sub(self.monotonic()))
    }
}

/// Gives random bytes fit for keys.
pub trait Rng: Send + Sync + 'static {
    /// Fills `buffer`.
    fn fill(&self, buffer: &mut [u8]);
}

impl dyn Rng {
    /// `N` random bytes.
    pub fn array<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }
}

/// Everything a plugin may use of the process it runs in.
#[derive(Clone)]
pub struct Context {
    /// Runs tasks.
    pub spawner: Arc<dyn Spawner>,
    /// Tells time.
    pub clock: Arc<dyn Clock>,
    /// Gives randomness.
    pub rng: Arc<dyn Rng>,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Context")
    }
}

impl Context {
    /// Ends once the clock's monotonic time has reached `moment`; without one, never.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use eidetica_kernel::Context;
    ///
    /// async fn a_minute_later(context: &Context) {
    ///     let moment = context.clock.monotonic() + Duration::from_secs(60);
    ///     context.sleep_until(Some(moment)).await;
    /// }
    /// ```
    pub async fn sleep_until(&self, moment: Option<Duration>) {
        match moment {
            Some(moment) => self.clock.sleep_until(moment).await,
            None => std::future::pending().await,
        }
    }
}
