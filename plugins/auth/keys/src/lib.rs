#![doc = include_str!("../RULES.md")]

mod bite;
mod count;
mod join;
mod judge;
mod keys;
mod options;
mod standing;
mod wire;

use eidetica_kernel::registry::{About, AuthFactory, Descriptor, Status};

pub use keys::{KIND, Keys};
pub use options::KeysOptions;
pub use wire::{BODY_BYTES_MAX, KEEP_MAX, NAMES_MAX};

/// The policy as a plugin.
pub const KEYS: Descriptor<dyn AuthFactory> = Descriptor {
    about: About {
        name: "keys",
        summary: "rights by key: read, write, admin and capped admission, with seniority and revocation (keys/1)",
        status: Status::Stable,
        trust: "nobody: every operation is signed and judged by its own past; a key is trusted as far as its grant goes",
        crate_name: env!("CARGO_PKG_NAME"),
        crate_version: env!("CARGO_PKG_VERSION"),
    },
    schema: || schemars::schema_for!(KeysOptions).to_value(),
    defaults: eidetica_kernel::options::defaults::<KeysOptions>,
    parse: |options| {
        eidetica_kernel::options::decode::<KeysOptions>(options)
            .map(|options| Box::new(options) as Box<dyn AuthFactory>)
    },
};

eidetica_kernel::register_auth!(KEYS);
