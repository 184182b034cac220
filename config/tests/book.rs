//! The book's chapter on configuration is what the schemas of the linked plugins say.
//!
//! `EIDETICA_WRITE_BOOK=1 cargo test -p eidetica-config -p eidetica-plugins --all-features --test book` writes it. Where a plugin of the chapter isn't
//! linked, what the chapter says of it isn't looked at.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write;
use std::path::PathBuf;

use eidetica_config::{Config, PROFILES, Sources, schema};
use eidetica_kernel::registry::Registry;
use eidetica_plugins as _;
use serde_json::Value;

/// What stands before the tables.
const BEGINNING: &str = include_str!("book/beginning.md");

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../framework/eidetica/docs/src/config.md")
}

fn load(profile: &str) -> Config {
    Config::load(Sources { profile: Some(profile.to_owned()), ..Sources::default() }).unwrap()
}

/// A value of a profile as `config show` has it.
fn shown(config: &Config, key: &str) -> Value {
    config.show().iter().find(|setting| setting.key == key).map_or(Value::Null, |found| found.value.clone())
}

fn chapter() -> String {
    let schema = schema(&Registry::linked().unwrap());
    let tables = &schema["$defs"]["profile"]["properties"];
    let defaults = load("default");
    let mut text = String::from(BEGINNING);
    text.push_str("\n## What the profiles change\n\n| profile | key | value |\n|---|---|---|\n");
    for profile in PROFILES.iter().filter(|profile| **profile != "default") {
        let origin = format!("built-in profile {profile}");
        for setting in load(profile).show().iter().filter(|setting| setting.origin == origin) {
            writeln!(text, "| `{profile}` | `{}` | `{}` |", setting.key, setting.value).unwrap();
        }
    }
    for kind in ["backend", "transport", "store", "auth", "scheduler"] {
        let table = &tables[kind];
        write!(text, "\n## `[default.{kind}]`\n\n{}\n\n", sentence(&table["description"])).unwrap();
        head(&mut text);
        let mut used = table["properties"]["use"].clone();
        used["default"] = shown(&defaults, &format!("{kind}.use"));
        used["description"] = "Which plugins are used.".into();
        if !["transport", "store"].contains(&kind) {
            used["description"] = "Which plugin is used.".into();
        }
        row(&mut text, &schema, "use", &used);
        if let Some(require) = table["properties"].get("require") {
            let mut require = require.clone();
            require["default"] = Value::Array(Vec::new());
            row(&mut text, &schema, "require", &require);
        }
        for (name, options) in table["properties"].as_object().unwrap() {
            if ["use", "require"].contains(&&name[..]) {
                continue;
            }
            let summary = sentence(&options["description"]);
            write!(text, "\n### `[default.{kind}.{name}]`\n\n{summary}\n\n").unwrap();
            match options["properties"].as_object() {
                Some(properties) if !properties.is_empty() => {
                    head(&mut text);
                    for (option, of) in properties {
                        let mut of = of.clone();
                        // A built-in profile goes over the plugin's own default.
                        match shown(&defaults, &format!("{kind}.{name}.{option}")) {
                            Value::Null => {}
                            set => of["default"] = set,
                        }
                        row(&mut text, &schema, option, &of);
                    }
                }
                _ => text.push_str("It has no options.\n"),
            }
        }
    }
    for (name, what) in
        [("admission", "Who may join this node's databases by asking."), ("node", "The node itself.")]
    {
        write!(text, "\n## `[default.{name}]`\n\n{what}\n\n").unwrap();
        rows(&mut text, &schema, &tables[name]);
    }
    text.push_str("\n## `[[default.peer]]`\n\nA node to sync with; repeat the table for each.\n\n");
    rows(&mut text, &schema, &tables["peer"]["items"]);
    text
}

fn head(text: &mut String) {
    text.push_str("| key | type | default | what |\n|---|---|---|---|\n");
}

fn rows(text: &mut String, schema: &Value, table: &Value) {
    head(text);
    for (name, option) in table["properties"].as_object().unwrap() {
        row(text, schema, name, option);
    }
}

