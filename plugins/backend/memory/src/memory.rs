//! The backend over the rows: handles, snapshots, watches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use eidetica_kernel::backend::{
    Backend, BackendCapabilities, Batch, KeyText, Page, Scan, Snapshot, Watch, check_key,
};
use eidetica_kernel::error::{Error, ErrorKind, Result};
use parking_lot::{Mutex, RwLock};

use crate::rows::{Moment, NOW, Rows};

/// Rows in this process, gone when the last handle is.
///
/// A clone is one more handle on the same rows. Closing closes one handle and the snapshots taken through it, so that a
/// test can close a node and start it again on the same rows.
///
/// ```
/// use eidetica_backend_memory::InMemory;
/// use eidetica_kernel::backend::{Backend, Batch};
///
/// let backend = InMemory::new();
/// let again = backend.clone();
/// let mut batch = Batch::new();
/// batch.put("a", "1");
/// backend.commit(batch)?;
/// backend.close()?;
/// assert_eq!(again.get(b"a")?.as_deref(), Some(&b"1"[..]));
/// # Ok::<(), eidetica_kernel::Error>(())
/// ```
#[derive(Default)]
pub struct InMemory {
    shared: Arc<Shared>,
    closed: Arc<AtomicBool>,
}

#[derive(Default)]
struct Shared {
    rows: RwLock<Rows>,
    /// Moments of the live snapshots, counted. Lock order: after `rows`.
    live: Mutex<BTreeMap<Moment, usize>>,
    commits: AtomicU64,
}

impl InMemory {
    /// An empty backend.
    pub fn new() -> Self {
        Self::default()
    }

    fn open(&self) -> Result<()> {
        check_open(&self.closed)
    }
}

fn check_open(closed: &AtomicBool) -> Result<()> {
    if closed.load(Ordering::Acquire) {
        return Err(Error::new(ErrorKind::Closed, "using the memory backend", "", "it was closed"));
    }
    Ok(())
}

impl Clone for InMemory {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), closed: Arc::default() }
    }
}

impl std::fmt::Debug for InMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InMemory")
    }
}

impl Backend for InMemory {
    fn capabilities(&self) -> BackendCapabilities {
        BackendCapabilities::default()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.open()?;
        check_key(key)?;
        Ok(self.shared.rows.read().get(key, NOW).cloned())
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        self.open()?;
        self.shared.get_many(keys, NOW)
    }

    fn scan(&self, scan: &Scan) -> Result<Page> {
        self.open()?;
        Ok(self.shared.rows.read().scan(scan, NOW))
    }

    fn snapshot(&self) -> Result<Arc<dyn Snapshot>> {
        self.open()?;
        // Held while registering: a commit between reading the moment and registering it would drop what it sees.
        let rows = self.shared.rows.read();
        let moment = rows.moment();
        *self.shared.live.lock().entry(moment).or_default() += 1;
        drop(rows);
        Ok(Arc::new(MemorySnapshot { shared: self.shared.clone(), closed: self.closed.clone(), moment }))
    }

    fn commit(&self, batch: Batch) -> Result<()> {
        self.open()?;
        batch.check_limits()?;
        let (preconditions, writes) = batch.into_parts();
        let mut rows = self.shared.rows.write();
        if let Some(violated) = rows.violated(&preconditions) {
            return Err(Error::new(
                ErrorKind::Conflict,
                "committing a batch on",
                KeyText(violated.key()),
                "its value isn't the expected one",
            ));
        }
        if writes.is_empty() {
            return Ok(());
        }
        let (oldest, newest) = {
            let live = self.shared.live.lock();
            (live.keys().next().copied(), live.keys().next_back().copied())
        };
        rows.apply(writes, oldest, newest);
        drop(rows);
        self.shared.commits.fetch_add(1, Ordering::Release);
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        self.open()
    }

    fn watch(&self, _prefix: &[u8]) -> Option<Box<dyn Watch>> {
        let seen = self.shared.commits.load(Ordering::Acquire);
        Some(Box::new(CommitWatch { shared: self.shared.clone(), seen }))
    }

    fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        Ok(())
    }
}

impl Shared {
    fn get_many(&self, keys: &[&[u8]], moment: Moment) -> Result<Vec<Option<Bytes>>> {
        keys.iter().try_for_each(|key| check_key(key))?;
        let rows = self.rows.read();
        Ok(keys.iter().map(|key| rows.get(key, moment).cloned()).collect())
    }
}

struct MemorySnapshot {
    shared: Arc<Shared>,
    closed: Arc<AtomicBool>,
    moment: Moment,
}

impl Snapshot for MemorySnapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        check_open(&self.closed)?;
        check_key(key)?;
        Ok(self.shared.rows.read().get(key, self.moment).cloned())
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        check_open(&self.closed)?;
        self.shared.get_many(keys, self.moment)
    }

    fn scan(&self, scan: &Scan) -> Result<Page> {
        check_open(&self.closed)?;
        Ok(self.shared.rows.read().scan(scan, self.moment))
    }
}

impl Drop for MemorySnapshot {
    fn drop(&mut self) {
        let mut live = self.shared.live.lock();
        if let Some(count) = live.get_mut(&self.moment) {
            *count -= 1;
            if *count == 0 {
                live.remove(&self.moment);
            }
        }
    }
}

/// Any commit may have touched the prefix.
struct CommitWatch {
    shared: Arc<Shared>,
    seen: u64,
}

impl Watch for CommitWatch {
    fn changed(&mut self) -> bool {
        let now = self.shared.commits.load(Ordering::Acquire);
        std::mem::replace(&mut self.seen, now) != now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(backend: &InMemory, key: &str, value: &str) {
        let mut batch = Batch::new();
        batch.put(key.to_owned(), value.to_owned());
        backend.commit(batch).unwrap();
    }

    #[test]
    fn versions_that_no_snapshot_sees_are_dropped() {
        let backend = InMemory::new();
        put(&backend, "a", "1");
        let snapshot = backend.snapshot().unwrap();
        for round in 0..10 {
            put(&backend, "a", &round.to_string());
            put(&backend, &format!("b{round}"), "x");
        }
        let mut batch = Batch::new();
        batch.delete("a");
        backend.commit(batch).unwrap();
        assert_eq!(snapshot.get(b"a").unwrap().as_deref(), Some(&b"1"[..]));
        assert_eq!(backend.shared.rows.read().held(), (11, 1), "one version is seen, the others aren't kept");
        drop(snapshot);
        put(&backend, "c", "x");
        assert_eq!(backend.shared.rows.read().held(), (11, 0), "the deleted row is gone");
    }

    #[test]
    fn a_closed_handle_leaves_its_clones_open() {
        let backend = InMemory::new();
        put(&backend, "a", "1");
        let other = backend.clone();
        let snapshot = backend.snapshot().unwrap();
        backend.close().unwrap();
        assert_eq!(backend.get(b"a").unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(snapshot.get(b"a").unwrap_err().kind(), ErrorKind::Closed);
        assert!(other.get(b"a").unwrap().is_some());
    }
}
