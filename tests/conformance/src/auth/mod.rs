//! The suite of the trait [`AuthPolicy`], and what tests of policies need: a tree of entries judged as the engine judges them, and a
//! generator of such trees.
//!
//! A plugin runs it in a test target with `harness = false`:
//!
//! ```
//! use std::sync::Arc;
//!
//! use eidetica_conformance::auth::{Reference, Suite};
//!
//! # fn main() {
//! let suite = Suite::new("reference", || Arc::new(Reference));
//! // In the test's main: `suite.main()`.
//! assert!(suite.failures().is_empty());
//! # }
//! ```
//!
//! Every case is mandatory and names the invariants it holds the policy to ([`AuthPolicy`]: P1 to P8).

mod cases;
mod encoding;
mod random;
mod reference;
mod revocation;
mod suite;
mod world;

pub use crate::check::Outcome;
pub use eidetica_kernel::auth::AuthPolicy;
pub use random::{random_grant, random_op, random_world};
pub use reference::Reference;
pub use suite::{Case, Suite};
pub use world::{Draft, Entry, Ix, ROOT, World, key};
