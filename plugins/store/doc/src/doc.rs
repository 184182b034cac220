//! A map of values, detached from any store.

use std::collections::{BTreeMap, btree_map};

use eidetica_kernel::{Error, ErrorKind, Result};

use crate::path::{Segment, ToPath};
use crate::value::Value;

/// A sorted map from text keys to values.
///
/// ```
/// use eidetica_store_doc::Doc;
///
/// let mut settings = Doc::new();
/// settings.set_string("name", "My Chat Room");
/// settings.set("members", 3);
/// assert_eq!(settings.get_string("name"), Some("My Chat Room"));
/// assert_eq!(settings.to_string(), r#"{"members":3,"name":"My Chat Room"}"#);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Doc(BTreeMap<String, Value>);

impl Doc {
    /// An empty one.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Sets the value under a key, taken verbatim: a dot is a dot.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<Value>) -> &mut Self {
        self.0.insert(key.into(), value.into());
        self
    }

    /// Sets text under a key.
    pub fn set_string(&mut self, key: impl Into<String>, value: impl Into<String>) -> &mut Self {
        self.set(key, Value::Text(value.into()))
    }

    /// The value under a key.
    pub fn get(&self, key: impl AsRef<str>) -> Option<&Value> {
        self.0.get(key.as_ref())
    }

    /// The value under a key, to change it.
    pub fn get_mut(&mut self, key: impl AsRef<str>) -> Option<&mut Value> {
        self.0.get_mut(key.as_ref())
    }

    /// The text under a key; `None` also for what isn't text.
    pub fn get_string(&self, key: impl AsRef<str>) -> Option<&str> {
        self.get(key).and_then(Value::as_str)
    }

    /// The value at a path: `"user.name"`, `"items.0"`.
    pub fn get_path(&self, path: impl ToPath) -> Option<&Value> {
        let mut segments = path.to_path().into_iter();
        let mut value = match segments.next()? {
            Segment::Key(key) => self.0.get(&key)?,
            Segment::Index(_) => return None,
        };
        for segment in segments {
            value = match (value, &segment) {
                (Value::Map(doc), Segment::Key(key)) => doc.0.get(key)?,
                (Value::List(list), segment) => list.get(segment.index()?)?,
                _ => return None,
            };
        }
        Some(value)
    }

    /// Reads a JSON object; strictly, as [`json::from_str`](crate::json::from_str).
    ///
    /// # Errors
    /// Those of [`json::from_str`](crate::json::from_str); [`ErrorKind::InvalidInput`] for what isn't an object.
    pub fn from_json(json: &str) -> Result<Self> {
        match crate::json::from_str(json)? {
            Value::Map(doc) => Ok(doc),
            other => {
                let reason = format!("it is {}, not a map", other.describe());
                Err(Error::new(ErrorKind::InvalidInput, "reading JSON", "", reason))
            }
        }
    }

    /// Compact JSON.
    ///
    /// # Errors
    /// Those of [`json::to_string`](crate::json::to_string).
    pub fn to_json(&self) -> Result<String> {
        crate::json::map_to_string(self)
    }

    /// Removes a key; its value, if there was one.
    pub fn remove(&mut self, key: impl AsRef<str>) -> Option<Value> {
        self.0.remove(key.as_ref())
    }

    /// `true` if the key is there.
    pub fn contains(&self, key: impl AsRef<str>) -> bool {
        self.0.contains_key(key.as_ref())
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// `true` without keys.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The keys, ascending by their bytes.
    pub fn keys(&self) -> btree_map::Keys<'_, String, Value> {
        self.0.keys()
    }

    /// Keys and values, ascending by key.
    pub fn iter(&self) -> btree_map::Iter<'_, String, Value> {
        self.0.iter()
    }
}

impl IntoIterator for Doc {
    type Item = (String, Value);
    type IntoIter = btree_map::IntoIter<String, Value>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Doc {
    type Item = (&'a String, &'a Value);
    type IntoIter = btree_map::Iter<'a, String, Value>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<K: Into<String>, V: Into<Value>> FromIterator<(K, V)> for Doc {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(items: I) -> Self {
        Self(items.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}

impl<K: Into<String>, V: Into<Value>> Extend<(K, V)> for Doc {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, items: I) {
        self.0.extend(items.into_iter().map(|(key, value)| (key.into(), value.into())));
    }
}

impl std::fmt::Display for Doc {
    /// Compact JSON, as [`Value`]'s.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        crate::json::display_map(self, f)
    }
}
