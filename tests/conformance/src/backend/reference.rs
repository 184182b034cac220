//! The plainest backend there can be.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use eidetica_kernel::backend::{
    Backend, BackendCapabilities, Batch, Direction, KeyText, Page, Scan, Snapshot, Watch, Write,
};
use eidetica_kernel::error::{Error, ErrorKind, Result};

type Rows = BTreeMap<Bytes, Bytes>;

/// A sorted map behind a lock, written to be read: the contract in its simplest form, and what deliberately broken
/// backends are made of. A commit while a snapshot is held copies the whole map.
///
/// ```
/// use eidetica_conformance::backend::{Backend, Reference};
///
/// let backend = Reference::new();
/// assert_eq!(backend.get(b"a")?, None);
/// # Ok::<(), eidetica_kernel::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Reference {
    shared: Arc<Shared>,
    closed: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct Shared {
    rows: RwLock<Arc<Rows>>,
    commits: AtomicU64,
}

impl Reference {
    /// An empty backend.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more handle on the same rows, open even if this one was closed.
    #[must_use]
    pub fn again(&self) -> Self {
        Self { shared: self.shared.clone(), closed: Arc::default() }
    }

    fn rows(&self) -> Result<Arc<Rows>> {
        check_open(&self.closed)?;
        Ok(self.shared.rows.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

fn check_open(closed: &AtomicBool) -> Result<()> {
    match closed.load(Ordering::SeqCst) {
        true => Err(Error::new(ErrorKind::Closed, "using the reference backend", "", "it was closed")),
        false => Ok(()),
    }
}

fn scan_rows(rows: &Rows, scan: &Scan) -> Page {
    if scan.is_empty() {
        return Page::default();
    }
    let own = |(key, value): (&Bytes, &Bytes)| (key.clone(), value.clone());
    let range = rows.range::<[u8], _>(scan.bounds());
    let limit = scan.page_rows();
    // One row more than asked for tells whether there is more.
    let mut rows: Vec<_> = match scan.direction {
        Direction::Forward => range.take(limit + 1).map(own).collect(),
        Direction::Backward => range.rev().take(limit + 1).map(own).collect(),
    };
    let more = rows.len() > limit;
    rows.truncate(limit);
    Page { rows, more }
}

impl Backend for Reference {
    fn capabilities(&self) -> BackendCapabilities {
        BackendCapabilities::default()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        Ok(self.rows()?.get(key).cloned())
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        let rows = self.rows()?;
        Ok(keys.iter().map(|key| rows.get(*key).cloned()).collect())
    }

    fn scan(&self, scan: &Scan) -> Result<Page> {
        Ok(scan_rows(&*self.rows()?, scan))
    }

    fn snapshot(&self) -> Result<Arc<dyn Snapshot>> {
        Ok(Arc::new(ReferenceSnapshot { rows: self.rows()?, closed: self.closed.clone() }))
    }

    fn commit(&self, batch: Batch) -> Result<()> {
        check_open(&self.closed)?;
        batch.check_limits()?;
        let mut rows = self.shared.rows.write().unwrap_or_else(PoisonError::into_inner);
        for expected in batch.preconditions() {
            if !expected.holds(rows.get(expected.key()).map(|value| &value[..])) {
                let key = KeyText(expected.key());
                return Err(Error::new(
                    ErrorKind::Conflict,
                    "committing a batch on",
                    key,
                    "its value is another",
                ));
            }
        }
        let rows = Arc::make_mut(&mut rows);
        for write in batch.into_parts().1 {
            match write {
                Write::Put(key, value) => rows.insert(key, value),
                Write::Delete(key) => rows.remove(&key),
            };
        }
        self.shared.commits.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        check_open(&self.closed)
    }

    fn watch(&self, _prefix: &[u8]) -> Option<Box<dyn Watch>> {
        let seen = self.shared.commits.load(Ordering::SeqCst);
        Some(Box::new(ReferenceWatch { shared: self.shared.clone(), seen }))
    }

    fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::SeqCst);
        Ok(())
    }
}

struct ReferenceSnapshot {
    rows: Arc<Rows>,
    closed: Arc<AtomicBool>,
}

impl Snapshot for ReferenceSnapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        check_open(&self.closed)?;
        Ok(self.rows.get(key).cloned())
    }

    fn scan(&self, scan: &Scan) -> Result<Page> {
        check_open(&self.closed)?;
        Ok(scan_rows(&self.rows, scan))
    }
}

struct ReferenceWatch {
    shared: Arc<Shared>,
    seen: u64,
}

impl Watch for ReferenceWatch {
    fn changed(&mut self) -> bool {
        let now = self.shared.commits.load(Ordering::SeqCst);
        std::mem::replace(&mut self.seen, now) != now
    }
}
