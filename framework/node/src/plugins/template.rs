//! The files of a new plugin's crate, kept in `templates`.

use crate::args::PluginKind;

use super::name::{NameError, PluginName};

/// A file of the crate: where it goes below the crate's folder, and what is in it.
pub(super) struct File {
    pub(super) path: String,
    pub(super) text: String,
}

/// What is the kind's own.
struct Template {
    kind: &'static str,
    of: &'static str,
    manifest: &'static str,
    lib: &'static str,
    options: &'static str,
    implementation: &'static str,
    conformance: &'static str,
    /// A node uses several at once.
    several: bool,
}

macro_rules! template {
    ($kind:literal, $of:literal, $several:literal) => {
        Template {
            kind: $kind,
            of: $of,
            manifest: include_str!(concat!("../../templates/", $kind, "/manifest.toml")),
            lib: include_str!(concat!("../../templates/", $kind, "/lib.rs")),
            options: include_str!(concat!("../../templates/", $kind, "/options.rs")),
            implementation: include_str!(concat!("../../templates/", $kind, "/", $kind, ".rs")),
            conformance: include_str!(concat!("../../templates/", $kind, "/conformance.rs")),
            several: $several,
        }
    };
}

const BACKEND: Template = template!("backend", "Backend", false);
const TRANSPORT: Template = template!("transport", "Transport", true);
const STORE: Template = template!("store", "Store", true);
const AUTH: Template = template!("auth", "AuthPolicy", false);
const SCHEDULER: Template = template!("scheduler", "SyncScheduler", false);

const MANIFEST_END: &str = include_str!("../../templates/any/manifest_end.toml");
const NODE: &str = include_str!("../../templates/any/node.rs");
const README: &str = include_str!("../../templates/any/readme.md");

impl PluginKind {
    fn template(self) -> &'static Template {
        match self {
            Self::Backend => &BACKEND,
            Self::Transport => &TRANSPORT,
            Self::Store => &STORE,
            Self::Auth => &AUTH,
            Self::Scheduler => &SCHEDULER,
        }
    }

    /// As a config file names it.
    pub(super) fn as_str(self) -> &'static str {
        self.template().kind
    }
}

/// The files of a crate for a plugin of this kind and name. `beside` are the plugins of the kind that a node uses anyway.
pub(super) fn files(kind: PluginKind, name: &PluginName, beside: &[&str]) -> Result<Vec<File>, NameError> {
    let template = kind.template();
    let used = if template.several {
        let names: Vec<String> =
            beside.iter().copied().chain([name.as_str()]).map(|name| format!("\"{name}\"")).collect();
        format!("[{}]", names.join(", "))
    } else {
        format!("\"{}\"", name.as_str())
    };
    let fill = |text: &str| {
        text.replace("{{name}}", name.as_str())
            .replace("{{ident}}", &name.ident())
            .replace("{{Type}}", &name.camel())
            .replace("{{CONST}}", &name.constant())
            .replace("{{kind}}", template.kind)
            .replace("{{Trait}}", template.of)
            .replace("{{use}}", &used)
    };
    let manifest = format!("{}{MANIFEST_END}", template.manifest);
    if dependencies(&manifest).any(|dependency| dependency.replace('-', "_") == name.ident()) {
        return Err(NameError::Dependency);
    }
    let implementation = format!("src/{}.rs", template.kind);
    let files = [
        ("Cargo.toml", &manifest[..]),
        ("README.md", README),
        ("src/lib.rs", template.lib),
        ("src/options.rs", template.options),
        (&implementation, template.implementation),
        ("tests/conformance.rs", template.conformance),
        ("examples/node.rs", NODE),
    ];
    Ok(files.into_iter().map(|(path, text)| File { path: path.to_owned(), text: fill(text) }).collect())
}

/// The crates that a manifest depends on.
fn dependencies(manifest: &str) -> impl Iterator<Item = &str> {
    let mut depends = false;
    manifest.lines().filter_map(move |line| {
        if line.starts_with('[') {
            depends = line.ends_with("dependencies]");
            return None;
        }
        line.split_once(" = ").filter(|_| depends).map(|(name, _)| name)
    })
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn nothing_is_left_to_fill_in() {
        let name = PluginName::new("my-foo").unwrap();
        for kind in PluginKind::value_variants() {
            for file in files(*kind, &name, &["http"]).unwrap() {
                assert!(!file.text.contains("{{"), "{} of {kind:?}", file.path);
            }
        }
    }

    #[test]
    fn a_crate_that_would_depend_on_itself_is_refused() {
        let refused = |kind, name| {
            files(kind, &PluginName::new(name).unwrap(), &[]).err() == Some(NameError::Dependency)
        };
        assert!(refused(PluginKind::Transport, "tokio"));
        assert!(refused(PluginKind::Transport, "async_trait"));
        assert!(!refused(PluginKind::Scheduler, "tokio"));
        assert!(!refused(PluginKind::Scheduler, "version"), "that is no dependency");
    }
}
