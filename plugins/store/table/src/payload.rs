//! Payload bodies: decoded borrowing, checked against every rule of `FORMAT.md`, written canonically.

use serde::{Deserialize, Serialize};

use crate::cell;

/// Version of the body, as its envelope says.
pub const BODY_VERSION: u16 = 1;
/// Longest name of a field, in bytes.
pub const FIELD_NAME_BYTES_MAX: usize = 128;
/// Longest value of a field, in bytes of its encoding.
pub const FIELD_VALUE_BYTES_MAX: usize = 500_000;
/// How deep lists and maps may nest in a field.
pub const DEPTH_MAX: usize = 64;

/// What happens to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Action {
    /// Fields change, if the row is there.
    Update,
    /// The row is there.
    Put,
    /// The row is gone.
    Delete,
}

/// A field's new value; without one, the field is removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct FieldWrite<'a> {
    pub(crate) name: &'a str,
    #[serde(borrow)]
    pub(crate) value: Option<&'a [u8]>,
}

/// One row's part of a payload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RowWrite<'a> {
    pub(crate) id: [u8; 16],
    pub(crate) action: Action,
    #[serde(borrow)]
    pub(crate) fields: Vec<FieldWrite<'a>>,
}

/// Decodes a body. The error is the rule it breaks.
pub(crate) fn decode(body: &[u8]) -> Result<Vec<RowWrite<'_>>, &'static str> {
    let mut rest = body;
    let mut rows: Vec<RowWrite<'_>> = Vec::new();
    while !rest.is_empty() {
        let (row, behind) =
            postcard::take_from_bytes::<RowWrite<'_>>(rest).map_err(|_| "it isn't a sequence of rows")?;
        let taken = &rest[..rest.len() - behind.len()];
        if postcard::to_allocvec(&row).map_err(|_| "it isn't a sequence of rows")? != taken {
            return Err("it isn't in canonical form");
        }
        if rows.last().is_some_and(|last| last.id >= row.id) {
            return Err("its rows aren't sorted, or a row is there twice");
        }
        check(&row)?;
        rows.push(row);
        rest = behind;
    }
    if rows.is_empty() {
        return Err("it names no row");
    }
    Ok(rows)
}

fn check(row: &RowWrite<'_>) -> Result<(), &'static str> {
    if row.fields.windows(2).any(|pair| matches!(pair, [a, b] if a.name >= b.name)) {
        return Err("the fields of a row aren't sorted, or a field is there twice");
    }
    if row.action == Action::Update && row.fields.is_empty() {
        return Err("a row is updated in no field");
    }
    for field in &row.fields {
        if field.name.len() > FIELD_NAME_BYTES_MAX {
            return Err("the name of a field is too long");
        }
        match field.value {
            Some(_) if row.action == Action::Delete => return Err("a row is deleted and written to"),
            Some(value) => drop(cell::decode(value)?),
            None => {}
        }
    }
    Ok(())
}

/// Appends a row to a body.
pub(crate) fn encode(row: &RowWrite<'_>, body: &mut Vec<u8>) -> Option<()> {
    body.extend_from_slice(&postcard::to_allocvec(row).ok()?);
    Some(())
}
