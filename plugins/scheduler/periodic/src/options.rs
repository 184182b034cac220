//! What can be tuned.

use std::time::Duration;

use eidetica_kernel::options::OptionFault;
use eidetica_kernel::scheduler::Backoff;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A year: intervals beyond it are mistakes, and keep arithmetic on moments far from its limits.
const SECONDS_MAX: u64 = 365 * 24 * 3_600;

/// Options of the scheduler `periodic`.
///
/// ```
/// use eidetica_kernel::registry::SchedulerFactory;
/// use eidetica_scheduler_periodic::PeriodicOptions;
///
/// let options = PeriodicOptions { interval_seconds: 0, ..PeriodicOptions::default() };
/// assert_eq!(options.validate()[0].to_string(), "interval_seconds: must be 1 to 31536000, is 0");
/// assert!(PeriodicOptions::default().validate().is_empty());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PeriodicOptions {
    /// Longest time between two exchanges of a database with a peer, in seconds; peers that can't be reached are tried as often. A
    /// smaller one that a user asks for wins.
    pub interval_seconds: u64,
    /// How much of the interval is left to chance, 0 to 1: 0.1 waits 90 to 100 % of it. What is due in that time is done in one
    /// wake-up.
    pub jitter: f64,
}

impl Default for PeriodicOptions {
    fn default() -> Self {
        Self { interval_seconds: 300, jitter: 0.1 }
    }
}

impl PeriodicOptions {
    /// What is wrong with the values.
    pub(crate) fn faults(&self) -> Vec<OptionFault> {
        let mut faults = Vec::new();
        let seconds = self.interval_seconds;
        if !(1..=SECONDS_MAX).contains(&seconds) {
            let fault = format!("must be 1 to {SECONDS_MAX}, is {seconds}");
            faults.push(OptionFault::new("interval_seconds", fault));
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            faults.push(OptionFault::new("jitter", format!("must be 0 to 1, is {}", self.jitter)));
        }
        faults
    }

    /// The nearest valid options: what is embedded without validation can't make the state machine misbehave.
    pub(crate) fn clamped(mut self) -> Self {
        self.interval_seconds = self.interval_seconds.clamp(1, SECONDS_MAX);
        self.jitter = if self.jitter.is_nan() { 0.0 } else { self.jitter.clamp(0.0, 1.0) };
        self
    }

    pub(crate) fn interval(&self) -> Duration {
        Duration::from_secs(self.interval_seconds)
    }

    pub(crate) fn chance(&self, seed: u64) -> Backoff {
        Backoff::new(self.interval(), self.interval(), self.jitter, seed)
    }
}
