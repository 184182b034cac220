//! What a payload means: how a store's payloads fold into rows, and the typed handle through which people use it.

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, MutexGuard};

use bytes::Bytes;

use crate::backend::{Direction, Page, Row, Scan};
use crate::clock::{HybridClock, Timestamp};
use crate::error::Result;
use crate::id::Id;

/// When and by which entry something was written: later clocks win, then greater ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Stamp {
    /// The entry's clock.
    pub clock: HybridClock,
    /// The entry.
    pub entry: Id,
}

/// Longest key of a store's row, in bytes.
pub const ROW_KEY_BYTES_MAX: usize = 1_000;

/// The two tables that a store's rows rest in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RowTable {
    /// What the store's state is. Equal on all replicas that hold the same entries; covered by the store's digest.
    State,
    /// What is kept to undo entries: local, may differ between replicas (it may name arrival numbers).
    Losing,
}

/// Reads the rows of one store.
pub trait RowReader: Send + Sync {
    /// The value of a row.
    ///
    /// # Errors
    /// Those of the backend.
    fn get(&self, table: RowTable, key: &[u8]) -> Result<Option<Bytes>>;

    /// The values of rows, in the order of `keys`.
    ///
    /// # Errors
    /// Those of the backend.
    fn get_many(&self, table: RowTable, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>>;

    /// One page of rows.
    ///
    /// # Errors
    /// Those of the backend.
    fn scan(&self, table: RowTable, scan: &Scan) -> Result<Page>;
}

/// Rows with changes on top that aren't written yet.
///
/// The engine applies entries to one and writes its changes in a batch; a typed handle keeps one to read its own writes.
pub struct RowOverlay<'a> {
    base: &'a dyn RowReader,
    changes: RowChanges,
}

/// The changes of a [`RowOverlay`]: a value, or `None` for a removed row.
pub type RowChanges = BTreeMap<(RowTable, Bytes), Option<Bytes>>;

impl<'a> RowOverlay<'a> {
    /// No change on top of `base`.
    pub fn new(base: &'a dyn RowReader) -> Self {
        Self { base, changes: BTreeMap::new() }
    }

    /// These changes on top of `base`.
    pub fn with_changes(base: &'a dyn RowReader, changes: RowChanges) -> Self {
        Self { base, changes }
    }

    /// Sets a row. Its key is at most [`ROW_KEY_BYTES_MAX`] long.
    pub fn put(&mut self, table: RowTable, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.changes.insert((table, key.into()), Some(value.into()));
    }

    /// Removes a row.
    pub fn delete(&mut self, table: RowTable, key: impl Into<Bytes>) {
        self.changes.insert((table, key.into()), None);
    }

    /// What was changed.
    pub fn changes(&self) -> &RowChanges {
        &self.changes
    }

    /// Gives the changes back.
    pub fn into_changes(self) -> RowChanges {
        self.changes
    }
}

impl RowReader for RowOverlay<'_> {
    fn get(&self, table: RowTable, key: &[u8]) -> Result<Option<Bytes>> {
        match self.changes.get(&(table, Bytes::copy_from_slice(key))) {
            Some(change) => Ok(change.clone()),
            None => self.base.get(table, key),
        }
    }

    fn get_many(&self, table: RowTable, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        if self.changes.is_empty() {
            return self.base.get_many(table, keys);
        }
        let mut values = Vec::with_capacity(keys.len());
        let mut missing = Vec::new();
        for (at, key) in keys.iter().enumerate() {
            match self.changes.get(&(table, Bytes::copy_from_slice(key))) {
                Some(change) => values.push(change.clone()),
                None => {
                    values.push(None);
                    missing.push(at);
                }
            }
        }
        if !missing.is_empty() {
            let wanted: Vec<&[u8]> = missing.iter().map(|at| keys[*at]).collect();
            for (at, value) in missing.into_iter().zip(self.base.get_many(table, &wanted)?) {
                values[at] = value;
            }
        }
        Ok(values)
    }

    fn scan(&self, table: RowTable, scan: &Scan) -> Result<Page> {
        let mut scan = scan.clone();
        loop {
            match self.page(table, &scan)? {
                Next::Page(page) => return Ok(page),
                // Everything on the base's page was removed: the caller needs a last key to go on from, so read on here.
                Next::After(last) => scan = scan.after(last),
            }
        }
    }
}

