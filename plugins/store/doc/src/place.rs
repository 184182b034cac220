//! Places in a document as bytes that sort as the tree does, and the keys of their rows. The layout is `FORMAT.md`.

use std::borrow::Cow;
use std::fmt::Write;
use std::ops::Range;

use eidetica_kernel::Id;

/// Longest encoded path, in bytes.
pub const PATH_BYTES_MAX: usize = 65_536;
/// Most segments of a path.
pub const DEPTH_MAX: usize = 256;

/// Encoded paths up to this length are their own row key; longer ones end in a hash.
pub(crate) const SHORT_BYTES_MAX: usize = 900;

/// What every row key begins with, so that the root's isn't empty.
pub(crate) const ROOT: u8 = b'd';
/// Behind a row key: one part of its scalar.
pub(crate) const PART: u8 = 0;
/// Begins the rest of the row key of a path that is too long.
pub(crate) const LONG: u8 = 1;
/// Begins a place in the order of a list.
pub(crate) const ORDER: u8 = 2;
/// Begins a key.
pub(crate) const KEY: u8 = 3;
/// Begins an element.
pub(crate) const ELEMENT: u8 = 4;
/// Begins the position of an element.
pub(crate) const POSITION: u8 = 5;

const ELEMENT_BYTES: usize = 36;

/// What names an element of a list for ever: the entry that made it, and which of its elements it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ElementId {
    pub(crate) entry: Id,
    pub(crate) n: u32,
}

impl ElementId {
    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.entry.as_bytes());
        out.extend_from_slice(&self.n.to_be_bytes());
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (entry, n) = bytes.split_first_chunk::<32>()?;
        Some(Self { entry: Id::from_bytes(*entry), n: u32::from_be_bytes(*n.first_chunk()?) })
    }

    /// As a segment of a text path: `@<entry>-<n>`.
    pub(crate) fn text(self) -> String {
        format!("@{}-{}", self.entry, self.n)
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (entry, n) = text.strip_prefix('@')?.split_once('-')?;
        Some(Self { entry: entry.parse().ok()?, n: n.parse().ok()? })
    }
}

/// One segment of an encoded path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    Key(Cow<'a, str>),
    Element(ElementId),
    Position(ElementId),
    Order(Cow<'a, [u8]>, ElementId),
}

pub(crate) fn push_key(path: &mut Vec<u8>, key: &str) {
    path.push(KEY);
    push_escaped(path, key.as_bytes());
}

pub(crate) fn push_element(path: &mut Vec<u8>, element: ElementId) {
    path.push(ELEMENT);
    element.write(path);
}

pub(crate) fn push_position(path: &mut Vec<u8>, element: ElementId) {
    path.push(POSITION);
    element.write(path);
}

pub(crate) fn push_order(path: &mut Vec<u8>, position: &[u8], element: ElementId) {
    path.push(ORDER);
    push_escaped(path, position);
    element.write(path);
}

fn push_escaped(path: &mut Vec<u8>, bytes: &[u8]) {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte <= 1) {
        path.extend_from_slice(&rest[..at]);
        path.extend_from_slice(&[1, rest[at] + 1]);
        rest = &rest[at + 1..];
    }
    path.extend_from_slice(rest);
    path.push(0);
}

fn unescape(bytes: &[u8]) -> Option<Cow<'_, [u8]>> {
    if !bytes.contains(&1) {
        return Some(Cow::Borrowed(bytes));
    }
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes.iter();
    while let Some(&byte) = rest.next() {
        plain.push(if byte == 1 { rest.next()?.checked_sub(1)? } else { byte });
    }
    Some(Cow::Owned(plain))
}

/// Where the segment that begins at `start` ends; `None` if there is none.
pub(crate) fn segment_end(path: &[u8], start: usize) -> Option<usize> {
    let terminated =
        |from: usize| path.get(from..)?.iter().position(|byte| *byte == 0).map(|at| from + at + 1);
    let end = match path.get(start)? {
        &KEY => terminated(start + 1)?,
        &ELEMENT | &POSITION => start + 1 + ELEMENT_BYTES,
        &ORDER => terminated(start + 1)? + ELEMENT_BYTES,
        _ => return None,
    };
    (end <= path.len()).then_some(end)
}

/// The segment at this range of a path.
pub(crate) fn step(segment: &[u8]) -> Option<Step<'_>> {
    let (tag, rest) = segment.split_first()?;
    match *tag {
        KEY => {
            let key = match unescape(rest.strip_suffix(&[0])?)? {
                Cow::Borrowed(key) => Cow::Borrowed(std::str::from_utf8(key).ok()?),
                Cow::Owned(key) => Cow::Owned(String::from_utf8(key).ok()?),
            };
            Some(Step::Key(key))
        }
        ELEMENT => ElementId::read(rest).map(Step::Element),
        POSITION => ElementId::read(rest).map(Step::Position),
        ORDER => {
            let (position, element) = rest.split_at_checked(rest.len().checked_sub(ELEMENT_BYTES)?)?;
            Some(Step::Order(unescape(position.strip_suffix(&[0])?)?, ElementId::read(element)?))
        }
        _ => None,
    }
}

/// The ends of a path's segments, the root's 0 first.
pub(crate) fn ends(path: &[u8]) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(0), |at| segment_end(path, *at))
}

