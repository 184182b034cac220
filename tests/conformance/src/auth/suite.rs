//! The cases, and how they are run.

use std::process::ExitCode;
use std::sync::Arc;

use eidetica_kernel::auth::SharedAuthPolicy;
use libtest_mimic::{Arguments, Trial};

use super::random::random_world;
use super::world::World;
use super::{cases, encoding, revocation};
use crate::check::{Outcome, fail};
use crate::run::{failure, trial};

/// What a case has at hand: fresh policies of the kind under test.
#[derive(Clone)]
pub(super) struct Setup(Arc<dyn Fn() -> SharedAuthPolicy + Send + Sync>);

impl Setup {
    pub(super) fn policy(&self) -> SharedAuthPolicy {
        (self.0)()
    }

    /// A tree that was just begun.
    pub(super) fn begun(&self) -> Outcome<World> {
        World::new(self.policy(), 1).or_else(|denial| fail(format!("a tree can't be begun: {denial} (P8)")))
    }

    /// A tree with up to `entries` random entries.
    pub(super) fn world(&self, seed: u64, entries: usize) -> Outcome<World> {
        random_world(self.policy(), seed, entries)
            .or_else(|denial| fail(format!("a tree can't be begun: {denial} (P8)")))
    }
}

/// One behaviour that a policy must have.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The behaviour, as a name.
    pub name: &'static str,
    /// The invariants it comes from.
    pub invariants: &'static str,
    pub(super) run: fn(&Setup) -> Outcome,
}

impl Case {
    pub(super) const fn new(
        name: &'static str,
        invariants: &'static str,
        run: fn(&Setup) -> Outcome,
    ) -> Self {
        Self { name, invariants, run }
    }
}

/// The cases, ready to run against one policy.
#[derive(Clone)]
pub struct Suite {
    name: String,
    setup: Setup,
}

impl Suite {
    /// The suite for the policy `name`, of which `policy` makes fresh ones.
    pub fn new(
        name: impl Into<String>,
        policy: impl Fn() -> SharedAuthPolicy + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), setup: Setup(Arc::new(policy)) }
    }

    /// Every case, in the order they are run.
    pub fn cases() -> Vec<Case> {
        [cases::CASES, revocation::CASES, encoding::CASES].concat()
    }

    /// The cases as tests for [`libtest_mimic::run`].
    pub fn trials(&self) -> Vec<Trial> {
        let as_trial = |case: Case| {
            let setup = self.setup.clone();
            trial(&self.name, (case.name, case.invariants), None, move || (case.run)(&setup))
        };
        Self::cases().into_iter().map(as_trial).collect()
    }

    /// Runs the cases as a test program; its arguments are those of any Rust test program.
    pub fn main(&self) -> ExitCode {
        libtest_mimic::run(&Arguments::from_args(), self.trials()).exit_code()
    }

    /// Runs every case and returns those that failed, with why. For tests of the suite itself.
    pub fn failures(&self) -> Vec<(&'static str, String)> {
        Self::cases().into_iter().filter_map(|case| Some((case.name, self.failure(case)?))).collect()
    }

    /// Why the case fails, if it does. For tests of the suite itself.
    pub fn failure(&self, case: Case) -> Option<String> {
        failure("P5", || (case.run)(&self.setup))
    }
}

impl std::fmt::Debug for Suite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Suite").field(&self.name).finish()
    }
}
