//! How people read and write a doc store.

use std::sync::{Arc, Mutex};

use eidetica_kernel::store::{DraftSlot, RowReader, StoreTx};
use eidetica_kernel::{Error, ErrorKind, Result, StoreHandle};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::doc::Doc;
use crate::draft::{DocDraft, Staged, lock};
use crate::path::{Segment, ToPath};
use crate::payload::Container;
use crate::place::{self, Step};
use crate::read::{Children, Elements};
use crate::resolve::{Place, missing, resolve, short};
use crate::value::Value;

const READING: &str = "reading";
const WRITING: &str = "writing";
const DELETING: &str = "deleting";

/// A document in a transaction: nested maps, lists and scalars.
///
/// `set`, `get`, `delete` and their like take one key of the root, verbatim; the `*_path` methods take a [path](ToPath).
/// Reads see what was staged through any handle on this store in the same transaction. Nothing is written before the
/// transaction commits. Writing to a path makes the maps that lead there; a scalar in the way gives way.
///
/// ```
/// use eidetica_conformance::store::TestTx;
/// use eidetica_kernel::StoreHandle;
/// use eidetica_store_doc::DocStore;
///
/// let store = DocStore::open(TestTx::new())?; // in a program: transaction.get_store::<DocStore>("data")?
/// store.set_string("message", "Hello World")?;
/// store.set_path("user.name", "Alice")?;
/// store.set_path("user.age", 30)?;
/// store.push("user.tags", "admin")?;
///
/// assert_eq!(store.get_string("message")?, "Hello World");
/// assert_eq!(store.get_path("user.age")?.as_i64(), Some(30));
/// assert_eq!(store.get_path("user.tags.0")?, "admin");
/// assert!(store.get("missing").unwrap_err().is_not_found());
/// # Ok::<(), eidetica_kernel::Error>(())
/// ```
pub struct DocStore {
    store: Arc<dyn StoreTx>,
}

impl StoreHandle for DocStore {
    const KIND: &'static str = crate::fold::KIND;

    fn open(store: Arc<dyn StoreTx>) -> Result<Self> {
        Ok(Self { store })
    }
}

impl std::fmt::Debug for DocStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DocStore").field("name", &self.store.name()).finish()
    }
}

/// One key of the root.
impl DocStore {
    /// Sets the value under a key.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the root is a list, or for an integer above `i64::MAX`;
    /// [`ErrorKind::LimitExceeded`]; [`ErrorKind::Closed`] after the transaction has ended;
    /// [`ErrorKind::PermissionDenied`] in a viewer; those of the backend.
    pub fn set(&self, key: impl AsRef<str>, value: impl Into<Value>) -> Result<()> {
        self.set_at(&[Segment::from(key.as_ref())], value.into())
    }

    /// Sets text under a key.
    ///
    /// # Errors
    /// As [`DocStore::set`].
    pub fn set_string(&self, key: impl AsRef<str>, value: impl Into<String>) -> Result<()> {
        self.set(key, Value::Text(value.into()))
    }

    /// The value under a key.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] without one; [`ErrorKind::Closed`] after the transaction has ended; those of the backend.
    pub fn get(&self, key: impl AsRef<str>) -> Result<Value> {
        self.get_at(&[Segment::from(key.as_ref())])
    }

    /// The text under a key.
    ///
    /// # Errors
    /// As [`DocStore::get`]; [`ErrorKind::InvalidInput`] for what isn't text.
    pub fn get_string(&self, key: impl AsRef<str>) -> Result<String> {
        match self.get(key.as_ref())? {
            Value::Text(text) => Ok(text),
            other => Err(mismatch(&[Segment::from(key.as_ref())], &other, "text")),
        }
    }

    /// Deletes a key, and what is below it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if it isn't there; as [`DocStore::set`].
    pub fn delete(&self, key: impl AsRef<str>) -> Result<()> {
        self.delete_at(&[Segment::from(key.as_ref())])
    }

    /// `true` if the key is there.
    ///
    /// # Errors
    /// As [`DocStore::get`], except that a missing key is no error.
    pub fn contains(&self, key: impl AsRef<str>) -> Result<bool> {
        self.contains_at(&[Segment::from(key.as_ref())])
    }

