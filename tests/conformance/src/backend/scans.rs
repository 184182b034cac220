//! Order, bounds and pages.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use eidetica_kernel::backend::{Direction, PAGE_ROWS_MAX, Row, Scan, VALUE_BYTES_MAX};

use super::check::{all_rows, put};
use super::suite::{Case, Place};
use crate::check::{Outcome, ensure, same};

pub(super) const CASES: &[Case] = &[
    Case::new("keys_are_ordered_bytewise", "B3", keys_are_ordered_bytewise),
    Case::new("bounds_of_every_kind_are_kept", "B3", bounds_of_every_kind_are_kept),
    Case::new("pages_hold_each_row_once", "B3", pages_hold_each_row_once),
    Case::new("no_page_is_longer_than_allowed", "B3", no_page_is_longer_than_allowed),
    Case::new("pages_of_large_values_hold_each_row_once", "B3", pages_of_large_values_hold_each_row_once),
    Case::new("empty_and_inverted_ranges_hold_nothing", "B3 B9", empty_and_inverted_ranges_hold_nothing),
    Case::new("prefixes_end_where_they_end", "B3", prefixes_end_where_they_end),
];

/// Keys where a comparison that isn't bytewise, or stops early, goes wrong.
const KEYS: &[&[u8]] = &[
    b"\x00",
    b"\x00\x00",
    b"\x00\xff",
    b"\x01",
    b"A",
    b"a",
    b"a\x00",
    b"a\x00b",
    b"aa",
    b"ab",
    b"b",
    b"\x7f",
    b"\x80",
    b"\xc3\xa9",
    b"\xfe\xff",
    b"\xff",
    b"\xff\x00",
    b"\xff\xff",
    b"\xff\xff\xff",
];

fn sorted() -> Vec<Row> {
    let rows: BTreeMap<Bytes, Bytes> =
        KEYS.iter().map(|key| (Bytes::from_static(key), Bytes::from_static(key))).collect();
    rows.into_iter().collect()
}

fn keys_are_ordered_bytewise(place: &Place) -> Outcome {
    let backend = place.open()?;
    // Written out of order, in batches of their own.
    for at in 0..KEYS.len() {
        let key = KEYS[(at * 7) % KEYS.len()];
        backend.commit(put(key, key))?;
    }
    let mut expected = sorted();
    same("forward", all_rows(Scan::all(), |scan| backend.scan(scan))?, expected.clone())?;
    expected.reverse();
    same("backward", all_rows(Scan::all().backward(), |scan| backend.scan(scan))?, expected)
}

fn bounds_of_every_kind_are_kept(place: &Place) -> Outcome {
    let backend = place.open()?;
    let keys: [&[u8]; 5] = [b"b", b"b\x00", b"d", b"d\xff", b"f"];
    for key in keys {
        backend.commit(put(key, key))?;
    }
    let snapshot = backend.snapshot()?;
    let mut bounds = vec![Bound::Unbounded];
    for key in [&b"a"[..], b"b", b"b\x00", b"c", b"d", b"d\xff", b"f", b"g"] {
        let key = Bytes::copy_from_slice(key);
        bounds.extend([Bound::Included(key.clone()), Bound::Excluded(key)]);
    }
    for start in &bounds {
        for end in &bounds {
            for direction in [Direction::Forward, Direction::Backward] {
                let scan = Scan { start: start.clone(), end: end.clone(), direction, limit: 2 };
                let mut expected: Vec<Bytes> =
                    keys.iter().filter(|key| scan.contains(key)).map(|key| Bytes::from_static(key)).collect();
                if direction == Direction::Backward {
                    expected.reverse();
                }
                let found = |rows: Vec<Row>| rows.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
                let what = format!("{start:?} to {end:?}, {direction:?}");
                let rows = all_rows(scan.clone(), |scan| backend.scan(scan))?;
                same(&what, found(rows), expected.clone())?;
                let rows = all_rows(scan, |scan| snapshot.scan(scan))?;
                same(&format!("snapshot, {what}"), found(rows), expected)?;
            }
        }
    }
    Ok(())
}

fn pages_hold_each_row_once(place: &Place) -> Outcome {
    let backend = place.open()?;
    for (key, value) in sorted() {
        backend.commit(put(&key, &value))?;
    }
    let mut backward = sorted();
    backward.reverse();
    for limit in [1, 2, 3, KEYS.len() - 1, KEYS.len(), KEYS.len() + 1, usize::MAX] {
        let scan = Scan::all().limit(limit);
        let what = format!("pages of {limit}");
        same(&what, all_rows(scan.clone(), |scan| backend.scan(scan))?, sorted())?;
        same(&what, all_rows(scan.backward(), |scan| backend.scan(scan))?, backward.clone())?;
    }
    let page = backend.scan(&Scan::all().limit(0))?;
    ensure(page.rows.len() == 1 && page.more, || {
        "a limit of 0 serves one row and says there is more".to_owned()
    })
}

