//! How people read and write a table.

use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use bytes::Bytes;
use eidetica_kernel::backend::{Scan, prefix_end};
use eidetica_kernel::error::excerpt;
use eidetica_kernel::store::StoreTx;
use eidetica_kernel::{Error, ErrorKind, Result, StoreHandle};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::draft::{Access, Writes};
use crate::id::RowId;
use crate::index::{IntoRange, Wanted};
use crate::payload::{Action, FIELD_NAME_BYTES_MAX};
use crate::read::{self, Reading};
use crate::row::{self, ROWS};
use crate::rows::{From, Index, Rows};
use crate::shape::{self, Fields, WHOLE};

const READING: &str = "reading the row";
const WRITING: &str = "writing the row";

/// A table in a transaction: rows of a serde type, each with an id.
///
/// The fields of a struct, or the keys of a map, merge one by one; any other type is one field named "". Reads see what was
/// staged through any handle on this store in the same transaction. Nothing is written before the transaction commits.
///
/// ```
/// use eidetica_conformance::store::TestTx;
/// use eidetica_kernel::StoreHandle;
/// use eidetica_store_table::Table;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
/// struct Person { name: String, age: u32 }
///
/// let people = Table::<Person>::open(TestTx::new())?; // in a program: transaction.get_store::<Table<Person>>("people")?
/// people.ensure_index("age")?;
/// let alice = people.insert(&Person { name: "Alice".into(), age: 30 })?;
/// let bob = people.insert(&Person { name: "Bob".into(), age: 41 })?;
///
/// assert_eq!(people.find("age", 40..)?, [(bob, people.get(&bob)?)]);
/// people.update(&alice, &Person { age: 31, ..people.get(&alice)? })?;
/// assert_eq!(people.get(&alice)?.age, 31);
/// assert!(people.delete(&bob)?);
/// assert!(people.get(&bob).unwrap_err().is_not_found());
/// # Ok::<(), eidetica_kernel::Error>(())
/// ```
pub struct Table<T> {
    access: Access,
    of: PhantomData<fn(&T) -> T>,
}

impl<T: Serialize + DeserializeOwned + 'static> StoreHandle for Table<T> {
    const KIND: &'static str = crate::fold::KIND;

    fn open(store: Arc<dyn StoreTx>) -> Result<Self> {
        Ok(Self { access: Access(store), of: PhantomData })
    }
}

impl<T> std::fmt::Debug for Table<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("name", &self.access.0.name()).finish()
    }
}

/// Writing.
impl<T: Serialize + DeserializeOwned> Table<T> {
    /// Makes sure that rows can be found by this field.
    ///
    /// Every field whose value is null, a truth value, a number, text or bytes is found by it from the first row on; so this
    /// checks the name, writes nothing and costs nothing. What [`Table::find`] finds never depends on it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for a name longer than [`FIELD_NAME_BYTES_MAX`].
    pub fn ensure_index(&self, field: impl AsRef<str>) -> Result<()> {
        check_name(field.as_ref())
    }

    /// Adds a row. Ids ascend within a transaction, and between transactions with the wall clock.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for what has no place in a row: a value longer or deeper than the limits, field names that
    /// aren't text; [`ErrorKind::Closed`] after the transaction has ended; [`ErrorKind::PermissionDenied`] in a viewer;
    /// those of the backend.
    pub fn insert(&self, value: &T) -> Result<RowId> {
        let fields = shape::to_fields(value, WRITING)?;
        let id = self.access.new_id()?;
        self.access.stage(id, Action::Put, written(fields))?;
        Ok(id)
    }

    /// Replaces a row, or adds it under this id. A row that was deleted is there again. Fields that `T` doesn't know stay.
    ///
    /// # Errors
    /// As [`Table::insert`].
    pub fn put(&self, id: &RowId, value: &T) -> Result<()> {
        let new = shape::to_fields(value, WRITING)?;
        let mut writes = Writes::new();
        if let Some(old) = self.fields(*id)? {
            // What isn't a `T` at all has no fields that could stay.
            let known =
                shape::from_fields::<T>(&old, WRITING, id).and_then(|old| shape::to_fields(&old, WRITING));
            let known = known.unwrap_or_else(|_| old.clone());
            writes = removed(&old, &known, &new);
        }
        writes.extend(written(new));
        self.access.stage(*id, Action::Put, writes)
    }

    /// Changes a row: only fields that differ are written, so that concurrent changes of others stand. Fields that `T`
    /// doesn't know stay.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the row isn't there; [`ErrorKind::InvalidInput`] if it doesn't fit `T`; as
    /// [`Table::insert`].
    pub fn update(&self, id: &RowId, value: &T) -> Result<()> {
        let new = shape::to_fields(value, WRITING)?;
        let old = self.fields(*id)?.ok_or_else(|| missing(WRITING, *id))?;
        let known = shape::to_fields(&shape::from_fields::<T>(&old, WRITING, id)?, WRITING)?;
        let mut writes = removed(&old, &known, &new);
        writes.extend(written(new).into_iter().filter(|(name, value)| old.get(name) != value.as_ref()));
        if writes.is_empty() {
            return Ok(());
        }
        self.access.stage(*id, Action::Update, writes)
    }

