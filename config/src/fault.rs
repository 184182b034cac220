//! What is wrong with a configuration, for people: key, origin, expectation.

use std::fmt;

use eidetica_kernel::{Error, ErrorKind};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The exact key, without its profile: `backend.file.path`; empty for a whole file.
    pub key: String,
    /// Where it was set: a file and its profile, an environment variable, a flag.
    pub origin: String,
    /// What was expected, and what was found.
    pub message: String,
}

impl Fault {
    pub(crate) fn new(key: impl Into<String>, origin: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), origin: origin.into(), message: message.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, origin, message } = self;
        match (key.is_empty(), origin.is_empty()) {
            (true, true) => write!(f, "{message}"),
            (true, false) => write!(f, "{origin}: {message}"),
            (false, true) => write!(f, "{key}: {message}"),
            (false, false) => write!(f, "{key} ({origin}): {message}"),
        }
    }
}

/// Everything that is wrong, as the source of the error that [`Config::load`](crate::Config::load) returns.
#[derive(Debug)]
struct Faults(Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = &self.0[..] {
            return only.fmt(f);
        }
        write!(f, "{} faults", self.0.len())?;
        self.0.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

impl std::error::Error for Faults {}

/// The single faults in an error of [`Config::load`](crate::Config::load), sorted by key; none for other errors.
///
/// ```
/// use eidetica_config::{Config, Sources, faults};
///
/// let sources = Sources { profile: Some("pord".into()), ..Sources::default() };
/// let error = Config::load(sources).unwrap_err();
/// assert_eq!(
///     faults(&error)[0].message,
///     "no profile \"pord\"; did you mean \"prod\"? Known: default, dev, prod"
/// );
/// ```
pub fn faults(error: &Error) -> &[Fault] {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<Faults>());
    source.map_or(&[], |faults| &faults.0)
}

/// One error of all of them.
pub(crate) fn error(mut faults: Vec<Fault>) -> Error {
    faults.sort();
    faults.dedup();
    let faults = Faults(faults);
    Error::new(ErrorKind::InvalidInput, "reading the configuration", "", &faults).caused_by(faults)
}

/// `unknown key; did you mean …?`, or the list of what is known.
pub(crate) fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    match nearest(name, known) {
        Some(nearest) => format!("{what}; did you mean \"{nearest}\"?"),
        None if known.is_empty() => format!("{what}; there are none here"),
        None => format!("{what}; known: {}", known.join(", ")),
    }
}

/// The known name that `name` is probably meant to be.
pub(crate) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let name = name.to_lowercase().replace('-', "_");
    let far = (name.chars().count() / 3).max(1);
    let near = known.iter().map(|known| (distance(&name, &known.replace('-', "_")), *known));
    near.filter(|(distance, _)| *distance <= far).min().map(|(_, known)| known).or_else(|| {
        // `interval` for `interval_seconds`.
        let longer = |known: &&&str| name.len() >= 3 && known.starts_with(&name);
        known.iter().find(longer).copied()
    })
}

/// Edits from one text to the other: insertions, deletions, substitutions, swaps of neighbours.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let differ = usize::from(a[i - 1] != b[j - 1]);
                let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + differ);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(rows[i - 2][j - 2] + 1);
                }
                best
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_find_their_name() {
        let known = ["interval_seconds", "jitter", "on_commit", "path"];
        for (typed, meant) in [
            ("jiter", Some("jitter")),
            ("pth", Some("path")),
            ("paht", Some("path")),
            ("on-commit", Some("on_commit")),
            ("interval", Some("interval_seconds")),
            ("Jitter", Some("jitter")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, &known), meant, "{typed}");
        }
    }
}
