//! What can be tuned.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use eidetica_kernel::Result;
use eidetica_kernel::options::OptionFault;
use eidetica_kernel::registry::{OpenContext, TransportFactory};
use eidetica_kernel::transport::{Transport, TransportCapabilities};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::transport::{UnixTransport, check_path};

/// Options of the transport `unix`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UnixOptions {
    /// The socket's path, absolute. Without it the node only dials.
    pub listen: Option<PathBuf>,
    /// Most messages of a link that wait to be written.
    pub queue_messages_max: usize,
    /// How long what was sent may take to be written after its link was dropped, in milliseconds.
    pub linger_ms: u64,
}

impl Default for UnixOptions {
    fn default() -> Self {
        Self { listen: None, queue_messages_max: 16, linger_ms: 10_000 }
    }
}

impl TransportFactory for UnixOptions {
    fn validate(&self) -> Vec<OptionFault> {
        let mut faults = Vec::new();
        if let Some(path) = &self.listen
            && let Err(reason) = check_path(Path::new(path))
        {
            faults.push(OptionFault::new("listen", reason));
        }
        if !(1..=65_536).contains(&self.queue_messages_max) {
            let found = self.queue_messages_max;
            faults.push(OptionFault::new("queue_messages_max", format!("must be 1 to 65536, is {found}")));
        }
        if self.linger_ms == 0 {
            faults.push(OptionFault::new("linger_ms", "must be at least 1, is 0"));
        }
        faults
    }

    fn capabilities(&self) -> TransportCapabilities {
        TransportCapabilities::default().binds()
    }

    fn listen_address(&self) -> Option<String> {
        self.listen.as_ref().map(|path| path.display().to_string())
    }

    fn open(&self, _: &OpenContext) -> Result<Arc<dyn Transport>> {
        Ok(Arc::new(UnixTransport::with_options(self.clone())))
    }
}
