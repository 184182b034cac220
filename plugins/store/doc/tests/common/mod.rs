//! A replica of one doc store in memory.
#![allow(dead_code, reason = "not every test that shares this file needs all of it")]

use std::sync::Arc;

use eidetica_conformance::store::{MemoryRows, Payload, TestTx, Written};
use eidetica_kernel::store::{Applied, RowOverlay, Stamp};
use eidetica_kernel::{HybridClock, Id, Result, Store, StoreHandle};
use eidetica_store_doc::{DocKind, DocStore};

/// A replica: its rows, and a clock that runs ahead of all it has seen.
pub(crate) struct Replica {
    pub(crate) rows: Arc<MemoryRows>,
    pub(crate) clock: u64,
    name: u8,
    commits: u64,
}

impl Replica {
    pub(crate) fn new(name: u8) -> Self {
        Self { rows: Arc::default(), clock: 0, name, commits: 0 }
    }

    /// A transaction that reads, or whose writes are dropped.
    pub(crate) fn read(&self) -> DocStore {
        DocStore::open(TestTx::on(self.rows.clone(), 0)).unwrap()
    }

    /// Commits what `edit` stages, and folds it.
    pub(crate) fn commit(&mut self, edit: impl FnOnce(&DocStore) -> Result<()>) -> Written {
        self.commits += 1;
        let tx = TestTx::on(self.rows.clone(), u64::from(self.name) << 32 | self.commits);
        edit(&DocStore::open(tx.clone()).unwrap()).unwrap();
        let (version, body) = tx.encode().unwrap().expect("something was staged");
        drop(tx);
        self.clock += 1;
        let mut entry = [self.name; 32];
        entry[..8].copy_from_slice(&self.commits.to_be_bytes());
        let stamp = Stamp { clock: HybridClock::from_bits(self.clock), entry: Id::from_bytes(entry) };
        let written = Written { stamp, payload: Payload { version, body } };
        self.take_in([&written]);
        written
    }

    /// Folds what came from elsewhere.
    pub(crate) fn take_in<'w>(&mut self, written: impl IntoIterator<Item = &'w Written>) {
        for written in written {
            self.clock = self.clock.max(written.stamp.clock.to_bits());
            let mut overlay = RowOverlay::new(&*self.rows);
            let applied = DocKind.apply(&mut overlay, &written.stamped(self.clock)).unwrap();
            assert!(matches!(applied, Applied::Folded { .. }), "{applied:?}");
            let changes = overlay.into_changes();
            Arc::make_mut(&mut self.rows).write(changes);
        }
    }

    pub(crate) fn json(&self) -> String {
        let mut json = Vec::new();
        self.read().write_json(&mut json, false).unwrap();
        String::from_utf8(json).unwrap()
    }
}
