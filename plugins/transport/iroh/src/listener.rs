//! Accepting links.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use eidetica_kernel::transport::{Link, Listener};
use eidetica_kernel::{Address, Context, Error, ErrorKind, Result};
use futures_util::future::select;
use iroh::RelayMode;
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