/// What one page of the base comes to.
enum Next {
    Page(Page),
    /// Nothing, and there is more behind this key.
    After(Bytes),
}

impl RowOverlay<'_> {
    fn page(&self, table: RowTable, scan: &Scan) -> Result<Next> {
        if scan.is_empty() {
            return Ok(Next::Page(Page::default()));
        }
        let mut page = self.base.scan(table, scan)?;
        if self.changes.is_empty() {
            return Ok(Next::Page(page));
        }
        // Changes that lie in the part of the range which this page of the base covers.
        let mut covered = scan.clone();
        let last = page.rows.last().filter(|_| page.more).map(|(last, _)| last.clone());
        if let Some(last) = &last {
            let end = Bound::Included(last.clone());
            match scan.direction {
                Direction::Forward => covered.end = end,
                Direction::Backward => covered.start = end,
            }
        }
        let range = self.changes.range((start_in(table, &covered.start), end_in(table, &covered.end)));
        let changed = range.map(|((_, key), value)| (key, value));
        // Behind one row more than are wanted, no change can show on this page.
        let mut wanted = scan.page_rows() + 1;
        let enough = |(_, value): &(&Bytes, &Option<Bytes>)| {
            let more = wanted > 0;
            wanted = wanted.saturating_sub(usize::from(value.is_some()));
            more
        };
        let changed: Vec<(&Bytes, &Option<Bytes>)> = match scan.direction {
            Direction::Forward => changed.take_while(enough).collect(),
            Direction::Backward => changed.rev().take_while(enough).collect(),
        };
        if changed.is_empty() {
            return Ok(Next::Page(page));
        }
        let mut merged: BTreeMap<Bytes, Bytes> = page.rows.drain(..).collect();
        for (key, value) in changed {
            match value {
                Some(value) => merged.insert(key.clone(), value.clone()),
                None => merged.remove(key),
            };
        }
        let mut rows: Vec<Row> = merged.into_iter().collect();
        if scan.direction == Direction::Backward {
            rows.reverse();
        }
        let limit = scan.page_rows();
        if rows.len() > limit {
            rows.truncate(limit);
            page.more = true;
        }
        if let (true, Some(last)) = (rows.is_empty(), last) {
            return Ok(Next::After(last));
        }
        page.rows = rows;
        Ok(Next::Page(page))
    }
}

/// The lower end of a scan, among the changes of all tables.
fn start_in(table: RowTable, start: &Bound<Bytes>) -> Bound<(RowTable, Bytes)> {
    match start {
        Bound::Included(start) => Bound::Included((table, start.clone())),
        Bound::Excluded(start) => Bound::Excluded((table, start.clone())),
        Bound::Unbounded => Bound::Included((table, Bytes::new())),
    }
}

/// The upper end.
fn end_in(table: RowTable, end: &Bound<Bytes>) -> Bound<(RowTable, Bytes)> {
    match (end, table) {
        (Bound::Included(end), _) => Bound::Included((table, end.clone())),
        (Bound::Excluded(end), _) => Bound::Excluded((table, end.clone())),
        (Bound::Unbounded, RowTable::State) => Bound::Excluded((RowTable::Losing, Bytes::new())),
        (Bound::Unbounded, RowTable::Losing) => Bound::Unbounded,
    }
}

/// One entry's payload for one store, with its stamp.
#[derive(Clone, Copy, Debug)]
pub struct StampedPayload<'a> {
    /// When and by which entry it was written.
    pub stamp: Stamp,
    /// Number of the entry in this replica's arrival log; for [`RowTable::Losing`] only.
    pub arrival: u64,
    /// Version of the body, from its envelope.
    pub version: u16,
    /// The body.
    pub body: &'a [u8],
}

/// What applying a payload did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It took part in the merge; these are the places it wrote to, in the kind's own text form, at most [`PATHS_MAX`].
    Folded {
        /// Where it wrote.
        paths: Vec<String>,
    },
    /// It has no effect on any replica of this version, for this reason: it can't be decoded.
    NoEffect {
        /// Why.
        reason: String,
    },
}

/// Most paths that [`Applied::Folded`] names; a payload that wrote to more names their common ancestors.
pub const PATHS_MAX: usize = 1_024;

