//! Stores that break one invariant each: the suite must catch every one of them.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use eidetica_conformance::store::{Payload, PayloadSource, Random, Reference, Seen, Suite};
use eidetica_kernel::backend::Scan;
use eidetica_kernel::store::{
    Applied, PATHS_MAX, RowOverlay, RowReader, RowTable, StampedPayload, Store, Undone,
};
use eidetica_kernel::{Error, ErrorKind, Result};

struct Registers;

/// The register that only payloads of many writes write.
const MANY: u8 = 255;

impl PayloadSource for Registers {
    fn write(&mut self, random: &mut Random, _seen: &Seen<'_>) -> Payload {
        Payload { version: 1, body: vec![random.below(4) as u8, random.below(256) as u8] }
    }

    /// One write is as many as a register's payload has; the last register stands for many of them.
    fn write_many(&mut self, random: &mut Random, _seen: &Seen<'_>) -> Option<Payload> {
        Some(Payload { version: 1, body: vec![MANY, random.below(256) as u8] })
    }
}

fn failures(store: impl Fn() -> Arc<dyn Store> + Send + Sync + 'static) -> Vec<&'static str> {
    let suite = Suite::new("broken", store, || Box::new(Registers));
    suite.failures().into_iter().map(|(name, _)| name).collect()
}

/// A store that does what [`Reference`] does, but for what its `apply` (and the like) does instead.
macro_rules! broken {
    ($name:ident { $($field:ident: $type:ty = $value:expr),* } $($methods:tt)*) => {
        #[allow(dead_code, reason = "most have no state")]
        struct $name { $($field: $type),* }

        impl $name {
            fn make() -> Arc<dyn Store> {
                Arc::new(Self { $($field: $value),* })
            }
        }

        impl Wrapper for $name { $($methods)* }

        impl Store for $name {
            fn kind(&self) -> &'static str {
                Wrapper::kind(self)
            }
            fn semantics(&self) -> u32 {
                Wrapper::semantics(self)
            }
            fn apply(&self, rows: &mut RowOverlay<'_>, payload: &StampedPayload<'_>) -> Result<Applied> {
                Wrapper::apply(self, rows, payload)
            }
            fn undo(&self, rows: &mut RowOverlay<'_>, payload: &StampedPayload<'_>) -> Result<Undone> {
                Wrapper::undo(self, rows, payload)
            }
            fn export_json(&self, rows: &dyn RowReader, out: &mut dyn Write) -> Result<()> {
                Wrapper::export_json(self, rows, out)
            }
        }
    };
}

trait Wrapper {
    fn kind(&self) -> &'static str {
        Reference.kind()
    }
    fn semantics(&self) -> u32 {
        Reference.semantics()
    }
    fn apply(&self, rows: &mut RowOverlay<'_>, payload: &StampedPayload<'_>) -> Result<Applied> {
        Reference.apply(rows, payload)
    }
    fn undo(&self, rows: &mut RowOverlay<'_>, payload: &StampedPayload<'_>) -> Result<Undone> {
        Reference.undo(rows, payload)
    }
    fn export_json(&self, rows: &dyn RowReader, out: &mut dyn Write) -> Result<()> {
        Reference.export_json(rows, out)
    }
}

fn folded() -> Result<Applied> {
    Ok(Applied::Folded { paths: vec!["somewhere".into()] })
}

fn is_valid(payload: &StampedPayload<'_>) -> bool {
    payload.version == 1 && payload.body.len() == 2
}

broken! { LastArrivalWins {}
    fn apply(&self, rows: &mut RowOverlay<'_>, payload: &StampedPayload<'_>) -> Result<Applied> {
        let applied = Reference.apply(rows, payload)?;
        if is_valid(payload) {
            rows.put(RowTable::State, vec![payload.body[0]], [&[0; 40][..], &payload.body[1..]].concat());
        }
        Ok(applied)
    }
}

broken! { ArrivalInState {}
    fn apply(&self, rows: &mut RowOverlay<'_>, payload: &StampedPayload<'_>) -> Result<Applied> {
        if is_valid(payload) {
            let key = [&[7], &payload.stamp.entry.as_bytes()[..]].concat();
            rows.put(RowTable::State, key, payload.arrival.to_be_bytes().to_vec());
        }
        Reference.apply(rows, payload)
    }
    fn undo(&self, _: &mut RowOverlay<'_>, _: &StampedPayload<'_>) -> Result<Undone> {
        Ok(Undone::Rebuild)
    }
}