    /// Stores what serde makes of `value` under a key.
    ///
    /// # Errors
    /// As [`DocStore::set`]; [`ErrorKind::InvalidInput`] for what has no place in a document.
    pub fn put<T: Serialize + ?Sized>(&self, key: impl AsRef<str>, value: &T) -> Result<()> {
        self.set(key, crate::serde::to_value(value)?)
    }

    /// What serde makes of the value under a key.
    ///
    /// # Errors
    /// As [`DocStore::get`]; [`ErrorKind::InvalidInput`] if it doesn't fit.
    pub fn get_as<T: DeserializeOwned>(&self, key: impl AsRef<str>) -> Result<T> {
        crate::serde::from_value(self.get(key)?)
    }
}

/// Paths.
impl DocStore {
    /// Sets the value at a path.
    ///
    /// # Errors
    /// As [`DocStore::set`]; [`ErrorKind::NotFound`] for an index that a list doesn't have.
    pub fn set_path(&self, path: impl ToPath, value: impl Into<Value>) -> Result<()> {
        self.set_at(&path.to_path(), value.into())
    }

    /// The value at a path.
    ///
    /// # Errors
    /// As [`DocStore::get`].
    pub fn get_path(&self, path: impl ToPath) -> Result<Value> {
        self.get_at(&path.to_path())
    }

    /// Deletes a path, and what is below it. An element of a list leaves the list.
    ///
    /// # Errors
    /// As [`DocStore::delete`].
    pub fn delete_path(&self, path: impl ToPath) -> Result<()> {
        self.delete_at(&path.to_path())
    }

    /// `true` if something is at the path.
    ///
    /// # Errors
    /// As [`DocStore::contains`].
    pub fn contains_path(&self, path: impl ToPath) -> Result<bool> {
        self.contains_at(&path.to_path())
    }

    /// Stores what serde makes of `value` at a path.
    ///
    /// # Errors
    /// As [`DocStore::put`].
    pub fn put_path<T: Serialize + ?Sized>(&self, path: impl ToPath, value: &T) -> Result<()> {
        self.set_path(path, crate::serde::to_value(value)?)
    }

    /// What serde makes of the value at a path.
    ///
    /// # Errors
    /// As [`DocStore::get_as`].
    pub fn get_path_as<T: DeserializeOwned>(&self, path: impl ToPath) -> Result<T> {
        crate::serde::from_value(self.get_path(path)?)
    }
}

/// The whole document.
impl DocStore {
    /// The document as a map.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the root is a list or a scalar: then [`DocStore::root`] has it; as
    /// [`DocStore::get`].
    pub fn get_all(&self) -> Result<Doc> {
        match self.root()? {
            Value::Map(doc) => Ok(doc),
            other => Err(mismatch(&[], &other, "a map").hint("read it with root()")),
        }
    }

    /// The document, whatever its root is; an empty map where nothing was ever written.
    ///
    /// # Errors
    /// As [`DocStore::get`].
    pub fn root(&self) -> Result<Value> {
        self.get_at(&[])
    }

    /// Replaces the document.
    ///
    /// # Errors
    /// As [`DocStore::set`].
    pub fn set_root(&self, value: impl Into<Value>) -> Result<()> {
        self.set_at(&[], value.into())
    }

    /// The keys of the root map, ascending.
    ///
    /// # Errors
    /// As [`DocStore::get_all`].
    pub fn keys(&self) -> Result<Vec<String>> {
        self.keys_at(&[])
    }

    /// The keys of the map at a path, ascending. What lies below them isn't read.
    ///
    /// # Errors
    /// As [`DocStore::get`]; [`ErrorKind::InvalidInput`] if it isn't a map.
    pub fn keys_of(&self, path: impl ToPath) -> Result<Vec<String>> {
        self.keys_at(&path.to_path())
    }

    /// Keys and values of the root map, ascending by key. Values are read as they are asked for; a key that was deleted
    /// meanwhile is left out.
    ///
    /// # Errors
    /// As [`DocStore::get_all`].
    pub fn iter(&self) -> Result<impl Iterator<Item = Result<(String, Value)>> + '_> {
        let keys = self.keys()?;
        Ok(keys.into_iter().filter_map(|key| match self.get(&key) {
            Ok(value) => Some(Ok((key, value))),
            Err(error) if error.is_not_found() => None,
            Err(error) => Some(Err(error)),
        }))
    }

    /// Writes the document as JSON to `out` as it is read, compact or pretty.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`], naming the path, for NaN, infinities and bytes; those of `out`; as [`DocStore::get`].
    pub fn write_json(&self, out: &mut dyn std::io::Write, pretty: bool) -> Result<()> {
        self.read(|rows| crate::export::write(rows, out, pretty))
    }
}

