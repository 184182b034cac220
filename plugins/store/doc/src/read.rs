//! Reading rows: one path with its ancestors, everything below a path in order, the elements of a list.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use bytes::Bytes;
use eidetica_kernel::Result;
use eidetica_kernel::backend::{PAGE_ROWS_MAX, Scan, prefix_end};
use eidetica_kernel::store::{RowReader, RowTable, Stamp};

use crate::fold::part_key;
use crate::payload::{Container, Scalar};
use crate::place::{self, ElementId, Kind, SHORT_BYTES_MAX, Step};
use crate::row::{self, Content};

/// Rows of the first page of a scan that may stop soon; later pages grow.
const FIRST_PAGE_ROWS: usize = 64;

/// A path that exists.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// What is there.
    pub(crate) held: Held,
    /// What lies below and is older than this is hidden.
    pub(crate) floor: Option<Stamp>,
}

/// What a path holds.
#[derive(Clone, Debug)]
pub(crate) enum Held {
    Container(Container),
    /// A scalar; its row, where it is read from when it is wanted.
    Scalar(Bytes),
}

impl Node {
    /// The root of an empty document.
    pub(crate) fn empty() -> Self {
        Self { held: Held::Container(Container::Map), floor: None }
    }

    pub(crate) fn container(&self) -> Option<Container> {
        match self.held {
            Held::Container(container) => Some(container),
            Held::Scalar(_) => None,
        }
    }

    /// What a row says below an ancestor whose floor this is; `None` if it is hidden or absent.
    fn of(row: &Bytes, floor: Option<Stamp>) -> Result<Option<Self>> {
        let (register, _) = row::read(row)?;
        if floor.is_some_and(|floor| register.stamp < floor) {
            return Ok(None);
        }
        let held = match register.content {
            Content::Container(container) => Held::Container(container),
            Content::Scalar(_) | Content::Parts { .. } => Held::Scalar(row.clone()),
            Content::Absent | Content::Position(_) => return Ok(None),
        };
        Ok(Some(Self { held, floor: floor.max(register.cut) }))
    }
}

/// The longest part of a path that exists, and what is there.
pub(crate) struct Reached {
    /// How many of the path's segments exist; the root counts none.
    pub(crate) segments: usize,
    /// What is there.
    pub(crate) node: Node,
}

/// Follows a path in one read of 1 + depth rows, and one more per element on it.
pub(crate) fn reach(rows: &dyn RowReader, path: &[u8]) -> Result<Reached> {
    let mut keys: Vec<Vec<u8>> = place::ends(path).map(|end| place::row_key(&path[..end])).collect();
    let depth = keys.len() - 1;
    let mut positions = Vec::new();
    for (at, segment) in place::segments(path).enumerate() {
        if let Some(Step::Element(element)) = place::step(&path[segment.clone()]) {
            let mut position = path[..segment.start].to_vec();
            place::push_position(&mut position, element);
            positions.push((at + 1, keys.len()));
            keys.push(place::row_key(&position));
        }
    }
    let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    let found = rows.get_many(RowTable::State, &keys)?;
    let mut node = match found.first() {
        Some(Some(root)) => match Node::of(root, None)? {
            Some(node) => node,
            None => Node { floor: row::read(root)?.0.cut, ..Node::empty() },
        },
        _ => Node::empty(),
    };
    for (segment, at) in place::segments(path).zip(1..) {
        let step = place::step(&path[segment]);
        let leads = match step {
            Some(Step::Key(_)) => node.container() == Some(Container::Map),
            Some(Step::Element(_)) => {
                let placed = positions.iter().find(|(of, _)| *of == at);
                node.container() == Some(Container::List)
                    && placed.is_some_and(|(_, key)| found[*key].is_some())
            }
            _ => false,
        };
        let next = match &found[at] {
            Some(row) if leads => Node::of(row, node.floor)?,
            _ => None,
        };
        match next {
            Some(next) => node = next,
            None => return Ok(Reached { segments: at - 1, node }),
        }
    }
    Ok(Reached { segments: depth, node })
}

/// What exists at exactly this path.
pub(crate) fn node(rows: &dyn RowReader, path: &[u8]) -> Result<Option<Node>> {
    let reached = reach(rows, path)?;
    Ok((reached.segments == place::depth(path)).then_some(reached.node))
}