broken! { CountsDuplicates {}
    fn apply(&self, rows: &mut RowOverlay<'_>, payload: &StampedPayload<'_>) -> Result<Applied> {
        if is_valid(payload) {
            let count = rows.get(RowTable::State, b"count")?.map_or(0, |count| count[0]);
            rows.put(RowTable::State, "count", vec![count.wrapping_add(1)]);
        }
        Reference.apply(rows, payload)
    }
    fn undo(&self, _: &mut RowOverlay<'_>, _: &StampedPayload<'_>) -> Result<Undone> {
        Ok(Undone::Rebuild)
    }
}

broken! { PanicsOnGarbage {}
    fn apply(&self, rows: &mut RowOverlay<'_>, payload: &StampedPayload<'_>) -> Result<Applied> {
        let _ = payload.body[0] + payload.body[1] / 255;
        Reference.apply(rows, payload)
    }
}

broken! { FailsOnGarbage {}
    fn apply(&self, rows: &mut RowOverlay<'_>, payload: &StampedPayload<'_>) -> Result<Applied> {
        if !is_valid(payload) {
            return Err(Error::new(ErrorKind::InvalidInput, "reading", "a payload", "it is garbage"));
        }
        Reference.apply(rows, payload)
    }
}

broken! { ReadsEverything {}
    fn apply(&self, rows: &mut RowOverlay<'_>, payload: &StampedPayload<'_>) -> Result<Applied> {
        if is_valid(payload) {
            let key = [&[7], &payload.stamp.entry.as_bytes()[..]].concat();
            rows.put(RowTable::State, key, "");
            rows.scan(RowTable::State, &Scan::all())?;
        }
        Reference.apply(rows, payload)
    }
    fn undo(&self, _: &mut RowOverlay<'_>, _: &StampedPayload<'_>) -> Result<Undone> {
        Ok(Undone::Rebuild)
    }
}

broken! { TouchesTheRowsOfOthers {}
    fn apply(&self, rows: &mut RowOverlay<'_>, payload: &StampedPayload<'_>) -> Result<Applied> {
        if is_valid(payload) {
            rows.put(RowTable::State, [&[7], &payload.stamp.entry.as_bytes()[..]].concat(), "");
            for (key, value) in rows.scan(RowTable::State, &Scan::prefix(&[7]))?.rows {
                rows.put(RowTable::State, key, value);
            }
        }
        Reference.apply(rows, payload)
    }
    fn undo(&self, _: &mut RowOverlay<'_>, _: &StampedPayload<'_>) -> Result<Undone> {
        Ok(Undone::Rebuild)
    }
}

broken! { RemembersOutsideOfRows { seen: AtomicU64 = AtomicU64::new(0) }
    fn apply(&self, rows: &mut RowOverlay<'_>, payload: &StampedPayload<'_>) -> Result<Applied> {
        if is_valid(payload) {
            let seen = self.seen.fetch_max(payload.stamp.clock.to_bits(), Ordering::Relaxed);
            rows.put(RowTable::State, "newest", seen.max(payload.stamp.clock.to_bits()).to_be_bytes().to_vec());
        }
        Reference.apply(rows, payload)
    }
    fn undo(&self, _: &mut RowOverlay<'_>, _: &StampedPayload<'_>) -> Result<Undone> {
        Ok(Undone::Rebuild)
    }
}

broken! { UndoesNothing {}
    fn undo(&self, _: &mut RowOverlay<'_>, _: &StampedPayload<'_>) -> Result<Undone> {
        Ok(Undone::Done)
    }
}

broken! { ChangesRowsBeforeAskingForARebuild {}
    fn undo(&self, rows: &mut RowOverlay<'_>, payload: &StampedPayload<'_>) -> Result<Undone> {
        Reference.undo(rows, payload)?;
        Ok(Undone::Rebuild)
    }
}

broken! { HidesBrokenRows {}
    fn apply(&self, rows: &mut RowOverlay<'_>, payload: &StampedPayload<'_>) -> Result<Applied> {
        Reference.apply(rows, payload).or_else(|_| folded())
    }
}

broken! { LongKeys {}
    fn apply(&self, rows: &mut RowOverlay<'_>, payload: &StampedPayload<'_>) -> Result<Applied> {
        rows.put(RowTable::State, vec![7; 1_001], "");
        Reference.apply(rows, payload)
    }
}

broken! { CountlessPaths {}
    fn apply(&self, rows: &mut RowOverlay<'_>, payload: &StampedPayload<'_>) -> Result<Applied> {
        Reference.apply(rows, payload)?;
        Ok(Applied::Folded { paths: vec![String::new(); PATHS_MAX + 1] })
    }
}

