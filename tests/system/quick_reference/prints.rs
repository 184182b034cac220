//! What snippets print, kept so that tests can assert it.

use std::cell::RefCell;

thread_local! {
    static PRINTED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Keeps a line of this thread's test.
pub(crate) fn keep(line: String) {
    PRINTED.with_borrow_mut(|printed| printed.push(line));
}

/// What this thread has printed since the last call. Each test has a runtime of one thread, its own; another test may have had it.
pub(crate) fn printed() -> Vec<String> {
    PRINTED.take()
}

macro_rules! println {
    ($($line:tt)*) => { $crate::prints::keep(format!($($line)*)) };
}

macro_rules! eprintln {
    ($($line:tt)*) => { $crate::prints::keep(format!($($line)*)) };
}
