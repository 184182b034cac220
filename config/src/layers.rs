//! The layers: built-in profiles, file, environment, flags.

use std::path::{Path, PathBuf};

use eidetica_kernel::{Error, error::Result};
use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use crate::decode::text;
use crate::fault::{Fault, nearest};
use crate::sections::SECTIONS;

/// The profiles there are.
pub const PROFILES: [&str; 3] = ["default", "dev", "prod"];

/// Environment variables that begin with `EIDETICA_` and aren't keys: the command line reads them.
pub const RESERVED: [&str; 4] = ["EIDETICA_CONFIG", "EIDETICA_DATA", "EIDETICA_PASSWORD", "EIDETICA_PROFILE"];

const PREFIX: &str = "EIDETICA_";

/// How the origins of built-in values begin.
pub(crate) const BUILT_IN_ORIGIN: &str = "built-in profile";

const BUILT_IN: [(&str, &str); 3] = [
    ("built-in profile default", include_str!("../profiles/default.toml")),
    ("built-in profile dev", include_str!("../profiles/dev.toml")),
    ("built-in profile prod", include_str!("../profiles/prod.toml")),
];

/// A flag of its own that stands for a key: `--data DIR` for `node.data_dir`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// As it was typed: `--data`.
    pub flag: String,
    /// The key that it sets: `node.data_dir`.
    pub key: String,
    /// Its value, taken as text.
    pub value: String,
}

/// Where a configuration comes from.
///
/// ```
/// use eidetica_config::Sources;
///
/// let sources = Sources { profile: Some("dev".into()), ..Sources::file("node.toml").with_environment() };
/// assert!(sources.file_required);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// A TOML file.
    pub file: Option<PathBuf>,
    /// Whether the file must be there: one that a person named must.
    pub file_required: bool,
    /// One of [`PROFILES`]; `default` if `None`.
    pub profile: Option<String>,
    /// Environment variables; those that don't begin with `EIDETICA_`, and the [`RESERVED`], are passed over.
    pub env: Vec<(String, String)>,
    /// `key=value` each, as `--set` takes them; a value is TOML, and text where it isn't.
    pub set: Vec<String>,
    /// Flags of their own, above `set`.
    pub flags: Vec<Flag>,
}

impl Sources {
    /// A file that must be there, and nothing else.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self { file: Some(path.into()), file_required: true, ..Self::default() }
    }

    /// Adds this process's environment variables.
    #[must_use]
    pub fn with_environment(mut self) -> Self {
        let all = std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()));
        self.env.extend(all.filter(|(name, _)| name.starts_with(PREFIX)));
        self
    }
}

impl<P: AsRef<Path> + ?Sized> From<&P> for Sources {
    /// The file, which must be there, under this process's environment.
    fn from(path: &P) -> Self {
        Self::file(path.as_ref()).with_environment()
    }
}

impl From<PathBuf> for Sources {
    fn from(path: PathBuf) -> Self {
        Self::from(&path)
    }
}

/// The layers put together; what isn't a key or a profile at all is in `faults`.
pub(crate) struct Layers {
    pub(crate) figment: Figment,
    pub(crate) profile: &'static str,
    pub(crate) faults: Vec<Fault>,
}

impl Layers {
    /// # Errors
    /// When the file can't be read.
    pub(crate) fn read(sources: &Sources) -> Result<Self> {
        let mut layers = Self { figment: Figment::new(), profile: "default", faults: Vec::new() };
        for (origin, text) in BUILT_IN {
            layers.add_file(Is::BuiltIn, origin, text);
        }
        if let Some(path) = &sources.file {
            match std::fs::read_to_string(path) {
                Ok(text) => layers.add_file(Is::File, &path.display().to_string(), &text),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && !sources.file_required => {}
                Err(error) => {
                    return Err(Error::io("reading the configuration file", path.display(), error)
                        .hint("--config names it; without that flag a missing file is passed over"));
                }
            }
        }
        let mut env: Vec<&(String, String)> = sources.env.iter().collect();
        env.sort();
        for (name, text) in env {
            let Some(key) = name.strip_prefix(PREFIX).filter(|_| !RESERVED.contains(&name.as_str())) else {
                continue;
            };
            let key = key.to_lowercase().replace("__", ".");
            layers.add_key(format!("environment variable {name}"), &key, parse_value(text));
        }
        for set in &sources.set {
            match set.split_once('=') {
                Some((key, text)) => {
                    let key = key.trim();
                    layers.add_key(format!("flag --set {key}"), key, parse_value(text.trim()));
                }
                None => layers.faults.push(Fault::new(
                    "",
                    format!("flag --set {set}"),
                    "expected key=value, as in backend.use=file",
                )),
            }
        }
        for Flag { flag, key, value } in &sources.flags {
            layers.add_key(format!("flag {flag}"), key, Value::from(value.clone()));
        }
        layers.select(sources.profile.as_deref().unwrap_or("default"));
        Ok(layers)
    }