/// The scalar of a row, its parts gathered.
pub(crate) fn scalar(rows: &dyn RowReader, path: &[u8], row: &Bytes) -> Result<Scalar<'static>> {
    let (register, _) = row::read(row)?;
    match register.content {
        Content::Scalar(scalar) => Ok(scalar.into_owned()),
        Content::Parts { text, bytes } => {
            let key = place::row_key(path);
            let mut whole = Vec::new();
            for part in 0..register.content.parts() {
                let part = rows.get(RowTable::State, &part_key(&key, part))?;
                whole.extend_from_slice(&part.ok_or_else(|| row::corrupt(row))?);
            }
            if whole.len() != bytes {
                return Err(row::corrupt(row));
            }
            if text {
                let text = String::from_utf8(whole).map_err(|_| row::corrupt(row))?;
                Ok(Scalar::Text(text.into()))
            } else {
                Ok(Scalar::Bytes(whole.into()))
            }
        }
        _ => Err(row::corrupt(row)),
    }
}

/// What lies below a path, in the order of encoded paths: rows whose keys are short as they come, the others, whose
/// keys end in a hash, sorted in between. Memory is bounded by a page, and by the long paths below.
pub(crate) struct Stream<'r> {
    rows: &'r dyn RowReader,
    /// What is left to scan; `None` when nothing is.
    scan: Option<Scan>,
    page: VecDeque<(Bytes, Bytes)>,
    page_rows: usize,
    /// Only what begins with this.
    prefix: Vec<u8>,
    /// Rows of long paths that were met.
    long: BTreeMap<Bytes, Bytes>,
    /// Only segments that begin with less than this directly below the prefix.
    tag_end: u8,
}

impl<'r> Stream<'r> {
    /// Everything below `path`.
    pub(crate) fn below(rows: &'r dyn RowReader, path: &[u8]) -> Self {
        Self::within(rows, path, u8::MAX)
    }

    /// The order of a list.
    pub(crate) fn order(rows: &'r dyn RowReader, list: &[u8]) -> Self {
        Self::within(rows, list, place::KEY)
    }

    fn within(rows: &'r dyn RowReader, path: &[u8], tag_end: u8) -> Self {
        let short = path.len() <= SHORT_BYTES_MAX;
        let container = if short { path } else { &path[..place::short_prefix(path)] };
        let mut start = vec![place::ROOT];
        start.extend_from_slice(container);
        let mut end = start.clone();
        start.push(place::LONG);
        end.push(if short { tag_end } else { place::LONG + 1 });
        Self {
            rows,
            scan: Some(Scan::range(start, end)),
            page: VecDeque::new(),
            page_rows: FIRST_PAGE_ROWS,
            prefix: path.to_vec(),
            long: BTreeMap::new(),
            tag_end,
        }
    }

    /// Goes on behind everything that begins with `path`, which the stream has reached.
    pub(crate) fn skip_below(&mut self, path: &[u8]) -> Result<()> {
        while let Some((long, _)) = self.long.first_key_value() {
            if !long.starts_with(path) {
                break;
            }
            self.long.pop_first();
        }
        if path.len() > SHORT_BYTES_MAX {
            return Ok(());
        }
        let mut prefix = vec![place::ROOT];
        prefix.extend_from_slice(path);
        let mut skipped = false;
        while let Some((key, _)) = self.page.front() {
            if !key.starts_with(&prefix) {
                return Ok(());
            }
            self.page.pop_front();
            skipped = true;
        }
        if let (Some(scan), Some(end)) = (&mut self.scan, prefix_end(&prefix)) {
            let behind = match &scan.start {
                Bound::Included(start) | Bound::Excluded(start) => end[..] > start[..],
                Bound::Unbounded => true,
            };
            if behind {
                scan.start = Bound::Included(end.into());
                if skipped {
                    self.page_rows = FIRST_PAGE_ROWS;
                }
            }
        }
        Ok(())
    }

