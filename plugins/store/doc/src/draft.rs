//! What a transaction has staged in one doc store: at most one operation per path, and the rows that these give.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use eidetica_kernel::entry::PAYLOAD_BYTES_MAX;
use eidetica_kernel::store::{Draft, RowChanges, RowOverlay, RowReader, Stamp};
use eidetica_kernel::{Error, ErrorKind, HybridClock, Id, Result};

use crate::fold::fold;
use crate::payload::{
    self, Action, BODY_VERSION, Container, OPERATIONS_MAX, Operations, PAYLOAD_PATH_BYTES_MAX, PROVISIONAL,
};
use crate::place::{self, DEPTH_MAX, ElementId, PATH_BYTES_MAX, Step};
use crate::position::Run;
use crate::read;
use crate::value::{Shape, Value};

/// What the envelope takes of a payload, at most.
const ENVELOPE_BYTES: usize = 64;
const STAGING: &str = "writing to a doc store";

/// The draft as the transaction keeps it; handles share it.
pub(crate) struct DocDraft(pub(crate) Arc<Mutex<Staged>>);

impl DocDraft {
    pub(crate) fn new(random: [u8; 16]) -> Self {
        let [a, b, c, d, ..] = random;
        Self(Arc::new(Mutex::new(Staged { tag: [a, b, c, d], ..Staged::default() })))
    }
}

