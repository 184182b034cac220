//! How payloads fold into rows: per field of each row, and per row, the newest write.

use std::io::Write;

use eidetica_kernel::store::{
    Applied, PATHS_MAX, RowOverlay, RowReader, RowTable, Stamp, StampedPayload, Undone,
};
use eidetica_kernel::{Result, Store};

use crate::cell;
use crate::id::RowId;
use crate::index::IndexValue;
use crate::payload::{self, Action, BODY_VERSION, RowWrite};
use crate::row::{self, Field, Marker};

/// The kind's name.
pub const KIND: &str = "table/1";
const SEMANTICS: u32 = 1;
/// Rows read in one call.
const ROWS_AT_ONCE: usize = 1_024;

/// The store kind `table/1`: rows of last-writer-wins fields, and an index for each field.
///
/// People use it through [`Table`](crate::Table); the engine through [`Store`].
///
/// ```
/// use eidetica_kernel::Store;
///
/// assert_eq!(eidetica_store_table::TableKind.kind(), "table/1");
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct TableKind;

impl Store for TableKind {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn semantics(&self) -> u32 {
        SEMANTICS
    }

    fn apply(&self, rows: &mut RowOverlay<'_>, payload: &StampedPayload<'_>) -> Result<Applied> {
        if payload.version != BODY_VERSION {
            let reason = format!("its body is version {}, this kind knows {BODY_VERSION}", payload.version);
            return Ok(Applied::NoEffect { reason });
        }
        let writes = match payload::decode(payload.body) {
            Ok(writes) => writes,
            Err(reason) => return Ok(Applied::NoEffect { reason: reason.to_owned() }),
        };
        fold(rows, &writes, payload.stamp)?;
        Ok(Applied::Folded { paths: written_paths(&writes) })
    }

    fn undo(&self, _rows: &mut RowOverlay<'_>, _payload: &StampedPayload<'_>) -> Result<Undone> {
        Ok(Undone::Rebuild)
    }

    fn export_json(&self, rows: &dyn RowReader, out: &mut dyn Write) -> Result<()> {
        crate::export::write(rows, out)
    }
}

/// Folds the rows of a payload. Of two writes with one stamp the second stands: that is what staging does again and again.
///
/// All rows are read before the first is written: if reading fails, nothing has changed.
pub(crate) fn fold(rows: &mut RowOverlay<'_>, writes: &[RowWrite<'_>], stamp: Stamp) -> Result<()> {
    let mut keys = Vec::new();
    for write in writes {
        let id = RowId::from_bytes(write.id);
        if write.action != Action::Update {
            keys.push(row::marker_key(id));
        }
        keys.extend(write.fields.iter().map(|field| row::field_key(id, field.name)));
    }
    let mut olds = Vec::with_capacity(keys.len());
    for keys in keys.chunks(ROWS_AT_ONCE) {
        let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
        olds.append(&mut rows.get_many(RowTable::State, &keys)?);
    }
    let mut changes = Vec::new();
    let mut olds = keys.into_iter().zip(olds);
    for write in writes {
        let id = RowId::from_bytes(write.id);
        if write.action != Action::Update
            && let Some((key, old)) = olds.next()
        {
            let old = old.as_deref().map(row::read_marker).transpose()?;
            let new = merged(old, write.action == Action::Put, stamp);
            if old != Some(new) {
                changes.push((key, Some(row::write_marker(&new))));
            }
        }
        for (field, (key, old)) in write.fields.iter().zip(&mut olds) {
            let old = old.as_deref().map(row::read_field).transpose()?;
            if old.is_some_and(|old| old.stamp > stamp || (old.stamp == stamp && old.value == field.value)) {
                continue;
            }
            let indexed = |value: Option<&[u8]>| {
                let value = value.and_then(|value| cell::decode(value).ok());
                value
                    .and_then(|value| IndexValue::of(&value))
                    .map(|value| row::index_key(field.name, &value, id))
            };
            let (before, after) = (indexed(old.and_then(|old| old.value)), indexed(field.value));
            if before != after {
                changes.extend(before.map(|key| (key, None)));
                changes.extend(after.map(|key| (key, Some(Vec::new()))));
            }
            changes.push((key, Some(row::write_field(&Field { stamp, value: field.value }))));
        }
    }
    for (key, value) in changes {
        match value {
            Some(value) => rows.put(RowTable::State, key, value),
            None => rows.delete(RowTable::State, key),
        }
    }
    Ok(())
}

fn merged(old: Option<Marker>, there: bool, stamp: Stamp) -> Marker {
    let cut = (!there).then_some(stamp).max(old.and_then(|old| old.cut));
    match old {
        Some(old) if old.stamp > stamp => Marker { cut, ..old },
        _ => Marker { stamp, there, cut },
    }
}

/// The fields that a payload writes to, as `id.field`; of whole rows, and from [`PATHS_MAX`] on, the rows; then the table.
fn written_paths(writes: &[RowWrite<'_>]) -> Vec<String> {
    let count = |write: &RowWrite<'_>| if write.action == Action::Update { write.fields.len() } else { 1 };
    if writes.len() > PATHS_MAX {
        return vec![String::new()];
    }
    let by_field = writes.iter().map(count).sum::<usize>() <= PATHS_MAX;
    let mut paths = Vec::new();
    for write in writes {
        let id = RowId::from_bytes(write.id);
        if by_field && write.action == Action::Update {
            paths.extend(write.fields.iter().map(|field| match field.name {
                "" => id.to_string(),
                name => format!("{id}.{name}"),
            }));
        } else {
            paths.push(id.to_string());
        }
    }
    paths
}
