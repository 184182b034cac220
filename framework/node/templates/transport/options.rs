//! What can be tuned.

use std::sync::Arc;

use eidetica_kernel::Result;
use eidetica_kernel::options::OptionFault;
use eidetica_kernel::registry::{OpenContext, TransportFactory};
use eidetica_kernel::transport::{Transport, TransportCapabilities};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::transport::{self, {{Type}}Network};

/// Above this a queue is no bound any more.
const QUEUE_MAX: usize = 65_536;

/// Options of the transport `{{name}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct {{Type}}Options {
    /// Name to listen at; the empty one stands for a fresh one. Without it the node only dials.
    pub listen: Option<String>,
    /// Most messages under way in one direction of a link.
    pub queue_messages_max: usize,
    /// How long a connection attempt waits to be accepted, in milliseconds.
    pub connect_timeout_ms: u64,
}

impl Default for {{Type}}Options {
    fn default() -> Self {
        Self { listen: None, queue_messages_max: 16, connect_timeout_ms: 10_000 }
    }
}

impl TransportFactory for {{Type}}Options {
    fn validate(&self) -> Vec<OptionFault> {
        let mut faults = Vec::new();
        if let Some(name) = &self.listen
            && let Err(reason) = transport::check_listen(name)
        {
            faults.push(OptionFault::new("listen", reason));
        }
        if !(1..=QUEUE_MAX).contains(&self.queue_messages_max) {
            let found = self.queue_messages_max;
            faults.push(OptionFault::new("queue_messages_max", format!("must be 1 to {QUEUE_MAX}, is {found}")));
        }
        if self.connect_timeout_ms == 0 {
            faults.push(OptionFault::new("connect_timeout_ms", "must be at least 1, is 0"));
        }
        faults
    }

    fn capabilities(&self) -> TransportCapabilities {
        transport::capabilities()
    }

    fn listen_address(&self) -> Option<String> {
        self.listen.clone()
    }

    fn open(&self, _context: &OpenContext) -> Result<Arc<dyn Transport>> {
        Ok(Arc::new({{Type}}Network::process().node(self.clone())))
    }
}
