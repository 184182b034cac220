//! The key layout: every key that the engine writes to a backend is made here.
//!
//! ```text
//! 01 name                          node-wide rows: layout version, identity, number of trees
//! 02 user name                     users
//! 03 tree id                       tree directory: id -> local tree number
//! 04 kind ...                      local rows of sync: peers, relations, cursors, history
//! 05 tree id user name             what users want of the sync of their databases
//! 10 tree(u32) 00                  head of the tree: generation, next arrival number, clock, tips, one store's digest and semantics
//! 10 tree 01 arrival(u64)          entry: flags (counts, inside, checked, local), signature, small payloads, header
//! 10 tree 02 arrival store chunk   payload that isn't small, in chunks
//! 10 tree 03 entry id              id -> arrival number
//! 10 tree 04 author seq arrival    author chains
//! 10 tree 05 public key            author -> local author number
//! 10 tree 06 name 00 kind          store -> local store number
//! 10 tree 07 store                 store: digest, semantics, unless the head has them
//! 10 tree 08 store row             state rows
//! 10 tree 09 store row             losing rows
//! 10 tree 0a position              rights operations -> arrival number, author's rank
//! 10 tree 0b entry id              refused entries -> reason
//! 10 tree 0c payload hash ...      staged pieces of payloads under way
//! ```
//!
//! Integers are big-endian, so that byte order is numeric order. Hashes and names occur once; everything else refers to
//! local numbers, which keeps keys short and writes sequential.

use bytes::{BufMut, Bytes, BytesMut};
use eidetica_kernel::store::RowTable;
use eidetica_kernel::{Id, PublicKey};

/// Version of this layout, kept in the backend.
pub(crate) const LAYOUT_VERSION: u32 = 2;
/// Longest piece of a payload in one row, in bytes.
pub(crate) const PAYLOAD_CHUNK_BYTES: usize = 256 * 1_024;
/// Longest payload that is part of its entry's row, in bytes.
pub(crate) const INLINE_BYTES_MAX: usize = 512;

/// Local number of a tree.
pub(crate) type TreeNo = u32;
/// Local number of an author within a tree.
pub(crate) type AuthorNo = u32;
/// Local number of a store within a tree.
pub(crate) type StoreNo = u32;
/// Number of an entry in its tree's arrival log.
pub(crate) type Arrival = u64;

const NODE: u8 = 0x01;
const USER: u8 = 0x02;
const TREE_DIRECTORY: u8 = 0x03;
const LOCAL: u8 = 0x04;
const PREFERENCES: u8 = 0x05;
const TREE: u8 = 0x10;

const HEAD: u8 = 0x00;
const ENTRY: u8 = 0x01;
const PAYLOAD: u8 = 0x02;
const ARRIVAL_OF: u8 = 0x03;
const CHAIN: u8 = 0x04;
const AUTHOR: u8 = 0x05;
const STORE: u8 = 0x06;
const STORE_STATE: u8 = 0x07;
const ROW_STATE: u8 = 0x08;
const ROW_LOSING: u8 = 0x09;
const RIGHTS: u8 = 0x0a;
const REFUSED: u8 = 0x0b;
const STAGING: u8 = 0x0c;

pub(crate) fn node(name: &str) -> Bytes {
    tagged(NODE, name.as_bytes())
}

pub(crate) fn user(name: &str) -> Bytes {
    tagged(USER, name.as_bytes())
}

pub(crate) fn users() -> Bytes {
    Bytes::from_static(&[USER])
}

pub(crate) fn tree_directory(tree: &Id) -> Bytes {
    tagged(TREE_DIRECTORY, tree.as_bytes())
}

pub(crate) fn tree_directories() -> Bytes {
    Bytes::from_static(&[TREE_DIRECTORY])
}

/// The id in a key of [`tree_directory`].
pub(crate) fn tree_of_directory(key: &[u8]) -> Option<Id> {
    Some(Id::from_bytes(key.get(1..)?.try_into().ok()?))
}

/// A row of the sync engine's own tables.
pub(crate) fn local(table: u8, parts: &[&[u8]]) -> Bytes {
    let mut key = BytesMut::with_capacity(2 + parts.iter().map(|part| part.len()).sum::<usize>());
    key.put_u8(LOCAL);
    key.put_u8(table);
    for part in parts {
        key.put_slice(part);
    }
    key.freeze()
}

/// What a user wants of a tree.
pub(crate) fn preference(tree: &Id, user: &str) -> Bytes {
    tagged(PREFERENCES, &[tree.as_bytes(), user.as_bytes()].concat())
}

/// Prefix of what users want of a tree.
pub(crate) fn preferences_of(tree: &Id) -> Bytes {
    tagged(PREFERENCES, tree.as_bytes())
}

/// Prefix of what users want of all trees.
pub(crate) fn preferences() -> Bytes {
    Bytes::from_static(&[PREFERENCES])
}

/// Tree and user in a key of [`preference`].
pub(crate) fn preference_in(key: &[u8]) -> Option<(Id, &[u8])> {
    let (tree, user) = key.get(1..)?.split_first_chunk()?;
    Some((Id::from_bytes(*tree), user))
}

fn tagged(tag: u8, rest: &[u8]) -> Bytes {
    let mut key = BytesMut::with_capacity(1 + rest.len());
    key.put_u8(tag);
    key.put_slice(rest);
    key.freeze()
}

/// The keys of one tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TreeKeys(pub(crate) TreeNo);

impl TreeKeys {
    fn start(self, table: u8, more: usize) -> BytesMut {
        let mut key = BytesMut::with_capacity(6 + more);
        key.put_u8(TREE);
        key.put_u32(self.0);
        key.put_u8(table);
        key
    }

