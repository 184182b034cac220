//! Names of rows: UUIDs of version 7, which sort by the time of their creation.

use std::fmt;
use std::str::FromStr;

use eidetica_kernel::error::excerpt;
use eidetica_kernel::{Error, ErrorKind, Result, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The name of a row: a UUID of version 7 (RFC 9562) by default; any 16 bytes are one.
///
/// ```
/// use eidetica_store_table::RowId;
///
/// let id: RowId = "0190a5b2-7c3e-7000-8000-000000000001".parse()?;
/// assert_eq!(id.to_string(), "0190a5b2-7c3e-7000-8000-000000000001");
/// assert!("no id".parse::<RowId>().is_err());
/// # Ok::<(), eidetica_kernel::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowId([u8; 16]);

impl RowId {
    /// From its 16 bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for RowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for RowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for RowId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse(text.as_bytes()).map(Self).ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, "reading the row id", excerpt(text, 80), "it isn't a UUID")
                .hint("ids look like 0190a5b2-7c3e-7000-8000-000000000001")
        })
    }
}

fn parse(text: &[u8]) -> Option<[u8; 16]> {
    if text.len() != 36 {
        return None;
    }
    let mut bytes = [0; 16];
    let mut digits = 0;
    for (at, byte) in text.iter().enumerate() {
        if matches!(at, 8 | 13 | 18 | 23) {
            if *byte != b'-' {
                return None;
            }
            continue;
        }
        let digit = u8::try_from(char::from(*byte).to_digit(16)?).ok()?;
        bytes[digits / 2] = bytes[digits / 2] << 4 | digit;
        digits += 1;
    }
    Some(bytes)
}

impl Serialize for RowId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RowId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Makes ids that ascend within a transaction, whatever the wall clock does.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    millis: u64,
    /// The 74 bits beside time, version and variant.
    random: u128,
}

const RANDOM_MAX: u128 = (1 << 74) - 1;

impl Ids {
    pub(crate) fn next(&mut self, now: Timestamp, random: [u8; 16]) -> RowId {
        let millis = now.as_millis() & ((1 << 48) - 1);
        if millis > self.millis {
            self.millis = millis;
            // Half of the space stays free for the rows that follow in the same millisecond.
            self.random = u128::from_be_bytes(random) & (RANDOM_MAX >> 1);
        } else if self.random < RANDOM_MAX {
            self.random += 1;
        } else {
            self.millis += 1;
            self.random = u128::from_be_bytes(random) & (RANDOM_MAX >> 1);
        }
        let low = self.random & ((1 << 62) - 1);
        let bits = u128::from(self.millis) << 80 | 7 << 76 | (self.random >> 62) << 64 | 0b10 << 62 | low;
        RowId(bits.to_be_bytes())
    }
}
