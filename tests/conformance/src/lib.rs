//! The conformance kit: suites that a plugin of Eidetica runs against itself.

pub mod auth;
pub mod backend;
mod check;
pub mod context;
mod run;
pub mod scheduler;
pub mod store;
pub mod transport;

pub use check::Outcome;
