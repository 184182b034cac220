//! How payloads fold, and the handle that people write them with.

use std::any::Any;
use std::io::Write;
use std::sync::Arc;

use eidetica_kernel::backend::Scan;
use eidetica_kernel::store::{
    Applied, Draft, RowOverlay, RowReader, RowTable, Stamp, StampedPayload, Store, StoreHandle, StoreTx, Undone,
};
use eidetica_kernel::{Error, ErrorKind, Result};

/// The kind, and the version of its rules: whoever changes these takes another number.
pub const KIND: &str = "{{name}}/1";

/// The one version of the payload's body there is: the text, in UTF-8.
const BODY_VERSION: u16 = 1;

/// Longest text. A part of the rules, as all that decides what has an effect.
const TEXT_BYTES_MAX: usize = 16 * 1024;

/// The row that holds the text that won, behind its stamp.
const VALUE: &[u8] = b"value";

/// How many bytes a stamp takes.
const STAMP: usize = 40;

/// Folds payloads into one row, and keeps those that lost so that a payload can be undone.
#[derive(Clone, Copy, Debug, Default)]
pub struct {{Type}}Store;

/// Sorts as stamps do.
fn stamp_bytes(stamp: &Stamp) -> Vec<u8> {
    [&stamp.clock.to_bits().to_be_bytes()[..], stamp.entry.as_bytes()].concat()
}

/// The text of a payload, or why it is none.
fn text<'a>(payload: &StampedPayload<'a>) -> std::result::Result<&'a str, &'static str> {
    if payload.version != BODY_VERSION {
        return Err("its version is unknown");
    }
    if payload.body.len() > TEXT_BYTES_MAX {
        return Err("the text is too long");
    }
    std::str::from_utf8(payload.body).map_err(|_| "it is no text")
}

impl Store for {{Type}}Store {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn semantics(&self) -> u32 {
        1
    }

    fn apply(&self, rows: &mut RowOverlay<'_>, payload: &StampedPayload<'_>) -> Result<Applied> {
        let text = match text(payload) {
            Ok(text) => text,
            Err(reason) => return Ok(Applied::NoEffect { reason: reason.into() }),
        };
        let stamp = stamp_bytes(&payload.stamp);
        match rows.get(RowTable::State, VALUE)? {
            Some(held) if held[..STAMP] > stamp[..] => {
                rows.put(RowTable::Losing, stamp, text.as_bytes().to_vec());
            }
            // The same payload once more.
            Some(held) if held[..STAMP] == stamp[..] => {}
            held => {
                if let Some(held) = held {
                    rows.put(RowTable::Losing, held.slice(..STAMP), held.slice(STAMP..));
                }
                rows.put(RowTable::State, VALUE, [&stamp[..], text.as_bytes()].concat());
            }
        }
        Ok(Applied::Folded { paths: vec![String::new()] })
    }

    fn undo(&self, rows: &mut RowOverlay<'_>, payload: &StampedPayload<'_>) -> Result<Undone> {
        if text(payload).is_err() {
            return Ok(Undone::Done);
        }
        let stamp = stamp_bytes(&payload.stamp);
        let won = rows.get(RowTable::State, VALUE)?.is_some_and(|held| held[..STAMP] == stamp[..]);
        if !won {
            rows.delete(RowTable::Losing, stamp);
            return Ok(Undone::Done);
        }
        let next = rows.scan(RowTable::Losing, &Scan::all().backward().limit(1))?;
        match next.rows.into_iter().next() {
            Some((stamp, text)) => {
                rows.put(RowTable::State, VALUE, [&stamp[..], &text[..]].concat());
                rows.delete(RowTable::Losing, stamp);
            }
            None => rows.delete(RowTable::State, VALUE),
        }
        Ok(Undone::Done)
    }

    fn export_json(&self, rows: &dyn RowReader, out: &mut dyn Write) -> Result<()> {
        let failed = |error: std::io::Error| Error::io("writing JSON", "", error);
        serde_json::to_writer(out, &held(rows)?).map_err(|error| failed(error.into()))
    }
}

/// The text that won.
fn held(rows: &dyn RowReader) -> Result<Option<String>> {
    let Some(row) = rows.get(RowTable::State, VALUE)? else { return Ok(None) };
    let text = row.get(STAMP..).and_then(|text| String::from_utf8(text.to_vec()).ok());
    let damaged = || Error::new(ErrorKind::Corrupt, "reading the text of", KIND, "its row is no text behind a stamp");
    text.map(Some).ok_or_else(damaged)
}

/// The handle: `transaction.get_store::<{{Type}}Register>("name")`.
pub struct {{Type}}Register {
    store: Arc<dyn StoreTx>,
}

/// What a transaction has set.
struct Staged(String);

impl Draft for Staged {
    fn encode(&mut self) -> Result<Option<(u16, Vec<u8>)>> {
        Ok(Some((BODY_VERSION, self.0.clone().into_bytes())))
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

impl StoreHandle for {{Type}}Register {
    const KIND: &'static str = KIND;

    fn open(store: Arc<dyn StoreTx>) -> Result<Self> {
        Ok(Self { store })
    }
}

impl {{Type}}Register {
    /// The text: what this transaction has set, else what was committed.
    ///
    /// # Errors
    /// Those of the store.
    pub fn get(&self) -> Result<Option<String>> {
        if let Some(staged) = self.store.draft()?.as_mut().and_then(|draft| draft.as_any_mut().downcast_ref::<Staged>()) {
            return Ok(Some(staged.0.clone()));
        }
        held(&*self.store.rows()?)
    }

    /// Sets the text.
    ///
    /// # Errors
    /// [`ErrorKind::LimitExceeded`] for more than 16 KiB; those of the store.
    pub fn set(&self, text: impl Into<String>) -> Result<()> {
        let text = text.into();
        if text.len() > TEXT_BYTES_MAX {
            let reason = format_args!("it has {} bytes, and {TEXT_BYTES_MAX} is the most", text.len());
            return Err(Error::new(ErrorKind::LimitExceeded, "setting the text of", self.store.name(), reason));
        }
        *self.store.draft_mut()? = Some(Box::new(Staged(text)));
        Ok(())
    }
}
