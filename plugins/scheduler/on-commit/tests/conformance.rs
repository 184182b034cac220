//! The scheduler suite of the conformance kit, run against `on-commit`.

use std::process::ExitCode;

use eidetica_conformance::scheduler::Suite;
use eidetica_scheduler_on_commit::{OnCommit, OnCommitOptions};

fn main() -> ExitCode {
    Suite::new("on-commit", |seed| Box::new(OnCommit::new(OnCommitOptions::default(), seed))).main()
}
