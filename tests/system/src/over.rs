//! The same test over each transport.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use eidetica::backend::{Backend, InMemory};
use eidetica::sync::transports::iroh::{IrohTransport, RelayMode};
use eidetica::sync::transports::memory::MemoryTransport;
use eidetica::{Instance, Result};

use crate::node::Node;

/// Which transport a test's nodes talk over, on loopback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// WebSockets over HTTP.
    Http,
    /// QUIC; directly, without relays.
    Iroh,
    /// Within the process.
    Memory,
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

    /// As [`Over::node_on`], for a node that others reach only over a [`Route`](crate::route::Route). Two endpoints of iroh
    /// tell each other where they are bound and take the shortest way; so this one has IPv6 alone, which the others lack.
    ///
    /// # Errors
    /// Those of the instance.
    pub fn secluded_on(self, backend: Box<dyn Backend>) -> Result<Node> {
        let node = Node::open(backend)?;
        self.serve_at(&node.instance, IpAddr::V6(Ipv6Addr::LOCALHOST))?;
        Ok(node)
    }

    /// As [`Over::secluded_on`], in memory.
    ///
    /// # Errors
    /// Those of the instance.
    pub fn secluded(self) -> Result<Node> {
        self.secluded_on(Box::new(InMemory::new()))
    }

    /// Enables the transport, and listens.
    ///
    /// # Errors
    /// Those of the instance.
    pub fn serve(self, instance: &Instance) -> Result<()> {
        self.serve_at(instance, IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    fn serve_at(self, instance: &Instance, ip: IpAddr) -> Result<()> {
        self.enable_at(instance, ip)?;
        instance.sync()?.start_server(self.anywhere())
    }

    /// Enables the transport.
    ///
    /// # Errors
    /// Those of the instance.
    pub fn enable(self, instance: &Instance) -> Result<()> {
        self.enable_at(instance, IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    fn enable_at(self, instance: &Instance, ip: IpAddr) -> Result<()> {
        let sync = instance.sync()?;
        match self {
            Self::Http => sync.enable_http_transport(),
            Self::Iroh => {
                let transport = IrohTransport::builder().relay_mode(RelayMode::Disabled);
                let transport = transport.bind_address(SocketAddr::new(ip, 0)).build()?;
                sync.enable_iroh_transport_with_config(transport)
            }
            Self::Memory => sync.add_transport(Box::new(MemoryTransport::new())),
        }
    }

    /// What [`Sync::start_server`](eidetica::sync::Sync::start_server) takes for any address that is free.
    pub fn anywhere(self) -> &'static str {
        match self {
            Self::Http | Self::Iroh => "127.0.0.1:0",
            Self::Memory => "0",
        }
    }
}

/// Runs `async fn name(over: Over) -> eidetica::Result<()>` as a test for each transport that crosses a network.
#[macro_export]
macro_rules! over_http_and_iroh {
    ($($name:ident),+ $(,)?) => {
        $($crate::over! { $name: over_http Http, over_iroh Iroh })+
    };
}

/// As [`over_http_and_iroh`], and within the process, where everything is a little closer together in time.
#[macro_export]
macro_rules! over_every_transport {
    ($($name:ident),+ $(,)?) => {
        $($crate::over! { $name: over_http Http, over_iroh Iroh, over_memory Memory })+
    };
}

/// The tests of one such function.
#[doc(hidden)]
#[macro_export]
macro_rules! over {
    ($name:ident: $($test:ident $over:ident),+) => {
        mod $name {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() -> eidetica::Result<()> {
                    super::$name($crate::over::Over::$over).await
                }
            )+
        }
    };
}
