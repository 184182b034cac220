//! The suite of the trait `Store`, on payloads that the typed handle writes.

#[path = "conformance/edits.rs"]
mod edits;

use std::process::ExitCode;
use std::sync::Arc;

use eidetica_conformance::store::Suite;
use eidetica_store_table::TableKind;

fn main() -> ExitCode {
    Suite::new("table", || Arc::new(TableKind), || Box::new(edits::Edits)).main()
}
