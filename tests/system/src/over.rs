//! The same test over each transport that crosses a network.

use std::net::{Ipv4Addr, SocketAddr};

use eidetica::backend::{Backend, InMemory};
use eidetica::sync::transports::iroh::{IrohTransport, RelayMode};
use eidetica::{Instance, Result};

use crate::node::Node;

/// Any port of this machine's own.
const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Which transport a test's nodes talk over, on loopback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// WebSockets over HTTP.
    Http,
    /// QUIC; directly, without relays.
    Iroh,
}

impl Over {
    /// A node in memory that listens.
    ///
    /// # Errors
    /// Those of the instance.
    pub fn node(self) -> Result<Node> {
        self.node_on(Box::new(InMemory::new()))
    }

    /// As [`Over::node`], on a backend of the test's.
    ///
    /// # Errors
    /// Those of the instance.
    pub fn node_on(self, backend: Box<dyn Backend>) -> Result<Node> {
        let node = Node::open(backend)?;
        self.serve(&node.instance)?;
        Ok(node)
    }

    /// Enables the transport, and listens.
    ///
    /// # Errors
    /// Those of the instance.
    pub fn serve(self, instance: &Instance) -> Result<()> {
        let sync = instance.sync()?;
        match self {
            Self::Http => sync.enable_http_transport()?,
            Self::Iroh => {
                let transport = IrohTransport::builder().relay_mode(RelayMode::Disabled);
                sync.enable_iroh_transport_with_config(transport.bind_address(LOOPBACK).build()?)?;
            }
        }
        sync.start_server("127.0.0.1:0")
    }
}

/// Runs `async fn name(over: Over) -> eidetica::Result<()>` as a test for each transport.
#[macro_export]
macro_rules! over_http_and_iroh {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            #[tokio::test(flavor = "multi_thread")]
            async fn over_http() -> eidetica::Result<()> {
                super::$name($crate::over::Over::Http).await
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn over_iroh() -> eidetica::Result<()> {
                super::$name($crate::over::Over::Iroh).await
            }
        }
    )+};
}
