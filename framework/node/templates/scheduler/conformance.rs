//! The scheduler suite of the conformance kit, run against `{{name}}`.

use std::process::ExitCode;

use eidetica_conformance::scheduler::Suite;
use {{ident}}::{{{Type}}Options, {{Type}}Scheduler};

fn main() -> ExitCode {
    Suite::new("{{name}}", |seed| Box::new({{Type}}Scheduler::new({{Type}}Options::default(), seed))).main()
}
