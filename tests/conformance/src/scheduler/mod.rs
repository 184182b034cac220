//! The suite of the trait [`SyncScheduler`], on virtual time, and the world in which it runs: peers that answer, stall, fail or
//! refuse, and a monitor that holds the policy to its promises at every step.
//!
//! A plugin runs it in a test target with `harness = false`:
//!
//! ```
//! use eidetica_conformance::scheduler::{Reference, Suite};
//!
//! # fn main() {
//! let suite = Suite::new("reference", |seed| Box::new(Reference::new(seed)));
//! // In the test's main: `suite.main()`.
//! assert!(suite.failures().is_empty());
//! # }
//! ```
//!
//! Each case names the invariants it holds the policy to ([`SyncScheduler`]: H1 to H10). Cases about something that the policy
//! doesn't promise are listed as ignored, with the reason; what must never happen has no such escape.

mod cases;
mod fairness;
mod monitor;
mod promised;
mod random;
mod reference;
mod suite;
mod world;

pub use crate::check::Outcome;
pub use eidetica_kernel::scheduler::SyncScheduler;
pub use reference::Reference;
pub use suite::{Case, Needs, Suite};
pub use world::{Manners, World, peer, tree};
