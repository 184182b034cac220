//! The data folder and the configuration that says what is opened in it.

use std::path::PathBuf;

use eidetica_config::{Chosen, Config, Flag, Sources};

use crate::args::Global;
use crate::failure::Failure;

/// The data folder, which exists, and what is to be opened in it; nothing is open yet.
pub(crate) struct Folder {
    /// Absolute, without symbolic links.
    pub(crate) path: PathBuf,
    pub(crate) chosen: Chosen,
}

impl Folder {
    /// Reads the configuration and makes the folder if need be, for its owner only.
    pub(crate) fn find(global: &Global, listen: Option<&str>) -> Result<Self, Failure> {
        let mut chosen = configuration(global, listen)?.into_chosen();
        let path = match chosen.node.data_dir.clone() {
            Some(path) => path,
            None => {
                let platform = directories::ProjectDirs::from("", "", "eidetica");
                let platform = platform.map(|folders| folders.data_dir().to_owned());
                platform.ok_or_else(|| {
                    Failure::usage("this system has no folder for data; name one with --data")
                })?
            }
        };
        let wrong = |error: std::io::Error| {
            let reason = match error.kind() {
                std::io::ErrorKind::AlreadyExists => "it is a file, not a folder".to_owned(),
                std::io::ErrorKind::NotADirectory => "part of its path is a file, not a folder".to_owned(),
                _ => error.to_string(),
            };
            let path = path.display();
            Failure::failed(format_args!("the data folder {path}: {reason}; choose another with --data"))
        };
        make(&path).map_err(wrong)?;
        let path = path.canonicalize().map_err(wrong)?;
        chosen.node.data_dir = Some(path.clone());
        Ok(Self { path, chosen })
    }
}

/// Makes a folder that its owner alone may enter, and those above it.
pub(crate) fn make(path: &std::path::Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// The configuration that flags, environment and file make.
pub(crate) fn configuration(global: &Global, listen: Option<&str>) -> Result<Config, Failure> {
    let file = global.config.clone();
    let mut sources =
        Sources { file_required: file.is_some(), file, ..Sources::default() }.with_environment();
    sources.profile.clone_from(&global.profile);
    sources.set.clone_from(&global.set);
    if let Some(data) = &global.data {
        let text = data.to_str().filter(|text| !text.is_empty());
        let text =
            text.ok_or_else(|| Failure::usage("--data: expected a path in Unicode that isn't empty"))?;
        sources.flags.push(flag("--data", "node.data_dir", text));
    }
    if let Some(listen) = listen {
        sources.flags.push(flag("--listen", "node.listen", listen));
    }
    // Whatever is wrong with a configuration, a file that isn't there included, is for its author to put right.
    Config::load(sources).map_err(Failure::usage)
}

fn flag(flag: &str, key: &str, value: &str) -> Flag {
    Flag { flag: flag.to_owned(), key: key.to_owned(), value: value.to_owned() }
}
