//! What can be tuned: nothing.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Options of the scheduler `manual`; there are none.
///
/// ```
/// use eidetica_kernel::registry::SchedulerFactory;
/// use eidetica_scheduler_manual::ManualOptions;
///
/// assert_eq!(ManualOptions::default().open(42).next_wakeup(), None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ManualOptions {}
