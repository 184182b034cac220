//! Random histories, compared with a sorted map.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use eidetica_kernel::backend::{Backend, Batch, Direction, Precondition, Row, Scan, Snapshot, Write};
use eidetica_kernel::error::ErrorKind;

use super::check::{Random, all_rows};
use super::suite::{Case, Place};
use crate::check::{Outcome, fail, same};

pub(super) const CASES: &[Case] = &[
    Case::new("random_histories_match_a_sorted_map", "B1 B2 B3 B4 S1", random_histories),
    Case::new("random_histories_survive_reopening", "B1 B5", random_histories_survive_reopening).durable(),
];

type Model = BTreeMap<Bytes, Bytes>;

fn random_histories(place: &Place) -> Outcome {
    let backend = place.open()?;
    let mut model = Model::new();
    for seed in 1..=4 {
        history(&*backend, &mut model, seed, 400).map_err(|failed| of_seed(seed, &failed))?;
    }
    Ok(())
}

fn random_histories_survive_reopening(place: &Place) -> Outcome {
    let mut model = Model::new();
    for seed in 11..=14 {
        let backend = place.open()?;
        history(&*backend, &mut model, seed, 150).map_err(|failed| of_seed(seed, &failed))?;
        if seed % 2 == 0 {
            backend.flush()?;
        } else {
            backend.close()?;
        }
        drop(backend);
        let rows = all_rows(Scan::all(), |scan| place_rows(place, scan))?;
        same("rows after reopening", rows, model.clone().into_iter().collect())?;
    }
    Ok(())
}

fn place_rows(place: &Place, scan: &Scan) -> eidetica_kernel::Result<eidetica_kernel::backend::Page> {
    place.open()?.scan(scan)
}

fn of_seed(seed: u64, failed: &libtest_mimic::Failed) -> libtest_mimic::Failed {
    format!("seed {seed}: {}", failed.message().unwrap_or("it failed")).into()
}

fn history(backend: &dyn Backend, model: &mut Model, seed: u64, steps: usize) -> Outcome {
    let mut random = Random::new(seed);
    let mut held: Option<(Arc<dyn Snapshot>, Model)> = None;
    for step in 0..steps {
        let batch = random_batch(&mut random, model, step);
        let holds = batch.preconditions().iter().all(|expected| holds(expected, model));
        match (backend.commit(batch.clone()), holds) {
            (Ok(()), true) => apply(&batch, model),
            (Err(error), false) if error.kind() == ErrorKind::Conflict => {}
            (Ok(()), false) => {
                return fail(format!("a precondition of {batch:?} doesn't hold, it was applied"));
            }
            (Err(error), _) => return fail(format!("{batch:?}: {error:?}")),
        }
        let key = random_key(&mut random);
        same("get", backend.get(&key)?, model.get(&key).cloned())?;
        let scan = random_scan(&mut random);
        same(
            &format!("{scan:?}"),
            all_rows(scan.clone(), |scan| backend.scan(scan))?,
            expected(&scan, model),
        )?;
        if random.below(10) == 0 {
            held = Some((backend.snapshot()?, model.clone()));
        }
        if let Some((snapshot, model)) = &held {
            match snapshot.get(&key) {
                Ok(found) => same("get of a snapshot", found, model.get(&key).cloned())?,
                Err(error) if error.kind() == ErrorKind::Expired => held = None,
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

fn holds(expected: &Precondition, model: &Model) -> bool {
    expected.holds(model.get(expected.key()).map(|value| &value[..]))
}

fn apply(batch: &Batch, model: &mut Model) {
    for write in batch.writes() {
        match write {
            Write::Put(key, value) => model.insert(key.clone(), value.clone()),
            Write::Delete(key) => model.remove(key),
        };
    }
}

/// Few and short, so that histories meet; some share long beginnings.
fn random_key(random: &mut Random) -> Bytes {
    let mut key = match random.below(4) {
        0 => vec![b'p'; 60],
        1 => vec![0xff],
        _ => Vec::new(),
    };
    for _ in 0..=random.below(2) {
        key.push(*random.pick(b"\x00ab\xff"));
    }
    key.into()
}

fn random_value(random: &mut Random, step: usize) -> Bytes {
    match random.below(12) {
        0 => Bytes::new(),
        1 => Bytes::from(vec![b'v'; 20_000]),
        _ => Bytes::from(step.to_string()),
    }
}

fn random_batch(random: &mut Random, model: &Model, step: usize) -> Batch {
    let mut batch = Batch::new();
    for _ in 0..random.below(3) {
        let key = random_key(random);
        match (model.get(&key), random.below(8)) {
            // Mostly what holds, else nearly every batch would be refused.
            (Some(_), 0) | (None, 1..) => batch.expect_absent(key),
            (Some(value), _) => batch.expect_equals(key, value.clone()),
            (None, 0) => batch.expect_equals(key, random_value(random, step)),
        };
    }
    for _ in 0..random.below(6) {
        let key = random_key(random);
        match random.below(3) {
            0 => batch.delete(key),
            _ => batch.put(key, random_value(random, step)),
        };
    }
    batch
}

fn random_bound(random: &mut Random) -> Bound<Bytes> {
    match random.below(5) {
        0 => Bound::Unbounded,
        1 | 2 => Bound::Included(random_key(random)),
        _ => Bound::Excluded(random_key(random)),
    }
}

fn random_scan(random: &mut Random) -> Scan {
    let direction = *random.pick(&[Direction::Forward, Direction::Backward]);
    let limit = *random.pick(&[1, 2, 5, usize::MAX]);
    Scan { start: random_bound(random), end: random_bound(random), direction, limit }
}

fn expected(scan: &Scan, model: &Model) -> Vec<Row> {
    let mut rows: Vec<Row> = model
        .iter()
        .filter(|(key, _)| scan.contains(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    if scan.direction == Direction::Backward {
        rows.reverse();
    }
    rows
}
