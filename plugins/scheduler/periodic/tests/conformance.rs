//! The scheduler suite of the conformance kit, run against `periodic`.

use std::process::ExitCode;

use eidetica_conformance::scheduler::Suite;
use eidetica_scheduler_periodic::{Periodic, PeriodicOptions};

fn main() -> ExitCode {
    Suite::new("periodic", |seed| Box::new(Periodic::new(PeriodicOptions::default(), seed))).main()
}
