//! State rows as bytes. The layout is `FORMAT.md`.

use eidetica_kernel::store::Stamp;
use eidetica_kernel::{Error, ErrorKind, HybridClock, Id, Result};

use crate::payload::{Container, Scalar};
use crate::value::canonical;

/// Bytes of one part of a scalar that is too long for one row.
pub(crate) const PART_BYTES: usize = 500_000;
const STAMP_BYTES: usize = 40;
const CUT_SAME: u8 = 0x10;
const CUT_OTHER: u8 = 0x20;
const PATH: u8 = 0x40;
const ORDER_KIND: u8 = 15;

/// What a path's register and cut are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Register<'a> {
    pub(crate) stamp: Stamp,
    /// Never greater than `stamp`: whatever cuts writes the register too.
    pub(crate) cut: Option<Stamp>,
    pub(crate) content: Content<'a>,
}

/// What a register holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Content<'a> {
    Absent,
    Scalar(Scalar<'a>),
    /// A scalar of this length that rests in parts.
    Parts {
        text: bool,
        bytes: usize,
    },
    Container(Container),
    Position(&'a [u8]),
}

impl Content<'_> {
    /// How many parts rest beside the row.
    pub(crate) fn parts(&self) -> u8 {
        match self {
            // At most 16 MiB of payload: 34 parts.
            Self::Parts { bytes, .. } => u8::try_from(bytes.div_ceil(PART_BYTES)).unwrap_or(u8::MAX),
            _ => 0,
        }
    }
}

/// Reads a row. The path is there for rows whose key doesn't say it.
pub(crate) fn read(row: &[u8]) -> Result<(Register<'_>, Option<&[u8]>)> {
    read_parts(row).ok_or_else(|| corrupt(row))
}

fn read_parts(row: &[u8]) -> Option<(Register<'_>, Option<&[u8]>)> {
    let (flags, rest) = row.split_first()?;
    let (path, rest) = read_path(*flags, rest)?;
    let (stamp, rest) = read_stamp(rest)?;
    let (cut, rest) = match flags & (CUT_SAME | CUT_OTHER) {
        0 => (None, rest),
        CUT_SAME => (Some(stamp), rest),
        _ => {
            let (cut, rest) = read_stamp(rest)?;
            (Some(cut), rest)
        }
    };
    let number = || rest.try_into().ok().map(u64::from_be_bytes);
    let length = || rest.try_into().ok().map(|length| u32::from_be_bytes(length) as usize);
    let content = match flags & 0x0f {
        0 => Content::Absent,
        1 => Content::Scalar(Scalar::Null),
        2 => Content::Scalar(Scalar::Bool(false)),
        3 => Content::Scalar(Scalar::Bool(true)),
        4 => Content::Scalar(Scalar::Int(number()?.cast_signed())),
        5 => Content::Scalar(Scalar::Float(canonical(f64::from_bits(number()?)))),
        6 => Content::Scalar(Scalar::Text(std::str::from_utf8(rest).ok()?.into())),
        7 => Content::Scalar(Scalar::Bytes(rest.into())),
        8 => Content::Container(Container::Map),
        9 => Content::Container(Container::List),
        10 => Content::Position(rest),
        11 => Content::Parts { text: true, bytes: length()? },
        12 => Content::Parts { text: false, bytes: length()? },
        _ => return None,
    };
    Some((Register { stamp, cut, content }, path))
}

