//! A database as it was, and what lies between two of its states.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use eidetica_kernel::error::excerpt;
use eidetica_kernel::store::{DraftSlot, RowChanges, RowOverlay, RowReader, Stamp, StoreHandle, StoreTx};
use eidetica_kernel::{Error, ErrorKind, Id, Result, SyncError, Timestamp, ToId};

use crate::database::Database;
use crate::engine::layout::Arrival;
use crate::engine::read;
use crate::engine::records::corrupt;
use crate::engine::rows::NoRows;
use crate::engine::stage::fold_into;
use crate::engine::tree::Tree;
use crate::subscription::written_paths;

static NO_ROWS: NoRows = NoRows;

/// A database as it was when some entries were its newest: reads only. [`Database::at`] gives it.
#[derive(Clone)]
pub struct Past {
    database: Database,
    tips: Vec<Id>,
    /// Ascending.
    arrivals: Arc<[Arrival]>,
}

/// What lies between two states of a database. [`Database::diff`] gives it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Diff {
    /// Entries that only the second state has, in causal order.
    pub added: Vec<Id>,
    /// Entries that only the first state has, in causal order.
    pub removed: Vec<Id>,
    /// Where those of them that have an effect wrote, by the store's name: sorted, each once. Writes are named whether or not the
    /// value came out different; [`Database::at`] has the values of both sides. Empty for `_rights`.
    pub stores: BTreeMap<String, Vec<String>>,
}

impl Database {
    /// The database as it was when these entries were its newest: they and everything in their past.
    ///
    /// What has no effect today (its author's rights were taken back to before it) has none there either. It costs in the order of
    /// that past, and 8 bytes of memory for each entry of it; each store that is opened is folded anew, in memory.
    ///
    /// ```
    /// # use eidetica::{Instance, backend::InMemory, crdt::Doc, store::DocStore};
    /// # let instance = Instance::open(Box::new(InMemory::new()))?;
    /// # instance.create_user("alice", None)?;
    /// # let user = instance.login_user("alice", None)?;
    /// # let database = user.create_database(Doc::new(), &user.get_default_key()?)?;
    /// # let write = |title: &str| {
    /// #     let transaction = database.new_transaction()?;
    /// #     transaction.get_store::<DocStore>("notes")?.set("title", title)?;
    /// #     transaction.commit()
    /// # };
    /// write("Groceries")?;
    /// let before = database.tips();
    /// write("Errands")?;
    ///
    /// let notes = database.at(&before)?.get_store_viewer::<DocStore>("notes")?;
    /// assert_eq!(notes.get_string("title")?, "Groceries");
    /// assert_eq!(database.diff(&before, &database.tips())?.stores["notes"], ["title"]);
    /// # Ok::<(), eidetica::Error>(())
    /// ```
    ///
    /// # Errors
    /// `is_not_found()` for an entry that isn't held; [`ErrorKind::InvalidInput`] for text that is no id; those of the backend.
    pub fn at<T: ToId>(&self, tips: impl IntoIterator<Item = T>) -> Result<Past> {
        let (tips, past) = self.past(tips)?;
        Ok(Past { database: self.clone(), tips, arrivals: past.into_iter().collect() })
    }

    /// What lies between the states in which `before` and `after` were the newest entries. Neither need be in the other's past.
    ///
    /// It costs as [`Database::at`] does, with 16 bytes more for each entry, and holds what differs in memory.
    ///
    /// # Errors
    /// As [`Database::at`].
    pub fn diff<A: ToId, B: ToId>(
        &self,
        before: impl IntoIterator<Item = A>,
        after: impl IntoIterator<Item = B>,
    ) -> Result<Diff> {
        let ((_, before), (_, after)) = (self.past(before)?, self.past(after)?);
        let mut stores = BTreeMap::new();
        let added = self.written(after.difference(&before), &mut stores)?;
        let removed = self.written(before.difference(&after), &mut stores)?;
        let stores = stores.into_iter().map(|(store, paths)| (store, paths.into_iter().collect())).collect();
        Ok(Diff { added, removed, stores })
    }

