//! The rows with the versions that live snapshots still see.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use eidetica_kernel::backend::{Direction, Page, Precondition, Row, Scan, Write};

use crate::key::Key;

/// Number of a commit; a snapshot of moment `m` sees what was written at moments up to `m`.
pub(crate) type Moment = u64;

/// Sees every commit.
pub(crate) const NOW: Moment = Moment::MAX;

/// Values up to this size are copied: a small value may be cut from a large buffer and would keep it alive.
const COPIED_BYTES_MAX: usize = 16 << 10;

/// Superseded versions tidied away in one commit besides one per write. Bounds what a commit behind a long-lived
/// snapshot pays, and is more than a commit can leave behind.
const TIDIED_EXTRA: usize = 16;

/// A multi-version ordered map.
///
/// Invariant: a row has older versions only while `superseded` names it, and a row without a value (deleted) only while
/// it has older versions.
#[derive(Default)]
pub(crate) struct Rows {
    map: BTreeMap<Key, Versions>,
    moment: Moment,
    /// Which row got a new version over one that a snapshot saw, and when; in order of the moments.
    superseded: VecDeque<(Moment, Key)>,
}

type Older = VecDeque<(Moment, Option<Bytes>)>;

struct Versions {
    written: Moment,
    value: Option<Bytes>,
    /// Oldest first. `None` for nearly all rows.
    older: Option<Box<Older>>,
}

impl Versions {
    fn at(&self, moment: Moment) -> Option<&Bytes> {
        if self.written <= moment {
            return self.value.as_ref();
        }
        let older = self.older.as_ref()?;
        older.iter().rev().find(|(written, _)| *written <= moment)?.1.as_ref()
    }
}

impl Rows {
    /// The moment of the newest commit.
    pub(crate) fn moment(&self) -> Moment {
        self.moment
    }

    pub(crate) fn get(&self, key: &[u8], moment: Moment) -> Option<&Bytes> {
        self.map.get(key)?.at(moment)
    }

    pub(crate) fn scan(&self, scan: &Scan, moment: Moment) -> Page {
        if scan.is_empty() {
            return Page::default();
        }
        let visible = |(key, versions): (&Key, &Versions)| {
            versions.at(moment).map(|value| (key.to_bytes(), value.clone()))
        };
        let range = self.map.range::<[u8], _>(scan.bounds());
        match scan.direction {
            Direction::Forward => page(scan.page_rows(), range.filter_map(visible)),
            Direction::Backward => page(scan.page_rows(), range.rev().filter_map(visible)),
        }
    }

    /// The first precondition that doesn't hold now.
    pub(crate) fn violated<'a>(&self, preconditions: &'a [Precondition]) -> Option<&'a Precondition> {
        preconditions
            .iter()
            .find(|expected| !expected.holds(self.get(expected.key(), NOW).map(|value| &value[..])))
    }

    /// Applies the writes as one commit. `oldest` and `newest` are the moments of the outermost live snapshots.
    pub(crate) fn apply(&mut self, writes: Vec<Write>, oldest: Option<Moment>, newest: Option<Moment>) {
        let moment = self.moment + 1;
        let tidied = writes.len() + TIDIED_EXTRA;
        for write in writes {
            match write {
                Write::Put(key, value) => self.write(&key, Some(compact(value)), moment, newest),
                Write::Delete(key) => self.write(&key, None, moment, newest),
            }
        }
        self.moment = moment;
        self.tidy(tidied, oldest);
    }

    fn write(&mut self, key: &[u8], value: Option<Bytes>, moment: Moment, newest: Option<Moment>) {
        match self.map.entry(Key::new(key)) {
            Entry::Vacant(row) => {
                if value.is_some() {
                    row.insert(Versions { written: moment, value, older: None });
                }
            }
            Entry::Occupied(mut row) => {
                let seen = newest.is_some_and(|newest| row.get().written <= newest);
                if seen {
                    self.superseded.push_back((moment, row.key().clone()));
                    let versions = row.get_mut();
                    let before = (versions.written, versions.value.take());
                    versions.older.get_or_insert_default().push_back(before);
                } else if value.is_none() && row.get().older.is_none() {
                    row.remove();
                    return;
                }
                let versions = row.get_mut();
                versions.written = moment;
                versions.value = value;
            }
        }
    }

    /// Drops up to `count` versions that no snapshot sees any more.
    fn tidy(&mut self, count: usize, oldest: Option<Moment>) {
        for _ in 0..count {
            match self.superseded.front() {
                Some((superseded, _)) if oldest.is_none_or(|oldest| *superseded <= oldest) => {}
                _ => return,
            }
            let Some((_, key)) = self.superseded.pop_front() else { return };
            let Entry::Occupied(mut row) = self.map.entry(key) else { continue };
            let versions = row.get_mut();
            // One entry of the queue stands for one version, and both are in order of time.
            if let Some(older) = &mut versions.older {
                older.pop_front();
                if older.is_empty() {
                    versions.older = None;
                }
            }
            if versions.older.is_none() && versions.value.is_none() {
                row.remove();
            }
        }
    }

    /// Rows held, deleted ones that a snapshot sees included.
    #[cfg(test)]
    pub(crate) fn held(&self) -> (usize, usize) {
        (self.map.len(), self.superseded.len())
    }
}

fn page(limit: usize, mut rows: impl Iterator<Item = Row>) -> Page {
    let rows_taken: Vec<Row> = rows.by_ref().take(limit).collect();
    Page { rows: rows_taken, more: rows.next().is_some() }
}

fn compact(value: Bytes) -> Bytes {
    if value.len() <= COPIED_BYTES_MAX { Bytes::copy_from_slice(&value) } else { value }
}