/// Lists.
impl DocStore {
    /// Appends to the list at a path; makes the list if nothing is there.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if something else is there; as [`DocStore::set`].
    pub fn push(&self, list: impl ToPath, value: impl Into<Value>) -> Result<()> {
        self.extend(list, [value.into()])
    }

    /// Appends to the list at a path, all in one run that concurrent ones don't break; makes the list if nothing is there.
    ///
    /// # Errors
    /// As [`DocStore::push`].
    pub fn extend(
        &self,
        list: impl ToPath,
        values: impl IntoIterator<Item = impl Into<Value>>,
    ) -> Result<()> {
        let values = values.into_iter().map(Into::into).collect();
        self.write(&list.to_path(), |staged, rows, place| {
            check_list(&place, &list.to_path())?;
            staged.append(rows, &place.path, values)
        })
    }

    /// Inserts before the element that is the `index`-th of the list at a path.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the list is shorter than `index`; as [`DocStore::push`].
    pub fn insert(&self, list: impl ToPath, index: usize, value: impl Into<Value>) -> Result<()> {
        let value = value.into();
        let segments = list.to_path();
        self.write(&segments, |staged, rows, place| {
            check_list(&place, &segments)?;
            let len = staged.read(rows, |rows| list_len(rows, &place))?;
            match index {
                index if index > len => Err(no_index(&segments, index, len)),
                index if index == len => staged.append(rows, &place.path, vec![value]),
                index => staged.insert(rows, &place.path, index, vec![value]),
            }
        })
    }

    /// Removes the `index`-th element of the list at a path.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none; as [`DocStore::push`].
    pub fn remove(&self, list: impl ToPath, index: usize) -> Result<()> {
        let mut segments = list.to_path();
        segments.push(Segment::Index(index));
        self.delete_at(&segments)
    }

    /// Moves the `from`-th element of the list at a path to where it is the `to`-th. It stays the same element:
    /// concurrent changes to it stay with it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the list doesn't have both indexes; as [`DocStore::push`].
    pub fn move_item(&self, list: impl ToPath, from: usize, to: usize) -> Result<()> {
        let segments = list.to_path();
        self.write(&segments, |staged, rows, place| {
            check_list(&place, &segments)?;
            let len = staged.read(rows, |rows| list_len(rows, &place))?;
            match from.max(to) {
                index if index >= len => Err(no_index(&segments, index, len)),
                _ => staged.move_item(rows, &place.path, from, to),
            }
        })
    }

    /// How many keys the map, or elements the list, at a path has.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if it is a scalar; as [`DocStore::get`].
    pub fn len(&self, path: impl ToPath) -> Result<usize> {
        let segments = path.to_path();
        self.read(|rows| {
            let place = resolve(rows, &segments, READING)?;
            let node = place.node.as_ref().ok_or_else(|| missing(READING, &segments))?;
            match node.container() {
                Some(Container::List) => list_len(rows, &place),
                Some(Container::Map) => {
                    let mut children = Children::of(rows, &place.path, node.floor);
                    let mut count = 0;
                    while children.next()?.is_some() {
                        count += 1;
                    }
                    Ok(count)
                }
                None => Err(Error::new(ErrorKind::InvalidInput, READING, short(&segments), "it is a scalar")),
            }
        })
    }
}

impl DocStore {
    fn set_at(&self, segments: &[Segment], value: Value) -> Result<()> {
        self.write(segments, |staged, rows, place| staged.set(rows, &place.path, value))
    }

    fn get_at(&self, segments: &[Segment]) -> Result<Value> {
        self.read(|rows| {
            let place = resolve(rows, segments, READING)?;
            let node = place.node.ok_or_else(|| missing(READING, segments))?;
            crate::export::value(rows, &place.path, &node)
        })
    }

