//! `FORMAT.md` as bytes: what is written, what is accepted, and every rule that makes a payload have no effect.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::Replica;
use eidetica_conformance::store::{MemoryRows, TestTx};
use eidetica_kernel::store::{Applied, RowOverlay, Stamp, StampedPayload};
use eidetica_kernel::{HybridClock, Id, Store, StoreHandle};
use eidetica_store_doc::{DocKind, DocStore, Value};
use std::sync::Arc;

const OWN: [u8; 32] = [9; 32];

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

fn apply(body: &[u8], version: u16) -> (Applied, MemoryRows) {
    let stamp = Stamp { clock: HybridClock::from_bits(1), entry: Id::from_bytes(OWN) };
    let mut rows = MemoryRows::new();
    let mut overlay = RowOverlay::new(&rows);
    let applied = DocKind.apply(&mut overlay, &StampedPayload { stamp, arrival: 0, version, body }).unwrap();
    let changes = overlay.into_changes();
    rows.write(changes);
    (applied, rows)
}

/// What a body makes of an empty store, as JSON.
fn shown(hex: &str) -> String {
    let (applied, rows) = apply(&bytes(hex), 1);
    assert!(matches!(applied, Applied::Folded { .. }), "{applied:?}");
    let mut json = Vec::new();
    DocKind.export_json(&rows, &mut json).unwrap();
    String::from_utf8(json).unwrap()
}

fn refused(hex: &str) -> String {
    let (applied, rows) = apply(&bytes(hex), 1);
    assert!(rows.table(eidetica_kernel::store::RowTable::State).is_empty());
    match applied {
        Applied::NoEffect { reason } => reason,
        other => panic!("{hex}: {other:?}"),
    }
}

#[test]
fn bodies_are_the_bytes_that_the_format_says() {
    let body = |edit: &dyn Fn(&DocStore)| {
        Replica::new(1)
            .commit(|store| {
                edit(store);
                Ok(())
            })
            .payload
            .body
    };
    assert_eq!(body(&|store| store.set("k", 1).unwrap()), bytes("0200 01 00016b 000202"));
    assert_eq!(
        body(&|store| store.set_path("a.b", "x").unwrap()),
        bytes("0200 01 000161 0200 02 000162 00040178")
    );
    assert_eq!(body(&|store| store.set_root(-0.0).unwrap()), bytes("00 03 0000000000000080"));
    assert_eq!(body(&|store| store.set_root(f64::NAN).unwrap()), bytes("00 03 000000000000f87f"));
    assert_eq!(body(&|store| store.set("k", true).unwrap()), bytes("0200 01 00016b 000101"));
    assert_eq!(body(&|store| store.set("k", Value::Null).unwrap()), bytes("0200 01 00016b 0000"));
    assert_eq!(body(&|store| store.set("k", &b"\x01\x02"[..]).unwrap()), bytes("0200 01 00016b 0005020102"));
    let pushed = body(&|store| store.push("l", Value::Null).unwrap());
    assert_eq!(pushed[..pushed.len() - 9], bytes("0200 01 00016c 0201 02 0200 0000 02 0400 0409")[..]);
}

#[test]
fn deleting_and_moving_name_what_others_made() {
    let mut replica = Replica::new(3);
    let made = replica.commit(|store| store.set("l", vec![1, 2]));
    let id: String = made.stamp.entry.to_string();
    let deleted = replica.commit(|store| store.remove("l", 0));
    assert_eq!(deleted.payload.body, bytes(&format!("0200 01 00016c 0201 02 01{id}00 03")));
    let deleted = replica.commit(|store| store.delete("l"));
    assert_eq!(deleted.payload.body, bytes("0200 01 00016c 03"));
}

#[test]
fn what_the_format_allows_is_folded() {
    assert_eq!(shown("0200"), "{}");
    assert_eq!(shown("0201"), "[]");
    assert_eq!(shown("03"), "{}");
    assert_eq!(shown("0101 01 0200 000202 01 0201 000204 01 0400 040180 01 0401 040140"), "[2,1]");
    let theirs = "07".repeat(32);
    // An element that was never placed isn't there.
    assert_eq!(shown(&format!("0201 01 01{theirs}00 0000")), "[]");
    assert_eq!(shown(&format!("0201 01 01{theirs}00 0000 01 03{theirs}00 0400")), "[null]");
}

