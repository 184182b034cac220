//! One tree: its in-memory summary, loaded from the backend and kept under one lock.

use std::collections::{BTreeMap, HashMap};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use bytes::Bytes;
use eidetica_kernel::auth::{AuthPolicy, RightsTable};
use eidetica_kernel::backend::{Backend, Scan, Snapshot, for_each_row};
use eidetica_kernel::runtime::{Clock, Rng};
use eidetica_kernel::store::Store;
use eidetica_kernel::{Error, ErrorKind, HybridClock, Id, PublicKey, Result};
use parking_lot::{Condvar, MappedMutexGuard, Mutex, MutexGuard, RwLock};
use tokio::sync::watch;

use super::ingest::CONFLICTS_MAX;
use super::layout::{Arrival, AuthorNo, StoreNo, TreeKeys, TreeNo};
use super::line::Line;
use super::read;
use super::records::{Flags, StoreState, TreeHead, corrupt, decode};
use super::rights::{Frontier, Rights};
use super::rows::Live;
use super::waiting::Waiting;

/// Entry summaries kept in memory per tree.
const INFOS_MAX: usize = 4_096;
/// Authors whose last entry is kept in memory per tree.
const CHAIN_TIPS_MAX: usize = 4_096;

/// What every tree of an instance shares.
pub(crate) struct Shared {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) live: Arc<dyn Snapshot>,
    pub(crate) policies: BTreeMap<&'static str, Arc<dyn AuthPolicy>>,
    pub(crate) stores: BTreeMap<&'static str, Arc<dyn Store>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) rng: Arc<dyn Rng>,
}

impl Shared {
    pub(crate) fn new(
        backend: Arc<dyn Backend>,
        policies: Vec<Arc<dyn AuthPolicy>>,
        stores: Vec<Arc<dyn Store>>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Self {
        Self {
            live: Arc::new(Live(backend.clone())),
            backend,
            policies: policies.into_iter().map(|policy| (policy.kind(), policy)).collect(),
            stores: stores.into_iter().map(|store| (store.kind(), store)).collect(),
            clock,
            rng,
        }
    }
}

/// What is known of an entry that others depend on.
#[derive(Clone, Debug)]
pub(crate) struct Info {
    pub(crate) arrival: Arrival,
    pub(crate) clock: HybridClock,
    pub(crate) author: PublicKey,
    pub(crate) author_seq: u64,
    /// Heads of the rights operations at and behind it.
    pub(crate) rights: Arc<[Id]>,
    pub(crate) flags: Flags,
}

/// The author's last entry in a tree, as this replica knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChainTip {
    pub(crate) id: Id,
    pub(crate) seq: u64,
    pub(crate) clock: HybridClock,
}

/// Numbers of stores, by their name and kind.
pub(crate) type Stores = HashMap<(String, String), StoreNo>;

/// The summary of a tree; a cache of the backend, and the place where its writers queue.
pub(crate) struct Core {
    pub(crate) head: TreeHead,
    /// The head's row as it was read or written last; `None` while the tree is new.
    pub(crate) head_row: Option<Bytes>,
    pub(crate) rights: Rights,
    pub(crate) waiting: Waiting,
    pub(crate) authors: HashMap<PublicKey, AuthorNo>,
    pub(crate) stores: Arc<RwLock<Stores>>,
    /// As the rows of the stores written to lately say; emptied whenever those change other than by a [`Stage`](super::stage::Stage).
    pub(super) store_states: HashMap<StoreNo, StoreState>,
    infos: HashMap<Id, Info>,
    chain_tips: HashMap<PublicKey, ChainTip>,
}

impl Core {
    pub(crate) fn empty(policy: Arc<dyn AuthPolicy>) -> Self {
        Self {
            head: TreeHead::default(),
            head_row: None,
            rights: Rights::new(policy),
            waiting: Waiting::default(),
            authors: HashMap::new(),
            stores: Arc::default(),
            store_states: HashMap::new(),
            infos: HashMap::new(),
            chain_tips: HashMap::new(),
        }
    }

    pub(crate) fn load(policy: Arc<dyn AuthPolicy>, reader: &dyn Snapshot, keys: TreeKeys) -> Result<Self> {
        let (row, head) =
            read::head(reader, keys)?.ok_or_else(|| corrupt("a tree", "its head is missing"))?;
        let mut core = Self::empty(policy.clone());
        core.rights = Rights::load(policy, reader, keys)?;
        let mut stores = Stores::new();
        for_each_row(
            Scan::prefix(&keys.stores()),
            |scan| reader.scan(scan),
            |(key, value)| {
                let store =
                    TreeKeys::store_in(&key).ok_or_else(|| corrupt("a store", "its key is malformed"))?;
                stores.insert(store, decode("a store's number", &value)?);
                Ok(())
            },
        )?;
        core.stores = Arc::new(RwLock::new(stores));
        core.head = head;
        core.head_row = Some(row);
        Ok(core)
    }

