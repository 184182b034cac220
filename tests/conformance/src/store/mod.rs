//! The suite of the trait [`Store`], and what tests of stores and their handles need: rows in memory, a transaction, a
//! generator of random numbers.
//!
//! A plugin runs it in a test target with `harness = false`. It brings payloads of its kind, made from random numbers and
//! from what their writer has seen:
//!
//! ```
//! use std::sync::Arc;
//!
//! use eidetica_conformance::store::{Payload, PayloadSource, Random, Reference, Seen, Suite};
//!
//! struct Registers;
//!
//! impl PayloadSource for Registers {
//!     fn write(&mut self, random: &mut Random, _seen: &Seen<'_>) -> Payload {
//!         Payload { version: 1, body: vec![random.below(4) as u8, random.below(256) as u8] }
//!     }
//! }
//!
//! # fn main() {
//! let suite = Suite::new("reference", || Arc::new(Reference), || Box::new(Registers));
//! // In the test's main: `suite.main()`.
//! assert!(suite.failures().is_empty());
//! # }
//! ```
//!
//! Every case is mandatory and names the invariants it holds the store to ([`Store`]: F1 to F6).

mod cases;
mod history;
mod reference;
mod rows;
mod suite;
mod tx;

pub use crate::check::Outcome;
pub use eidetica_kernel::store::Store;
pub use history::{History, Payload, PayloadSource, Random, Seen, Written};
pub use reference::Reference;
pub use rows::{Counts, MemoryRows};
pub use suite::{Case, Suite};
pub use tx::TestTx;
