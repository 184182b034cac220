//! Small checks that say what was expected and what was found.

use std::fmt::{Debug, Display};

use eidetica_kernel::error::{Error, ErrorKind, Result};
use libtest_mimic::Failed;

/// What a case returns; any error that can be displayed converts with `?`.
///
/// ```
/// use eidetica_conformance::Outcome;
///
/// fn is_a_port(text: &str) -> Outcome<u16> {
///     Ok(text.parse()?)
/// }
/// assert!(is_a_port("none").is_err());
/// ```
pub type Outcome<T = ()> = std::result::Result<T, Failed>;

pub(crate) fn fail<T>(message: impl Display) -> Outcome<T> {
    Err(Failed::from(message.to_string()))
}

pub(crate) fn ensure(holds: bool, message: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { fail(message()) }
}

pub(crate) fn same<T: PartialEq + Debug>(what: &str, found: T, expected: T) -> Outcome {
    ensure(found == expected, || format!("{what}: expected {}, found {}", short(&expected), short(&found)))
}

/// The error, which must be of one of these kinds.
pub(crate) fn refused<T>(what: &str, result: Result<T>, kinds: &[ErrorKind]) -> Outcome<Error> {
    match result {
        Ok(_) => fail(format!("{what}: expected an error {kinds:?}, it succeeded")),
        Err(error) if kinds.contains(&error.kind()) => Ok(error),
        Err(error) => fail(format!("{what}: expected an error {kinds:?}, found {error:?}")),
    }
}

fn short(value: &impl Debug) -> String {
    let mut text = format!("{value:?}");
    if let Some((end, _)) = text.char_indices().nth(400) {
        text.truncate(end);
        text.push('…');
    }
    text
}
