//! Rows of one store in memory, which count what is read of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use eidetica_kernel::backend::{Direction, Page, Row, Scan};
use eidetica_kernel::store::{RowChanges, RowReader, RowTable};
use eidetica_kernel::{Error, ErrorKind, Result};

/// Rows of one store in memory.
///
/// ```
/// use eidetica_conformance::store::MemoryRows;
/// use eidetica_kernel::store::{RowOverlay, RowReader, RowTable};
///
/// let mut rows = MemoryRows::new();
/// let mut overlay = RowOverlay::new(&rows);
/// overlay.put(RowTable::State, "key", "value");
/// let changes = overlay.into_changes();
/// rows.write(changes);
/// assert_eq!(rows.get(RowTable::State, b"key")?.as_deref(), Some(&b"value"[..]));
/// assert_eq!(rows.counts().rows, 1);
/// # Ok::<(), eidetica_kernel::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct MemoryRows {
    state: BTreeMap<Bytes, Bytes>,
    losing: BTreeMap<Bytes, Bytes>,
    calls: AtomicUsize,
    rows: AtomicUsize,
    broken: AtomicBool,
}

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls.
    pub calls: usize,
    /// Rows asked for by key, there or not, and rows that scans returned.
    pub rows: usize,
}

impl Clone for MemoryRows {
    /// The same rows again, with their counts at 0.
    fn clone(&self) -> Self {
        Self { state: self.state.clone(), losing: self.losing.clone(), ..Self::default() }
    }
}

impl MemoryRows {
    /// No rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes what an overlay has changed.
    pub fn write(&mut self, changes: RowChanges) {
        for ((table, key), value) in changes {
            let rows = match table {
                RowTable::State => &mut self.state,
                RowTable::Losing => &mut self.losing,
            };
            match value {
                Some(value) => rows.insert(key, value),
                None => rows.remove(&key),
            };
        }
    }

    /// All rows of a table.
    pub fn table(&self, table: RowTable) -> &BTreeMap<Bytes, Bytes> {
        match table {
            RowTable::State => &self.state,
            RowTable::Losing => &self.losing,
        }
    }

    /// What was read so far.
    pub fn counts(&self) -> Counts {
        Counts { calls: self.calls.load(Ordering::Relaxed), rows: self.rows.load(Ordering::Relaxed) }
    }

    /// From now on every read fails, as a backend's may.
    pub fn break_down(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }

    fn count(&self, rows: usize) -> Result<()> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.rows.fetch_add(rows, Ordering::Relaxed);
        if self.broken.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Io, "reading rows", "", "the test broke them"));
        }
        Ok(())
    }
}

impl RowReader for MemoryRows {
    fn get(&self, table: RowTable, key: &[u8]) -> Result<Option<Bytes>> {
        self.count(1)?;
        Ok(self.table(table).get(key).cloned())
    }

    fn get_many(&self, table: RowTable, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        self.count(keys.len())?;
        Ok(keys.iter().map(|key| self.table(table).get(*key).cloned()).collect())
    }

    fn scan(&self, table: RowTable, scan: &Scan) -> Result<Page> {
        let mut page = Page::default();
        if !scan.is_empty() {
            let range = self.table(table).range::<[u8], _>(scan.bounds());
            let row = |(key, value): (&Bytes, &Bytes)| (key.clone(), value.clone());
            let limit = scan.page_rows();
            let mut found: Vec<Row> = match scan.direction {
                Direction::Forward => range.take(limit + 1).map(row).collect(),
                Direction::Backward => range.rev().take(limit + 1).map(row).collect(),
            };
            page.more = found.len() > limit;
            found.truncate(limit);
            page.rows = found;
        }
        self.count(page.rows.len())?;
        Ok(page)
    }
}