/// Writes a row; `path` where the key doesn't say it.
pub(crate) fn write(register: &Register<'_>, path: Option<&[u8]>) -> Vec<u8> {
    let (kind, number, bytes): (u8, Option<u64>, &[u8]) = match &register.content {
        Content::Absent => (0, None, &[]),
        Content::Scalar(Scalar::Null) => (1, None, &[]),
        Content::Scalar(Scalar::Bool(value)) => (2 + u8::from(*value), None, &[]),
        Content::Scalar(Scalar::Int(value)) => (4, Some(value.cast_unsigned()), &[]),
        Content::Scalar(Scalar::Float(value)) => (5, Some(value.to_bits()), &[]),
        Content::Scalar(Scalar::Text(value)) => (6, None, value.as_bytes()),
        Content::Scalar(Scalar::Bytes(value)) => (7, None, value),
        Content::Container(Container::Map) => (8, None, &[]),
        Content::Container(Container::List) => (9, None, &[]),
        Content::Position(position) => (10, None, position),
        Content::Parts { text, .. } => (if *text { 11 } else { 12 }, None, &[]),
    };
    let cut = match register.cut {
        None => 0,
        Some(cut) if cut == register.stamp => CUT_SAME,
        Some(_) => CUT_OTHER,
    };
    let stamps = if cut == CUT_OTHER { 2 } else { 1 };
    let content = match register.content {
        Content::Parts { .. } => 4,
        _ => number.map_or(bytes.len(), |_| 8),
    };
    // Exactly: a row that has room left over costs another allocation where it is shared.
    let mut row =
        Vec::with_capacity(1 + path.map_or(0, |path| 4 + path.len()) + stamps * STAMP_BYTES + content);
    row.push(kind | cut | path.map_or(0, |_| PATH));
    write_path(path, &mut row);
    write_stamp(&register.stamp, &mut row);
    if let (CUT_OTHER, Some(stamp)) = (cut, &register.cut) {
        write_stamp(stamp, &mut row);
    }
    match (&register.content, number) {
        (Content::Parts { bytes, .. }, _) => row.extend_from_slice(&(*bytes as u32).to_be_bytes()),
        (_, Some(number)) => row.extend_from_slice(&number.to_be_bytes()),
        _ => row.extend_from_slice(bytes),
    }
    row
}

/// The row that lists an element in the order of its list.
pub(crate) fn write_order(path: Option<&[u8]>) -> Vec<u8> {
    let mut row = vec![ORDER_KIND | path.map_or(0, |_| PATH)];
    write_path(path, &mut row);
    row
}

/// The path that a row holds because its key doesn't say it.
pub(crate) fn path_of(row: &[u8]) -> Result<&[u8]> {
    let path = row.split_first().and_then(|(flags, rest)| read_path(*flags, rest)?.0);
    path.ok_or_else(|| corrupt(row))
}

pub(crate) fn write_stamp(stamp: &Stamp, out: &mut Vec<u8>) {
    out.extend_from_slice(&stamp.clock.to_bits().to_be_bytes());
    out.extend_from_slice(stamp.entry.as_bytes());
}

fn read_stamp(bytes: &[u8]) -> Option<(Stamp, &[u8])> {
    let (clock, rest) = bytes.split_first_chunk::<8>()?;
    let (entry, rest) = rest.split_first_chunk::<32>()?;
    let clock = HybridClock::from_bits(u64::from_be_bytes(*clock));
    Some((Stamp { clock, entry: Id::from_bytes(*entry) }, rest))
}

fn write_path(path: Option<&[u8]>, row: &mut Vec<u8>) {
    if let Some(path) = path {
        row.extend_from_slice(&(path.len() as u32).to_be_bytes());
        row.extend_from_slice(path);
    }
}

fn read_path(flags: u8, rest: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    if flags & PATH == 0 {
        return Some((None, rest));
    }
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (path, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    Some((Some(path), rest))
}

pub(crate) fn corrupt(row: &[u8]) -> Error {
    let start: Vec<u8> = row.iter().copied().take(16).collect();
    Error::new(
        ErrorKind::Corrupt,
        "reading a row of a doc store",
        "",
        format_args!("{} bytes that aren't a row of this kind: {start:02x?}…", row.len()),
    )
    .hint("rebuild the store")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_read_back_as_they_were_written() {
        let stamp = |clock| Stamp { clock: HybridClock::from_bits(clock), entry: Id::from_bytes([3; 32]) };
        let contents = [
            Content::Absent,
            Content::Scalar(Scalar::Null),
            Content::Scalar(Scalar::Bool(true)),
            Content::Scalar(Scalar::Int(i64::MIN)),
            Content::Scalar(Scalar::Float(-0.0)),
            Content::Scalar(Scalar::Text("text".into())),
            Content::Scalar(Scalar::Bytes([0, 255][..].into())),
            Content::Parts { text: true, bytes: 600_000 },
            Content::Container(Container::List),
            Content::Position(b"abc"),
        ];
        for content in contents {
            for cut in [None, Some(stamp(5)), Some(stamp(9))] {
                for path in [None, Some(&b"path"[..])] {
                    let register = Register { stamp: stamp(9), cut, content: content.clone() };
                    let row = write(&register, path);
                    assert_eq!(read(&row).unwrap(), (register, path));
                }
            }
        }
    }

    #[test]
    fn damaged_rows_are_a_typed_error() {
        for row in [&[][..], &[4], &[0x40, 255, 255, 255, 255], &[13; 60], &[15]] {
            assert_eq!(read(row).unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }
}
