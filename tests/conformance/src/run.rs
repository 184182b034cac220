//! How the cases of every suite are run.

use std::panic::{AssertUnwindSafe, catch_unwind};

use libtest_mimic::Trial;

use crate::check::Outcome;

/// A case as a test; with a reason to skip it, it is listed as ignored and says why.
pub(crate) fn trial(
    suite: &str,
    (case, invariants): (&str, &str),
    skipped: Option<&str>,
    run: impl FnOnce() -> Outcome + Send + 'static,
) -> Trial {
    let trial = Trial::test(format!("{suite}::{case} ({invariants})"), run);
    match skipped {
        Some(reason) => trial.with_kind(format!("skipped: {reason}")).with_ignored_flag(true),
        None => trial,
    }
}

/// Why a case fails, if it does; a panic breaks `panics`, the invariant that forbids it.
pub(crate) fn failure(panics: &str, run: impl FnOnce() -> Outcome) -> Option<String> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(())) => None,
        Ok(Err(failed)) => Some(failed.message().unwrap_or("it failed").to_owned()),
        Err(_) => Some(format!("it panicked ({panics})")),
    }
}
