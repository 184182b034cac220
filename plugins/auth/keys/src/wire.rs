//! The encoding of an operation: postcard of [`RightsOp`], canonical, every count bounded.

use std::marker::PhantomData;

use eidetica_kernel::auth::{Grant, Grantee, Right, RightsOp, StoreScope};
use eidetica_kernel::entry::{NAME_BYTES_MAX, STORES_MAX};
use eidetica_kernel::error::{Error, ErrorKind, Result};
use eidetica_kernel::id::Id;
use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};

/// Most heads in an operation's `keep`.
pub const KEEP_MAX: usize = 256;
/// Most names in a grant's `stores`.
pub const NAMES_MAX: usize = STORES_MAX;
/// Longest encoded operation: tag, grantee, right, seniority, names, heads.
pub const BODY_BYTES_MAX: usize =
    1 + 34 + 7 + 5 + (2 + NAMES_MAX * (2 + NAME_BYTES_MAX)) + (2 + KEEP_MAX * 32);

const WRITING: &str = "writing a rights operation";
const READING: &str = "reading a rights operation";

/// The canonical bytes of `op`.
pub(crate) fn encode(op: &RightsOp) -> Result<Vec<u8>> {
    check(op, WRITING)?;
    postcard::to_stdvec(op)
        .map_err(|error| Error::new(ErrorKind::Bug, WRITING, "", "postcard refused it").caused_by(error))
}

/// The operation whose canonical bytes are `body`.
pub(crate) fn decode(body: &[u8]) -> Result<RightsOp> {
    let invalid = |reason: &str| Error::new(ErrorKind::InvalidInput, READING, "", reason);
    if body.len() > BODY_BYTES_MAX {
        return Err(limit(READING, "bytes", body.len(), BODY_BYTES_MAX));
    }
    let op: WireOp =
        postcard::from_bytes(body).map_err(|error| invalid("it isn't an operation").caused_by(error))?;
    let op = RightsOp::from(op);
    check(&op, READING)?;
    let canonical = postcard::to_stdvec(&op).is_ok_and(|again| again == body);
    if canonical { Ok(op) } else { Err(invalid("it isn't in canonical form")) }
}

fn check(op: &RightsOp, operation: &'static str) -> Result<()> {
    let subject = || op.grantee().map(|grantee| format!("on {grantee}")).unwrap_or_default();
    let invalid = |reason: &str| Error::new(ErrorKind::InvalidInput, operation, subject(), reason);
    if op.keep().len() > KEEP_MAX {
        return Err(limit(operation, "heads to keep", op.keep().len(), KEEP_MAX));
    }
    if !op.keep().is_sorted_by(|a, b| a < b) {
        return Err(invalid("the heads to keep aren't sorted, or one is there twice"));
    }
    let Some(Grant { stores: StoreScope::Only(names), .. }) = op.grant() else { return Ok(()) };
    if names.len() > NAMES_MAX {
        return Err(limit(operation, "store names", names.len(), NAMES_MAX));
    }
    if let Some(name) = names.iter().find(|name| name.len() > NAME_BYTES_MAX) {
        return Err(limit(operation, "bytes in a store name", name.len(), NAME_BYTES_MAX));
    }
    if !names.is_sorted_by(|a, b| a < b) {
        return Err(invalid("the store names aren't sorted, or one is there twice"));
    }
    if names.iter().any(String::is_empty) {
        return Err(invalid("a store name is empty"));
    }
    if names.iter().any(|name| name.starts_with('_')) {
        return Err(invalid("a store of the system is named").hint("stores that begin with _ need Admin"));
    }
    Ok(())
}

fn limit(operation: &'static str, what: &str, is: usize, max: usize) -> Error {
    Error::new(
        ErrorKind::LimitExceeded,
        operation,
        "",
        format_args!("{is} {what}, at most {max} are allowed"),
    )
}

/// [`RightsOp`] for reading: the same bytes, but no room is made for what a length prefix merely claims.
#[derive(serde::Deserialize)]
enum WireOp {
    Grant { to: Grantee, grant: WireGrant, keep: Capped<Id, KEEP_MAX> },
    Revoke { from: Grantee, keep: Capped<Id, KEEP_MAX> },
    Merge,
}

#[derive(serde::Deserialize)]
struct WireGrant {
    right: Right,
    seniority: u32,
    stores: WireScope,
}

#[derive(serde::Deserialize)]
enum WireScope {
    All,
    Only(Capped<String, NAMES_MAX>),
}

impl From<WireOp> for RightsOp {
    fn from(op: WireOp) -> Self {
        match op {
            WireOp::Grant { to, grant: WireGrant { right, seniority, stores }, keep } => {
                let stores = match stores {
                    WireScope::All => StoreScope::All,
                    WireScope::Only(names) => StoreScope::Only(names.0),
                };
                Self::Grant { to, grant: Grant { right, seniority, stores }, keep: keep.0 }
            }
            WireOp::Revoke { from, keep } => Self::Revoke { from, keep: keep.0 },
            WireOp::Merge => Self::Merge,
        }
    }
}

/// A list that grows as its elements are read; of more than `MAX` it keeps `MAX + 1`, so that the limit can be named.
struct Capped<T, const MAX: usize>(Vec<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Capped<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(CappedVisitor(PhantomData))
    }
}

struct CappedVisitor<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for CappedVisitor<T, MAX> {
    type Value = Capped<T, MAX>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "at most {MAX} elements")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element()? {
            if list.len() <= MAX {
                list.push(element);
            }
        }
        Ok(Capped(list))
    }
}
