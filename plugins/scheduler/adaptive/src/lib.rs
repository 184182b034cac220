//! The scheduler `adaptive` of Eidetica: collects bursts of commits, backs off where nothing changes, keeps a budget of bytes per
//! hour and quiet hours.
//!
//! For metered links, batteries, and writers that write in bursts. Nothing is pushed as it is committed: what was committed goes
//! in one exchange, seconds later. A config file selects it so:
//!
//! ```toml
//! [default.scheduler]
//! use = "adaptive"
//!
//! [default.scheduler.adaptive]
//! hourly_budget_bytes = 1000000
//! quiet_hours = ["22:00-06:00"]
//! utc_offset_minutes = 60
//! ```
//!
//! Without a config file:
//!
//! ```
//! use std::time::Duration;
//!
//! use eidetica_kernel::scheduler::{Action, Event, Preferences};
//! use eidetica_kernel::{Id, SecretKey, SyncScheduler};
//! use eidetica_scheduler_adaptive::{Adaptive, AdaptiveOptions};
//!
//! let (peer, tree) = (SecretKey::from_bytes([7; 32]).public_key(), Id::from_bytes([1; 32]));
//! let mut scheduler = Adaptive::new(AdaptiveOptions::default(), 42);
//! let mut actions = Vec::new();
//! let related = Event::Related { peer, tree, preferences: Preferences::default() };
//! scheduler.handle(Duration::ZERO, related, &mut actions);
//! assert_eq!(actions, [Action::Sync { peer, tree }]);
//! assert!(!scheduler.pushes(&peer, &tree));
//! ```
//!
//! Bytes are known once an exchange has ended, so an hour may exceed its budget by what was under way. The time of day comes from
//! the engine, as UTC; `utc_offset_minutes` makes it local, and knows nothing of summer time.

mod adaptive;
mod budget;
mod options;
mod quiet;

use eidetica_kernel::options::{OptionFault, decode, defaults};
use eidetica_kernel::registry::{About, Descriptor, SchedulerFactory, Status};
use eidetica_kernel::{SyncScheduler, register_scheduler};

pub use adaptive::Adaptive;
pub use options::AdaptiveOptions;
pub use quiet::QuietHours;

impl SchedulerFactory for AdaptiveOptions {
    fn validate(&self) -> Vec<OptionFault> {
        self.faults()
    }

    fn open(&self, seed: u64) -> Box<dyn SyncScheduler> {
        Box::new(Adaptive::new(self.clone(), seed))
    }
}

/// The scheduler `adaptive`, as a config file selects it.
pub const ADAPTIVE: Descriptor<dyn SchedulerFactory> = Descriptor {
    about: About {
        name: "adaptive",
        summary: "Collects bursts of commits, backs off idle pairs, keeps an hourly budget of bytes and quiet hours.",
        status: Status::Experimental,
        trust: "Trusts nobody: a failing or refusing peer costs a bounded number of attempts and delays no other; what a peer sends counts as spent.",
        crate_name: env!("CARGO_PKG_NAME"),
        crate_version: env!("CARGO_PKG_VERSION"),
    },
    schema: || schemars::schema_for!(AdaptiveOptions).to_value(),
    defaults: defaults::<AdaptiveOptions>,
    parse: |options| Ok(Box::new(decode::<AdaptiveOptions>(options)?)),
};

register_scheduler!(ADAPTIVE);
