//! The engine's own threads, clock and randomness, and how blocking and async callers meet them.

use std::cell::Cell;
use std::future::Future;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use eidetica_kernel::runtime::{BoxFuture, Clock, Context, Rng, Spawner, TaskGuard};
use eidetica_kernel::{Error, ErrorKind, Result, Timestamp};
use tokio::runtime::Handle;

/// Worker threads of the process-wide runtime.
const WORKERS: usize = 2;
/// Threads that blocking work of the engine may take at once.
const BLOCKING_THREADS_MAX: usize = 64;

thread_local! {
    static IS_ENGINE_THREAD: Cell<bool> = const { Cell::new(false) };
}

/// The process-wide runtime. It lives as long as the process: instances end their tasks, not its threads.
fn process_runtime() -> Result<&'static Handle> {
    static RUNTIME: OnceLock<std::result::Result<tokio::runtime::Runtime, String>> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .thread_name("eidetica")
            .on_thread_start(|| IS_ENGINE_THREAD.set(true))
            .enable_all()
            .build()
            .map_err(|error| error.to_string())
    });
    match runtime {
        Ok(runtime) => Ok(runtime.handle()),
        Err(reason) => Err(Error::new(ErrorKind::Io, "starting the engine's threads", "", reason)),
    }
}

/// Where the engine runs: threads, time, randomness.
#[derive(Clone)]
pub(crate) struct Runtime {
    handle: Handle,
    pub(crate) context: Context,
}

impl Runtime {
    /// The process-wide threads, the system's clock and randomness.
    pub(crate) fn system() -> Result<Self> {
        let handle = process_runtime()?.clone();
        let context = Context {
            spawner: Arc::new(TokioSpawner(handle.clone())),
            clock: Arc::new(SystemClock::new()),
            rng: Arc::new(SystemRng),
        };
        Ok(Self { handle, context })
    }

    /// As [`Runtime::system`], with another clock, spawner or randomness.
    pub(crate) fn with_context(context: Context) -> Result<Self> {
        Ok(Self { handle: process_runtime()?.clone(), context })
    }

    /// Waits for `work` on this thread, which may itself run async code of any runtime.
    ///
    /// # Errors
    /// [`ErrorKind::Bug`] when called from an engine thread: it would wait for itself.
    pub(crate) fn wait<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        if IS_ENGINE_THREAD.get() {
            return Err(Error::new(
                ErrorKind::Bug,
                operation,
                "",
                "a blocking call was made from an engine thread",
            )
            .hint("use the async form of the call there"));
        }
        let (done, result) = mpsc::sync_channel(1);
        self.handle.spawn(async move {
            let _ = done.send(work.await);
        });
        result.recv().unwrap_or_else(|_| Err(ended(operation)))
    }

    /// Runs `work` on the engine's threads; the future that comes back may be polled by any executor.
    ///
    /// Dropping it ends the work at its next await.
    pub(crate) fn run<T, F>(
        &self,
        operation: &'static str,
        work: F,
    ) -> impl Future<Output = Result<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let task = self.handle.spawn(work);
        let guard = AbortOnDrop(task.abort_handle());
        async move {
            let result = task.await.unwrap_or_else(|_| Err(ended(operation)));
            drop(guard);
            result
        }
    }

    /// Runs a task that ends by itself, and soon: an answer on its way.
    pub(crate) fn detach(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.handle.spawn(task);
    }

    /// As [`Runtime::detach`], for blocking work.
    pub(crate) fn detach_blocking(&self, work: impl FnOnce() + Send + 'static) {
        self.handle.spawn_blocking(work);
    }

    /// Runs blocking work (the backend's) off the async threads.
    pub(crate) fn blocking<T, F>(
        &self,
        operation: &'static str,
        work: F,
    ) -> impl Future<Output = Result<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T> + Send + 'static,
    {
        let work = self.handle.spawn_blocking(work);
        async move { work.await.unwrap_or_else(|_| Err(ended(operation))) }
    }
}

fn ended(operation: &'static str) -> Error {
    Error::new(ErrorKind::Closed, operation, "", "the engine's task was ended")
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct TokioSpawner(Handle);

impl Spawner for TokioSpawner {
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) -> TaskGuard {
        let abort = AbortOnDrop(self.0.spawn(task).abort_handle());
        TaskGuard::new(move || drop(abort))
    }
}

struct SystemClock {
    start: std::time::Instant,
}

impl SystemClock {
    fn new() -> Self {
        Self { start: std::time::Instant::now() }
    }
}

impl Clock for SystemClock {
    fn wall(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

struct SystemRng;

impl Rng for SystemRng {
    fn fill(&self, buffer: &mut [u8]) {
        // A system without randomness can make neither keys nor salts: there is nothing to go on with.
        getrandom::fill(buffer).expect("the operating system gives random bytes");
    }
}