/// Where a path's segments are in it.
pub(crate) fn segments(path: &[u8]) -> impl Iterator<Item = Range<usize>> {
    ends(path).zip(ends(path).skip(1)).map(|(start, end)| start..end)
}

/// How many segments a path has; the root has none.
pub(crate) fn depth(path: &[u8]) -> usize {
    ends(path).count() - 1
}

/// Where the last segment of a path begins; `None` for the root.
pub(crate) fn parent_end(path: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match segment_end(path, at)? {
            end if end == path.len() => return Some(at),
            end => at = end,
        }
    }
}

/// Appends the key of the row of `path`.
pub(crate) fn write_row_key(path: &[u8], out: &mut Vec<u8>) {
    out.push(ROOT);
    if path.len() <= SHORT_BYTES_MAX {
        out.extend_from_slice(path);
    } else {
        out.extend_from_slice(&path[..short_prefix(path)]);
        out.push(LONG);
        out.extend_from_slice(blake3::hash(path).as_bytes());
    }
}

/// The key of the row of `path`.
pub(crate) fn row_key(path: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(path.len().min(SHORT_BYTES_MAX + 32) + 2);
    write_row_key(path, &mut key);
    key
}

/// Length of the longest prefix of whole segments that is short.
pub(crate) fn short_prefix(path: &[u8]) -> usize {
    let mut at = 0;
    while let Some(end) = segment_end(path, at) {
        if end > SHORT_BYTES_MAX {
            break;
        }
        at = end;
    }
    at
}

/// What a row key says of its path.
pub(crate) enum Kind {
    /// It is the path: this range of the key.
    Short(Range<usize>),
    /// The path is in the value.
    Long,
    /// It is a part of another row's scalar.
    Part,
}

pub(crate) fn read_row_key(key: &[u8]) -> Option<Kind> {
    if key.first() != Some(&ROOT) {
        return None;
    }
    let mut at = 1;
    loop {
        match key.get(at) {
            None => return Some(Kind::Short(1..at)),
            Some(&PART) => return Some(Kind::Part),
            // Parts of a long path's scalar have two more bytes behind the hash.
            Some(&LONG) => return Some(if key.len() == at + 33 { Kind::Long } else { Kind::Part }),
            Some(_) => at = segment_end(key, at)?,
        }
    }
}

/// The text of a path, for people; [`ToPath`](crate::ToPath) reads it back.
pub(crate) fn text(path: &[u8]) -> String {
    let mut text = String::new();
    let mut at = 0;
    while let Some(end) = segment_end(path, at) {
        if at > 0 {
            text.push('.');
        }
        // Writing to a string can't fail.
        let _ = match step(&path[at..end]) {
            Some(Step::Key(key)) => crate::path::write_key(&key, &mut text),
            Some(Step::Element(element) | Step::Position(element) | Step::Order(_, element)) => {
                text.write_str(&element.text())
            }
            None => Ok(()),
        };
        at = end;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_path(keys: &[&str]) -> Vec<u8> {
        let mut path = Vec::new();
        for key in keys {
            push_key(&mut path, key);
        }
        path
    }

    #[test]
    fn encoded_paths_sort_as_the_tree_does() {
        let sorted: [&[&str]; 9] =
            [&[], &[""], &["", "z"], &["\0"], &["\0", "a"], &["\u{1}"], &["a"], &["a", "zz"], &["a\0"]];
        let encoded: Vec<Vec<u8>> = sorted.iter().map(|keys| key_path(keys)).collect();
        assert!(encoded.is_sorted_by(|a, b| a < b));
        for (keys, path) in sorted.iter().zip(&encoded) {
            let read: Vec<String> = segments(path)
                .map(|segment| match step(&path[segment]) {
                    Some(Step::Key(key)) => key.into_owned(),
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(read, *keys);
        }
    }

    #[test]
    fn orders_sort_by_position_then_element() {
        let element = |n| ElementId { entry: Id::from_bytes([n; 32]), n: 0 };
        let order = |position: &[u8], n| {
            let mut path = Vec::new();
            push_order(&mut path, position, element(n));
            path
        };
        let sorted = [order(b"", 9), order(b"\0", 1), order(b"\0", 2), order(b"\0\0", 0), order(b"\xff", 0)];
        assert!(sorted.is_sorted_by(|a, b| a < b));
        assert_eq!(step(&sorted[3]), Some(Step::Order(Cow::Owned(vec![0, 0]), element(0))));
    }

    #[test]
    fn row_keys_stay_within_the_limit_and_under_their_container() {
        let long = key_path(&["container", &"k".repeat(2_000), "below"]);
        let key = row_key(&long);
        assert!(key.len() + 40 <= eidetica_kernel::store::ROW_KEY_BYTES_MAX);
        assert!(key.starts_with(&row_key(&key_path(&["container"]))));
        assert!(matches!(read_row_key(&key), Some(Kind::Long)));
        let edge = key_path(&[&"k".repeat(SHORT_BYTES_MAX - 2)]);
        assert!(matches!(read_row_key(&row_key(&edge)), Some(Kind::Short(_))));
    }

    #[test]
    fn elements_read_back_from_text() {
        let element = ElementId { entry: Id::from_bytes([7; 32]), n: 12 };
        assert_eq!(ElementId::parse(&element.text()), Some(element));
        assert_eq!(ElementId::parse("@12"), None);
    }
}
