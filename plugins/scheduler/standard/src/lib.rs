//! The scheduler `standard` of Eidetica: commits are pushed at once, every relation is reconciled now and then, failures
//! are retried with growing delays, links are probed.
//!
//! It is a pure state machine on the engine's time; [`Standard`] says what it does with each event, [`StandardOptions`]
//! what can be tuned. A config file selects it so, which is also the default:
//!
//! ```toml
//! [default.scheduler]
//! use = "standard"
//!
//! [default.scheduler.standard]
//! interval_seconds = 300
//! ```
//!
//! Without a config file:
//!
//! ```
//! use std::time::Duration;
//!
//! use eidetica_kernel::scheduler::{Action, Event, Preferences};
//! use eidetica_kernel::{Id, SecretKey, SyncScheduler};
//! use eidetica_scheduler_standard::{Standard, StandardOptions};
//!
//! let (peer, tree) = (SecretKey::from_bytes([7; 32]).public_key(), Id::from_bytes([1; 32]));
//! let mut scheduler = Standard::new(StandardOptions::default(), 42);
//! let mut actions = Vec::new();
//! let related = Event::Related { peer, tree, preferences: Preferences::default() };
//! scheduler.handle(Duration::ZERO, related, &mut actions);
//! assert_eq!(actions, vec![Action::Sync { peer, tree }]);
//! ```

mod options;
mod standard;

use eidetica_kernel::options::{OptionFault, decode, defaults};
use eidetica_kernel::registry::{About, Descriptor, SchedulerFactory, Status};
use eidetica_kernel::{SyncScheduler, register_scheduler};

pub use options::StandardOptions;
pub use standard::Standard;

impl SchedulerFactory for StandardOptions {
    fn validate(&self) -> Vec<OptionFault> {
        self.faults()
    }

    fn open(&self, seed: u64) -> Box<dyn SyncScheduler> {
        Box::new(Standard::new(self.clone(), seed))
    }
}

/// The scheduler `standard`, as a config file selects it.
pub const STANDARD: Descriptor<dyn SchedulerFactory> = Descriptor {
    about: About {
        name: "standard",
        summary: "Syncs on commit and periodically, retries with exponential backoff, probes open links.",
        status: Status::Stable,
        trust: "Trusts nobody: a failing or refusing peer costs a bounded number of attempts and delays no other.",
        crate_name: env!("CARGO_PKG_NAME"),
        crate_version: env!("CARGO_PKG_VERSION"),
    },
    schema: || schemars::schema_for!(StandardOptions).to_value(),
    defaults: defaults::<StandardOptions>,
    parse: |options| Ok(Box::new(decode::<StandardOptions>(options)?)),
};

register_scheduler!(STANDARD);
#[cfg(doctest)]
#[doc = include_str!("../../../../framework/kernel/PLUGINS.md")]
struct PluginsMd;
