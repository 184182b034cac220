//! Who may depend on whom, and what every plugin's folder has.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The platform that the compiler runs on, as it names it.
fn host() -> String {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let told = std::process::Command::new(rustc).arg("-vV").output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    told.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned()
}

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .features(cargo_metadata::CargoOpt::AllFeatures)
        // Of this platform alone: what others need was never fetched here.
        .other_options(["--offline", "--locked", "--filter-platform", &host()].map(str::to_owned).to_vec())
        .exec()
        .unwrap()
}

/// A package's folder in the repository: `plugins/backend/file`.
fn folder(package: &Package) -> String {
    let folder = package.manifest_path.parent().unwrap().as_std_path();
    folder.strip_prefix(root()).unwrap().to_str().unwrap().to_owned()
}

/// The workspace's packages by folder.
fn packages(metadata: &Metadata) -> BTreeMap<String, &Package> {
    metadata.workspace_packages().into_iter().map(|package| (folder(package), package)).collect()
}

/// The folders of the workspace's packages that a package depends on.
fn depends_on(metadata: &Metadata, package: &Package, development: bool) -> BTreeSet<String> {
    let ours: BTreeMap<String, String> =
        packages(metadata).into_iter().map(|(folder, package)| (package.name.to_string(), folder)).collect();
    package
        .dependencies
        .iter()
        .filter(|dependency| (dependency.kind == DependencyKind::Development) == development)
        .filter_map(|dependency| ours.get(&dependency.name).cloned())
        .collect()
}

fn set<'a>(folders: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    folders.into_iter().map(str::to_owned).collect()
}

fn is_plugin(folder: &str) -> bool {
    folder.starts_with("plugins/") && folder != "plugins/all"
}

#[test]
fn dependencies_point_from_the_node_to_the_kernel_and_never_back() {
    let metadata = metadata();
    let packages = packages(&metadata);
    let plugins: BTreeSet<String> = packages.keys().filter(|folder| is_plugin(folder)).cloned().collect();
    assert!(plugins.len() >= 7, "{plugins:?}");
    let (kernel, kit, engine) = ("framework/kernel", "tests/conformance", "framework/eidetica");
    for (folder, package) in &packages {
        let normal = depends_on(&metadata, package, false);
        let development = depends_on(&metadata, package, true);
        let allowed: (BTreeSet<String>, Option<BTreeSet<String>>) = match folder.as_str() {
            "framework/kernel" => (set([]), Some(set([]))),
            // The engine may come in behind the kit's feature `engine`.
            "tests/conformance" => (set([kernel, engine]), None),
            "framework/eidetica" => (&plugins | &set([kernel]), None),
            "framework/node" => (
                set([kernel, engine, "config", "plugins/all"]).into_iter().chain(plugins.clone()).collect(),
                None,
            ),
            "config" => (set([kernel, engine]), None),
            "plugins/all" => (&plugins | &set([kernel]), None),
            plugin if is_plugin(plugin) => (set([kernel]), Some(set([kit]))),
            // Tests, benchmarks and examples may use everything; nothing may use them.
            _ => continue,
        };
        assert!(normal.is_subset(&allowed.0), "{folder} depends on {:?}", &normal - &allowed.0);
        if let Some(allowed) = allowed.1 {
            assert!(
                development.is_subset(&allowed),
                "the tests of {folder} depend on {:?}",
                &development - &allowed
            );
        }
    }
    for (folder, package) in packages.iter().filter(|(folder, _)| is_plugin(folder)) {
        // The kit's feature `engine` leads back to the plugins: a registry takes no circle, so that packages come without the kit.
        for dependency in package.dependencies.iter().filter(|known| known.name == *packages[kit].name) {
            assert_eq!(dependency.req.to_string(), "*", "{folder} asks for a version of the kit");
        }
    }
    for (folder, package) in &packages {
        for test in ["tests/system", "tests/bench"] {
            let all = &depends_on(&metadata, package, false) | &depends_on(&metadata, package, true);
            assert!(!all.contains(test), "{folder} depends on {test}");
        }
    }
}

