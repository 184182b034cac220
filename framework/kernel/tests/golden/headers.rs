//! Headers, valid and not, and signed entries.

use bytes::Bytes;
use eidetica_kernel::entry::{
    Envelope, Extension, FORMAT_VERSION, HEADER_BYTES_MAX, Header, SignedEntry, StoreRef, Tree, entry_id,
    payload_hash,
};
use eidetica_kernel::{ErrorKind, HybridClock, Id, PublicKey, SecretKey};
use serde_json::{Value, json};

use crate::{hex, packed, unhex};

const SEED: [u8; 32] = [7; 32];

pub(crate) fn key() -> SecretKey {
    SecretKey::from_bytes(SEED)
}

fn id(n: u16) -> Id {
    let mut bytes = [0x5a; 32];
    bytes[..2].copy_from_slice(&n.to_be_bytes());
    Id::from_bytes(bytes)
}

fn ids(count: u16) -> Vec<Id> {
    (0..count).map(id).collect()
}

fn root() -> Header {
    Header {
        version: FORMAT_VERSION,
        tree: Tree::Root { nonce: [1; 16] },
        parents: vec![],
        clock: HybridClock::from_bits(65_536),
        author: key().public_key(),
        author_prev: None,
        author_seq: 0,
        rights: vec![],
        stores: vec![],
        ext: vec![],
    }
}

fn store(name: &str, kind: &str) -> StoreRef {
    StoreRef { name: name.into(), kind: kind.into(), payload_hash: [0x33; 32], payload_bytes: 300 }
}

fn child() -> Header {
    Header {
        tree: Tree::Of(id(9)),
        parents: vec![id(1), id(2)],
        clock: HybridClock::from_bits((1_700_000_000_000 << 16) + 3),
        author_prev: Some(id(2)),
        author_seq: 41,
        rights: vec![id(9)],
        stores: vec![store("notes", "doc/1"), store("people", "table/1")],
        ..root()
    }
}

fn extension(tag: u16, bytes: impl Into<Bytes>) -> Extension {
    Extension { tag, bytes: bytes.into() }
}

/// The example of section 9.
pub(crate) fn example() -> SignedEntry {
    SignedEntry::sign(root(), &key()).unwrap()
}

fn valid() -> Vec<(&'static str, Header)> {
    let bare = Header { stores: vec![], ..child() };
    vec![
        ("the example of section 9", root()),
        ("a root with rights and settings", {
            Header { stores: vec![store("_rights", "keys/1"), store("_settings", "doc/1")], ..root() }
        }),
        ("two parents, two stores", child()),
        ("no store", bare.clone()),
        ("the first entry of its author", Header { author_prev: None, author_seq: 0, ..child() }),
        (
            "one name, two kinds",
            Header { stores: vec![store("a", "doc/1"), store("a", "doc/2")], ..bare.clone() },
        ),
        (
            "names sort by bytes",
            Header { stores: vec![store("Z", "k"), store("a", "k"), store("é", "k")], ..bare.clone() },
        ),
        ("a prefix sorts first", Header { stores: vec![store("a", "z"), store("aa", "a")], ..bare.clone() }),
        ("the longest name and kind", {
            Header { stores: vec![store(&"n".repeat(128), &"k".repeat(64))], ..bare.clone() }
        }),
        ("the longest payload", {
            Header {
                stores: vec![StoreRef { payload_bytes: 16_777_216, ..store("a", "doc/1") }],
                ..bare.clone()
            }
        }),
        ("32 parents", Header { parents: ids(32), ..bare.clone() }),
        ("256 rights heads", Header { rights: ids(256), ..bare.clone() }),
        ("64 stores", {
            Header { stores: (0..64).map(|n| store(&format!("{n:02}"), "k")).collect(), ..bare.clone() }
        }),
        ("extensions, known or not, critical or not", {
            let ext = [Extension::KEY_EPOCH, 0x0100, Extension::DELEGATION_PINS, 0xffff];
            Header { ext: ext.map(|tag| extension(tag, vec![1, 2, 3])).to_vec(), ..bare.clone() }
        }),
        ("an empty extension", Header { ext: vec![extension(0, vec![])], ..bare.clone() }),
        ("the longest header", Header { ext: vec![extension(1, vec![0; fill(&bare)])], ..bare.clone() }),
        ("the greatest clock and number", {
            Header { clock: HybridClock::from_bits(u64::MAX), author_seq: u64::MAX, ..bare.clone() }
        }),
        ("clock zero", Header { clock: HybridClock::from_bits(0), ..bare.clone() }),
        ("a key that is no point", Header { author: PublicKey::from_bytes([2; 32]), ..bare }),
    ]
}

