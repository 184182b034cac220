//! Where bytes rest: an ordered key-value store with snapshots and atomic batches.
//!
//! A backend knows nothing of entries, trees or rights: the engine owns the key layout. Calls block and are shaped
//! for batches; the engine moves them off async threads.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};

/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 1_024;
/// Longest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 1 << 20;
/// Most rows that one scan returns, whatever its limit says.
pub const PAGE_ROWS_MAX: usize = 4_096;

/// What a backend can do beyond the mandatory contract.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackendCapabilities {
    /// After [`Backend::flush`] returns, what was committed before survives power loss.
    pub durable: bool,
    /// Several processes may open the same data at once; preconditions hold across them.
    pub shared_by_processes: bool,
    /// [`Backend::watch`] reports commits of other processes, not only of this one.
    pub watches_others: bool,
}

impl BackendCapabilities {
    /// Survives power loss after a flush.
    #[must_use]
    pub const fn durable(mut self) -> Self {
        self.durable = true;
        self
    }

    /// May be opened by several processes at once.
    #[must_use]
    pub const fn shared_by_processes(mut self) -> Self {
        self.shared_by_processes = true;
        self
    }

    /// Reports commits of other processes through [`Backend::watch`].
    #[must_use]
    pub const fn watches_others(mut self) -> Self {
        self.watches_others = true;
        self
    }

    /// The names of what is declared, sorted, as the command line prints them and `require = [..]` lists them.
    pub fn names(&self) -> Vec<&'static str> {
        [
            ("durable", self.durable),
            ("shared-by-processes", self.shared_by_processes),
            ("watches-others", self.watches_others),
        ]
        .into_iter()
        .filter_map(|(name, declared)| declared.then_some(name))
        .collect()
    }
}

/// Direction of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Ascending byte order.
    Forward,
    /// Descending byte order.
    Backward,
}

/// A range of keys to read, in which direction, and how many rows at most.
///
/// ```
/// use eidetica_kernel::backend::{Direction, Scan};
///
/// let scan = Scan::prefix(b"user/").limit(10).backward();
/// assert!(scan.contains(b"user/zoe"));
/// assert!(!scan.contains(b"user0"));
/// assert_eq!(scan.direction, Direction::Backward);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scan {
    /// Lower end of the keys.
    pub start: Bound<Bytes>,
    /// Upper end of the keys.
    pub end: Bound<Bytes>,
    /// Direction of travel.
    pub direction: Direction,
    /// Rows wanted at most; at least 1 is served, and never more than [`PAGE_ROWS_MAX`].
    pub limit: usize,
}

impl Scan {
    /// Every key of the backend.
    pub fn all() -> Self {
        Self {
            start: Bound::Unbounded,
            end: Bound::Unbounded,
            direction: Direction::Forward,
            limit: PAGE_ROWS_MAX,
        }
    }

    /// Keys that begin with `prefix`.
    pub fn prefix(prefix: &[u8]) -> Self {
        let end = match prefix_end(prefix) {
            Some(end) => Bound::Excluded(Bytes::from(end)),
            None => Bound::Unbounded,
        };
        Self { start: Bound::Included(Bytes::copy_from_slice(prefix)), end, ..Self::all() }
    }

    /// Keys from `start` (included) to `end` (excluded).
    pub fn range(start: impl Into<Bytes>, end: impl Into<Bytes>) -> Self {
        Self { start: Bound::Included(start.into()), end: Bound::Excluded(end.into()), ..Self::all() }
    }

    /// At most `rows` rows.
    #[must_use]
    pub fn limit(mut self, rows: usize) -> Self {
        self.limit = rows;
        self
    }

    /// From the highest key to the lowest.
    #[must_use]
    pub fn backward(mut self) -> Self {
        self.direction = Direction::Backward;
        self
    }

