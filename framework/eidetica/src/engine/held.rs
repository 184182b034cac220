//! Several entries that become visible together: made on held-back rows, and then taken in by one batch.

use std::sync::Arc;

use bytes::Bytes;
use eidetica_kernel::backend::{
    Backend, BackendCapabilities, Batch, KeyText, Page, Scan, Snapshot, Watch, Write,
};
use eidetica_kernel::store::{RowChanges, RowOverlay, RowReader, RowTable};
use eidetica_kernel::{Error, ErrorKind, Result};
use parking_lot::Mutex;

use super::ingest::Incoming;
use super::layout::Arrival;
use super::read;
use super::records::corrupt;
use super::rows::Live;
use super::tree::{Shared, Tree};

/// A backend's rows as they were, with others on top that it doesn't know of.
#[derive(Clone)]
pub(crate) struct Held(Arc<Rows>);

struct Rows {
    base: Base,
    /// `None` once they are over.
    changes: Mutex<Option<Changes>>,
}

#[derive(Default)]
struct Changes {
    rows: RowChanges,
    commits: u64,
}

/// A snapshot as rows of one table.
struct Base(Arc<dyn Snapshot>);

const TABLE: RowTable = RowTable::State;

impl Tree {
    /// A copy of this tree whose writes stay in memory.
    pub(crate) fn held(&self) -> Result<(Held, Arc<Self>)> {
        let shared = &*self.shared;
        let base = Base(shared.backend.snapshot()?);
        let held = Held(Arc::new(Rows { base, changes: Mutex::new(Some(Changes::default())) }));
        let backend: Arc<dyn Backend> = Arc::new(held.clone());
        let shared = Shared {
            live: Arc::new(Live(backend.clone())),
            backend,
            policies: shared.policies.clone(),
            stores: shared.stores.clone(),
            clock: shared.clock.clone(),
            rng: shared.rng.clone(),
        };
        let mut tree = Self::load(Arc::new(shared), self.id, self.keys.0, self.policy.clone())?;
        tree.is_held = true;
        Ok((held, Arc::new(tree)))
    }

    /// The entries from this arrival number on, in their order.
    pub(crate) fn made_since(&self, first: Arrival) -> Result<Vec<Incoming>> {
        let reader = &*self.shared.live;
        let entry = |arrival| {
            let (_, entry) = read::entry_at(reader, self.keys, arrival)?.ok_or_else(|| {
                corrupt(format_args!("the entry of number {arrival}"), "its row is missing")
            })?;
            let payloads = (0..entry.header().stores.len())
                .map(|store| read::payload(reader, self.keys, arrival, &entry, store))
                .collect::<Result<_>>()?;
            Ok(Incoming { entry, payloads, checked: true })
        };
        (first..self.head().next_arrival).map(entry).collect()
    }
}

impl Held {
    /// Forgets what was held back; every later call fails.
    pub(crate) fn end(&self) {
        *self.0.changes.lock() = None;
    }

    /// Works on the rows; `seen` says after how many commits, where that matters.
    fn with<T>(&self, seen: Option<u64>, work: impl FnOnce(&mut RowOverlay<'_>) -> Result<T>) -> Result<T> {
        let mut changes = self.0.changes.lock();
        let changes = changes.as_mut().ok_or_else(over)?;
        if seen.is_some_and(|seen| seen != changes.commits) {
            let reason = "something was committed since it was taken";
            return Err(Error::new(ErrorKind::Expired, "reading", "a snapshot of held-back rows", reason));
        }
        self.0.work(changes, work)
    }
}

impl Rows {
    fn work<T>(
        &self,
        changes: &mut Changes,
        work: impl FnOnce(&mut RowOverlay<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut rows = RowOverlay::with_changes(&self.base, std::mem::take(&mut changes.rows));
        let done = work(&mut rows);
        changes.rows = rows.into_changes();
        done
    }
}

fn over() -> Error {
    Error::new(ErrorKind::Closed, "using a database", "", "the step that this handle was made for is over")
        .hint("use the handle that the step was begun with")
}

impl Backend for Held {
    fn capabilities(&self) -> BackendCapabilities {
        BackendCapabilities::default()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.with(None, |rows| rows.get(TABLE, key))
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        self.with(None, |rows| rows.get_many(TABLE, keys))
    }

    fn scan(&self, scan: &Scan) -> Result<Page> {
        self.with(None, |rows| rows.scan(TABLE, scan))
    }

    fn snapshot(&self) -> Result<Arc<dyn Snapshot>> {
        let seen = self.0.changes.lock().as_ref().ok_or_else(over)?.commits;
        Ok(Arc::new(Seen { held: self.clone(), seen }))
    }

