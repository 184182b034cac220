//! The scheduler `{{name}}`: syncs at intervals, and on nothing else.

mod options;
mod scheduler;

use eidetica_kernel::options::{decode, defaults};
use eidetica_kernel::registry::{About, Descriptor, SchedulerFactory, Status};

pub use self::options::{{Type}}Options;
pub use self::scheduler::{{Type}}Scheduler;

/// The scheduler `{{name}}`, as a config file selects it.
pub const {{CONST}}: Descriptor<dyn SchedulerFactory> = Descriptor {
    about: About {
        name: "{{name}}",
        summary: "Syncs every database with every peer at intervals",
        status: Status::Experimental,
        trust: "Trusts nobody: a peer that fails or refuses delays no other",
        crate_name: env!("CARGO_PKG_NAME"),
        crate_version: env!("CARGO_PKG_VERSION"),
    },
    schema: || schemars::schema_for!({{Type}}Options).to_value(),
    defaults: defaults::<{{Type}}Options>,
    parse: |options| Ok(Box::new(decode::<{{Type}}Options>(options)?)),
};

eidetica_kernel::register_scheduler!({{CONST}});
