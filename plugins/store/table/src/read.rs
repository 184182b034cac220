//! Rows of the table as they stand.

use eidetica_kernel::Result;
use eidetica_kernel::backend::{Row, Scan};
use eidetica_kernel::store::{RowReader, RowTable};

use crate::id::RowId;
use crate::row::{self, Marker, Part};
use crate::shape::Fields;

/// State rows read in one call.
const PAGE_ROWS: usize = 512;

/// The fields of a row; `None` if it isn't there.
pub(crate) fn fields(rows: &dyn RowReader, id: RowId) -> Result<Option<Fields>> {
    let mut reading = Reading::new(Scan::prefix(&row::row_prefix(id)));
    Ok(reading.next(rows)?.map(|(_, fields)| fields))
}

/// Reads rows of the table one after the other, in pages.
pub(crate) struct Reading {
    /// What is still to be read; `None` at the end.
    scan: Option<Scan>,
    page: std::vec::IntoIter<Row>,
    /// The row that is being put together.
    current: Option<Current>,
}

struct Current {
    id: RowId,
    /// Without one, or where it says so, the row isn't there.
    marker: Option<Marker>,
    fields: Fields,
}

impl Reading {
    /// Reads the rows of the table whose keys lie in `scan`; it begins before a row's marker.
    pub(crate) fn new(scan: Scan) -> Self {
        Self { scan: Some(scan.limit(PAGE_ROWS)), page: Vec::new().into_iter(), current: None }
    }

    /// The next row that is there.
    pub(crate) fn next(&mut self, rows: &dyn RowReader) -> Result<Option<(RowId, Fields)>> {
        loop {
            let Some((key, value)) = self.next_part(rows)? else {
                return Ok(self.current.take().and_then(Current::finish));
            };
            let (id, part) = row::read_key(&key)?;
            let finished = match &self.current {
                Some(current) if current.id == id => None,
                _ => self.current.replace(Current { id, marker: None, fields: Fields::new() }),
            };
            if let Some(current) = &mut self.current {
                current.take(part, &value)?;
            }
            if let Some(row) = finished.and_then(Current::finish) {
                return Ok(Some(row));
            }
        }
    }

    fn next_part(&mut self, rows: &dyn RowReader) -> Result<Option<Row>> {
        loop {
            if let Some(row) = self.page.next() {
                return Ok(Some(row));
            }
            let Some(scan) = self.scan.take() else { return Ok(None) };
            let page = rows.scan(RowTable::State, &scan)?;
            if let (true, Some((last, _))) = (page.more, page.rows.last()) {
                self.scan = Some(scan.after(last.clone()));
            }
            self.page = page.rows.into_iter();
        }
    }
}

impl Current {
    fn take(&mut self, part: Part<'_>, value: &[u8]) -> Result<()> {
        match part {
            Part::Marker => self.marker = Some(row::read_marker(value)?),
            // The marker comes first: without one that says so, nothing of the row is there.
            Part::Field(name) => {
                let Some(marker) = self.marker.filter(|marker| marker.there) else { return Ok(()) };
                let field = row::read_field(value)?;
                if let Some(value) = field.value
                    && marker.cut.is_none_or(|cut| field.stamp >= cut)
                {
                    self.fields.insert(name.to_owned(), value.to_vec());
                }
            }
        }
        Ok(())
    }

    fn finish(self) -> Option<(RowId, Fields)> {
        self.marker.filter(|marker| marker.there).map(|_| (self.id, self.fields))
    }
}