    fn select(&mut self, name: &str) {
        match PROFILES.into_iter().find(|profile| *profile == name) {
            Some(profile) => self.profile = profile,
            None => {
                let meant = nearest(name, &PROFILES)
                    .map(|profile| format!("did you mean \"{profile}\"? "))
                    .unwrap_or_default();
                let message = format!("no profile \"{name}\"; {meant}Known: {}", PROFILES.join(", "));
                self.faults.push(Fault::new("", "", message));
            }
        }
    }

    fn add_file(&mut self, layer: Is, origin: &str, text: &str) {
        let dict: Dict = match Toml::from_str(text) {
            Ok(dict) => dict,
            Err(error) => {
                let message = format!("not TOML: {}", error.to_string().trim_end());
                return self.faults.push(Fault::new("", origin, message));
            }
        };
        for (name, value) in dict {
            if !PROFILES.contains(&name.as_str()) {
                let message = if SECTIONS.contains(&name.as_str()) {
                    format!("tables belong to a profile: write [default.{name}]")
                } else {
                    crate::fault::unknown("no such profile", &name, &PROFILES)
                };
                self.faults.push(Fault::new(name, origin, message));
                continue;
            }
            match value.into_dict() {
                // A layer per profile, so that each value's origin names it.
                Some(table) => {
                    let origin = match layer {
                        Is::BuiltIn => origin.to_owned(),
                        Is::File => format!("{origin} [{name}]"),
                    };
                    self.add(origin, Map::from([(Profile::new(&name), table)]));
                }
                None => self.faults.push(Fault::new(
                    name,
                    origin,
                    "expected a table of tables, as in [default.backend]",
                )),
            }
        }
    }

    /// A single value above all profiles, with an origin of its own.
    fn add_key(&mut self, origin: String, key: &str, value: Value) {
        let mut segments: Vec<&str> = key.split('.').collect();
        if segments.iter().any(|segment| segment.is_empty()) {
            let message = "expected a key of names joined by dots, as backend.use";
            return self.faults.push(Fault::new(key, origin, message));
        }
        if PROFILES.contains(&segments[0]) {
            let message = "this is above all profiles: leave the profile out of the key";
            return self.faults.push(Fault::new(key, origin, message));
        }
        let mut dict = Dict::new();
        let first = segments.remove(0).to_owned();
        let nested = segments
            .into_iter()
            .rev()
            .fold(value, |value, segment| Value::from(Dict::from([(segment.to_owned(), value)])));
        dict.insert(first, nested);
        self.add(origin, Map::from([(Profile::Global, dict)]));
    }

    fn add(&mut self, origin: String, data: Map<Profile, Dict>) {
        // A layer above would cover what is no table, and it would be lost without a word.
        for (key, value) in data.values().flatten() {
            if let Some(fault) = misshapen(key, value) {
                self.faults.push(Fault::new(key, origin.clone(), fault));
            }
        }
        let figment = std::mem::take(&mut self.figment);
        self.figment = figment.merge(Layer { metadata: Metadata::named(origin), data });
    }
}

/// What is wrong with the value of a whole section.
pub(crate) fn misshapen(section: &str, value: &Value) -> Option<String> {
    let expected = match section {
        "peer" if value.as_array().is_none() => "a list of tables, [[default.peer]]",
        "auth" | "backend" | "scheduler" | "store" | "transport" if value.as_dict().is_none() => {
            let message =
                format!("expected a table, found {}; to choose a plugin set {section}.use", text(value));
            return Some(message);
        }
        "admission" | "node" if value.as_dict().is_none() => "a table",
        _ => return None,
    };
    Some(format!("expected {expected}, found {}", text(value)))
}

#[derive(Clone, Copy)]
enum Is {
    BuiltIn,
    File,
}

struct Layer {
    metadata: Metadata,
    data: Map<Profile, Dict>,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        self.metadata.clone()
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(self.data.clone())
    }
}

/// A TOML value; what isn't one is text, so that quotes can be left out.
fn parse_value(text: &str) -> Value {
    let parsed = Toml::from_str::<Dict>(&format!("value = {text}")).ok().filter(|dict| dict.len() == 1);
    let value = parsed.and_then(|mut dict| dict.remove("value"));
    // A date is a table for the TOML parser; here it is text like any other.
    let value = value.filter(|value| value.as_dict().is_none() || text.trim_start().starts_with('{'));
    value.unwrap_or_else(|| Value::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_toml_and_else_text() {
        for (text, json) in [
            ("5", "5"),
            ("true", "true"),
            ("\"5\"", "\"5\""),
            ("'a b'", "\"a b\""),
            ("[\"http\", \"iroh\"]", "[\"http\",\"iroh\"]"),
            ("{a = 1}", "{\"a\":1}"),
            ("/srv/data", "\"/srv/data\""),
            ("127.0.0.1:0", "\"127.0.0.1:0\""),
            ("1979-05-27", "\"1979-05-27\""),
            ("1\nother = 2", "\"1\\nother = 2\""),
            ("", "\"\""),
        ] {
            assert_eq!(serde_json::to_string(&parse_value(text)).unwrap(), json, "{text}");
        }
    }
}