broken! { WritesManyBlindly {}
    fn apply(&self, rows: &mut RowOverlay<'_>, payload: &StampedPayload<'_>) -> Result<Applied> {
        if is_valid(payload) && payload.body[0] == MANY {
            rows.delete(RowTable::State, vec![MANY]);
        }
        Reference.apply(rows, payload)
    }
}

broken! { CountlessPathsOfMany {}
    fn apply(&self, rows: &mut RowOverlay<'_>, payload: &StampedPayload<'_>) -> Result<Applied> {
        match Reference.apply(rows, payload)? {
            Applied::Folded { .. } if payload.body[0] == MANY => {
                Ok(Applied::Folded { paths: vec![String::new(); PATHS_MAX + 1] })
            }
            applied => Ok(applied),
        }
    }
}

broken! { WritesWithoutEffect {}
    fn apply(&self, rows: &mut RowOverlay<'_>, payload: &StampedPayload<'_>) -> Result<Applied> {
        if !is_valid(payload) {
            rows.put(RowTable::Losing, payload.arrival.to_be_bytes().to_vec(), "");
        }
        Reference.apply(rows, payload)
    }
}

broken! { ExportsNonsense {}
    fn export_json(&self, rows: &dyn RowReader, out: &mut dyn Write) -> Result<()> {
        Reference.export_json(rows, out)?;
        out.write_all(b",").map_err(|error| Error::io("writing", "", error))
    }
}

broken! { IgnoresTheOutput {}
    fn export_json(&self, rows: &dyn RowReader, out: &mut dyn Write) -> Result<()> {
        Reference.export_json(rows, out).or(Ok(()))
    }
}

static SEMANTICS: AtomicU32 = AtomicU32::new(1);

broken! { ChangingSemantics {}
    fn semantics(&self) -> u32 {
        SEMANTICS.fetch_add(1, Ordering::Relaxed)
    }
}

broken! { SemanticsZero {}
    fn semantics(&self) -> u32 {
        0
    }
}

broken! { KindWithoutVersion {}
    fn kind(&self) -> &'static str {
        "reference"
    }
}

#[test]
fn a_right_store_passes() {
    assert_eq!(failures(|| Arc::new(Reference)), Vec::<&str>::new());
}

#[test]
fn broken_stores_are_caught_by_the_case_for_what_they_break() {
    type Make = fn() -> Arc<dyn Store>;
    let caught: [(Make, &str); 21] = [
        (LastArrivalWins::make, "payloads_in_any_order_give_the_same_state"),
        (ArrivalInState::make, "state_does_not_depend_on_arrival_numbers"),
        (CountsDuplicates::make, "a_payload_applied_again_changes_nothing"),
        (PanicsOnGarbage::make, "hostile_bytes_never_panic_and_never_split_replicas"),
        (FailsOnGarbage::make, "hostile_bytes_never_panic_and_never_split_replicas"),
        (ReadsEverything::make, "applying_costs_the_same_in_a_long_history"),
        (TouchesTheRowsOfOthers::make, "applying_costs_the_same_in_a_long_history"),
        (RemembersOutsideOfRows::make, "fresh_stores_of_a_kind_give_the_same_state"),
        (UndoesNothing::make, "undo_is_as_if_never_applied_or_asks_for_a_rebuild"),
        (ChangesRowsBeforeAskingForARebuild::make, "undo_is_as_if_never_applied_or_asks_for_a_rebuild"),
        (HidesBrokenRows::make, "rows_that_cannot_be_read_are_an_error"),
        (LongKeys::make, "rows_stay_within_the_limits"),
        (CountlessPaths::make, "changed_paths_are_bounded"),
        (WritesManyBlindly::make, "payloads_of_many_writes_merge_as_others_do"),
        (CountlessPathsOfMany::make, "payloads_of_many_writes_merge_as_others_do"),
        (WritesWithoutEffect::make, "what_has_no_effect_changes_nothing"),
        (ExportsNonsense::make, "state_is_exported_as_one_json_value"),
        (IgnoresTheOutput::make, "state_is_exported_as_one_json_value"),
        (ChangingSemantics::make, "kind_and_semantics_stay"),
        (SemanticsZero::make, "kind_and_semantics_stay"),
        (KindWithoutVersion::make, "kind_and_semantics_stay"),
    ];
    for (store, case) in caught {
        let failures = failures(store);
        assert!(failures.contains(&case), "{case}: only {failures:?} failed");
    }
}
