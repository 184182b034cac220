//! `node.toml` is complete, true and loads, for the plugins that ship.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use eidetica_config::{Config, Sources, schema};
use eidetica_kernel::registry::Registry;
use eidetica_plugins as _;

const NODE_TOML: &str = include_str!("../node.toml");

/// The file with every option that is commented out put in, but for plugins that aren't linked here.
fn uncommented() -> String {
    let registry = Registry::linked().unwrap();
    let linked = |table: &str| {
        let mut parts = table.trim_matches(['[', ']']).split('.').skip(1);
        match (parts.next(), parts.next()) {
            (Some(kind), Some(name)) => registry.names(kind).contains(&name),
            _ => true,
        }
    };
    let mut skipping = false;
    let lines = NODE_TOML.lines().map(|line| match line.strip_prefix('#') {
        Some(table) if table.starts_with('[') => {
            skipping = !linked(table);
            if skipping { line } else { table }
        }
        Some(option) if option.starts_with(|c: char| c.is_ascii_lowercase()) && !skipping => option,
        Some(_) => line,
        None => {
            skipping &= line.is_empty();
            line
        }
    });
    lines.map(|line| format!("{line}\n")).collect()
}

fn load(text: &str, profile: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.toml");
    std::fs::write(&path, text).unwrap();
    Config::load(Sources { profile: Some(profile.to_owned()), ..Sources::file(path) }).unwrap()
}

fn values(config: &Config) -> BTreeMap<&str, &serde_json::Value> {
    config.show().iter().map(|setting| (setting.key.as_str(), &setting.value)).collect()
}

#[test]
fn it_loads_in_every_profile_with_and_without_its_commented_options() {
    for profile in eidetica_config::PROFILES {
        load(NODE_TOML, profile);
        let all = load(&uncommented(), profile);
        assert_eq!(all.chosen().peers.len(), 1);
    }
}

#[test]
fn it_changes_nothing() {
    for profile in eidetica_config::PROFILES {
        let without =
            Config::load(Sources { profile: Some(profile.to_owned()), ..Sources::default() }).unwrap();
        let with = load(NODE_TOML, profile);
        for (key, value) in values(&without) {
            assert_eq!(values(&with).get(key), Some(&value), "{key} in {profile}");
        }
    }
}

#[test]
fn every_option_of_every_linked_plugin_is_in_it_at_its_default() {
    let text = uncommented();
    let file: toml_like::Tables = toml_like::read(&text);
    for plugin in Registry::linked().unwrap().plugins() {
        let table = format!("default.{}.{}", plugin.kind(), plugin.about().name);
        let options = file.get(&table).unwrap_or_else(|| panic!("[{table}] is missing"));
        let defaults = plugin.defaults();
        for (name, default) in defaults.as_object().unwrap() {
            let shown = options.get(name).unwrap_or_else(|| panic!("{name} is missing in [{table}]"));
            if !default.is_null() {
                assert_eq!(shown.replace(' ', ""), default.to_string(), "{name} in [{table}]");
            }
        }
    }
}

#[test]
fn every_option_of_the_other_tables_is_in_it() {
    let file = toml_like::read(&uncommented());
    let schema = schema(&Registry::linked().unwrap());
    let tables = &schema["$defs"]["profile"]["properties"];
    for (table, properties) in [
        ("node", &tables["node"]["properties"]),
        ("admission", &tables["admission"]["properties"]),
        ("peer", &tables["peer"]["items"]["properties"]),
    ] {
        for name in properties.as_object().unwrap().keys() {
            assert!(file[&format!("default.{table}")].contains_key(name), "{name} is missing in {table}");
        }
    }
    for kind in ["backend", "transport", "store", "auth", "scheduler"] {
        assert!(file[&format!("default.{kind}")].contains_key("use"), "{kind}");
    }
}

/// As much of TOML as this one file uses: tables and one-line values.
mod toml_like {
    use std::collections::BTreeMap;

    pub(crate) type Tables = BTreeMap<String, BTreeMap<String, String>>;

    pub(crate) fn read(text: &str) -> Tables {
        let mut tables = Tables::new();
        let mut table = String::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if line.starts_with('[') {
                table = line.trim_matches(['[', ']']).to_owned();
                tables.entry(table.clone()).or_default();
            } else if let Some((name, value)) = line.split_once(" = ") {
                tables.entry(table.clone()).or_default().insert(name.to_owned(), value.to_owned());
            }
        }
        tables
    }
}
