//! Transactions: a snapshot, what is staged on top of it, and the one entry it becomes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use eidetica_kernel::backend::Snapshot;
use eidetica_kernel::error::excerpt;
use eidetica_kernel::store::{DraftSlot, RowReader, StoreHandle, StoreTx};
use eidetica_kernel::{Error, ErrorKind, Id, Result, Timestamp};

use crate::database::Database;
use crate::engine::commit::StagedPayload;
use crate::engine::rows::{NoRows, Remembering, RowsRead, StoreRows};
use crate::past::Past;

/// Changes to one or several stores of a database that become one entry, or nothing.
///
/// It reads the database as it was when it first read, with its own changes on top. Dropping it leaves nothing behind.
///
/// ```
/// # use eidetica::{Instance, backend::InMemory, crdt::Doc};
/// use eidetica::store::DocStore;
///
/// # let instance = Instance::open(Box::new(InMemory::new()))?;
/// # instance.create_user("alice", None)?;
/// # let user = instance.login_user("alice", None)?;
/// # let database = user.create_database(Doc::new(), &user.get_default_key()?)?;
/// let transaction = database.new_transaction()?;
/// let notes = transaction.get_store::<DocStore>("notes")?;
/// notes.set("title", "Groceries")?;
/// assert_eq!(notes.get_string("title")?, "Groceries");
/// let entry = transaction.commit()?;
/// # Ok::<(), eidetica::Error>(())
/// ```
pub struct Transaction {
    pub(crate) shared: Arc<Shared>,
}

/// What a transaction's handles share.
pub(crate) struct Shared {
    database: Database,
    /// The tree's generation when it began.
    generation: u64,
    snapshot: OnceLock<Arc<dyn Snapshot>>,
    /// What it reads and follows in place of the newest state.
    base: Option<Past>,
    stores: Mutex<BTreeMap<(String, &'static str), Arc<TxStore>>>,
    ended: AtomicBool,
    writable: bool,
}

impl Transaction {
    pub(crate) fn begin(database: Database, base: Option<Past>) -> Result<Self> {
        database.inner.check_open()?;
        if base.as_ref().is_some_and(|past| past.tips().is_empty()) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "beginning a transaction on",
                format_args!("the database {}", database.root_id().short()),
                "no entry is named that it could follow",
            )
            .hint("name one at least; the database's root is the oldest"));
        }
        Ok(Self { shared: Arc::new(Shared { base, ..Shared::new(database, true) }) })
    }

    /// A handle on a store; the store comes into being with the first write.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for a name that is empty, too long, or begins with `_` and isn't `_settings`.
    pub fn get_store<S: StoreHandle>(&self, name: impl AsRef<str>) -> Result<S> {
        S::open(self.shared.store(name.as_ref(), S::KIND)?)
    }

    /// Makes one entry of what was staged, and waits until it is durable.
    ///
    /// # Errors
    /// `is_permission_denied()` when the key may not write there; [`ErrorKind::LimitExceeded`]; those of the backend.
    pub fn commit(self) -> Result<Id> {
        self.finish(None)
    }

    /// As [`Transaction::commit`], if nothing was committed to the database since this transaction began.
    ///
    /// # Errors
    /// `is_conflict()` if something was; else as [`Transaction::commit`].
    pub fn commit_if_unchanged(self) -> Result<Id> {
        let generation = self.shared.generation;
        self.finish(Some(generation))
    }

    /// As [`Transaction::commit`], without blocking the calling thread.
    ///
    /// # Errors
    /// As [`Transaction::commit`].
    pub fn commit_async(self) -> impl Future<Output = Result<Id>> + Send + use<> {
        let runtime = self.shared.database.inner.runtime.clone();
        let run = runtime.clone();
        runtime.run("committing", async move { run.blocking("committing", move || self.commit()).await })
    }

    fn finish(self, expected: Option<u64>) -> Result<Id> {
        let database = &self.shared.database;
        database.inner.check_open()?;
        let staged = self.shared.take()?;
        let base = self.shared.base.as_ref().map(Past::tips);
        let id = database.commit(&staged, None, expected, base)?;
        database.tree.shared.backend.flush()?;
        Ok(id)
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        // The stores point back here.
        self.shared.stores.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl std::fmt::Debug for Transaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction").field("database", &self.shared.database).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(database: Database, writable: bool) -> Self {
        let generation = database.tree.generation();
        Self {
            database,
            generation,
            snapshot: OnceLock::new(),
            base: None,
            stores: Mutex::default(),
            ended: AtomicBool::new(false),
            writable,
        }
    }

    /// The place of a store in this transaction; the same one for all its handles.
    pub(crate) fn store(self: &Arc<Self>, name: &str, kind: &'static str) -> Result<Arc<TxStore>> {
        use eidetica_kernel::entry::{NAME_BYTES_MAX, RIGHTS_STORE, SETTINGS_STORE};
        let refuse = |reason: &str| {
            Err(Error::new(ErrorKind::InvalidInput, "opening the store", excerpt(name, 140), reason))
        };
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return refuse("a store's name has 1 to 128 bytes");
        }
        if name == RIGHTS_STORE {
            return refuse("rights are changed through grant() and revoke()");
        }
        if self.writable && name.starts_with('_') && name != SETTINGS_STORE {
            return refuse("names that begin with \"_\" belong to the system");
        }
        let fresh = || {
            Arc::new(TxStore {
                shared: self.clone(),
                name: name.to_owned(),
                kind,
                rows: OnceLock::new(),
                past: OnceLock::new(),
                draft: Mutex::default(),
            })
        };
        if !self.writable {
            return Ok(fresh());
        }
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(stores.entry((name.to_owned(), kind)).or_insert_with(fresh).clone())
    }

    /// What was staged, encoded; the transaction is over.
    fn take(&self) -> Result<Vec<StagedPayload>> {
        self.ended.store(true, Ordering::Release);
        let stores = std::mem::take(&mut *self.stores.lock().unwrap_or_else(PoisonError::into_inner));
        let mut staged = Vec::with_capacity(stores.len());
        for ((name, kind), store) in stores {
            let draft = store.draft.lock().unwrap_or_else(PoisonError::into_inner).take();
            let Some(mut draft) = draft else { continue };
            if let Some((version, body)) = draft.encode()? {
                let read =
                    store.rows.get().map(|rows| RowsRead { generation: self.generation, rows: rows.clone() });
                staged.push(StagedPayload { name, kind: kind.to_owned(), version, body, read });
            }
        }
        Ok(staged)
    }

    fn snapshot(&self) -> Result<Arc<dyn Snapshot>> {
        if let Some(snapshot) = self.snapshot.get() {
            return Ok(snapshot.clone());
        }
        let fresh = self.database.tree.shared.backend.snapshot()?;
        Ok(self.snapshot.get_or_init(|| fresh).clone())
    }

    /// The backend as the transaction sees it.
    pub(crate) fn reader(&self) -> Result<Arc<dyn Snapshot>> {
        self.check()?;
        self.snapshot()
    }

    /// A typed handle on a store outside any transaction: it reads now's state, and writes nothing.
    pub(crate) fn viewer<S: StoreHandle>(database: Database, name: &str) -> Result<S> {
        database.inner.check_open()?;
        S::open(Arc::new(Self::new(database, false)).store(name, S::KIND)?)
    }

    fn check(&self) -> Result<()> {
        if self.ended.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Closed, "using a store", "", "its transaction has ended")
                .hint("get the store from a new transaction"));
        }
        self.database.inner.check_open()
    }
}

