//! What the engine's rows hold.

use bytes::{BufMut, Bytes, BytesMut};
use eidetica_kernel::{Error, ErrorKind, HybridClock, Id, Result, Signature, SignedEntry};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::layout::{Arrival, AuthorNo, INLINE_BYTES_MAX, StoreNo};

/// Most records are shorter.
const RECORD_BYTES_LIKELY: usize = 128;

/// Writes a record.
pub(crate) fn encode<T: Serialize>(what: &'static str, record: &T) -> Result<Bytes> {
    postcard::to_extend(record, Vec::with_capacity(RECORD_BYTES_LIKELY))
        .map(Bytes::from)
        .map_err(|error| Error::new(ErrorKind::Bug, "encoding", what, "postcard refused it").caused_by(error))
}

/// Reads a record.
pub(crate) fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T> {
    postcard::from_bytes(bytes).map_err(|error| corrupt(what, "its row can't be decoded").caused_by(error))
}

/// A row that isn't what was written.
pub(crate) fn corrupt(what: impl std::fmt::Display, reason: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Corrupt, "reading", what, reason)
        .hint("restore the data folder from a backup, or join the database again from a peer")
}

/// An entry that no counting entry follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Tip {
    pub(crate) clock: HybridClock,
    pub(crate) id: Id,
}

/// The one row of a tree that every batch changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TreeHead {
    /// Grows with every batch; who finds another one than expected reloads.
    pub(crate) generation: u64,
    pub(crate) next_arrival: Arrival,
    pub(crate) next_author: AuthorNo,
    pub(crate) next_store: StoreNo,
    pub(crate) next_rights: u32,
    /// The greatest clock applied.
    pub(crate) clock: HybridClock,
    /// Grows when entries that arrived earlier come into the causal closure of those that count, or leave it.
    pub(crate) epoch: u64,
    /// Entries outside the causal closure of those that count.
    pub(crate) outside: u64,
    /// Refused entries that are remembered.
    pub(crate) refused: u32,
    /// What counts must be derived again before anything else: a rights operation was written that may void entries.
    pub(crate) reevaluate: bool,
    /// Sorted.
    pub(crate) tips: Vec<Tip>,
    /// The store that was written last: what is here stands, not what is in the store's own row. So a commit to one store writes
    /// one row less.
    pub(crate) written: Option<(StoreNo, StoreState)>,
}

impl TreeHead {
    /// Entries in the causal closure of those that count.
    pub(crate) fn entries(&self) -> u64 {
        self.next_arrival - self.outside
    }
}

/// A store's row: what its rows were derived with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoreState {
    /// [`Store::semantics`](eidetica_kernel::Store::semantics); 0 once the rows lack something, as where the kind isn't linked.
    pub(crate) semantics: u32,
    pub(crate) digest: StateDigest,
}

/// Sum of the hashes of a store's state rows, mod 2^256: equal rows give equal sums, in whatever order they came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StateDigest([u64; 4]);

impl StateDigest {
    pub(crate) fn add(&mut self, key: &[u8], value: &[u8]) {
        let mut carry = false;
        for (limb, more) in self.0.iter_mut().zip(Self::row(key, value)) {
            let (sum, first) = limb.overflowing_add(more);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            (*limb, carry) = (sum, first | second);
        }
    }

    pub(crate) fn subtract(&mut self, key: &[u8], value: &[u8]) {
        let mut borrow = false;
        for (limb, less) in self.0.iter_mut().zip(Self::row(key, value)) {
            let (rest, first) = limb.overflowing_sub(less);
            let (rest, second) = rest.overflowing_sub(u64::from(borrow));
            (*limb, borrow) = (rest, first | second);
        }
    }

