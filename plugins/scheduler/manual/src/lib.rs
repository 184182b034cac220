//! The scheduler `manual` of Eidetica: syncs only what somebody asks for.
//!
//! For devices that are on air when their user says so, and for programs that decide themselves. A config file selects it so:
//!
//! ```toml
//! [default.scheduler]
//! use = "manual"
//! ```
//!
//! Without a config file:
//!
//! ```
//! use std::time::Duration;
//!
//! use eidetica_kernel::scheduler::{Event, Preferences};
//! use eidetica_kernel::{Id, SecretKey, SyncScheduler};
//! use eidetica_scheduler_manual::Manual;
//!
//! let (peer, tree) = (SecretKey::from_bytes([7; 32]).public_key(), Id::from_bytes([1; 32]));
//! let mut actions = Vec::new();
//! Manual.handle(Duration::ZERO, Event::Related { peer, tree, preferences: Preferences::default() }, &mut actions);
//! assert!(actions.is_empty() && !Manual.pushes(&peer, &tree));
//! ```

mod manual;
mod options;

use eidetica_kernel::options::{decode, defaults};
use eidetica_kernel::registry::{About, Descriptor, SchedulerFactory, Status};
use eidetica_kernel::{SyncScheduler, register_scheduler};

pub use manual::Manual;
pub use options::ManualOptions;

impl SchedulerFactory for ManualOptions {
    fn open(&self, _seed: u64) -> Box<dyn SyncScheduler> {
        Box::new(Manual)
    }
}

/// The scheduler `manual`, as a config file selects it.
pub const MANUAL: Descriptor<dyn SchedulerFactory> = Descriptor {
    about: About {
        name: "manual",
        summary: "Syncs only what somebody asks for: no wake-ups, nothing pushed.",
        status: Status::Stable,
        trust: "Trusts nobody: no peer makes it do anything.",
        crate_name: env!("CARGO_PKG_NAME"),
        crate_version: env!("CARGO_PKG_VERSION"),
    },
    schema: || schemars::schema_for!(ManualOptions).to_value(),
    defaults: defaults::<ManualOptions>,
    parse: |options| Ok(Box::new(decode::<ManualOptions>(options)?)),
};

register_scheduler!(MANUAL);