    /// What is known of an entry that is held.
    pub(crate) fn info(&mut self, reader: &dyn Snapshot, keys: TreeKeys, id: &Id) -> Result<Option<Info>> {
        if let Some(info) = self.infos.get(id) {
            return Ok(Some(info.clone()));
        }
        let Some((arrival, flags, entry)) = read::numbered_entry(reader, keys, id)? else { return Ok(None) };
        let info = Info::of(&entry, arrival, flags);
        self.remember(*id, info.clone());
        Ok(Some(info))
    }

    pub(crate) fn remember(&mut self, id: Id, info: Info) {
        if self.infos.len() >= INFOS_MAX {
            self.infos.clear();
        }
        self.infos.insert(id, info);
    }

    pub(crate) fn forget_infos(&mut self) {
        self.infos.clear();
    }

    pub(crate) fn author_no(
        &mut self,
        reader: &dyn Snapshot,
        keys: TreeKeys,
        author: &PublicKey,
    ) -> Result<Option<AuthorNo>> {
        if let Some(number) = self.authors.get(author) {
            return Ok(Some(*number));
        }
        let number = read::author_no(reader, keys, author)?;
        if let Some(number) = number {
            self.remember_author(*author, number);
        }
        Ok(number)
    }

    pub(crate) fn remember_author(&mut self, author: PublicKey, number: AuthorNo) {
        if self.authors.len() >= CHAIN_TIPS_MAX {
            self.authors.clear();
        }
        self.authors.insert(author, number);
    }

    pub(crate) fn remember_chain_tip(&mut self, author: PublicKey, tip: ChainTip) {
        if self.chain_tips.len() >= CHAIN_TIPS_MAX {
            self.chain_tips.clear();
        }
        let known = self.chain_tips.entry(author).or_insert(tip);
        if (known.seq, known.id) < (tip.seq, tip.id) {
            *known = tip;
        }
    }

    /// The author's last entry that is held; of a forked chain the longer branch.
    pub(crate) fn chain_tip(
        &mut self,
        reader: &dyn Snapshot,
        keys: TreeKeys,
        author: &PublicKey,
    ) -> Result<Option<ChainTip>> {
        if let Some(tip) = self.chain_tips.get(author) {
            return Ok(Some(*tip));
        }
        let Some(number) = self.author_no(reader, keys, author)? else { return Ok(None) };
        let last = reader.scan(&Scan::prefix(&keys.chains_of(number)).backward().limit(1))?;
        let Some((key, _)) = last.rows.first() else { return Ok(None) };
        let (seq, arrival) =
            TreeKeys::chain_in(key).ok_or_else(|| corrupt("an author's chain", "its key is malformed"))?;
        let (_, entry) = read::entry_at(reader, keys, arrival)?
            .ok_or_else(|| corrupt("an author's chain", "it names an entry that isn't held"))?;
        let tip = ChainTip { id: entry.id(), seq, clock: entry.header().clock };
        self.remember_chain_tip(*author, tip);
        Ok(Some(tip))
    }

    /// The heads of rights operations that an entry whose parents have these has in its past.
    pub(crate) fn rights_behind<'a>(
        &self,
        parents: impl IntoIterator<Item = &'a Arc<[Id]>> + Clone,
    ) -> Option<Arc<[Id]>> {
        let mut rest = parents.clone().into_iter();
        let first = rest.next()?;
        if rest.all(|heads| heads == first) {
            return Some(first.clone());
        }
        let mut heads: Vec<Id> = parents.into_iter().flat_map(|heads| heads.iter().copied()).collect();
        heads.sort_unstable();
        heads.dedup();
        self.rights.reduce(&heads).map(Arc::from)
    }
}

impl Info {
    pub(crate) fn of(entry: &eidetica_kernel::SignedEntry, arrival: Arrival, flags: Flags) -> Self {
        let header = entry.header();
        let is_op = header.store(eidetica_kernel::entry::RIGHTS_STORE).is_some();
        let rights = if is_op { Arc::from([entry.id()]) } else { Arc::from(&header.rights[..]) };
        Self {
            arrival,
            clock: header.clock,
            author: header.author,
            author_seq: header.author_seq,
            rights,
            flags,
        }
    }
}

/// What a transaction begins with, readable while somebody writes.
struct Published {
    generation: u64,
    stores: Arc<RwLock<Stores>>,
    /// `false` while the stores are derived again: who reads them then waits for the writer.
    settled: bool,
}