    /// `true` for that of no rows.
    pub(crate) fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// Its 32 bytes, little-endian.
    pub(crate) fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (at, limb) in bytes.chunks_exact_mut(8).zip(self.0) {
            at.copy_from_slice(&limb.to_le_bytes());
        }
        bytes
    }

    fn row(key: &[u8], value: &[u8]) -> [u64; 4] {
        let hash = blake3::Hasher::new_derive_key("eidetica 1 state row")
            .update(&(key.len() as u64).to_le_bytes())
            .update(key)
            .update(value)
            .finalize();
        let mut limbs = [0; 4];
        for (limb, bytes) in limbs.iter_mut().zip(hash.as_bytes().chunks_exact(8)) {
            *limb = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
        }
        limbs
    }
}

/// What is known of an entry beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flags {
    /// It has an effect.
    pub(crate) counts: bool,
    /// It is one that counts, or in the past of one.
    pub(crate) inside: bool,
    /// Its signature was verified by itself, not inferred from a successor's.
    pub(crate) checked: bool,
    /// It was committed here, not received.
    pub(crate) local: bool,
}

impl Flags {
    const COUNTS: u8 = 1;
    const INSIDE: u8 = 2;
    const CHECKED: u8 = 4;
    const LOCAL: u8 = 8;
    /// Of the row rather than of the entry: small payloads are in it.
    const INLINE: u8 = 16;

    fn to_byte(self) -> u8 {
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        bit(self.counts, Self::COUNTS)
            | bit(self.inside, Self::INSIDE)
            | bit(self.checked, Self::CHECKED)
            | bit(self.local, Self::LOCAL)
    }

    fn from_byte(byte: u8) -> Self {
        Self {
            counts: byte & Self::COUNTS != 0,
            inside: byte & Self::INSIDE != 0,
            checked: byte & Self::CHECKED != 0,
            local: byte & Self::LOCAL != 0,
        }
    }
}

/// The row of an entry: one byte of flags, the signature, small payloads, the header's exact bytes.
///
/// A payload of up to [`INLINE_BYTES_MAX`] bytes costs no row of its own. Where there are such, a flag says so, and they come as
/// their number (one byte), each one's store and length (one byte, and two big-endian), and their bytes.
pub(crate) fn encode_entry(flags: Flags, entry: &SignedEntry, payloads: &[Option<Bytes>]) -> Bytes {
    let small = || {
        let held = payloads.iter().enumerate().filter_map(|(at, payload)| Some((at, payload.as_ref()?)));
        held.filter(|(_, payload)| payload.len() <= INLINE_BYTES_MAX)
    };
    let (count, bytes) =
        small().fold((0, 0), |(count, bytes), (_, payload)| (count + 1, bytes + payload.len()));
    let header = entry.header_bytes();
    let mut row = BytesMut::with_capacity(66 + 3 * count + bytes + header.len());
    row.put_u8(flags.to_byte() | if count > 0 { Flags::INLINE } else { 0 });
    row.put_slice(entry.signature().as_bytes());
    if count > 0 {
        row.put_u8(count as u8);
        for (at, payload) in small() {
            row.put_u8(at as u8);
            row.put_u16(payload.len() as u16);
        }
        for (_, payload) in small() {
            row.put_slice(payload);
        }
    }
    row.put_slice(header);
    row.freeze()
}

/// The same row with other flags.
pub(crate) fn with_flags(row: &[u8], flags: Flags) -> Bytes {
    let mut row = BytesMut::from(row);
    if let Some(first) = row.first_mut() {
        *first = flags.to_byte() | (*first & Flags::INLINE);
    }
    row.freeze()
}

/// Reads an entry's row; its id is hashed anew.
pub(crate) fn decode_entry(row: &Bytes) -> Result<(Flags, SignedEntry)> {
    let signature = row.get(1..65).and_then(|bytes| bytes.try_into().ok());
    let (Some(flags), Some(signature)) = (row.first(), signature) else { return Err(entry_too_short()) };
    let header = Inline::of(row)?.end;
    let entry = SignedEntry::decode_stored(row.slice(header..), Signature::from_bytes(signature))
        .map_err(|error| corrupt("an entry", "its header can't be decoded").caused_by(error))?;
    Ok((Flags::from_byte(*flags), entry))
}