fn row(text: &mut String, schema: &Value, name: &str, option: &Value) {
    let default = match option.get("default") {
        None => "required".to_owned(),
        Some(Value::Null) => "unset".to_owned(),
        Some(value) => format!("`{value}`"),
    };
    let mut what = sentence(&option["description"]);
    for choice in resolved(schema, option)["oneOf"].as_array().into_iter().flatten() {
        write!(what, " `{}`: {}", choice["const"].as_str().unwrap(), sentence(&choice["description"]))
            .unwrap();
    }
    let cells = [format!("`{name}`"), kind_of(schema, option), default, what];
    let cells = cells.map(|cell| cell.replace('|', "\\|"));
    writeln!(text, "| {} |", cells.join(" | ")).unwrap();
}

fn resolved<'a>(schema: &'a Value, option: &'a Value) -> &'a Value {
    match option["$ref"].as_str().and_then(|target| target.strip_prefix("#/$defs/")) {
        Some(name) => &schema["$defs"][name],
        None => option,
    }
}

/// A type in a word or two.
fn kind_of(schema: &Value, option: &Value) -> String {
    let option = resolved(schema, option);
    if let Some(choices) = option["enum"].as_array() {
        return choices.iter().map(|choice| format!("`{choice}`")).collect::<Vec<_>>().join(", ");
    }
    if let Some(choices) = option["oneOf"].as_array() {
        return choices.iter().map(|choice| format!("`{}`", choice["const"])).collect::<Vec<_>>().join(", ");
    }
    if let Some(either) = option["anyOf"].as_array() {
        let list = either.iter().find(|one| one["type"] == "array").unwrap_or(&either[0]);
        return kind_of(schema, list);
    }
    let name = match &option["type"] {
        Value::Array(names) => names.iter().find(|name| *name != "null").unwrap(),
        name => name,
    };
    match name.as_str().unwrap() {
        "array" => format!("list of {}", kind_of(schema, &option["items"])),
        "boolean" => "`true`, `false`".to_owned(),
        "string" => "text".to_owned(),
        other => other.to_owned(),
    }
}

/// A description on one line, ended by a full stop.
fn sentence(description: &Value) -> String {
    let text = description.as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    let mut letters = text.chars();
    let capital = letters.next().map(|first| first.to_uppercase().collect::<String>()).unwrap_or_default();
    let stop = if text.is_empty() || text.ends_with('.') { "" } else { "." };
    format!("{capital}{}{stop}", letters.as_str())
}

/// The chapter without the plugins that aren't linked here.
fn linked_alone(chapter: &str, registry: &Registry) -> String {
    let section = |line: &str| {
        let table = line.strip_prefix("### `[default.")?.strip_suffix("]`")?;
        let (kind, name) = table.split_once('.')?;
        Some((kind.to_owned(), name.to_owned()))
    };
    let unlinked = |(kind, name): &(String, String)| !registry.names(kind).contains(&&name[..]);
    let missing: Vec<_> = chapter.lines().filter_map(section).filter(unlinked).collect();
    let mut skipping = false;
    let mut text = String::new();
    for line in chapter.lines() {
        if line.starts_with('#') {
            skipping = section(line).is_some_and(|section| unlinked(&section));
        }
        if skipping {
            continue;
        }
        let mut line = line.to_owned();
        if line.starts_with("| `use` ") {
            for (_, name) in &missing {
                line = line.replacen(&format!("`\"{name}\"`, "), "", 1);
            }
        }
        text.push_str(&line);
        text.push('\n');
    }
    text
}

#[test]
fn the_chapter_on_configuration_is_what_the_schemas_say() {
    let now = chapter();
    let registry = Registry::linked().unwrap();
    if std::env::var_os("EIDETICA_WRITE_BOOK").is_some() {
        assert!(registry.names("transport").contains(&"iroh"), "write it with --all-features");
        std::fs::write(path(), &now).unwrap();
    }
    let written = linked_alone(&std::fs::read_to_string(path()).unwrap(), &registry);
    for (line, (now, written)) in now.lines().zip(written.lines()).enumerate() {
        assert_eq!(now, written, "config.md, line {}; the top of this file says how to write it", line + 1);
    }
    assert_eq!(now.len(), written.len(), "config.md; the top of this file says how to write it");
}

#[test]
fn the_examples_in_the_chapter_are_in_order() {
    for block in chapter().split("```toml\n").skip(1) {
        let text = block.split("```").next().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("node.toml");
        std::fs::write(&file, text).unwrap();
        for profile in PROFILES {
            Config::load(Sources { profile: Some(profile.to_owned()), ..Sources::file(&file) }).unwrap();
        }
    }
}
