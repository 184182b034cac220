//! Type-erased plugin options: decoded by the plugin, described to the person who writes the file.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A type-erased deserializer, as [`Descriptor::parse`](crate::registry::Descriptor) takes it.
pub type Deserializer<'a, 'de> = &'a mut dyn erased_serde::Deserializer<'de>;

/// What is wrong with one option.
///
/// ```
/// use eidetica_kernel::options::OptionFault;
///
/// let fault = OptionFault::new("pool.size_max", "must be at least 1, is 0");
/// assert_eq!(fault.to_string(), "pool.size_max: must be at least 1, is 0");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionFault {
    /// Path of the option inside the plugin's table, segments joined by `.`; empty for the table itself.
    pub path: String,
    /// What was expected and what was found.
    pub message: String,
}

impl OptionFault {
    /// A fault of the option at `path`.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}

impl std::fmt::Display for OptionFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.path, self.message)
        }
    }
}

impl std::error::Error for OptionFault {}

/// Decodes a plugin's options, keeping the path of what didn't fit.
///
/// # Errors
/// The path and serde's message (expected, found) of the first option that doesn't fit.
pub fn decode<T: DeserializeOwned>(options: Deserializer<'_, '_>) -> Result<T, OptionFault> {
    serde_path_to_error::deserialize(options).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { String::new() } else { path };
        OptionFault::new(path, error.into_inner().to_string())
    })
}

/// The default options as JSON; what `plugins show` prints and what an empty table means.
pub fn defaults<T: Default + Serialize>() -> serde_json::Value {
    serde_json::to_value(T::default()).unwrap_or(serde_json::Value::Null)
}
