//! The scheduler suite of the conformance kit, run against `standard`: as it comes, and without pushing commits.

use std::process::ExitCode;

use eidetica_conformance::scheduler::Suite;
use eidetica_scheduler_standard::{Standard, StandardOptions};

fn suite(name: &str, options: StandardOptions) -> Suite {
    Suite::new(name, move |seed| Box::new(Standard::new(options.clone(), seed)))
}

fn main() -> ExitCode {
    let calm = StandardOptions { on_commit: false, ..StandardOptions::default() };
    let suites = [suite("standard", StandardOptions::default()), suite("standard, calm", calm)];
    let trials = suites.iter().flat_map(Suite::trials).collect();
    libtest_mimic::run(&libtest_mimic::Arguments::from_args(), trials).exit_code()
}
