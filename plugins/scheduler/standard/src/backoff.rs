//! Delays before retries: exponential, capped, with a share left to chance.

use std::time::Duration;

use crate::options::StandardOptions;

/// Draws delays; the same seed draws the same ones.
#[derive(Debug)]
pub(crate) struct Backoff {
    base: Duration,
    max: Duration,
    jitter: f64,
    state: u64,
}

impl Backoff {
    pub(crate) fn new(options: &StandardOptions, seed: u64) -> Self {
        Self {
            base: Duration::from_millis(options.retry_base_ms),
            max: Duration::from_secs(options.retry_max_seconds),
            jitter: options.jitter,
            state: seed,
        }
    }

    /// The delay after the `failures`-th failure in a row (1, 2, …): never zero, never over the maximum.
    pub(crate) fn delay(&mut self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let whole = self.base.saturating_mul(1 << doublings).min(self.max);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_from_one_second_to_sixty_four_and_stay_there() {
        let options = StandardOptions { jitter: 0.0, ..StandardOptions::default() };
        let mut backoff = Backoff::new(&options, 1);
        let delays: Vec<u64> = (1..=9).map(|failures| backoff.delay(failures).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 64, 64, 64]);
        assert_eq!(backoff.delay(u32::MAX).as_secs(), 64);
    }

    #[test]
    fn jitter_takes_at_most_its_share_and_repeats_with_the_seed() {
        let draw = |seed| {
            let mut backoff = Backoff::new(&StandardOptions::default(), seed);
            (0..1_000).map(|_| backoff.delay(7).as_secs_f64()).collect::<Vec<f64>>()
        };
        let delays = draw(5);
        assert_eq!(delays, draw(5));
        assert_ne!(delays, draw(6));
        assert!(delays.iter().all(|delay| (51.2..=64.0).contains(delay)), "{delays:?}");
        let mean = delays.iter().sum::<f64>() / 1_000.0;
        assert!((57.0..58.2).contains(&mean), "{mean}");
    }
}
