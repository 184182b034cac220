//! A backend that fails and crashes on demand.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use eidetica_kernel::backend::{Backend, BackendCapabilities, Batch, Page, Scan, Snapshot, Watch};
use eidetica_kernel::error::{Error, ErrorKind, Result};

/// Wraps a backend and fails on demand: reads, commits, flushes, and power loss that drops what wasn't flushed.
///
/// It claims to be durable and behaves as a disk does: [`FaultyBackend::crash`] takes back the batches that weren't
/// flushed, but for as many of the first ones as asked, and kills every handle; [`FaultyBackend::again`] then opens what
/// is left. Closing a handle flushes and leaves the wrapped backend open for the next one.
///
/// ```
/// use eidetica_conformance::backend::{Backend, FaultyBackend, Reference};
/// use eidetica_kernel::backend::Batch;
///
/// let backend = FaultyBackend::new(Reference::new());
/// for number in ["1", "2", "3"] {
///     let mut batch = Batch::new();
///     batch.put("number", number);
///     backend.commit(batch)?;
///     if number == "1" {
///         backend.flush()?;
///     }
/// }
/// backend.crash(1)?; // of the two unflushed batches the first one survives
/// assert_eq!(backend.again().get(b"number")?.as_deref(), Some(&b"2"[..]));
/// # Ok::<(), eidetica_kernel::Error>(())
/// ```
pub struct FaultyBackend {
    shared: Arc<Shared>,
    alive: Arc<AtomicBool>,
}

struct Shared {
    inner: Arc<dyn Backend>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What takes each unflushed batch back, in commit order.
    undo: VecDeque<Batch>,
    handles: Vec<Arc<AtomicBool>>,
    commits: VecDeque<Fault>,
    flushes: VecDeque<ErrorKind>,
    reads: VecDeque<ErrorKind>,
}

enum Fault {
    None,
    Fails(ErrorKind),
    /// Applies this many writes all the same.
    Tears(usize),
}

impl FaultyBackend {
    /// Wraps `inner`, which nobody else writes to.
    pub fn new(inner: impl Backend) -> Self {
        Self::over(Arc::new(inner))
    }

    /// Wraps `inner`, which nobody else writes to.
    pub fn over(inner: Arc<dyn Backend>) -> Self {
        Self::handle(Arc::new(Shared { inner, state: Mutex::default() }))
    }

    /// One more handle on what is left, open even if this one was closed or crashed.
    #[must_use]
    pub fn again(&self) -> Self {
        Self::handle(self.shared.clone())
    }

    fn handle(shared: Arc<Shared>) -> Self {
        let alive = Arc::new(AtomicBool::new(true));
        shared.state().handles.push(alive.clone());
        Self { shared, alive }
    }

    /// The next read fails so. Called several times: so many reads fail, in that order.
    pub fn fail_next_read(&self, kind: ErrorKind) {
        self.shared.state().reads.push_back(kind);
    }

    /// The next commit succeeds, and the faults asked for after this concern those behind it.
    pub fn spare_next_commit(&self) {
        self.shared.state().commits.push_back(Fault::None);
    }

    /// The next commit fails so and leaves nothing.
    pub fn fail_next_commit(&self, kind: ErrorKind) {
        self.shared.state().commits.push_back(Fault::Fails(kind));
    }

    /// The next commit fails with [`ErrorKind::Io`] after its first `writes` writes, which stay: what no backend may do
    /// (B1).
    pub fn tear_next_commit(&self, writes: usize) {
        self.shared.state().commits.push_back(Fault::Tears(writes));
    }

    /// The next flush fails so and makes nothing durable.
    pub fn fail_next_flush(&self, kind: ErrorKind) {
        self.shared.state().flushes.push_back(kind);
    }

    /// Batches committed and not flushed.
    pub fn unflushed(&self) -> usize {
        self.shared.state().undo.len()
    }

    /// Power is lost: of the unflushed batches the first `kept` survive, and every handle is dead.
    ///
    /// # Errors
    /// What the wrapped backend returned.
    pub fn crash(&self, kept: usize) -> Result<()> {
        let mut state = self.shared.state();
        for handle in state.handles.drain(..) {
            handle.store(false, Ordering::SeqCst);
        }
        while state.undo.len() > kept {
            let Some(undo) = state.undo.pop_back() else { break };
            self.shared.inner.commit(undo)?;
        }
        // What survived once is on the disk.
        state.undo.clear();
        Ok(())
    }

