//! The cases, and how they are run.

use std::process::ExitCode;
use std::sync::Arc;

use eidetica_kernel::store::Store;
use libtest_mimic::{Arguments, Trial};

use super::cases;
use super::history::{History, PayloadSource, Random, Seen};
use super::rows::MemoryRows;
use crate::check::Outcome;
use crate::run::{failure, trial};

/// What a case has at hand: fresh stores of the kind under test, and payloads for it.
#[derive(Clone)]
pub(super) struct Setup {
    store: Arc<dyn Fn() -> Arc<dyn Store> + Send + Sync>,
    source: Arc<dyn Fn() -> Box<dyn PayloadSource> + Send + Sync>,
}

impl Setup {
    pub(super) fn store(&self) -> Arc<dyn Store> {
        (self.store)()
    }

    pub(super) fn source(&self) -> Box<dyn PayloadSource> {
        (self.source)()
    }

    pub(super) fn history(&self, random: &mut Random, payloads: usize) -> Outcome<History> {
        History::random(&*self.store(), &mut *self.source(), random, payloads)
    }
}

/// One behaviour that a store must have.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The behaviour, as a name.
    pub name: &'static str,
    /// The invariants it comes from.
    pub invariants: &'static str,
    /// Whether it needs payloads of very many writes.
    pub needs_many: bool,
    pub(super) run: fn(&Setup) -> Outcome,
}

/// The cases, ready to run against one kind.
#[derive(Clone)]
pub struct Suite {
    name: String,
    setup: Setup,
}

impl Suite {
    /// The suite for the kind `name`: `store` makes fresh stores of it, `source` sources of payloads.
    pub fn new(
        name: impl Into<String>,
        store: impl Fn() -> Arc<dyn Store> + Send + Sync + 'static,
        source: impl Fn() -> Box<dyn PayloadSource> + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), setup: Setup { store: Arc::new(store), source: Arc::new(source) } }
    }

    /// Every case, in the order they are run.
    pub fn cases() -> Vec<Case> {
        cases::CASES.to_vec()
    }

    /// The cases as tests for [`libtest_mimic::run`].
    pub fn trials(&self) -> Vec<Trial> {
        let many = self.makes_many();
        let as_trial = |case: Case| {
            let setup = self.setup.clone();
            let skipped = (case.needs_many && !many).then_some("the source makes no payloads of many writes");
            trial(&self.name, (case.name, case.invariants), skipped, move || (case.run)(&setup))
        };
        Self::cases().into_iter().map(as_trial).collect()
    }

    /// What the source of payloads says of itself after a history of this many payloads.
    ///
    /// # Errors
    /// What the store answered.
    pub fn describe(&self, payloads: usize) -> Outcome<String> {
        let mut source = self.setup.source();
        History::random(&*self.setup.store(), &mut *source, &mut Random::new(0), payloads)?;
        Ok(source.describe())
    }

    /// Runs the cases as a test program; its arguments are those of any Rust test program.
    pub fn main(&self) -> ExitCode {
        let arguments = Arguments::from_args();
        if !arguments.list
            && let Ok(description) = self.describe(1_000)
            && !description.is_empty()
        {
            // As the test harness itself does; the test's output is read by people and by machines alike.
            use std::io::Write;
            let _ = writeln!(std::io::stderr(), "\npayloads of {}: {description}", self.name);
        }
        libtest_mimic::run(&arguments, self.trials()).exit_code()
    }

    /// Runs every case and returns those that failed, with why. For tests of the suite itself.
    pub fn failures(&self) -> Vec<(&'static str, String)> {
        let many = self.makes_many();
        let applies = |case: &Case| many || !case.needs_many;
        let failed = |case: Case| Some((case.name, self.failure(case)?));
        Self::cases().into_iter().filter(applies).filter_map(failed).collect()
    }

    fn makes_many(&self) -> bool {
        let rows = Arc::new(MemoryRows::new());
        self.setup.source().write_many(&mut Random::new(0), &Seen { rows, payloads: &[] }).is_some()
    }

    /// Why the case fails, if it does. For tests of the suite itself.
    pub fn failure(&self, case: Case) -> Option<String> {
        failure("F4", || (case.run)(&self.setup))
    }
}

impl std::fmt::Debug for Suite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Suite").field(&self.name).finish()
    }
}
