//! What can be tuned.

use std::time::Duration;

use eidetica_kernel::options::OptionFault;
use eidetica_kernel::scheduler::Backoff;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A year: delays beyond it are mistakes, and keep arithmetic on moments far from its limits.
const SECONDS_MAX: u64 = 365 * 24 * 3_600;

/// Options of the scheduler `standard`.
///
/// ```
/// use eidetica_kernel::registry::SchedulerFactory;
/// use eidetica_scheduler_standard::StandardOptions;
///
/// let options = StandardOptions { interval_seconds: 0, ..StandardOptions::default() };
/// assert_eq!(options.validate()[0].to_string(), "interval_seconds: must be 1 to 31536000, is 0");
/// assert!(StandardOptions::default().validate().is_empty());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StandardOptions {
    /// Whether commits are pushed at once, over links that are open too. A user's own preference can turn it off, not on.
    pub on_commit: bool,
    /// Longest time between two exchanges of a database with a peer, in seconds. A smaller one that a user asks for wins.
    pub interval_seconds: u64,
    /// Delay before the first retry of what failed, in milliseconds; each further one doubles it.
    pub retry_base_ms: u64,
    /// Longest delay between two retries, in seconds.
    pub retry_max_seconds: u64,
    /// While retries are pending, look at least this often, in seconds, whatever wake-up was asked for or lost.
    pub retry_tick_seconds: u64,
    /// How much of a retry's delay is left to chance, 0 to 1: 0.2 waits 80 to 100 % of it.
    pub jitter: f64,
    /// How often an open link is probed, in seconds; one that doesn't answer is closed and dialled again.
    pub health_check_seconds: u64,
}

impl Default for StandardOptions {
    fn default() -> Self {
        Self {
            on_commit: true,
            interval_seconds: 300,
            retry_base_ms: 1_000,
            retry_max_seconds: 64,
            retry_tick_seconds: 30,
            jitter: 0.2,
            health_check_seconds: 60,
        }
    }
}

impl StandardOptions {
    /// What is wrong with the values.
    pub(crate) fn faults(&self) -> Vec<OptionFault> {
        let mut faults = Vec::new();
        let mut within = |path: &str, value: u64, max: u64| {
            if !(1..=max).contains(&value) {
                faults.push(OptionFault::new(path, format!("must be 1 to {max}, is {value}")));
            }
        };
        within("interval_seconds", self.interval_seconds, SECONDS_MAX);
        within("retry_base_ms", self.retry_base_ms, SECONDS_MAX * 1_000);
        within("retry_max_seconds", self.retry_max_seconds, SECONDS_MAX);
        within("retry_tick_seconds", self.retry_tick_seconds, SECONDS_MAX);
        within("health_check_seconds", self.health_check_seconds, SECONDS_MAX);
        if faults.is_empty() && self.retry_base_ms > self.retry_max_seconds * 1_000 {
            faults.push(OptionFault::new(
                "retry_base_ms",
                format!(
                    "must be at most retry_max_seconds ({} ms), is {}",
                    self.retry_max_seconds * 1_000,
                    self.retry_base_ms
                ),
            ));
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            faults.push(OptionFault::new("jitter", format!("must be 0 to 1, is {}", self.jitter)));
        }
        faults
    }

    /// The nearest valid options: what is embedded without validation can't make the state machine misbehave.
    pub(crate) fn clamped(mut self) -> Self {
        for seconds in [
            &mut self.interval_seconds,
            &mut self.retry_max_seconds,
            &mut self.retry_tick_seconds,
            &mut self.health_check_seconds,
        ] {
            *seconds = (*seconds).clamp(1, SECONDS_MAX);
        }
        self.retry_base_ms = self.retry_base_ms.clamp(1, self.retry_max_seconds * 1_000);
        self.jitter = if self.jitter.is_nan() { 0.0 } else { self.jitter.clamp(0.0, 1.0) };
        self
    }

    pub(crate) fn interval(&self) -> Duration {
        Duration::from_secs(self.interval_seconds)
    }

    pub(crate) fn retry_max(&self) -> Duration {
        Duration::from_secs(self.retry_max_seconds)
    }

    pub(crate) fn backoff(&self, seed: u64) -> Backoff {
        Backoff::new(Duration::from_millis(self.retry_base_ms), self.retry_max(), self.jitter, seed)
    }

    pub(crate) fn retry_tick(&self) -> Duration {
        Duration::from_secs(self.retry_tick_seconds)
    }

    pub(crate) fn health_check(&self) -> Duration {
        Duration::from_secs(self.health_check_seconds)
    }
}
