//! `plugins new`: a crate to begin a plugin with.

use std::fs;
use std::io::Write;
use std::path::Path;

use eidetica_kernel::Error;
use eidetica_kernel::registry::Registry;
use serde_json::json;

use crate::args::PluginKind;
use crate::failure::Failure;
use crate::request::Reply;

use super::name::{NameError, PluginName};
use super::template;

/// Writes the crate into a folder of its own below `path`, which isn't there yet.
pub(super) fn new(kind: PluginKind, name: &str, path: &Path, registry: &Registry) -> Result<Reply, Failure> {
    let misnamed = |error: NameError| {
        Failure::usage(format_args!("making a plugin: the name {name:?}: {error}; choose another"))
    };
    let name = PluginName::new(name).map_err(misnamed)?;
    let linked = registry.names(kind.as_str());
    if linked.contains(&name.as_str()) {
        return Err(Failure::usage(format_args!(
            "making a plugin: a {} \"{}\" is linked already, and a node can't have two of one name; choose another",
            kind.as_str(),
            name.as_str(),
        )));
    }
    // What the built-in profile uses stays in use.
    let beside: &[&str] = match kind {
        PluginKind::Transport => &["http"],
        PluginKind::Store => &["doc", "table"],
        PluginKind::Backend | PluginKind::Auth | PluginKind::Scheduler => &[],
    };
    let files = template::files(kind, &name, beside).map_err(misnamed)?;
    let folder = path.join(name.as_str());
    let making =
        |at: &Path, error| Failure::from(Error::io("making a plugin's crate in", at.display(), error));
    fs::create_dir_all(path).map_err(|error| making(path, error))?;
    fs::create_dir(&folder).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Failure::failed(format_args!(
            "making a plugin's crate in {}: it exists already, and nothing is written over; choose another name, or another --path",
            folder.display(),
        )),
        _ => making(&folder, error),
    })?;
    for file in &files {
        let at = folder.join(&file.path);
        let write = || {
            at.parent().map_or(Ok(()), fs::create_dir_all)?;
            fs::OpenOptions::new().write(true).create_new(true).open(&at)?.write_all(file.text.as_bytes())
        };
        write().map_err(|error| making(&at, error))?;
    }
    let paths: Vec<&str> = files.iter().map(|file| &file.path[..]).collect();
    let text = format!(
        "{}\n  {}\nnext: cd {} && cargo test",
        folder.display(),
        paths.join("\n  "),
        folder.display(),
    );
    let value = json!({ "kind": kind.as_str(), "name": name.as_str(), "folder": folder, "files": paths });
    Ok(Reply::new(value, text))
}
