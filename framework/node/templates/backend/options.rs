//! What can be tuned.

use std::sync::Arc;

use eidetica_kernel::Result;
use eidetica_kernel::backend::{Backend, BackendCapabilities};
use eidetica_kernel::options::OptionFault;
use eidetica_kernel::registry::{BackendFactory, OpenContext};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backend::{self, {{Type}}Backend};

/// Options of the backend `{{name}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct {{Type}}Options {
    /// Most rows held; a batch that would bring more is refused.
    pub rows_max: usize,
}

impl Default for {{Type}}Options {
    fn default() -> Self {
        Self { rows_max: 10_000_000 }
    }
}

impl BackendFactory for {{Type}}Options {
    fn validate(&self) -> Vec<OptionFault> {
        let none = self.rows_max == 0;
        none.then(|| OptionFault::new("rows_max", "must be at least 1, is 0")).into_iter().collect()
    }

    fn capabilities(&self) -> BackendCapabilities {
        backend::capabilities()
    }

    fn open(&self, _context: &OpenContext) -> Result<Arc<dyn Backend>> {
        Ok(Arc::new({{Type}}Backend::new(self.clone())))
    }
}