/// How long one extension makes the longest header: tag 1, length 3, list 1 that is there anyway.
fn fill(header: &Header) -> usize {
    HEADER_BYTES_MAX - header.encode().unwrap().1.len() - 4
}

fn broken() -> Vec<(&'static str, Header, &'static str, ErrorKind)> {
    use ErrorKind::{InvalidInput, LimitExceeded};
    let bare = Header { stores: vec![], ..child() };
    let stores = |stores: Vec<StoreRef>| Header { stores, ..child() };
    vec![
        ("parents 2, 1", Header { parents: vec![id(2), id(1)], ..child() }, "unsorted parents", InvalidInput),
        (
            "parents 1, 1",
            Header { parents: vec![id(1), id(1)], ..child() },
            "duplicate parents",
            InvalidInput,
        ),
        ("33 parents", Header { parents: ids(33), ..child() }, "too many parents", LimitExceeded),
        ("rights 2, 1", Header { rights: vec![id(2), id(1)], ..child() }, "unsorted rights", InvalidInput),
        ("rights 1, 1", Header { rights: vec![id(1), id(1)], ..child() }, "duplicate rights", InvalidInput),
        ("257 rights", Header { rights: ids(257), ..child() }, "too many rights", LimitExceeded),
        ("stores b, a", stores(vec![store("b", "k"), store("a", "k")]), "unsorted stores", InvalidInput),
        ("kinds b, a", stores(vec![store("a", "b"), store("a", "a")]), "unsorted stores", InvalidInput),
        (
            "two kinds of _rights",
            stores(vec![store("_rights", "a/1"), store("_rights", "b/1")]),
            "two kinds of a system store",
            InvalidInput,
        ),
        ("one store twice", stores(vec![store("a", "k"), store("a", "k")]), "duplicate stores", InvalidInput),
        (
            "65 stores",
            { stores((0..65).map(|n| store(&format!("{n:02}"), "k")).collect()) },
            "too many stores",
            LimitExceeded,
        ),
        ("a store without a name", stores(vec![store("", "k")]), "length of a store's name", InvalidInput),
        ("a store without a kind", stores(vec![store("a", "")]), "length of a store's kind", InvalidInput),
        (
            "a name of 129 bytes",
            stores(vec![store(&"n".repeat(129), "k")]),
            "length of a store's name",
            LimitExceeded,
        ),
        (
            "a name of 65 é",
            stores(vec![store(&"é".repeat(65), "k")]),
            "length of a store's name",
            LimitExceeded,
        ),
        (
            "a kind of 65 bytes",
            stores(vec![store("a", &"k".repeat(65))]),
            "length of a store's kind",
            LimitExceeded,
        ),
        (
            "a payload of 16 MiB and 1",
            { stores(vec![StoreRef { payload_bytes: 16_777_217, ..store("a", "k") }]) },
            "too long a payload",
            LimitExceeded,
        ),
        (
            "tags 2, 1",
            { Header { ext: vec![extension(2, vec![]), extension(1, vec![])], ..child() } },
            "unsorted ext",
            InvalidInput,
        ),
        (
            "one tag twice",
            { Header { ext: vec![extension(1, vec![1]), extension(1, vec![2])], ..child() } },
            "duplicate ext",
            InvalidInput,
        ),
        (
            "64 KiB and 1 byte",
            { Header { ext: vec![extension(1, vec![0; fill(&bare) + 1])], ..bare.clone() } },
            "too long a header",
            LimitExceeded,
        ),
        ("no parents", Header { parents: vec![], ..child() }, "no parents", InvalidInput),
        ("no rights", Header { rights: vec![], ..child() }, "no rights", InvalidInput),
        (
            "a root with a parent",
            Header { parents: vec![id(1)], ..root() },
            "a root with a past",
            InvalidInput,
        ),
        ("a root with rights", Header { rights: vec![id(1)], ..root() }, "a root with a past", InvalidInput),
        (
            "a root with author_prev",
            { Header { author_prev: Some(id(1)), author_seq: 1, ..root() } },
            "a root with a past",
            InvalidInput,
        ),
        (
            "author_seq 1, no author_prev",
            { Header { author_prev: None, author_seq: 1, ..child() } },
            "author_seq without author_prev",
            InvalidInput,
        ),
        (
            "author_seq 0, an author_prev",
            { Header { author_seq: 0, ..child() } },
            "author_seq without author_prev",
            InvalidInput,
        ),
        (
            "a root with author_seq 1",
            Header { author_seq: 1, ..root() },
            "author_seq without author_prev",
            InvalidInput,
        ),
    ]
}

