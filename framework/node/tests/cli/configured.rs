//! Nodes of which their config files say everything.

use serde_json::Value;

use crate::support::Home;

const DOCUMENT: &str = r#"{"tasks": ["first", {"a.b/c": null}], "nothing": {}}"#;

#[test]
fn a_peer_that_a_config_file_declares_is_followed_both_ways_and_after_restarts() {
    let (mut a, mut b) = (Home::new(), Home::new());
    a.configure(
        r#"
[default.backend.file]
durability = "eventual"

[default.scheduler]
use = "on-commit"

[default.admission]
mode = "deny"
"#,
    );
    let at_a = a.serve();
    let id = a.ok(&["db", "create", "notes"]);
    a.ok(&["import", "notes", "imported", &a.file("imported.json", DOCUMENT)]);
    a.ok(&["grant", "notes", b.json(&["key", "show"])["default"].as_str().unwrap(), "write"]);
    b.configure(&format!(
        r#"
[default.scheduler]
use = "adaptive"

[default.scheduler.adaptive]
debounce_ms = 20

[[default.peer]]
key = "{}"
addresses = ["{}"]
databases = ["{id}"]
"#,
        at_a.key, at_a.address
    ));
    let at_b = b.serve();
    b.until(&["get", "notes", "imported", "tasks.0"], "\"first\"");
    a.ok(&["set", "notes", "live", "from-a", "1"]);
    b.until(&["get", "notes", "live", "from-a"], "1");
    b.ok(&["set", "notes", "live", "from-b", "2"]);
    a.until(&["get", "notes", "live", "from-b"], "2");

    assert_eq!(at_b.stop(), Some(0));
    a.ok(&["set", "notes", "live", "without-b", "3"]);
    let _at_b = b.serve();
    b.until(&["get", "notes", "live", "without-b"], "3");
    assert_eq!(at_a.stop(), Some(0));
    b.ok(&["set", "notes", "live", "without-a", "4"]);
    let _at_a = a.serve();
    a.until(&["get", "notes", "live", "without-a"], "4");

    assert_eq!(a.json(&["get", "notes", "imported"]), serde_json::from_str::<Value>(DOCUMENT).unwrap());
    assert_eq!(a.ok(&["export", "notes"]), b.ok(&["export", "notes"]));
    for home in [&a, &b] {
        home.ok(&["verify"]);
    }
}