    /// The rest of this scan behind a page whose last key was `last`.
    #[must_use]
    pub fn after(mut self, last: Bytes) -> Self {
        match self.direction {
            Direction::Forward => self.start = Bound::Excluded(last),
            Direction::Backward => self.end = Bound::Excluded(last),
        }
        self
    }

    /// Rows to serve in one page: the limit, within `1..=PAGE_ROWS_MAX`.
    pub fn page_rows(&self) -> usize {
        self.limit.clamp(1, PAGE_ROWS_MAX)
    }

    /// `true` if no key can lie in the range (also when its ends are the wrong way round).
    pub fn is_empty(&self) -> bool {
        match (&self.start, &self.end) {
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
            (Bound::Included(start), Bound::Included(end)) => start > end,
            (
                Bound::Included(start) | Bound::Excluded(start),
                Bound::Excluded(end) | Bound::Included(end),
            ) => start >= end,
        }
    }

    /// `true` if `key` lies in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        (match &self.start {
            Bound::Included(start) => key >= &start[..],
            Bound::Excluded(start) => key > &start[..],
            Bound::Unbounded => true,
        }) && match &self.end {
            Bound::Included(end) => key <= &end[..],
            Bound::Excluded(end) => key < &end[..],
            Bound::Unbounded => true,
        }
    }

    /// The ends as slices, for an ordered map's `range`.
    pub fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        fn slice(bound: &Bound<Bytes>) -> Bound<&[u8]> {
            match bound {
                Bound::Included(key) => Bound::Included(key),
                Bound::Excluded(key) => Bound::Excluded(key),
                Bound::Unbounded => Bound::Unbounded,
            }
        }
        (slice(&self.start), slice(&self.end))
    }
}

/// The smallest byte string above every string that begins with `prefix`; `None` when there is none.
pub fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// One key with its value.
pub type Row = (Bytes, Bytes);

/// One page of a scan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The rows, in the scan's direction.
    pub rows: Vec<Row>,
    /// `true` if the range may hold more behind the last row; go on with [`Scan::after`].
    pub more: bool,
}

/// What must hold of a key for a batch to be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// The key has no value.
    Absent(Bytes),
    /// The key has exactly this value.
    Equals(Bytes, Bytes),
}

impl Precondition {
    /// The key it speaks of.
    pub fn key(&self) -> &Bytes {
        match self {
            Self::Absent(key) | Self::Equals(key, _) => key,
        }
    }

    /// `true` if it holds when the key's value is `current`.
    pub fn holds(&self, current: Option<&[u8]>) -> bool {
        match self {
            Self::Absent(_) => current.is_none(),
            Self::Equals(_, value) => current == Some(&value[..]),
        }
    }
}

/// One write of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Sets a key.
    Put(Bytes, Bytes),
    /// Removes a key; removing what isn't there is no error.
    Delete(Bytes),
}

impl Write {
    /// The key it writes.
    pub fn key(&self) -> &Bytes {
        match self {
            Self::Put(key, _) | Self::Delete(key) => key,
        }
    }
}