/// Bytes that no writer makes: (name, bytes, reason).
fn mangled() -> Vec<(&'static str, Vec<u8>, &'static str, ErrorKind)> {
    use ErrorKind::{InvalidInput, Unsupported};
    let whole = root().encode().unwrap().1.to_vec();
    let replaced = |at: usize, old: &str, new: &str| {
        let (old, new) = (unhex(old), unhex(new));
        assert_eq!(whole[at..at + old.len()], old[..], "the offsets of the example");
        [&whole[..at], &new, &whole[at + old.len()..]].concat()
    };
    // Offsets in the example: tree 1, nonce 2, parents 18, clock 19, algorithm 22, key 23, author_prev 55, author_seq 56.
    vec![
        ("nothing", vec![], "truncated", InvalidInput),
        ("version 0", replaced(0, "01", "00"), "another version", Unsupported),
        ("version 2", replaced(0, "01", "02"), "another version", Unsupported),
        ("the last byte missing", whole[..whole.len() - 1].to_vec(), "truncated", InvalidInput),
        ("only a version", whole[..1].to_vec(), "truncated", InvalidInput),
        ("one byte more", [&whole[..], &[0]].concat(), "trailing bytes", InvalidInput),
        ("twice", whole.repeat(2), "trailing bytes", InvalidInput),
        ("tree 2", replaced(1, "00", "02"), "unknown variant", InvalidInput),
        ("tree 0 in two bytes", replaced(1, "00", "8000"), "non-canonical varint", InvalidInput),
        ("parents 0 in two bytes", replaced(18, "00", "8000"), "non-canonical varint", InvalidInput),
        ("clock in four bytes", replaced(19, "808004", "80808400"), "non-canonical varint", InvalidInput),
        (
            "clock of 65 bits",
            replaced(19, "808004", "ffffffffffffffffff02"),
            "varint out of range",
            InvalidInput,
        ),
        (
            "clock of eleven bytes",
            { replaced(19, "808004", "8080808080808080808001") },
            "varint out of range",
            InvalidInput,
        ),
        ("another algorithm", replaced(22, "00", "01"), "unknown variant", InvalidInput),
        ("option 2", replaced(55, "00", "02"), "unknown option tag", InvalidInput),
        ("more parents than bytes", replaced(18, "00", "ffffffffffffffff7f"), "truncated", InvalidInput),
        (
            "a name that isn't UTF-8",
            {
                let with = Header { stores: vec![store("aa", "k")], ..root() }.encode().unwrap().1.to_vec();
                let at = with.windows(3).position(|bytes| bytes == [2, b'a', b'a']).unwrap();
                [&with[..at + 1], &[0xc3, 0x28], &with[at + 3..]].concat()
            },
            "not UTF-8",
            InvalidInput,
        ),
    ]
}

