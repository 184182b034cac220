//! The entries a database consists of.

use std::collections::VecDeque;

use eidetica_kernel::backend::Scan;
use eidetica_kernel::{Id, KeyId, Result, SignedEntry, SyncError, Timestamp, ToId};

use crate::database::Database;
use crate::engine::layout::{Arrival, TreeKeys};
use crate::engine::read;
use crate::engine::records::{Flags, corrupt, decode_entry};

/// Entries read at a time.
const PAGE_ENTRIES: usize = 256;

/// How an entry came to be held here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// It was committed through this instance.
    Local,
    /// A peer brought it.
    Peer,
}

/// What an entry says of itself, and whether it has an effect.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntryInfo {
    /// Its id: the hash of what it says.
    pub id: Id,
    /// Who signed it.
    pub author: KeyId,
    /// When, by its author's clock; never before the entries it follows.
    pub time: Timestamp,
    /// The entries it follows; empty for the root.
    pub parents: Vec<Id>,
    /// Names of the stores it writes to, the system's included; sorted.
    pub stores: Vec<String>,
    /// Whether it has an effect. Rights decide: [`Database::why`] says which.
    pub counts: bool,
    /// Whether it was committed here or brought by a peer.
    pub origin: Origin,
}

impl EntryInfo {
    fn new(flags: Flags, entry: &SignedEntry) -> Self {
        let header = entry.header();
        Self {
            id: entry.id(),
            author: header.author,
            time: header.clock.time(),
            parents: header.parents.clone(),
            stores: header.stores.iter().map(|store| store.name.clone()).collect(),
            counts: flags.counts,
            origin: Origin::of(flags),
        }
    }
}

impl Origin {
    pub(crate) fn of(flags: Flags) -> Self {
        if flags.local { Self::Local } else { Self::Peer }
    }
}

impl Database {
    /// Every entry that is held, those without effect included, in the order in which they came here.
    ///
    /// No entry comes before one that it follows; between replicas the order differs otherwise. What is added while the
    /// iteration goes on isn't part of it. Memory is bounded by a page of 256 headers.
    ///
    /// ```
    /// # use eidetica::{Instance, backend::InMemory, crdt::Doc, store::DocStore};
    /// # let instance = Instance::open(Box::new(InMemory::new()))?;
    /// # instance.create_user("alice", None)?;
    /// # let user = instance.login_user("alice", None)?;
    /// # let database = user.create_database(Doc::new(), &user.get_default_key()?)?;
    /// let transaction = database.new_transaction()?;
    /// transaction.get_store::<DocStore>("notes")?.set("title", "Groceries")?;
    /// let id = transaction.commit()?;
    ///
    /// let entries = database.entries()?.collect::<eidetica::Result<Vec<_>>>()?;
    /// assert_eq!(entries[0].id, *database.root_id());
    /// assert_eq!((entries[1].id, &entries[1].stores[..]), (id, &["notes".to_owned()][..]));
    /// # Ok::<(), eidetica::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`SyncError::InstanceDropped`] after [`Instance::close`](crate::Instance::close); each item may be an error of the
    /// backend, after which the iteration is over.
    pub fn entries(&self) -> Result<Entries> {
        self.inner.check_open()?;
        let to = self.tree.head().next_arrival;
        Ok(Entries { database: self.clone(), next: 0, to, page: VecDeque::new() })
    }

    /// One entry that is held.
    ///
    /// # Errors
    /// `is_not_found()` if it isn't; those of the backend.
    pub fn entry(&self, id: impl ToId) -> Result<EntryInfo> {
        self.inner.check_open()?;
        let id = id.to_id()?;
        let (flags, entry) = read::entry(&*self.tree.shared.live, self.tree.keys, &id)?
            .ok_or_else(|| eidetica_kernel::Error::from(SyncError::EntryNotFound { entry: id }))?;
        Ok(EntryInfo::new(flags, &entry))
    }
}

/// The iterator of [`Database::entries`].
#[derive(Debug)]
pub struct Entries {
    database: Database,
    next: Arrival,
    to: Arrival,
    page: VecDeque<EntryInfo>,
}

impl Entries {
    fn read_page(&mut self) -> Result<()> {
        self.database.inner.check_open()?;
        let tree = &self.database.tree;
        let scan = Scan::range(tree.keys.entry(self.next), tree.keys.entry(self.to)).limit(PAGE_ENTRIES);
        let page = tree.shared.live.scan(&scan)?;
        for (key, row) in &page.rows {
            let arrival =
                TreeKeys::arrival_in(key).ok_or_else(|| corrupt("the arrival log", "a key is malformed"))?;
            let (flags, entry) = decode_entry(row)?;
            self.page.push_back(EntryInfo::new(flags, &entry));
            self.next = arrival + 1;
        }
        if !page.more {
            self.next = self.to;
        }
        Ok(())
    }
}

impl Iterator for Entries {
    type Item = Result<EntryInfo>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.page.is_empty() && self.next < self.to {
            if let Err(error) = self.read_page() {
                self.page.clear();
                self.next = self.to;
                return Some(Err(error));
            }
        }
        self.page.pop_front().map(Ok)
    }
}

impl std::iter::FusedIterator for Entries {}
