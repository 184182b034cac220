//! What the engine's rows hold.

use bytes::{BufMut, Bytes, BytesMut};
use eidetica_kernel::{Error, ErrorKind, HybridClock, Id, Result, Signature, SignedEntry};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::layout::{Arrival, AuthorNo, StoreNo};

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
    /// [`Store::semantics`](eidetica_kernel::Store::semantics); 0 while the kind isn't linked.
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

/// The row of an entry: one byte of flags, the signature, the header's exact bytes.
pub(crate) fn encode_entry(flags: Flags, entry: &SignedEntry) -> Bytes {
    let mut row = BytesMut::with_capacity(65 + entry.header_bytes().len());
    row.put_u8(flags.to_byte());
    row.put_slice(entry.signature().as_bytes());
    row.put_slice(entry.header_bytes());
    row.freeze()
}

/// Reads an entry's row; its id is hashed anew.
pub(crate) fn decode_entry(row: &Bytes) -> Result<(Flags, SignedEntry)> {
    let signature = row.get(1..65).and_then(|bytes| bytes.try_into().ok());
    let (Some(flags), Some(signature)) = (row.first(), signature) else {
        return Err(corrupt("an entry", "its row is too short"));
    };
    let entry = SignedEntry::decode_stored(row.slice(65..), Signature::from_bytes(signature))
        .map_err(|error| corrupt("an entry", "its header can't be decoded").caused_by(error))?;
    Ok((Flags::from_byte(*flags), entry))
}

/// A row of the tree directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TreeRecord {
    pub(crate) number: u32,
    /// Removed by its user: kept so that peers don't bring it back.
    pub(crate) removed: bool,
}
