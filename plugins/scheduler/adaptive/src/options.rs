//! What can be tuned.

use std::time::Duration;

use eidetica_kernel::options::OptionFault;
use eidetica_kernel::scheduler::Backoff;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quiet::{self, QuietHours};

/// A year: delays beyond it are mistakes, and keep arithmetic on moments far from its limits.
const SECONDS_MAX: u64 = 365 * 24 * 3_600;
/// Most parts of the day that can be quiet.
const QUIET_HOURS_MAX: usize = 24;
/// What clocks of people differ from UTC by at most, in minutes.
const OFFSET_MINUTES_MAX: i32 = 14 * 60;

/// Options of the scheduler `adaptive`.
///
/// ```
/// use eidetica_kernel::registry::SchedulerFactory;
/// use eidetica_scheduler_adaptive::AdaptiveOptions;
///
/// let night = vec!["22:00-06:00".parse()?];
/// assert!(AdaptiveOptions { quiet_hours: night, ..AdaptiveOptions::default() }.validate().is_empty());
/// let options = AdaptiveOptions { hourly_budget_bytes: Some(0), ..AdaptiveOptions::default() };
/// assert_eq!(options.validate()[0].to_string(), "hourly_budget_bytes: must be at least 1, is 0");
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdaptiveOptions {
    /// How long nothing more has to be committed before what was is sent, in milliseconds.
    pub debounce_ms: u64,
    /// How long commits are held back at most while more of them come, in milliseconds.
    pub debounce_max_ms: u64,
    /// Time between two exchanges of a database with a peer after something has changed, in seconds; doubled whenever nothing has.
    pub interval_min_seconds: u64,
    /// Longest time between two exchanges, in seconds. A smaller one that a user asks for wins.
    pub interval_max_seconds: u64,
    /// Once exchanges have moved so many bytes in an hour, both ways, none is begun; unset: no limit. Those under way are finished.
    pub hourly_budget_bytes: Option<u64>,
    /// Parts of the day in which nothing is begun, like "22:00-06:00".
    #[schemars(with = "Vec<String>")]
    pub quiet_hours: Vec<QuietHours>,
    /// How far the clock that quiet hours go by is ahead of UTC, in minutes.
    pub utc_offset_minutes: i32,
    /// Delay before the first retry of what failed, in milliseconds; each further one doubles it.
    pub retry_base_ms: u64,
    /// Longest delay between two retries, in seconds.
    pub retry_max_seconds: u64,
    /// How much of a retry's delay is left to chance, 0 to 1: 0.2 waits 80 to 100 % of it.
    pub jitter: f64,
}

impl Default for AdaptiveOptions {
    fn default() -> Self {
        Self {
            debounce_ms: 2_000,
            debounce_max_ms: 15_000,
            interval_min_seconds: 60,
            interval_max_seconds: 3_600,
            hourly_budget_bytes: None,
            quiet_hours: Vec::new(),
            utc_offset_minutes: 0,
            retry_base_ms: 2_000,
            retry_max_seconds: 900,
            jitter: 0.2,
        }
    }
}

