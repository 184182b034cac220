//! `plugins show`: what a plugin is, and its options as a table to paste into a config file.

use eidetica_kernel::registry::Plugin;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::request::Reply;

/// Longest line of a comment.
const COLUMNS: usize = 100;

/// One plugin, for people as TOML: what isn't an option is a comment.
pub(super) fn show(plugin: &Plugin) -> Result<Reply, Failure> {
    let (kind, about) = (plugin.kind(), plugin.about());
    let (defaults, schema) = (plugin.defaults(), plugin.schema());
    let capabilities = plugin.capabilities().map_err(|fault| {
        Failure::failed(format_args!("showing the {kind} {}: its own defaults: {fault}", about.name))
    })?;
    let declared = if capabilities.is_empty() { "none".to_owned() } else { capabilities.join(", ") };
    let mut text = String::new();
    comment(&mut text, &format!("{kind} {}: {}", about.name, about.summary));
    comment(&mut text, &format!("status: {}", about.status));
    comment(&mut text, &format!("trust: {}", about.trust));
    comment(&mut text, &format!("capabilities: {declared}"));
    comment(&mut text, &format!("crate: {} {}", about.crate_name, about.crate_version));
    text.push_str(&format!("\n[default.{kind}.{}]\n", about.name));
    text.push_str(&options(&schema, &defaults));
    let value = json!({
        "kind": kind,
        "name": about.name,
        "summary": about.summary,
        "status": about.status.to_string(),
        "trust": about.trust,
        "capabilities": capabilities,
        "crate": about.crate_name,
        "version": about.crate_version,
        "defaults": defaults,
        "schema": schema,
    });
    Ok(Reply::new(value, text.trim_end().to_owned()))
}

/// Each option with what it is for and its default; a comment where it has none.
fn options(schema: &Value, defaults: &Value) -> String {
    let mut text = String::new();
    let empty = serde_json::Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&empty);
    if properties.is_empty() {
        comment(&mut text, "It has no options.");
    }
    for (at, (name, option)) in properties.iter().enumerate() {
        if at > 0 {
            text.push('\n');
        }
        let of = resolved(schema, option);
        for description in [&option["description"], &of["description"]] {
            // What the option is for; where that isn't said, what its type is.
            if let Some(description) = description.as_str() {
                comment(&mut text, description);
                break;
            }
        }
        let choices = choices(of);
        if !choices.is_empty() {
            comment(&mut text, &format!("One of: {}.", choices.join(", ")));
        }
        match toml(&defaults[name]) {
            Some(value) => text.push_str(&format!("{} = {value}\n", key(name))),
            None => {
                comment(&mut text, "Unset by default.");
                text.push_str(&format!("# {} = {}\n", key(name), example(of)));
            }
        }
    }
    text
}

fn resolved<'a>(schema: &'a Value, option: &'a Value) -> &'a Value {
    let either = option["anyOf"].as_array().into_iter().flatten().find(|one| one["type"] != "null");
    let option = either.unwrap_or(option);
    match option["$ref"].as_str().and_then(|target| target.strip_prefix("#/$defs/")) {
        Some(name) => &schema["$defs"][name],
        None => option,
    }
}

/// The values an option is chosen from, if it is.
fn choices(option: &Value) -> Vec<String> {
    let listed = option["enum"].as_array().into_iter().flatten();
    let described = option["oneOf"].as_array().into_iter().flatten().map(|one| &one["const"]);
    listed.chain(described).filter_map(toml).collect()
}

/// What a value of the type looks like.
fn example(option: &Value) -> String {
    if let Some(choice) = choices(option).into_iter().next() {
        return choice;
    }
    let name = match &option["type"] {
        Value::Array(names) => names.iter().find(|name| *name != "null").unwrap_or(&Value::Null),
        name => name,
    };
    match name.as_str() {
        Some("integer") => "0",
        Some("number") => "0.0",
        Some("boolean") => "false",
        Some("array") => "[]",
        Some("object") => "{}",
        _ => "\"\"",
    }
    .to_owned()
}

/// A value as TOML, which has no word for "unset".
fn toml(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Array(items) => {
            Some(format!("[{}]", items.iter().filter_map(toml).collect::<Vec<_>>().join(", ")))
        }
        Value::Object(fields) => {
            let set = fields.iter().filter_map(|(name, value)| Some((key(name), toml(value)?)));
            let set: Vec<String> = set.map(|(name, value)| format!("{name} = {value}")).collect();
            Some(if set.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", set.join(", ")) })
        }
        // JSON's escapes are TOML's, but for a character that JSON leaves as it is.
        Value::String(_) => Some(value.to_string().replace('\u{7f}', "\\u007f")),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
    }
}

fn key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !name.is_empty() && name.chars().all(bare) { name.to_owned() } else { json!(name).to_string() }
}

/// Text as comments, each paragraph filled anew.
fn comment(text: &mut String, said: &str) {
    for paragraph in said.split("\n\n") {
        let mut line = String::from("#");
        for word in paragraph.split_whitespace() {
            if line.chars().count() + 1 + word.chars().count() > COLUMNS && line != "#" {
                text.push_str(&line);
                text.push('\n');
                line = String::from("#");
            }
            line.push(' ');
            line.push_str(word);
        }
        text.push_str(&line);
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_a_table_to_paste() {
        let schema = json!({
            "properties": {
                "listen": { "type": ["string", "null"], "description": "Where to listen." },
                "mode": { "anyOf": [{ "$ref": "#/$defs/Mode" }, { "type": "null" }] },
                "names": { "type": "array", "description": "Two words\nin a line." },
                "ratio": { "type": "number" },
            },
            "$defs": { "Mode": { "oneOf": [{ "const": "a", "description": "A." }, { "const": "b" }] } },
        });
        let defaults = json!({ "listen": null, "mode": null, "names": ["x\"y", "z"], "ratio": 0.5 });
        let expected = "# Where to listen.\n# Unset by default.\n# listen = \"\"\n\
            \n# One of: \"a\", \"b\".\n# Unset by default.\n# mode = \"a\"\n\
            \n# Two words in a line.\nnames = [\"x\\\"y\", \"z\"]\n\
            \nratio = 0.5\n";
        assert_eq!(options(&schema, &defaults), expected);
    }

    #[test]
    fn values_are_toml() {
        assert_eq!(
            toml(&json!({ "a b": 1, "c": null, "d": [true] })).as_deref(),
            Some("{ \"a b\" = 1, d = [true] }")
        );
        assert_eq!(toml(&json!("a\u{7f}\n")).as_deref(), Some("\"a\\u007f\\n\""));
        assert_eq!(toml(&json!({})).as_deref(), Some("{}"));
        assert_eq!(toml(&Value::Null), None);
    }
}
