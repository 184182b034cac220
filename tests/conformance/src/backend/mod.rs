//! The suite of the trait [`Backend`], and backends made for tests.
//!
//! A plugin runs it in a test target with `harness = false`:
//!
//! ```
//! use std::sync::Arc;
//!
//! use eidetica_conformance::backend::{Place, Reference, Suite};
//!
//! # fn main() {
//! let suite = Suite::new("reference", || {
//!     let rows = Reference::new();
//!     Place::new(move || Ok(Arc::new(rows.again())))
//! });
//! // In the test's main: `suite.main()`.
//! assert!(suite.failures().is_empty());
//! # }
//! ```
//!
//! Each case names the invariants it holds the backend to ([`Backend`]: B1 to B9, [`Snapshot`]: S1 to S3). Cases that
//! need a capability the backend doesn't declare are listed as ignored, with the reason.
//!
//! [`Snapshot`]: eidetica_kernel::backend::Snapshot

mod batches;
mod check;
mod concurrency;
mod counting;
mod durability;
mod faulty;
mod limits;
mod model;
mod reference;
mod scans;
mod snapshots;
mod suite;

pub use crate::check::Outcome;
pub use counting::{Counting, Counts};
pub use eidetica_kernel::backend::Backend;
pub use faulty::FaultyBackend;
pub use reference::Reference;
pub use suite::{Case, Needs, Place, Suite};
