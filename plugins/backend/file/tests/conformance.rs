//! The backend suite of the conformance kit, run against `file`.

use std::process::ExitCode;
use std::sync::Arc;

use eidetica_backend_file::File;
use eidetica_conformance::backend::{Place, Suite};

fn main() -> ExitCode {
    Suite::new("file", || {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("data");
        Place::new(move || Ok(Arc::new(File::open(&path)?))).keep(folder)
    })
    .main()
}
