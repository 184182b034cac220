//! The backend suite of the conformance kit, run against `{{name}}`.

use std::process::ExitCode;
use std::sync::Arc;

use eidetica_conformance::backend::{Place, Suite};
use {{ident}}::{{{Type}}Backend, {{Type}}Options};

fn main() -> ExitCode {
    Suite::new("{{name}}", || {
        let rows = {{Type}}Backend::new({{Type}}Options::default());
        Place::new(move || Ok(Arc::new(rows.again())))
    })
    .main()
}
