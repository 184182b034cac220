//! Entries on their way into one batch: judged, folded, not written yet.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use eidetica_kernel::backend::{Batch, Snapshot};
use eidetica_kernel::entry::RIGHTS_STORE;
use eidetica_kernel::store::{
    Applied, RowChanges, RowOverlay, RowReader, RowTable, Stamp, StampedPayload, Store,
};
use eidetica_kernel::{Envelope, Id, Result, SignedEntry};

use super::layout::{Arrival, StoreNo, TreeKeys};
use super::read;
use super::records::{Flags, StoreState, TreeHead, decode_entry, encode, encode_entry, with_flags};
use super::rows::{Remembering, RowsRead, StoreRows};
use super::tree::{ChainTip, Core, Info, Tree};

/// Rows that a commit of a few keys writes.
const ROWS_PER_COMMIT: usize = 12;

/// A store that this batch writes to.
struct StagedStore {
    rows: Arc<Remembering<StoreRows>>,
    changes: RowChanges,
    state: StoreState,
}

/// One batch in the making. Nothing of it shows, in memory or in the backend, until [`Stage::write`].
pub(crate) struct Stage<'a> {
    tree: &'a Tree,
    pub(crate) core: &'a mut Core,
    head: TreeHead,
    batch: Batch,
    infos: HashMap<Id, Info>,
    authors: HashMap<eidetica_kernel::PublicKey, u32>,
    chain_tips: Vec<(eidetica_kernel::PublicKey, ChainTip)>,
    new_stores: HashMap<(String, String), StoreNo>,
    /// Boxed: a node of the map would have room for eleven of them.
    stores: BTreeMap<StoreNo, Box<StagedStore>>,
    /// Stores of kinds that aren't linked, whose rows lack what is staged.
    missed: BTreeMap<StoreNo, StoreState>,
    /// Rows of the stores of the one entry that is staged, where they were read already and are as they were.
    read: Vec<Option<Arc<Remembering<StoreRows>>>>,
    refused: HashSet<Id>,
    entries: usize,
    bytes: usize,
}

impl<'a> Stage<'a> {
    pub(crate) fn new(tree: &'a Tree, core: &'a mut Core) -> Self {
        let head = core.head.clone();
        Self {
            tree,
            core,
            head,
            batch: Batch::with_capacity(ROWS_PER_COMMIT),
            infos: HashMap::new(),
            authors: HashMap::new(),
            chain_tips: Vec::new(),
            new_stores: HashMap::new(),
            stores: BTreeMap::new(),
            missed: BTreeMap::new(),
            read: Vec::new(),
            refused: HashSet::new(),
            entries: 0,
            bytes: 0,
        }
    }

    /// What a transaction has read of the stores of the entry that follows serves, unless the tree has changed since.
    pub(super) fn read_before(&mut self, read: &[Option<RowsRead>]) {
        let generation = self.core.head.generation;
        let unchanged = |read: &RowsRead| (read.generation == generation).then(|| read.rows.clone());
        self.read = read.iter().map(|read| read.as_ref().and_then(unchanged)).collect();
    }

