//! Commits under way. Their ids chain under the tree's lock, they are signed beside each other without it, and written in
//! their order, those that are ready in one batch.

use std::collections::VecDeque;
use std::ops::RangeBounds;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use eidetica_kernel::entry::UnsignedEntry;
use eidetica_kernel::{ErrorKind, Id, PublicKey, Result, SecretKey, SignedEntry};

use super::commit::{Behind, Payloads};
use super::ingest::{BATCH_BYTES_MAX, CONFLICTS_MAX};
use super::read;
use super::stage::Stage;
use super::tree::{ChainTip, Core, Inside, Tree};

/// Commits that share a batch at most.
const TOGETHER_MAX: usize = 64;

/// The commits under way, in the order of their ids. While there is one, only they write to the tree.
#[derive(Default)]
pub(super) struct Line {
    places: VecDeque<Place>,
    next_number: u64,
    /// How many wait for its end.
    closed: usize,
}

/// A commit whose id is known: others may follow it.
struct Place {
    number: u64,
    tip: ChainTip,
    author: PublicKey,
    /// Heads of the rights operations behind it.
    rights: Arc<[Id]>,
    /// It follows every tip of the tree.
    covers: bool,
    signed: Option<Signed>,
}

/// One that only has to be written.
struct Signed {
    entry: SignedEntry,
    payloads: Arc<Payloads>,
    /// `false` if it wasn't written because of one before it: it has to begin anew.
    written: Arc<OnceLock<bool>>,
}

impl Line {
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Lets nobody in until [`reopen`](Self::reopen).
    pub(super) fn close(&mut self) {
        self.closed += 1;
    }

    pub(super) fn reopen(&mut self) {
        self.closed -= 1;
    }

    fn position(&self, number: u64) -> Option<usize> {
        self.places.iter().position(|place| place.number == number)
    }

    /// Whether somebody may get in: behind the last one only if that leaves no other tip to follow.
    fn lets_in(&self) -> bool {
        self.closed == 0 && self.places.back().is_none_or(|last| last.covers)
    }

    /// What follows the last one, by `author`; `known` is the author's last entry that is written.
    fn behind(&self, author: &PublicKey, known: Option<ChainTip>) -> Option<Behind> {
        let last = self.places.back()?;
        let own = self.places.iter().rev().find(|place| place.author == *author);
        Some(Behind {
            parents: vec![last.tip.id],
            rights: last.rights.clone(),
            clock: last.tip.clock,
            previous: own.map(|place| place.tip).or(known),
        })
    }

    fn push(&mut self, entry: &UnsignedEntry, covers: bool) -> u64 {
        let header = entry.header();
        let number = self.next_number;
        self.next_number += 1;
        self.places.push_back(Place {
            number,
            tip: ChainTip { id: entry.id(), seq: header.author_seq, clock: header.clock },
            author: header.author,
            rights: Arc::from(&header.rights[..]),
            covers,
            signed: None,
        });
        number
    }

    /// The first ones that are ready and fit into one batch.
    fn ready(&self) -> impl Iterator<Item = &Signed> {
        let mut bytes = 0;
        let ready = self.places.iter().map_while(|place| place.signed.as_ref());
        ready.take(TOGETHER_MAX).enumerate().map_while(move |(at, signed)| {
            bytes += signed.payloads.bytes.iter().flatten().map(Bytes::len).sum::<usize>();
            (at == 0 || bytes <= BATCH_BYTES_MAX).then_some(signed)
        })
    }

    /// Those places are over.
    fn end(&mut self, places: impl RangeBounds<usize>, written: bool) {
        for place in self.places.drain(places) {
            if let Some(signed) = place.signed {
                let _ = signed.written.set(written);
            }
        }
    }
}

/// A thread's place in the line; others don't wait for one that is given up.
struct Held<'a> {
    tree: &'a Tree,
    number: u64,
    left: bool,
}

impl Held<'_> {
    /// Writes the entry of this place once those before it are written. `false` if one of them wasn't.
    fn write(mut self, entry: SignedEntry, payloads: &Arc<Payloads>) -> Result<bool> {
        let written = self.tree.write_in_line(self.number, entry, payloads);
        self.left = true;
        written
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if self.left {
            return;
        }
        let line = &mut self.tree.inside.lock().line;
        if let Some(at) = line.position(self.number) {
            line.end(at.., false);
        }
        self.tree.moved.notify_all();
    }
}

