//! Taking in entries from elsewhere, in any order: authenticate, judge, fold, persist.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet, VecDeque};

use bytes::Bytes;
use eidetica_auth_keys::KEEP_MAX;
use eidetica_kernel::auth::{Deed, RightsOp};
use eidetica_kernel::backend::Scan;
use eidetica_kernel::entry::{RIGHTS_STORE, payload_hash, signature_message};
use eidetica_kernel::{Envelope, Error, ErrorKind, Id, Result, SignatureBatch, SignedEntry, Timestamp};

use super::layout::Arrival;
use super::read;
use super::records::encode;
use super::rights::{Chain, Frontier, Judged};
use super::stage::Stage;
use super::tree::{Core, Tree, denied};

/// Entries that go into one batch at most.
const BATCH_ENTRIES_MAX: usize = 1_024;
/// Bytes of headers and payloads that go into one batch at most, give or take one entry.
pub(super) const BATCH_BYTES_MAX: usize = 16 * 1_024 * 1_024;
/// Refused entries remembered per tree.
const REFUSED_MAX: u32 = 65_536;
/// Times a batch is staged again because another process wrote first.
pub(crate) const CONFLICTS_MAX: usize = 64;

/// An entry from elsewhere.
#[derive(Clone, Debug)]
pub(crate) struct Incoming {
    pub(crate) entry: SignedEntry,
    /// In the order of the header's stores; `None` where the payload didn't come along.
    pub(crate) payloads: Vec<Option<Bytes>>,
    /// Its signature was verified by itself.
    pub(crate) checked: bool,
}

impl Incoming {
    /// The same entry, its payloads left out.
    pub(crate) fn without_payloads(&self) -> Self {
        Self { entry: self.entry.clone(), payloads: vec![None; self.payloads.len()], checked: self.checked }
    }

    pub(crate) fn bytes(&self) -> usize {
        256 + self.entry.header_bytes().len() + self.payloads.iter().flatten().map(Bytes::len).sum::<usize>()
    }
}

/// The id, under which nothing will ever arrive, that entries with an unknown critical tag wait for.
fn never(tag: u16) -> Id {
    let mut id = [0xff; 32];
    id[..2].copy_from_slice(&tag.to_be_bytes());
    Id::from_bytes(id)
}

/// `true` for an id of [`never`].
pub(crate) fn is_never(id: &Id) -> bool {
    id.as_bytes()[2..].iter().all(|byte| *byte == 0xff)
}

/// What became of entries from elsewhere.
#[derive(Debug, Default)]
pub(crate) struct Ingested {
    /// Persisted now, with their arrival numbers.
    pub(crate) accepted: Vec<(Id, Arrival)>,
    /// Held already.
    pub(crate) known: Vec<Id>,
    /// Kept until what they depend on arrives: the entry and the first thing missing.
    pub(crate) waiting: Vec<(Id, Id)>,
    /// Broken for ever.
    pub(crate) refused: Vec<(Id, String)>,
    /// This copy's signature or payload is wrong; another copy may be right.
    pub(crate) bad_copies: Vec<(Id, String)>,
    /// Their clocks run ahead: to be offered again at that time.
    pub(crate) not_before: Vec<(Id, Timestamp)>,
}

enum Verdict {
    Admit { counts: bool, op: Option<Box<Judged>> },
    Known,
    Wait(Id),
    Refuse(String),
    NotBefore(Timestamp),
}

