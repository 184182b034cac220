//! What can be tuned.

use eidetica_kernel::options::OptionFault;
use eidetica_kernel::registry::SchedulerFactory;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scheduler::{{Type}}Scheduler;

/// A year: longer intervals are mistakes.
pub(crate) const SECONDS_MAX: u64 = 365 * 24 * 3_600;

/// Options of the scheduler `{{name}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct {{Type}}Options {
    /// Longest time between two exchanges of a database with a peer, in seconds. A smaller one that a user asks for wins.
    pub interval_seconds: u64,
}

impl Default for {{Type}}Options {
    fn default() -> Self {
        Self { interval_seconds: 300 }
    }
}

impl SchedulerFactory for {{Type}}Options {
    fn validate(&self) -> Vec<OptionFault> {
        let seconds = self.interval_seconds;
        let wrong = !(1..=SECONDS_MAX).contains(&seconds);
        let fault = || OptionFault::new("interval_seconds", format!("must be 1 to {SECONDS_MAX}, is {seconds}"));
        wrong.then(fault).into_iter().collect()
    }

    fn open(&self, seed: u64) -> Box<dyn eidetica_kernel::SyncScheduler> {
        Box::new({{Type}}Scheduler::new(self.clone(), seed))
    }
}
