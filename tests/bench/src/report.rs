//! What was measured, as a table and as JSON.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The result of one benchmark.
#[derive(Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) name: String,
    pub(crate) about: String,
    pub(crate) lines: Vec<Line>,
    /// The most memory its process held, in KiB.
    pub(crate) peak_kib: u64,
}

/// One figure, the limit it is held against, and the bar it has to reach.
#[derive(Serialize, Deserialize)]
pub(crate) struct Line {
    what: String,
    value: f64,
    unit: String,
    limit: Option<Limit>,
    ratio: Option<f64>,
    bar: Option<Bar>,
    /// Whether the bar is reached.
    met: Option<bool>,
    note: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Limit {
    what: String,
    value: f64,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bar {
    RatioAtLeast(f64),
    AtLeast(f64),
    AtMost(f64),
}

impl Line {
    pub(crate) fn new(what: impl Into<String>, value: f64, unit: &str) -> Self {
        Self {
            what: what.into(),
            value,
            unit: unit.to_owned(),
            limit: None,
            ratio: None,
            bar: None,
            met: None,
            note: None,
        }
    }

    /// The most memory that this process has held, beside the keys and values that it holds now.
    pub(crate) fn peak_memory(held_bytes: u64) -> crate::Result<Self> {
        let peak = crate::measure::peak_kib()? as f64 * 1_024.0 / 1e6;
        let held = held_bytes as f64 / 1e6;
        Ok(Self::new("peak resident memory", peak, "MB")
            .limit("MB of keys and values", held)
            .note("lower is better"))
    }

    /// In the same unit as the figure; the ratio is their quotient.
    pub(crate) fn limit(self, what: impl Into<String>, value: f64) -> Self {
        let ratio = self.value / value;
        self.limit_with_ratio(what, value, ratio)
    }

    /// With a ratio that was measured otherwise, such as in pairs.
    pub(crate) fn limit_with_ratio(mut self, what: impl Into<String>, value: f64, ratio: f64) -> Self {
        self.limit = Some(Limit { what: what.into(), value });
        self.ratio = Some(ratio);
        self
    }

    pub(crate) fn bar(mut self, bar: Bar) -> Self {
        self.met = Some(match bar {
            Bar::RatioAtLeast(least) => self.ratio.is_some_and(|ratio| ratio >= least),
            Bar::AtLeast(least) => self.value >= least,
            Bar::AtMost(most) => self.value <= most,
        });
        self.bar = Some(bar);
        self
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {} (peak {} MiB)", self.name, self.about, self.peak_kib / 1_024)?;
        for line in &self.lines {
            write!(f, "  {:<44} {:>11} {:<10}", line.what, number(line.value), line.unit)?;
            if let Some(ratio) = line.ratio {
                write!(f, " {ratio:>7.3} of")?;
            }
            if let Some(limit) = &line.limit {
                write!(f, " {:>11} {}", number(limit.value), limit.what)?;
            }
            if let (Some(bar), Some(met)) = (line.bar, line.met) {
                write!(f, "; bar {bar}: {}", if met { "met" } else { "MISSED" })?;
            }
            writeln!(f)?;
            if let Some(note) = &line.note {
                writeln!(f, "    {note}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RatioAtLeast(least) => write!(f, "ratio >= {least}"),
            Self::AtLeast(least) => write!(f, ">= {}", number(*least)),
            Self::AtMost(most) => write!(f, "<= {}", number(*most)),
        }
    }
}

/// With thousands apart, and as many decimals as matter.
fn number(value: f64) -> String {
    if value < 100.0 {
        return format!("{value:.3}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(number(1_234_567.8), "1,234,568");
        assert_eq!(number(999.6), "1,000");
        assert_eq!(number(0.0123), "0.012");
    }

    #[test]
    fn a_bar_is_missed_without_a_ratio() {
        assert_eq!(Line::new("x", 1.0, "/s").bar(Bar::RatioAtLeast(0.1)).met, Some(false));
        assert_eq!(Line::new("x", 1.0, "/s").limit("y", 2.0).bar(Bar::RatioAtLeast(0.5)).met, Some(true));
    }
}
