//! The backend `{{name}}`: rows in a sorted map of this process, gone with it.

mod backend;
mod options;

use eidetica_kernel::options::{decode, defaults};
use eidetica_kernel::registry::{About, BackendFactory, Descriptor, Status};

pub use self::backend::{{Type}}Backend;
pub use self::options::{{Type}}Options;

/// The backend `{{name}}`, as a config file selects it.
pub const {{CONST}}: Descriptor<dyn BackendFactory> = Descriptor {
    about: About {
        name: "{{name}}",
        summary: "Rows in a sorted map, gone with the process",
        status: Status::Experimental,
        trust: "Trusts the memory of its process",
        crate_name: env!("CARGO_PKG_NAME"),
        crate_version: env!("CARGO_PKG_VERSION"),
    },
    schema: || schemars::schema_for!({{Type}}Options).to_value(),
    defaults: defaults::<{{Type}}Options>,
    parse: |options| Ok(Box::new(decode::<{{Type}}Options>(options)?)),
};

eidetica_kernel::register_backend!({{CONST}});