    fn delete_at(&self, segments: &[Segment]) -> Result<()> {
        self.write(segments, |staged, rows, place| {
            if place.node.is_none() {
                return Err(missing(DELETING, segments));
            }
            staged.delete(rows, &place.path)
        })
    }

    fn contains_at(&self, segments: &[Segment]) -> Result<bool> {
        let found = self.read(|rows| resolve(rows, segments, READING).map(|place| place.node.is_some()));
        match found {
            Err(error) if error.is_not_found() => Ok(false),
            other => other,
        }
    }

    fn keys_at(&self, segments: &[Segment]) -> Result<Vec<String>> {
        self.read(|rows| {
            let place = resolve(rows, segments, READING)?;
            let node = place.node.ok_or_else(|| missing(READING, segments))?;
            if node.container() != Some(Container::Map) {
                return Err(Error::new(ErrorKind::InvalidInput, READING, short(segments), "it isn't a map"));
            }
            let mut children = Children::of(rows, &place.path, node.floor);
            let mut keys = Vec::new();
            while let Some((path, _)) = children.next()? {
                if let Some(Step::Key(key)) = place::step(&path[place.path.len()..]) {
                    keys.push(key.into_owned());
                }
            }
            Ok(keys)
        })
    }

    /// Reads with what is staged. The transaction's lock is held only to find it.
    fn read<R>(&self, read: impl FnOnce(&dyn RowReader) -> Result<R>) -> Result<R> {
        let rows = self.store.rows()?;
        let staged = match &mut *self.store.draft()? {
            None => None,
            slot => Some(find(slot)?),
        };
        match staged {
            None => read(&*rows),
            Some(staged) => lock(&staged).read(&*rows, read),
        }
    }

    fn write<R>(
        &self,
        segments: &[Segment],
        write: impl FnOnce(&mut Staged, &dyn RowReader, Place) -> Result<R>,
    ) -> Result<R> {
        let rows = self.store.rows()?;
        let random = self.store.random();
        let staged = {
            let mut slot = self.store.draft_mut()?;
            slot.get_or_insert_with(|| Box::new(DocDraft::new(random)));
            find(&mut slot)?
        };
        let mut staged = lock(&staged);
        let place = staged.read(&*rows, |rows| resolve(rows, segments, WRITING))?;
        write(&mut staged, &*rows, place)
    }
}

fn find(slot: &mut DraftSlot) -> Result<Arc<Mutex<Staged>>> {
    let draft = slot.as_mut().and_then(|draft| draft.as_any_mut().downcast_mut::<DocDraft>());
    draft.map(|draft| Arc::clone(&draft.0)).ok_or_else(|| {
        let reason = "what is staged there belongs to a store of another kind";
        Error::new(ErrorKind::Bug, "opening a doc store", "", reason)
    })
}

fn list_len(rows: &dyn RowReader, place: &Place) -> Result<usize> {
    let Some(node) = &place.node else { return Ok(0) };
    let mut elements = Elements::of(rows, &place.path, node.floor);
    let mut count = 0;
    while elements.next()?.is_some() {
        count += 1;
    }
    Ok(count)
}

fn check_list(place: &Place, segments: &[Segment]) -> Result<()> {
    match &place.node {
        None => Ok(()),
        Some(node) if node.container() == Some(Container::List) => Ok(()),
        // An empty document is an empty map that nobody made.
        Some(_) if place.path.is_empty() => {
            let reason = "the root is a map or a scalar, not a list";
            Err(Error::new(ErrorKind::InvalidInput, WRITING, short(segments), reason)
                .hint("make it one: set_root(Value::List(vec![]))"))
        }
        Some(_) => Err(Error::new(ErrorKind::InvalidInput, WRITING, short(segments), "it isn't a list")),
    }
}

fn no_index(segments: &[Segment], index: usize, len: usize) -> Error {
    let reason = format!("it has {len} elements, none of them is number {index}");
    Error::new(ErrorKind::NotFound, WRITING, short(segments), reason).hint("lists count from 0")
}

fn mismatch(segments: &[Segment], found: &Value, wanted: &str) -> Error {
    let subject = if segments.is_empty() { "the root".to_owned() } else { short(segments) };
    Error::new(
        ErrorKind::InvalidInput,
        READING,
        subject,
        format_args!("it is {}, not {wanted}", found.describe()),
    )
}
