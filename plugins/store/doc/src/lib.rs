//! The store kind `doc/1` of Eidetica: nested maps, lists and scalars that merge by themselves.
//!
//! [`DocStore`] is what people read and write, [`Doc`] and [`Value`] are what it holds, [`json`] reads and writes them as
//! JSON, and [`DocKind`] is the [`Store`] that the engine folds payloads with. Concurrent
//! writes to different places both stand; of concurrent writes to one place the later one stands; what is written inside
//! something after it was deleted, elsewhere, brings it back with what is new in it alone.
//!
//! ```
//! use eidetica_store_doc::{Value, json};
//!
//! let value = json::from_str(r#"{"tags": ["a", "b"]}"#)?;
//! assert_eq!(value.as_doc().and_then(|doc| doc.get_path("tags.1")), Some(&Value::from("b")));
//! # Ok::<(), eidetica_kernel::Error>(())
//! ```
#![doc = include_str!("../FORMAT.md")]

pub mod json;

mod doc;
mod draft;
mod export;
mod fold;
mod handle;
mod import;
mod options;
mod path;
mod payload;
mod place;
mod position;
mod read;
mod resolve;
mod row;
mod serde;
mod value;

pub use self::doc::Doc;
pub use self::fold::{DocKind, KIND};
pub use self::handle::DocStore;
pub use self::import::Import;
pub use self::options::DocOptions;
pub use self::path::{ROOT, Segment, ToPath};
pub use self::payload::{BODY_VERSION, OPERATIONS_MAX, PAYLOAD_PATH_BYTES_MAX, POSITION_BYTES_MAX};
pub use self::place::{DEPTH_MAX, PATH_BYTES_MAX};
pub use self::serde::{from_value, to_value};
pub use self::value::Value;

use std::sync::Arc;

use eidetica_kernel::registry::{About, Descriptor, OpenContext, Status, StoreFactory};
use eidetica_kernel::{Result, Store, options as kernel_options};

/// The plugin: store kind `doc`.
pub const DOC: Descriptor<dyn StoreFactory> = Descriptor {
    about: About {
        name: "doc",
        summary: "Nested maps, lists and scalars; the last writer of a place wins",
        status: Status::Stable,
        trust: "trusts nobody: a payload that breaks a rule of the format has no effect on any replica",
        crate_name: env!("CARGO_PKG_NAME"),
        crate_version: env!("CARGO_PKG_VERSION"),
    },
    schema: || schemars::schema_for!(DocOptions).to_value(),
    defaults: kernel_options::defaults::<DocOptions>,
    parse: |options| {
        let options: DocOptions = kernel_options::decode(options)?;
        Ok(Box::new(options))
    },
};

eidetica_kernel::register_store!(DOC);

impl StoreFactory for DocOptions {
    fn open(&self, _context: &OpenContext) -> Result<Arc<dyn Store>> {
        Ok(Arc::new(DocKind))
    }
}