impl AdaptiveOptions {
    /// What is wrong with the values.
    pub(crate) fn faults(&self) -> Vec<OptionFault> {
        let mut faults = Vec::new();
        let mut within = |path: &str, value: u64, max: u64| {
            if !(1..=max).contains(&value) {
                faults.push(OptionFault::new(path, format!("must be 1 to {max}, is {value}")));
            }
        };
        within("debounce_ms", self.debounce_ms, SECONDS_MAX * 1_000);
        within("debounce_max_ms", self.debounce_max_ms, SECONDS_MAX * 1_000);
        within("interval_min_seconds", self.interval_min_seconds, SECONDS_MAX);
        within("interval_max_seconds", self.interval_max_seconds, SECONDS_MAX);
        within("retry_base_ms", self.retry_base_ms, SECONDS_MAX * 1_000);
        within("retry_max_seconds", self.retry_max_seconds, SECONDS_MAX);
        if faults.is_empty() {
            let mut ordered = |path: &str, value: u64, of: &str, max: u64, unit: &str| {
                if value > max {
                    let fault = format!("must be at most {of} ({max} {unit}), is {value}");
                    faults.push(OptionFault::new(path, fault));
                }
            };
            ordered("debounce_ms", self.debounce_ms, "debounce_max_ms", self.debounce_max_ms, "ms");
            let (min, max) = (self.interval_min_seconds, self.interval_max_seconds);
            ordered("interval_min_seconds", min, "interval_max_seconds", max, "s");
            let max_ms = self.retry_max_seconds * 1_000;
            ordered("retry_base_ms", self.retry_base_ms, "retry_max_seconds", max_ms, "ms");
        }
        if self.hourly_budget_bytes == Some(0) {
            faults.push(OptionFault::new("hourly_budget_bytes", "must be at least 1, is 0"));
        }
        if self.quiet_hours.len() > QUIET_HOURS_MAX {
            let fault =
                format!("at most {QUIET_HOURS_MAX} parts of the day, found {}", self.quiet_hours.len());
            faults.push(OptionFault::new("quiet_hours", fault));
        } else if quiet::longest(&self.quiet_hours).is_none() {
            let fault =
                "the whole day is quiet: some minute must be left (to sync only when asked, use \"manual\")";
            faults.push(OptionFault::new("quiet_hours", fault));
        }
        if !(-OFFSET_MINUTES_MAX..=OFFSET_MINUTES_MAX).contains(&self.utc_offset_minutes) {
            let fault = format!(
                "must be -{OFFSET_MINUTES_MAX} to {OFFSET_MINUTES_MAX}, is {}",
                self.utc_offset_minutes
            );
            faults.push(OptionFault::new("utc_offset_minutes", fault));
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            faults.push(OptionFault::new("jitter", format!("must be 0 to 1, is {}", self.jitter)));
        }
        faults
    }

    /// The nearest valid options: what is embedded without validation can't make the state machine misbehave.
    pub(crate) fn clamped(mut self) -> Self {
        self.debounce_max_ms = self.debounce_max_ms.clamp(1, SECONDS_MAX * 1_000);
        self.debounce_ms = self.debounce_ms.clamp(1, self.debounce_max_ms);
        self.interval_max_seconds = self.interval_max_seconds.clamp(1, SECONDS_MAX);
        self.interval_min_seconds = self.interval_min_seconds.clamp(1, self.interval_max_seconds);
        self.hourly_budget_bytes = self.hourly_budget_bytes.map(|bytes| bytes.max(1));
        self.retry_max_seconds = self.retry_max_seconds.clamp(1, SECONDS_MAX);
        self.retry_base_ms = self.retry_base_ms.clamp(1, self.retry_max_seconds * 1_000);
        self.jitter = if self.jitter.is_nan() { 0.0 } else { self.jitter.clamp(0.0, 1.0) };
        self.utc_offset_minutes = self.utc_offset_minutes.clamp(-OFFSET_MINUTES_MAX, OFFSET_MINUTES_MAX);
        self.quiet_hours.truncate(QUIET_HOURS_MAX);
        while quiet::longest(&self.quiet_hours).is_none() {
            self.quiet_hours.pop();
        }
        self
    }

    pub(crate) fn debounce(&self) -> Duration {
        Duration::from_millis(self.debounce_ms)
    }

    pub(crate) fn debounce_max(&self) -> Duration {
        Duration::from_millis(self.debounce_max_ms)
    }

    pub(crate) fn interval_min(&self) -> Duration {
        Duration::from_secs(self.interval_min_seconds)
    }

    pub(crate) fn interval_max(&self) -> Duration {
        Duration::from_secs(self.interval_max_seconds)
    }

    pub(crate) fn retry_max(&self) -> Duration {
        Duration::from_secs(self.retry_max_seconds)
    }

    pub(crate) fn backoff(&self, seed: u64) -> Backoff {
        Backoff::new(Duration::from_millis(self.retry_base_ms), self.retry_max(), self.jitter, seed)
    }
}
