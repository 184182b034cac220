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

/// Makes the descriptions in a JSON schema readable for those who don't read Rust: examples in code go, and links become what
/// they show. [`Plugin::schema`](crate::registry::Plugin::schema) has done it.
///
/// ```
/// use eidetica_kernel::options::plain_descriptions;
///
/// let mut schema = serde_json::json!({ "description": "See [`Id`].\n\n```\nlet id = 1;\n```\n\nMore." });
/// plain_descriptions(&mut schema);
/// assert_eq!(schema["description"], "See `Id`.\n\nMore.");
/// ```
pub fn plain_descriptions(schema: &mut serde_json::Value) {
    match schema {
        serde_json::Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    // An option of this name is an object.
                    serde_json::Value::String(text) if key == "description" => *text = plain(text),
                    value => plain_descriptions(value),
                }
            }
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(plain_descriptions),
        _ => {}
    }
}

fn plain(text: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    let mut in_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
            continue;
        }
        let repeats = line.is_empty() && lines.last().is_none_or(|last| last.is_empty());
        if !in_code && !repeats {
            lines.push(line);
        }
    }
    unlinked(lines.join("\n").trim_end())
}

/// ``[`X`]`` and ``[`X`](target)`` become `` `X` ``.
fn unlinked(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, link)) = rest.split_once("[`") {
        let Some((name, after)) = link.split_once("`]") else { break };
        plain.extend([before, "`", name, "`"]);
        let target = after.strip_prefix('(').and_then(|target| target.split_once(')'));
        rest = target.map_or(after, |(_, after)| after);
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_lose_what_only_rust_can_read() {
        for (text, expected) in [
            ("Plain, [with] (brackets) and `code`.", "Plain, [with] (brackets) and `code`."),
            ("Those in [`A::b`] or [`C`](crate::C), see.", "Those in `A::b` or `C`, see."),
            ("One.\n\n```rust\nlet a = [`1`];\n```", "One."),
            ("One.\n\n```\nlet a = 1;\n```\n\nTwo.", "One.\n\nTwo."),
            ("An open [`link", "An open [`link"),
            ("", ""),
        ] {
            assert_eq!(plain(text), expected);
        }
    }

    #[test]
    fn an_option_called_description_is_left_alone() {
        let mut schema = serde_json::json!({ "properties": { "description": { "description": "[`A`]", "default": "[`A`]" } } });
        plain_descriptions(&mut schema);
        let expected = serde_json::json!({ "properties": { "description": { "description": "`A`", "default": "[`A`]" } } });
        assert_eq!(schema, expected);
    }
}
