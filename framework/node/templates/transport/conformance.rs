//! The transport suite of the conformance kit, run against `{{name}}`.

use std::process::ExitCode;

use eidetica_conformance::transport::{Network, Suite};
use {{ident}}::{{{Type}}Network, {{Type}}Options};

fn main() -> ExitCode {
    Suite::new("{{name}}", || {
        let network = {{Type}}Network::new();
        Network::new("", move || Ok(Box::new(network.node({{Type}}Options::default())))).malformed(["two words"])
    })
    .main()
}
