//! The store kind `table/1` of Eidetica: rows of a serde type under ids in order of creation, found by their fields' values.
//!
//! [`Table`] is what people read and write, [`RowId`] names a row, [`TableKind`] is the [`Store`] that the engine folds
//! payloads with. Two people who change different fields of a row both win; of two who change one field the later one does.
#![doc = include_str!("../FORMAT.md")]

mod cell;
mod draft;
mod export;
mod fold;
mod handle;
mod id;
mod index;
mod options;
mod payload;
mod read;
mod row;
mod rows;
mod shape;

pub use self::fold::{KIND, TableKind};
pub use self::handle::Table;
pub use self::id::RowId;
pub use self::index::{IndexValue, IntoRange};
pub use self::options::TableOptions;
pub use self::payload::{BODY_VERSION, DEPTH_MAX, FIELD_NAME_BYTES_MAX, FIELD_VALUE_BYTES_MAX};
pub use self::rows::Rows;

use std::sync::Arc;

use eidetica_kernel::registry::{About, Descriptor, OpenContext, Status, StoreFactory};
use eidetica_kernel::{Result, Store, options as kernel_options};

/// The plugin: store kind `table`.
pub const TABLE: Descriptor<dyn StoreFactory> = Descriptor {
    about: About {
        name: "table",
        summary: "Rows of typed fields, found by value; the last writer of a field wins",
        status: Status::Stable,
        trust: "trusts nobody: a payload that breaks a rule of the format has no effect on any replica",
        crate_name: env!("CARGO_PKG_NAME"),
        crate_version: env!("CARGO_PKG_VERSION"),
    },
    schema: || schemars::schema_for!(TableOptions).to_value(),
    defaults: kernel_options::defaults::<TableOptions>,
    parse: |options| {
        let options: TableOptions = kernel_options::decode(options)?;
        Ok(Box::new(options))
    },
};

eidetica_kernel::register_store!(TABLE);

impl StoreFactory for TableOptions {
    fn open(&self, _context: &OpenContext) -> Result<Arc<dyn Store>> {
        Ok(Arc::new(TableKind))
    }
}
