//! What one node lacks of a tree: told by a few ids, found by a walk over the gap.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use eidetica_kernel::backend::Snapshot;
use eidetica_kernel::entry::signature_message;
use eidetica_kernel::{Id, PublicKey, Result, SignatureBatch, SignedEntry};

use super::messages::{
    BATCH_BYTES, BATCH_ENTRIES_MAX, HEADS_MAX, Have, SAMPLE_MAX, WireEntry, WirePayload, chunked,
};
use crate::engine::layout::Arrival;
use crate::engine::read;
use crate::engine::records::{Tip, corrupt};
use crate::engine::tree::Tree;

/// Digest of a tree's heads: equal digests mean equal entries.
pub(crate) fn heads_digest(tips: &[Tip]) -> [u8; 32] {
    let mut ids: Vec<&Id> = tips.iter().map(|tip| &tip.id).collect();
    ids.sort_unstable();
    let mut hasher = blake3::Hasher::new_derive_key("eidetica 1 heads");
    for id in ids {
        hasher.update(id.as_bytes());
    }
    *hasher.finalize().as_bytes()
}

/// Tells what is held of a tree.
pub(crate) fn have(tree: &Tree, round: u32) -> Result<Have> {
    let head = tree.head();
    let reader = &*tree.shared.live;
    let mut have = Have {
        round,
        heads_digest: heads_digest(&head.tips),
        entries: head.entries(),
        heads: head.tips.iter().rev().take(HEADS_MAX).map(|tip| tip.id).collect(),
        sample: Vec::new(),
    };
    // Arrival numbers behind the newest, at distances that grow by half each time.
    let mut distance = 1u64;
    while distance < head.next_arrival && have.sample.len() < SAMPLE_MAX - 1 {
        push_sample(tree, reader, head.next_arrival - 1 - distance, &mut have)?;
        distance += distance.div_ceil(2);
    }
    if head.next_arrival > 0 {
        push_sample(tree, reader, 0, &mut have)?;
    }
    Ok(have)
}

fn push_sample(tree: &Tree, reader: &dyn Snapshot, arrival: Arrival, have: &mut Have) -> Result<()> {
    if let Some((flags, entry)) = read::entry_at(reader, tree.keys, arrival)?
        && flags.inside
        && !have.sample.contains(&entry.id())
    {
        have.sample.push(entry.id());
    }
    Ok(())
}

/// Which entries to send: those that the other side lacks, as far as is known, then all that arrive later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Arrival numbers to send first, ascending, disjoint.
    ranges: Vec<Range<Arrival>>,
    /// From here on everything is sent but what is skipped.
    tail: Arrival,
    /// Arrival numbers in the tail that came from the other side.
    skip: BTreeMap<Arrival, Arrival>,
    /// What was inside the closure when this was planned.
    pub(crate) epoch: u64,
}

impl Plan {
    /// Everything from the first entry on.
    pub(crate) fn everything() -> Self {
        Self { ranges: Vec::new(), tail: 0, skip: BTreeMap::new(), epoch: 0 }
    }

    /// Finds what a node that has `have` lacks of `tree`.
    ///
    /// Costs in the order of the gap: entries are visited from the newest down until only common ones are left.
    pub(crate) fn new(tree: &Tree, known: &[Id]) -> Result<Self> {
        let reader = &*tree.shared.live;
        let head = tree.head();
        let mut plan =
            Self { ranges: Vec::new(), tail: head.next_arrival, skip: BTreeMap::new(), epoch: head.epoch };
        let mut had = Vec::new();
        for id in known {
            had.extend(read::arrival_of(reader, tree.keys, id)?);
        }
        if had.is_empty() {
            plan.ranges.push(0..head.next_arrival);
            return Ok(plan);
        }
        // Arrival order is causal order, so that the highest number is never behind another one in the queue.
        let mut queue: BTreeMap<Arrival, bool> = BTreeMap::new();
        let mut wanted = 0usize;
        for tip in &head.tips {
            let arrival = read::arrival_of(reader, tree.keys, &tip.id)?
                .ok_or_else(|| corrupt("the heads of a tree", "one isn't held"))?;
            if arrival < plan.tail && queue.insert(arrival, true).is_none() {
                wanted += 1;
            }
        }
        for arrival in had {
            if queue.insert(arrival, false) == Some(true) {
                wanted -= 1;
            }
        }
        let mut found: Vec<Arrival> = Vec::new();
        while wanted > 0 {
            let Some((arrival, want)) = queue.pop_last() else { break };
            let Some((_, entry)) = read::entry_at(reader, tree.keys, arrival)? else {
                return Err(corrupt("the arrival log", "an entry is missing"));
            };
            if want {
                wanted -= 1;
                found.push(arrival);
            }
            let payloads = tree.rights_payload(reader, arrival, &entry)?;
            for edge in tree.edges(&entry, &payloads) {
                let Some(behind) = read::arrival_of(reader, tree.keys, &edge)? else {
                    return Err(corrupt("the arrival log", "an entry depends on one that isn't held"));
                };
                match queue.insert(behind, want) {
                    None if want => wanted += 1,
                    Some(false) if want => {
                        queue.insert(behind, false);
                    }
                    Some(true) if !want => wanted -= 1,
                    _ => {}
                }
            }
        }
        for arrival in found.into_iter().rev() {
            match plan.ranges.last_mut() {
                Some(last) if last.end == arrival => last.end += 1,
                _ => plan.ranges.push(arrival..arrival + 1),
            }
        }
        Ok(plan)
    }

