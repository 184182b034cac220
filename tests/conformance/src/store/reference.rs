//! The smallest store that holds every invariant: 256 last-writer-wins registers of one byte.

use std::io::Write;

use eidetica_kernel::backend::Scan;
use eidetica_kernel::store::{
    Applied, RowOverlay, RowReader, RowTable, Stamp, StampedPayload, Store, Undone,
};
use eidetica_kernel::{Error, Result};

/// 256 last-writer-wins registers of one byte; a body is (register, value). It shows what a store looks like, undo
/// included, and that the suite lets a right one pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference;

/// Sorts as stamps do.
fn stamp_bytes(stamp: &Stamp) -> Vec<u8> {
    [&stamp.clock.to_bits().to_be_bytes()[..], stamp.entry.as_bytes()].concat()
}

fn losing_key(register: u8, stamp: &[u8]) -> Vec<u8> {
    [&[register], stamp].concat()
}

impl Store for Reference {
    fn kind(&self) -> &'static str {
        "reference/1"
    }

    fn semantics(&self) -> u32 {
        1
    }

    fn apply(&self, rows: &mut RowOverlay<'_>, payload: &StampedPayload<'_>) -> Result<Applied> {
        let (1, &[register, value]) = (payload.version, payload.body) else {
            return Ok(Applied::NoEffect { reason: "it isn't a register and a value".into() });
        };
        let stamp = stamp_bytes(&payload.stamp);
        let row = [&stamp[..], &[value]].concat();
        match rows.get(RowTable::State, &[register])? {
            Some(old) if old[..40] > stamp[..] => {
                rows.put(RowTable::Losing, losing_key(register, &stamp), vec![value]);
            }
            Some(old) if old[..40] == stamp[..] => {}
            old => {
                if let Some(old) = old {
                    rows.put(RowTable::Losing, losing_key(register, &old[..40]), old.slice(40..));
                }
                rows.put(RowTable::State, vec![register], row);
            }
        }
        Ok(Applied::Folded { paths: vec![register.to_string()] })
    }

    fn undo(&self, rows: &mut RowOverlay<'_>, payload: &StampedPayload<'_>) -> Result<Undone> {
        let (1, &[register, _]) = (payload.version, payload.body) else { return Ok(Undone::Done) };
        let stamp = stamp_bytes(&payload.stamp);
        let wins = rows.get(RowTable::State, &[register])?.is_some_and(|row| row[..40] == stamp[..]);
        if !wins {
            rows.delete(RowTable::Losing, losing_key(register, &stamp));
            return Ok(Undone::Done);
        }
        let next = rows.scan(RowTable::Losing, &Scan::prefix(&[register]).backward().limit(1))?;
        match next.rows.into_iter().next() {
            Some((key, value)) => {
                rows.put(RowTable::State, vec![register], [&key[1..], &value[..]].concat());
                rows.delete(RowTable::Losing, key);
            }
            None => rows.delete(RowTable::State, vec![register]),
        }
        Ok(Undone::Done)
    }

    fn export_json(&self, rows: &dyn RowReader, out: &mut dyn Write) -> Result<()> {
        let written = |error| Error::io("writing JSON", "", error);
        write!(out, "{{").map_err(written)?;
        let page = rows.scan(RowTable::State, &Scan::all())?;
        for (at, (register, row)) in page.rows.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            write!(out, "{comma}\"{}\":{}", register[0], row[40]).map_err(written)?;
        }
        write!(out, "}}").map_err(written)
    }
}