impl Draft for DocDraft {
    fn encode(&mut self) -> Result<Option<(u16, Vec<u8>)>> {
        let mut staged = lock(&self.0);
        staged.sealed = true;
        if staged.operations.is_empty() {
            return Ok(None);
        }
        let operations = staged.operations.iter().map(|(path, action)| (&path[..], action));
        let body = payload::encode(operations, PROVISIONAL)
            .ok_or_else(|| Error::new(ErrorKind::Bug, "encoding a payload", "", "a path isn't one"))?;
        if body.len() > PAYLOAD_BYTES_MAX - ENVELOPE_BYTES {
            return Err(too_much("payload bytes", body.len(), PAYLOAD_BYTES_MAX - ENVELOPE_BYTES));
        }
        Ok(Some((BODY_VERSION, body)))
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

pub(crate) fn lock(staged: &Mutex<Staged>) -> MutexGuard<'_, Staged> {
    // Every change is made as a whole after what can fail: a panic elsewhere leaves it as it was.
    staged.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What was staged.
#[derive(Default)]
pub(crate) struct Staged {
    operations: BTreeMap<Vec<u8>, Action<'static>>,
    path_bytes: usize,
    changes: RowChanges,
    /// Numbers the provisional stamps: what is staged later wins, as it will in the payload.
    steps: u64,
    elements: u32,
    tag: [u8; 4],
    /// Where appending to a list goes on.
    runs: BTreeMap<Vec<u8>, Run>,
    /// It was encoded: nothing more can be staged.
    sealed: bool,
}

impl Staged {
    /// Reads with what was staged on top of `base`.
    pub(crate) fn read<R>(
        &mut self,
        base: &dyn RowReader,
        read: impl FnOnce(&dyn RowReader) -> Result<R>,
    ) -> Result<R> {
        let overlay = RowOverlay::with_changes(base, std::mem::take(&mut self.changes));
        let answer = read(&overlay);
        self.changes = overlay.into_changes();
        answer
    }

    /// Sets the value at a path, whatever was there.
    pub(crate) fn set(&mut self, base: &dyn RowReader, path: &[u8], value: Value) -> Result<()> {
        let mut change = Change { next_element: self.elements, tag: self.tag, ..Change::default() };
        change.value(path, value)?;
        self.stage(base, path, change)
    }

    /// Deletes a path, which exists.
    pub(crate) fn delete(&mut self, base: &dyn RowReader, path: &[u8]) -> Result<()> {
        // What was only staged, and would be nothing without it, leaves no trace.
        let only_staged = self.operations.contains_key(path)
            && (self.resets_above(path) || read::node(base, path)?.is_none());
        let mut change = Change { next_element: self.elements, ..Change::default() };
        change.push(path, Action::Delete)?;
        change.untraced = only_staged;
        self.stage(base, path, change)
    }

    /// Makes elements at the end of a list.
    pub(crate) fn append(&mut self, base: &dyn RowReader, list: &[u8], values: Vec<Value>) -> Result<()> {
        let run = match self.end_run(base, list)? {
            Some(run) => run,
            None => {
                let len = self.read(base, |rows| elements(rows, list))?.len();
                return self.insert(base, list, len, values);
            }
        };
        let mut change = Change { next_element: self.elements, tag: self.tag, ..Change::default() };
        let mut run = run;
        for value in values {
            change.element(list, run.next(), value)?;
        }
        self.stage_elements(base, list, change)?;
        self.runs.insert(list.to_vec(), run);
        Ok(())
    }

    /// Makes elements before the `index`-th of a list, which has at least that many.
    pub(crate) fn insert(
        &mut self,
        base: &dyn RowReader,
        list: &[u8],
        index: usize,
        values: Vec<Value>,
    ) -> Result<()> {
        let there = self.read(base, |rows| elements(rows, list))?;
        let Room { mut run, before, behind } = self.make_room(&there, index);
        let mut change = Change { next_element: self.elements, tag: self.tag, ..Change::default() };
        for element in before {
            change.place(list, element, run.next())?;
        }
        for value in values {
            change.element(list, run.next(), value)?;
        }
        for element in behind {
            change.place(list, element, run.next())?;
        }
        self.runs.remove(list);
        self.stage_elements(base, list, change)
    }

    /// Moves an element of a list to where it is the `to`-th. Both indexes exist.
    pub(crate) fn move_item(
        &mut self,
        base: &dyn RowReader,
        list: &[u8],
        from: usize,
        to: usize,
    ) -> Result<()> {
        let mut there = self.read(base, |rows| elements(rows, list))?;
        if from >= there.len() || to >= there.len() || from == to {
            return Ok(());
        }
        let (id, _) = there.remove(from);
        let Room { mut run, before, behind } = self.make_room(&there, to);
        let mut change = Change { next_element: self.elements, ..Change::default() };
        for element in before.into_iter().chain([id]).chain(behind) {
            change.place(list, element, run.next())?;
        }
        self.runs.remove(list);
        self.stage_elements(base, list, change)
    }

    /// A run before the `index`-th element, with those neighbours that must be placed anew for it.
    fn make_room(&self, there: &[(ElementId, Vec<u8>)], index: usize) -> Room {
        let position = |at: usize| there.get(at).map(|(_, position)| position.as_slice());
        let ids = |from: usize, to: usize| there[from..to].iter().map(|(id, _)| *id).collect();
        let left = index.checked_sub(1).and_then(position);
        for end in index..=there.len() {
            if let Some(run) = Run::between(left, position(end), self.tag) {
                return Room { run, before: Vec::new(), behind: ids(index, end) };
            }
        }
        // Not even the end has room behind `left`: place all of them anew.
        Room { run: Run::first(self.tag), before: ids(0, index), behind: ids(index, there.len()) }
    }

    fn end_run(&mut self, base: &dyn RowReader, list: &[u8]) -> Result<Option<Run>> {
        if let Some(run) = self.runs.get(list) {
            return Ok(Some(run.clone()));
        }
        let last = self.read(base, |rows| read::last_position(rows, list))?;
        Ok(Run::between(last.as_deref(), None, self.tag))
    }

    fn resets_above(&self, path: &[u8]) -> bool {
        let mut above = place::segments(path).map(|segment| &path[..segment.start]);
        above.any(|above| matches!(self.operations.get(above), Some(Action::Reset(_))))
    }

    /// Takes in a change at and below `path`, instead of what was staged there.
    fn stage(&mut self, base: &dyn RowReader, path: &[u8], change: Change) -> Result<()> {
        let mut replaced: BTreeSet<Vec<u8>> = below(&self.operations, path).into_iter().collect();
        if change.untraced
            && let Some((list, Step::Element(element))) = last_step(path)
        {
            let mut position = list.to_vec();
            place::push_position(&mut position, element);
            if element.entry == PROVISIONAL {
                replaced.insert(position);
            }
        }
        for list in below(&self.runs, path) {
            self.runs.remove(&list);
        }
        self.take_in(base, path, replaced, change)
    }

    fn stage_elements(&mut self, base: &dyn RowReader, list: &[u8], change: Change) -> Result<()> {
        let mut element = list.to_vec();
        place::push_element(&mut element, ElementId { entry: PROVISIONAL, n: 0 });
        self.take_in(base, &element, BTreeSet::new(), change)
    }

    fn take_in(
        &mut self,
        base: &dyn RowReader,
        path: &[u8],
        replaced: BTreeSet<Vec<u8>>,
        mut change: Change,
    ) -> Result<()> {
        if self.sealed {
            return Err(Error::new(ErrorKind::Closed, STAGING, "", "its transaction is being committed"));
        }
        self.open_above(path, &mut change);
        let added = change.operations.iter().map(|(path, _)| path);
        let added = added.filter(|path| !self.operations.contains_key(*path) || replaced.contains(*path));
        let (added_count, added_bytes) =
            added.fold((0, 0), |(count, bytes), path| (count + 1, bytes + path.len()));
        let count = self.operations.len() + added_count - replaced.len();
        let path_bytes = self.path_bytes + added_bytes - replaced.iter().map(Vec::len).sum::<usize>();
        if count > OPERATIONS_MAX {
            return Err(too_much("operations", count, OPERATIONS_MAX));
        }
        if path_bytes > PAYLOAD_PATH_BYTES_MAX {
            return Err(too_much("bytes of paths", path_bytes, PAYLOAD_PATH_BYTES_MAX));
        }
        let mut operations = Operations::default();
        for (path, action) in &change.operations {
            operations.push(path, action.reborrow());
        }
        let stamp = self.next_stamp();
        let mut overlay = RowOverlay::with_changes(base, std::mem::take(&mut self.changes));
        let folded = fold(&mut overlay, &operations, stamp, None);
        self.changes = overlay.into_changes();
        folded?;
        for path in replaced {
            self.operations.remove(&path);
        }
        for (path, action) in change.operations {
            if !(change.untraced && action == Action::Delete) {
                self.operations.insert(path, action);
            }
        }
        self.path_bytes = path_bytes;
        self.elements = change.next_element;
        // Not `append`, which builds the whole map anew: with a run per list, that is each element for every other.
        self.runs.extend(change.runs);
        Ok(())
    }

    /// Opens what leads to `path`, where that isn't staged already.
    fn open_above(&self, path: &[u8], change: &mut Change) {
        for segment in place::segments(path) {
            let above = &path[..segment.start];
            let container = match path.get(segment.start) {
                Some(&place::KEY) => Container::Map,
                _ => Container::List,
            };
            let action = match self.operations.get(above) {
                Some(staged) if staged.container() == Some(container) => continue,
                Some(_) => Action::Reset(container),
                None => Action::Open(container),
            };
            change.operations.push((above.to_vec(), action));
        }
    }

    fn next_stamp(&mut self) -> Stamp {
        self.steps += 1;
        let mut entry = [0xff; 32];
        entry[24..].copy_from_slice(&self.steps.to_be_bytes());
        Stamp { clock: HybridClock::from_bits(u64::MAX), entry: Id::from_bytes(entry) }
    }
}

/// Where elements of a list are to be placed, and who must be placed along with them.
struct Room {
    run: Run,
    before: Vec<ElementId>,
    behind: Vec<ElementId>,
}

/// Operations to be staged together.
#[derive(Default)]
struct Change {
    operations: Vec<(Vec<u8>, Action<'static>)>,
    runs: BTreeMap<Vec<u8>, Run>,
    next_element: u32,
    tag: [u8; 4],
    /// Its deletion shows in the transaction only.
    untraced: bool,
}

impl Change {
    fn push(&mut self, path: &[u8], action: Action<'static>) -> Result<()> {
        if path.len() > PATH_BYTES_MAX {
            return Err(too_much("bytes of a path", path.len(), PATH_BYTES_MAX));
        }
        if self.operations.len() == OPERATIONS_MAX {
            return Err(too_much("operations", OPERATIONS_MAX + 1, OPERATIONS_MAX));
        }
        self.operations.push((path.to_vec(), action));
        Ok(())
    }

    fn value(&mut self, path: &[u8], value: Value) -> Result<()> {
        self.value_at(path, place::depth(path), value)
    }

    fn value_at(&mut self, path: &[u8], depth: usize, value: Value) -> Result<()> {
        if depth > DEPTH_MAX {
            return Err(too_much("segments of a path", depth, DEPTH_MAX));
        }
        match value.into_shape(STAGING)? {
            Shape::Scalar(scalar) => self.push(path, Action::Put(scalar)),
            Shape::Map(doc) => {
                self.push(path, Action::Reset(Container::Map))?;
                let mut child = path.to_vec();
                for (key, value) in doc {
                    child.truncate(path.len());
                    place::push_key(&mut child, &key);
                    self.value_at(&child, depth + 1, value)?;
                }
                Ok(())
            }
            Shape::List(list) => {
                self.push(path, Action::Reset(Container::List))?;
                if list.is_empty() {
                    return Ok(());
                }
                let mut run = Run::first(self.tag);
                for value in list {
                    let element = self.make(path, run.next())?;
                    self.value_at(&element, depth + 1, value)?;
                }
                self.runs.insert(path.to_vec(), run);
                Ok(())
            }
        }
    }

    fn element(&mut self, list: &[u8], position: Vec<u8>, value: Value) -> Result<()> {
        let path = self.make(list, position)?;
        self.value(&path, value)
    }

    /// A new element at a position: its path.
    fn make(&mut self, list: &[u8], position: Vec<u8>) -> Result<Vec<u8>> {
        let id = ElementId { entry: PROVISIONAL, n: self.next_element };
        // Bounded by the operations of one transaction.
        self.next_element += 1;
        self.place(list, id, position)?;
        let mut path = list.to_vec();
        place::push_element(&mut path, id);
        Ok(path)
    }

    fn place(&mut self, list: &[u8], id: ElementId, position: Vec<u8>) -> Result<()> {
        let mut path = list.to_vec();
        place::push_position(&mut path, id);
        self.push(&path, Action::Place(position.into()))
    }
}

fn elements(rows: &dyn RowReader, list: &[u8]) -> Result<Vec<(ElementId, Vec<u8>)>> {
    let Some(node) = read::node(rows, list)? else { return Ok(Vec::new()) };
    let mut elements = read::Elements::of(rows, list, node.floor);
    let mut found = Vec::new();
    while let Some(element) = elements.next()? {
        found.push((element.id, element.position));
    }
    Ok(found)
}

fn last_step(path: &[u8]) -> Option<(&[u8], Step<'_>)> {
    let end = place::parent_end(path)?;
    Some((&path[..end], place::step(&path[end..])?))
}

/// The keys of a map at and below a path.
fn below<V>(map: &BTreeMap<Vec<u8>, V>, path: &[u8]) -> Vec<Vec<u8>> {
    let from = (Bound::Included(path), Bound::Unbounded);
    map.range::<[u8], _>(from).map(|(key, _)| key).take_while(|key| key.starts_with(path)).cloned().collect()
}

fn too_much(what: &str, found: usize, allowed: usize) -> Error {
    let reason = format!("{found} {what}, at most {allowed} allowed");
    Error::new(ErrorKind::LimitExceeded, STAGING, "", reason)
        .hint("split the change into several transactions, or store less deeply nested values")
}
