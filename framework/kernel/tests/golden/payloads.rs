//! Envelopes and rights operations.

use eidetica_kernel::auth::{Grant, Grantee, Right, RightsOp, StoreScope};
use eidetica_kernel::entry::{Codec, Envelope, payload_hash};
use eidetica_kernel::{ErrorKind, Id, Permission};
use serde_json::{Value, json};

use crate::headers::key;
use crate::{hex, packed, unhex};

fn envelope(codec: Codec, version: u16, body: &[u8]) -> Envelope {
    Envelope { salt: [0xa5; 16], codec, version, body: body.to_vec().into() }
}

pub(crate) fn envelopes() -> Vec<Value> {
    let mut vectors = Vec::new();
    for (name, envelope) in [
        ("an empty body", envelope(Codec::Plain, 1, b"")),
        ("a plain body", envelope(Codec::Plain, 1, b"body")),
        ("the greatest version", envelope(Codec::Plain, u16::MAX, b"body")),
        ("a body of 128 bytes", envelope(Codec::Plain, 1, &[0; 128])),
        ("a sealed body", envelope(Codec::Sealed { key_id: [0x42; 16] }, 1, b"nonce and ciphertext")),
    ] {
        let bytes = envelope.encode().unwrap();
        assert_eq!(Envelope::decode(&bytes).unwrap(), envelope, "{name}");
        let codec = match &envelope.codec {
            Codec::Plain => json!("plain"),
            Codec::Sealed { key_id } => json!({ "sealed": hex(key_id) }),
        };
        let fields = json!({
            "salt": hex(&envelope.salt), "codec": codec, "version": envelope.version, "body": hex(&envelope.body),
        });
        let hash = hex(&payload_hash(&bytes));
        vectors.push(json!({ "name": name, "bytes": hex(&bytes), "hash": hash, "fields": fields }));
    }
    let salt = "a5".repeat(16);
    let with = |rest: &str| unhex(&format!("{salt}{rest}"));
    // Codec, version and length take 1, 1 and 4 bytes.
    let too_long = envelope(Codec::Plain, 1, &vec![0; 16_777_216 - 16 - 6 + 1]);
    let too_long = postcard::to_stdvec(&too_long).unwrap();
    let invalid = [
        ("nothing", vec![], "truncated"),
        ("half a salt", unhex("a5a5a5a5a5a5a5a5"), "truncated"),
        ("codec 2", with("020100"), "unknown variant"),
        ("one byte more", with("00010000"), "trailing bytes"),
        ("codec in two bytes", with("80000100"), "non-canonical varint"),
        ("version in two bytes", with("00810000"), "non-canonical varint"),
        ("version of 17 bits", with("0080800400"), "varint out of range"),
        ("length in two bytes", with("00018000"), "non-canonical varint"),
        ("a longer body than there is", with("000105aaaa"), "truncated"),
        ("16 MiB and 1 byte", too_long, "too long a payload"),
    ];
    for (name, bytes, reason) in invalid {
        let refused = Envelope::decode(&bytes).map(|_| ()).unwrap_err();
        let limit = refused.kind() == ErrorKind::LimitExceeded;
        assert_eq!(limit, reason.starts_with("too long"), "{name}: {refused}");
        vectors.push(json!({ "name": name, "bytes": packed(&bytes), "reason": reason }));
    }
    vectors
}

fn id(n: u8) -> Id {
    Id::from_bytes([n; 32])
}

