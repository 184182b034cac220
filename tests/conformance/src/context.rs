//! A real [`Context`]: tokio's tasks and clock, the system's randomness.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use eidetica_kernel::Timestamp;
use eidetica_kernel::runtime::{BoxFuture, Clock, Context, Rng, Spawner, TaskGuard};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

/// A context whose tasks run on the tokio runtime that this is called from.
///
/// Its monotonic time is tokio's, so that it follows a paused clock.
///
/// ```
/// let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
/// let context = runtime.block_on(async { eidetica_conformance::context::tokio_context() });
/// assert_ne!(context.rng.array::<32>(), context.rng.array::<32>());
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Panics
/// Outside a tokio runtime.
pub fn tokio_context() -> Context {
    Context {
        spawner: Arc::new(TokioSpawner(Handle::current())),
        clock: Arc::new(TokioClock(Instant::now())),
        rng: Arc::new(SystemRng),
    }
}

/// As [`tokio_context`], and how many of its tasks run.
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
/// # runtime.block_on(async {
/// let (context, mut running) = eidetica_conformance::context::counting_context();
/// let task = context.spawner.spawn("waits", Box::pin(std::future::pending()));
/// assert_eq!(*running.borrow(), 1);
/// drop(task);
/// running.wait_for(|running| *running == 0).await.unwrap();
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Panics
/// Outside a tokio runtime.
pub fn counting_context() -> (Context, watch::Receiver<usize>) {
    let (count, running) = watch::channel(0);
    let context = tokio_context();
    let spawner = Arc::new(CountingSpawner { inner: context.spawner, running: Arc::new(count) });
    (Context { spawner, ..context }, running)
}

/// As [`tokio_context`], on a clock that runs `faster` times as fast, for cases in which a time limit is waited for.
pub(crate) fn hurried_context(faster: u32) -> Context {
    let context = tokio_context();
    Context { clock: Arc::new(Hurried { inner: context.clock, faster }), ..context }
}

struct Hurried {
    inner: Arc<dyn Clock>,
    faster: u32,
}

impl Clock for Hurried {
    fn wall(&self) -> Timestamp {
        self.inner.wall()
    }

    fn monotonic(&self) -> Duration {
        self.inner.monotonic() * self.faster
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.inner.sleep(duration / self.faster)
    }
}

struct CountingSpawner {
    inner: Arc<dyn Spawner>,
    running: Arc<watch::Sender<usize>>,
}

/// A task that runs.
struct Running(Arc<watch::Sender<usize>>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running -= 1);
    }
}

impl Spawner for CountingSpawner {
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) -> TaskGuard {
        self.running.send_modify(|running| *running += 1);
        let running = Running(self.running.clone());
        let counted = async move {
            let _running = running;
            task.await;
        };
        self.inner.spawn(name, Box::pin(counted))
    }
}

struct TokioSpawner(Handle);

impl Spawner for TokioSpawner {
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) -> TaskGuard {
        let task = self.0.spawn(task).abort_handle();
        TaskGuard::new(move || task.abort())
    }
}

struct TokioClock(Instant);

impl Clock for TokioClock {
    fn wall(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

struct SystemRng;

impl Rng for SystemRng {
    fn fill(&self, buffer: &mut [u8]) {
        if let Err(error) = getrandom::fill(buffer) {
            panic!("the system gives no randomness: {error}");
        }
    }
}
