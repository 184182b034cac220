//! Listening: a name in the folder, and looking for links that are dialled to it.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use eidetica_kernel::transport::{Address, Link, Listener};
use eidetica_kernel::{Context, Error, Result};

use crate::link;
use crate::mailbox::Mailbox;
use crate::off::{Off, off};
use crate::options::FolderOptions;
use crate::side::Side;
use crate::transport::SCHEME;

/// Shared with the look that is under way: the name is free as soon as the listener is gone.
type Shared = Arc<Mutex<Mailbox>>;

fn lock(mailbox: &Shared) -> MutexGuard<'_, Mailbox> {
    mailbox.lock().unwrap_or_else(PoisonError::into_inner)
}

enum Look {
    Closed,
    Found(io::Result<Option<Side>>),
}

pub(crate) struct FolderListener {
    address: Address,
    context: Context,
    options: FolderOptions,
    mailbox: Shared,
    looking: Off<Shared, Look>,
}

impl FolderListener {
    pub(crate) async fn bind(name: String, context: &Context, options: &FolderOptions) -> Result<Self> {
        let address = Address::new(SCHEME, name.clone());
        let (folder, token) = (options.folder.clone(), context.rng.array());
        let mailbox = off(move || Mailbox::claim(&folder, &name, token)).await??;
        let mailbox = Arc::new(Mutex::new(mailbox));
        let looking = Off::Here(mailbox.clone());
        Ok(Self { address, context: context.clone(), options: options.clone(), mailbox, looking })
    }
}

#[async_trait]
impl Listener for FolderListener {
    fn addresses(&self) -> Vec<Address> {
        vec![self.address.clone()]
    }

    async fn accept(&mut self) -> Result<Option<Link>> {
        loop {
            let looked = self.looking.run(|mailbox| {
                let mut mailbox = lock(mailbox);
                if mailbox.is_closed() { Look::Closed } else { Look::Found(mailbox.accept()) }
            });
            match looked.await? {
                Look::Closed => return Ok(None),
                Look::Found(Ok(Some(side))) => {
                    return Ok(Some(link::open(side, &self.context, &self.options)));
                }
                Look::Found(Ok(None)) => {}
                Look::Found(Err(error)) => return Err(Error::io("accepting at", &self.address, error)),
            }
            self.context.clock.sleep(Duration::from_millis(self.options.poll_ms)).await;
        }
    }

    async fn close(&mut self) -> Result<()> {
        let mailbox = self.mailbox.clone();
        off(move || lock(&mailbox).close()).await
    }
}

impl Drop for FolderListener {
    fn drop(&mut self) {
        lock(&self.mailbox).close();
    }
}
