//! Tables to typed values: every fault found, each with its exact key and origin.
//!
//! Decoding goes over `&Value`, `erased-serde` and `serde_path_to_error`: figment's own extraction scrambles the keys of
//! nested errors. After a fault the offending key is taken out and the rest decoded again, so that one fault hides no other.

use eidetica_kernel::options::{Deserializer, OptionFault};
use figment::Figment;
use figment::value::{Dict, Value};

use crate::fault::{Fault, unknown};
use crate::layers::BUILT_IN_ORIGIN;

/// Faults of one table are reported up to this number.
const FAULTS_MAX: usize = 64;

/// The merged values of one profile, and what was found wrong with them.
pub(crate) struct Reader {
    figment: Figment,
    pub(crate) root: Value,
    /// Keys and types that no profile would accept.
    pub(crate) malformed: Vec<Fault>,
    /// Values that this profile doesn't accept.
    pub(crate) unfit: Vec<Fault>,
}

impl Reader {
    pub(crate) fn new(figment: Figment) -> Self {
        let mut unfit = Vec::new();
        let root = figment.find_value("").unwrap_or_else(|error| {
            unfit.push(Fault::new("", "", error.to_string()));
            Value::from(Dict::new())
        });
        Self { figment, root, malformed: Vec::new(), unfit }
    }

    /// Where the value at `key` was set; for a key that isn't there, where its table was.
    pub(crate) fn origin(&self, key: &str) -> String {
        let mut value = &self.root;
        for segment in segments(key) {
            let next = match (value, &segment) {
                (Value::Dict(_, dict), Segment::Key(name)) => dict.get(name),
                (Value::Array(_, items), Segment::Index(at)) => items.get(*at),
                _ => None,
            };
            match next {
                Some(next) => value = next,
                None => break,
            }
        }
        self.origin_of(value)
    }

    pub(crate) fn origin_of(&self, value: &Value) -> String {
        let metadata = self.figment.get_metadata(value.tag());
        metadata.map(|metadata| metadata.name.to_string()).unwrap_or_default()
    }

    /// `true` if everything in it comes from the built-in profiles.
    pub(crate) fn is_built_in(&self, value: &Value) -> bool {
        match value {
            Value::Dict(_, dict) if !dict.is_empty() => dict.values().all(|value| self.is_built_in(value)),
            value => self.origin_of(value).starts_with(BUILT_IN_ORIGIN),
        }
    }

    pub(crate) fn malformed(&mut self, key: impl Into<String>, message: impl Into<String>) {
        let key = key.into();
        let origin = self.origin(&key);
        self.malformed.push(Fault::new(key, origin, message));
    }

    pub(crate) fn unfit(&mut self, key: impl Into<String>, message: impl Into<String>) {
        let key = key.into();
        let origin = self.origin(&key);
        self.unfit.push(Fault::new(key, origin, message));
    }

    /// The table of that name, empty where there is none; where it is something else, its layer has reported it.
    pub(crate) fn table(&self, key: &str) -> Dict {
        self.root.find_ref(key).and_then(Value::as_dict).cloned().unwrap_or_default()
    }

    /// Decodes the table at `key`. With faults the value is made of what is right; `None` if that isn't enough.
    pub(crate) fn decode<T>(
        &mut self,
        key: &str,
        mut value: Value,
        decode: impl Fn(Deserializer<'_, '_>) -> Result<T, OptionFault>,
    ) -> Option<T> {
        let mut removed: Vec<String> = Vec::new();
        for _ in 0..FAULTS_MAX {
            let fault = match decode(&mut <dyn erased_serde::Deserializer<'_>>::erase(&value)) {
                Ok(decoded) => return Some(decoded),
                Err(fault) => fault,
            };
            let (path, message) = explain(fault);
            let full = join(key, &path);
            let origin = self.origin(&full);
            let typed = origin.starts_with("environment") || origin.starts_with("flag");
            let unquoted = typed && message.contains("string, found") && !message.contains("found string");
            let message = if unquoted { format!("{message}; quote it: '\"…\"'") } else { message };
            // What is wrong and required would be reported as missing once it has been taken out.
            if !removed.contains(&path) {
                self.malformed(full, message);
            }
            if !remove(&mut value, &segments(&path)) {
                return None;
            }
            removed.push(path);
        }
        None
    }
}

