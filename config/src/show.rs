//! Every value with its origin.

use std::collections::BTreeMap;
use std::fmt;

use eidetica_kernel::registry::Registry;
use figment::value::Value;

use crate::decode::{Reader, join};
use crate::sections::{AdmissionTable, Node};

/// One value of a configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// Its key, without a profile: `backend.file.path`.
    pub key: String,
    /// Its value; what looks secret is blanked.
    pub value: serde_json::Value,
    /// Where it was set: a file and its profile, an environment variable, a flag, or `default`.
    pub origin: String,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}  # {}", self.key, self.value, self.origin)
    }
}

/// What is set, and under it the defaults of what is used.
pub(crate) fn settings(reader: &Reader, registry: &Registry) -> Vec<Setting> {
    let mut rows = BTreeMap::new();
    set(reader, "", &reader.root, &mut rows);
    for plugin in registry.plugins() {
        let (kind, name) = (plugin.kind(), plugin.about().name);
        let used = match reader.root.find_ref(&format!("{kind}.use")) {
            Some(Value::String(_, used)) => used == name,
            Some(Value::Array(_, used)) => used.iter().any(|used| used.as_str() == Some(name)),
            _ => kind == "store" || kind == "transport",
        };
        if used {
            default(&format!("{kind}.{name}"), &plugin.defaults(), &mut rows);
        }
    }
    default("store.use", &serde_json::json!(registry.names("store")), &mut rows);
    let tables = [
        ("node", serde_json::to_value(Node::default())),
        ("admission", serde_json::to_value(AdmissionTable::default())),
    ];
    for (name, table) in tables {
        default(name, &table.unwrap_or_default(), &mut rows);
    }
    rows.into_iter()
        .map(|(key, (value, origin))| Setting { value: blanked(&key, value), key, origin })
        .collect()
}

type Rows = BTreeMap<String, (serde_json::Value, String)>;

fn set(reader: &Reader, key: &str, value: &Value, rows: &mut Rows) {
    match value {
        Value::Dict(_, dict) => {
            for (name, value) in dict {
                set(reader, &join(key, name), value, rows);
            }
        }
        Value::Array(_, items) if items.iter().any(|item| item.as_dict().is_some()) => {
            for (at, item) in items.iter().enumerate() {
                set(reader, &format!("{key}[{at}]"), item, rows);
            }
        }
        value => {
            let json = serde_json::to_value(value).unwrap_or_default();
            rows.insert(key.to_owned(), (json, reader.origin_of(value)));
        }
    }
}

fn default(key: &str, value: &serde_json::Value, rows: &mut Rows) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                default(&join(key, name), value, rows);
            }
        }
        value => {
            let inside = format!("{key}.");
            let is_set = rows.contains_key(key)
                || rows.range(inside.clone()..).next().is_some_and(|(set, _)| set.starts_with(&inside));
            if !is_set {
                rows.insert(key.to_owned(), (value.clone(), "default".to_owned()));
            }
        }
    }
}

/// The value without passwords.
fn blanked(key: &str, value: serde_json::Value) -> serde_json::Value {
    const SECRET: [&str; 4] = ["password", "passphrase", "secret", "token"];
    match value {
        serde_json::Value::String(_) if SECRET.iter().any(|secret| key.contains(secret)) => "…".into(),
        // scheme://user:password@host
        serde_json::Value::String(text) => match text.split_once("://").and_then(|(scheme, rest)| {
            let (user, host) = rest.split_once('@')?;
            Some(format!("{scheme}://{}:…@{host}", user.split_once(':')?.0))
        }) {
            Some(blanked) => blanked.into(),
            None => text.into(),
        },
        serde_json::Value::Array(items) => items.into_iter().map(|item| blanked(key, item)).collect(),
        other => other,
    }
}