impl Published {
    fn of(core: &Core) -> Self {
        Self { generation: core.head.generation, stores: core.stores.clone(), settled: !core.head.reevaluate }
    }
}

/// What is behind a tree's lock.
pub(super) struct Inside {
    pub(super) core: Core,
    pub(super) line: Line,
}

/// The tree's only writer. What it has written is published at the end, if it wasn't before.
pub(crate) struct Locked<'a> {
    tree: &'a Tree,
    inside: MutexGuard<'a, Inside>,
}

impl Deref for Locked<'_> {
    type Target = Core;

    fn deref(&self) -> &Core {
        &self.inside.core
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Core {
        &mut self.inside.core
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.tree.publish(&self.inside.core);
        // Commits may get into line again.
        self.tree.moved.notify_all();
    }
}

/// One tree.
pub(crate) struct Tree {
    pub(crate) shared: Arc<Shared>,
    pub(crate) id: Id,
    pub(crate) keys: TreeKeys,
    pub(super) policy: Arc<dyn AuthPolicy>,
    pub(super) inside: Mutex<Inside>,
    /// The line has moved, or what kept commits out of it is over.
    pub(super) moved: Condvar,
    published: RwLock<Published>,
    /// It is a copy whose writes stay in memory.
    pub(super) is_held: bool,
    /// The next arrival number: whoever watches it reads the arrival log up to there.
    changes: watch::Sender<Arrival>,
    /// Becomes `true` when the instance closes or the tree is removed.
    ended: watch::Sender<bool>,
}

impl Tree {
    pub(crate) fn new(shared: Arc<Shared>, id: Id, number: TreeNo, core: Core) -> Self {
        let changes = watch::Sender::new(core.head.next_arrival);
        Self {
            shared,
            id,
            keys: TreeKeys(number),
            policy: core.rights.policy().clone(),
            published: RwLock::new(Published::of(&core)),
            inside: Mutex::new(Inside { core, line: Line::default() }),
            moved: Condvar::new(),
            is_held: false,
            changes,
            ended: watch::Sender::new(false),
        }
    }

    pub(crate) fn load(
        shared: Arc<Shared>,
        id: Id,
        number: TreeNo,
        policy: Arc<dyn AuthPolicy>,
    ) -> Result<Self> {
        let core = Core::load(policy, &*shared.live, TreeKeys(number))?;
        let tree = Self::new(shared, id, number, core);
        tree.settle()?;
        Ok(tree)
    }

    /// Derives again what an interrupted or outdated derivation left.
    fn settle(&self) -> Result<()> {
        let mut core = self.lock();
        self.finish_reevaluation(&mut core)?;
        self.rebuild_outdated(&mut core)
    }

    /// Reads the summary anew: another process has written.
    pub(crate) fn reload(&self, core: &mut Core) -> Result<()> {
        let waiting = std::mem::take(&mut core.waiting);
        *core = Core::load(self.policy.clone(), &*self.shared.live, self.keys)?;
        core.waiting = waiting;
        self.announce(core);
        Ok(())
    }

    /// Looks what is written now, where the outcome of a write isn't known.
    pub(crate) fn refresh(&self) -> Result<()> {
        let mut core = self.lock();
        self.reload(&mut core)
    }

    /// Does it again, on what is now, whenever another process wrote first.
    pub(super) fn again_on_conflict<T>(
        &self,
        core: &mut Core,
        mut work: impl FnMut(&mut Core) -> Result<T>,
    ) -> Result<T> {
        for _ in 0..CONFLICTS_MAX {
            match work(core) {
                Err(error) if error.kind() == ErrorKind::Conflict => self.reload(core)?,
                done => return done,
            }
        }
        Err(self.crowded_out())
    }

    pub(super) fn crowded_out(&self) -> Error {
        Error::new(
            ErrorKind::Conflict,
            "committing to",
            format_args!("the database {}", self.id.short()),
            "other processes kept writing to it",
        )
    }

    /// A store's state as the reader has it, of which `head` is the head too.
    pub(crate) fn store_state(
        &self,
        reader: &dyn Snapshot,
        head: &TreeHead,
        store: StoreNo,
    ) -> Result<StoreState> {
        if let Some((_, state)) = head.written.filter(|(written, _)| *written == store) {
            return Ok(state);
        }
        let row = reader.get(&self.keys.store_state(store))?;
        row.map_or_else(|| Ok(StoreState::default()), |row| decode("a store's state", &row))
    }

    /// A receiver that sees the next arrival number change.
    pub(crate) fn watch(&self) -> watch::Receiver<Arrival> {
        self.changes.subscribe()
    }