/// `prefix.path`, where neither need be there.
pub(crate) fn join(prefix: &str, path: &str) -> String {
    match (prefix.is_empty(), path.is_empty()) {
        (_, true) => prefix.to_owned(),
        (true, _) => path.to_owned(),
        _ if path.starts_with('[') => format!("{prefix}{path}"),
        _ => format!("{prefix}.{path}"),
    }
}

/// A value as it would be written.
pub(crate) fn text(value: &Value) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "a value".to_owned())
}

/// A path with the offending key at its end, and serde's or figment's message for people.
fn explain(fault: OptionFault) -> (String, String) {
    let OptionFault { path, message } = fault;
    // The first name in backticks is the offending one.
    let name = message.split('`').nth(1).unwrap_or_default();
    let at_name = match path.strip_suffix(name) {
        Some(parent) if parent.is_empty() || parent.ends_with('.') => path.clone(),
        _ => join(&path, name),
    };
    let expected =
        message.split_once("expected ").map(|(_, expected)| expected.replace('`', "")).unwrap_or_default();
    let expected = expected.strip_prefix("one of ").unwrap_or(&expected);
    let names = expected.split([',', ' ']).filter(|name| !matches!(*name, "" | "or" | "none"));
    let known: Vec<&str> = names.collect();
    if message.starts_with("unknown field") {
        (at_name, unknown("unknown key", name, &known))
    } else if message.starts_with("missing field") {
        (at_name, "required, and missing".to_owned())
    } else if message.starts_with("unknown variant") {
        (path, unknown(&format!("unknown value \"{name}\""), name, &known))
    } else {
        let parts = message
            .strip_prefix("invalid type")
            .or_else(|| message.strip_prefix("invalid value"))
            .and_then(|rest| rest.rsplit_once(", expected "));
        let better = parts.map(|(found, expected)| {
            let found = found.trim_start_matches([':', ' ']);
            let found = found.strip_prefix("found ").unwrap_or(found);
            let found = found.replace("unsigned int", "integer").replace("signed int", "integer");
            format!("expected {}, found {found}", in_words(expected))
        });
        (path, better.unwrap_or(message))
    }
}

/// What a Rust type is to who writes a file.
fn in_words(expected: &str) -> &str {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "path string" => "a path as a string",
        expected if expected.starts_with("struct ") || expected == "a map" => "a table",
        expected if expected.starts_with("enum ") => "a name as a string",
        expected => expected,
    }
}

enum Segment {
    Key(String),
    Index(usize),
}

/// `a.b[1].c` in parts.
fn segments(path: &str) -> Vec<Segment> {
    let mut segments = Vec::new();
    for part in path.split('.') {
        let (name, indices) = part.split_at(part.find('[').unwrap_or(part.len()));
        if !name.is_empty() {
            segments.push(Segment::Key(name.to_owned()));
        }
        let indices = indices.split(['[', ']']).filter_map(|index| index.parse().ok());
        segments.extend(indices.map(Segment::Index));
    }
    segments
}

/// Takes the value at that path out; of a list, the whole list, so that the places of others stay. `false` if nothing was.
fn remove(value: &mut Value, path: &[Segment]) -> bool {
    let Value::Dict(_, dict) = value else { return false };
    match path {
        [Segment::Key(name), rest @ ..] => {
            let inside = dict.get_mut(name).is_some_and(|inner| !rest.is_empty() && remove(inner, rest));
            inside || dict.remove(name).is_some()
        }
        _ => false,
    }
}
