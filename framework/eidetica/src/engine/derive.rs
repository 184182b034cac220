//! Deriving again what follows from the entries: which count, and what the stores hold.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use eidetica_kernel::auth::Deed;
use eidetica_kernel::backend::{Batch, Scan, Snapshot, for_each_row};
use eidetica_kernel::entry::RIGHTS_STORE;
use eidetica_kernel::store::{RowChanges, RowReader, RowTable, Stamp};
use eidetica_kernel::{Id, Result, SignedEntry};

use super::layout::{Arrival, StoreNo};
use super::read;
use super::records::{
    Flags, StateDigest, StoreState, Tip, TreeHead, corrupt, decode_entry, encode, with_flags,
};
use super::rights::Chain;
use super::rows::{NoRows, StoreRows};
use super::stage::{fold_into, put_rows};
use super::tree::{Core, Tree};

/// Entries read per page while going through the arrival log.
const PAGE_ENTRIES: usize = 512;

impl Tree {
    /// The entries of the arrival log from `from` up to `to`, in order, until `each` says `false`.
    pub(crate) fn for_each_entry(
        &self,
        reader: &dyn Snapshot,
        from: Arrival,
        to: Arrival,
        mut each: impl FnMut(Arrival, Flags, SignedEntry) -> Result<bool>,
    ) -> Result<()> {
        let mut scan = Scan::range(self.keys.entry(from), self.keys.entry(to)).limit(PAGE_ENTRIES);
        loop {
            let page = reader.scan(&scan)?;
            let last = page.rows.last().map(|(key, _)| key.clone());
            for (key, row) in page.rows {
                let arrival = super::layout::TreeKeys::arrival_in(&key)
                    .ok_or_else(|| corrupt("the arrival log", "a key is malformed"))?;
                let (flags, entry) = decode_entry(&row)?;
                if !each(arrival, flags, entry)? {
                    return Ok(());
                }
            }
            match last {
                Some(last) if page.more => scan = scan.after(last),
                _ => return Ok(()),
            }
        }
    }

    /// Judges anew what a failure left unjudged.
    pub(crate) fn finish_reevaluation(&self, core: &mut Core) -> Result<()> {
        self.again_on_conflict(core, |core| if core.head.reevaluate { self.reevaluate(core) } else { Ok(()) })
    }

    fn write_head(&self, core: &mut Core, mut head: TreeHead, mut batch: Batch) -> Result<()> {
        head.generation += 1;
        let row = encode("the head of a tree", &head)?;
        if let Some(before) = &core.head_row {
            batch.expect_equals(self.keys.head(), before.clone());
        }
        batch.put(self.keys.head(), row.clone());
        self.shared.backend.commit(batch)?;
        core.head = head;
        core.head_row = Some(row);
        core.store_states.clear();
        Ok(())
    }

    /// Writes what a store's rows were derived with.
    fn put_state(
        &self,
        batch: &mut Batch,
        head: &mut TreeHead,
        store: StoreNo,
        state: StoreState,
    ) -> Result<()> {
        match &mut head.written {
            Some((written, held)) if *written == store => *held = state,
            _ => {
                batch.put(self.keys.store_state(store), encode("a store's state", &state)?);
            }
        }
        Ok(())
    }

