//! Hours of the day in which nothing is begun.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use eidetica_kernel::Timestamp;
use eidetica_kernel::scheduler::Moment;
use serde::{Deserialize, Serialize};

const MINUTES: u32 = 24 * 60;
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(60 * MINUTES as u64);

/// A part of every day, from a minute on until before another: `22:00-06:00`.
///
/// ```
/// use eidetica_scheduler_adaptive::QuietHours;
///
/// let night: QuietHours = "22:00-06:30".parse()?;
/// assert_eq!(night.to_string(), "22:00-06:30");
/// assert!("22:00-25:00".parse::<QuietHours>().is_err());
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct QuietHours {
    /// Minutes after midnight.
    from: u32,
    /// Minutes after midnight; of the next day if it isn't after `from`.
    until: u32,
}

impl QuietHours {
    /// How long it lasts, in minutes.
    fn minutes(self) -> u32 {
        (self.until + MINUTES - self.from - 1) % MINUTES + 1
    }

    /// How much of it is left at a time of day, if that lies in it.
    fn left(self, time: Duration) -> Option<Duration> {
        let from = self.from * MINUTE;
        let since = if time < from { time + DAY - from } else { time - from };
        (self.minutes() * MINUTE).checked_sub(since).filter(|left| !left.is_zero())
    }
}

impl fmt::Display for QuietHours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, until) = (self.from, self.until);
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, until / 60, until % 60)
    }
}

impl FromStr for QuietHours {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let minutes = |text: &str| {
            let (hours, minutes) = text.split_once(':')?;
            let two = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
            if !two(hours) || !two(minutes) {
                return None;
            }
            let (hours, minutes): (u32, u32) = (hours.parse().ok()?, minutes.parse().ok()?);
            (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
        };
        let parsed = text.split_once('-').and_then(|(from, until)| Some((minutes(from)?, minutes(until)?)));
        match parsed {
            Some((from, until)) if from != until => Ok(Self { from, until }),
            _ => Err(format!("expected two times of day like \"22:00-06:00\", found {text:.40?}")),
        }
    }
}

impl TryFrom<String> for QuietHours {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<QuietHours> for String {
    fn from(hours: QuietHours) -> Self {
        hours.to_string()
    }
}

/// The quiet hours, and the time of day.
#[derive(Debug)]
pub(crate) struct Quiet {
    hours: Vec<QuietHours>,
    /// What the clock that they go by is ahead of UTC, or a day more.
    offset: Duration,
    /// A time of day, and when it was.
    told: Option<(Moment, Timestamp)>,
}

impl Quiet {
    pub(crate) fn new(hours: Vec<QuietHours>, utc_offset_minutes: i32) -> Self {
        let minutes = utc_offset_minutes.rem_euclid(MINUTES.cast_signed()).unsigned_abs();
        Self { hours, offset: minutes * MINUTE, told: None }
    }

    /// It is `wall` at `now`.
    pub(crate) fn told(&mut self, now: Moment, wall: Timestamp) {
        self.told = Some((now, wall));
    }

    /// The first moment from `at` on that isn't quiet. Before the time of day is known, none is.
    pub(crate) fn end(&self, at: Moment) -> Moment {
        let Some((told_at, wall)) = self.told else { return at };
        let mut at = at;
        // Each turn ends one of the hours; they may follow each other, but not round the clock.
        for _ in 0..=self.hours.len() {
            let local = Duration::from_millis(wall.as_millis())
                .saturating_add(self.offset)
                .saturating_add(at.saturating_sub(told_at));
            let time = Duration::new(local.as_secs() % DAY.as_secs(), local.subsec_nanos());
            let Some(left) = self.hours.iter().filter_map(|hours| hours.left(time)).max() else { break };
            at = at.saturating_add(left);
        }
        at
    }
}

/// The longest time of a day that is quiet without a break; `None` if all of it is.
pub(crate) fn longest(hours: &[QuietHours]) -> Option<Duration> {
    let quiet = |minute: u32| hours.iter().any(|hours| hours.left(minute % MINUTES * MINUTE).is_some());
    let loud = (0..MINUTES).find(|minute| !quiet(*minute))?;
    let (mut longest, mut running) = (0, 0);
    for minute in loud..loud + MINUTES {
        running = if quiet(minute) { running + 1 } else { 0 };
        longest = longest.max(running);
    }
    Some(Duration::from_secs(longest * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(texts: &[&str]) -> Vec<QuietHours> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// When quiet ends that is entered at `at`, with midnight UTC at moment zero.
    fn end(texts: &[&str], offset: i32, at: &str) -> String {
        let mut quiet = Quiet::new(hours(texts), offset);
        quiet.told(Moment::ZERO, Timestamp::from_millis(20 * 86_400_000));
        let at: QuietHours = format!("{at}-23:59").parse().unwrap();
        let end = quiet.end(Duration::from_secs(u64::from(at.from) * 60)).as_secs() / 60;
        format!("{:02}:{:02}", end / 60, end % 60)
    }

    #[test]
    fn quiet_ends_where_it_says_over_midnight_too() {
        let night = ["22:00-06:00"];
        assert_eq!(end(&night, 0, "12:00"), "12:00");
        assert_eq!(end(&night, 0, "21:59"), "21:59");
        assert_eq!(end(&night, 0, "22:00"), "30:00");
        assert_eq!(end(&night, 0, "05:59"), "06:00");
        assert_eq!(end(&night, 0, "06:00"), "06:00");
        assert_eq!(end(&night, 120, "20:30"), "28:00", "two hours ahead of UTC it is half past ten");
        assert_eq!(end(&["00:00-01:00", "01:00-02:00", "01:30-03:00"], 0, "00:10"), "03:00");
    }

    #[test]
    fn the_longest_quiet_time_joins_what_meets() {
        assert_eq!(longest(&[]), Some(Duration::ZERO));
        assert_eq!(longest(&hours(&["22:00-00:00", "00:00-01:00", "12:00-13:00"])), Some(3 * HOUR));
        assert_eq!(longest(&hours(&["00:00-12:00", "11:00-00:00"])), None);
    }

    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn other_texts_are_no_quiet_hours() {
        for text in
            ["", "22:00", "22-06", "22:00-22:00", "24:00-01:00", "1:00-2:00", "22:00-06:00 ", "+1:00-02:00"]
        {
            let error = text.parse::<QuietHours>().unwrap_err();
            assert!(error.contains("22:00-06:00"), "{error}");
        }
    }
}
