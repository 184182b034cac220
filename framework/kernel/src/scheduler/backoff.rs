//! Delays before retries: exponential, capped, with a share left to chance.

use std::time::Duration;

use super::Moment;

/// Draws delays; the same seed draws the same ones.
///
/// ```
/// use std::time::Duration;
///
/// use eidetica_kernel::scheduler::Backoff;
///
/// let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(64), 0.0, 42);
/// assert_eq!(backoff.delay(3), Duration::from_secs(4));
/// ```
#[derive(Clone, Debug)]
pub struct Backoff {
    base: Duration,
    max: Duration,
    jitter: f64,
    state: u64,
}

impl Backoff {
    /// Delays of `base`, doubled with each further failure up to `max`, less up to `jitter` (0 to 1) of it by chance.
    pub fn new(base: Duration, max: Duration, jitter: f64, seed: u64) -> Self {
        let jitter = if jitter.is_nan() { 0.0 } else { jitter.clamp(0.0, 1.0) };
        Self { base, max, jitter, state: seed }
    }

    /// The delay after the `failures`-th failure in a row (1, 2, …): never zero, never over the maximum (or a millisecond).
    pub fn delay(&mut self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let whole = self.base.saturating_mul(1 << doublings).min(self.max);
        self.shortened(whole)
    }

    /// `whole` less the share that is left to chance: never zero.
    pub fn shortened(&mut self, whole: Duration) -> Duration {
        whole.mul_f64(1.0 - self.jitter * self.chance()).max(Duration::from_millis(1))
    }

    /// A number in 0..1 (SplitMix64: Steele, Lea, Flood, 2014).
    fn chance(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        (mixed >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Failures in a row, and until when to wait because of them.
///
/// ```
/// use std::time::Duration;
///
/// use eidetica_kernel::scheduler::{Backoff, Wait};
///
/// let second = Duration::from_secs(1);
/// let mut backoff = Backoff::new(second, 64 * second, 0.0, 42);
/// let mut wait = Wait::default();
/// // Two exchanges that failed in one attempt to dial share one delay.
/// assert_eq!(wait.failed(second, &mut backoff), 2 * second);
/// assert_eq!(wait.failed(second, &mut backoff), 2 * second);
/// assert_eq!(wait.failed(2 * second, &mut backoff), 4 * second);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Wait {
    failures: u32,
    until: Option<Moment>,
}

impl Wait {
    /// Counts a failure, unless one is being waited for already; when the wait ends.
    pub fn failed(&mut self, now: Moment, backoff: &mut Backoff) -> Moment {
        match self.until(now) {
            Some(until) => until,
            None => {
                self.failures = self.failures.saturating_add(1);
                let until = now.saturating_add(backoff.delay(self.failures));
                self.until = Some(until);
                until
            }
        }
    }

    /// When the wait ends, if it hasn't.
    pub fn until(&self, now: Moment) -> Option<Moment> {
        self.until.filter(|until| *until > now)
    }

    /// Waits no longer; the next failure still counts as a further one.
    pub fn end(&mut self) {
        self.until = None;
    }

    /// Forgets every failure.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff(jitter: f64, seed: u64) -> Backoff {
        Backoff::new(Duration::from_secs(1), Duration::from_secs(64), jitter, seed)
    }

    #[test]
    fn delays_double_from_one_second_to_sixty_four_and_stay_there() {
        let mut backoff = backoff(0.0, 1);
        let delays: Vec<u64> = (1..=9).map(|failures| backoff.delay(failures).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 64, 64, 64]);
        assert_eq!(backoff.delay(u32::MAX).as_secs(), 64);
    }

    #[test]
    fn jitter_takes_at_most_its_share_and_repeats_with_the_seed() {
        let draw = |seed| {
            let mut backoff = backoff(0.2, seed);
            (0..1_000).map(|_| backoff.delay(7).as_secs_f64()).collect::<Vec<f64>>()
        };
        let delays = draw(5);
        assert_eq!(delays, draw(5));
        assert_ne!(delays, draw(6));
        assert!(delays.iter().all(|delay| (51.2..=64.0).contains(delay)), "{delays:?}");
        let mean = delays.iter().sum::<f64>() / 1_000.0;
        assert!((57.0..58.2).contains(&mean), "{mean}");
    }

    #[test]
    fn a_wait_that_was_ended_still_counts_its_failures() {
        let mut backoff = backoff(0.0, 1);
        let mut wait = Wait::default();
        wait.failed(Moment::ZERO, &mut backoff);
        wait.end();
        assert_eq!(wait.until(Moment::ZERO), None);
        assert_eq!(wait.failed(Moment::ZERO, &mut backoff), Duration::from_secs(2));
        wait.clear();
        assert_eq!(wait.failed(Moment::ZERO, &mut backoff), Duration::from_secs(1));
    }
}