    /// Leaves out entries that came from the other side.
    pub(crate) fn skip(&mut self, arrivals: impl IntoIterator<Item = Arrival>) {
        for arrival in arrivals {
            if arrival < self.tail {
                continue;
            }
            let before = self.skip.range(..=arrival).next_back().map(|(start, end)| (*start, *end));
            match before {
                Some((_, end)) if arrival < end => {}
                Some((start, end)) if arrival == end => {
                    self.skip.insert(start, end + 1);
                }
                _ => {
                    self.skip.insert(arrival, arrival + 1);
                }
            }
        }
    }

    /// The next arrival number to look at, and how far it may go on from there; `end` and what follows stays.
    fn next(&mut self, end: Arrival) -> Option<Range<Arrival>> {
        if let Some(first) = self.ranges.first() {
            let within = first.start..first.end.min(end);
            return (!within.is_empty()).then_some(within);
        }
        while let Some((start, end)) = self.skip.first_key_value().map(|(start, end)| (*start, *end)) {
            if self.tail < start {
                break;
            }
            self.tail = self.tail.max(end);
            self.skip.pop_first();
        }
        let end = self.skip.first_key_value().map_or(end, |(start, _)| (*start).min(end));
        (self.tail < end).then_some(self.tail..end)
    }

    fn advance(&mut self, to: Arrival) {
        match self.ranges.first_mut() {
            Some(first) if to >= first.end => {
                self.ranges.remove(0);
            }
            Some(first) => first.start = to,
            None => self.tail = to,
        }
    }

    /// Reads the next entries to send, up to a message's worth, of those that arrived before `end`; empty when nothing is left
    /// for now.
    ///
    /// Bytes of chunked payloads aren't read. The last entry of each author in the message has a signature that was
    /// checked by itself: where a stored copy is wrong, the message goes on to the author's next entry, which vouches for it.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] where no such message can be made; those of the backend.
    pub(crate) fn read(&mut self, tree: &Tree, end: Option<Arrival>) -> Result<Vec<WireEntry>> {
        let start = self.clone();
        let mut larger = 1;
        loop {
            *self = start.clone();
            let read = self.read_some(tree, larger, end)?;
            match wrong_end(tree, &read)? {
                None => return Ok(read.into_iter().map(|read| read.wire).collect()),
                Some(_) if larger < 4 => larger *= 2,
                Some(id) => {
                    return Err(corrupt(
                        format_args!("the entry {id}"),
                        "the copy of its signature is wrong",
                    ));
                }
            }
        }
    }

    fn read_some(&mut self, tree: &Tree, larger: usize, end: Option<Arrival>) -> Result<Vec<Read>> {
        let reader: Arc<dyn Snapshot> = tree.shared.live.clone();
        let mut entries = Vec::new();
        let mut bytes = 0;
        let next_arrival = tree.head().next_arrival;
        let end = end.map_or(next_arrival, |end| end.min(next_arrival));
        while let Some(range) = self.next(end) {
            let mut reached = range.start;
            let mut full = false;
            tree.for_each_entry(&*reader, range.start, range.end, |arrival, flags, entry| {
                if bytes >= BATCH_BYTES * larger || entries.len() >= BATCH_ENTRIES_MAX {
                    full = true;
                    return Ok(false);
                }
                reached = arrival + 1;
                if !flags.inside {
                    return Ok(true);
                }
                let mut payloads = Vec::with_capacity(entry.header().stores.len());
                for (at, chunked) in chunked(&entry.header().stores).enumerate() {
                    payloads.push(if chunked {
                        WirePayload::Chunked
                    } else {
                        match read::payload(&*reader, tree.keys, arrival, &entry, at)? {
                            Some(payload) => {
                                bytes += payload.len();
                                WirePayload::Inline(payload)
                            }
                            None => WirePayload::Absent,
                        }
                    });
                }
                bytes += entry.header_bytes().len() + 72;
                let wire = WireEntry {
                    signature: *entry.signature(),
                    header: entry.header_bytes().clone(),
                    payloads,
                };
                entries.push(Read { wire, entry, checked: flags.checked });
                Ok(true)
            })?;
            self.advance(if full { reached } else { range.end });
            if full {
                break;
            }
        }
        Ok(entries)
    }
}

/// An entry read to be sent.
struct Read {
    wire: WireEntry,
    entry: SignedEntry,
    checked: bool,
}

/// The first entry that is its author's last here and whose signature is wrong.
fn wrong_end(tree: &Tree, entries: &[Read]) -> Result<Option<Id>> {
    let vouched: HashMap<Id, PublicKey> = entries
        .iter()
        .map(|read| read.entry.header())
        .filter_map(|header| header.author_prev.map(|previous| (previous, header.author)))
        .collect();
    let unchecked: Vec<&SignedEntry> = entries
        .iter()
        .filter(|read| !read.checked && vouched.get(&read.entry.id()) != Some(&read.entry.header().author))
        .map(|read| &read.entry)
        .collect();
    let mut batch = SignatureBatch::new();
    for entry in &unchecked {
        batch.push(&entry.header().author, &signature_message(&entry.id()), entry.signature());
    }
    if batch.is_empty() {
        return Ok(None);
    }
    Ok(batch.invalid(tree.shared.rng.array()).first().map(|at| unchecked[*at].id()))
}
