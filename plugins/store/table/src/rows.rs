//! Rows that a scan or a query gives, one after the other.

use std::marker::PhantomData;

use eidetica_kernel::Result;
use eidetica_kernel::backend::Scan;
use eidetica_kernel::store::{RowReader, RowTable};
use serde::de::DeserializeOwned;

use crate::cell;
use crate::draft::Access;
use crate::id::RowId;
use crate::index::{IndexValue, Wanted};
use crate::read::{self, Reading};
use crate::row;
use crate::shape::{self, Fields};

/// Index rows read in one call.
const PAGE_ROWS: usize = 256;

/// Rows with their ids, read in pages as they are asked for: memory is bounded, whatever the table's size.
///
/// It ends after an error, a row that doesn't fit `T` included. Changing the table while going through it may show a row as it was, or twice: collect first what will be changed.
pub struct Rows<'t, T> {
    access: &'t Access,
    from: From,
    failed: bool,
    of: PhantomData<fn() -> T>,
}

pub(crate) enum From {
    Table(Reading),
    Index(Index),
}

/// Reads rows by one field's index.
pub(crate) struct Index {
    field: String,
    wanted: Wanted,
    /// What is still to be read; `None` at the end.
    scan: Option<Scan>,
    page: std::vec::IntoIter<RowId>,
}

impl<'t, T> Rows<'t, T> {
    pub(crate) fn new(access: &'t Access, from: From) -> Self {
        Self { access, from, failed: false, of: PhantomData }
    }
}

impl<T: DeserializeOwned> Rows<'_, T> {
    fn read(&mut self) -> Result<Option<(RowId, T)>> {
        let from = &mut self.from;
        let found = self.access.read(|rows| match from {
            From::Table(reading) => reading.next(rows),
            From::Index(index) => index.next(rows),
        })?;
        let Some((id, fields)) = found else { return Ok(None) };
        Ok(Some((id, shape::from_fields(&fields, "reading the row", id)?)))
    }
}

impl<T: DeserializeOwned> Iterator for Rows<'_, T> {
    type Item = Result<(RowId, T)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let item = self.read().transpose();
        self.failed = matches!(item, Some(Err(_)));
        item
    }
}

impl<T> std::fmt::Debug for Rows<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").finish_non_exhaustive()
    }
}

impl Index {
    pub(crate) fn new(field: &str, wanted: Wanted) -> Self {
        let scan = Some(wanted.scan(&row::index_prefix(field)).limit(PAGE_ROWS));
        Self { field: field.to_owned(), wanted, scan, page: Vec::new().into_iter() }
    }

    fn next(&mut self, rows: &dyn RowReader) -> Result<Option<(RowId, Fields)>> {
        loop {
            for id in self.page.by_ref() {
                // A row that was deleted while somebody wrote to it elsewhere stands in the index without being there.
                let Some(fields) = read::fields(rows, id)? else { continue };
                let value = fields.get(&self.field).and_then(|value| cell::decode(value).ok());
                if value
                    .and_then(|value| IndexValue::of(&value))
                    .is_some_and(|value| self.wanted.contains(&value))
                {
                    return Ok(Some((id, fields)));
                }
            }
            let Some(scan) = self.scan.take() else { return Ok(None) };
            let page = rows.scan(RowTable::State, &scan)?;
            if let (true, Some((last, _))) = (page.more, page.rows.last()) {
                self.scan = Some(scan.after(last.clone()));
            }
            let ids: Result<Vec<RowId>> = page.rows.iter().map(|(key, _)| row::indexed_row(key)).collect();
            self.page = ids?.into_iter();
        }
    }
}
