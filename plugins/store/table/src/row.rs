//! State rows as bytes. The layout is `FORMAT.md`.

use eidetica_kernel::store::Stamp;
use eidetica_kernel::{Error, ErrorKind, HybridClock, Id, Result};

use crate::id::RowId;
use crate::index::IndexValue;

/// What the rows of the table begin with.
pub(crate) const ROWS: u8 = b'r';
const INDEX: u8 = b'i';
const MARKER: u8 = 0;
const FIELD: u8 = 1;
const STAMP_BYTES: usize = 40;
/// Bytes of the keys of one row that are the same.
const ROW_BYTES: usize = 17;

/// Whether a row is there, and what of it was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    pub(crate) stamp: Stamp,
    pub(crate) there: bool,
    /// The newest delete.
    pub(crate) cut: Option<Stamp>,
}

/// A field's newest write: `None` if it was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field<'a> {
    pub(crate) stamp: Stamp,
    pub(crate) value: Option<&'a [u8]>,
}

/// What the key of a row of the table speaks of.
pub(crate) enum Part<'a> {
    Marker,
    Field(&'a str),
}

/// What all keys of one row begin with.
pub(crate) fn row_prefix(id: RowId) -> Vec<u8> {
    let mut key = Vec::with_capacity(ROW_BYTES + 1);
    key.push(ROWS);
    key.extend_from_slice(id.as_bytes());
    key
}

pub(crate) fn marker_key(id: RowId) -> Vec<u8> {
    let mut key = row_prefix(id);
    key.push(MARKER);
    key
}

pub(crate) fn field_key(id: RowId, name: &str) -> Vec<u8> {
    let mut key = row_prefix(id);
    key.push(FIELD);
    key.extend_from_slice(name.as_bytes());
    key
}

/// Reads the key of a row of the table.
pub(crate) fn read_key(key: &[u8]) -> Result<(RowId, Part<'_>)> {
    let parts = || {
        let (id, rest) = key.strip_prefix(&[ROWS])?.split_first_chunk()?;
        let part = match rest.split_first()? {
            (&MARKER, []) => Part::Marker,
            (&FIELD, name) => Part::Field(std::str::from_utf8(name).ok()?),
            _ => return None,
        };
        Some((RowId::from_bytes(*id), part))
    };
    parts().ok_or_else(|| corrupt(key))
}

/// What the keys of one field's index begin with.
pub(crate) fn index_prefix(name: &str) -> Vec<u8> {
    let mut key = vec![INDEX];
    push_escaped(name.as_bytes(), &mut key);
    key.push(0);
    key
}

pub(crate) fn index_key(name: &str, value: &IndexValue, id: RowId) -> Vec<u8> {
    let mut key = index_prefix(name);
    key.extend_from_slice(&value.indexed());
    key.extend_from_slice(id.as_bytes());
    key
}

/// The row that an index row leads to.
pub(crate) fn indexed_row(key: &[u8]) -> Result<RowId> {
    key.last_chunk().map(|id| RowId::from_bytes(*id)).ok_or_else(|| corrupt(key))
}

/// Bytes without zeros that sort as the original ones do, before a zero.
pub(crate) fn push_escaped(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        match byte {
            0 => out.extend_from_slice(&[1, 1]),
            1 => out.extend_from_slice(&[1, 2]),
            byte => out.push(*byte),
        }
    }
}

pub(crate) fn read_marker(row: &[u8]) -> Result<Marker> {
    let parts = || {
        let (flags, rest) = row.split_first()?;
        let (stamp, rest) = read_stamp(rest)?;
        let (cut, rest) = match flags & 2 {
            0 => (None, rest),
            _ => read_stamp(rest).map(|(cut, rest)| (Some(cut), rest))?,
        };
        (*flags < 4 && rest.is_empty()).then_some(Marker { stamp, there: flags & 1 == 1, cut })
    };
    parts().ok_or_else(|| corrupt(row))
}

pub(crate) fn write_marker(marker: &Marker) -> Vec<u8> {
    let mut row = vec![u8::from(marker.there) | u8::from(marker.cut.is_some()) << 1];
    write_stamp(&marker.stamp, &mut row);
    if let Some(cut) = &marker.cut {
        write_stamp(cut, &mut row);
    }
    row
}

pub(crate) fn read_field(row: &[u8]) -> Result<Field<'_>> {
    let parts = || {
        let (stamp, rest) = read_stamp(row)?;
        Some(Field { stamp, value: (!rest.is_empty()).then_some(rest) })
    };
    parts().ok_or_else(|| corrupt(row))
}

/// Writes a field. No value is empty: CBOR has no value of no bytes.
pub(crate) fn write_field(field: &Field<'_>) -> Vec<u8> {
    let value = field.value.unwrap_or_default();
    let mut row = Vec::with_capacity(STAMP_BYTES + value.len());
    write_stamp(&field.stamp, &mut row);
    row.extend_from_slice(value);
    row
}

fn read_stamp(row: &[u8]) -> Option<(Stamp, &[u8])> {
    let (clock, rest) = row.split_first_chunk()?;
    let (entry, rest) = rest.split_first_chunk()?;
    let clock = HybridClock::from_bits(u64::from_be_bytes(*clock));
    Some((Stamp { clock, entry: Id::from_bytes(*entry) }, rest))
}

fn write_stamp(stamp: &Stamp, row: &mut Vec<u8>) {
    row.extend_from_slice(&stamp.clock.to_bits().to_be_bytes());
    row.extend_from_slice(stamp.entry.as_bytes());
}

pub(crate) fn corrupt(row: &[u8]) -> Error {
    let start = &row[..row.len().min(24)];
    Error::new(ErrorKind::Corrupt, "reading a row of a table", start.escape_ascii(), "its bytes aren't one")
        .hint("derive the store again: rebuild")
}
