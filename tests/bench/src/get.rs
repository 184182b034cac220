//! Reading single keys. The limit: one look-up of the row with the value, asked of the backend itself.

use std::sync::Arc;

use bytes::Bytes;
use eidetica::backend::{Backend, File};
use eidetica::store::DocStore;
use eidetica_kernel::backend::{Scan, for_each_row};

use crate::Result;
use crate::measure::{Pairs, rate, timed};
use crate::report::Line;
use crate::setup::{Node, STORE, fill, key, memory};

const KEYS: f64 = 100_000.0;
const ROUNDS: usize = 10;
const PER_ROUND: usize = 10_000;

pub(crate) fn run(scale: f64) -> Result<Vec<Line>> {
    let keys = (KEYS * scale).max(1_000.0) as usize;
    let mut lines = gets("memory", memory(), keys)?;
    let folder = tempfile::tempdir()?;
    lines.extend(gets("file", Arc::new(File::open(folder.path().join("data"))?), keys)?);
    Ok(lines)
}

fn gets(name: &str, backend: Arc<dyn Backend>, keys: usize) -> Result<Vec<Line>> {
    let node = Node::open(backend.clone())?;
    let database = node.database()?;
    fill(&database, keys)?;
    let rows = value_rows(&*backend, keys)?;
    let viewer = database.get_store_viewer::<DocStore>(STORE)?;
    // Strides over all keys in no order that a cache could guess.
    let nth = |at: usize| at.wrapping_mul(7_919) % keys;
    let (mut through_one, mut through_fresh) = (Pairs::new(), Pairs::new());
    for round in 0..=ROUNDS {
        let raw = timed(PER_ROUND, |at| {
            let row = backend.get(&rows[nth(at)])?;
            if row.is_some() { Ok(()) } else { Err("a row is missing".into()) }
        })?;
        let one = timed(PER_ROUND, |at| check(viewer.get(key(nth(at)))?.as_i64(), nth(at)))?;
        let fresh = timed(PER_ROUND, |at| {
            let viewer = database.get_store_viewer::<DocStore>(STORE)?;
            check(viewer.get(key(nth(at)))?.as_i64(), nth(at))
        })?;
        if round > 0 {
            through_one.push(rate(PER_ROUND, one), rate(PER_ROUND, raw));
            through_fresh.push(rate(PER_ROUND, fresh), rate(PER_ROUND, raw));
        }
    }
    node.instance.close()?;
    let (one, fresh) = (through_one.medians(), through_fresh.medians());
    Ok(vec![
        Line::new(format!("{name}: gets through one viewer"), one.value, "/s").limit_with_ratio(
            "backend gets/s",
            one.limit,
            one.ratio,
        ),
        Line::new(format!("{name}: gets, each through a fresh viewer"), fresh.value, "/s").limit_with_ratio(
            "backend gets/s",
            fresh.limit,
            fresh.ratio,
        ),
    ])
}

fn check(found: Option<i64>, n: usize) -> Result<()> {
    if found == Some(n as i64) { Ok(()) } else { Err(format!("key {n} has the value {found:?}").into()) }
}

/// The backend's key of each value's row: the one that holds the document's key, whatever surrounds it.
fn value_rows(backend: &dyn Backend, keys: usize) -> Result<Vec<Bytes>> {
    let example = key(0);
    let mut rows = vec![Bytes::new(); keys];
    for_each_row(
        Scan::all(),
        |scan| backend.scan(scan),
        |(row, _)| {
            let starts = row.windows(4).position(|window| window == &example.as_bytes()[..4]);
            let digits = starts.and_then(|start| row.get(start + 4..start + example.len()));
            let n = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<usize>().ok());
            if let Some(place) = n.and_then(|n| rows.get_mut(n)) {
                *place = row;
            }
            Ok(())
        },
    )?;
    if rows.iter().any(Bytes::is_empty) { Err("a key has no row of its own".into()) } else { Ok(rows) }
}