    /// Judges every entry anew by the rights operations that are held, and rebuilds the stores that are touched.
    ///
    /// Costs in the order of the history; only operations that take rights cause it.
    pub(crate) fn reevaluate(&self, core: &mut Core) -> Result<()> {
        self.unsettle();
        let reader = self.shared.live.clone();
        let mut batch = Batch::new();
        let mut head = core.head.clone();
        let mut touched: HashSet<(String, String)> = HashSet::new();
        let mut judged: Vec<(Arrival, Flags, bool)> = Vec::new();
        let chain = Chain::new(&*reader, self.keys);
        self.for_each_entry(&*reader, 0, Arrival::MAX, |arrival, flags, entry| {
            let counts = self.judge_again(core, &*reader, &chain, arrival, &entry)?;
            if counts != flags.counts {
                let stores = entry.header().stores.iter();
                touched.extend(stores.map(|store| (store.name.clone(), store.kind.clone())));
            }
            judged.push((arrival, flags, counts));
            Ok(true)
        })?;
        // From the newest to the oldest: inside is what counts and what such entries depend on.
        let mut needed: HashSet<Id> = HashSet::new();
        let mut followed: HashSet<Id> = HashSet::new();
        head.tips.clear();
        head.outside = 0;
        for (arrival, before, counts) in judged.into_iter().rev() {
            let key = self.keys.entry(arrival);
            let row = reader.get(&key)?.ok_or_else(|| corrupt("the arrival log", "an entry is missing"))?;
            let (_, entry) = decode_entry(&row)?;
            let id = entry.id();
            let covered = needed.remove(&id);
            let is_parent = followed.remove(&id);
            let flags = Flags { counts, inside: counts || covered, ..before };
            if flags.inside {
                followed.extend(&entry.header().parents);
                let payloads = self.rights_payload(&*reader, arrival, &entry)?;
                needed.extend(self.edges(&entry, &payloads));
            } else {
                head.outside += 1;
            }
            if counts && !is_parent {
                head.tips.push(Tip { clock: entry.header().clock, id });
            }
            if flags != before {
                batch.put(key, with_flags(&row, flags));
            }
        }
        head.tips.sort_unstable();
        head.epoch += 1;
        head.reevaluate = false;
        for ((name, kind), number) in numbered(core) {
            let store = self.shared.stores.get(&kind[..]);
            let mut state = self.store_state(&*reader, &core.head, number)?;
            if touched.contains(&(name, kind)) {
                state.semantics = 0;
                self.put_state(&mut batch, &mut head, number, state)?;
            }
            // Nobody writes to the tree before such stores are derived again: the head says so until then, whatever happens
            // in between.
            head.reevaluate |= store.is_some_and(|store| state.semantics != store.semantics());
        }
        core.forget_infos();
        self.write_head(core, head, batch)?;
        if core.head.reevaluate {
            self.rebuild_outdated(core)?;
            let head = TreeHead { reevaluate: false, ..core.head.clone() };
            self.write_head(core, head, Batch::new())?;
        }
        self.announce(core);
        Ok(())
    }

    /// Derives the stores again whose rows follow other rules than those of their kind, or are marked.
    pub(crate) fn rebuild_outdated(&self, core: &mut Core) -> Result<()> {
        for ((name, kind), number) in numbered(core) {
            let state = self.store_state(&*self.shared.live, &core.head, number)?;
            if let Some(store) = self.shared.stores.get(&kind[..])
                && state.semantics != store.semantics()
            {
                self.rebuild_store(core, &name, &kind, number)?;
            }
        }
        Ok(())
    }

    fn judge_again(
        &self,
        core: &mut Core,
        reader: &dyn Snapshot,
        chain: &Chain<'_>,
        arrival: Arrival,
        entry: &SignedEntry,
    ) -> Result<bool> {
        let header = entry.header();
        let frontier = self.resolve(core, &header.rights)?;
        let stores: Vec<String> = header.stores.iter().map(|store| store.name.clone()).collect();
        let op = match header.stores.iter().position(|store| store.name == RIGHTS_STORE) {
            None => None,
            Some(at) => match read::payload(reader, self.keys, arrival, entry, at)? {
                Some(payload) => Some(core.rights.op(&payload)?),
                None => None,
            },
        };
        let deed = Deed {
            id: entry.id(),
            author: header.author,
            author_seq: header.author_seq,
            is_root: header.is_root(),
            stores: &stores,
            op: op.as_ref(),
            past: &frontier.past,
        };
        core.rights.counts(&frontier, &deed, chain)
    }

