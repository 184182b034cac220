//! What every store must do.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use eidetica_kernel::backend::VALUE_BYTES_MAX;
use eidetica_kernel::store::{
    Applied, PATHS_MAX, ROW_KEY_BYTES_MAX, RowOverlay, RowTable, Stamp, Store, Undone,
};
use eidetica_kernel::{HybridClock, Id};

use super::history::{History, Payload, Random, Seen, Written, apply};
use super::rows::MemoryRows;
use super::suite::{Case, Setup};
use crate::check::{Outcome, ensure, fail};

pub(super) const CASES: &[Case] = &[
    case("payloads_in_any_order_give_the_same_state", "F1", any_order),
    case("a_payload_applied_again_changes_nothing", "F1", again),
    case("payloads_applied_together_give_what_they_give_one_by_one", "F1", together),
    case("state_does_not_depend_on_arrival_numbers", "F2", arrival_numbers),
    case("fresh_stores_of_a_kind_give_the_same_state", "F2 F6", fresh_stores),
    case("applying_costs_the_same_in_a_long_history", "F3", cost),
    case("rows_stay_within_the_limits", "F3", limits),
    case("changed_paths_are_bounded", "F3", paths),
    case("payloads_of_many_writes_merge_as_others_do", "F1 F3", many).needs_many(),
    case("hostile_bytes_never_panic_and_never_split_replicas", "F4 F1", hostile),
    case("what_has_no_effect_changes_nothing", "F4", no_effect),
    case("rows_that_cannot_be_read_are_an_error", "F4", unreadable),
    case("undo_is_as_if_never_applied_or_asks_for_a_rebuild", "F5", undo),
    case("state_derived_again_is_the_same", "F1 F2", rebuild),
    case("state_is_exported_as_one_json_value", "export", export),
    case("kind_and_semantics_stay", "F6", names),
];

const fn case(name: &'static str, invariants: &'static str, run: fn(&Setup) -> Outcome) -> Case {
    Case { name, invariants, needs_many: false, run }
}

impl Case {
    const fn needs_many(mut self) -> Self {
        self.needs_many = true;
        self
    }
}

const HISTORIES: u64 = 12;
const PAYLOADS: usize = 60;

fn histories(setup: &Setup, mut check: impl FnMut(&History, &mut Random) -> Outcome) -> Outcome {
    for seed in 0..HISTORIES {
        let mut random = Random::new(seed);
        let history = setup.history(&mut random, PAYLOADS)?;
        check(&history, &mut random).map_err(|failed| seeded(failed, seed))?;
    }
    Ok(())
}

fn seeded(failed: libtest_mimic::Failed, seed: u64) -> libtest_mimic::Failed {
    format!("history {seed}: {}", failed.message().unwrap_or("it failed")).into()
}

fn fold<'w>(store: &dyn Store, payloads: impl IntoIterator<Item = &'w Written>) -> Outcome<MemoryRows> {
    let mut rows = MemoryRows::new();
    for (arrival, written) in payloads.into_iter().enumerate() {
        apply(store, &mut rows, written, arrival as u64)?;
    }
    Ok(rows)
}

fn same_state(what: &str, found: &MemoryRows, expected: &MemoryRows) -> Outcome {
    let (found, expected) = (found.table(RowTable::State), expected.table(RowTable::State));
    if found == expected {
        return Ok(());
    }
    let differs = |key: &&Bytes| found.get(*key) != expected.get(*key);
    let key = found.keys().chain(expected.keys()).find(differs);
    fail(format!(
        "{what}: rows differ, the first at key {key:02x?}: {:02x?} instead of {:02x?}",
        key.and_then(|key| found.get(key)),
        key.and_then(|key| expected.get(key)),
    ))
}