#[test]
fn what_breaks_a_rule_has_no_effect() {
    let own = "09".repeat(32);
    let theirs = "07".repeat(32);
    let provisional = "ff".repeat(32);
    let cases = [
        ("", "sequence"),
        ("05", "sequence"),
        ("0200 01 00016b", "sequence"),
        ("0200 01 0001ff 0000", "sequence"),
        ("0200 01 00ffffffff0f", "sequence"),
        ("0200 01 00016b 0002 8200", "canonical"),
        ("8200 00", "canonical"),
        ("0200 00 00016b 0000", "parent"),
        ("0200 02 00016b 0000", "parent"),
        ("0000 01 00016b 0000", "parent"),
        ("03 01 00016b 0000", "parent"),
        ("0201 01 00016b 0000", "parent"),
        ("0200 01 0200 0000", "parent"),
        ("0200 01 000162 0000 01 000161 0000", "sorted"),
        ("0200 01 000161 0000 01 000161 0000", "sorted"),
        ("0200 01 00016b 040100", "placed"),
        ("0201 01 0200 040100 01 0400 040100", "placed"),
        ("0201 01 0200 0000 01 0400 0000", "placed"),
        ("0400", "places the root"),
        ("0201 01 0200 0000", "where it is made"),
        ("0201 01 0400 040100", "where it is made"),
        (
            "0200 01 000161 0201 02 0200 0000 02 0400 0400 01 000162 0201 02 0200 0000 02 0400 0400",
            "where it is made",
        ),
        ("0200 01 00016b 0003 010000000000f87f", "canonical"),
        ("0200 01 00016b 0003 000000000000f8ff", "canonical"),
        (&format!("0201 01 01{own}00 0000"), "own entry"),
        (&format!("0201 01 03{own}00 0400"), "own entry"),
        (&format!("0201 01 01{provisional}00 0000"), "own entry"),
        (&format!("0201 01 03{theirs}00 048002{}", "00".repeat(256)), "position"),
    ];
    for (hex, why) in cases {
        let reason = refused(hex);
        assert!(reason.contains(why), "{hex}: {reason}");
    }
    assert!(matches!(apply(&bytes("0200"), 2).0, Applied::NoEffect { .. }));
}

#[test]
fn paths_beyond_the_limits_have_no_effect() {
    let deep = |depth: u16| {
        let mut body = bytes("0200");
        for at in 1..=depth {
            body.extend_from_slice(&postcard::to_stdvec(&at).unwrap());
            body.extend_from_slice(&bytes("00016b 0200"));
        }
        body
    };
    assert!(matches!(apply(&deep(256), 1).0, Applied::Folded { .. }));
    assert!(matches!(apply(&deep(257), 1).0, Applied::NoEffect { .. }));
    let key = |length: usize| {
        let mut body = bytes("0200 01");
        body.extend_from_slice(&postcard::to_stdvec(&(0_u8, "k".repeat(length), 3_u8)).unwrap());
        body
    };
    assert!(matches!(apply(&key(65_534), 1).0, Applied::Folded { .. }));
    assert!(matches!(apply(&key(65_535), 1).0, Applied::NoEffect { .. }));
    // A small payload must not ask for much memory: here 1 MiB would name gigabytes of paths.
    let mut wide = key(60_000);
    wide.truncate(wide.len() - 1);
    wide.extend_from_slice(&bytes("0200"));
    for at in 0..20_000_u32 {
        wide.extend_from_slice(&bytes("02 00 04"));
        wide.extend_from_slice(format!("{at:04x}").as_bytes());
        wide.push(3);
    }
    assert!(matches!(apply(&wide, 1).0, Applied::NoEffect { .. }));
}

#[test]
fn positions_without_room_are_made_anew() {
    // Two elements at one position, which only others write.
    let theirs = "07".repeat(32);
    let (applied, rows) = apply(
        &bytes(&format!(
            "0200 01 00016c 0201 02 01{theirs}00 000202 02 01{theirs}01 000204 02 03{theirs}00 0401ff 02 03{theirs}01 0401ff"
        )),
        1,
    );
    assert!(matches!(applied, Applied::Folded { .. }));
    let store = DocStore::open(TestTx::on(Arc::new(rows), 1)).unwrap();
    store.insert("l", 1, "between").unwrap();
    assert_eq!(store.get("l").unwrap().to_string(), r#"[1,"between",2]"#);
    store.push("l", "end").unwrap();
    store.insert("l", 0, "start").unwrap();
    store.move_item("l", 4, 1).unwrap();
    assert_eq!(store.get("l").unwrap().to_string(), r#"["start","end",1,"between",2]"#);
}

#[test]
fn a_list_whose_positions_are_used_up_still_takes_elements() {
    let theirs = "07".repeat(32);
    let last = "ff".repeat(255);
    let (applied, rows) = apply(
        &bytes(&format!(
            "0200 01 00016c 0201 02 01{theirs}00 000202 02 01{theirs}01 000204 02 03{theirs}00 0401aa 02 03{theirs}01 04ff01{last}"
        )),
        1,
    );
    assert!(matches!(applied, Applied::Folded { .. }), "{applied:?}");
    let store = DocStore::open(TestTx::on(Arc::new(rows), 1)).unwrap();
    store.push("l", 3).unwrap();
    store.push("l", 4).unwrap();
    assert_eq!(store.get("l").unwrap().to_string(), "[1,2,3,4]");
    store.move_item("l", 0, 3).unwrap();
    assert_eq!(store.get("l").unwrap().to_string(), "[2,3,4,1]");
}
