//! The backend suite of the conformance kit, run against `memory`.

use std::process::ExitCode;
use std::sync::Arc;

use eidetica_backend_memory::InMemory;
use eidetica_conformance::backend::{Place, Suite};

fn main() -> ExitCode {
    Suite::new("memory", || {
        let rows = InMemory::new();
        Place::new(move || Ok(Arc::new(rows.clone())))
    })
    .main()
}