fn any_order(setup: &Setup) -> Outcome {
    histories(setup, |history, random| {
        let store = setup.store();
        let expected = fold(&*store, &history.written)?;
        ensure(!expected.table(RowTable::State).is_empty(), || {
            "the payloads of the source have no effect".into()
        })?;
        let mut backwards: Vec<&Written> = history.written.iter().rev().collect();
        same_state("backwards", &fold(&*store, backwards.iter().copied())?, &expected)?;
        for _ in 0..4 {
            random.shuffle(&mut backwards);
            same_state("shuffled", &fold(&*store, backwards.iter().copied())?, &expected)?;
        }
        Ok(())
    })
}

fn again(setup: &Setup) -> Outcome {
    histories(setup, |history, random| {
        let store = setup.store();
        let expected = fold(&*store, &history.written)?;
        let mut twice: Vec<&Written> = history.written.iter().chain(&history.written).collect();
        same_state("the whole history twice", &fold(&*store, twice.iter().copied())?, &expected)?;
        random.shuffle(&mut twice);
        same_state("shuffled with duplicates", &fold(&*store, twice)?, &expected)?;
        let doubled = history.written.iter().flat_map(|written| [written, written]);
        same_state("each payload twice in a row", &fold(&*store, doubled)?, &expected)
    })
}

fn together(setup: &Setup) -> Outcome {
    histories(setup, |history, random| {
        let store = setup.store();
        let expected = fold(&*store, &history.written)?;
        let mut rows = MemoryRows::new();
        let mut rest = &history.written[..];
        while !rest.is_empty() {
            let (batch, behind) = rest.split_at(1 + random.below(rest.len()));
            rest = behind;
            let mut overlay = RowOverlay::new(&rows);
            for written in batch {
                store.apply(&mut overlay, &written.stamped(0))?;
            }
            let changes = overlay.into_changes();
            rows.write(changes);
        }
        same_state("applied in batches", &rows, &expected)
    })
}

fn arrival_numbers(setup: &Setup) -> Outcome {
    histories(setup, |history, random| {
        let store = setup.store();
        let expected = fold(&*store, &history.written)?;
        let mut rows = MemoryRows::new();
        for written in &history.written {
            apply(&*store, &mut rows, written, random.bits())?;
        }
        same_state("with other arrival numbers", &rows, &expected)
    })
}

fn fresh_stores(setup: &Setup) -> Outcome {
    histories(setup, |history, _| {
        let expected = fold(&*setup.store(), &history.written)?;
        let mut rows = MemoryRows::new();
        for (arrival, written) in history.written.iter().enumerate() {
            apply(&*setup.store(), &mut rows, written, arrival as u64)?;
        }
        same_state("a fresh store per payload", &rows, &expected)
    })
}

/// What applying one payload reads and writes.
fn costs(store: &dyn Store, rows: &MemoryRows, written: &Written) -> Outcome<(usize, usize)> {
    let before = rows.counts().rows;
    let mut overlay = RowOverlay::new(rows);
    store.apply(&mut overlay, &written.stamped(0))?;
    let writes = overlay.changes().len();
    Ok((rows.counts().rows - before, writes))
}

fn cost(setup: &Setup) -> Outcome {
    const LONG: usize = 1_500;
    let mut random = Random::new(99);
    let store = setup.store();
    let history = setup.history(&mut random, LONG)?;
    let long = fold(&*store, &history.written)?;
    // The same payloads on nothing, and on everything: late, and as the newest.
    let empty = MemoryRows::new();
    for written in history.written.iter().step_by(LONG / 50) {
        let mut newest = written.clone();
        newest.stamp.clock = HybridClock::from_bits(1 << 60);
        // What a payload costs on nothing is what it names; finding old rows may cost a few times that, and no more.
        for written in [written, &newest] {
            let (reads, writes) = costs(&*store, &empty, written)?;
            let (long_reads, long_writes) = costs(&*store, &long, written)?;
            let bound = 4 * (reads + writes) + 16;
            ensure(long_reads <= bound && long_writes <= bound, || {
                format!(
                    "a payload of {} bytes reads {reads} and writes {writes} rows on nothing, but reads {long_reads} and \
                     writes {long_writes} after {LONG} payloads",
                    written.payload.body.len()
                )
            })?;
        }
    }
    Ok(())
}

