//! The suite of the trait [`Transport`], and a transport made for tests.
//!
//! A plugin runs it in a test target with `harness = false`:
//!
//! ```
//! use eidetica_conformance::transport::{Network, Reference, Suite};
//!
//! # fn main() {
//! let suite = Suite::new("reference", || {
//!     let hub = Reference::new();
//!     Network::new("", move || Ok(Box::new(hub.node())))
//! });
//! // In the test's main: `suite.main()`.
//! assert!(suite.failures().is_empty());
//! # }
//! ```
//!
//! Each case names the invariants it holds the transport to ([`Transport`]: T1 to T7, [`Listener`]: A1 to A6, [`Link`]: L1 to
//! L7). Cases that need a capability the transport doesn't declare, or access that the test doesn't give, are listed as
//! ignored, with the reason. With the feature `engine` two whole nodes sync over the transport as well.
//!
//! [`Listener`]: eidetica_kernel::transport::Listener
//! [`Link`]: eidetica_kernel::transport::Link

mod bounds;
mod check;
mod closing;
mod dialling;
mod ends;
#[cfg(feature = "engine")]
mod engine;
mod listening;
mod messages;
mod reference;
mod suite;
mod tasks;

pub use crate::check::Outcome;
pub use eidetica_kernel::transport::Transport;
pub use reference::{Reference, ReferenceNode};
pub use suite::{Case, Needs, Network, Suite};
