//! The conformance kit: suites that a plugin of Eidetica runs against itself.

pub mod auth;
pub mod backend;
pub mod context;
pub mod scheduler;
pub mod store;
pub mod transport;