fn limits(setup: &Setup) -> Outcome {
    histories(setup, |history, _| within_limits(&fold(&*setup.store(), &history.written)?))
}

fn within_limits(rows: &MemoryRows) -> Outcome {
    for table in [RowTable::State, RowTable::Losing] {
        for (key, value) in rows.table(table) {
            ensure(key.len() <= ROW_KEY_BYTES_MAX, || {
                format!("a row key of {} bytes, {ROW_KEY_BYTES_MAX} are allowed (F3)", key.len())
            })?;
            ensure(value.len() <= VALUE_BYTES_MAX, || {
                format!("a row of {} bytes, {VALUE_BYTES_MAX} are allowed (F3)", value.len())
            })?;
        }
    }
    Ok(())
}

fn paths(setup: &Setup) -> Outcome {
    histories(setup, |history, _| bounded_paths(&*setup.store(), &history.written))
}

fn bounded_paths(store: &dyn Store, payloads: &[Written]) -> Outcome {
    let rows = MemoryRows::new();
    for written in payloads {
        if let Applied::Folded { paths } = store.apply(&mut RowOverlay::new(&rows), &written.stamped(0))? {
            ensure(paths.len() <= PATHS_MAX, || {
                format!("{} paths, {PATHS_MAX} are allowed (F3)", paths.len())
            })?;
        }
    }
    Ok(())
}

/// Beside small ones, older and newer: in any order, and within the limits.
fn many(setup: &Setup) -> Outcome {
    for seed in 0..3 {
        let mut random = Random::new(5_000 + seed);
        let store = setup.store();
        let mut source = setup.source();
        let mut written = History::random(&*store, &mut *source, &mut random, 30)?.written;
        let rows: Arc<MemoryRows> = Arc::new(fold(&*store, &written)?);
        for at in 0..4 {
            let seen = Seen { rows: rows.clone(), payloads: &written };
            let Some(payload) = source.write_many(&mut random, &seen) else {
                return fail("the source makes a payload of many writes at one time and none at another");
            };
            // As old as some of the small ones, or the newest.
            let clock = if at == 3 { HybridClock::from_bits(1 << 40) } else { written[at * 7].stamp.clock };
            let mut entry = [0; 32];
            random.fill(&mut entry);
            written.push(Written { stamp: Stamp { clock, entry: Id::from_bytes(entry) }, payload });
        }
        let expected = fold(&*store, &written)?;
        within_limits(&expected)?;
        let mut shuffled: Vec<&Written> =
            written.iter().rev().chain(written.iter().rev().step_by(5)).collect();
        for _ in 0..4 {
            same_state("with payloads of many writes", &fold(&*store, shuffled.iter().copied())?, &expected)
                .map_err(|failed| seeded(failed, seed))?;
            random.shuffle(&mut shuffled);
        }
        bounded_paths(&*store, &written)?;
    }
    Ok(())
}

/// Bytes that nobody who means well would send.
fn hostile_body(valid: &[u8], random: &mut Random) -> Vec<u8> {
    let mut body = valid.to_vec();
    match random.below(7) {
        0 => {
            body = vec![0; random.below(80)];
            random.fill(&mut body);
        }
        1 => body.truncate(random.below(body.len() + 1)),
        2 => body.push(random.bits() as u8),
        3 => {
            for _ in 0..1 + random.below(4) {
                if !body.is_empty() {
                    let at = random.below(body.len());
                    body[at] = random.bits() as u8;
                }
            }
        }
        4 => {
            // A length that promises the world.
            let at = random.below(body.len() + 1);
            body.splice(at..at, [0xff, 0xff, 0xff, 0xff, 0x0f]);
        }
        5 => {
            let (a, b) = (random.below(body.len() + 1), random.below(body.len() + 1));
            let piece = body[a.min(b)..a.max(b)].to_vec();
            let at = random.below(body.len() + 1);
            body.splice(at..at, piece);
        }
        _ => {
            if !body.is_empty() {
                let at = random.below(body.len());
                body.remove(at);
            }
        }
    }
    body
}

