//! The suite of the trait `Store`, on payloads that the typed handle writes.

#[path = "conformance/edits.rs"]
mod edits;

use std::process::ExitCode;
use std::sync::Arc;

use eidetica_conformance::store::Suite;
use eidetica_store_doc::DocKind;

fn main() -> ExitCode {
    Suite::new("doc", || Arc::new(DocKind), || Box::new(edits::Edits::default())).main()
}
