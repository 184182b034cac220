//! The engine: trees of entries over a backend, judged by a policy, folded by stores.
//!
//! It does no I/O but through the backend, and reads time and randomness only from what it was given.

pub(crate) mod commit;
pub(crate) mod derive;
pub(crate) mod held;
pub(crate) mod ingest;
pub(crate) mod layout;
mod line;
mod parents;
pub(crate) mod read;
pub(crate) mod records;
pub(crate) mod rights;
pub(crate) mod rows;
pub(crate) mod stage;
pub(crate) mod tree;
pub(crate) mod trees;
pub(crate) mod waiting;