#[test]
fn the_engine_comes_without_its_default_plugins_where_plugins_are_chosen() {
    let metadata = metadata();
    let packages = packages(&metadata);
    for folder in ["config", "tests/conformance"] {
        let engine = packages[folder].dependencies.iter().find(|dependency| dependency.name == "eidetica");
        if let Some(engine) = engine.filter(|engine| engine.kind == DependencyKind::Normal) {
            assert!(!engine.uses_default_features, "{folder}");
            assert!(folder == "config" || engine.optional, "{folder} has the engine behind a feature");
        }
    }
    // Features add: those of the engine that name plugins are optional, and each is in `full`.
    let engine = packages["framework/eidetica"];
    for (feature, enables) in &engine.features {
        if enables.iter().any(|enabled| enabled.starts_with("dep:eidetica-")) {
            assert!(engine.features["full"].contains(feature), "{feature} is in full");
        }
    }
}

#[test]
fn the_kernel_brings_neither_runtime_nor_network_nor_config_files() {
    let metadata = metadata();
    let resolve = metadata.resolve.as_ref().unwrap();
    let name = |id: &cargo_metadata::PackageId| metadata[id].name.to_string();
    let kernel = packages(&metadata)["framework/kernel"].id.clone();
    let (mut tree, mut todo) = (BTreeSet::new(), vec![kernel]);
    while let Some(id) = todo.pop() {
        if !tree.insert(name(&id)) {
            continue;
        }
        let node = resolve.nodes.iter().find(|node| node.id == id).unwrap();
        let normal = node
            .deps
            .iter()
            .filter(|dependency| dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal));
        todo.extend(normal.map(|dependency| dependency.pkg.clone()));
    }
    for banned in ["tokio", "hyper", "iroh", "figment", "toml", "rustls", "mio", "socket2", "eidetica"] {
        assert!(!tree.contains(banned), "the kernel's tree has {banned}");
    }
    assert!(tree.contains("blake3") && tree.contains("inventory"), "{tree:?}");
}

/// The Rust files below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

#[test]
fn registration_is_named_in_one_file_of_the_kernel() {
    let kernel = root().join("framework/kernel");
    let names_it = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().any(|line| !line.trim_start().starts_with("//") && line.contains("inventory::"))
    };
    let files: Vec<PathBuf> = sources(&kernel.join("src")).into_iter().filter(names_it).collect();
    assert_eq!(files, [kernel.join("src/registry.rs")]);
    // Nobody else depends on it: plugins register through the kernel's macros.
    for (folder, package) in packages(&metadata()) {
        let direct = package.dependencies.iter().any(|dependency| dependency.name == "inventory");
        assert_eq!(direct, folder == "framework/kernel", "{folder}");
    }
}

#[test]
fn every_plugin_shows_its_options_and_its_proof() {
    let metadata = metadata();
    for (folder, package) in packages(&metadata).iter().filter(|(folder, _)| is_plugin(folder)) {
        let here = root().join(folder);
        assert!(here.join("src/options.rs").is_file(), "{folder} has options.rs");
        let kind = folder.split('/').nth(1).unwrap();
        let suite = root().join("tests/conformance/src").join(kind);
        if suite.is_dir() || suite.with_extension("rs").is_file() {
            assert!(here.join("tests/conformance.rs").is_file(), "{folder} has tests/conformance.rs");
        }
        let all = packages(&metadata)["plugins/all"];
        let linked = all.dependencies.iter().any(|dependency| *dependency.name == **package.name);
        assert!(linked, "plugins/all links {folder}");
        let lib = std::fs::read_to_string(root().join("plugins/all/src/lib.rs")).unwrap();
        let line = format!("use {} as _;", package.name.replace('-', "_"));
        assert!(lib.contains(&line), "plugins/all: {line}");
    }
}
