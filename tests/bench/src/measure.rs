//! Rates, medians, memory.

use std::time::{Duration, Instant};

use crate::Result;

/// Runs `work` `times` times.
///
/// # Errors
/// The first of `work`'s.
pub(crate) fn timed(times: usize, mut work: impl FnMut(usize) -> Result<()>) -> Result<Duration> {
    let start = Instant::now();
    for at in 0..times {
        work(at)?;
    }
    Ok(start.elapsed())
}

/// Runs `work` `each` times on each of several threads; returns how often it ran per second. `work` is told the thread and
/// the turn.
///
/// # Errors
/// The first of `work`'s.
pub(crate) fn rate_of_threads(
    threads: usize,
    each: usize,
    work: impl Fn(usize, usize) -> Result<()> + Sync,
) -> Result<f64> {
    let (work, start) = (&work, Instant::now());
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || {
                    timed(each, |turn| work(thread, turn)).map(drop).map_err(|error| error.to_string())
                })
            })
            .collect();
        running
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|_| Err("a thread died".to_owned())))
    })?;
    Ok(rate(threads * each, start.elapsed()))
}

pub(crate) fn rate(times: usize, took: Duration) -> f64 {
    times as f64 / took.as_secs_f64()
}

/// The value below which `share` of the values lie; 0 of none.
pub(crate) fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (values.len() as f64 * share) as usize;
    values.get(at.min(values.len().saturating_sub(1))).copied().unwrap_or_default()
}

pub(crate) fn median(values: &mut [f64]) -> f64 {
    quantile(values, 0.5)
}

/// A figure and its limit, measured in turns, so that what else the machine does strikes both alike.
pub(crate) struct Pairs {
    values: Vec<f64>,
    limits: Vec<f64>,
    ratios: Vec<f64>,
}

/// Medians of [`Pairs`].
pub(crate) struct Paired {
    pub(crate) value: f64,
    pub(crate) limit: f64,
    pub(crate) ratio: f64,
}

impl Pairs {
    pub(crate) fn new() -> Self {
        Self { values: Vec::new(), limits: Vec::new(), ratios: Vec::new() }
    }

    pub(crate) fn push(&mut self, value: f64, limit: f64) {
        self.values.push(value);
        self.limits.push(limit);
        self.ratios.push(value / limit);
    }

    pub(crate) fn medians(mut self) -> Paired {
        Paired {
            value: median(&mut self.values),
            limit: median(&mut self.limits),
            ratio: median(&mut self.ratios),
        }
    }
}

/// The most memory this process held, in KiB.
pub(crate) fn peak_kib() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}

/// How long this thread has been on a processor: free of what others on the machine do.
pub(crate) fn thread_time() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(Duration::from_nanos(stat.split_whitespace().next().ok_or("no schedstat")?.parse()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_sorted_values() {
        let mut values = vec![5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!(median(&mut values), 3.0);
        assert_eq!(quantile(&mut values, 0.99), 5.0);
        assert_eq!(median(&mut []), 0.0);
    }
}
