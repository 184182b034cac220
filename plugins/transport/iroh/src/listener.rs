//! Accepting links.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use eidetica_kernel::runtime::BoxFuture;
use eidetica_kernel::transport::{Link, Listener};
use eidetica_kernel::{Address, Context, Error, ErrorKind, Result};
use futures_util::future::select;
use iroh::{RelayMode, Watcher};
use tokio::sync::mpsc;

use crate::address::address;
use crate::node::Node;
use crate::reception::Door;

/// Takes the links that the endpoint's task makes ready.
pub(crate) struct IrohListener {
    node: Arc<Node>,
    door: Option<Arc<Door>>,
    ready: mpsc::Receiver<Link>,
}

impl IrohListener {
    pub(crate) async fn open(context: &Context, node: Arc<Node>) -> Result<Self> {
        let (door, ready) = node.reception.open(node.lease.clone())?;
        let listener = Self { node, door: Some(door), ready };
        listener.wait_for_relay(context).await;
        Ok(listener)
    }

    /// Waits a moment for the relay, whose address is worth telling from the start.
    async fn wait_for_relay(&self, context: &Context) {
        let wait_ms = self.node.settings.options.relay_wait_ms;
        if self.node.settings.relays == RelayMode::Disabled || wait_ms == 0 {
            return;
        }
        let online = pin!(self.node.endpoint.online());
        select(online, context.clock.sleep(Duration::from_millis(wait_ms))).await;
    }

    fn end(&mut self) {
        if let Some(door) = self.door.take() {
            self.node.reception.close(&door);
        }
        self.ready.close();
        while self.ready.try_recv().is_ok() {}
    }
}

#[async_trait]
impl Listener for IrohListener {
    fn addresses(&self) -> Vec<Address> {
        vec![address(&self.node.endpoint.addr())]
    }

    fn addresses_changed(&self) -> BoxFuture<'static, ()> {
        let mut watched = self.node.endpoint.watch_addr();
        let before = address(&watched.get());
        Box::pin(async move {
            while let Ok(now) = watched.updated().await {
                if address(&now) != before {
                    return;
                }
            }
            // The endpoint is gone: `accept` says so.
            std::future::pending().await
        })
    }

    async fn accept(&mut self) -> Result<Option<Link>> {
        if self.door.is_none() {
            return Ok(None);
        }
        tokio::select! {
            biased;
            link = self.ready.recv() => Ok(link),
            () = self.node.ended() => {
                let reason = "the endpoint has stopped";
                Err(Error::new(ErrorKind::Io, "accepting links at", "iroh", reason))
            }
        }
    }

    async fn close(&mut self) -> Result<()> {
        self.end();
        Ok(())
    }
}

impl Drop for IrohListener {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use eidetica_conformance::context::tokio_context;
    use futures_util::FutureExt;

    use super::*;
    use crate::address::{Means, parse};
    use crate::options::{IrohOptions, Relays};
    use crate::transport::IrohTransport;

    fn sockets(listener: &IrohListener) -> Vec<SocketAddr> {
        let means = Means { lookup: false, relays: false };
        let told = listener.addresses().remove(0);
        parse(&told.address, means).unwrap().ip_addrs().copied().collect()
    }

    #[tokio::test]
    async fn an_address_that_comes_or_goes_is_told_to_who_asked_before() {
        let options = IrohOptions {
            relay_mode: Relays::Disabled,
            bind: vec!["127.0.0.1:0".to_owned()],
            ..IrohOptions::default()
        };
        let transport = IrohTransport::with_options(options).unwrap();
        let context = tokio_context();
        let listener = IrohListener::open(&context, transport.node(&context).await.unwrap()).await.unwrap();
        let outside: SocketAddr = "192.0.2.7:4242".parse().unwrap();
        assert!(!sockets(&listener).contains(&outside));
        let mut changed = listener.addresses_changed();
        assert!((&mut changed).now_or_never().is_none(), "nothing has changed yet");
        listener.node.endpoint.add_external_addr(outside).await;
        tokio::time::timeout(Duration::from_secs(30), changed).await.expect("it is told");
        assert!(sockets(&listener).contains(&outside));

        let changed = listener.addresses_changed();
        assert!(listener.node.endpoint.remove_external_addr(&outside).await);
        tokio::time::timeout(Duration::from_secs(30), changed).await.expect("it is told");
        assert!(!sockets(&listener).contains(&outside));
    }
}
