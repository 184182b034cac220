//! The scheduler `periodic` of Eidetica: syncs at intervals, and on nothing else.
//!
//! For fleets whose traffic has to be predictable, and for devices that sleep in between. A config file selects it so:
//!
//! ```toml
//! [default.scheduler]
//! use = "periodic"
//!
//! [default.scheduler.periodic]
//! interval_seconds = 900
//! ```
//!
//! Without a config file:
//!
//! ```
//! use std::time::Duration;
//!
//! use eidetica_kernel::scheduler::{Action, Event, Preferences};
//! use eidetica_kernel::{Id, SecretKey, SyncScheduler};
//! use eidetica_scheduler_periodic::{Periodic, PeriodicOptions};
//!
//! let (peer, tree) = (SecretKey::from_bytes([7; 32]).public_key(), Id::from_bytes([1; 32]));
//! let mut scheduler = Periodic::new(PeriodicOptions::default(), 42);
//! let mut actions = Vec::new();
//! let related = Event::Related { peer, tree, preferences: Preferences::default() };
//! scheduler.handle(Duration::ZERO, related, &mut actions);
//! assert_eq!(actions, [Action::Sync { peer, tree }]);
//! assert!(!scheduler.pushes(&peer, &tree));
//! ```

mod options;
mod periodic;

use eidetica_kernel::options::{OptionFault, decode, defaults};
use eidetica_kernel::registry::{About, Descriptor, SchedulerFactory, Status};
use eidetica_kernel::{SyncScheduler, register_scheduler};

pub use options::PeriodicOptions;
pub use periodic::Periodic;

impl SchedulerFactory for PeriodicOptions {
    fn validate(&self) -> Vec<OptionFault> {
        self.faults()
    }

    fn open(&self, seed: u64) -> Box<dyn SyncScheduler> {
        Box::new(Periodic::new(self.clone(), seed))
    }
}

/// The scheduler `periodic`, as a config file selects it.
pub const PERIODIC: Descriptor<dyn SchedulerFactory> = Descriptor {
    about: About {
        name: "periodic",
        summary: "Syncs every database with every peer at intervals; commits wait for the next one.",
        status: Status::Stable,
        trust: "Trusts nobody: a failing or refusing peer costs an attempt per interval at most and delays no other.",
        crate_name: env!("CARGO_PKG_NAME"),
        crate_version: env!("CARGO_PKG_VERSION"),
    },
    schema: || schemars::schema_for!(PeriodicOptions).to_value(),
    defaults: defaults::<PeriodicOptions>,
    parse: |options| Ok(Box::new(decode::<PeriodicOptions>(options)?)),
};

register_scheduler!(PERIODIC);
