//! The transport suite of the conformance kit, run against `iroh`, on loopback and without relays.

use std::any::Any;
use std::process::ExitCode;

use eidetica_conformance::transport::{Network, Suite};
use eidetica_kernel::error::{Error, ErrorKind, Result};
use eidetica_transport_iroh::{IrohOptions, IrohTransport, Relays};
use iroh::Endpoint;
use iroh::endpoint::presets;
use iroh_tickets::endpoint::EndpointTicket;

/// The protocol that links are opened by.
const ALPN: &[u8] = b"eidetica/1";

fn failed(error: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Unreachable, "talking nonsense over", "iroh", error)
}

/// A stranger with an endpoint of its own, which opens a stream and writes the bytes.
async fn raw(address: String, bytes: Vec<u8>) -> Result<Box<dyn Any + Send>> {
    let ticket: EndpointTicket = address.parse().map_err(failed)?;
    let endpoint = Endpoint::builder(presets::Minimal)
        .clear_ip_transports()
        .bind_addr("127.0.0.1:0")
        .map_err(failed)?
        .bind()
        .await
        .map_err(failed)?;
    let connection = endpoint.connect(ticket, ALPN).await.map_err(failed)?;
    let (mut outgoing, incoming) = connection.open_bi().await.map_err(failed)?;
    // It may have been cut off already.
    outgoing.write_all(&bytes).await.ok();
    Ok(Box::new((endpoint, connection, outgoing, incoming)))
}

fn main() -> ExitCode {
    Suite::new("iroh", || {
        let node = || {
            let bind = vec!["127.0.0.1:0".to_owned()];
            let options = IrohOptions { relay_mode: Relays::Disabled, bind, ..IrohOptions::default() };
            Ok(Box::new(IrohTransport::with_options(options)?) as Box<dyn eidetica_kernel::Transport>)
        };
        Network::new("", node)
            .malformed(["127.0.0.1:80", "abc123", "endpointaaaa"])
            .raw(|address, bytes| Box::pin(raw(address.address, bytes)))
    })
    .main()
}
