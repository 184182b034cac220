//! The suite of policies of rights of the conformance kit, run against `keys/1`.

use std::process::ExitCode;
use std::sync::Arc;

use eidetica_auth_keys::Keys;
use eidetica_conformance::auth::Suite;

fn main() -> ExitCode {
    Suite::new("keys", || Arc::new(Keys::new())).main()
}