/// What undoing a payload did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undone {
    /// The rows are as if it had never been applied.
    Done,
    /// This kind can't undo it: the store's rows must be derived again from its entries.
    Rebuild,
}

/// What payloads of one kind mean, and how concurrent ones merge.
///
/// - **F1** `apply` commutes, associates and is idempotent over stamped payloads: the [`RowTable::State`] rows depend on the set
///   of payloads applied, not on their order or repetition.
/// - **F2** State rows don't depend on anything local: no arrival number, no clock, no randomness.
/// - **F3** `apply` costs in the order of the payload times its depth, whatever the length of history: it reads and writes only
///   rows that the payload names. Row keys have at most [`ROW_KEY_BYTES_MAX`] bytes, and it tells of at most [`PATHS_MAX`] paths.
/// - **F4** Whatever bytes a payload has, `apply` answers [`Applied::NoEffect`] or folds it; it never panics, and it fails only
///   when the rows can't be read.
/// - **F5** `undo` after `apply` gives the rows without that payload, or answers [`Undone::Rebuild`] and changes nothing.
/// - **F6** `semantics` changes whenever the same payloads would give other rows. It is never 0: that marks rows which lack
///   something.
pub trait Store: Send + Sync + 'static {
    /// The kind and the version of its payloads: `doc/1`.
    fn kind(&self) -> &'static str;

    /// Number of the folding rules, from 1; rows derived under another number are derived again.
    fn semantics(&self) -> u32;

    /// Folds a payload into the rows.
    ///
    /// # Errors
    /// Those of the rows alone.
    fn apply(&self, rows: &mut RowOverlay<'_>, payload: &StampedPayload<'_>) -> Result<Applied>;

    /// Takes a payload out of the rows again.
    ///
    /// # Errors
    /// Those of the rows alone.
    fn undo(&self, rows: &mut RowOverlay<'_>, payload: &StampedPayload<'_>) -> Result<Undone>;

    /// Writes the state as one JSON value.
    ///
    /// # Errors
    /// Those of the rows and of `out`; [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for what JSON can't say.
    fn export_json(&self, rows: &dyn RowReader, out: &mut dyn std::io::Write) -> Result<()>;
}

/// What a typed handle has staged in its transaction, before it is a payload.
pub trait Draft: Any + Send {
    /// The body of the payload, with its version; `None` if nothing was staged.
    ///
    /// # Errors
    /// [`ErrorKind::LimitExceeded`](crate::ErrorKind::LimitExceeded) when it is too large for one payload.
    fn encode(&mut self) -> Result<Option<(u16, Vec<u8>)>>;

    /// For the handle to find its own type again.
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

/// The place where the handles of one store in one transaction keep what they staged.
pub type DraftSlot = Option<Box<dyn Draft>>;

/// A store inside a transaction or viewer, as its typed handle sees it.
pub trait StoreTx: Send + Sync {
    /// The store's name.
    fn name(&self) -> &str;

    /// The store's rows as the transaction began; without what was staged.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`](crate::ErrorKind::Closed) after the transaction has ended; those of the backend.
    fn rows(&self) -> Result<Arc<dyn RowReader>>;

    /// What was staged so far, to read. Lock it briefly: never across a call into other code.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`](crate::ErrorKind::Closed) after the transaction has ended.
    fn draft(&self) -> Result<MutexGuard<'_, DraftSlot>>;

    /// The same, to stage something.
    ///
    /// # Errors
    /// As [`StoreTx::draft`]; [`ErrorKind::PermissionDenied`](crate::ErrorKind::PermissionDenied) in a viewer.
    fn draft_mut(&self) -> Result<MutexGuard<'_, DraftSlot>>;

    /// Random bytes.
    fn random(&self) -> [u8; 16];

    /// The wall time, for what people see and sort by: nothing that merges may depend on it.
    fn now(&self) -> Timestamp;
}

/// A typed handle: how people read and write stores of one kind.
///
/// `transaction.get_store::<S>(name)` opens it. Kinds from other crates are as good as ours.
pub trait StoreHandle: Sized + Send + 'static {
    /// The kind whose payloads it writes.
    const KIND: &'static str;

    /// A handle on this store.
    ///
    /// # Errors
    /// Those of the store.
    fn open(store: Arc<dyn StoreTx>) -> Result<Self>;
}
