//! The cases, and how they are run.

use std::process::ExitCode;
use std::sync::Arc;

use eidetica_kernel::SyncScheduler;
use eidetica_kernel::scheduler::Promises;
use libtest_mimic::{Arguments, Trial};

use super::world::World;
use super::{cases, fairness, promised, random};
use crate::check::Outcome;
use crate::run::{failure, trial};

/// What a case has at hand: fresh schedulers of the policy under test.
#[derive(Clone)]
pub(super) struct Setup(Arc<dyn Fn(u64) -> Box<dyn SyncScheduler> + Send + Sync>);

impl Setup {
    pub(super) fn scheduler(&self, seed: u64) -> Box<dyn SyncScheduler> {
        (self.0)(seed)
    }

    pub(super) fn world(&self, seed: u64) -> World {
        World::new(self.scheduler(seed))
    }

    pub(super) fn promises(&self) -> Promises {
        self.scheduler(0).promises()
    }
}

/// What a case needs the policy to promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: every policy must pass.
    Nothing,
    /// [`Promises::sync_within`].
    Intervals,
    /// [`Promises::commit_within`].
    Commits,
    /// [`Promises::retry_within`].
    Retries,
}

impl Needs {
    fn missing(self, promises: Promises) -> Option<&'static str> {
        let (promised, missing) = match self {
            Self::Nothing => return None,
            Self::Intervals => (promises.sync_within, "it doesn't promise to sync again by itself"),
            Self::Commits => (promises.commit_within, "it doesn't promise to sync what is committed"),
            Self::Retries => (promises.retry_within, "it doesn't promise to try by itself"),
        };
        promised.is_none().then_some(missing)
    }
}

/// One behaviour that a scheduler must have.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The behaviour, as a name.
    pub name: &'static str,
    /// The invariants it comes from.
    pub invariants: &'static str,
    /// What it needs beyond the mandatory contract.
    pub needs: Needs,
    pub(super) run: fn(&Setup) -> Outcome,
}

impl Case {
    pub(super) const fn new(
        name: &'static str,
        invariants: &'static str,
        run: fn(&Setup) -> Outcome,
    ) -> Self {
        Self { name, invariants, needs: Needs::Nothing, run }
    }

    pub(super) const fn needs(mut self, needs: Needs) -> Self {
        self.needs = needs;
        self
    }
}

/// The cases, ready to run against one policy.
#[derive(Clone)]
pub struct Suite {
    name: String,
    setup: Setup,
}

impl Suite {
    /// The suite for the policy `name`: `scheduler` makes fresh ones from a seed, all with the same options.
    pub fn new(
        name: impl Into<String>,
        scheduler: impl Fn(u64) -> Box<dyn SyncScheduler> + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), setup: Setup(Arc::new(scheduler)) }
    }

    /// Every case, in the order they are run.
    pub fn cases() -> Vec<Case> {
        [cases::CASES, promised::CASES, fairness::CASES, random::CASES].concat()
    }

    /// The cases as tests for [`libtest_mimic::run`].
    pub fn trials(&self) -> Vec<Trial> {
        let promises = self.setup.promises();
        let as_trial = |case: Case| {
            let setup = self.setup.clone();
            let skipped = case.needs.missing(promises);
            trial(&self.name, (case.name, case.invariants), skipped, move || (case.run)(&setup))
        };
        Self::cases().into_iter().map(as_trial).collect()
    }

    /// Runs the cases as a test program; its arguments are those of any Rust test program.
    pub fn main(&self) -> ExitCode {
        libtest_mimic::run(&Arguments::from_args(), self.trials()).exit_code()
    }

    /// Runs every case that applies and returns those that failed, with why. For tests of the suite itself.
    pub fn failures(&self) -> Vec<(&'static str, String)> {
        let promises = self.setup.promises();
        let applies = |case: &Case| case.needs.missing(promises).is_none();
        Self::cases()
            .into_iter()
            .filter(applies)
            .filter_map(|case| Some((case.name, self.failure(case)?)))
            .collect()
    }

    /// Why the case fails, if it does. For tests of the suite itself.
    pub fn failure(&self, case: Case) -> Option<String> {
        failure("H8", || (case.run)(&self.setup))
    }
}

impl std::fmt::Debug for Suite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Suite").field(&self.name).finish()
    }
}
