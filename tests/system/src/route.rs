//! The way to a node, which a test watches and cuts.

use std::io::{Error, Result};

use eidetica::sync::{Address, Sync};

use crate::node::Node;
use crate::over::Over;
use crate::proxy::{Proxy, Rules};
use crate::relay::{Relay, Weather};

/// The way to a node over one transport: through a [`Proxy`] or a [`Relay`].
pub struct Route {
    /// What lies on the way.
    pub between: Between,
    server: Sync,
    listens: String,
}

/// What lies on the way.
pub enum Between {
    /// HTTP passes through it.
    Proxy(Proxy),
    /// QUIC passes through it.
    Relay(Relay),
    /// In memory there is nothing between.
    Nothing,
}

impl Route {
    /// The way to `node` over the transport that it serves. Where all traffic has to pass over it, the node is one of
    /// [`Over::secluded`].
    ///
    /// # Errors
    /// Those of sockets; those of a node that doesn't listen.
    pub async fn to(over: Over, node: &Node) -> Result<Self> {
        let listens = node.address().map_err(Error::other)?;
        let between = match over {
            Over::Http => Between::Proxy(Proxy::to(&listens).await?),
            Over::Iroh => Between::Relay(Relay::to(&listens).await?),
            Over::Memory => Between::Nothing,
        };
        Ok(Self { between, server: node.instance.sync().map_err(Error::other)?, listens })
    }

    /// Where to dial.
    pub fn address(&self) -> String {
        match &self.between {
            Between::Proxy(proxy) => proxy.address(),
            Between::Relay(relay) => relay.ticket().to_owned(),
            Between::Nothing => format!("memory:{}", self.listens),
        }
    }

    /// As [`Route::address`], with the transport's name.
    pub fn at(&self) -> Address {
        let transport = match &self.between {
            Between::Proxy(_) => "http",
            Between::Relay(_) => "iroh",
            Between::Nothing => return Address::new("memory", &self.listens),
        };
        Address::new(transport, self.address())
    }

    /// Bytes that have passed since the last reset, both ways; 0 in memory.
    pub fn passed(&self) -> u64 {
        match &self.between {
            Between::Proxy(proxy) => proxy.passed(),
            Between::Relay(relay) => relay.passed(),
            Between::Nothing => 0,
        }
    }

    /// Counts from 0 again; everything passes.
    pub fn reset(&self) {
        match &self.between {
            Between::Proxy(proxy) => proxy.reset(Rules::default()),
            Between::Relay(relay) => relay.reset(Weather::default()),
            Between::Nothing => {}
        }
    }

    /// Ends the links over it. Nobody passes until [`Route::heal`].
    ///
    /// TCP is cut. Silence is what QUIC bears for 15 s, so there the node itself stops to listen.
    ///
    /// # Errors
    /// Those of the node.
    pub async fn cut(&self) -> eidetica::Result<()> {
        match &self.between {
            Between::Proxy(proxy) => {
                proxy.reset(Rules { refuse: true, ..Rules::default() });
                proxy.cut();
                Ok(())
            }
            Between::Relay(_) | Between::Nothing => self.server.stop_server_async().await,
        }
    }

    /// Undoes [`Route::cut`], and counts from 0 again.
    ///
    /// # Errors
    /// Those of the node.
    pub async fn heal(&self) -> eidetica::Result<()> {
        self.reset();
        match &self.between {
            Between::Proxy(_) => Ok(()),
            Between::Relay(_) | Between::Nothing => self.server.start_server_async(&self.listens).await,
        }
    }

    /// Counts from 0 again; once so many bytes have passed, links break: over TCP they end, over QUIC nothing passes any more.
    pub fn break_after(&self, bytes: u64) {
        match &self.between {
            Between::Proxy(proxy) => proxy.reset(Rules { cut_after: Some(bytes), ..Rules::default() }),
            Between::Relay(relay) => relay.reset(Weather { drop_after: Some(bytes), ..Weather::default() }),
            Between::Nothing => {}
        }
    }

    /// Counts from 0 again; once so many bytes have passed, nothing passes any more, and links stay open.
    pub fn stall_after(&self, bytes: u64) {
        match &self.between {
            Between::Proxy(proxy) => proxy.reset(Rules { stall_after: Some(bytes), ..Rules::default() }),
            Between::Relay(relay) => relay.reset(Weather { drop_after: Some(bytes), ..Weather::default() }),
            Between::Nothing => {}
        }
    }
}
