//! The scheduler suite of the conformance kit, run against `adaptive`: as it comes, and with a budget and quiet hours.

use std::process::ExitCode;

use eidetica_conformance::scheduler::Suite;
use eidetica_scheduler_adaptive::{Adaptive, AdaptiveOptions};

fn suite(name: &str, options: AdaptiveOptions) -> Suite {
    Suite::new(name, move |seed| Box::new(Adaptive::new(options.clone(), seed)))
}

fn main() -> ExitCode {
    let night = "22:00-06:00".parse().expect("two times of day");
    let sparing = AdaptiveOptions {
        hourly_budget_bytes: Some(1_000_000),
        quiet_hours: vec![night],
        ..AdaptiveOptions::default()
    };
    let suites = [suite("adaptive", AdaptiveOptions::default()), suite("adaptive, sparing", sparing)];
    let trials = suites.iter().flat_map(Suite::trials).collect();
    libtest_mimic::run(&libtest_mimic::Arguments::from_args(), trials).exit_code()
}
