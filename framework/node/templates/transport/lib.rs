//! The transport `{{name}}`: nodes of one process reach each other by name.

mod options;
mod transport;

use eidetica_kernel::options::{decode, defaults};
use eidetica_kernel::registry::{About, Descriptor, Status, TransportFactory};

pub use self::options::{{Type}}Options;
pub use self::transport::{{{Type}}Network, {{Type}}Transport};

/// The transport `{{name}}`, as a config file selects it.
pub const {{CONST}}: Descriptor<dyn TransportFactory> = Descriptor {
    about: About {
        name: "{{name}}",
        summary: "Links between nodes of one process, by name",
        status: Status::Experimental,
        trust: "Whoever runs in this process may connect and say anything",
        crate_name: env!("CARGO_PKG_NAME"),
        crate_version: env!("CARGO_PKG_VERSION"),
    },
    schema: || schemars::schema_for!({{Type}}Options).to_value(),
    defaults: defaults::<{{Type}}Options>,
    parse: |options| Ok(Box::new(decode::<{{Type}}Options>(options)?)),
};

eidetica_kernel::register_transport!({{CONST}});
