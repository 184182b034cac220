//! A store's rows in the backend, as the store sees them.

use std::collections::HashMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use eidetica_kernel::Result;
use eidetica_kernel::backend::{Backend, Page, Scan, Snapshot, prefix_end};
use eidetica_kernel::store::{RowReader, RowTable};
use parking_lot::Mutex;

use super::layout::{StoreNo, TreeKeys};

/// The backend as it is now, as a [`Snapshot`].
pub(crate) struct Live(pub(crate) Arc<dyn Backend>);

impl Snapshot for Live {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.0.get(key)
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        self.0.get_many(keys)
    }

    fn scan(&self, scan: &Scan) -> Result<Page> {
        self.0.scan(scan)
    }
}

/// The rows of one store in a snapshot.
pub(crate) struct StoreRows {
    pub(crate) snapshot: Arc<dyn Snapshot>,
    pub(crate) keys: TreeKeys,
    pub(crate) store: StoreNo,
}

impl StoreRows {
    fn key(&self, table: RowTable, key: &[u8]) -> Bytes {
        self.keys.row(self.store, table, key)
    }
}

impl RowReader for StoreRows {
    fn get(&self, table: RowTable, key: &[u8]) -> Result<Option<Bytes>> {
        self.snapshot.get(&self.key(table, key))
    }

    fn get_many(&self, table: RowTable, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        let keys: Vec<Bytes> = keys.iter().map(|key| self.key(table, key)).collect();
        let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
        self.snapshot.get_many(&keys)
    }

    fn scan(&self, table: RowTable, scan: &Scan) -> Result<Page> {
        let prefix = self.keys.rows(self.store, table);
        let start = match &scan.start {
            Bound::Included(start) => Bound::Included(self.key(table, start)),
            Bound::Excluded(start) => Bound::Excluded(self.key(table, start)),
            Bound::Unbounded => Bound::Included(prefix.clone()),
        };
        let end = match &scan.end {
            Bound::Included(end) => Bound::Included(self.key(table, end)),
            Bound::Excluded(end) => Bound::Excluded(self.key(table, end)),
            Bound::Unbounded => match prefix_end(&prefix) {
                Some(end) => Bound::Excluded(end.into()),
                None => Bound::Unbounded,
            },
        };
        let mut page =
            self.snapshot.scan(&Scan { start, end, direction: scan.direction, limit: scan.limit })?;
        for (key, _) in &mut page.rows {
            *key = key.slice(prefix.len()..);
        }
        Ok(page)
    }
}

/// The rows of a store that nobody has written to.
pub(crate) struct NoRows;

impl RowReader for NoRows {
    fn get(&self, _: RowTable, _: &[u8]) -> Result<Option<Bytes>> {
        Ok(None)
    }

    fn get_many(&self, _: RowTable, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        Ok(vec![None; keys.len()])
    }

    fn scan(&self, _: RowTable, _: &Scan) -> Result<Page> {
        Ok(Page::default())
    }
}

/// What a transaction has read of a store, and the tree's generation before it read any.
#[derive(Clone)]
pub(crate) struct RowsRead {
    pub(crate) generation: u64,
    pub(crate) rows: Arc<Remembering<StoreRows>>,
}

/// Rows that are remembered at most, and the bytes of each.
const REMEMBERED_MAX: usize = 4_096;
const REMEMBERED_BYTES_MAX: usize = 4_096;

/// Remembers single rows that were read: what a transaction looked at costs no second look-up when it is folded, and none for
/// the digest.
pub(crate) struct Remembering<R> {
    rows: R,
    read: Mutex<Read>,
}

/// Per table, so that a key is looked up as the slice it is.
#[derive(Default)]
struct Read {
    state: HashMap<Bytes, Option<Bytes>>,
    losing: HashMap<Bytes, Option<Bytes>>,
}

impl Read {
    fn table(&mut self, table: RowTable) -> &mut HashMap<Bytes, Option<Bytes>> {
        match table {
            RowTable::State => &mut self.state,
            RowTable::Losing => &mut self.losing,
        }
    }

    fn remember(&mut self, table: RowTable, key: &[u8], value: Option<&Bytes>) {
        let room = self.state.len() + self.losing.len() < REMEMBERED_MAX;
        if room && value.is_none_or(|value| value.len() <= REMEMBERED_BYTES_MAX) {
            self.table(table).insert(Bytes::copy_from_slice(key), value.cloned());
        }
    }
}

impl<R: RowReader> Remembering<R> {
    pub(crate) fn new(rows: R) -> Self {
        Self { rows, read: Mutex::default() }
    }
}

impl<R: RowReader> RowReader for Remembering<R> {
    fn get(&self, table: RowTable, key: &[u8]) -> Result<Option<Bytes>> {
        if let Some(value) = self.read.lock().table(table).get(key) {
            return Ok(value.clone());
        }
        let value = self.rows.get(table, key)?;
        self.read.lock().remember(table, key, value.as_ref());
        Ok(value)
    }

    fn get_many(&self, table: RowTable, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        let mut values: Vec<Option<Option<Bytes>>> = {
            let mut read = self.read.lock();
            let read = read.table(table);
            keys.iter().map(|key| read.get(*key).cloned()).collect()
        };
        let missing: Vec<usize> = (0..keys.len()).filter(|at| values[*at].is_none()).collect();
        if !missing.is_empty() {
            let wanted: Vec<&[u8]> = missing.iter().map(|at| keys[*at]).collect();
            let found = self.rows.get_many(table, &wanted)?;
            let mut read = self.read.lock();
            for (at, value) in missing.into_iter().zip(found) {
                read.remember(table, keys[at], value.as_ref());
                values[at] = Some(value);
            }
        }
        Ok(values.into_iter().map(Option::unwrap_or_default).collect())
    }

    fn scan(&self, table: RowTable, scan: &Scan) -> Result<Page> {
        self.rows.scan(table, scan)
    }
}