/// A store inside a transaction or viewer.
pub(crate) struct TxStore {
    shared: Arc<Shared>,
    name: String,
    kind: &'static str,
    /// Once the store exists.
    rows: OnceLock<Arc<Remembering<StoreRows>>>,
    /// Its rows where the transaction reads the past, folded when they are first asked for.
    past: OnceLock<Arc<dyn RowReader>>,
    draft: Mutex<DraftSlot>,
}

impl StoreTx for TxStore {
    fn name(&self) -> &str {
        &self.name
    }

    fn rows(&self) -> Result<Arc<dyn RowReader>> {
        self.shared.check()?;
        if let Some(base) = &self.shared.base {
            if let Some(rows) = self.past.get() {
                return Ok(rows.clone());
            }
            let rows = base.rows(&self.name, self.kind)?;
            return Ok(self.past.get_or_init(|| rows).clone());
        }
        let tree = &self.shared.database.tree;
        if let Some(rows) = self.rows.get() {
            return Ok(rows.clone());
        }
        let Some(store) = tree.store_no(&self.name, self.kind) else { return Ok(Arc::new(NoRows)) };
        let rows = StoreRows { snapshot: self.shared.snapshot()?, keys: tree.keys, store };
        if !self.shared.writable {
            return Ok(Arc::new(rows));
        }
        Ok(self.rows.get_or_init(|| Arc::new(Remembering::new(rows))).clone())
    }

    fn draft(&self) -> Result<MutexGuard<'_, DraftSlot>> {
        self.shared.check()?;
        Ok(self.draft.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn draft_mut(&self) -> Result<MutexGuard<'_, DraftSlot>> {
        if !self.shared.writable {
            return Err(Error::new(
                ErrorKind::PermissionDenied,
                "writing to the store",
                &self.name,
                "it is a viewer",
            )
            .hint("write through a transaction"));
        }
        self.draft()
    }

    fn random(&self) -> [u8; 16] {
        self.shared.database.inner.runtime.context.rng.array()
    }

    fn now(&self) -> Timestamp {
        self.shared.database.inner.runtime.context.clock.wall()
    }
}
