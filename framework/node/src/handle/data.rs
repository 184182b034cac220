//! Values in stores: set, get, import, export.

use std::cell::Cell;
use std::io::{self, BufReader, Read, Write};
use std::rc::Rc;
use std::time::{Duration, Instant};

use eidetica::crdt::Value;
use eidetica::crdt::{Import, json};
use eidetica::store::DocStore;
use eidetica::{Database, Error, ErrorKind};
use eidetica_kernel::error::excerpt;
use serde_json::json as object;

use super::Job;
use crate::failure::Failure;
use crate::pretty::Pretty;
use crate::request::{Event, Reply};

/// The store with the database's settings.
const SETTINGS: &str = "_settings";
/// The key in it with the database's name.
const NAME: &str = "name";
/// Longest text that one payload holds, with room for what goes with it.
const TEXT_BYTES_MAX: usize = 16 * 1_024 * 1_024 - 256 * 1_024;
/// Most values that are written as one entry.
const VALUES_MAX: usize = 200_000;
/// What a value, or a step into a list, takes beside its text and keys, at most.
const VALUE_BYTES: usize = 40;
/// How often progress is said.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

impl Job {
    pub(super) fn set(&self, db: &str, store: &str, path: &str, json: &str) -> Result<Reply, Failure> {
        let value = json::from_str(json)?;
        let named = path == NAME && value.as_str().is_some_and(|name| !name.trim().is_empty());
        keeps_name(store, named || !is_name(path))?;
        self.change(db, store, |store| store.set_path(path, value))
    }

    pub(super) fn delete(&self, db: &str, store: &str, path: &str) -> Result<Reply, Failure> {
        keeps_name(store, !is_name(path))?;
        let (database, _user) = self.open(db)?;
        find_store(&database, store)?;
        // Deleting what isn't there would look as if it had been.
        if !database.get_store_viewer::<DocStore>(store)?.contains_path(path)? {
            return Err(Failure::failed(format_args!(
                "there is nothing at {} in store {}",
                excerpt(path, 140),
                excerpt(store, 140)
            )));
        }
        self.change(db, store, |store| store.delete_path(path))
    }

    pub(super) fn append(&self, db: &str, store: &str, path: &str, json: &str) -> Result<Reply, Failure> {
        let value = json::from_str(json)?;
        keeps_name(store, !is_name(path))?;
        self.change(db, store, |store| store.push(path, value))
    }

    /// Changes a store by an entry of its own.
    fn change(
        &self,
        db: &str,
        store: &str,
        change: impl FnOnce(&DocStore) -> Result<(), Error>,
    ) -> Result<Reply, Failure> {
        let (database, _user) = self.open(db)?;
        let transaction = database.new_transaction()?;
        change(&transaction.get_store::<DocStore>(store)?)?;
        let entry = transaction.commit()?.to_string();
        Ok(Reply::new(object!({ "entry": entry }), ""))
    }

    pub(super) fn get(&self, db: &str, store: &str, path: Option<&str>) -> Result<Reply, Failure> {
        let Some(path) = path else { return self.export(db, Some(store), false) };
        let (database, _user) = self.open(db)?;
        find_store(&database, store)?;
        let value = database.get_store_viewer::<DocStore>(store)?.get_path(path)?;
        let mut out = self.pieces();
        json::to_writer(&value, &mut out, false)?;
        end(&mut out)
    }

    pub(super) fn export(&self, db: &str, store: Option<&str>, pretty: bool) -> Result<Reply, Failure> {
        let (database, _user) = self.open(db)?;
        let written = Rc::new(Cell::new(0));
        let counted = Counted {
            inner: self.pieces(),
            bytes: written,
            job: self,
            what: "writing",
            said: Instant::now(),
        };
        let mut out = Pretty::new(counted, pretty);
        match store {
            Some(store) => database.export_json(store, &mut out)?,
            None => {
                let stores = database.stores()?;
                let names = stores.iter().map(|(name, _)| name).filter(|name| !name.starts_with('_'));
                let mut before = "{";
                for name in names {
                    write!(out, "{before}{}:", json::to_string(&Value::from(name))?).map_err(lost)?;
                    before = ",";
                    database.export_json(name, &mut out)?;
                }
                write!(out, "{}", if before == "{" { "{}" } else { "}" }).map_err(lost)?;
            }
        }
        end(&mut out)
    }

