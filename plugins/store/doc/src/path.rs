//! Paths as people write them.

use std::fmt;

/// One step of a path.
///
/// ```
/// use eidetica_store_doc::{Segment, ToPath};
///
/// assert_eq!(r"hosts.example\.com".to_path(), [Segment::from("hosts"), Segment::from("example.com")]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Segment {
    /// A key of a map. In a list: the index, if it is a decimal number, or an element as changes name it (`@…`).
    Key(String),
    /// An index of a list; no key of a map.
    Index(usize),
}

impl Segment {
    /// The index it names in a list: a decimal number without leading zeros.
    pub fn index(&self) -> Option<usize> {
        match self {
            Self::Index(index) => Some(*index),
            Self::Key(key) if key.len() > 1 && key.starts_with('0') => None,
            Self::Key(key) if key.bytes().all(|byte| byte.is_ascii_digit()) => key.parse().ok(),
            Self::Key(_) => None,
        }
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => write_key(key, f),
            Self::Index(index) => index.fmt(f),
        }
    }
}

impl From<&str> for Segment {
    fn from(key: &str) -> Self {
        Self::Key(key.to_owned())
    }
}

impl From<String> for Segment {
    fn from(key: String) -> Self {
        Self::Key(key)
    }
}

impl From<usize> for Segment {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

/// The path of the root: no segments.
pub const ROOT: &[Segment] = &[];

/// What names a place in a document.
///
/// Text is split at dots; `\.` is a dot inside a key, `\\` a backslash, and a backslash before anything else is itself.
/// Segments are taken as they are; none of them is the root.
pub trait ToPath {
    /// The steps from the root.
    fn to_path(&self) -> Vec<Segment>;
}

impl ToPath for str {
    fn to_path(&self) -> Vec<Segment> {
        let mut segments = Vec::new();
        let mut key = String::new();
        let mut rest = self.chars().peekable();
        while let Some(next) = rest.next() {
            match (next, rest.peek()) {
                ('\\', Some(&escaped @ ('.' | '\\'))) => {
                    key.push(escaped);
                    rest.next();
                }
                ('.', _) => segments.push(Segment::Key(std::mem::take(&mut key))),
                (other, _) => key.push(other),
            }
        }
        segments.push(Segment::Key(key));
        segments
    }
}

impl ToPath for String {
    fn to_path(&self) -> Vec<Segment> {
        self.as_str().to_path()
    }
}

impl ToPath for [Segment] {
    fn to_path(&self) -> Vec<Segment> {
        self.to_vec()
    }
}

impl ToPath for Vec<Segment> {
    fn to_path(&self) -> Vec<Segment> {
        self.clone()
    }
}

impl<const N: usize> ToPath for [Segment; N] {
    fn to_path(&self) -> Vec<Segment> {
        self.to_vec()
    }
}

impl ToPath for [&str] {
    fn to_path(&self) -> Vec<Segment> {
        self.iter().map(|key| Segment::from(*key)).collect()
    }
}

impl<const N: usize> ToPath for [&str; N] {
    fn to_path(&self) -> Vec<Segment> {
        self[..].to_path()
    }
}

impl<T: ToPath + ?Sized> ToPath for &T {
    fn to_path(&self) -> Vec<Segment> {
        (**self).to_path()
    }
}

/// The text of a path, as [`ToPath`] reads it.
pub(crate) fn text(segments: &[Segment]) -> String {
    let mut text = String::new();
    for (at, segment) in segments.iter().enumerate() {
        if at > 0 {
            text.push('.');
        }
        text.push_str(&segment.to_string());
    }
    text
}

pub(crate) fn write_key(key: &str, out: &mut impl fmt::Write) -> fmt::Result {
    for part in key.chars() {
        if matches!(part, '.' | '\\') {
            out.write_char('\\')?;
        }
        out.write_char(part)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_path_reads_back_as_the_same_path() {
        for keys in [vec![""], vec!["a", ""], vec!["a.b", "c\\d", "\\.", "0"], vec!["é", "..", "\\\\"]] {
            let path: Vec<Segment> = keys.iter().map(|key| Segment::from(*key)).collect();
            assert_eq!(text(&path).to_path(), path);
        }
    }

    #[test]
    fn lone_backslashes_are_themselves() {
        assert_eq!(r"C:\dir".to_path(), [Segment::from(r"C:\dir")]);
    }

    #[test]
    fn only_plain_numbers_are_indexes() {
        assert_eq!(Segment::from("12").index(), Some(12));
        assert_eq!(Segment::from("012").index(), None);
        assert_eq!(Segment::from("-1").index(), None);
        assert_eq!(Segment::from("").index(), None);
    }
}
