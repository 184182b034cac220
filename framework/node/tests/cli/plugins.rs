//! What plugins are linked, what can be tuned, and crates to begin others with.

use serde_json::{Value, json};

use crate::support::Home;

#[test]
fn what_is_shown_of_a_plugin_is_a_config_file() {
    let home = Home::new();
    let listed = home.json(&["plugins", "list"]);
    assert!(listed.as_array().unwrap().len() >= 12, "{listed}");
    let mut compared = 0;
    for plugin in listed.as_array().unwrap() {
        let (kind, name) = (plugin["kind"].as_str().unwrap(), plugin["name"].as_str().unwrap());
        let shown = home.ok(&["plugins", "show", kind, name]);
        assert!(shown.contains(&format!("\n[default.{kind}.{name}]\n")), "{shown}");
        for line in ["# status: ", "# trust: ", "# capabilities: ", "# crate: eidetica-"] {
            assert!(shown.lines().any(|found| found.starts_with(line)), "{line}\n{shown}");
        }
        let file = home.file(&format!("{kind}-{name}.toml"), &shown);
        home.ok(&["--config", &file, "config", "check"]);
        // Pasted, it sets what it shows; what is unset stays as the profile has it.
        let values = |args: &[&str]| -> Vec<(Value, Value)> {
            let settings = home.json(args);
            settings
                .as_array()
                .unwrap()
                .iter()
                .map(|one| (one["key"].clone(), one["value"].clone()))
                .collect()
        };
        let defaults = &home.json(&["plugins", "show", kind, name])["defaults"];
        for (key, value) in values(&["--config", &file, "config", "show"]) {
            let option = key.as_str().unwrap().strip_prefix(&format!("{kind}.{name}."));
            let default = option.and_then(|option| defaults.get(option)).filter(|default| !default.is_null());
            if let Some(default) = default {
                compared += 1;
                assert_eq!(*default, value, "{key}");
            }
        }
    }
    assert!(compared >= 20, "{compared} options were compared");
    assert!(!home.data.exists());
}

#[test]
fn schemas_say_nothing_that_only_rust_can_read() {
    let home = Home::new();
    let mut schemas = vec![home.json(&["config", "schema"])];
    for plugin in home.json(&["plugins", "list"]).as_array().unwrap() {
        let (kind, name) = (plugin["kind"].as_str().unwrap(), plugin["name"].as_str().unwrap());
        schemas.push(home.json(&["plugins", "show", kind, name])["schema"].clone());
    }
    let text = Value::from(schemas).to_string();
    assert!(text.contains("Options of the transport `http`."), "descriptions are kept");
    assert!(!text.contains("```") && !text.contains("[`"), "{text}");
}

#[test]
fn capabilities_are_shown() {
    let home = Home::new();
    let capabilities = |kind, name| home.json(&["plugins", "show", kind, name])["capabilities"].clone();
    assert_eq!(capabilities("transport", "http"), json!(["binds"]));
    assert!(capabilities("backend", "file").as_array().unwrap().contains(&json!("durable")));
    assert_eq!(capabilities("backend", "memory"), json!([]));
    assert_eq!(capabilities("scheduler", "standard"), json!([]));
}

#[test]
fn a_new_plugin_is_written_over_nothing() {
    let home = Home::new();
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("not/there/yet");
    let path = path.to_str().unwrap();
    let made = home.json(&["plugins", "new", "transport", "foo", "--path", path]);
    assert_eq!(made["folder"], format!("{path}/foo"));
    for file in made["files"].as_array().unwrap() {
        assert!(place.path().join("not/there/yet/foo").join(file.as_str().unwrap()).is_file(), "{file}");
    }
    let lib = place.path().join("not/there/yet/foo/src/lib.rs");
    std::fs::write(&lib, "mine").unwrap();
    let error = home.run(&["plugins", "new", "transport", "foo", "--path", path]).fails(1);
    assert!(error.contains("it exists already") && error.contains("choose another"), "{error}");
    assert_eq!(std::fs::read_to_string(&lib).unwrap(), "mine");
}

#[test]
fn what_can_be_no_plugin_is_refused_and_nothing_is_written() {
    let home = Home::new();
    let place = tempfile::tempdir().unwrap();
    let path = place.path().to_str().unwrap();
    for (kind, name, why) in [
        ("transport", "http", "linked already"),
        ("transport", "tokio", "depends on one of that name"),
        ("backend", "../foo", "isn't allowed"),
        ("store", "Memo", "isn't allowed"),
        ("scheduler", "match", "a meaning of its own"),
        ("auth", "eidetica-auth", "Eidetica's own"),
        ("colour", "foo", "possible values: backend, transport, store, auth, scheduler"),
    ] {
        let error = home.run(&["plugins", "new", kind, name, "--path", path]).fails(2);
        assert!(error.contains(why), "{kind} {name}: {error}");
    }
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
}
