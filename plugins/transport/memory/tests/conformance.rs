//! The transport suite of the conformance kit, run against `memory`.

use std::process::ExitCode;

use eidetica_conformance::transport::{Network, Suite};
use eidetica_transport_memory::{MemoryNetwork, MemoryTransport};

fn main() -> ExitCode {
    Suite::new("memory", || {
        let network = MemoryNetwork::new();
        Network::new("0", move || Ok(Box::new(MemoryTransport::on(&network)))).malformed(["0"])
    })
    .main()
}