fn hostile_history(setup: &Setup, random: &mut Random) -> Outcome<Vec<Written>> {
    let mut written = setup.history(random, PAYLOADS)?.written;
    for at in 0..written.len() {
        for _ in 0..6 {
            let mut hostile = written[at].clone();
            hostile.payload.body = hostile_body(&hostile.payload.body, random);
            if random.percent(5) {
                hostile.payload.version = random.bits() as u16;
            }
            let mut entry = [0; 32];
            random.fill(&mut entry);
            hostile.stamp.entry = Id::from_bytes(entry);
            written.push(hostile);
        }
    }
    Ok(written)
}

fn hostile(setup: &Setup) -> Outcome {
    for seed in 0..HISTORIES {
        let mut random = Random::new(1_000 + seed);
        let mut payloads = hostile_history(setup, &mut random)?;
        let store = setup.store();
        let mut rows = MemoryRows::new();
        for (arrival, written) in payloads.iter().enumerate() {
            match catch_unwind(AssertUnwindSafe(|| apply(&*store, &mut rows, written, arrival as u64))) {
                Ok(applied) => applied?,
                Err(_) => return fail(format!("apply panicked on {:02x?} (F4)", written.payload)),
            }
        }
        random.shuffle(&mut payloads);
        same_state("hostile payloads in another order", &fold(&*store, &payloads)?, &rows)
            .map_err(|failed| seeded(failed, seed))?;
    }
    Ok(())
}

fn no_effect(setup: &Setup) -> Outcome {
    let mut random = Random::new(2_000);
    let payloads = hostile_history(setup, &mut random)?;
    let store = setup.store();
    let rows = fold(&*store, &payloads[..PAYLOADS])?;
    let mut without = 0;
    for written in &payloads {
        let mut overlay = RowOverlay::new(&rows);
        if let Applied::NoEffect { reason } = store.apply(&mut overlay, &written.stamped(0))? {
            without += 1;
            ensure(!reason.is_empty(), || "no reason is given for having no effect".into())?;
            ensure(overlay.changes().is_empty(), || {
                format!("a payload without effect ({reason}) changed {} rows", overlay.changes().len())
            })?;
        }
    }
    ensure(without > 0, || "none of the hostile payloads was found to have no effect".into())
}

fn unreadable(setup: &Setup) -> Outcome {
    let mut random = Random::new(3_000);
    let history = setup.history(&mut random, PAYLOADS)?;
    let store = setup.store();
    let rows = fold(&*store, &history.written)?;
    rows.break_down();
    let mut reads = 0;
    for written in &history.written {
        let before = rows.counts().calls;
        let applied = store.apply(&mut RowOverlay::new(&rows), &written.stamped(0));
        if rows.counts().calls > before {
            reads += 1;
            ensure(applied.is_err(), || format!("rows can't be read, and apply answers {applied:?}"))?;
        }
    }
    ensure(reads == 0 || store.export_json(&rows, &mut io::sink()).is_err(), || {
        "rows can't be read, and they are exported".into()
    })
}

fn undo(setup: &Setup) -> Outcome {
    histories(setup, |history, random| {
        let store = setup.store();
        for _ in 0..8 {
            let out = random.below(history.written.len());
            let all = fold(&*store, &history.written)?;
            let mut overlay = RowOverlay::new(&all);
            let undone = store.undo(&mut overlay, &history.written[out].stamped(out as u64))?;
            let changes = overlay.into_changes();
            match undone {
                Undone::Rebuild => ensure(changes.is_empty(), || {
                    format!("undo asks for a rebuild and changed {} rows", changes.len())
                })?,
                Undone::Done => {
                    let mut rows = all.clone();
                    rows.write(changes);
                    let others = history.written.iter().enumerate().filter(|(at, _)| *at != out);
                    let without = fold(&*store, others.map(|(_, written)| written))?;
                    same_state("undone", &rows, &without)?;
                }
            }
        }
        Ok(())
    })
}

