//! Where a backend's data rests, the cases, and how they are run.

use std::any::Any;
use std::process::ExitCode;
use std::sync::Arc;

use eidetica_kernel::backend::{Backend, BackendCapabilities};
use eidetica_kernel::error::Result;
use libtest_mimic::{Arguments, Trial};

use super::{batches, concurrency, durability, limits, model, scans, snapshots};
use crate::check::Outcome;
use crate::run::{failure, trial};

/// A place where one backend's data rests, empty at first.
///
/// It can be opened again once what was opened before is closed or dropped. Opening a place whose backend declares
/// `durable` finds what was flushed.
///
/// ```
/// use std::sync::Arc;
/// use eidetica_conformance::backend::{Place, Reference};
///
/// let rows = Reference::new();
/// let place = Place::new(move || Ok(Arc::new(rows.again())));
/// place.open()?;
/// # Ok::<(), eidetica_kernel::Error>(())
/// ```
pub struct Place {
    open: Box<dyn Fn() -> Result<Arc<dyn Backend>> + Send + Sync>,
    guard: Option<Box<dyn Any + Send + Sync>>,
}

impl Place {
    /// A place that `open` opens.
    pub fn new(open: impl Fn() -> Result<Arc<dyn Backend>> + Send + Sync + 'static) -> Self {
        Self { open: Box::new(open), guard: None }
    }

    /// Keeps `guard` until the place is dropped: a temporary folder, a database that is removed.
    #[must_use]
    pub fn keep(mut self, guard: impl Any + Send + Sync) -> Self {
        self.guard = Some(Box::new(guard));
        self
    }

    /// Opens it.
    ///
    /// # Errors
    /// What the backend returned.
    pub fn open(&self) -> Result<Arc<dyn Backend>> {
        (self.open)()
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Place")
    }
}

/// What a case needs beyond the mandatory contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: every backend must pass.
    Nothing,
    /// [`BackendCapabilities::durable`].
    Durable,
}

impl Needs {
    fn missing(self, capabilities: BackendCapabilities) -> Option<&'static str> {
        match self {
            Self::Nothing => None,
            Self::Durable => (!capabilities.durable).then_some("not durable"),
        }
    }
}

/// One behaviour that a backend must have.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The behaviour, as a name.
    pub name: &'static str,
    /// The invariants it comes from.
    pub invariants: &'static str,
    /// What it needs beyond the mandatory contract.
    pub needs: Needs,
    pub(super) run: fn(&Place) -> Outcome,
}

impl Case {
    pub(super) const fn new(
        name: &'static str,
        invariants: &'static str,
        run: fn(&Place) -> Outcome,
    ) -> Self {
        Self { name, invariants, needs: Needs::Nothing, run }
    }

    pub(super) const fn durable(mut self) -> Self {
        self.needs = Needs::Durable;
        self
    }
}

/// The cases, ready to run against one backend.
#[derive(Clone)]
pub struct Suite {
    name: String,
    place: Arc<dyn Fn() -> Place + Send + Sync>,
}

impl Suite {
    /// The suite for the backend `name`, whose empty places `place` makes.
    pub fn new(name: impl Into<String>, place: impl Fn() -> Place + Send + Sync + 'static) -> Self {
        Self { name: name.into(), place: Arc::new(place) }
    }

    /// Every case, in the order they are run.
    pub fn cases() -> Vec<Case> {
        [
            batches::CASES,
            limits::CASES,
            scans::CASES,
            snapshots::CASES,
            durability::CASES,
            model::CASES,
            concurrency::CASES,
        ]
        .concat()
    }

    /// The cases as tests for [`libtest_mimic::run`].
    pub fn trials(&self) -> Vec<Trial> {
        let capabilities = self.capabilities();
        let as_trial = |case: Case| {
            let place = self.place.clone();
            let skipped = case.needs.missing(capabilities);
            trial(&self.name, (case.name, case.invariants), skipped, move || (case.run)(&place()))
        };
        Self::cases().into_iter().map(as_trial).collect()
    }

    /// Runs the cases as a test program; its arguments are those of any Rust test program.
    pub fn main(&self) -> ExitCode {
        let mut arguments = Arguments::from_args();
        // Cases that run into each other's disk and processor time say nothing more than one at a time, but take longer.
        arguments.test_threads.get_or_insert(2);
        libtest_mimic::run(&arguments, self.trials()).exit_code()
    }

    /// Runs every case that applies and returns those that failed, with why. For tests of the suite itself.
    pub fn failures(&self) -> Vec<(&'static str, String)> {
        let capabilities = self.capabilities();
        let applies = |case: &Case| case.needs.missing(capabilities).is_none();
        Self::cases()
            .into_iter()
            .filter(applies)
            .filter_map(|case| Some((case.name, self.failure(case)?)))
            .collect()
    }

    /// Why the case fails, if it does. For tests of the suite itself.
    pub fn failure(&self, case: Case) -> Option<String> {
        failure("B9", || (case.run)(&(self.place)()))
    }

    fn capabilities(&self) -> BackendCapabilities {
        // A backend that doesn't open fails every case, and each says why.
        let place = (self.place)();
        place.open().map(|backend| backend.capabilities()).unwrap_or_default()
    }
}

impl std::fmt::Debug for Suite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Suite").field(&self.name).finish()
    }
}