    pub(super) fn import(
        &self,
        db: &str,
        store: &str,
        ndjson: bool,
        input: Box<dyn Read + Send>,
    ) -> Result<Reply, Failure> {
        let (database, _user) = self.open(db)?;
        // Whatever would refuse the store's name does so before the document is sent for.
        drop(database.new_transaction()?.get_store::<DocStore>(store)?);
        self.events.blocking_send(Event::Send).map_err(|_| Failure::failed("whoever asked went away"))?;
        let bytes = Rc::new(Cell::new(0));
        let counted =
            Counted { inner: input, bytes: bytes.clone(), job: self, what: "reading", said: Instant::now() };
        let reader = BufReader::with_capacity(64 * 1_024, counted);
        let root = if ndjson {
            Value::List(json::from_ndjson(reader).collect::<Result<_, _>>()?)
        } else {
            json::from_reader(reader)?
        };
        let named = root.as_doc().and_then(|settings| settings.get_string(NAME));
        keeps_name(store, named.is_some_and(|name| !name.trim().is_empty()))?;
        let whole = fits_one_entry(&root)?;
        let (mut entries, mut last) = (0_u64, String::new());
        if whole {
            let transaction = database.new_transaction()?;
            transaction.get_store::<DocStore>(store)?.set_root(root)?;
            last = transaction.commit()?.to_string();
            entries = 1;
        } else {
            let mut import = Import::new(root);
            database.atomically(|database| {
                while !import.is_done() {
                    let transaction = database.new_transaction()?;
                    import.stage(&transaction.get_store::<DocStore>(store)?)?;
                    last = transaction.commit()?.to_string();
                    entries += 1;
                    self.progress("writing", entries, None, "entries");
                }
                Ok(())
            })?;
        }
        Ok(Reply::new(object!({ "bytes": bytes.get(), "entries": entries, "entry": last }), ""))
    }
}

/// Whether a path of the settings leads to the database's name, or into it.
fn is_name(path: &str) -> bool {
    path.strip_prefix(NAME).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Refuses a change of the settings after which the database had no usable name.
fn keeps_name(store: &str, kept: bool) -> Result<(), Failure> {
    if store == SETTINGS && !kept {
        return Err(Failure::usage(
            "store _settings holds the database's name, which has to stay a text that isn't empty: \
             `eidetica set DB _settings name '\"…\"'`",
        ));
    }
    Ok(())
}

/// Ends text output: a line break, and everything on its way.
fn end(out: &mut impl Write) -> Result<Reply, Failure> {
    out.write_all(b"\n").and_then(|()| out.flush()).map_err(lost)?;
    Ok(Reply::default())
}

fn lost(error: io::Error) -> Failure {
    Failure::failed(format_args!("writing the answer: {error}"))
}

fn find_store(database: &Database, store: &str) -> Result<(), Failure> {
    if database.stores()?.iter().any(|(name, _)| name == store) {
        return Ok(());
    }
    Err(Failure::failed(format_args!("there is no store {} in this database", excerpt(store, 140))))
}

/// Whether one payload holds the document, by an estimate that is on the high side.
///
/// # Errors
/// [`ErrorKind::LimitExceeded`] for a text that no payload holds: before anything is written.
fn fits_one_entry(root: &Value) -> Result<bool, Error> {
    let (mut values, mut bytes) = (0_usize, 0_usize);
    let mut left = vec![(root, 0_usize)];
    while let Some((value, path)) = left.pop() {
        values += 1;
        bytes += path + VALUE_BYTES;
        match value {
            Value::Text(text) if text.len() > TEXT_BYTES_MAX => {
                let reason =
                    format!("a text of {} bytes; at most {TEXT_BYTES_MAX} fit in one entry", text.len());
                return Err(Error::new(ErrorKind::LimitExceeded, "importing", "", reason));
            }
            Value::Text(text) => bytes += text.len(),
            Value::Map(doc) => left.extend(doc.iter().map(|(key, value)| (value, path + key.len() + 4))),
            Value::List(list) => {
                // An element's position is a value of its own.
                values += list.len();
                bytes += list.len() * (path + 2 * VALUE_BYTES);
                left.extend(list.iter().map(|value| (value, path + VALUE_BYTES)));
            }
            _ => {}
        }
    }
    Ok(values <= VALUES_MAX && bytes <= TEXT_BYTES_MAX)
}

/// Counts the bytes that pass, and says so now and then.
struct Counted<'a, T> {
    inner: T,
    bytes: Rc<Cell<u64>>,
    job: &'a Job,
    what: &'static str,
    said: Instant,
}

impl<T> Counted<'_, T> {
    fn count(&mut self, bytes: usize) {
        self.bytes.set(self.bytes.get() + bytes as u64);
        if self.said.elapsed() >= PROGRESS_INTERVAL {
            self.said = Instant::now();
            self.job.progress(self.what, self.bytes.get(), None, "bytes");
        }
    }
}

impl<T: Read> Read for Counted<'_, T> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.inner.read(into)?;
        self.count(bytes);
        Ok(bytes)
    }
}

impl<T: Write> Write for Counted<'_, T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = self.inner.write(bytes)?;
        self.count(bytes);
        Ok(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_documents_that_one_payload_holds_are_taken_whole() {
        let text = |len: usize| Value::from("x".repeat(len));
        assert!(fits_one_entry(&text(TEXT_BYTES_MAX / 2)).unwrap());
        let both = Value::List(vec![text(TEXT_BYTES_MAX / 2), text(TEXT_BYTES_MAX / 2)]);
        assert!(!fits_one_entry(&both).unwrap());
        assert!(!fits_one_entry(&(0..VALUES_MAX as i64).collect()).unwrap());
        assert!(fits_one_entry(&(0..1_000_i64).collect()).unwrap());
        let error = fits_one_entry(&Value::List(vec![text(TEXT_BYTES_MAX + 1)])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    }
}
