//! The store `{{name}}`: one text, of which the last writer's wins.

mod options;
mod store;

use eidetica_kernel::options::{decode, defaults};
use eidetica_kernel::registry::{About, Descriptor, Status, StoreFactory};

pub use self::options::{{Type}}Options;
pub use self::store::{{{Type}}Register, {{Type}}Store, KIND};

/// The store `{{name}}`, as a config file selects it.
pub const {{CONST}}: Descriptor<dyn StoreFactory> = Descriptor {
    about: About {
        name: "{{name}}",
        summary: "One text; the last writer wins",
        status: Status::Experimental,
        trust: "Trusts nobody: a payload that is no text has no effect on any replica",
        crate_name: env!("CARGO_PKG_NAME"),
        crate_version: env!("CARGO_PKG_VERSION"),
    },
    schema: || schemars::schema_for!({{Type}}Options).to_value(),
    defaults: defaults::<{{Type}}Options>,
    parse: |options| Ok(Box::new(decode::<{{Type}}Options>(options)?)),
};

eidetica_kernel::register_store!({{CONST}});
