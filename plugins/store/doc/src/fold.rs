//! How payloads fold into rows: per path, the newest register and the newest cut.

use bytes::Bytes;
use std::io::Write;

use eidetica_kernel::store::{
    Applied, PATHS_MAX, RowOverlay, RowReader, RowTable, Stamp, StampedPayload, Undone,
};
use eidetica_kernel::{Result, Store};

use crate::payload::{self, Action, BODY_VERSION, Operations, Scalar};
use crate::place::{self, ElementId, SHORT_BYTES_MAX, Step};
use crate::row::{self, Content, PART_BYTES, Register};

/// The kind's name.
pub const KIND: &str = "doc/1";
const SEMANTICS: u32 = 1;
/// Rows read in one call.
const ROWS_AT_ONCE: usize = 1_024;

/// The store kind `doc/1`: nested maps of last-writer-wins registers, and lists, by path.
///
/// People use it through [`DocStore`](crate::DocStore); the engine through [`Store`].
///
/// ```
/// use eidetica_kernel::Store;
///
/// assert_eq!(eidetica_store_doc::DocKind.kind(), "doc/1");
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct DocKind;

impl Store for DocKind {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn semantics(&self) -> u32 {
        SEMANTICS
    }

    fn apply(&self, rows: &mut RowOverlay<'_>, payload: &StampedPayload<'_>) -> Result<Applied> {
        if payload.version != BODY_VERSION {
            let reason = format!("its body is version {}, this kind knows {BODY_VERSION}", payload.version);
            return Ok(Applied::NoEffect { reason });
        }
        let operations = match payload::decode(payload.body, payload.stamp.entry) {
            Ok(operations) => operations,
            Err(reason) => return Ok(Applied::NoEffect { reason: reason.to_owned() }),
        };
        fold(rows, &operations, payload.stamp, Some(payload.arrival))?;
        Ok(Applied::Folded { paths: written_paths(&operations) })
    }

    fn undo(&self, _rows: &mut RowOverlay<'_>, _payload: &StampedPayload<'_>) -> Result<Undone> {
        Ok(Undone::Rebuild)
    }

    fn export_json(&self, rows: &dyn RowReader, out: &mut dyn Write) -> Result<()> {
        crate::export::write(rows, out, false)
    }
}

/// Folds operations. `arrival` is `None` for what is only staged and leaves no trace of who lost.
///
/// All rows are read before the first is written: if reading fails, nothing has changed.
pub(crate) fn fold(
    rows: &mut RowOverlay<'_>,
    operations: &Operations<'_>,
    stamp: Stamp,
    arrival: Option<u64>,
) -> Result<()> {
    let mut keys = Vec::new();
    let mut ends = Vec::with_capacity(operations.len());
    for (path, _) in operations.iter() {
        place::write_row_key(path, &mut keys);
        ends.push(keys.len());
    }
    let mut starts = std::iter::once(0).chain(ends.iter().copied());
    let keys: Vec<&[u8]> = ends.iter().map(|end| &keys[starts.next().unwrap_or_default()..*end]).collect();
    let mut olds = Vec::with_capacity(keys.len());
    for keys in keys.chunks(ROWS_AT_ONCE) {
        olds.append(&mut rows.get_many(RowTable::State, keys)?);
    }
    let mut folding = Folding { rows, stamp, arrival };
    let registers = olds.iter().map(|old| old.as_deref().map(row::read).transpose());
    let registers = registers.collect::<Result<Vec<_>>>()?;
    for (((path, action), key), old) in operations.iter().zip(keys).zip(registers) {
        folding.merge(path, action, key, old.map(|(register, _)| register));
    }
    Ok(())
}

struct Folding<'r, 'b> {
    rows: &'r mut RowOverlay<'b>,
    stamp: Stamp,
    arrival: Option<u64>,
}

impl Folding<'_, '_> {
    fn merge(&mut self, path: &[u8], action: &Action<'_>, key: &[u8], old: Option<Register<'_>>) {
        let own_cut = action.cuts().then_some(self.stamp);
        let Some(old) = old else {
            self.win(path, action, key, None, own_cut);
            return;
        };
        let cut = old.cut.max(own_cut);
        if self.stamp > old.stamp {
            if self.arrival.is_some() {
                self.lose(key, &old.stamp, None);
            }
            self.win(path, action, key, Some(&old.content), cut);
        } else if self.stamp < old.stamp {
            if self.arrival.is_some() {
                self.lose(key, &self.stamp.clone(), self.arrival);
            }
            if cut != old.cut {
                let register = Register { cut, ..old };
                self.rows.put(
                    RowTable::State,
                    Bytes::copy_from_slice(key),
                    row::write(&register, long(path)),
                );
            }
        }
    }

