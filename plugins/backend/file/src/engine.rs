//! The open database: fjall behind the kernel's shapes.

use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use eidetica_kernel::backend::{Direction, KEY_BYTES_MAX, Page, Precondition, Scan, Write};
use eidetica_kernel::error::{ErrorKind, Result};
use fjall::{
    Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode, Readable as _, Snapshot,
};

use crate::Options;
use crate::failure::{corrupt, failure};
use crate::folder::Folder;

const KEYSPACE: &str = "rows";

/// A page ends once it holds this many bytes, whatever its limit says.
const PAGE_BYTES_MAX: usize = 16 << 20;

/// fjall's database with its one keyspace. Fields drop in this order: the lock goes last.
pub(crate) struct Engine {
    rows: Keyspace,
    database: Database,
    folder: Folder,
}

impl Engine {
    pub(crate) fn open(options: &Options) -> Result<Self> {
        let folder = Folder::hold(&options.path)?;
        let path = folder.rows();
        if !exists(&path)? {
            let new = folder.new_rows()?;
            drop(create(&new, options)?);
            folder.remove_journals(&new)?;
            folder.install_rows(&new)?;
        }
        // Rows are put into place whole, so what is missing now was there once: never make it anew.
        if !exists(&path.join("version"))? {
            return Err(corrupt("opening", &path, "its file \"version\" is missing"));
        }
        folder.check_names()?;
        let (database, rows) = match recover(&path, options) {
            Err(error) if error.kind() == ErrorKind::Corrupt && folder.cut_torn_journal()? => {
                recover(&path, options)?
            }
            recovered => recovered?,
        };
        folder.restrict_files()?;
        Ok(Self { rows, database, folder })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.database.snapshot()
    }

    pub(crate) fn get(&self, snapshot: &Snapshot, key: &[u8]) -> Result<Option<Bytes>> {
        let value = snapshot.get(&self.rows, key).map_err(|error| failure("reading", self.path(), error))?;
        Ok(value.map(Bytes::from))
    }

    /// As it is now.
    pub(crate) fn get_now(&self, key: &[u8]) -> Result<Option<Bytes>> {
        let value = self.rows.get(key).map_err(|error| failure("reading", self.path(), error))?;
        Ok(value.map(Bytes::from))
    }

    pub(crate) fn scan(&self, snapshot: &Snapshot, scan: &Scan) -> Result<Page> {
        let mut page = Page::default();
        if scan.is_empty() {
            return Ok(page);
        }
        let mut range = snapshot.range::<&[u8], _>(&self.rows, within_key_length(scan.bounds()));
        let limit = scan.page_rows();
        let mut bytes = 0;
        loop {
            let next = match scan.direction {
                Direction::Forward => range.next(),
                Direction::Backward => range.next_back(),
            };
            let Some(row) = next else { return Ok(page) };
            if page.rows.len() == limit || bytes >= PAGE_BYTES_MAX {
                page.more = true;
                return Ok(page);
            }
            let (key, value) = row.into_inner().map_err(|error| failure("reading", self.path(), error))?;
            bytes += key.len() + value.len();
            page.rows.push((Bytes::from(key), Bytes::from(value)));
        }
    }

    /// The first precondition that doesn't hold now. The caller keeps other commits out.
    pub(crate) fn violated<'a>(&self, preconditions: &'a [Precondition]) -> Result<Option<&'a Precondition>> {
        for expected in preconditions {
            let value =
                self.rows.get(expected.key()).map_err(|error| failure("reading", self.path(), error))?;
            if !expected.holds(value.as_deref()) {
                return Ok(Some(expected));
            }
        }
        Ok(None)
    }

    /// Writes to the journal, hands it to the operating system and makes it visible.
    pub(crate) fn apply(&self, writes: Vec<Write>) -> Result<()> {
        let mut batch = fjall::OwnedWriteBatch::with_capacity(self.database.clone(), writes.len())
            .durability(Some(PersistMode::Buffer));
        for write in writes {
            match write {
                Write::Put(key, value) => batch.insert(&self.rows, key, value),
                Write::Delete(key) => batch.remove(&self.rows, key),
            }
        }
        batch.commit().map_err(|error| failure("writing to", self.path(), error))
    }

    /// Returns when the disk has confirmed everything applied so far.
    pub(crate) fn sync(&self) -> Result<()> {
        self.database.persist(PersistMode::SyncData).map_err(|error| failure("flushing", self.path(), error))
    }

    /// Lets go of the files. New ones, made since the folder was opened, lose other users' rights first.
    pub(crate) fn close(self) -> Result<()> {
        let Self { rows, database, folder } = self;
        drop(rows);
        drop(database);
        folder.restrict_files()
    }
}

/// The same range with ends no longer than a key: fjall panics on ends that no key could have.
fn within_key_length<'a>(
    (start, end): (Bound<&'a [u8]>, Bound<&'a [u8]>),
) -> (Bound<&'a [u8]>, Bound<&'a [u8]>) {
    // No key lies between an over-long end and its first KEY_BYTES_MAX bytes, which sort just before it.
    let start = match start {
        Bound::Included(key) | Bound::Excluded(key) if key.len() > KEY_BYTES_MAX => {
            Bound::Excluded(&key[..KEY_BYTES_MAX])
        }
        start => start,
    };
    let end = match end {
        Bound::Included(key) | Bound::Excluded(key) if key.len() > KEY_BYTES_MAX => {
            Bound::Included(&key[..KEY_BYTES_MAX])
        }
        end => end,
    };
    (start, end)
}

fn exists(path: &Path) -> Result<bool> {
    path.try_exists().map_err(|error| eidetica_kernel::Error::io("opening", path.display(), error))
}

fn create(path: &PathBuf, options: &Options) -> Result<Database> {
    let open = || -> fjall::Result<Database> {
        let database = builder(path, options).open()?;
        database.keyspace(KEYSPACE, || {
            let large =
                KvSeparationOptions::default().separation_threshold(options.large_value_bytes.max(256));
            KeyspaceCreateOptions::default()
                .max_memtable_size(options.write_buffer_bytes)
                .with_kv_separation(Some(large))
        })?;
        database.persist(PersistMode::SyncAll)?;
        Ok(database)
    };
    open().map_err(|error| failure("creating", path, error))
}

fn recover(path: &PathBuf, options: &Options) -> Result<(Database, Keyspace)> {
    let open = || -> fjall::Result<(Database, Option<Keyspace>)> {
        let database = builder(path, options).open()?;
        let rows = match database.keyspace_exists(KEYSPACE) {
            true => Some(database.keyspace(KEYSPACE, KeyspaceCreateOptions::default)?),
            false => None,
        };
        Ok((database, rows))
    };
    // fjall asserts that its folder holds what it once put there; a damaged one must not take the process down.
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(Ok((database, Some(rows)))) => Ok((database, rows)),
        Ok(Ok((_, None))) => Err(corrupt("opening", path, "its keyspace is missing")),
        Ok(Err(error)) => Err(failure("opening", path, error)),
        Err(_) => Err(corrupt("opening", path, "its files contradict each other")),
    }
}

fn builder(path: &PathBuf, options: &Options) -> fjall::DatabaseBuilder<Database> {
    Database::builder(path)
        .cache_size(options.cache_bytes)
        .max_journaling_size(options.journal_bytes_max.max(64 << 20))
}
