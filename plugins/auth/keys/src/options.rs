//! What a config file can set for `keys`: nothing, since two nodes that judged differently would differ for ever.

use std::sync::Arc;

use eidetica_kernel::auth::AuthPolicy;
use eidetica_kernel::error::Result;
use eidetica_kernel::registry::{AuthFactory, OpenContext};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Keys;

/// Options of `keys`. There are none: the rules are part of the format.
///
/// ```
/// use eidetica_auth_keys::KeysOptions;
/// use eidetica_kernel::registry::{AuthFactory, OpenContext};
///
/// let policy = KeysOptions::default().open(&OpenContext::default())?;
/// assert_eq!(policy.kind(), "keys/1");
/// # Ok::<(), eidetica_kernel::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KeysOptions {}

impl AuthFactory for KeysOptions {
    fn open(&self, _context: &OpenContext) -> Result<Arc<dyn AuthPolicy>> {
        Ok(Arc::new(Keys::new()))
    }
}
