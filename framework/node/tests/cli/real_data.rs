//! The main job on real data: the world's languages, imported on one node and followed on another.

use serde_json::Value;

use crate::support::Home;

const LANGUAGES: &str = "/usr/share/iso-codes/json/iso_639-3.json";

fn languages() -> Value {
    let text = std::fs::read_to_string(LANGUAGES);
    let text =
        text.unwrap_or_else(|error| panic!("{LANGUAGES}: {error}; install Debian's package iso-codes"));
    serde_json::from_str(&text).unwrap()
}

#[test]
fn languages_are_imported_shared_joined_exported_and_followed_both_ways() {
    let (here, there) = (Home::new(), Home::new());
    let _a = here.serve();
    let b = there.serve();
    here.ok(&["db", "create", "languages"]);
    here.ok(&["import", "languages", "iso", LANGUAGES]);
    let ticket = here.ok(&["share", "languages", "--write"]);
    there.ok(&["join", &ticket]);
    let exported: Value = serde_json::from_str(&there.ok(&["export", "languages", "iso"])).unwrap();
    let imported = languages();
    assert!(imported["639-3"].as_array().unwrap().len() > 7_000);
    assert!(exported == imported, "what comes out isn't what went in");

    here.ok(&["set", "languages", "notes", "from.here", "\"one\""]);
    there.until(&["get", "languages", "notes", "from.here"], "\"one\"");
    there.ok(&["set", "languages", "notes", "from.there", "2"]);
    here.until(&["get", "languages", "notes", "from.there"], "2");

    // One of them away, both writing meanwhile.
    assert_eq!(b.stop(), Some(0));
    for (home, name, count) in [(&here, "here", 1_000), (&there, "there", 50)] {
        for number in 0..count {
            home.ok(&["set", "languages", "notes", &format!("apart.{name}{number}"), &number.to_string()]);
        }
    }
    let _b = there.serve();
    here.until(&["get", "languages", "notes", "apart.there49"], "49");
    there.until(&["get", "languages", "notes", "apart.here999"], "999");
    let notes = |home: &Home| home.ok(&["get", "languages", "notes"]);
    assert_eq!(notes(&here), notes(&there));
    assert_eq!(there.json(&["export", "languages", "iso"]), imported);
    for home in [&here, &there] {
        home.ok(&["verify"]);
    }
}