    /// The ids of entries; where they wrote is added to `stores`.
    fn written<'a>(
        &self,
        arrivals: impl Iterator<Item = &'a Arrival>,
        stores: &mut BTreeMap<String, BTreeSet<String>>,
    ) -> Result<Vec<Id>> {
        let mut ids = Vec::new();
        for arrival in arrivals {
            let (flags, entry) = entry_of(&self.tree, *arrival)?;
            ids.push(entry.id());
            for (at, store) in entry.header().stores.iter().enumerate() {
                if flags.counts
                    && let Some(paths) = written_paths(&self.tree, *arrival, &entry, at)?
                {
                    stores.entry(store.name.clone()).or_default().extend(paths);
                }
            }
        }
        Ok(ids)
    }

    /// Numbers of these entries and of everything they depend on.
    fn past<T: ToId>(&self, tips: impl IntoIterator<Item = T>) -> Result<(Vec<Id>, BTreeSet<Arrival>)> {
        self.inner.check_open()?;
        let reader = &*self.tree.shared.live;
        let tips = tips.into_iter().map(|tip| tip.to_id()).collect::<Result<Vec<Id>>>()?;
        let mut past = BTreeSet::new();
        let mut todo = BinaryHeap::new();
        for tip in &tips {
            let arrival = read::arrival_of(reader, self.tree.keys, tip)?
                .ok_or_else(|| Error::from(SyncError::EntryNotFound { entry: *tip }))?;
            if past.insert(arrival) {
                todo.push(arrival);
            }
        }
        // From the newest on, each entry is read once.
        while let Some(arrival) = todo.pop() {
            let (_, entry) = entry_of(&self.tree, arrival)?;
            for dependency in entry.header().dependencies() {
                let arrival = read::arrival_of(reader, self.tree.keys, &dependency)?.ok_or_else(|| {
                    corrupt(format_args!("the entry {dependency}"), "its number is missing")
                })?;
                if past.insert(arrival) {
                    todo.push(arrival);
                }
            }
        }
        Ok((tips, past))
    }
}

impl Past {
    /// The entries it was asked for with.
    pub fn tips(&self) -> &[Id] {
        &self.tips
    }

    /// How many entries it consists of, those without effect included.
    pub fn entry_count(&self) -> usize {
        self.arrivals.len()
    }

    /// A handle that reads the store as it was; one without content if it wasn't there yet.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for a kind that isn't linked; those of the backend.
    pub fn get_store_viewer<S: StoreHandle>(&self, name: impl AsRef<str>) -> Result<S> {
        let name = name.as_ref();
        S::open(Arc::new(PastStore {
            database: self.database.clone(),
            name: name.to_owned(),
            rows: self.rows(name, S::KIND)?,
            draft: Mutex::default(),
        }))
    }

    /// A store's rows as they were.
    pub(crate) fn rows(&self, name: &str, kind_name: &str) -> Result<Arc<dyn RowReader>> {
        self.database.inner.check_open()?;
        let tree = &self.database.tree;
        let kind = tree.shared.stores.get(kind_name).ok_or_else(|| {
            let reason = format!("its kind \"{kind_name}\" isn't linked into this program");
            Error::new(ErrorKind::Unsupported, "opening the store", excerpt(name, 140), reason)
        })?;
        let mut changes = RowChanges::new();
        for arrival in self.arrivals.iter() {
            let (flags, entry) = entry_of(tree, *arrival)?;
            let mut stores = entry.header().stores.iter();
            let at = stores.position(|store| store.name == name && store.kind == kind_name);
            if let Some(at) = at.filter(|_| flags.counts)
                && let Some(payload) = read::payload(&*tree.shared.live, tree.keys, *arrival, &entry, at)?
            {
                let stamp = Stamp { clock: entry.header().clock, entry: entry.id() };
                fold_into(&**kind, &NO_ROWS, &mut changes, stamp, *arrival, &payload)?;
            }
        }
        Ok(Arc::new(RowOverlay::with_changes(&NO_ROWS, changes)))
    }
}

impl fmt::Debug for Past {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Past").field("tips", &self.tips).finish_non_exhaustive()
    }
}

fn entry_of(
    tree: &Tree,
    arrival: Arrival,
) -> Result<(crate::engine::records::Flags, eidetica_kernel::SignedEntry)> {
    read::entry_at(&*tree.shared.live, tree.keys, arrival)?
        .ok_or_else(|| corrupt("the arrival log", "an entry is missing"))
}

/// A store of a [`Past`].
struct PastStore {
    database: Database,
    name: String,
    rows: Arc<dyn RowReader>,
    draft: Mutex<DraftSlot>,
}

impl StoreTx for PastStore {
    fn name(&self) -> &str {
        &self.name
    }

    fn rows(&self) -> Result<Arc<dyn RowReader>> {
        self.database.inner.check_open()?;
        Ok(self.rows.clone())
    }

    fn draft(&self) -> Result<MutexGuard<'_, DraftSlot>> {
        self.database.inner.check_open()?;
        Ok(self.draft.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn draft_mut(&self) -> Result<MutexGuard<'_, DraftSlot>> {
        Err(Error::new(ErrorKind::PermissionDenied, "writing to the store", &self.name, "it shows the past")
            .hint("write through a transaction"))
    }

    fn random(&self) -> [u8; 16] {
        self.database.inner.runtime.context.rng.array()
    }

    fn now(&self) -> Timestamp {
        self.database.inner.runtime.context.clock.wall()
    }
}