    /// The next path and its row.
    pub(crate) fn next(&mut self) -> Result<Option<(Bytes, Bytes)>> {
        loop {
            self.fill()?;
            let Some((key, _)) = self.page.front() else {
                return Ok(self.long.pop_first());
            };
            match place::read_row_key(key) {
                Some(Kind::Short(path)) => {
                    let path = key.slice(path);
                    if self.long.first_key_value().is_some_and(|(long, _)| *long < path) {
                        return Ok(self.long.pop_first());
                    }
                    return Ok(self.page.pop_front().map(|(_, row)| (path, row)));
                }
                Some(Kind::Long) => {
                    let Some((_, row)) = self.page.pop_front() else { continue };
                    let path = row.slice_ref(row::path_of(&row)?);
                    let tag = path.get(self.prefix.len());
                    if path.starts_with(&self.prefix) && tag.is_some_and(|tag| *tag < self.tag_end) {
                        self.long.insert(path, row);
                    }
                }
                Some(Kind::Part) => {
                    self.page.pop_front();
                }
                None => return Err(row::corrupt(key)),
            }
        }
    }

    fn fill(&mut self) -> Result<()> {
        while self.page.is_empty() {
            let Some(scan) = self.scan.take() else { return Ok(()) };
            let page = self.rows.scan(RowTable::State, &scan.clone().limit(self.page_rows))?;
            self.page_rows = (self.page_rows * 4).min(PAGE_ROWS_MAX);
            match page.rows.last() {
                Some((last, _)) if page.more => self.scan = Some(scan.after(last.clone())),
                _ => {}
            }
            self.page = page.rows.into();
        }
        Ok(())
    }
}

/// The children of a map, in order, deeper rows skipped.
pub(crate) struct Children<'r> {
    stream: Stream<'r>,
    floor: Option<Stamp>,
}

impl<'r> Children<'r> {
    pub(crate) fn of(rows: &'r dyn RowReader, map: &[u8], floor: Option<Stamp>) -> Self {
        Self { stream: Stream::below(rows, map), floor }
    }

    /// The next child: its path and what is there.
    pub(crate) fn next(&mut self) -> Result<Option<(Bytes, Node)>> {
        while let Some((path, row)) = self.stream.next()? {
            let start = self.stream.prefix.len();
            match path.get(start) {
                Some(&place::KEY) if place::segment_end(&path, start) == Some(path.len()) => {
                    let node = Node::of(&row, self.floor)?;
                    self.stream.skip_below(&path)?;
                    if let Some(node) = node {
                        return Ok(Some((path, node)));
                    }
                }
                // Rows that a map can't have, of the list that was here; or below a child without a row of its own.
                _ => {
                    let end = place::segment_end(&path, start).unwrap_or(path.len());
                    self.stream.skip_below(&path[..end])?;
                }
            }
        }
        Ok(None)
    }
}

/// An element of a list.
#[derive(Clone, Debug)]
pub(crate) struct Element {
    pub(crate) id: ElementId,
    pub(crate) position: Vec<u8>,
    pub(crate) node: Node,
}

/// The elements of a list, in order.
pub(crate) struct Elements<'r> {
    stream: Stream<'r>,
    floor: Option<Stamp>,
    ready: VecDeque<Element>,
}

/// Elements looked up in one call.
const ELEMENTS_AT_ONCE: usize = 256;

impl<'r> Elements<'r> {
    pub(crate) fn of(rows: &'r dyn RowReader, list: &[u8], floor: Option<Stamp>) -> Self {
        Self { stream: Stream::order(rows, list), floor, ready: VecDeque::new() }
    }

    pub(crate) fn next(&mut self) -> Result<Option<Element>> {
        while self.ready.is_empty() {
            let mut placed = Vec::new();
            let mut keys = Vec::new();
            while placed.len() < ELEMENTS_AT_ONCE {
                let Some((path, _)) = self.stream.next()? else { break };
                let list = self.stream.prefix.len();
                let Some(Step::Order(position, element)) = place::step(&path[list..]) else { continue };
                let mut element_path = path[..list].to_vec();
                place::push_element(&mut element_path, element);
                keys.push(place::row_key(&element_path));
                placed.push((position.into_owned(), element));
            }
            if placed.is_empty() {
                return Ok(None);
            }
            let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
            let found = self.stream.rows.get_many(RowTable::State, &keys)?;
            for ((position, id), row) in placed.into_iter().zip(found) {
                let Some(row) = row else { continue };
                if let Some(node) = Node::of(&row, self.floor)? {
                    self.ready.push_back(Element { id, position, node });
                }
            }
        }
        Ok(self.ready.pop_front())
    }
}