    pub(crate) fn reader(&self) -> &'a dyn Snapshot {
        &*self.tree.shared.live
    }

    /// How many entries are in it.
    pub(crate) fn len(&self) -> usize {
        self.entries
    }

    /// Bytes of headers and payloads in it.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn info(&mut self, id: &Id) -> Result<Option<Info>> {
        match self.infos.get(id) {
            Some(info) => Ok(Some(info.clone())),
            None => self.core.info(&*self.tree.shared.live, self.tree.keys, id),
        }
    }

    /// Adds an entry that is admissible; `counts` says whether it has an effect, `rank` its author's where it carries a
    /// rights operation, `local` whether it is committed here.
    pub(crate) fn add(
        &mut self,
        entry: &SignedEntry,
        payloads: &[Option<Bytes>],
        counts: bool,
        checked: bool,
        rank: Option<u32>,
        local: bool,
    ) -> Result<Arrival> {
        let keys = self.tree.keys;
        let header = entry.header();
        let arrival = self.head.next_arrival;
        self.head.next_arrival += 1;
        self.head.clock = self.head.clock.max(header.clock);
        let flags = Flags { counts, inside: counts, checked, local };
        self.batch.put(keys.entry(arrival), encode_entry(flags, entry, payloads));
        self.batch.put(keys.arrival_of(&entry.id()), encode("an arrival number", &arrival)?);
        let author = self.author_no(&header.author)?;
        self.batch.put(keys.chain(author, header.author_seq, arrival), Bytes::new());
        let tip = ChainTip { id: entry.id(), seq: header.author_seq, clock: header.clock };
        self.chain_tips.push((header.author, tip));
        if counts {
            self.cover(entry, payloads)?;
            self.head.tips.push(super::records::Tip { clock: header.clock, id: entry.id() });
            self.head.tips.sort_unstable();
        } else {
            self.head.outside += 1;
        }
        if header.store(RIGHTS_STORE).is_some() {
            let row = encode("a rights operation's number", &(arrival, rank))?;
            self.batch.put(keys.rights(self.head.next_rights), row);
            self.head.next_rights += 1;
        }
        self.bytes += entry.header_bytes().len();
        for (at, payload) in payloads.iter().enumerate() {
            let Some(payload) = payload else { continue };
            self.bytes += payload.len();
            for (chunk, bytes) in read::chunks(payload) {
                self.batch.put(keys.payload(arrival, at as u8, chunk), bytes);
            }
            let store = self.store_no(&header.stores[at].name, &header.stores[at].kind)?;
            if counts {
                let stamp = Stamp { clock: header.clock, entry: entry.id() };
                let read = self.read.get_mut(at).and_then(Option::take);
                self.fold(store, &header.stores[at].kind, stamp, arrival, payload, read)?;
            }
        }
        self.infos.insert(entry.id(), Info::of(entry, arrival, flags));
        self.entries += 1;
        Ok(arrival)
    }

    /// Takes the parents of `entry`, which counts, from the tips; brings void entries of its closure inside.
    ///
    /// What is only named as `author_prev` or kept stays a tip until an entry has it as a parent: else a rights operation
    /// could end up in no later entry's past.
    fn cover(&mut self, entry: &SignedEntry, payloads: &[Option<Bytes>]) -> Result<()> {
        self.head.tips.retain(|tip| !entry.header().parents.contains(&tip.id));
        let mut todo: Vec<Id> = self.tree.edges(entry, payloads);
        while let Some(id) = todo.pop() {
            let Some(info) = self.info(&id)? else { continue };
            if info.flags.inside {
                continue;
            }
            let flags = Flags { inside: true, ..info.flags };
            self.head.outside -= 1;
            self.head.epoch += 1;
            // A void entry that is staged in this very batch has its row in the batch already: the later write stands.
            let key = self.tree.keys.entry(info.arrival);
            let held = self.reader().get(&key)?;
            let staged = held.is_none();
            let Some(row) = held.or_else(|| self.staged(&key)) else { continue };
            let (_, covered) = decode_entry(&row)?;
            let covered_payloads = if staged {
                Vec::new()
            } else {
                self.tree.rights_payload(self.reader(), info.arrival, &covered)?
            };
            self.batch.put(key, with_flags(&row, flags));
            self.head.tips.retain(|tip| !covered.header().parents.contains(&tip.id));
            todo.extend(self.tree.edges(&covered, &covered_payloads));
            self.infos.insert(id, Info { flags, ..info });
        }
        Ok(())
    }

    fn staged(&self, key: &Bytes) -> Option<Bytes> {
        self.batch.writes().iter().rev().find_map(|write| match write {
            eidetica_kernel::backend::Write::Put(at, row) if at == key => Some(row.clone()),
            _ => None,
        })
    }

    fn author_no(&mut self, author: &eidetica_kernel::PublicKey) -> Result<u32> {
        if let Some(number) = self.authors.get(author) {
            return Ok(*number);
        }
        if let Some(number) = self.core.author_no(&*self.tree.shared.live, self.tree.keys, author)? {
            return Ok(number);
        }
        let number = self.head.next_author;
        self.head.next_author += 1;
        self.authors.insert(*author, number);
        self.batch.put(self.tree.keys.author(author), encode("an author's number", &number)?);
        Ok(number)
    }

    fn store_no(&mut self, name: &str, kind: &str) -> Result<StoreNo> {
        let store = (name.to_owned(), kind.to_owned());
        if let Some(number) = self.core.stores.read().get(&store).or_else(|| self.new_stores.get(&store)) {
            return Ok(*number);
        }
        let number = self.head.next_store;
        self.head.next_store += 1;
        self.batch.put(self.tree.keys.store(name, kind), encode("a store's number", &number)?);
        let semantics = self.tree.shared.stores.get(kind).map_or(0, |store| store.semantics());
        let state = StoreState { semantics, ..StoreState::default() };
        self.batch.put(self.tree.keys.store_state(number), encode("a store's state", &state)?);
        self.new_stores.insert(store, number);
        Ok(number)
    }

    /// Folds a payload into its store's rows, where the kind is linked and the payload can be read.
    fn fold(
        &mut self,
        number: StoreNo,
        kind: &str,
        stamp: Stamp,
        arrival: Arrival,
        payload: &[u8],
        read: Option<Arc<Remembering<StoreRows>>>,
    ) -> Result<()> {
        let Some(store) = self.tree.shared.stores.get(kind).cloned() else { return self.miss(number) };
        if !self.stores.contains_key(&number) {
            let mut state = self.state_before(number)?;
            // One that exists and must be derived again stays so.
            if self.new_stores.values().any(|fresh| *fresh == number) {
                state.semantics = store.semantics();
            }
            let rows = read.unwrap_or_else(|| {
                let snapshot = self.tree.shared.live.clone();
                Arc::new(Remembering::new(StoreRows { snapshot, keys: self.tree.keys, store: number }))
            });
            self.stores.insert(number, Box::new(StagedStore { rows, changes: RowChanges::new(), state }));
        }
        let Some(staged) = self.stores.get_mut(&number) else { return Ok(()) };
        fold_into(&*store, &*staged.rows, &mut staged.changes, stamp, arrival, payload)?;
        Ok(())
    }

    /// A payload isn't folded, as its kind isn't linked: its store is derived again once it is.
    fn miss(&mut self, number: StoreNo) -> Result<()> {
        let state = self.state_before(number)?;
        if state.semantics != 0 {
            self.missed.insert(number, StoreState { semantics: 0, ..state });
        }
        Ok(())
    }

    fn state_before(&self, number: StoreNo) -> Result<StoreState> {
        match self.core.store_states.get(&number) {
            Some(state) => Ok(*state),
            None => self.tree.store_state(&*self.tree.shared.live, &self.core.head, number),
        }
    }

    /// Marks that what counts must be derived again, in the same batch as the operation that causes it.
    pub(crate) fn mark_reevaluate(&mut self) {
        self.head.reevaluate = true;
    }

    /// Counts a refused entry, and says how many there are.
    pub(crate) fn refuse(&mut self, id: Id) -> u32 {
        self.refused.insert(id);
        self.head.refused = self.head.refused.saturating_add(1);
        self.head.refused
    }

    /// `true` if that entry was refused, in this batch or before.
    pub(crate) fn refused_before(&self, id: &Id) -> Result<bool> {
        Ok(self.refused.contains(id)
            || (self.head.refused > 0 && self.reader().get(&self.tree.keys.refused(id))?.is_some()))
    }

    /// Adds rows of the caller's to the batch.
    pub(crate) fn batch(&mut self) -> &mut Batch {
        &mut self.batch
    }

    /// Writes the batch, and then the summary in memory.
    ///
    /// On [`ErrorKind::Conflict`](eidetica_kernel::ErrorKind::Conflict) another process has written: reload, and stage again.
    pub(crate) fn write(mut self) -> Result<&'a mut Core> {
        if self.entries == 0 && self.batch.is_empty() {
            return Ok(self.core);
        }
        let keys = self.tree.keys;
        for (number, staged) in &mut self.stores {
            let changed = staged.changes.iter().filter(|((table, _), _)| *table == RowTable::State);
            let changed: Vec<(&Bytes, &Option<Bytes>)> =
                changed.map(|((_, key), value)| (key, value)).collect();
            let wanted: Vec<&[u8]> = changed.iter().map(|(key, _)| &key[..]).collect();
            let before = staged.rows.get_many(RowTable::State, &wanted)?;
            for ((key, value), before) in changed.into_iter().zip(before) {
                if let Some(before) = before {
                    staged.state.digest.subtract(key, &before);
                }
                if let Some(value) = value {
                    staged.state.digest.add(key, value);
                }
            }
            put_rows(&mut self.batch, keys, *number, std::mem::take(&mut staged.changes));
        }
        for (number, state) in &self.missed {
            match &mut self.head.written {
                Some((written, held)) if written == number => *held = *state,
                _ => {
                    self.batch.put(keys.store_state(*number), encode("a store's state", state)?);
                }
            }
        }
        // The last one's goes into the head, the others' into their rows; so does that of the store that was there.
        let mut states: Vec<(StoreNo, StoreState)> =
            self.stores.iter().map(|(number, staged)| (*number, staged.state)).collect();
        if let Some(written) = states.pop() {
            let before = self.head.written.replace(written);
            states.extend(before.filter(|(number, _)| !self.stores.contains_key(number)));
        }
        for (number, state) in states {
            self.batch.put(keys.store_state(number), encode("a store's state", &state)?);
        }
        self.head.generation += 1;
        let row = encode("the head of a tree", &self.head)?;
        match &self.core.head_row {
            Some(before) => self.batch.expect_equals(keys.head(), before.clone()),
            None => self.batch.expect_absent(keys.head()),
        };
        self.batch.put(keys.head(), row.clone());
        self.tree.shared.backend.commit(self.batch)?;

        self.core.head = self.head;
        self.core.head_row = Some(row);
        for (author, number) in self.authors {
            self.core.remember_author(author, number);
        }
        for (author, tip) in self.chain_tips {
            self.core.remember_chain_tip(author, tip);
        }
        if !self.new_stores.is_empty() {
            self.core.stores.write().extend(self.new_stores);
        }
        for (number, staged) in self.stores {
            self.core.store_states.insert(number, staged.state);
        }
        self.core.store_states.extend(self.missed);
        for (id, info) in self.infos {
            self.core.remember(id, info);
        }
        self.tree.announce(self.core);
        Ok(self.core)
    }
}

