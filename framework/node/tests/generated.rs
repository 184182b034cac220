//! What `eidetica plugins new` writes: for each kind a crate that builds, passes its suite, and is linked by its node.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Kind and name; the names are those that could get in the way of the code around them.
const PLUGINS: [(&str, &str); 5] = [
    ("backend", "my-shelf_2"),
    ("transport", "link"),
    ("store", "memo"),
    ("auth", "auth"),
    ("scheduler", "sync"),
];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The folder that this test itself was built into.
fn target() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_eidetica")).parent().unwrap().parent().unwrap().to_owned()
}

/// An empty folder, at the same place each time: elsewhere what is built would lie beside what was built before.
fn empty(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).unwrap();
    }
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// The manifest's hint on how to build against a checkout, taken up.
fn patch(manifest: &str) -> String {
    let lines = manifest.lines().skip_while(|line| *line != "# [patch.crates-io]");
    let lines: Vec<&str> = lines.map(|line| line.strip_prefix("# ").unwrap()).collect();
    lines.join("\n").replace("../eidetica", repository().to_str().unwrap())
}

/// A workspace of all of them. Others' crates have the versions, and everything the profile, of this repository: what is built
/// serves both.
fn workspace(folder: &Path) {
    let mut manifest = String::from("[workspace]\nresolver = \"3\"\nmembers = [\"*\"]\n\n");
    for (kind, name) in PLUGINS {
        let made = Command::new(env!("CARGO_BIN_EXE_eidetica"))
            .args(["plugins", "new", kind, name, "--path", folder.to_str().unwrap()])
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
    }
    let hint = patch(&fs::read_to_string(folder.join("link/Cargo.toml")).unwrap());
    manifest.push_str(&hint);
    manifest.push_str("\n\n[profile.dev]\ndebug = \"line-tables-only\"\n");
    manifest.push_str("\n[profile.dev.package.\"*\"]\nopt-level = 2\ndebug = false\n");
    for ours in hint.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name) {
        write!(manifest, "\n[profile.dev.package.{ours}]\nopt-level = 0\ndebug = \"line-tables-only\"\n")
            .unwrap();
    }
    fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    fs::copy(repository().join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
}

fn cargo(folder: &Path, args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO"));
    command.args(args).arg("--offline").current_dir(folder).env("CARGO_TARGET_DIR", target());
    // What cargo says of the package under test: build scripts that look at it would run again, here and then for whoever builds
    // next, and what is rebuilt is missing meanwhile.
    for (name, _) in std::env::vars_os() {
        let told = name.to_str().is_some_and(|name| {
            ["CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_CRATE_"].iter().any(|prefix| name.starts_with(prefix))
        });
        if told {
            command.env_remove(name);
        }
    }
    let done = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "cargo {args:?}\n{out}\n{err}");
    assert!(!err.contains("warning:"), "cargo {args:?}\n{err}");
    out.into_owned()
}

#[test]
fn every_kind_builds_passes_its_suite_and_is_linked_by_its_node() {
    let folder = empty("generated");
    workspace(&folder);
    let out = cargo(&folder, &["test", "--workspace"]);
    for (_, name) in PLUGINS {
        let case = format!(" {name}::");
        let passed = out.lines().filter(|line| line.contains(&case) && line.ends_with("... ok")).count();
        assert!(passed >= 5, "{passed} cases of {name} passed\n{out}");
    }
    for (kind, name) in PLUGINS {
        let node = target().join(format!("debug/examples/{name}-node"));
        let shown = Command::new(node).args(["plugins", "show", kind, name]).output().unwrap();
        assert!(shown.status.success(), "{shown:?}");
        assert!(String::from_utf8_lossy(&shown.stdout).contains("experimental"), "{shown:?}");
    }
}

#[test]
fn the_manifest_s_hint_names_every_crate_of_the_repository() {
    let hint = include_str!("../templates/any/manifest_end.toml");
    let manifest = fs::read_to_string(repository().join("Cargo.toml")).unwrap();
    // A patch that nothing needs is a warning of cargo's, and nothing needs iroh by default.
    let needed = |line: &&str| line.starts_with("eidetica") && !line.contains("-iroh");
    let ours = manifest.lines().filter(needed);
    let mut count = 0;
    for line in ours {
        let (name, rest) = line.split_once(" = ").unwrap();
        let path = rest.split('"').nth(1).unwrap();
        assert!(
            hint.contains(&format!("# {name} = {{ path = \"../eidetica/{path}\" }}\n")),
            "{name} at {path}"
        );
        count += 1;
    }
    assert_eq!(hint.lines().filter(|line| line.contains("../eidetica/")).count(), count, "and no other");
}

#[test]
fn the_code_in_the_guide_is_the_crates() {
    let folder = tempfile::tempdir().unwrap();
    let guide = fs::read_to_string(repository().join("framework/kernel/PLUGINS.md")).unwrap();
    let mut shown = Vec::new();
    for block in guide.split("```text\n// ").skip(1) {
        let (head, code) = block.split("```").next().unwrap().split_once('\n').unwrap();
        let (kind, path) = head.split_once(": ").unwrap();
        let place = folder.path().join(kind);
        let made = Command::new(env!("CARGO_BIN_EXE_eidetica"))
            .args(["plugins", "new", kind, "foo", "--path", place.to_str().unwrap()])
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let file = fs::read_to_string(place.join("foo").join(path)).unwrap();
        for piece in code.split("// …\n") {
            assert!(file.contains(piece), "PLUGINS.md shows this of {path}, and it isn't there:\n{piece}");
        }
        shown.push(kind.to_owned());
    }
    assert_eq!(shown, ["backend", "transport", "store", "auth", "scheduler"]);
}
