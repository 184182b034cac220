//! Identifiers of entries and trees.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result, excerpt};

/// The BLAKE3 hash that names an entry; a tree is named by its root entry. Text form: 64 lowercase hex digits.
///
/// ```
/// use eidetica_kernel::Id;
///
/// let id: Id = "00".repeat(32).parse()?;
/// assert_eq!(id, Id::from_bytes([0; 32]));
/// # Ok::<(), eidetica_kernel::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Id([u8; 32]);

impl Id {
    /// From its 32 bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 8 hex digits, for people.
    pub fn short(&self) -> String {
        data_encoding::HEXLOWER.encode(&self.0[..4])
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

impl FromStr for Id {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut bytes = [0; 32];
        decode_hex(text, &mut bytes).ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidInput,
                "reading the id",
                excerpt(text, 80),
                "it isn't 64 lowercase hex digits",
            )
        })?;
        Ok(Self(bytes))
    }
}

pub(crate) fn decode_hex(text: &str, bytes: &mut [u8]) -> Option<()> {
    if text.len() != bytes.len() * 2 {
        return None;
    }
    data_encoding::HEXLOWER.decode_mut(text.as_bytes(), bytes).ok().map(drop)
}

/// What names a tree or an entry: an [`Id`], or its text.
pub trait ToId {
    /// The id.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for text that isn't an id.
    fn to_id(&self) -> Result<Id>;
}

impl ToId for Id {
    fn to_id(&self) -> Result<Id> {
        Ok(*self)
    }
}

impl ToId for str {
    fn to_id(&self) -> Result<Id> {
        self.parse()
    }
}

impl ToId for String {
    fn to_id(&self) -> Result<Id> {
        self.parse()
    }
}

impl<T: ToId + ?Sized> ToId for &T {
    fn to_id(&self) -> Result<Id> {
        (**self).to_id()
    }
}
