//! The scheduler suite of the conformance kit, run against `manual`.

use std::process::ExitCode;

use eidetica_conformance::scheduler::Suite;
use eidetica_scheduler_manual::Manual;

fn main() -> ExitCode {
    Suite::new("manual", |_| Box::new(Manual)).main()
}