/// Applies one payload to rows with changes on top; `NoEffect` when its envelope can't be read either.
pub(crate) fn fold_into(
    store: &dyn Store,
    rows: &dyn RowReader,
    changes: &mut RowChanges,
    stamp: Stamp,
    arrival: Arrival,
    payload: &[u8],
) -> Result<Applied> {
    let envelope = match Envelope::decode(payload) {
        Ok(envelope) => envelope,
        Err(error) => return Ok(Applied::NoEffect { reason: error.to_string() }),
    };
    if envelope.codec != eidetica_kernel::entry::Codec::Plain {
        return Ok(Applied::NoEffect { reason: "it is sealed, and its key isn't here".to_owned() });
    }
    let mut overlay = RowOverlay::with_changes(rows, std::mem::take(changes));
    let stamped = StampedPayload { stamp, arrival, version: envelope.version, body: &envelope.body };
    let applied = store.apply(&mut overlay, &stamped);
    *changes = overlay.into_changes();
    applied
}

/// Adds a store's changed rows to a batch.
pub(crate) fn put_rows(batch: &mut Batch, keys: TreeKeys, store: StoreNo, changes: RowChanges) {
    for ((table, key), value) in changes {
        let key = keys.row(store, table, &key);
        match value {
            Some(value) => batch.put(key, value),
            None => batch.delete(key),
        };
    }
}