    fn with(self, table: u8, rest: &[u8]) -> Bytes {
        let mut key = self.start(table, rest.len());
        key.put_slice(rest);
        key.freeze()
    }

    /// Prefix of everything the tree has.
    pub(crate) fn all(self) -> Bytes {
        let mut key = BytesMut::with_capacity(5);
        key.put_u8(TREE);
        key.put_u32(self.0);
        key.freeze()
    }

    pub(crate) fn head(self) -> Bytes {
        self.with(HEAD, &[])
    }

    pub(crate) fn entry(self, arrival: Arrival) -> Bytes {
        self.with(ENTRY, &arrival.to_be_bytes())
    }

    /// The arrival number in a key of [`TreeKeys::entry`].
    pub(crate) fn arrival_in(key: &[u8]) -> Option<Arrival> {
        Some(Arrival::from_be_bytes(key.get(6..14)?.try_into().ok()?))
    }

    pub(crate) fn payload(self, arrival: Arrival, store: u8, chunk: u32) -> Bytes {
        let mut key = self.start(PAYLOAD, 13);
        key.put_u64(arrival);
        key.put_u8(store);
        key.put_u32(chunk);
        key.freeze()
    }

    pub(crate) fn arrival_of(self, id: &Id) -> Bytes {
        self.with(ARRIVAL_OF, id.as_bytes())
    }

    /// Prefix of [`TreeKeys::arrival_of`] for ids that begin with these bytes.
    pub(crate) fn arrivals_of_prefix(self, id_prefix: &[u8]) -> Bytes {
        self.with(ARRIVAL_OF, id_prefix)
    }

    pub(crate) fn chain(self, author: AuthorNo, seq: u64, arrival: Arrival) -> Bytes {
        let mut key = self.start(CHAIN, 20);
        key.put_u32(author);
        key.put_u64(seq);
        key.put_u64(arrival);
        key.freeze()
    }

    pub(crate) fn chain_at(self, author: AuthorNo, seq: u64) -> Bytes {
        let mut key = self.start(CHAIN, 12);
        key.put_u32(author);
        key.put_u64(seq);
        key.freeze()
    }

    pub(crate) fn chains_of(self, author: AuthorNo) -> Bytes {
        self.with(CHAIN, &author.to_be_bytes())
    }

    /// The sequence and arrival numbers in a key of [`TreeKeys::chain`].
    pub(crate) fn chain_in(key: &[u8]) -> Option<(u64, Arrival)> {
        let seq = u64::from_be_bytes(key.get(10..18)?.try_into().ok()?);
        let arrival = Arrival::from_be_bytes(key.get(18..26)?.try_into().ok()?);
        Some((seq, arrival))
    }

    pub(crate) fn author(self, author: &PublicKey) -> Bytes {
        self.with(AUTHOR, author.as_bytes())
    }

    pub(crate) fn store(self, name: &str, kind: &str) -> Bytes {
        let mut key = self.start(STORE, name.len() + 1 + kind.len());
        key.put_slice(name.as_bytes());
        key.put_u8(0);
        key.put_slice(kind.as_bytes());
        key.freeze()
    }

    pub(crate) fn stores(self) -> Bytes {
        self.with(STORE, &[])
    }

    /// The name and kind in a key of [`TreeKeys::store`].
    pub(crate) fn store_in(key: &[u8]) -> Option<(String, String)> {
        let rest = key.get(6..)?;
        // A kind never holds a zero byte, a name may: split at the last one.
        let zero = rest.iter().rposition(|byte| *byte == 0)?;
        let name = std::str::from_utf8(&rest[..zero]).ok()?;
        let kind = std::str::from_utf8(&rest[zero + 1..]).ok()?;
        Some((name.to_owned(), kind.to_owned()))
    }

    pub(crate) fn store_state(self, store: StoreNo) -> Bytes {
        self.with(STORE_STATE, &store.to_be_bytes())
    }

    /// Prefix of a store's rows.
    pub(crate) fn rows(self, store: StoreNo, table: RowTable) -> Bytes {
        self.row(store, table, &[])
    }

    /// The key of a store's row.
    pub(crate) fn row(self, store: StoreNo, table: RowTable, row: &[u8]) -> Bytes {
        let table = match table {
            RowTable::State => ROW_STATE,
            RowTable::Losing => ROW_LOSING,
        };
        let mut key = self.start(table, 4 + row.len());
        key.put_u32(store);
        key.put_slice(row);
        key.freeze()
    }

    /// Prefix of every store's state rows.
    #[cfg(feature = "testing")]
    pub(crate) fn all_state(self) -> Bytes {
        self.with(ROW_STATE, &[])
    }

    /// Prefix of every store's losing rows.
    #[cfg(feature = "testing")]
    pub(crate) fn all_losing(self) -> Bytes {
        self.with(ROW_LOSING, &[])
    }

    pub(crate) fn rights(self, position: u32) -> Bytes {
        self.with(RIGHTS, &position.to_be_bytes())
    }

    pub(crate) fn all_rights(self) -> Bytes {
        self.with(RIGHTS, &[])
    }

    pub(crate) fn refused(self, id: &Id) -> Bytes {
        self.with(REFUSED, id.as_bytes())
    }

    pub(crate) fn staging(self, payload_hash: &[u8; 32], chunk: u32) -> Bytes {
        let mut key = self.start(STAGING, 36);
        key.put_slice(payload_hash);
        key.put_u32(chunk);
        key.freeze()
    }

    pub(crate) fn staged(self, payload_hash: &[u8; 32]) -> Bytes {
        self.with(STAGING, payload_hash)
    }

    pub(crate) fn all_staged(self) -> Bytes {
        self.with(STAGING, &[])
    }
}
