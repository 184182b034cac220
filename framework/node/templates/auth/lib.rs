//! The auth `{{name}}`: only who began a tree changes rights in it.

mod auth;
mod options;

use eidetica_kernel::options::{decode, defaults};
use eidetica_kernel::registry::{About, AuthFactory, Descriptor, Status};

pub use self::auth::{{{Type}}Rules, KIND};
pub use self::options::{{Type}}Options;

/// The auth `{{name}}`, as a config file selects it.
pub const {{CONST}}: Descriptor<dyn AuthFactory> = Descriptor {
    about: About {
        name: "{{name}}",
        summary: "Only who began a tree changes rights in it",
        status: Status::Experimental,
        trust: "Trusts the key that began a tree with all of it, and others as far as it granted",
        crate_name: env!("CARGO_PKG_NAME"),
        crate_version: env!("CARGO_PKG_VERSION"),
    },
    schema: || schemars::schema_for!({{Type}}Options).to_value(),
    defaults: defaults::<{{Type}}Options>,
    parse: |options| Ok(Box::new(decode::<{{Type}}Options>(options)?)),
};

eidetica_kernel::register_auth!({{CONST}});
