//! What can be tuned: nothing.

use std::sync::Arc;

use eidetica_kernel::backend::{Backend, BackendCapabilities};
use eidetica_kernel::registry::{BackendFactory, OpenContext};
use eidetica_kernel::{Error, error::Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::InMemory;

/// Options of the backend `memory`: there are none.
///
/// ```
/// use eidetica_backend_memory::Options;
/// use eidetica_kernel::registry::{BackendFactory, OpenContext};
///
/// let backend = Options::default().open(&OpenContext::default())?;
/// assert!(!backend.capabilities().durable);
/// # Ok::<(), eidetica_kernel::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {}

impl BackendFactory for Options {
    fn capabilities(&self) -> BackendCapabilities {
        BackendCapabilities::default()
    }

    fn open(&self, _context: &OpenContext) -> Result<Arc<dyn Backend>, Error> {
        Ok(Arc::new(InMemory::new()))
    }
}