/// The greatest position of a list, of an element that is there or one that was; `None` if there are none.
pub(crate) fn last_position(rows: &dyn RowReader, list: &[u8]) -> Result<Option<Vec<u8>>> {
    let mut stream = Stream::order(rows, list);
    let of = |path: &[u8]| match place::step(&path[list.len()..]) {
        Some(Step::Order(position, _)) => Some(position.into_owned()),
        _ => None,
    };
    // Long rows come first and sort by a hash: with any of them, look at all.
    let first = match &stream.scan {
        Some(scan) => rows.scan(RowTable::State, &scan.clone().limit(1))?,
        None => return Ok(None),
    };
    let Some((key, _)) = first.rows.first() else { return Ok(None) };
    if let Some(Kind::Short(_)) = place::read_row_key(key) {
        let scan = stream.scan.take().unwrap_or_else(Scan::all).backward().limit(1);
        let last = rows.scan(RowTable::State, &scan)?;
        return Ok(last.rows.first().and_then(|(key, _)| of(&key[1..])));
    }
    let mut last = None;
    while let Some((path, _)) = stream.next()? {
        last = of(&path).or(last);
    }
    Ok(last)
}

/// What receives a document, piece by piece, in order.
pub(crate) trait Sink {
    fn scalar(&mut self, scalar: Scalar<'_>) -> Result<()>;
    fn begin(&mut self, container: Container) -> Result<()>;
    fn key(&mut self, key: &str) -> Result<()>;
    fn item(&mut self) -> Result<()>;
    fn end(&mut self, container: Container) -> Result<()>;
}

/// Sends what exists at and below a path.
pub(crate) fn send(rows: &dyn RowReader, path: &[u8], node: &Node, sink: &mut dyn Sink) -> Result<()> {
    match &node.held {
        Held::Scalar(row) => sink.scalar(scalar(rows, path, row)?).map_err(|error| locate(error, path)),
        Held::Container(Container::Map) => {
            let mut stream = Stream::below(rows, path);
            send_map(&mut stream, path, node.floor, sink)
        }
        Held::Container(Container::List) => {
            sink.begin(Container::List)?;
            let mut elements = Elements::of(rows, path, node.floor);
            let mut element_path = path.to_vec();
            while let Some(Element { id, node, .. }) = elements.next()? {
                sink.item()?;
                element_path.truncate(path.len());
                place::push_element(&mut element_path, id);
                send(rows, &element_path, &node, sink)?;
            }
            sink.end(Container::List)
        }
    }
}

/// One scan serves a map and the maps in it: the stream stands behind the map's own row, and is left behind the map.
fn send_map(stream: &mut Stream<'_>, map: &[u8], floor: Option<Stamp>, sink: &mut dyn Sink) -> Result<()> {
    sink.begin(Container::Map)?;
    while let Some((path, row)) = stream.next()? {
        if !path.starts_with(map) {
            stream.push_back(path, row);
            break;
        }
        let end = place::segment_end(&path, map.len());
        let child = match (path.get(map.len()), end) {
            (Some(&place::KEY), Some(end)) if end == path.len() => Node::of(&row, floor)?,
            _ => None,
        };
        let Some(node) = child else {
            stream.skip_below(&path[..end.unwrap_or(path.len())])?;
            continue;
        };
        if let Some(Step::Key(key)) = place::step(&path[map.len()..]) {
            sink.key(&key)?;
        }
        if node.container() == Some(Container::Map) {
            send_map(stream, &path, node.floor, sink)?;
        } else {
            send(stream.rows, &path, &node, sink)?;
        }
        stream.skip_below(&path)?;
    }
    sink.end(Container::Map)
}

impl Stream<'_> {
    /// Gives back what [`Stream::next`] gave last.
    fn push_back(&mut self, path: Bytes, row: Bytes) {
        // Where `long` sorts first, it is served first: the order stays.
        self.long.insert(path, row);
    }
}

fn locate(error: eidetica_kernel::Error, path: &[u8]) -> eidetica_kernel::Error {
    use eidetica_kernel::{Error, ErrorKind};
    if error.kind() != ErrorKind::Unsupported {
        return error;
    }
    Error::new(ErrorKind::Unsupported, "writing as JSON the value at", place::text(path), error.reason())
        .hint("store it as text, or as null")
}
