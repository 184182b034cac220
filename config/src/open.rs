//! From chosen plugins to an open instance.

use eidetica::Instance;
use eidetica::sync::Sync;
use eidetica_kernel::Result;

use crate::chosen::Chosen;
use crate::config::Config;
use crate::sections::Admission;

impl Config {
    /// Opens what was chosen; see [`Chosen::open`].
    ///
    /// # Errors
    /// As [`Chosen::open`].
    pub fn open(&self) -> Result<Instance> {
        self.chosen().open()
    }
}

impl Chosen {
    /// Opens the backend and an instance over it, with sync enabled and the chosen transports in it; the peers of the
    /// file are registered. Nothing listens yet: that is for [`Chosen::listen`].
    ///
    /// ```no_run
    /// let instance = eidetica_config::Config::load("node.toml")?.open()?;
    /// # Ok::<(), eidetica::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the plugins: a folder in use, a disk that can't be read, ….
    pub fn open(&self) -> Result<Instance> {
        let context = self.open_context();
        let mut builder = Instance::builder().shared_backend(self.backend.open(&context)?);
        for (_, transport) in &self.transports {
            builder = builder.transport(transport.open(&context)?);
        }
        for (_, store) in &self.stores {
            builder = builder.store_kind(store.open(&context)?);
        }
        builder = builder.auth_policy(self.auth.open(&context)?);
        let scheduler = self.scheduler.clone();
        builder = builder.scheduler(Box::new(move |seed| scheduler.open(seed)));
        let advertised = self.node.advertise.iter().map(eidetica::sync::ToAddress::to_address);
        builder = builder.advertise(advertised.collect::<Result<Vec<_>>>()?);
        let instance = builder.open()?.enable_sync()?;
        let sync = instance.sync()?;
        sync.set_admission(match self.admission {
            Admission::Deny => eidetica::sync::Admission::Deny,
            Admission::Manual => eidetica::sync::Admission::Manual,
            Admission::Automatic { cap } => eidetica::sync::Admission::Automatic { cap },
        });
        for peer in &self.peers {
            if sync.get_peer_info(peer.key)?.is_none() {
                sync.register_peer(peer.key, peer.name.as_deref())?;
            }
            for address in &peer.addresses {
                sync.add_peer_address(peer.key, eidetica::sync::ToAddress::to_address(address)?)?;
            }
            for database in &peer.databases {
                sync.add_tree_sync(peer.key, *database)?;
            }
        }
        Ok(instance)
    }

    /// Listens at [`Chosen::listen_address`]. Where that leaves the port open, at the port of last time if it is free, which the
    /// data folder remembers: tickets and peers do so too.
    ///
    /// ```no_run
    /// # async fn example() -> eidetica::Result<()> {
    /// let config = eidetica_config::Config::load("node.toml")?;
    /// let instance = config.open()?;
    /// config.chosen().listen(&instance.sync()?).await?;
    /// println!("{:?}", instance.sync()?.get_server_addresses()?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As `Sync::start_server`: an address that can't be bound, no transport that is chosen, ….
    pub async fn listen(&self, sync: &Sync) -> Result<()> {
        let address = self.listen_address().unwrap_or_default();
        let remembered = self.node.data_dir.as_ref().map(|folder| folder.join("port"));
        let (Some(host), Some(remembered)) = (address.strip_suffix(":0"), remembered) else {
            return sync.start_server_async(address).await;
        };
        let port = std::fs::read_to_string(&remembered).ok();
        if let Some(port) = port.and_then(|text| text.trim().parse::<u16>().ok())
            && sync.start_server_async(format!("{host}:{port}")).await.is_ok()
        {
            return Ok(());
        }
        sync.start_server_async(&address).await?;
        if let Some((_, port)) = sync.get_server_address()?.rsplit_once(':')
            && let Err(error) = std::fs::write(&remembered, port)
        {
            tracing::warn!(%error, "the port couldn't be remembered; the next start takes another one");
        }
        Ok(())
    }

    /// Where to listen: what the node's table says, else what the first transport that binds says.
    pub fn listen_address(&self) -> Option<String> {
        let own = self.node.listen.clone();
        own.or_else(|| self.transports.iter().find_map(|(_, transport)| transport.listen_address()))
    }
}