fn no_page_is_longer_than_allowed(place: &Place) -> Outcome {
    let backend = place.open()?;
    let count = PAGE_ROWS_MAX + 100;
    let mut batch = eidetica_kernel::backend::Batch::new();
    for number in 0..count {
        batch.put(format!("{number:08}"), "x");
    }
    backend.commit(batch)?;
    for scan in [Scan::all().limit(usize::MAX), Scan::all().limit(usize::MAX).backward()] {
        let page = backend.scan(&scan)?;
        ensure(page.rows.len() <= PAGE_ROWS_MAX && page.more, || {
            format!("{} rows in one page, at most {PAGE_ROWS_MAX} and more behind", page.rows.len())
        })?;
        same("rows", all_rows(scan, |scan| backend.scan(scan))?.len(), count)?;
    }
    Ok(())
}

/// A page may end for its bytes, and then there is more.
fn pages_of_large_values_hold_each_row_once(place: &Place) -> Outcome {
    let backend = place.open()?;
    let value = vec![b'v'; VALUE_BYTES_MAX];
    // Beyond what one page should take into memory.
    let mut expected: Vec<Bytes> = (0..24_u8).map(|row| Bytes::from(vec![b'k', row])).collect();
    for key in &expected {
        backend.commit(put(key, &value))?;
    }
    let snapshot = backend.snapshot()?;
    let found = |rows: Vec<Row>| -> Vec<Bytes> { rows.into_iter().map(|(key, _)| key).collect() };
    for scan in [Scan::all(), Scan::all().backward()] {
        let what = format!("{} rows of {VALUE_BYTES_MAX} bytes, {:?}", expected.len(), scan.direction);
        let rows = all_rows(scan.clone(), |scan| backend.scan(scan))?;
        same(&what, found(rows), expected.clone())?;
        let rows = all_rows(scan, |scan| snapshot.scan(scan))?;
        same(&format!("snapshot, {what}"), found(rows), expected.clone())?;
        expected.reverse();
    }
    Ok(())
}

fn empty_and_inverted_ranges_hold_nothing(place: &Place) -> Outcome {
    let backend = place.open()?;
    for key in ["a", "b", "c"] {
        backend.commit(put(key.as_bytes(), b"1"))?;
    }
    let key = |key: &'static str| Bytes::from_static(key.as_bytes());
    let ends = [
        (Bound::Included(key("b")), Bound::Excluded(key("b"))),
        (Bound::Excluded(key("b")), Bound::Included(key("b"))),
        (Bound::Excluded(key("b")), Bound::Excluded(key("b"))),
        (Bound::Included(key("c")), Bound::Included(key("a"))),
        (Bound::Excluded(key("c")), Bound::Excluded(key("a"))),
        (Bound::Excluded(key("a")), Bound::Excluded(key("a\0"))),
        (Bound::Excluded(key("c")), Bound::Unbounded),
        (Bound::Unbounded, Bound::Excluded(key("a"))),
    ];
    for (start, end) in ends {
        for direction in [Direction::Forward, Direction::Backward] {
            let scan = Scan { start: start.clone(), end: end.clone(), direction, limit: 10 };
            let page = backend.scan(&scan)?;
            same(&format!("{start:?} to {end:?}"), page.rows, vec![])?;
            same("more", page.more, false)?;
        }
    }
    Ok(())
}

fn prefixes_end_where_they_end(place: &Place) -> Outcome {
    let backend = place.open()?;
    for (key, value) in sorted() {
        backend.commit(put(&key, &value))?;
    }
    for prefix in [&b""[..], b"\x00", b"a", b"a\x00", b"\xff", b"\xff\xff", b"zz"] {
        let mut expected: Vec<Row> =
            sorted().into_iter().filter(|(key, _)| key.starts_with(prefix)).collect();
        let what = format!("prefix {:?}", Bytes::copy_from_slice(prefix));
        let scan = Scan::prefix(prefix).limit(2);
        same(&what, all_rows(scan.clone(), |scan| backend.scan(scan))?, expected.clone())?;
        expected.reverse();
        same(&what, all_rows(scan.backward(), |scan| backend.scan(scan))?, expected)?;
    }
    Ok(())
}
