//! What can be tuned.

use std::path::PathBuf;
use std::sync::Arc;

use eidetica_kernel::options::OptionFault;
use eidetica_kernel::registry::{OpenContext, TransportFactory};
use eidetica_kernel::transport::{Transport, TransportCapabilities};
use eidetica_kernel::{Error, ErrorKind, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::mailbox::check_name;
use crate::transport::FolderTransport;

/// Options of the transport `folder`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FolderOptions {
    /// The folder that all nodes come by. It isn't made: where a stick is missing, nothing must take its place.
    pub folder: PathBuf,
    /// What this node is called in the folder, whatever its server is told to listen at. Without it, it is called what the server is
    /// told.
    pub name: Option<String>,
    /// How long to wait between two looks into the folder, in milliseconds.
    pub poll_ms: u64,
    /// Most messages of a link, in each direction, that wait in the folder to be read.
    pub queue_messages_max: u64,
    /// Most links to one name at a time; further ones are refused.
    pub links_max: usize,
    /// How long what was sent, and the end, may take to be written after a link was dropped, in milliseconds: while there is no room,
    /// or the folder isn't there.
    pub linger_ms: u64,
}

impl Default for FolderOptions {
    fn default() -> Self {
        Self {
            folder: "exchange".into(),
            name: None,
            poll_ms: 500,
            queue_messages_max: 256,
            links_max: 256,
            linger_ms: 60_000,
        }
    }
}

impl TransportFactory for FolderOptions {
    fn validate(&self) -> Vec<OptionFault> {
        let mut faults = Vec::new();
        if let Some(name) = &self.name
            && let Err(reason) = check_name(name)
        {
            faults.push(OptionFault::new("name", reason));
        }
        let mut within = |key, found: u64, most: u64| {
            if !(1..=most).contains(&found) {
                faults.push(OptionFault::new(key, format!("must be 1 to {most}, is {found}")));
            }
        };
        within("poll_ms", self.poll_ms, 3_600_000);
        within("queue_messages_max", self.queue_messages_max, 65_536);
        within("links_max", self.links_max as u64, 65_536);
        within("linger_ms", self.linger_ms, 30 * 86_400_000);
        faults
    }

    fn capabilities(&self) -> TransportCapabilities {
        TransportCapabilities::default().binds()
    }

    fn listen_address(&self) -> Option<String> {
        self.name.clone()
    }

    fn open(&self, context: &OpenContext) -> Result<Arc<dyn Transport>> {
        let mut options = self.clone();
        if options.folder.is_relative() {
            let Some(data) = &context.data_dir else {
                let reason = "it is relative to the node's data folder, and there is none";
                return Err(Error::new(ErrorKind::InvalidInput, "finding", self.folder.display(), reason)
                    .hint("give the folder's whole path"));
            };
            options.folder = data.join(&options.folder);
        }
        Ok(Arc::new(FolderTransport::new(options)))
    }
}
