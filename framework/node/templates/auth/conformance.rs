//! The suite of policies of rights of the conformance kit, run against `{{name}}`.

use std::process::ExitCode;
use std::sync::Arc;

use eidetica_conformance::auth::Suite;
use {{ident}}::{{Type}}Rules;

fn main() -> ExitCode {
    Suite::new("{{name}}", || Arc::new({{Type}}Rules)).main()
}
