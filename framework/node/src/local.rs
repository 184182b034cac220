//! Commands that need no node: configuration, completions.

use clap::CommandFactory;
use eidetica_kernel::registry::Registry;
use serde_json::json;

use crate::args::{Args, Config, Global};
use crate::failure::Failure;
use crate::folder::configuration;
use crate::output::Output;
use crate::request::Reply;

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