    fn commit(&self, batch: Batch) -> Result<()> {
        batch.check_limits()?;
        let (preconditions, writes) = batch.into_parts();
        let mut changes = self.0.changes.lock();
        let changes = changes.as_mut().ok_or_else(over)?;
        self.0.work(changes, |rows| {
            for expected in &preconditions {
                if !expected.holds(rows.get(TABLE, expected.key())?.as_deref()) {
                    let key = KeyText(expected.key());
                    let reason = "its value isn't the expected one";
                    return Err(Error::new(ErrorKind::Conflict, "holding back a batch on", key, reason));
                }
            }
            for write in writes {
                match write {
                    Write::Put(key, value) => rows.put(TABLE, key, value),
                    Write::Delete(key) => rows.delete(TABLE, key),
                }
            }
            Ok(())
        })?;
        changes.commits += 1;
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn watch(&self, _prefix: &[u8]) -> Option<Box<dyn Watch>> {
        None
    }

    fn close(&self) -> Result<()> {
        self.end();
        Ok(())
    }
}

/// Expires with the next commit.
struct Seen {
    held: Held,
    seen: u64,
}

impl Snapshot for Seen {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.held.with(Some(self.seen), |rows| rows.get(TABLE, key))
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        self.held.with(Some(self.seen), |rows| rows.get_many(TABLE, keys))
    }

    fn scan(&self, scan: &Scan) -> Result<Page> {
        self.held.with(Some(self.seen), |rows| rows.scan(TABLE, scan))
    }
}

impl RowReader for Base {
    fn get(&self, _: RowTable, key: &[u8]) -> Result<Option<Bytes>> {
        self.0.get(key)
    }

    fn get_many(&self, _: RowTable, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        self.0.get_many(keys)
    }

    fn scan(&self, _: RowTable, scan: &Scan) -> Result<Page> {
        self.0.scan(scan)
    }
}

#[cfg(test)]
mod tests {
    use eidetica_backend_memory::InMemory;
    use eidetica_kernel::backend::for_each_row;

    use super::*;

    fn held(base: &InMemory) -> Held {
        let base = Base(base.snapshot().unwrap());
        Held(Arc::new(Rows { base, changes: Mutex::new(Some(Changes::default())) }))
    }

    fn rows(backend: &dyn Backend, scan: &Scan) -> Vec<(Bytes, Bytes)> {
        let mut rows = Vec::new();
        let page = |scan: &Scan| {
            let page = backend.scan(scan)?;
            assert!(page.rows.len() <= scan.page_rows());
            Ok(page)
        };
        for_each_row(scan.clone(), page, |row| {
            rows.push(row);
            Ok(())
        })
        .unwrap();
        rows
    }

    /// Numbers below `end`, the same ones for the same seed.
    fn below(seed: &mut u64, end: u8) -> u8 {
        *seed = seed.wrapping_add(1);
        let hash = *blake3::hash(&seed.to_be_bytes()).as_bytes();
        hash[0] % end
    }

    #[test]
    fn held_back_rows_read_as_committed_ones() {
        for round in 0..200_u64 {
            let seed = &mut (round << 32);
            let (under, plain) = (InMemory::new(), InMemory::new());
            for _ in 0..below(seed, 30) {
                let key = below(seed, 40);
                let mut batch = Batch::new();
                batch.put(vec![b'k', key], vec![key]);
                under.commit(batch.clone()).unwrap();
                plain.commit(batch).unwrap();
            }
            let held = held(&under);
            for at in 0..below(seed, 60) {
                let key = vec![b'k', below(seed, 40)];
                let mut batch = Batch::new();
                match below(seed, 2) {
                    0 => batch.put(key, vec![at]),
                    _ => batch.delete(key),
                };
                held.commit(batch.clone()).unwrap();
                plain.commit(batch).unwrap();
            }
            for _ in 0..12 {
                let (start, end) = (vec![b'k', below(seed, 41)], vec![b'k', below(seed, 41)]);
                let scan = if below(seed, 4) == 0 { Scan::all() } else { Scan::range(start, end) };
                let scan = scan.limit(1 + usize::from(below(seed, 8)));
                let scan = if below(seed, 2) == 0 { scan } else { scan.backward() };
                assert_eq!(rows(&held, &scan), rows(&plain, &scan), "round {round}: {scan:?}");
            }
        }
    }

    #[test]
    fn any_number_of_removed_rows_is_read_past() {
        let base = InMemory::new();
        let mut batch = Batch::new();
        for n in 0..50_000_u32 {
            batch.put([&b"k"[..], &n.to_be_bytes()].concat(), "row");
        }
        base.commit(batch).unwrap();
        let held = held(&base);
        let mut batch = Batch::new();
        for n in 1..50_000_u32 {
            batch.delete([&b"k"[..], &n.to_be_bytes()].concat());
        }
        held.commit(batch).unwrap();
        let page = held.scan(&Scan::all().backward().limit(1)).unwrap();
        assert_eq!(page.rows.len(), 1);
        assert_eq!(&page.rows[0].0[..], b"k\0\0\0\0");
    }

    #[test]
    fn a_snapshot_expires_with_the_next_commit_and_all_ends_with_the_step() {
        let held = held(&InMemory::new());
        let snapshot = held.snapshot().unwrap();
        assert_eq!(snapshot.get(b"a").unwrap(), None);
        let mut batch = Batch::new();
        batch.expect_absent("a").put("a", "1");
        held.commit(batch.clone()).unwrap();
        assert_eq!(snapshot.get(b"a").unwrap_err().kind(), ErrorKind::Expired);
        assert_eq!(held.commit(batch).unwrap_err().kind(), ErrorKind::Conflict);
        held.end();
        assert_eq!(held.get(b"a").unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(held.snapshot().err().unwrap().kind(), ErrorKind::Closed);
    }
}
