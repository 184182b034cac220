//! What can be tuned.

use std::sync::Arc;

use eidetica_kernel::Result;
use eidetica_kernel::auth::AuthPolicy;
use eidetica_kernel::registry::{AuthFactory, OpenContext};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::auth::{{Type}}Rules;

/// Options of the policy `{{name}}`. There are none: replicas that judged differently would differ for ever.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct {{Type}}Options {}

impl AuthFactory for {{Type}}Options {
    fn open(&self, _context: &OpenContext) -> Result<Arc<dyn AuthPolicy>> {
        Ok(Arc::new({{Type}}Rules))
    }
}