    /// Derives a store's rows from its entries again, and writes what differs.
    pub(crate) fn rebuild_store(
        &self,
        core: &mut Core,
        name: &str,
        kind: &str,
        number: StoreNo,
    ) -> Result<()> {
        let Some(store) = self.shared.stores.get(kind).cloned() else { return Ok(()) };
        let reader = self.shared.live.clone();
        let mut changes = RowChanges::new();
        self.for_each_entry(&*reader, 0, Arrival::MAX, |arrival, flags, entry| {
            let at = entry.header().stores.iter().position(|at| at.name == name && at.kind == kind);
            if let Some(at) = at.filter(|_| flags.counts)
                && let Some(payload) = read::payload(&*reader, self.keys, arrival, &entry, at)?
            {
                let stamp = Stamp { clock: entry.header().clock, entry: entry.id() };
                fold_into(&*store, &NoRows, &mut changes, stamp, arrival, &payload)?;
            }
            Ok(true)
        })?;
        let mut digest = StateDigest::default();
        for ((table, key), value) in &changes {
            if let (RowTable::State, Some(value)) = (table, value) {
                digest.add(key, value);
            }
        }
        let mut fresh: BTreeMap<(RowTable, Bytes), Option<Bytes>> = changes;
        let rows = StoreRows { snapshot: reader, keys: self.keys, store: number };
        for table in [RowTable::State, RowTable::Losing] {
            for_each_row(
                Scan::all(),
                |scan| rows.scan(table, scan),
                |(key, value)| {
                    let key = (table, key);
                    match fresh.get(&key) {
                        Some(Some(derived)) if *derived == value => {
                            fresh.remove(&key);
                        }
                        Some(Some(_)) => {}
                        Some(None) | None => {
                            fresh.insert(key, None);
                        }
                    }
                    Ok(())
                },
            )?;
        }
        let mut batch = Batch::new();
        put_rows(&mut batch, self.keys, number, fresh);
        let state = StoreState { semantics: store.semantics(), digest };
        let mut head = core.head.clone();
        if self.store_state(&*self.shared.live, &head, number)?.digest != digest {
            // Subscribers that were told of what it was derived from have seen nothing of it.
            head.epoch += 1;
        }
        self.put_state(&mut batch, &mut head, number, state)?;
        self.write_head(core, head, batch)
    }

    /// Derives every store's rows from the entries again.
    pub(crate) fn rebuild(&self) -> Result<()> {
        let mut core = self.lock();
        self.again_on_conflict(&mut core, |core| {
            self.reevaluate(core)?;
            self.unsettle();
            let mut stores = numbered(core).into_iter();
            stores.try_for_each(|((name, kind), number)| self.rebuild_store(core, &name, &kind, number))
        })?;
        self.shared.backend.flush()
    }

    /// Re-checks every hash, signature and rule, and compares the rows with what the entries fold to.
    ///
    /// It goes through a snapshot of what is written when it begins: whoever writes meanwhile doesn't wait for it.
    pub(crate) fn verify(&self) -> Result<Verified> {
        let reader: Arc<dyn Snapshot> = {
            let mut core = self.lock();
            self.finish_reevaluation(&mut core)?;
            self.shared.backend.snapshot()?
        };
        let mut core = Core::load(self.policy.clone(), &*reader, self.keys)?;
        let mut found = Verified::default();
        let mut known: HashMap<Id, Arrival> = HashMap::new();
        let chain = Chain::new(&*reader, self.keys);
        self.for_each_entry(&*reader, 0, Arrival::MAX, |arrival, flags, entry| {
            found.entries += 1;
            let id = entry.id();
            if known.insert(id, arrival).is_some() {
                found.problems.push(format!("entry {id} is stored twice"));
            }
            if entry.tree() != self.id {
                found.problems.push(format!("entry {id} belongs to another database"));
            }
            if read::arrival_of(&*reader, self.keys, &id)? != Some(arrival) {
                found.problems.push(format!("entry {id} isn't found by its id"));
            }
            for dependency in entry.header().dependencies() {
                if !known.contains_key(&dependency) {
                    found
                        .problems
                        .push(format!("entry {id} stands before {dependency}, which it depends on"));
                }
            }
            if let Err(error) = eidetica_kernel::Header::decode(entry.header_bytes()) {
                found.problems.push(format!("entry {id} breaks the format: {error}"));
            }
            if !entry.verify() {
                found.problems.push(format!("the signature of entry {id} isn't its author's"));
            }
            for at in 0..entry.header().stores.len() {
                match read::payload(&*reader, self.keys, arrival, &entry, at) {
                    Ok(payload) => found.payloads += u64::from(payload.is_some()),
                    Err(error) => found.problems.push(error.to_string()),
                }
            }
            if self.judge_again(&mut core, &*reader, &chain, arrival, &entry)? != flags.counts {
                found.problems.push(format!("entry {id} is marked as counting, or not, against the rules"));
            }
            Ok(true)
        })?;
        let head = read::head(&*reader, self.keys)?.map(|(_, head)| head).unwrap_or_default();
        for ((name, kind), number) in numbered(&core) {
            self.verify_store(&reader, &head, &name, &kind, number, &mut found)?;
        }
        found.problems.sort();
        Ok(found)
    }

