//! What can be tuned.

use std::sync::Arc;

use eidetica_kernel::registry::{OpenContext, StoreFactory};
use eidetica_kernel::{Result, Store};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::store::{{Type}}Store;

/// Options of the store kind `{{name}}`. There are none: replicas that folded payloads differently would differ for ever.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct {{Type}}Options {}

impl StoreFactory for {{Type}}Options {
    fn open(&self, _context: &OpenContext) -> Result<Arc<dyn Store>> {
        Ok(Arc::new({{Type}}Store))
    }
}
