//! Plugins: those that are linked, and crates to begin one's own with.

mod name;
mod new;
mod show;
mod template;

use std::collections::BTreeSet;

use eidetica_kernel::error::excerpt;
use eidetica_kernel::registry::{Plugin, Registry};
use serde_json::json;

use crate::args::Plugins;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::request::Reply;

pub(crate) fn run(command: &Plugins, output: Output) -> Result<(), Failure> {
    let registry = Registry::linked()?;
    let reply = match command {
        Plugins::List => {
            let (mut values, mut lines) = (Vec::new(), Vec::new());
            for plugin in registry.plugins() {
                let (kind, about) = (plugin.kind(), plugin.about());
                lines.push(format!(
                    "{kind:<10} {:<10} {:<13} {}",
                    about.name,
                    about.status.to_string(),
                    about.summary
                ));
                values.push(json!({
                    "kind": kind,
                    "name": about.name,
                    "status": about.status.to_string(),
                    "summary": about.summary,
                    "crate": about.crate_name,
                    "version": about.crate_version,
                }));
            }
            Reply::new(values.into(), lines.join("\n"))
        }
        Plugins::Show { kind, name } => {
            if registry.names(kind).is_empty() {
                let kinds: BTreeSet<&str> = registry.plugins().iter().map(Plugin::kind).collect();
                let kinds = kinds.into_iter().collect::<Vec<_>>().join(", ");
                let kind = excerpt(kind, 140);
                return Err(Failure::usage(format_args!(
                    "no plugin of kind {kind} is linked; kinds: {kinds}"
                )));
            }
            // What was asked for is an argument.
            let plugin = registry.find(kind, name).map_err(|error| Failure::new(Exit::Usage, error))?;
            show::show(&plugin)?
        }
        Plugins::New { kind, name, path } => new::new(*kind, name, path, &registry)?,
    };
    output.reply(&reply)
}
