//! What the cases expect of links.

use bytes::Bytes;
use eidetica_kernel::error::Result;

use crate::check::{Outcome, fail};

/// The message that came, which must be there.
pub(super) fn came(what: &str, received: Result<Option<Bytes>>) -> Outcome<Bytes> {
    match received {
        Ok(Some(message)) => Ok(message),
        Ok(None) => fail(format!("{what}: the link has ended")),
        Err(error) => fail(format!("{what}: {error}")),
    }
}
