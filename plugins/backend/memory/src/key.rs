//! Keys kept inside the map's nodes.

use std::borrow::Borrow;
use std::cmp::Ordering;

use bytes::Bytes;

/// Longest key kept in the node itself. A look-up in a large map compares about 20 keys; following a pointer for each
/// of them costs more than everything else together.
const INLINE_BYTES: usize = 38;

/// A key, ordered bytewise.
#[derive(Clone)]
pub(crate) enum Key {
    Inline(u8, [u8; INLINE_BYTES]),
    Heap(Bytes),
}

impl Key {
    /// Copies `key`, so that a key cut from a large buffer doesn't keep that buffer alive.
    pub(crate) fn new(key: &[u8]) -> Self {
        match u8::try_from(key.len()) {
            Ok(length) if key.len() <= INLINE_BYTES => {
                let mut bytes = [0; INLINE_BYTES];
                bytes[..key.len()].copy_from_slice(key);
                Self::Inline(length, bytes)
            }
            _ => Self::Heap(Bytes::copy_from_slice(key)),
        }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Inline(length, bytes) => &bytes[..usize::from(*length)],
            Self::Heap(bytes) => bytes,
        }
    }

    pub(crate) fn to_bytes(&self) -> Bytes {
        match self {
            Self::Inline(..) => Bytes::copy_from_slice(self.as_slice()),
            Self::Heap(bytes) => bytes.clone(),
        }
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        self.as_slice()
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_slice().cmp(other.as_slice())
    }
}