    /// Deletes a row; `false` if it isn't there.
    ///
    /// # Errors
    /// As [`Table::insert`].
    pub fn delete(&self, id: &RowId) -> Result<bool> {
        let Some(fields) = self.fields(*id)? else { return Ok(false) };
        let writes = fields.into_keys().map(|name| (name, None)).collect();
        self.access.stage(*id, Action::Delete, writes)?;
        Ok(true)
    }
}

/// Reading.
impl<T: DeserializeOwned> Table<T> {
    /// A row.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if it isn't there; [`ErrorKind::InvalidInput`] if it doesn't fit `T`; [`ErrorKind::Closed`]
    /// after the transaction has ended; those of the backend.
    pub fn get(&self, id: &RowId) -> Result<T> {
        let fields = self.fields(*id)?.ok_or_else(|| missing(READING, *id))?;
        shape::from_fields(&fields, READING, id)
    }

    /// `true` if the row is there.
    ///
    /// # Errors
    /// As [`Table::get`], except that a missing row is no error.
    pub fn contains(&self, id: &RowId) -> Result<bool> {
        Ok(self.fields(*id)?.is_some())
    }

    /// The rows whose field is this value, or lies in this range: `find("age", 30)`, `find("age", 18..30)`. Ascending by value,
    /// then by id. Costs in the order of what it finds.
    ///
    /// Text and bytes that agree in their first 300 bytes come in the order of their ids.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for a name longer than [`FIELD_NAME_BYTES_MAX`]; as [`Table::get`].
    pub fn find(&self, field: impl AsRef<str>, range: impl IntoRange) -> Result<Vec<(RowId, T)>> {
        self.find_rows(field, range)?.collect()
    }

    /// As [`Table::find`], row by row: for results that shouldn't be in memory as a whole.
    ///
    /// # Errors
    /// As [`Table::find`].
    pub fn find_rows(&self, field: impl AsRef<str>, range: impl IntoRange) -> Result<Rows<'_, T>> {
        let field = field.as_ref();
        check_name(field)?;
        Ok(Rows::new(&self.access, From::Index(Index::new(field, Wanted::new(range)))))
    }

    /// All rows, ascending by id: in the order of their creation.
    pub fn scan(&self) -> Rows<'_, T> {
        self.scan_range(..)
    }

    /// The rows whose ids lie in a range, ascending.
    pub fn scan_range(&self, range: impl RangeBounds<RowId>) -> Rows<'_, T> {
        let behind = |id: &RowId| prefix_end(&row::row_prefix(*id)).map(Bytes::from);
        let all = Scan::prefix(&[ROWS]);
        let at = |id: &RowId| Bytes::from(row::row_prefix(*id));
        let mut scan = all.clone();
        scan.start = match range.start_bound() {
            Bound::Included(id) => Bound::Included(at(id)),
            Bound::Excluded(id) => behind(id).map_or(all.start, Bound::Included),
            Bound::Unbounded => all.start,
        };
        scan.end = match range.end_bound() {
            Bound::Included(id) => behind(id).map_or(all.end, Bound::Excluded),
            Bound::Excluded(id) => Bound::Excluded(at(id)),
            Bound::Unbounded => all.end,
        };
        Rows::new(&self.access, From::Table(Reading::new(scan)))
    }

    /// The rows of which a predicate holds, ascending by id. Every row is read.
    ///
    /// # Errors
    /// As [`Table::get`].
    pub fn filter(&self, mut predicate: impl FnMut(&T) -> bool) -> Result<Vec<(RowId, T)>> {
        self.scan().filter(|row| row.as_ref().map_or(true, |(_, row)| predicate(row))).collect()
    }

    /// How many rows there are. Every row is read; none is made a `T`.
    ///
    /// # Errors
    /// As [`Table::get`].
    pub fn count(&self) -> Result<usize> {
        let mut reading = Reading::new(Scan::prefix(&[ROWS]));
        let mut count = 0;
        while self.access.read(|rows| reading.next(rows))?.is_some() {
            count += 1;
        }
        Ok(count)
    }
}

impl<T> Table<T> {
    fn fields(&self, id: RowId) -> Result<Option<Fields>> {
        self.access.read(|rows| read::fields(rows, id))
    }
}

fn written(fields: Fields) -> Writes {
    fields.into_iter().map(|(name, value)| (name, Some(value))).collect()
}

/// What is to be removed of `old` for it to become `new`: what the type knows and doesn't write any more. A row is either
/// one whole or has fields.
fn removed(old: &Fields, known: &Fields, new: &Fields) -> Writes {
    let other_shape = old.contains_key(WHOLE) != new.contains_key(WHOLE);
    let gone = |name: &&String| !new.contains_key(*name) && (other_shape || known.contains_key(*name));
    old.keys().filter(gone).map(|name| (name.clone(), None)).collect()
}

fn check_name(field: &str) -> Result<()> {
    if field.len() <= FIELD_NAME_BYTES_MAX {
        return Ok(());
    }
    let reason = format!("a field's name has at most {FIELD_NAME_BYTES_MAX} bytes");
    Err(Error::new(ErrorKind::InvalidInput, "finding rows by", excerpt(field, 140), reason))
}

fn missing(operation: &'static str, id: RowId) -> Error {
    Error::new(ErrorKind::NotFound, operation, id, "it isn't there")
}
