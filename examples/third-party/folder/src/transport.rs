//! Dialling, and what an address is.

use async_trait::async_trait;
use eidetica_kernel::error::excerpt;
use eidetica_kernel::transport::{Address, Link, Listener, Transport, TransportCapabilities};
use eidetica_kernel::{Context, Error, ErrorKind, Result};

use crate::link;
use crate::listener::FolderListener;
use crate::mailbox::{check_name, dial, link_name};
use crate::off::off;
use crate::options::FolderOptions;

pub(crate) const SCHEME: &str = "folder";

/// Links as files in a folder.
#[derive(Clone, Debug)]
pub struct FolderTransport {
    options: FolderOptions,
}

impl FolderTransport {
    /// Over the folder that the options name.
    pub fn new(options: FolderOptions) -> Self {
        Self { options }
    }
}

fn read(text: &str) -> Result<String> {
    check_name(text).map(|()| text.to_owned()).map_err(|reason| {
        Error::new(ErrorKind::InvalidInput, "reading the folder address", excerpt(text, 80), reason)
            .hint("such addresses look like \"folder:alice\"")
    })
}

#[async_trait]
impl Transport for FolderTransport {
    fn scheme(&self) -> &'static str {
        SCHEME
    }

    fn capabilities(&self) -> TransportCapabilities {
        TransportCapabilities::default().binds()
    }

    fn parse_address(&self, text: &str) -> Result<Address> {
        Ok(Address::new(SCHEME, read(text)?))
    }

    async fn listen(&self, context: &Context, address: &str) -> Result<Box<dyn Listener>> {
        let name = read(self.options.name.as_deref().unwrap_or(address))?;
        Ok(Box::new(FolderListener::bind(name, context, &self.options).await?))
    }

    async fn connect(&self, context: &Context, address: &Address) -> Result<Link> {
        if address.transport_type != SCHEME {
            let reason = "it isn't the address of a node in a folder";
            return Err(Error::new(ErrorKind::InvalidInput, "connecting to", address, reason));
        }
        let name = read(&address.address)?;
        let link_name = link_name(self.options.name.as_deref(), context.rng.array());
        let (folder, links_max) = (self.options.folder.clone(), self.options.links_max);
        // Dropped while it waits, what it makes is dropped too, and so ended.
        let side = off(move || dial(&folder, &name, &link_name, links_max)).await??;
        Ok(link::open(side, context, &self.options).remote(address.clone()))
    }
}
