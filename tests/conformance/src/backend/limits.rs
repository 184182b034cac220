//! Lengths of keys and values.

use std::ops::Bound;

use bytes::Bytes;
use eidetica_kernel::backend::{KEY_BYTES_MAX, Scan, VALUE_BYTES_MAX};
use eidetica_kernel::error::ErrorKind::{InvalidInput, LimitExceeded};

use super::check::{all_rows, delete, put};
use super::suite::{Case, Place};
use crate::check::{Outcome, ensure, refused, same};

pub(super) const CASES: &[Case] = &[
    Case::new("keys_and_values_up_to_the_limits_are_accepted", "B6", limits_are_accepted),
    Case::new("longer_keys_and_values_are_refused", "B6 B9", longer_keys_and_values_are_refused),
    Case::new("empty_keys_are_refused", "B6 B9", empty_keys_are_refused),
    Case::new("reading_odd_keys_is_harmless", "B9", reading_odd_keys_is_harmless),
];

fn limits_are_accepted(place: &Place) -> Outcome {
    let backend = place.open()?;
    let mut expected = Vec::new();
    for key_bytes in [1, 2, 255, 256, 1_000, KEY_BYTES_MAX] {
        for (number, value_bytes) in [0, 1, 4_095, 65_536, VALUE_BYTES_MAX].into_iter().enumerate() {
            let mut key = vec![b'k'; key_bytes];
            key[key_bytes - 1] = u8::try_from(number)?;
            let value: Vec<u8> = (0..value_bytes).map(|at| (at % 251) as u8).collect();
            backend.commit(put(&key, &value))?;
            expected.push((key, value));
        }
    }
    expected.sort();
    for (key, value) in &expected {
        let found = backend.get(key)?;
        ensure(found.as_deref() == Some(value), || {
            format!("a key of {} and a value of {} bytes: read back otherwise", key.len(), value.len())
        })?;
    }
    let rows = all_rows(Scan::all(), |scan| backend.scan(scan))?;
    let equal = rows.len() == expected.len()
        && rows.iter().zip(&expected).all(|(row, (key, value))| row.0 == key && row.1 == value);
    ensure(equal, || "a scan over the longest and shortest rows reads them otherwise".to_owned())
}

fn longer_keys_and_values_are_refused(place: &Place) -> Outcome {
    let backend = place.open()?;
    let key = vec![b'k'; KEY_BYTES_MAX + 1];
    let value = vec![b'v'; VALUE_BYTES_MAX + 1];
    let mut long_precondition = put(b"a", b"1");
    long_precondition.expect_absent(key.clone());
    let mut long_second = put(b"a", b"1");
    long_second.put(key.clone(), "2");
    let mut long_value_second = put(b"a", b"1");
    long_value_second.put("b", value.clone());
    let batches = [
        ("a long key", put(&key, b"1")),
        ("a long key deleted", delete(&key)),
        ("a long value", put(b"a", &value)),
        ("a precondition on a long key", long_precondition),
        ("a long key behind a good row", long_second),
        ("a long value behind a good row", long_value_second),
    ];
    for (what, batch) in batches {
        refused(what, backend.commit(batch), &[LimitExceeded])?;
        same(what, backend.scan(&Scan::all())?.rows, vec![])?;
    }
    Ok(())
}

fn empty_keys_are_refused(place: &Place) -> Outcome {
    let backend = place.open()?;
    let mut precondition = put(b"a", b"1");
    precondition.expect_absent("");
    let mut second = put(b"a", b"1");
    second.delete("");
    for (what, batch) in [("put", put(b"", b"1")), ("precondition", precondition), ("delete", second)] {
        refused(what, backend.commit(batch), &[InvalidInput, LimitExceeded])?;
        same(what, backend.scan(&Scan::all())?.rows, vec![])?;
    }
    Ok(())
}

fn reading_odd_keys_is_harmless(place: &Place) -> Outcome {
    let backend = place.open()?;
    backend.commit(put(b"a", b"1"))?;
    let long = vec![b'a'; KEY_BYTES_MAX * 80];
    for key in [&b""[..], &long] {
        // An error is as good as nothing found; a value would be an invention.
        ensure(!matches!(backend.get(key), Ok(Some(_))), || "a key that can't exist has a value".to_owned())?;
        ensure(!matches!(backend.get_many(&[key]).as_deref(), Ok([Some(_)])), || {
            "a key that can't exist has a value".to_owned()
        })?;
        let scan = Scan::range(key.to_vec(), long.clone());
        all_rows(scan.clone(), |scan| backend.scan(scan))?;
        all_rows(scan.backward(), |scan| backend.scan(scan))?;
    }
    // Ends longer than any key keep out, and let in, exactly what sorts on their sides.
    let longest = vec![b'a'; KEY_BYTES_MAX];
    backend.commit(put(&longest, b"1"))?;
    let ends = [Bound::Included(Bytes::from(long.clone())), Bound::Excluded(Bytes::from(long))];
    for end in ends {
        let before = Scan { end: end.clone(), ..Scan::all() };
        same("rows before a long end", all_rows(before, |scan| backend.scan(scan))?.len(), 2)?;
        let behind = Scan { start: end, ..Scan::all() };
        same("rows behind a long end", all_rows(behind, |scan| backend.scan(scan))?.len(), 0)?;
    }
    Ok(())
}