impl Tree {
    /// Commits to the tips, and to what others are committing.
    pub(super) fn commit_in_line(&self, author: &SecretKey, payloads: Payloads) -> Result<Id> {
        let payloads = Arc::new(payloads);
        let (mut tried, mut conflicts) = (None, 0);
        loop {
            let written = self.get_in_line(author, &payloads).and_then(|(held, entry)| {
                tried = Some(entry.id());
                held.write(entry.sign(author), &payloads)
            });
            match (written, tried) {
                (Ok(true), Some(id)) => return Ok(id),
                // One before it wasn't written.
                (Ok(_), _) => {}
                (Err(error), _) if error.kind() == ErrorKind::Conflict => {
                    conflicts += 1;
                    if conflicts == CONFLICTS_MAX {
                        return Err(self.crowded_out());
                    }
                    self.refresh()?;
                }
                (Err(error), _) => return Err(error),
            }
            // Where a connection breaks, a batch may be reported as failed that was written all the same.
            if let Some(id) = tried
                && read::arrival_of(&*self.shared.live, self.keys, &id)?.is_some()
            {
                // Links and subscribers are told of it.
                self.refresh()?;
                return Ok(id);
            }
        }
    }

    /// Makes the entry that follows the last one in the line, or the tips.
    fn get_in_line(&self, author: &SecretKey, payloads: &Payloads) -> Result<(Held<'_>, UnsignedEntry)> {
        let key = author.public_key();
        let mut inside = self.inside.lock();
        while !inside.line.lets_in() {
            self.moved.wait(&mut inside);
        }
        let Inside { core, line } = &mut *inside;
        if line.is_empty() {
            self.finish_reevaluation(core)?;
            self.merge_crowded_rights(core, author)?;
        }
        let known = core.chain_tip(&*self.shared.live, self.keys, &key)?;
        let (behind, covers) = match line.behind(&key, known) {
            Some(behind) => (behind, true),
            None => {
                let parents = self.choose_parents(core, &key, false)?;
                let covers = parents.tips.len() == core.head.tips.len();
                let ids = parents.tips.into_iter().map(|(id, _)| id).collect();
                let (rights, clock) = (parents.rights, core.head.clock);
                (Behind { parents: ids, rights, clock, previous: known }, covers)
            }
        };
        let entry = self.follow(core, key, payloads, None, behind)?;
        let number = line.push(&entry, covers);
        Ok((Held { tree: self, number, left: false }, entry))
    }

    fn write_in_line(&self, number: u64, entry: SignedEntry, payloads: &Arc<Payloads>) -> Result<bool> {
        let mut inside = self.inside.lock();
        let Some(at) = inside.line.position(number) else { return Ok(false) };
        let written = Arc::new(OnceLock::new());
        let signed = Signed { entry, payloads: payloads.clone(), written: written.clone() };
        inside.line.places[at].signed = Some(signed);
        loop {
            if let Some(written) = written.get() {
                return Ok(*written);
            }
            if inside.line.position(number) == Some(0) {
                break;
            }
            // The thread of the first one writes this one too, or leaves the first place to it.
            self.moved.wait(&mut inside);
        }
        let Inside { core, line } = &mut *inside;
        let done = self.write_first(core, line);
        self.moved.notify_all();
        done.map(|()| true)
    }

    /// Writes the first one of the line, with those behind it that are ready. If it can't be written, they begin anew.
    fn write_first(&self, core: &mut Core, line: &mut Line) -> Result<()> {
        let mut count = line.ready().count();
        let mut done = self.write_together(core, line.ready(), true);
        // Another one may be to blame, or what a transaction has read is gone.
        if done.as_ref().is_err_and(|error| count > 1 || error.kind() == ErrorKind::Expired) {
            count = 1;
            done = self.write_together(core, line.ready().take(1), false);
        }
        match done {
            Ok(()) => line.end(..count, true),
            Err(_) => line.end(.., false),
        }
        done
    }

    fn write_together<'a>(
        &self,
        core: &mut Core,
        signed: impl Iterator<Item = &'a Signed>,
        as_read: bool,
    ) -> Result<()> {
        let mut stage = Stage::new(self, core);
        for Signed { entry, payloads, .. } in signed {
            stage.read_before(if as_read { &payloads.read } else { &[] });
            stage.add(entry, &payloads.bytes, true, true, None, true)?;
        }
        stage.write().map(drop)
    }
}

#[cfg(test)]
mod tests;
