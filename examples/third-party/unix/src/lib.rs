//! The transport `unix`: links over Unix sockets, between nodes of one machine.
//!
//! Addresses are absolute paths: `unix:/run/eidetica/alice.sock`. Who may open the socket's file may connect; the folder's rights
//! decide that. Each message is preceded by its length in two bytes, big-endian.

mod link;
mod listener;
mod options;
mod transport;

use eidetica_kernel::options::{decode, defaults};
use eidetica_kernel::registry::{About, Descriptor, Status, TransportFactory};

pub use options::UnixOptions;
pub use transport::UnixTransport;

/// The plugin `unix`.
pub const UNIX: Descriptor<dyn TransportFactory> = Descriptor {
    about: About {
        name: "unix",
        summary: "Links over Unix sockets, between nodes of one machine",
        status: Status::Experimental,
        trust: "Whoever may open the socket's file may connect and say anything",
        crate_name: env!("CARGO_PKG_NAME"),
        crate_version: env!("CARGO_PKG_VERSION"),
    },
    schema: || schemars::schema_for!(UnixOptions).to_value(),
    defaults: defaults::<UnixOptions>,
    parse: |given| Ok(Box::new(decode::<UnixOptions>(given)?)),
};

eidetica_kernel::register_transport!(UNIX);
