//! Entries that can't be judged yet: something they depend on hasn't arrived.
//!
//! They rest in memory, within a bound: nothing here was acknowledged, so what is dropped is offered again.

use std::collections::{HashMap, HashSet, VecDeque};

use eidetica_kernel::Id;

use super::ingest::Incoming;

/// Bytes of waiting entries kept per tree.
const WAITING_BYTES_MAX: usize = 32 * 1_024 * 1_024;
/// Waiting entries kept per tree.
const WAITING_ENTRIES_MAX: usize = 65_536;

#[derive(Default)]
pub(crate) struct Waiting {
    /// With the entry that each waits for.
    entries: HashMap<Id, (Id, Incoming)>,
    by_missing: HashMap<Id, HashSet<Id>>,
    order: VecDeque<Id>,
    bytes: usize,
}

impl Waiting {
    /// Keeps an entry until `missing` arrives; the oldest ones make room.
    pub(crate) fn put(&mut self, missing: Id, incoming: Incoming) {
        let id = incoming.entry.id();
        let bytes = incoming.bytes();
        if bytes > WAITING_BYTES_MAX || self.entries.contains_key(&id) {
            return;
        }
        while self.bytes + bytes > WAITING_BYTES_MAX || self.entries.len() >= WAITING_ENTRIES_MAX {
            let Some(oldest) = self.order.pop_front() else { break };
            if let Some((waited_for, dropped)) = self.entries.remove(&oldest) {
                self.bytes -= dropped.bytes();
                if let Some(waiters) = self.by_missing.get_mut(&waited_for) {
                    waiters.remove(&oldest);
                    if waiters.is_empty() {
                        self.by_missing.remove(&waited_for);
                    }
                }
            }
        }
        self.bytes += bytes;
        self.order.push_back(id);
        self.by_missing.entry(missing).or_default().insert(id);
        self.entries.insert(id, (missing, incoming));
    }

    /// Those that waited for `arrived`.
    pub(crate) fn take(&mut self, arrived: &Id) -> Vec<Incoming> {
        let waiting = self.by_missing.remove(arrived).unwrap_or_default();
        let taken = waiting.iter().filter_map(|id| self.entries.remove(id));
        let mut taken: Vec<Incoming> = taken.map(|(_, incoming)| incoming).collect();
        self.bytes -= taken.iter().map(Incoming::bytes).sum::<usize>();
        if self.order.len() > 2 * self.entries.len() + 64 {
            self.order.retain(|id| self.entries.contains_key(id));
        }
        taken.sort_by_key(|incoming| (incoming.entry.header().clock, incoming.entry.id()));
        taken
    }
}