impl Tree {
    /// Takes in entries. Those that can be judged are persisted (call `flush` for durability); the report says what became of each.
    pub(crate) fn ingest(&self, entries: Vec<Incoming>) -> Result<Ingested> {
        let mut report = Ingested::default();
        let mut queue: VecDeque<Incoming> = self.authenticate(entries, &mut report).into();
        let mut core = self.lock();
        self.finish_reevaluation(&mut core)?;
        let mut conflicts = 0;
        while !queue.is_empty() {
            // What is staged but not written is taken back into the queue when another process wrote first.
            let mut taken = Vec::new();
            match self.ingest_batch(&mut core, &mut queue, &mut taken, &mut report) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Conflict && conflicts < CONFLICTS_MAX => {
                    conflicts += 1;
                    let again: HashSet<Id> =
                        taken.iter().map(|incoming: &Incoming| incoming.entry.id()).collect();
                    report.accepted.retain(|(id, _)| !again.contains(id));
                    for incoming in taken.into_iter().rev() {
                        queue.push_front(incoming);
                    }
                    self.reload(&mut core)?;
                    self.finish_reevaluation(&mut core)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(report)
    }

    /// Takes in entries that were made here, each after the ones it follows: all of them in one batch, or none.
    pub(crate) fn take_in(&self, entries: &[Incoming]) -> Result<()> {
        let mut core = self.lock();
        self.finish_reevaluation(&mut core)?;
        self.again_on_conflict(&mut core, |core| {
            self.finish_reevaluation(core)?;
            self.take_in_once(core, entries)
        })
    }

    fn take_in_once(&self, core: &mut Core, entries: &[Incoming]) -> Result<()> {
        let mut stage = Stage::new(self, core);
        for incoming in entries {
            match self.judge(&mut stage, incoming, true)? {
                Verdict::Admit { counts: true, op: None } => {
                    stage.add(&incoming.entry, &incoming.payloads, true, true, None, true)?;
                }
                Verdict::Admit { op: Some(_), .. } => {
                    return Err(Error::new(
                        ErrorKind::InvalidInput,
                        "committing to",
                        format_args!("the database {}", self.id.short()),
                        "rights were changed together with other things",
                    )
                    .hint("grant and revoke outside of the step"));
                }
                Verdict::Admit { .. } => {
                    let reason = format!("the rights of {} were revoked", incoming.entry.header().author);
                    return Err(denied("committing to", &self.id, reason));
                }
                Verdict::Refuse(reason) => return Err(denied("committing to", &self.id, reason)),
                Verdict::Known | Verdict::Wait(_) | Verdict::NotBefore(_) => {
                    return Err(Error::new(
                        ErrorKind::Bug,
                        "committing to",
                        format_args!("the database {}", self.id.short()),
                        "an entry that was made here can't be taken in",
                    ));
                }
            }
        }
        self.finish(stage, None)
    }

    /// Entries of this tree whose copies are right: payloads hash to what the header says, and an id is authentic when its
    /// own signature is valid or an authentic entry of the same author names it as `author_prev`.
    fn authenticate(&self, entries: Vec<Incoming>, report: &mut Ingested) -> Vec<Incoming> {
        let mut good: Vec<Incoming> = Vec::with_capacity(entries.len());
        for incoming in entries {
            match self.check_copy(&incoming) {
                Ok(()) => good.push(incoming),
                Err(reason) => report.bad_copies.push((incoming.entry.id(), reason)),
            }
        }
        loop {
            let named: HashMap<Id, usize> = good
                .iter()
                .enumerate()
                .filter_map(|(at, incoming)| Some((incoming.entry.header().author_prev?, at)))
                .collect();
            // An entry's successor speaks for it only if it is by the same author.
            let ends: Vec<usize> = (0..good.len())
                .filter(|at| !good[*at].checked)
                .filter(|at| {
                    let entry = &good[*at].entry;
                    let successor = named.get(&entry.id());
                    successor.is_none_or(|next| good[*next].entry.header().author != entry.header().author)
                })
                .collect();
            if ends.is_empty() {
                return good;
            }
            let mut batch = SignatureBatch::new();
            for at in &ends {
                let entry = &good[*at].entry;
                batch.push(&entry.header().author, &signature_message(&entry.id()), entry.signature());
            }
            let invalid: HashSet<usize> =
                batch.invalid(self.shared.rng.array()).into_iter().map(|at| ends[at]).collect();
            for at in &ends {
                good[*at].checked = !invalid.contains(at);
            }
            if invalid.is_empty() {
                return good;
            }
            let mut at = 0;
            good.retain(|incoming| {
                let keep = !invalid.contains(&at);
                at += 1;
                if !keep {
                    report
                        .bad_copies
                        .push((incoming.entry.id(), "its signature isn't its author's".to_owned()));
                }
                keep
            });
        }
    }

    fn check_copy(&self, incoming: &Incoming) -> Result<(), String> {
        let stores = &incoming.entry.header().stores;
        if incoming.entry.tree() != self.id {
            return Err("it belongs to another database".to_owned());
        }
        if incoming.payloads.len() != stores.len() {
            return Err(format!("it has {} payloads for {} stores", incoming.payloads.len(), stores.len()));
        }
        for (store, payload) in stores.iter().zip(&incoming.payloads) {
            // A full replica takes entries whole: one stored without a payload would shut out the copy that has it.
            let Some(payload) = payload else {
                return Err(format!("its payload for \"{}\" didn't come along", store.name));
            };
            if payload.len() != store.payload_bytes as usize || payload_hash(payload) != store.payload_hash {
                return Err(format!("its payload for \"{}\" has another hash", store.name));
            }
        }
        Ok(())
    }

    /// Stages entries until the batch is full or a rights operation ends it, and writes it.
    fn ingest_batch(
        &self,
        core: &mut Core,
        queue: &mut VecDeque<Incoming>,
        taken: &mut Vec<Incoming>,
        report: &mut Ingested,
    ) -> Result<()> {
        let mut op = None;
        let mut stage = Stage::new(self, core);
        let first_accepted = report.accepted.len();
        while op.is_none() && stage.len() < BATCH_ENTRIES_MAX && stage.bytes() < BATCH_BYTES_MAX {
            let Some(incoming) = queue.pop_front() else { break };
            // An operation is judged by the author chains that are written.
            if stage.len() > 0 && incoming.entry.header().store(RIGHTS_STORE).is_some() {
                queue.push_front(incoming);
                break;
            }
            let id = incoming.entry.id();
            match self.judge(&mut stage, &incoming, false)? {
                Verdict::Admit { counts, op: node } => {
                    let rank = node.as_ref().and_then(|judged| judged.rank());
                    let arrival = stage.add(
                        &incoming.entry,
                        &incoming.payloads,
                        counts,
                        incoming.checked,
                        rank,
                        false,
                    )?;
                    report.accepted.push((id, arrival));
                    op = node;
                    taken.push(incoming);
                }
                Verdict::Known => report.known.push(id),
                Verdict::NotBefore(time) => report.not_before.push((id, time)),
                Verdict::Wait(missing) => {
                    report.waiting.push((id, missing));
                    stage.core.waiting.put(missing, incoming);
                }
                Verdict::Refuse(reason) => {
                    if !stage.refused_before(&id)? {
                        self.remember_refused(&mut stage, &id, &reason)?;
                    }
                    report.refused.push((id, reason));
                    // Whatever waits for it is refused in turn.
                    queue.extend(stage.core.waiting.take(&id));
                }
            }
        }
        self.finish(stage, op)?;
        // Only now that they are written may those that waited for them be judged.
        for (id, _) in &report.accepted[first_accepted..] {
            for waiting in core.waiting.take(id).into_iter().rev() {
                report.waiting.retain(|(waiter, _)| *waiter != waiting.entry.id());
                queue.push_front(waiting);
            }
        }
        Ok(())
    }

    /// Writes a stage; a rights operation that ended it takes effect.
    pub(crate) fn finish(&self, mut stage: Stage<'_>, op: Option<Box<Judged>>) -> Result<()> {
        let Some(judged) = op else { return stage.write().map(drop) };
        let reevaluate = judged.reevaluate();
        if reevaluate {
            // If the process dies between this write and the next, the mark makes the next load derive what counts.
            stage.mark_reevaluate();
        }
        let core = stage.write()?;
        core.rights.push(*judged);
        // The entry is written: a conflict from here on concerns what follows from it.
        self.finish_reevaluation(core)
    }

    fn remember_refused(&self, stage: &mut Stage<'_>, id: &Id, reason: &str) -> Result<()> {
        if stage.refuse(*id) <= REFUSED_MAX {
            let row = encode("a refusal", &reason)?;
            stage.batch().put(self.keys.refused(id), row);
        }
        Ok(())
    }

    /// Decides what becomes of one entry, from what is held and staged. An `own` one may have any clock.
    fn judge(&self, stage: &mut Stage<'_>, incoming: &Incoming, own: bool) -> Result<Verdict> {
        let entry = &incoming.entry;
        let header = entry.header();
        if stage.info(&entry.id())?.is_some() {
            return Ok(Verdict::Known);
        }
        if stage.refused_before(&entry.id())? {
            return Ok(Verdict::Refuse("it was refused before".to_owned()));
        }
        if let Some(unknown) = header.ext.iter().find(|ext| ext.is_critical()) {
            // It waits until a program that knows the tag opens the database.
            return Ok(Verdict::Wait(never(unknown.tag)));
        }
        if let Some(time) = header.clock.not_before(self.shared.clock.wall())
            && !own
        {
            return Ok(Verdict::NotBefore(time));
        }
        let mut parents = Vec::with_capacity(header.parents.len());
        for parent in &header.parents {
            match self.dependency(stage, parent)? {
                Ok(info) => parents.push(info),
                Err(verdict) => return Ok(verdict),
            }
        }
        if let Some(parent) = parents.iter().find(|parent| parent.clock >= header.clock) {
            return Ok(Verdict::Refuse(format!(
                "its clock {} isn't greater than a parent's {}",
                header.clock, parent.clock
            )));
        }
        if let Some(previous) = &header.author_prev {
            let info = match self.dependency(stage, previous)? {
                Ok(info) => info,
                Err(verdict) => return Ok(verdict),
            };
            if info.author != header.author || info.author_seq.checked_add(1) != Some(header.author_seq) {
                return Ok(Verdict::Refuse("author_prev isn't its author's previous entry".to_owned()));
            }
            if info.clock >= header.clock {
                return Ok(Verdict::Refuse("its clock isn't greater than author_prev's".to_owned()));
            }
        }
        if !header.is_root() {
            match stage.core.rights_behind(parents.iter().map(|parent| &parent.rights)) {
                Some(behind) if behind[..] == header.rights[..] => {}
                _ => {
                    return Ok(Verdict::Refuse(
                        "it names other rights operations than its parents do".to_owned(),
                    ));
                }
            }
        }
        let frontier = self.resolve(stage.core, &header.rights)?;
        let op = match header.stores.iter().position(|store| store.name == RIGHTS_STORE) {
            None => None,
            Some(at) => match self.rights_op(stage, incoming, at)? {
                Ok(op) => Some(op),
                Err(verdict) => return Ok(verdict),
            },
        };
        self.admit(stage, entry, &frontier, op)
    }

    /// What an entry depends on: held, or the verdict that follows from its absence.
    fn dependency(
        &self,
        stage: &mut Stage<'_>,
        id: &Id,
    ) -> Result<std::result::Result<super::tree::Info, Verdict>> {
        if let Some(info) = stage.info(id)? {
            return Ok(Ok(info));
        }
        if stage.refused_before(id)? {
            return Ok(Err(Verdict::Refuse(format!("it depends on {id}, which is refused"))));
        }
        Ok(Err(Verdict::Wait(*id)))
    }

    fn rights_op(
        &self,
        stage: &mut Stage<'_>,
        incoming: &Incoming,
        at: usize,
    ) -> Result<std::result::Result<RightsOp, Verdict>> {
        let kind = &incoming.entry.header().stores[at].kind;
        let policy = self.policy.kind();
        if kind != policy {
            return Ok(Err(Verdict::Refuse(format!(
                "its rights are of kind {kind}, the database's are {policy}"
            ))));
        }
        let Some(payload) = &incoming.payloads[at] else {
            // Without its content nothing behind it can be judged: as if the entry itself hadn't come.
            return Ok(Err(Verdict::Wait(incoming.entry.id())));
        };
        let op = match stage.core.rights.op(payload) {
            Ok(op) => op,
            Err(error) => {
                return Ok(Err(Verdict::Refuse(format!("its rights operation can't be read: {error}"))));
            }
        };
        for kept in op.keep() {
            if let Err(verdict) = self.dependency(stage, kept)? {
                return Ok(Err(verdict));
            }
        }
        Ok(Ok(op))
    }

    /// Rules 1 and 2 for an entry whose past is held.
    fn admit(
        &self,
        stage: &mut Stage<'_>,
        entry: &SignedEntry,
        frontier: &Frontier,
        op: Option<RightsOp>,
    ) -> Result<Verdict> {
        let header = entry.header();
        let stores: Vec<String> = header.stores.iter().map(|store| store.name.clone()).collect();
        let deed = Deed {
            id: entry.id(),
            author: header.author,
            author_seq: header.author_seq,
            is_root: header.is_root(),
            stores: &stores,
            op: op.as_ref(),
            past: &frontier.past,
        };
        if let Err(denial) = stage.core.rights.admissible(frontier, &deed) {
            return Ok(Verdict::Refuse(denial.reason));
        }
        let chain = Chain::new(stage.reader(), self.keys);
        let rights = &mut stage.core.rights;
        let Some(op) = op else {
            return Ok(Verdict::Admit { counts: rights.counts(frontier, &deed, &chain)?, op: None });
        };
        let judged = rights.judge(rights.node(entry, op, frontier), frontier, &chain)?;
        Ok(Verdict::Admit { counts: judged.counts(), op: Some(Box::new(judged)) })
    }

    /// The ids that an entry's closure goes on to: parents, `author_prev`, and the heads that its rights operation keeps.
    pub(crate) fn edges(&self, entry: &SignedEntry, payloads: &[Option<Bytes>]) -> Vec<Id> {
        let header = entry.header();
        let mut edges: Vec<Id> = header.parents.iter().copied().chain(header.author_prev).collect();
        let at = header.stores.iter().position(|store| store.name == RIGHTS_STORE);
        if let Some(at) = at
            && let Some(payload) = payloads.get(at).and_then(Option::as_ref)
            && let Some(policy) = self.shared.policies.get(&header.stores[at].kind[..])
            && let Ok(op) = Envelope::decode(payload).and_then(|envelope| policy.decode(&envelope.body))
        {
            edges.extend(op.keep());
        }
        edges
    }

    /// An entry's payloads with only that of its rights operation read.
    pub(crate) fn rights_payload(
        &self,
        reader: &dyn eidetica_kernel::backend::Snapshot,
        arrival: Arrival,
        entry: &SignedEntry,
    ) -> Result<Vec<Option<Bytes>>> {
        let stores = entry.header().stores.iter().enumerate();
        stores
            .map(|(at, store)| {
                if store.name == RIGHTS_STORE {
                    read::payload(reader, self.keys, arrival, entry, at)
                } else {
                    Ok(None)
                }
            })
            .collect()
    }

    /// Heads of an author's chains: their entries that are no other's `author_prev`; sorted.
    ///
    /// Of more than an operation can keep, the longest chains' (of equally long ones the newest; then the smaller id), so that
    /// somebody who forks its chain too often can still be revoked. What is only on the others is not kept.
    pub(crate) fn chain_heads(&self, author: &eidetica_kernel::PublicKey) -> Result<Vec<Id>> {
        let reader = &*self.shared.live;
        let Some(number) = self.lock().author_no(reader, self.keys, author)? else {
            return Ok(Vec::new());
        };
        let mut heads = Vec::new();
        let mut named = HashSet::new();
        let mut scan = Scan::prefix(&self.keys.chains_of(number)).backward().limit(64);
        // A branch may end anywhere, so the chain is read to its beginning.
        loop {
            let page = reader.scan(&scan)?;
            let arrivals = page.rows.iter().filter_map(|(key, _)| super::layout::TreeKeys::chain_in(key));
            for (_, arrival) in arrivals {
                let Some((_, entry)) = read::entry_at(reader, self.keys, arrival)? else { continue };
                if !named.remove(&entry.id()) {
                    let header = entry.header();
                    heads.push((Reverse((header.author_seq, header.clock)), entry.id()));
                }
                named.extend(entry.header().author_prev);
            }
            match page.rows.last() {
                Some((last, _)) if page.more => scan = scan.after(last.clone()),
                _ => break,
            }
        }
        heads.sort_unstable();
        let mut heads: Vec<Id> = heads.into_iter().map(|(_, id)| id).take(KEEP_MAX).collect();
        heads.sort_unstable();
        Ok(heads)
    }
}

#[cfg(test)]
mod tests;
