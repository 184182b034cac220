//! A sorted map behind a lock. A commit while a snapshot is held copies the whole map.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use eidetica_kernel::backend::{
    Backend, BackendCapabilities, Batch, Direction, KeyText, Page, Scan, Snapshot, Watch, Write,
};
use eidetica_kernel::{Error, ErrorKind, Result};

use crate::options::{{Type}}Options;

type Rows = BTreeMap<Bytes, Bytes>;

/// Rows of this process.
#[derive(Debug)]
pub struct {{Type}}Backend {
    shared: Arc<Shared>,
    closed: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Shared {
    options: {{Type}}Options,
    rows: RwLock<Arc<Rows>>,
    commits: AtomicU64,
}

impl {{Type}}Backend {
    /// An empty backend.
    pub fn new(options: {{Type}}Options) -> Self {
        let shared = Shared { options, rows: RwLock::default(), commits: AtomicU64::new(0) };
        Self { shared: Arc::new(shared), closed: Arc::default() }
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

pub(crate) fn capabilities() -> BackendCapabilities {
    BackendCapabilities::default()
}

fn check_open(closed: &AtomicBool) -> Result<()> {
    match closed.load(Ordering::SeqCst) {
        true => Err(Error::new(ErrorKind::Closed, "using the backend", "{{name}}", "it was closed")),
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

impl Backend for {{Type}}Backend {
    fn capabilities(&self) -> BackendCapabilities {
        capabilities()
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
        Ok(Arc::new(RowsSnapshot { rows: self.rows()?, closed: self.closed.clone() }))
    }

    fn commit(&self, batch: Batch) -> Result<()> {
        const COMMITTING: &str = "committing a batch on";
        check_open(&self.closed)?;
        batch.check_limits()?;
        let mut rows = self.shared.rows.write().unwrap_or_else(PoisonError::into_inner);
        let (preconditions, writes) = batch.into_parts();
        for expected in &preconditions {
            if !expected.holds(rows.get(expected.key()).map(|value| &value[..])) {
                let key = KeyText(expected.key());
                return Err(Error::new(ErrorKind::Conflict, COMMITTING, key, "its value is another"));
            }
        }
        // All of a batch or nothing: whatever can fail comes before the first write.
        let new = |write: &&Write| matches!(write, Write::Put(key, _) if !rows.contains_key(key));
        let rows_max = self.shared.options.rows_max;
        if rows.len().saturating_add(writes.iter().filter(new).count()) > rows_max {
            let reason = format_args!("there would be more than {rows_max} rows");
            return Err(Error::new(ErrorKind::LimitExceeded, COMMITTING, "{{name}}", reason).hint("raise rows_max"));
        }
        let rows = Arc::make_mut(&mut rows);
        for write in writes {
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
        Some(Box::new(CommitWatch { shared: self.shared.clone(), seen }))
    }

    fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::SeqCst);
        Ok(())
    }
}

struct RowsSnapshot {
    rows: Arc<Rows>,
    closed: Arc<AtomicBool>,
}

impl Snapshot for RowsSnapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        check_open(&self.closed)?;
        Ok(self.rows.get(key).cloned())
    }

    fn scan(&self, scan: &Scan) -> Result<Page> {
        check_open(&self.closed)?;
        Ok(scan_rows(&self.rows, scan))
    }
}

/// Any commit may have touched the prefix.
struct CommitWatch {
    shared: Arc<Shared>,
    seen: u64,
}

impl Watch for CommitWatch {
    fn changed(&mut self) -> bool {
        let now = self.shared.commits.load(Ordering::SeqCst);
        std::mem::replace(&mut self.seen, now) != now
    }
}