fn fields(header: &Header) -> Value {
    let tree = match &header.tree {
        Tree::Root { nonce } => json!({ "root_nonce": hex(nonce) }),
        Tree::Of(root) => json!({ "of": root.to_string() }),
    };
    let ids = |ids: &[Id]| ids.iter().map(Id::to_string).collect::<Vec<_>>();
    let store = |store: &StoreRef| {
        json!({
            "name": store.name, "kind": store.kind, "payload_hash": hex(&store.payload_hash),
            "payload_bytes": store.payload_bytes,
        })
    };
    json!({
        "version": header.version,
        "tree": tree,
        "parents": ids(&header.parents),
        "clock": header.clock.to_bits(),
        "author": header.author.to_string(),
        "author_prev": header.author_prev.map(|id| id.to_string()),
        "author_seq": header.author_seq,
        "rights": ids(&header.rights),
        "stores": header.stores.iter().map(store).collect::<Vec<_>>(),
        "ext": header.ext.iter().map(|ext| json!({ "tag": ext.tag, "bytes": hex(&ext.bytes) })).collect::<Vec<_>>(),
    })
}

pub(crate) fn vectors() -> Vec<Value> {
    let mut vectors = Vec::new();
    for (name, header) in valid() {
        let (id, bytes) = header.encode().unwrap();
        assert_eq!(Header::decode(&bytes).unwrap(), header, "{name}");
        assert_eq!(entry_id(&bytes), id, "{name}");
        // The longest header's fields would only repeat its bytes.
        let fields = if bytes.len() == HEADER_BYTES_MAX { longest(&header) } else { fields(&header) };
        vectors
            .push(json!({ "name": name, "bytes": packed(&bytes), "id": id.to_string(), "fields": fields }));
    }
    let broken = broken().into_iter().map(|(name, header, reason, kind)| {
        let refused = header.encode().unwrap_err();
        assert_eq!(refused.kind(), kind, "{name}: {refused}");
        (name, postcard::to_stdvec(&header).unwrap(), reason, kind)
    });
    for (name, bytes, reason, kind) in broken.chain(mangled()) {
        let refused = Header::decode(&bytes).map(|_| ()).unwrap_err();
        assert_eq!(refused.kind(), kind, "{name}: {refused}");
        vectors.push(json!({ "name": name, "bytes": packed(&bytes), "reason": reason }));
    }
    vectors
}

fn longest(header: &Header) -> Value {
    let mut fields = fields(header);
    for (ext, of) in fields["ext"].as_array_mut().unwrap().iter_mut().zip(&header.ext) {
        ext["bytes"] = packed(&of.bytes);
    }
    fields
}

pub(crate) fn entries() -> Vec<Value> {
    let envelope = |n: u8, body: &[u8]| Envelope::plain([n; 16], 1, body.to_vec()).encode().unwrap();
    let with = |header: Header, payloads: &[Bytes]| {
        let mut header = header;
        for (store, payload) in header.stores.iter_mut().zip(payloads) {
            store.payload_hash = payload_hash(payload);
            store.payload_bytes = payload.len().try_into().unwrap();
        }
        header
    };
    let rights = postcard::to_stdvec(&eidetica_kernel::auth::RightsOp::Merge).unwrap();
    let two = [envelope(3, &rights), envelope(4, b"any body")];
    let long = [envelope(5, &[0x61; 5_000])];
    let cases = [
        ("the example of section 9", root(), vec![]),
        (
            "a root with two payloads",
            {
                let stores = vec![store("_rights", "keys/1"), store("_settings", "doc/1")];
                with(Header { stores, ..root() }, &two)
            },
            two.to_vec(),
        ),
        (
            "a child with a payload of 5 KB",
            { with(Header { stores: vec![store("notes", "doc/1")], ..child() }, &long) },
            long.to_vec(),
        ),
    ];
    let mut vectors = Vec::new();
    for (name, header, payloads) in cases {
        let entry = SignedEntry::sign(header, &key()).unwrap();
        assert!(entry.verify(), "{name}");
        vectors.push(json!({
            "name": name,
            "seed": hex(&SEED),
            "header": packed(entry.header_bytes()),
            "id": entry.id().to_string(),
            "signature": hex(entry.signature().as_bytes()),
            "payloads": payloads.iter().map(|payload| packed(payload)).collect::<Vec<_>>(),
        }));
    }
    vectors
}