/// The payload of the `store`-th store, where an entry's row holds it.
pub(crate) fn inline_payload(row: &Bytes, store: usize) -> Result<Option<Bytes>> {
    let Inline { sizes, mut start, .. } = Inline::of(row)?;
    for size in sizes.chunks_exact(3) {
        let end = start + size_in(size);
        if usize::from(size[0]) == store {
            return Ok(Some(row.slice(start..end)));
        }
        start = end;
    }
    Ok(None)
}

/// Where an entry's row has its small payloads.
struct Inline<'a> {
    /// Three bytes for each: its store, and its length.
    sizes: &'a [u8],
    start: usize,
    end: usize,
}

impl<'a> Inline<'a> {
    fn of(row: &'a [u8]) -> Result<Self> {
        if row.first().is_none_or(|flags| flags & Flags::INLINE == 0) {
            return Ok(Self { sizes: &[], start: 65, end: 65 });
        }
        let count = row.get(65).map(|count| usize::from(*count)).ok_or_else(entry_too_short)?;
        let start = 66 + 3 * count;
        let sizes = row.get(66..start).ok_or_else(entry_too_short)?;
        let end = start + sizes.chunks_exact(3).map(size_in).sum::<usize>();
        if end > row.len() {
            return Err(entry_too_short());
        }
        Ok(Self { sizes, start, end })
    }
}

fn size_in(size: &[u8]) -> usize {
    usize::from(u16::from_be_bytes([size[1], size[2]]))
}

fn entry_too_short() -> Error {
    corrupt("an entry", "its row is too short")
}

/// A row of the tree directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TreeRecord {
    pub(crate) number: u32,
    /// Removed by its user: kept so that peers don't bring it back.
    pub(crate) removed: bool,
}

#[cfg(test)]
mod tests {
    use eidetica_kernel::SecretKey;
    use eidetica_kernel::entry::{FORMAT_VERSION, Header, Tree};

    use super::*;

    const FLAGS: Flags = Flags { counts: true, inside: true, checked: false, local: true };

    fn entry() -> SignedEntry {
        let author = SecretKey::from_bytes([7; 32]);
        let header = Header {
            version: FORMAT_VERSION,
            tree: Tree::Root { nonce: [1; 16] },
            parents: Vec::new(),
            clock: HybridClock::default(),
            author: author.public_key(),
            author_prev: None,
            author_seq: 0,
            rights: Vec::new(),
            stores: Vec::new(),
            ext: Vec::new(),
        };
        SignedEntry::sign(header, &author).unwrap()
    }

    #[test]
    fn small_payloads_are_part_of_the_row_and_stay_when_flags_change() {
        let entry = entry();
        let small = Bytes::from(vec![1; INLINE_BYTES_MAX]);
        let large = Bytes::from(vec![2; INLINE_BYTES_MAX + 1]);
        let payloads = [None, Some(small.clone()), Some(large), Some(Bytes::new())];
        let row = encode_entry(FLAGS, &entry, &payloads);
        let changed = Flags { counts: false, ..FLAGS };
        for (row, flags) in [(row.clone(), FLAGS), (with_flags(&row, changed), changed)] {
            let (read, held) = decode_entry(&row).unwrap();
            assert_eq!((read, held.id(), held.signature()), (flags, entry.id(), entry.signature()));
            let inline: Vec<_> = (0..4).map(|at| inline_payload(&row, at).unwrap()).collect();
            assert_eq!(inline, [None, Some(small.clone()), None, Some(Bytes::new())]);
        }
        let without = encode_entry(FLAGS, &entry, &[None]);
        assert_eq!(without.len(), 65 + entry.header_bytes().len());
        assert_eq!(inline_payload(&without, 0).unwrap(), None);
    }

    #[test]
    fn a_row_that_was_cut_is_an_error() {
        let row = encode_entry(FLAGS, &entry(), &[Some(Bytes::from_static(b"payload"))]);
        for end in 0..row.len() {
            assert!(decode_entry(&row.slice(..end)).is_err(), "{end} bytes");
        }
        assert!(inline_payload(&row.slice(..70), 0).is_err());
    }
}