    fn check(&self) -> Result<()> {
        check_alive(&self.alive)
    }

    fn check_read(&self) -> Result<()> {
        self.check()?;
        self.shared.read_fault()
    }
}

fn check_alive(alive: &AtomicBool) -> Result<()> {
    match alive.load(Ordering::SeqCst) {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::Closed, "using the backend", "", "it was closed or it crashed")),
    }
}

fn injected(kind: ErrorKind, operation: &'static str) -> Error {
    Error::new(kind, operation, "the faulty backend", "the test asked for this failure")
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_fault(&self) -> Result<()> {
        match self.state().reads.pop_front() {
            Some(kind) => Err(injected(kind, "reading")),
            None => Ok(()),
        }
    }

    /// What restores the rows that `batch` writes.
    fn undo(&self, batch: &Batch) -> Result<Batch> {
        let mut undo = Batch::new();
        for write in batch.writes() {
            match self.inner.get(write.key())? {
                Some(value) => undo.put(write.key().clone(), value),
                None => undo.delete(write.key().clone()),
            };
        }
        Ok(undo)
    }
}

impl std::fmt::Debug for FaultyBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FaultyBackend").field("unflushed", &self.unflushed()).finish_non_exhaustive()
    }
}

impl Backend for FaultyBackend {
    fn capabilities(&self) -> BackendCapabilities {
        self.shared.inner.capabilities().durable()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.check_read()?;
        self.shared.inner.get(key)
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        self.check_read()?;
        self.shared.inner.get_many(keys)
    }

    fn scan(&self, scan: &Scan) -> Result<Page> {
        self.check_read()?;
        self.shared.inner.scan(scan)
    }

    fn snapshot(&self) -> Result<Arc<dyn Snapshot>> {
        self.check_read()?;
        let inner = self.shared.inner.snapshot()?;
        Ok(Arc::new(FaultySnapshot { inner, shared: self.shared.clone(), alive: self.alive.clone() }))
    }

    fn commit(&self, batch: Batch) -> Result<()> {
        let mut state = self.shared.state();
        // Under the lock: a commit that began before a crash must not land after it.
        self.check()?;
        batch.check_limits()?;
        let undo = self.shared.undo(&batch)?;
        let batch = match state.commits.pop_front() {
            None | Some(Fault::None) => batch,
            Some(Fault::Fails(kind)) => return Err(injected(kind, "committing to")),
            Some(Fault::Tears(count)) => {
                let mut torn = Batch::new();
                for write in batch.into_parts().1.into_iter().take(count) {
                    match write {
                        eidetica_kernel::backend::Write::Put(key, value) => torn.put(key, value),
                        eidetica_kernel::backend::Write::Delete(key) => torn.delete(key),
                    };
                }
                self.shared.inner.commit(torn)?;
                return Err(injected(ErrorKind::Io, "committing to"));
            }
        };
        let writes = !batch.writes().is_empty();
        self.shared.inner.commit(batch)?;
        if writes {
            state.undo.push_back(undo);
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        let mut state = self.shared.state();
        self.check()?;
        if let Some(kind) = state.flushes.pop_front() {
            return Err(injected(kind, "flushing"));
        }
        self.shared.inner.flush()?;
        state.undo.clear();
        Ok(())
    }

    fn watch(&self, prefix: &[u8]) -> Option<Box<dyn Watch>> {
        self.shared.inner.watch(prefix)
    }

    fn close(&self) -> Result<()> {
        let flushed = match self.flush() {
            Err(error) if error.kind() == ErrorKind::Closed => return Ok(()),
            flushed => flushed,
        };
        self.alive.store(false, Ordering::SeqCst);
        flushed
    }
}

struct FaultySnapshot {
    inner: Arc<dyn Snapshot>,
    shared: Arc<Shared>,
    alive: Arc<AtomicBool>,
}

impl FaultySnapshot {
    fn check(&self) -> Result<()> {
        check_alive(&self.alive)?;
        self.shared.read_fault()
    }
}

impl Snapshot for FaultySnapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.check()?;
        self.inner.get(key)
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        self.check()?;
        self.inner.get_many(keys)
    }

    fn scan(&self, scan: &Scan) -> Result<Page> {
        self.check()?;
        self.inner.scan(scan)
    }
}
