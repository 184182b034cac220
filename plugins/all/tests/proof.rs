//! No plugin is linked that hasn't been held to the suite of its trait.

use std::path::{Path, PathBuf};

use eidetica_kernel::registry::{Plugin, Registry};
use eidetica_plugins as _;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What is missing of a plugin's proof, if something is.
fn missing(plugin: &Plugin) -> Option<String> {
    let (kind, about) = (plugin.kind(), plugin.about());
    let folder = format!("plugins/{kind}/{}", about.name);
    let read = |path: &str| std::fs::read_to_string(repository().join(&folder).join(path));
    let Ok(manifest) = read("Cargo.toml") else {
        return Some(format!("{folder} isn't there, where {} was expected", about.crate_name));
    };
    if !manifest.contains(&format!("name = \"{}\"", about.crate_name)) {
        return Some(format!("{folder} isn't the crate {}", about.crate_name));
    }
    let Ok(test) = read("tests/conformance.rs") else {
        return Some(format!("{folder} has no tests/conformance.rs"));
    };
    if !test.contains(&format!("eidetica_conformance::{kind}::")) || !test.contains("Suite::new(") {
        return Some(format!("{folder}/tests/conformance.rs doesn't run the suite of the trait"));
    }
    // With a harness its main would never run.
    let target = "[[test]]\nname = \"conformance\"\nharness = false\n";
    (!manifest.contains(target)).then(|| format!("{folder}/Cargo.toml gives tests/conformance.rs a harness"))
}

#[test]
fn every_linked_plugin_is_held_to_the_suite_of_its_trait() {
    let registry = Registry::linked().unwrap();
    let missing: Vec<String> = registry.plugins().iter().filter_map(missing).collect();
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn every_kind_of_plugin_has_a_suite() {
    let mut kinds: Vec<&str> = Registry::linked().unwrap().plugins().iter().map(Plugin::kind).collect();
    kinds.dedup();
    assert_eq!(kinds, ["auth", "backend", "scheduler", "store", "transport"]);
    for kind in kinds {
        let suite = repository().join("tests/conformance/src").join(kind);
        assert!(suite.join("mod.rs").is_file(), "the conformance kit has no {kind}/mod.rs");
    }
}
