//! Wall time for people, hybrid logical clocks for entries.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result, excerpt};

/// How far an entry's clock may run ahead of the wall time of whoever takes it in.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(600);

/// Milliseconds since 1970-01-01T00:00:00Z. Text form: RFC 3339.
///
/// ```
/// use eidetica_kernel::Timestamp;
///
/// assert_eq!(Timestamp::from_millis(1_500).to_string(), "1970-01-01T00:00:01.5Z");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Timestamp(u64);

impl Timestamp {
    /// From milliseconds since the epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// `duration` later, saturating.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Time from `earlier` to this; zero if that is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match i64::try_from(self.0).ok().and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok()) {
            Some(time) => time.fmt(f),
            None => write!(f, "{} ms after 1970", self.0),
        }
    }
}

impl FromStr for Timestamp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = |reason: String| {
            Error::new(ErrorKind::InvalidInput, "reading the time", excerpt(text, 80), reason)
                .hint("times look like 2026-01-31T12:00:00Z")
        };
        let time: jiff::Timestamp = text.parse().map_err(|error: jiff::Error| invalid(error.to_string()))?;
        let millis = u64::try_from(time.as_millisecond()).map_err(|_| invalid("it is before 1970".into()))?;
        Ok(Self(millis))
    }
}

/// A hybrid logical clock: 48 bits of wall-clock milliseconds, 16 bits of counter (Kulkarni et al., 2014).
///
/// Greater than the clock of everything in the entry's past, and close to the time people saw.
///
/// ```
/// use eidetica_kernel::{HybridClock, Timestamp};
///
/// let now = Timestamp::from_millis(1_000);
/// let first = HybridClock::next(None, now).unwrap();
/// let second = HybridClock::next(Some(first), now).unwrap();
/// assert!(second > first);
/// assert_eq!(second.time(), now);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HybridClock(u64);

impl HybridClock {
    /// From its 64 bits.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Its 64 bits: milliseconds in the upper 48, counter in the lower 16.
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// The wall time in it.
    pub const fn time(self) -> Timestamp {
        Timestamp(self.0 >> 16)
    }

    /// The smallest clock above `seen` that isn't behind `now`; `None` when the 64 bits are used up.
    pub fn next(seen: Option<Self>, now: Timestamp) -> Option<Self> {
        let wall = now.0.min((1 << 48) - 1) << 16;
        match seen {
            Some(Self(seen)) if seen >= wall => seen.checked_add(1).map(Self),
            _ => Some(Self(wall)),
        }
    }

    /// When an entry of this clock may be taken in by a node whose wall time is `now`: `None` at once, else the moment.
    pub fn not_before(self, now: Timestamp) -> Option<Timestamp> {
        let earliest = Timestamp(self.time().0.saturating_sub(CLOCK_SKEW_MAX.as_millis() as u64));
        (earliest > now).then_some(earliest)
    }
}

impl fmt::Display for HybridClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.time(), self.0 & 0xffff)
    }
}