    fn verify_store(
        &self,
        reader: &Arc<dyn Snapshot>,
        head: &TreeHead,
        name: &str,
        kind: &str,
        number: StoreNo,
        found: &mut Verified,
    ) -> Result<()> {
        let Some(store) = self.shared.stores.get(kind).cloned() else { return Ok(()) };
        let mut changes = RowChanges::new();
        self.for_each_entry(&**reader, 0, Arrival::MAX, |arrival, flags, entry| {
            let at = entry.header().stores.iter().position(|at| at.name == name && at.kind == kind);
            if let Some(at) = at.filter(|_| flags.counts)
                && let Ok(Some(payload)) = read::payload(&**reader, self.keys, arrival, &entry, at)
            {
                let stamp = Stamp { clock: entry.header().clock, entry: entry.id() };
                fold_into(&*store, &NoRows, &mut changes, stamp, arrival, &payload)?;
            }
            Ok(true)
        })?;
        let rows = StoreRows { snapshot: reader.clone(), keys: self.keys, store: number };
        let mut differ = 0u64;
        let mut digest = StateDigest::default();
        let mut derived: BTreeMap<(RowTable, Bytes), Bytes> =
            changes.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
        for table in [RowTable::State, RowTable::Losing] {
            for_each_row(
                Scan::all(),
                |scan| rows.scan(table, scan),
                |(key, value)| {
                    found.rows += 1;
                    if table == RowTable::State {
                        digest.add(&key, &value);
                    }
                    differ += u64::from(derived.remove(&(table, key)) != Some(value));
                    Ok(())
                },
            )?;
        }
        differ += derived.len() as u64;
        if self.store_state(&**reader, head, number)?.digest != digest {
            found.problems.push(format!(
                "the digest of the store \"{name}\" isn't that of its rows; `eidetica rebuild` derives it again"
            ));
        }
        if differ > 0 {
            found.problems.push(format!(
                "{differ} rows of the store \"{name}\" aren't what its entries fold to; `eidetica rebuild` derives them again"
            ));
        }
        Ok(())
    }
}

/// A tree's stores.
fn numbered(core: &Core) -> Vec<((String, String), StoreNo)> {
    core.stores.read().iter().map(|(store, number)| (store.clone(), *number)).collect()
}

/// What [`Database::verify`](crate::Database::verify) went through, and what it found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Entries checked.
    pub entries: u64,
    /// Payloads hashed.
    pub payloads: u64,
    /// Rows of stores compared with what the entries fold to.
    pub rows: u64,
    /// What isn't as it should be, one sentence each; empty when all is well.
    pub problems: Vec<String>,
}

impl Verified {
    /// `true` if nothing was found wrong.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }
}