pub(crate) fn rights_ops() -> Vec<Value> {
    let someone = Grantee::Key(key().public_key());
    let only = |names: &[&str]| StoreScope::Only(names.iter().map(|name| (*name).to_owned()).collect());
    let grant = |to, right, seniority, stores, keep| RightsOp::Grant {
        to,
        grant: Grant { right, seniority, stores },
        keep,
    };
    let admit = Right::Admit { cap: Permission::Write, seniority_min: 100 };
    let mut vectors = Vec::new();
    for (name, op) in [
        ("admin to a key", grant(someone, Right::Admin, 0, StoreScope::All, vec![])),
        ("read to everybody", grant(Grantee::Anyone, Right::Read, u32::MAX, StoreScope::All, vec![])),
        (
            "write to two stores",
            grant(someone, Right::Write, 100, only(&["notes", "people"]), vec![id(1), id(2)]),
        ),
        ("write to none", grant(someone, Right::Write, 300, only(&[]), vec![])),
        ("admit up to write", grant(someone, admit, 100, StoreScope::All, vec![])),
        ("revoke a key", RightsOp::Revoke { from: someone, keep: vec![id(1), id(2), id(255)] }),
        ("revoke everybody", RightsOp::Revoke { from: Grantee::Anyone, keep: vec![] }),
        ("merge", RightsOp::Merge),
    ] {
        let bytes = postcard::to_stdvec(&op).unwrap();
        assert_eq!(postcard::from_bytes::<RightsOp>(&bytes).unwrap(), op, "{name}");
        vectors.push(json!({ "name": name, "bytes": hex(&bytes), "fields": fields(&op) }));
    }
    let unsorted = [
        ("stores b, a", grant(someone, Right::Write, 1, only(&["b", "a"]), vec![]), "unsorted stores"),
        ("stores a, a", grant(someone, Right::Write, 1, only(&["a", "a"]), vec![]), "duplicate stores"),
        ("keep 2, 1", RightsOp::Revoke { from: someone, keep: vec![id(2), id(1)] }, "unsorted keep"),
        ("keep 1, 1", RightsOp::Revoke { from: someone, keep: vec![id(1), id(1)] }, "duplicate keep"),
    ];
    for (name, op, reason) in unsorted {
        let bytes = postcard::to_stdvec(&op).unwrap();
        vectors.push(json!({ "name": name, "bytes": hex(&bytes), "reason": reason }));
    }
    for (name, bytes, reason) in [
        ("nothing", "", "truncated"),
        ("operation 3", "03", "unknown variant"),
        ("a longer merge", "0200", "trailing bytes"),
        ("merge in two bytes", "8200", "non-canonical varint"),
        ("grantee 2", "010200", "unknown variant"),
        ("right 4", "00000400000000", "unknown variant"),
        ("cap 3", "0000010300000000", "unknown variant"),
        ("scope 2", "000000010200", "unknown variant"),
        ("seniority of 33 bits", "0000008080808010000000", "varint out of range"),
        ("more heads than bytes", "0100ffffffff7f", "truncated"),
    ] {
        // Whether what postcard reads is canonical is for the policy to check, by encoding it again.
        let read = postcard::from_bytes::<RightsOp>(&unhex(bytes)).ok();
        let same = read.is_some_and(|op| postcard::to_stdvec(&op).unwrap() == unhex(bytes));
        assert!(!same, "{name}");
        vectors.push(json!({ "name": name, "bytes": bytes, "reason": reason }));
    }
    vectors
}

fn fields(op: &RightsOp) -> Value {
    let keep: Vec<String> = op.keep().iter().map(Id::to_string).collect();
    match op {
        RightsOp::Grant { to, grant, .. } => {
            let right = match &grant.right {
                Right::Admit { cap, seniority_min } => {
                    json!({ "admit": { "cap": cap.to_string(), "seniority_min": seniority_min } })
                }
                right => json!(match right {
                    Right::Read => "read",
                    Right::Write => "write",
                    _ => "admin",
                }),
            };
            let stores = match &grant.stores {
                StoreScope::All => json!("all"),
                StoreScope::Only(names) => json!(names),
            };
            json!({
                "op": "grant", "to": to.to_string(), "right": right, "seniority": grant.seniority, "stores": stores,
                "keep": keep,
            })
        }
        RightsOp::Revoke { from, .. } => json!({ "op": "revoke", "from": from.to_string(), "keep": keep }),
        RightsOp::Merge => json!({ "op": "merge" }),
    }
}
