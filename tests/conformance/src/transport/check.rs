//! Small checks that say what was expected and what was found.

use std::fmt::Debug;

use eidetica_kernel::error::{Error, ErrorKind, Result};
use libtest_mimic::Failed;

/// What a case returns; any error that can be displayed converts with `?`.
pub type Outcome<T = ()> = std::result::Result<T, Failed>;

pub(super) fn fail<T>(message: impl std::fmt::Display) -> Outcome<T> {
    Err(Failed::from(message.to_string()))
}

pub(super) fn ensure(holds: bool, message: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { fail(message()) }
}

pub(super) fn same<T: PartialEq + Debug>(what: &str, found: T, expected: T) -> Outcome {
    ensure(found == expected, || format!("{what}: expected {expected:?}, found {found:?}"))
}

pub(super) fn refused<T>(what: &str, result: Result<T>, kinds: &[ErrorKind]) -> Outcome<Error> {
    match result {
        Ok(_) => fail(format!("{what}: expected an error {kinds:?}, it succeeded")),
        Err(error) if kinds.contains(&error.kind()) => Ok(error),
        Err(error) => fail(format!("{what}: expected an error {kinds:?}, found {error:?}")),
    }
}

/// The message that came, which must be there.
pub(super) fn came(what: &str, received: Result<Option<bytes::Bytes>>) -> Outcome<bytes::Bytes> {
    match received {
        Ok(Some(message)) => Ok(message),
        Ok(None) => fail(format!("{what}: the link has ended")),
        Err(error) => fail(format!("{what}: {error}")),
    }
}