/// Preconditions and writes that happen together or not at all.
///
/// Of several writes to one key the last one stands.
///
/// ```
/// use eidetica_kernel::backend::Batch;
///
/// let mut batch = Batch::new();
/// batch.expect_absent("counter").put("counter", "1");
/// assert_eq!(batch.writes().len(), 1);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    preconditions: Vec<Precondition>,
    writes: Vec<Write>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty batch with room for so many writes.
    ///
    /// ```
    /// use eidetica_kernel::backend::Batch;
    ///
    /// assert_eq!(Batch::with_capacity(8), Batch::new());
    /// ```
    pub fn with_capacity(writes: usize) -> Self {
        Self { preconditions: Vec::with_capacity(1), writes: Vec::with_capacity(writes) }
    }

    /// Applies only if `key` has no value.
    pub fn expect_absent(&mut self, key: impl Into<Bytes>) -> &mut Self {
        self.preconditions.push(Precondition::Absent(key.into()));
        self
    }

    /// Applies only if `key` has exactly `value`.
    pub fn expect_equals(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> &mut Self {
        self.preconditions.push(Precondition::Equals(key.into(), value.into()));
        self
    }

    /// Sets `key`.
    pub fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> &mut Self {
        self.writes.push(Write::Put(key.into(), value.into()));
        self
    }

    /// Removes `key`.
    pub fn delete(&mut self, key: impl Into<Bytes>) -> &mut Self {
        self.writes.push(Write::Delete(key.into()));
        self
    }

    /// The preconditions, in the order they were added.
    pub fn preconditions(&self) -> &[Precondition] {
        &self.preconditions
    }

    /// The writes, in the order they were added.
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// `true` if it neither expects nor writes anything.
    pub fn is_empty(&self) -> bool {
        self.preconditions.is_empty() && self.writes.is_empty()
    }

    /// Splits it into preconditions and writes.
    pub fn into_parts(self) -> (Vec<Precondition>, Vec<Write>) {
        (self.preconditions, self.writes)
    }

    /// Checks keys and values against [`KEY_BYTES_MAX`] and [`VALUE_BYTES_MAX`]; an empty key is refused too. Every
    /// backend calls this first in [`Backend::commit`].
    ///
    /// # Errors
    /// [`ErrorKind::LimitExceeded`] or [`ErrorKind::InvalidInput`], naming the key.
    pub fn check_limits(&self) -> Result<()> {
        let keys = self.preconditions.iter().map(Precondition::key).chain(self.writes.iter().map(Write::key));
        for key in keys {
            check_key(key)?;
        }
        for write in &self.writes {
            if let Write::Put(key, value) = write
                && value.len() > VALUE_BYTES_MAX
            {
                return Err(Error::new(
                    ErrorKind::LimitExceeded,
                    "writing the value of",
                    KeyText(key),
                    format_args!("it has {} bytes, {VALUE_BYTES_MAX} are allowed", value.len()),
                ));
            }
        }
        Ok(())
    }
}

/// Checks that a key isn't empty and not longer than [`KEY_BYTES_MAX`].
///
/// # Errors
/// [`ErrorKind::LimitExceeded`] or [`ErrorKind::InvalidInput`], naming the key.
pub fn check_key(key: &[u8]) -> Result<()> {
    if key.is_empty() {
        return Err(Error::new(ErrorKind::InvalidInput, "using a key", "", "it is empty"));
    }
    if key.len() > KEY_BYTES_MAX {
        return Err(Error::new(
            ErrorKind::LimitExceeded,
            "using the key",
            KeyText(key),
            format_args!("it has {} bytes, {KEY_BYTES_MAX} are allowed", key.len()),
        ));
    }
    Ok(())
}

/// Shows a key in an error message: printable as it is, else as hex, shortened.
pub struct KeyText<'a>(pub &'a [u8]);

impl std::fmt::Display for KeyText<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = &self.0[..self.0.len().min(48)];
        write!(f, "\"{}\"", shown.escape_ascii())?;
        if shown.len() < self.0.len() { f.write_str("…") } else { Ok(()) }
    }
}

/// A consistent view of the data at one moment.
///
/// Invariants, cited by the conformance suite:
///
/// - **S1** It shows every batch committed before it was taken and none committed after.
/// - **S2** It may expire: from then on every call fails with [`ErrorKind::Expired`], never with wrong data.
/// - **S3** Holding it doesn't block writers.
pub trait Snapshot: Send + Sync {
    /// The value of `key`.
    ///
    /// # Errors
    /// [`ErrorKind::Expired`] when the snapshot is gone; [`ErrorKind::Io`], [`ErrorKind::Corrupt`].
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>>;

    /// The values of `keys`, in their order.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        keys.iter().map(|key| self.get(key)).collect()
    }

    /// One page of rows.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    fn scan(&self, scan: &Scan) -> Result<Page>;
}

