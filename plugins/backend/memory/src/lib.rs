//! The backend `memory` of Eidetica: rows in this process, gone with it.
//!
//! For tests, caches and short-lived nodes. Reads never wait for a snapshot and a snapshot never slows a write down by
//! more than keeping the one value it replaces.
//!
//! ```
//! use eidetica_backend_memory::InMemory;
//! use eidetica_kernel::backend::{Backend, Batch};
//!
//! let backend = InMemory::new();
//! let mut batch = Batch::new();
//! batch.expect_absent("greeting").put("greeting", "hello");
//! backend.commit(batch)?;
//! assert_eq!(backend.get(b"greeting")?.as_deref(), Some(&b"hello"[..]));
//! # Ok::<(), eidetica_kernel::Error>(())
//! ```

mod key;
mod memory;
mod options;
mod rows;

use eidetica_kernel::options::{decode, defaults};
use eidetica_kernel::registry::{About, BackendFactory, Descriptor, Status};

pub use memory::InMemory;
pub use options::Options;

/// The plugin `memory`.
pub const MEMORY: Descriptor<dyn BackendFactory> = Descriptor {
    about: About {
        name: "memory",
        summary: "Rows in this process, gone with it",
        status: Status::Stable,
        trust: "Whoever can read this process's memory reads the rows.",
        crate_name: env!("CARGO_PKG_NAME"),
        crate_version: env!("CARGO_PKG_VERSION"),
    },
    schema: || schemars::schema_for!(Options).to_value(),
    defaults: defaults::<Options>,
    parse: |options| Ok(Box::new(decode::<Options>(options)?)),
};

eidetica_kernel::register_backend!(MEMORY);