    fn win(
        &mut self,
        path: &[u8],
        action: &Action<'_>,
        key: &[u8],
        old: Option<&Content<'_>>,
        cut: Option<Stamp>,
    ) {
        let content = match action {
            Action::Put(Scalar::Text(text)) if text.len() > PART_BYTES => {
                Content::Parts { text: true, bytes: text.len() }
            }
            Action::Put(Scalar::Bytes(bytes)) if bytes.len() > PART_BYTES => {
                Content::Parts { text: false, bytes: bytes.len() }
            }
            Action::Put(scalar) => Content::Scalar(scalar.reborrow()),
            Action::Reset(container) | Action::Open(container) => Content::Container(*container),
            Action::Delete => Content::Absent,
            Action::Place(position) => Content::Position(position),
        };
        let parts = match action {
            Action::Put(Scalar::Text(text)) => text.as_bytes(),
            Action::Put(Scalar::Bytes(bytes)) => bytes,
            _ => &[],
        };
        let new_parts = content.parts();
        for (at, part) in (0..new_parts).zip(parts.chunks(PART_BYTES)) {
            self.rows.put(RowTable::State, part_key(key, at), part.to_vec());
        }
        for at in new_parts..old.map_or(0, Content::parts) {
            self.rows.delete(RowTable::State, part_key(key, at));
        }
        if let Content::Position(position) = &content {
            self.reorder(path, old, position);
        }
        let register = Register { stamp: self.stamp, cut, content };
        self.rows.put(RowTable::State, Bytes::copy_from_slice(key), row::write(&register, long(path)));
    }

    /// Keeps the order row of an element where its position is.
    fn reorder(&mut self, path: &[u8], old: Option<&Content<'_>>, position: &[u8]) {
        let Some((list, element)) = positioned(path) else { return };
        let mut order = Vec::with_capacity(path.len() + position.len() + 8);
        if let Some(Content::Position(old)) = old {
            if *old == position {
                return;
            }
            order.extend_from_slice(list);
            place::push_order(&mut order, old, element);
            self.rows.delete(RowTable::State, place::row_key(&order));
            order.clear();
        }
        order.extend_from_slice(list);
        place::push_order(&mut order, position, element);
        self.rows.put(RowTable::State, place::row_key(&order), row::write_order(long(&order)));
    }

    fn lose(&mut self, key: &[u8], stamp: &Stamp, arrival: Option<u64>) {
        let mut losing = Vec::with_capacity(key.len() + 40);
        losing.extend_from_slice(key);
        row::write_stamp(stamp, &mut losing);
        let value = arrival.map_or(Bytes::new(), |arrival| Bytes::copy_from_slice(&arrival.to_be_bytes()));
        self.rows.put(RowTable::Losing, losing, value);
    }
}

/// The list and the element that a position's path speaks of.
pub(crate) fn positioned(path: &[u8]) -> Option<(&[u8], ElementId)> {
    let end = place::parent_end(path)?;
    match place::step(&path[end..])? {
        Step::Position(element) => Some((&path[..end], element)),
        _ => None,
    }
}

fn long(path: &[u8]) -> Option<&[u8]> {
    (path.len() > SHORT_BYTES_MAX).then_some(path)
}

pub(crate) fn part_key(key: &[u8], part: u8) -> Vec<u8> {
    let mut part_key = Vec::with_capacity(key.len() + 2);
    part_key.extend_from_slice(key);
    part_key.extend_from_slice(&[place::PART, part]);
    part_key
}

/// The topmost paths that a payload writes to; from [`PATHS_MAX`] on their common ancestors.
fn written_paths(operations: &Operations<'_>) -> Vec<String> {
    let last = operations.len().saturating_sub(1);
    let mut nexts = operations.iter().skip(1).map(|(path, _)| path);
    let mut within: Option<&[u8]> = None;
    // An `open` that nothing follows below is a write of its own: it makes sure that the container is there.
    let mut topmost: Vec<&[u8]> = Vec::new();
    for (at, (path, action)) in operations.iter().enumerate() {
        let next = nexts.next();
        if within.is_some_and(|above| path.starts_with(above)) {
            continue;
        }
        let leads_on = at < last && next.is_some_and(|next| next.starts_with(path));
        if !(leads_on && matches!(action, Action::Open(_))) {
            within = Some(path);
            topmost.push(path);
        }
    }
    if topmost.len() > PATHS_MAX {
        topmost = common_ancestors(&topmost);
    }
    let mut paths: Vec<String> = topmost.into_iter().map(place::text).collect();
    // An element and its position are one place to people.
    paths.sort_unstable();
    paths.dedup();
    paths
}

/// The paths cut to the greatest depth at which few enough are left.
fn common_ancestors<'a>(paths: &[&'a [u8]]) -> Vec<&'a [u8]> {
    // Two neighbours stay apart at a depth iff they share fewer segments than that.
    let mut apart = vec![0_usize; place::DEPTH_MAX + 1];
    for pair in paths.windows(2) {
        let [before, path] = pair else { continue };
        apart[shared_segments(before, path).min(place::DEPTH_MAX)] += 1;
    }
    let mut left = 1;
    let depth = apart.iter().take_while(|apart| {
        left += **apart;
        left <= PATHS_MAX
    });
    let depth = depth.count();
    let cut = |path: &'a [u8]| place::ends(path).nth(depth).map_or(path, |end| &path[..end]);
    let mut ancestors: Vec<&[u8]> = paths.iter().map(|path| cut(path)).collect();
    ancestors.dedup();
    ancestors
}

fn shared_segments(a: &[u8], b: &[u8]) -> usize {
    let (mut at, mut shared) = (0, 0);
    while let Some(end) = place::segment_end(a, at) {
        if b.get(at..end) != Some(&a[at..end]) {
            break;
        }
        (at, shared) = (end, shared + 1);
    }
    shared
}