    /// A receiver that sees the end of the tree's use.
    pub(crate) fn watch_end(&self) -> watch::Receiver<bool> {
        self.ended.subscribe()
    }

    /// Tells those who watch that nothing more will come.
    pub(crate) fn end(&self) {
        self.ended.send_replace(true);
    }

    /// Tells those who watch of what was written.
    pub(crate) fn announce(&self, core: &Core) {
        // Whoever is told and reads finds it.
        self.publish(core);
        self.changes.send_replace(core.head.next_arrival);
    }

    /// Becomes the tree's only writer, once the commits under way are done.
    pub(crate) fn lock(&self) -> Locked<'_> {
        let mut inside = self.inside.lock();
        if !inside.line.is_empty() {
            inside.line.close();
            while !inside.line.is_empty() {
                self.moved.wait(&mut inside);
            }
            inside.line.reopen();
        }
        Locked { tree: self, inside }
    }

    /// What is written, whatever is under way. Nothing but its caches may change through it.
    pub(crate) fn look(&self) -> MappedMutexGuard<'_, Core> {
        MutexGuard::map(self.inside.lock(), |inside| &mut inside.core)
    }

    fn publish(&self, core: &Core) {
        let settled = !core.head.reevaluate;
        let mut published = self.published.write();
        if published.generation != core.head.generation || published.settled != settled {
            *published = Published::of(core);
        }
    }

    /// From now on until the writer is done, who reads the stores waits for it.
    pub(super) fn unsettle(&self) {
        self.published.write().settled = false;
    }

    /// After which write what is read from now on stands, or after a later one.
    pub(crate) fn generation(&self) -> u64 {
        let published = self.published.read();
        if published.settled {
            return published.generation;
        }
        drop(published);
        self.look().head.generation
    }

    pub(crate) fn head(&self) -> TreeHead {
        self.look().head.clone()
    }

    /// Who holds what now.
    pub(crate) fn table(&self) -> Arc<RightsTable> {
        self.look().rights.table().clone()
    }

    /// Whether a grant or revocation speaks of `key` itself.
    pub(crate) fn names(&self, key: &PublicKey) -> bool {
        self.table().get(&eidetica_kernel::auth::Grantee::Key(*key)).is_some()
    }

    /// How much of the arrival log these keys may read: all (`None`), or up to the last of the operations that decide what they
    /// hold.
    pub(crate) fn readable_until(&self, keys: &[PublicKey]) -> Result<Option<Arrival>> {
        let deciding: Vec<Id> = {
            let core = self.look();
            let table = core.rights.table();
            if keys.iter().any(|key| self.policy.may_read(table, key)) {
                return Ok(None);
            }
            let nodes = core.rights.history().nodes();
            keys.iter().filter_map(|key| Some(nodes[table.standing(key)?.node].id)).collect()
        };
        let mut end = 0;
        for id in deciding {
            let arrival = read::arrival_of(&*self.shared.live, self.keys, &id)?;
            end = end.max(arrival.map_or(0, |arrival| arrival + 1));
        }
        Ok(Some(end))
    }

    /// Whether `key` may read it now.
    pub(crate) fn may_read(&self, key: &PublicKey) -> bool {
        let core = self.look();
        self.policy.may_read(core.rights.table(), key)
    }

    pub(crate) fn resolve(&self, core: &mut Core, heads: &[Id]) -> Result<Arc<Frontier>> {
        let chain = super::rights::Chain::new(&*self.shared.live, self.keys);
        core.rights.frontier(heads, &chain)?.ok_or_else(|| corrupt("a tree", "rights operations are missing"))
    }

    /// The number and kind of the store with that name whose kind is linked first; what a reader opens.
    pub(crate) fn store_no(&self, name: &str, kind: &str) -> Option<StoreNo> {
        let store = (name.to_owned(), kind.to_owned());
        let published = self.published.read();
        if published.settled {
            let number = published.stores.read().get(&store).copied();
            if number.is_some() {
                return number;
            }
        }
        drop(published);
        // A batch that is being written may have made it already.
        self.look().stores.read().get(&store).copied()
    }

    /// Every store: name, kind, number; sorted.
    pub(crate) fn store_list(&self) -> Vec<(String, String, StoreNo)> {
        let core = self.look();
        let mut stores: Vec<_> = core
            .stores
            .read()
            .iter()
            .map(|((name, kind), number)| (name.clone(), kind.clone(), *number))
            .collect();
        stores.sort();
        stores
    }
}

/// A denial as an error of the caller's.
pub(crate) fn denied(operation: &'static str, tree: &Id, reason: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::PermissionDenied, operation, format_args!("the database {}", tree.short()), reason)
        .hint("ask an admin of the database for a grant, or use a key that has one")
}
