//! Commands that need no node: plugins, configuration, completions.

use clap::CommandFactory;
use eidetica_kernel::registry::Registry;
use serde_json::json;

use crate::args::{Args, Config, Global, Plugins};
use crate::failure::{Exit, Failure};
use crate::folder::configuration;
use crate::output::Output;
use crate::request::Reply;

pub(crate) fn plugins(command: &Plugins, output: Output) -> Result<(), Failure> {
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
            // What was asked for is an argument.
            let plugin = registry.find(kind, name).map_err(|error| Failure::new(Exit::Usage, error))?;
            let (about, defaults, schema) = (plugin.about(), plugin.defaults(), plugin.schema());
            let text = format!(
                "{kind} {name}: {}\nstatus    {}\ntrust     {}\ncrate     {} {}\ndefaults  {defaults:#}\nschema    {schema:#}",
                about.summary, about.status, about.trust, about.crate_name, about.crate_version,
            );
            let value = json!({
                "kind": kind,
                "name": name,
                "summary": about.summary,
                "status": about.status.to_string(),
                "trust": about.trust,
                "crate": about.crate_name,
                "version": about.crate_version,
                "defaults": defaults,
                "schema": schema,
            });
            Reply::new(value, text)
        }
    };
    output.reply(&reply)
}

pub(crate) fn config(global: &Global, command: &Config, output: Output) -> Result<(), Failure> {
    let reply = match command {
        Config::Check => {
            let profile = configuration(global, None)?.profile();
            Reply::new(json!({ "ok": true, "profile": profile }), format!("in order, for profile {profile}"))
        }
        Config::Show => {
            let config = configuration(global, None)?;
            let lines: Vec<String> = config.show().iter().map(ToString::to_string).collect();
            let value = |setting: &eidetica_config::Setting| json!({ "key": setting.key, "value": setting.value, "origin": setting.origin });
            Reply::new(config.show().iter().map(value).collect(), lines.join("\n"))
        }
        Config::Schema => {
            let schema = eidetica_config::schema(&Registry::linked()?);
            let text = format!("{schema:#}");
            Reply::new(schema, text)
        }
    };
    output.reply(&reply)
}

pub(crate) fn completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "eidetica", &mut script);
    Output { json: false }.piece(&String::from_utf8_lossy(&script))
}
