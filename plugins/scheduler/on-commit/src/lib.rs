//! The scheduler `on-commit` of Eidetica: syncs when something happens, and never by the clock, but for retries.
//!
//! For networks where links stay open and every peer pushes what it writes: at rest it costs nothing. What a peer writes that
//! doesn't push shows when something else happens. A config file selects it so:
//!
//! ```toml
//! [default.scheduler]
//! use = "on-commit"
//!
//! [default.scheduler.on-commit]
//! retry_max_seconds = 600
//! ```
//!
//! Without a config file:
//!
//! ```
//! use std::time::Duration;
//!
//! use eidetica_kernel::scheduler::{Action, Event, Preferences};
//! use eidetica_kernel::{Id, SecretKey, SyncScheduler};
//! use eidetica_scheduler_on_commit::{OnCommit, OnCommitOptions};
//!
//! let (peer, tree) = (SecretKey::from_bytes([7; 32]).public_key(), Id::from_bytes([1; 32]));
//! let mut scheduler = OnCommit::new(OnCommitOptions::default(), 42);
//! let mut actions = Vec::new();
//! let related = Event::Related { peer, tree, preferences: Preferences::default() };
//! scheduler.handle(Duration::ZERO, related, &mut actions);
//! assert_eq!(actions, [Action::Sync { peer, tree }]);
//! assert!(scheduler.pushes(&peer, &tree));
//! ```

mod on_commit;
mod options;

use eidetica_kernel::options::{OptionFault, decode, defaults};
use eidetica_kernel::registry::{About, Descriptor, SchedulerFactory, Status};
use eidetica_kernel::{SyncScheduler, register_scheduler};

pub use on_commit::OnCommit;
pub use options::OnCommitOptions;

impl SchedulerFactory for OnCommitOptions {
    fn validate(&self) -> Vec<OptionFault> {
        self.faults()
    }

    fn open(&self, seed: u64) -> Box<dyn SyncScheduler> {
        Box::new(OnCommit::new(self.clone(), seed))
    }
}

/// The scheduler `on-commit`, as a config file selects it.
pub const ON_COMMIT: Descriptor<dyn SchedulerFactory> = Descriptor {
    about: About {
        name: "on-commit",
        summary: "Syncs when something is committed, related or connected; retries with exponential backoff; no intervals.",
        status: Status::Stable,
        trust: "Trusts its peers to push what they write; a failing or refusing one costs a bounded number of attempts and delays no other.",
        crate_name: env!("CARGO_PKG_NAME"),
        crate_version: env!("CARGO_PKG_VERSION"),
    },
    schema: || schemars::schema_for!(OnCommitOptions).to_value(),
    defaults: defaults::<OnCommitOptions>,
    parse: |options| Ok(Box::new(decode::<OnCommitOptions>(options)?)),
};

register_scheduler!(ON_COMMIT);
