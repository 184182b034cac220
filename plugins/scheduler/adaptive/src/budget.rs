//! What was moved in the last hour, and when there is room for more.

use std::collections::VecDeque;
use std::time::Duration;

use eidetica_kernel::scheduler::Moment;

const MINUTE: Duration = Duration::from_secs(60);
/// An hour, and the minute that a count may have begun before what it counts.
pub(crate) const WINDOW: Duration = Duration::from_secs(61 * 60);

/// Bytes by the minute, for an hour.
#[derive(Debug)]
pub(crate) struct Budget {
    hourly_bytes: Option<u64>,
    /// The minute's begin, and the bytes in it; at most 62 of them.
    minutes: VecDeque<(Moment, u64)>,
}

impl Budget {
    pub(crate) fn new(hourly_bytes: Option<u64>) -> Self {
        Self { hourly_bytes, minutes: VecDeque::new() }
    }

    /// Counts bytes that were moved at `now`.
    pub(crate) fn spend(&mut self, now: Moment, bytes: u64) {
        if self.hourly_bytes.is_none() || bytes == 0 {
            return;
        }
        while self.minutes.front().is_some_and(|(begin, _)| begin.saturating_add(WINDOW) <= now) {
            self.minutes.pop_front();
        }
        let begin = Duration::from_secs(now.as_secs() / MINUTE.as_secs() * MINUTE.as_secs());
        match self.minutes.back_mut() {
            Some((last, spent)) if *last >= begin => *spent = spent.saturating_add(bytes),
            _ => self.minutes.push_back((begin, bytes)),
        }
    }

    /// The first moment from `at` on at which less than the budget was spent in the hour before.
    pub(crate) fn open(&self, at: Moment) -> Moment {
        let Some(most) = self.hourly_bytes else { return at };
        let running = |(begin, _): &&(Moment, u64)| begin.saturating_add(WINDOW) > at;
        let spent = self.minutes.iter().filter(running);
        let mut sum = spent.clone().fold(0_u64, |sum, (_, bytes)| sum.saturating_add(*bytes));
        let mut open = at;
        for (begin, bytes) in spent {
            if sum < most {
                break;
            }
            sum = sum.saturating_sub(*bytes);
            open = begin.saturating_add(WINDOW);
        }
        open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(n: u64) -> Duration {
        Duration::from_secs(60 * n)
    }

    #[test]
    fn a_spent_budget_opens_when_enough_of_it_is_an_hour_old() {
        let mut budget = Budget::new(Some(100));
        budget.spend(minutes(0), 60);
        budget.spend(minutes(10), 30);
        assert_eq!(budget.open(minutes(10)), minutes(10), "90 of 100 are spent");
        budget.spend(minutes(20), 30);
        assert_eq!(budget.open(minutes(20)), minutes(61), "60 are left from then on");
        budget.spend(minutes(30), 500);
        assert_eq!(budget.open(minutes(30)), minutes(91));
        assert_eq!(budget.open(minutes(91)), minutes(91));
    }

    #[test]
    fn without_a_budget_it_is_always_open_and_nothing_is_kept() {
        let mut budget = Budget::new(None);
        budget.spend(minutes(1), u64::MAX);
        assert_eq!(budget.open(minutes(1)), minutes(1));
        assert!(budget.minutes.is_empty());
    }

    #[test]
    fn an_hour_takes_a_bounded_number_of_counts() {
        let mut budget = Budget::new(Some(1));
        for second in 0..20_000 {
            budget.spend(Duration::from_secs(second), u64::MAX);
        }
        assert!(budget.minutes.len() <= 62, "{}", budget.minutes.len());
    }
}
