//! A backend that counts what is asked of it.

use std::ops::Sub;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use eidetica_kernel::backend::{Backend, BackendCapabilities, Batch, Page, Scan, Snapshot, Watch, Write};
use eidetica_kernel::error::Result;

/// What was asked of a [`Counting`] backend, its snapshots included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Keys looked up, those of `get_many` one by one.
    pub gets: u64,
    /// Pages read.
    pub scans: u64,
    /// Rows in these pages.
    pub rows_scanned: u64,
    /// Rows put by committed batches.
    pub rows_put: u64,
    /// Bytes of keys and values of these rows.
    pub bytes_put: u64,
    /// Rows deleted by committed batches.
    pub rows_deleted: u64,
    /// Batches committed.
    pub commits: u64,
    /// Batches refused or failed.
    pub commits_failed: u64,
    /// Flushes that succeeded.
    pub flushes: u64,
    /// Snapshots taken.
    pub snapshots: u64,
}

impl Sub for Counts {
    type Output = Self;

    /// What was asked since `earlier`.
    fn sub(self, earlier: Self) -> Self {
        Self {
            gets: self.gets - earlier.gets,
            scans: self.scans - earlier.scans,
            rows_scanned: self.rows_scanned - earlier.rows_scanned,
            rows_put: self.rows_put - earlier.rows_put,
            bytes_put: self.bytes_put - earlier.bytes_put,
            rows_deleted: self.rows_deleted - earlier.rows_deleted,
            commits: self.commits - earlier.commits,
            commits_failed: self.commits_failed - earlier.commits_failed,
            flushes: self.flushes - earlier.flushes,
            snapshots: self.snapshots - earlier.snapshots,
        }
    }
}

#[derive(Debug, Default)]
struct Counters {
    gets: AtomicU64,
    scans: AtomicU64,
    rows_scanned: AtomicU64,
    rows_put: AtomicU64,
    bytes_put: AtomicU64,
    rows_deleted: AtomicU64,
    commits: AtomicU64,
    commits_failed: AtomicU64,
    flushes: AtomicU64,
    snapshots: AtomicU64,
}

impl Counters {
    fn page(&self, page: Result<Page>) -> Result<Page> {
        self.scans.fetch_add(1, Relaxed);
        if let Ok(page) = &page {
            self.rows_scanned.fetch_add(page.rows.len() as u64, Relaxed);
        }
        page
    }
}

/// Counts what is asked of the backend it wraps, so that a test can hold an operation to its cost in rows.
///
/// A clone counts into the same numbers.
///
/// ```
/// use eidetica_conformance::backend::{Backend, Counting, Reference};
///
/// let backend = Counting::new(Reference::new());
/// let before = backend.counts();
/// backend.get(b"a")?;
/// assert_eq!((backend.counts() - before).gets, 1);
/// # Ok::<(), eidetica_kernel::Error>(())
/// ```
#[derive(Clone)]
pub struct Counting {
    inner: Arc<dyn Backend>,
    counters: Arc<Counters>,
}

impl Counting {
    /// Counts what is asked of `inner`.
    pub fn new(inner: impl Backend) -> Self {
        Self::over(Arc::new(inner))
    }

    /// Counts what is asked of `inner`.
    pub fn over(inner: Arc<dyn Backend>) -> Self {
        Self { inner, counters: Arc::default() }
    }

    /// What was asked so far.
    pub fn counts(&self) -> Counts {
        let counters = &self.counters;
        Counts {
            gets: counters.gets.load(Relaxed),
            scans: counters.scans.load(Relaxed),
            rows_scanned: counters.rows_scanned.load(Relaxed),
            rows_put: counters.rows_put.load(Relaxed),
            bytes_put: counters.bytes_put.load(Relaxed),
            rows_deleted: counters.rows_deleted.load(Relaxed),
            commits: counters.commits.load(Relaxed),
            commits_failed: counters.commits_failed.load(Relaxed),
            flushes: counters.flushes.load(Relaxed),
            snapshots: counters.snapshots.load(Relaxed),
        }
    }
}

impl std::fmt::Debug for Counting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Counting").field(&self.counts()).finish()
    }
}

impl Backend for Counting {
    fn capabilities(&self) -> BackendCapabilities {
        self.inner.capabilities()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.counters.gets.fetch_add(1, Relaxed);
        self.inner.get(key)
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        self.counters.gets.fetch_add(keys.len() as u64, Relaxed);
        self.inner.get_many(keys)
    }

    fn scan(&self, scan: &Scan) -> Result<Page> {
        self.counters.page(self.inner.scan(scan))
    }

    fn snapshot(&self) -> Result<Arc<dyn Snapshot>> {
        self.counters.snapshots.fetch_add(1, Relaxed);
        Ok(Arc::new(CountingSnapshot { inner: self.inner.snapshot()?, counters: self.counters.clone() }))
    }

    fn commit(&self, batch: Batch) -> Result<()> {
        let (mut rows_put, mut bytes_put, mut rows_deleted) = (0, 0, 0);
        for write in batch.writes() {
            match write {
                Write::Put(key, value) => {
                    rows_put += 1;
                    bytes_put += (key.len() + value.len()) as u64;
                }
                Write::Delete(_) => rows_deleted += 1,
            }
        }
        let committed = self.inner.commit(batch);
        if committed.is_ok() {
            self.counters.rows_put.fetch_add(rows_put, Relaxed);
            self.counters.bytes_put.fetch_add(bytes_put, Relaxed);
            self.counters.rows_deleted.fetch_add(rows_deleted, Relaxed);
            self.counters.commits.fetch_add(1, Relaxed);
        } else {
            self.counters.commits_failed.fetch_add(1, Relaxed);
        }
        committed
    }

    fn flush(&self) -> Result<()> {
        self.inner.flush()?;
        self.counters.flushes.fetch_add(1, Relaxed);
        Ok(())
    }

    fn watch(&self, prefix: &[u8]) -> Option<Box<dyn Watch>> {
        self.inner.watch(prefix)
    }

    fn close(&self) -> Result<()> {
        self.inner.close()
    }
}

struct CountingSnapshot {
    inner: Arc<dyn Snapshot>,
    counters: Arc<Counters>,
}

impl Snapshot for CountingSnapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.counters.gets.fetch_add(1, Relaxed);
        self.inner.get(key)
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        self.counters.gets.fetch_add(keys.len() as u64, Relaxed);
        self.inner.get_many(keys)
    }

    fn scan(&self, scan: &Scan) -> Result<Page> {
        self.counters.page(self.inner.scan(scan))
    }
}
