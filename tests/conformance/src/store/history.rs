//! Random histories: several writers, each of whom has seen a part of what the others wrote.

use std::sync::Arc;

use eidetica_kernel::store::{RowOverlay, RowReader, Stamp, StampedPayload, Store};
use eidetica_kernel::{HybridClock, Id};

use super::rows::MemoryRows;
use crate::check::{Outcome, fail};

/// A small generator (SplitMix64, Steele et al. 2014): the same numbers for the same seed, everywhere.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The generator of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 if that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.bits() >> 1) as usize % end.max(1)
    }

    /// `true` in this many of a hundred cases.
    pub fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of these; there must be one.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// Fills with random bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.bits().to_le_bytes()[..chunk.len()]);
        }
    }

    /// In random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }
}

/// Version and body of a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Version of the body.
    pub version: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// What the writer of the next payload has seen.
#[derive(Clone)]
pub struct Seen<'a> {
    /// The rows that the store under test made of it.
    pub rows: Arc<dyn RowReader>,
    /// The payloads, in the order in which the writer took them in.
    pub payloads: &'a [Written],
}

/// Where payloads come from: the author of a store supplies one for the kind.
pub trait PayloadSource {
    /// A payload by somebody who has seen this. It is encoded as the kind's own handle would, and should often touch
    /// places that other writers touch.
    fn write(&mut self, random: &mut Random, seen: &Seen<'_>) -> Payload;

    /// A payload of very many writes, more than an implementation reads at once, half of them to places that [`Self::write`] or
    /// other such payloads touch; `None` if the kind can't have one. Cases about them are skipped then.
    fn write_many(&mut self, _random: &mut Random, _seen: &Seen<'_>) -> Option<Payload> {
        None
    }

    /// What it has written so far, for people: printed when the suite runs.
    fn describe(&self) -> String {
        String::new()
    }
}

/// A payload with its stamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// When, by which entry.
    pub stamp: Stamp,
    /// What.
    pub payload: Payload,
}

impl Written {
    /// As a store takes it in.
    pub fn stamped(&self, arrival: u64) -> StampedPayload<'_> {
        StampedPayload { stamp: self.stamp, arrival, version: self.payload.version, body: &self.payload.body }
    }
}

/// A random history.
#[derive(Clone, Debug)]
pub struct History {
    /// The payloads, each after what its writer had seen.
    pub written: Vec<Written>,
}

struct Writer {
    rows: Arc<MemoryRows>,
    seen: Vec<Written>,
    has: Vec<bool>,
    clock: u64,
}

impl History {
    /// A history of `payloads` payloads by 3 writers, who read one another's at random times. Some clocks are equal.
    ///
    /// # Errors
    /// What the store answered.
    pub fn random(
        store: &dyn Store,
        source: &mut dyn PayloadSource,
        random: &mut Random,
        payloads: usize,
    ) -> Outcome<Self> {
        let writer =
            || Writer { rows: Arc::default(), seen: Vec::new(), has: vec![false; payloads], clock: 1 };
        let mut writers: Vec<Writer> = (0..3).map(|_| writer()).collect();
        let mut written: Vec<Written> = Vec::new();
        while written.len() < payloads {
            let at = random.below(writers.len());
            let writer = &mut writers[at];
            if random.percent(25) {
                // What one has seen includes its past, as with entries: take a prefix of the whole history.
                let upto = random.below(written.len() + 1);
                for (of, payload) in written.iter().enumerate().take(upto) {
                    if !std::mem::replace(&mut writer.has[of], true) {
                        writer.take_in(store, payload)?;
                    }
                }
            }
            let seen = Seen { rows: writer.rows.clone(), payloads: &writer.seen };
            let payload = source.write(random, &seen);
            drop(seen);
            writer.clock += [0, 1, 1, 1 << 16][random.below(4)].max(u64::from(!writer.seen.is_empty()));
            let mut entry = [0; 32];
            random.fill(&mut entry);
            let stamp = Stamp { clock: HybridClock::from_bits(writer.clock), entry: Id::from_bytes(entry) };
            let new = Written { stamp, payload };
            writer.has[written.len()] = true;
            writer.take_in(store, &new)?;
            written.push(new);
        }
        Ok(Self { written })
    }
}

impl Writer {
    fn take_in(&mut self, store: &dyn Store, written: &Written) -> Outcome {
        self.clock = self.clock.max(written.stamp.clock.to_bits());
        apply(store, Arc::make_mut(&mut self.rows), written, self.seen.len() as u64)?;
        self.seen.push(written.clone());
        Ok(())
    }
}

/// Applies one payload and writes its changes.
pub(super) fn apply(store: &dyn Store, rows: &mut MemoryRows, written: &Written, arrival: u64) -> Outcome {
    let mut overlay = RowOverlay::new(rows);
    let applied = store.apply(&mut overlay, &written.stamped(arrival));
    let changes = overlay.into_changes();
    match applied {
        Ok(_) => {
            rows.write(changes);
            Ok(())
        }
        Err(error) => fail(format!("apply failed though the rows can be read: {error} (F4)")),
    }
}
