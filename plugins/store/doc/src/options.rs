//! What can be tuned: nothing yet. Limits belong to the format, so that replicas agree.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Options of the store kind `doc`: none.
///
/// ```
/// let options = eidetica_store_doc::DocOptions::default();
/// assert_eq!(serde_json::to_string(&options).unwrap(), "{}");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DocOptions {}