fn rebuild(setup: &Setup) -> Outcome {
    histories(setup, |history, random| {
        let store = setup.store();
        let mut arrived: Vec<&Written> = history.written.iter().collect();
        random.shuffle(&mut arrived);
        let rows = fold(&*store, arrived.iter().copied())?;
        // As the engine derives them again: by arrival, on nothing.
        let derived = fold(&*setup.store(), arrived)?;
        same_state("derived again", &derived, &rows)
    })
}

fn exported(store: &dyn Store, rows: &MemoryRows) -> Outcome<Option<Vec<u8>>> {
    let before = BTreeMap::clone(rows.table(RowTable::State));
    let mut out = Vec::new();
    let answer = store.export_json(rows, &mut out);
    ensure(before == *rows.table(RowTable::State), || "exporting changes rows".into())?;
    match answer {
        Ok(()) => Ok(Some(out)),
        Err(error) if error.kind() == eidetica_kernel::ErrorKind::Unsupported => Ok(None),
        Err(error) => fail(format!("export failed: {error}")),
    }
}

fn export(setup: &Setup) -> Outcome {
    /// Takes a few bytes, then fails.
    struct Full(usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let store = setup.store();
    let empty = exported(&*store, &MemoryRows::new())?;
    ensure(empty.is_some_and(|json| is_json(&json)), || "an empty store isn't exported as JSON".into())?;
    histories(setup, |history, random| {
        let rows = fold(&*store, &history.written)?;
        let Some(json) = exported(&*store, &rows)? else { return Ok(()) };
        ensure(is_json(&json), || format!("not JSON: {}", String::from_utf8_lossy(&json)))?;
        let mut shuffled: Vec<&Written> = history.written.iter().collect();
        random.shuffle(&mut shuffled);
        let other = exported(&*store, &fold(&*store, shuffled)?)?;
        ensure(other == Some(json.clone()), || "replicas with the same payloads export other JSON".into())?;
        let full = store.export_json(&rows, &mut Full(random.below(json.len().max(1))));
        ensure(full.is_err(), || "the output is full, and export succeeds".into())
    })
}

fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok()
}

fn names(setup: &Setup) -> Outcome {
    let (one, other) = (setup.store(), setup.store());
    ensure(one.kind() == other.kind() && one.semantics() == other.semantics(), || {
        "two stores of one kind differ in kind or semantics".into()
    })?;
    ensure(one.semantics() != 0, || "semantics is 0, which says that rows must be derived again".into())?;
    let (name, version) = one.kind().split_once('/').unwrap_or_default();
    ensure(!name.is_empty() && version.parse::<u32>().is_ok(), || {
        format!("the kind {:?} isn't a name, a slash and a version", one.kind())
    })?;
    ensure(one.kind().len() <= eidetica_kernel::entry::KIND_BYTES_MAX, || {
        "the kind's name is too long".into()
    })?;
    // A source whose payloads a fresh store doesn't know tests nothing.
    let mut random = Random::new(4_000);
    let rows = Arc::new(MemoryRows::new());
    let seen = Seen { rows: rows.clone(), payloads: &[] };
    let Payload { version, body } = setup.source().write(&mut random, &seen);
    let written = Written {
        stamp: Stamp { clock: HybridClock::from_bits(1), entry: Id::from_bytes([1; 32]) },
        payload: Payload { version, body },
    };
    match one.apply(&mut RowOverlay::new(&*rows), &written.stamped(0))? {
        Applied::Folded { .. } => Ok(()),
        Applied::NoEffect { reason } => fail(format!("the source's payload has no effect: {reason}")),
    }
}