/// Tells when something under a prefix may have changed.
///
/// A hint: changes may be reported together, and a wake-up without a change is allowed. A change after the last
/// [`Watch::changed`] is never missed.
pub trait Watch: Send {
    /// `true` if something under the prefix may have changed since the last call. Doesn't block.
    fn changed(&mut self) -> bool;
}

/// Where bytes rest.
///
/// Invariants, cited by the conformance suite:
///
/// - **B1** A batch is applied whole or not at all, also across a crash and under a full disk.
/// - **B2** A batch is applied only if every precondition holds at that moment; else [`ErrorKind::Conflict`] and no
///   effect. Checking and applying are one step for all users of the data, other processes included.
/// - **B3** Keys are ordered bytewise. A scan returns each key of its range once, in order, in pages.
/// - **B4** What a call returned `Ok` for is seen by every later read of this handle.
/// - **B5** After `flush` returned `Ok`, all batches committed before it was called survive a crash of the process, and
///   power loss where [`BackendCapabilities::durable`] is declared. Of batches not flushed, a prefix in commit order
///   survives.
/// - **B6** Keys of 1 to [`KEY_BYTES_MAX`] and values of 0 to [`VALUE_BYTES_MAX`] bytes are accepted, longer ones refused with
///   [`ErrorKind::LimitExceeded`] before anything is written.
/// - **B7** All calls may come from several threads at once; concurrent `flush` calls share their work.
/// - **B8** After `close`, every call fails with [`ErrorKind::Closed`]; closing twice is harmless.
/// - **B9** Nothing panics on any input; a failed call leaves the data as it was.
pub trait Backend: Send + Sync + 'static {
    /// What this backend can do.
    fn capabilities(&self) -> BackendCapabilities;

    /// The value of `key` now.
    ///
    /// # Errors
    /// [`ErrorKind::Io`], [`ErrorKind::Corrupt`], [`ErrorKind::Closed`].
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>>;

    /// The values of `keys`, in their order; all from one moment.
    ///
    /// # Errors
    /// As [`Backend::get`].
    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>>;

    /// One page of rows.
    ///
    /// # Errors
    /// As [`Backend::get`].
    fn scan(&self, scan: &Scan) -> Result<Page>;

    /// A consistent view of now.
    ///
    /// # Errors
    /// As [`Backend::get`].
    fn snapshot(&self) -> Result<Arc<dyn Snapshot>>;

    /// Applies a batch if its preconditions hold. Visible at once; durable after [`Backend::flush`].
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if a precondition doesn't hold, [`ErrorKind::LimitExceeded`], [`ErrorKind::Full`],
    /// [`ErrorKind::Io`], [`ErrorKind::Closed`]. The data is as it was.
    fn commit(&self, batch: Batch) -> Result<()>;

    /// Makes everything committed so far durable.
    ///
    /// # Errors
    /// [`ErrorKind::Full`], [`ErrorKind::Io`], [`ErrorKind::Closed`]. What was committed stays visible.
    fn flush(&self) -> Result<()>;

    /// Watches the keys under `prefix`. `None` if this backend can't; the caller then polls.
    fn watch(&self, prefix: &[u8]) -> Option<Box<dyn Watch>>;

    /// Flushes and releases files, locks and connections.
    ///
    /// # Errors
    /// As [`Backend::flush`]; the backend is closed all the same.
    fn close(&self) -> Result<()>;
}

/// Reads every row of a scan, page by page.
///
/// # Errors
/// What `page` returned.
pub fn for_each_row(
    mut scan: Scan,
    mut page: impl FnMut(&Scan) -> Result<Page>,
    mut row: impl FnMut(Row) -> Result<()>,
) -> Result<()> {
    loop {
        let Page { rows, more } = page(&scan)?;
        let last = rows.last().map(|(key, _)| key.clone());
        for each in rows {
            row(each)?;
        }
        match last {
            Some(last) if more => scan = scan.after(last),
            _ => return Ok(()),
        }
    }
}
