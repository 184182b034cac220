//! Which plugins are linked: descriptors, gathered by `inventory` or by hand.
//!
//! A descriptor is a `const`, so that naming one yourself is as good as registering it:
//!
//! ```
//! use eidetica_kernel::registry::{Plugin, Registry};
//!
//! let registry = Registry::new([])?; // or Registry::linked()?
//! let error = registry.backend("file").unwrap_err();
//! assert!(error.to_string().contains("no backend \"file\" is linked"));
//! # Ok::<(), eidetica_kernel::Error>(())
//! ```

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::auth::AuthPolicy;
use crate::backend::{Backend, BackendCapabilities};
use crate::error::{Error, ErrorKind, Result};
use crate::options::{Deserializer, OptionFault, plain_descriptions};
use crate::scheduler::SyncScheduler;
use crate::store::Store;
use crate::transport::{Transport, TransportCapabilities};

/// How far a plugin can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Its options and formats are kept compatible.
    Stable,
    /// It may change or go.
    Experimental,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stable => "stable",
            Self::Experimental => "experimental",
        })
    }
}

/// What a plugin is, for people and for error messages.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// The name by which a config file selects it, `[a-z0-9_-]+`.
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// How far it can be relied on.
    pub status: Status,
    /// What it trusts its peers, or its disk, to be: one sentence.
    pub trust: &'static str,
    /// The crate it comes from.
    pub crate_name: &'static str,
    /// That crate's version.
    pub crate_version: &'static str,
}

/// A plugin as a constant: what it is, and how its options become a factory.
pub struct Descriptor<Factory: ?Sized> {
    /// What it is.
    pub about: About,
    /// JSON schema of its options.
    pub schema: fn() -> serde_json::Value,
    /// Its default options.
    pub defaults: fn() -> serde_json::Value,
    /// Decodes options; opens nothing.
    pub parse: fn(Deserializer<'_, '_>) -> Result<Box<Factory>, OptionFault>,
}

impl<Factory: ?Sized> Descriptor<Factory> {
    fn with_defaults(&self) -> Result<Box<Factory>, OptionFault> {
        (self.parse)(&mut <dyn erased_serde::Deserializer<'_>>::erase((self.defaults)()))
    }
}

impl<Factory: ?Sized> fmt::Debug for Descriptor<Factory> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Descriptor").field(&self.about).finish()
    }
}

/// What a factory may want to know when it opens its plugin.
#[derive(Clone, Debug, Default)]
pub struct OpenContext {
    /// The node's data folder; options with relative paths are taken from here.
    pub data_dir: Option<PathBuf>,
}

/// Decoded, validated options of a backend.
pub trait BackendFactory: fmt::Debug + Send + Sync {
    /// What is wrong with the values; pure.
    fn validate(&self) -> Vec<OptionFault> {
        Vec::new()
    }

    /// What the backend will be able to do; pure.
    fn capabilities(&self) -> BackendCapabilities;

    /// Opens it.
    ///
    /// # Errors
    /// [`ErrorKind::InUse`], [`ErrorKind::Io`], [`ErrorKind::Corrupt`], …
    fn open(&self, context: &OpenContext) -> Result<Arc<dyn Backend>>;
}

/// Decoded, validated options of a transport.
pub trait TransportFactory: fmt::Debug + Send + Sync {
    /// What is wrong with the values; pure.
    fn validate(&self) -> Vec<OptionFault> {
        Vec::new()
    }

    /// What the transport will be able to do; pure.
    fn capabilities(&self) -> TransportCapabilities;

    /// The address to listen at, where the options name one.
    fn listen_address(&self) -> Option<String> {
        None
    }

    /// Makes it. Sockets are opened later, by [`Transport::listen`] and [`Transport::connect`].
    ///
    /// # Errors
    /// Whatever stands in the way.
    fn open(&self, context: &OpenContext) -> Result<Arc<dyn Transport>>;
}

/// Decoded, validated options of a store kind.
pub trait StoreFactory: fmt::Debug + Send + Sync {
    /// What is wrong with the values; pure.
    fn validate(&self) -> Vec<OptionFault> {
        Vec::new()
    }

    /// Makes it.
    ///
    /// # Errors
    /// Whatever stands in the way.
    fn open(&self, context: &OpenContext) -> Result<Arc<dyn Store>>;
}

/// Decoded, validated options of a policy of rights.
pub trait AuthFactory: fmt::Debug + Send + Sync {
    /// What is wrong with the values; pure.
    fn validate(&self) -> Vec<OptionFault> {
        Vec::new()
    }

    /// Makes it.
    ///
    /// # Errors
    /// Whatever stands in the way.
    fn open(&self, context: &OpenContext) -> Result<Arc<dyn AuthPolicy>>;
}

/// Decoded, validated options of a scheduler.
pub trait SchedulerFactory: fmt::Debug + Send + Sync {
    /// What is wrong with the values; pure.
    fn validate(&self) -> Vec<OptionFault> {
        Vec::new()
    }

    /// Makes it; `seed` feeds its jitter.
    fn open(&self, seed: u64) -> Box<dyn SyncScheduler>;
}

/// A linked plugin of any kind.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Plugin {
    /// Where bytes rest.
    Backend(&'static Descriptor<dyn BackendFactory>),
    /// How two nodes reach each other.
    Transport(&'static Descriptor<dyn TransportFactory>),
    /// What a payload means.
    Store(&'static Descriptor<dyn StoreFactory>),
    /// Who may read, write, join.
    Auth(&'static Descriptor<dyn AuthFactory>),
    /// When to sync what with whom.
    Scheduler(&'static Descriptor<dyn SchedulerFactory>),
}

impl Plugin {
    /// `backend`, `transport`, `store`, `auth` or `scheduler`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Backend(_) => "backend",
            Self::Transport(_) => "transport",
            Self::Store(_) => "store",
            Self::Auth(_) => "auth",
            Self::Scheduler(_) => "scheduler",
        }
    }

    /// What it is.
    pub fn about(&self) -> &'static About {
        match self {
            Self::Backend(plugin) => &plugin.about,
            Self::Transport(plugin) => &plugin.about,
            Self::Store(plugin) => &plugin.about,
            Self::Auth(plugin) => &plugin.about,
            Self::Scheduler(plugin) => &plugin.about,
        }
    }

    /// JSON schema of its options; what is said in it is for people who don't read Rust.
    pub fn schema(&self) -> serde_json::Value {
        let mut schema = match self {
            Self::Backend(plugin) => (plugin.schema)(),
            Self::Transport(plugin) => (plugin.schema)(),
            Self::Store(plugin) => (plugin.schema)(),
            Self::Auth(plugin) => (plugin.schema)(),
            Self::Scheduler(plugin) => (plugin.schema)(),
        };
        plain_descriptions(&mut schema);
        schema
    }

    /// The names of what it can do with its default options, sorted; kinds that declare nothing have none.
    ///
    /// # Errors
    /// The option whose default it doesn't take itself.
    pub fn capabilities(&self) -> Result<Vec<&'static str>, OptionFault> {
        match self {
            Self::Backend(plugin) => Ok(plugin.with_defaults()?.capabilities().names()),
            Self::Transport(plugin) => Ok(plugin.with_defaults()?.capabilities().names()),
            Self::Store(_) | Self::Auth(_) | Self::Scheduler(_) => Ok(Vec::new()),
        }
    }

    /// Its default options.
    pub fn defaults(&self) -> serde_json::Value {
        match self {
            Self::Backend(plugin) => (plugin.defaults)(),
            Self::Transport(plugin) => (plugin.defaults)(),
            Self::Store(plugin) => (plugin.defaults)(),
            Self::Auth(plugin) => (plugin.defaults)(),
            Self::Scheduler(plugin) => (plugin.defaults)(),
        }
    }
}

#[doc(hidden)]
pub struct Registered(pub Plugin);

inventory::collect!(Registered);

/// The linked plugins, sorted by (kind, name), each name once per kind.
#[derive(Clone, Debug)]
pub struct Registry {
    plugins: Vec<Plugin>,
}

impl Registry {
    /// A registry of exactly these.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when two of a kind share a name; it names both crates.
    pub fn new(plugins: impl IntoIterator<Item = Plugin>) -> Result<Self> {
        let mut plugins: Vec<Plugin> = plugins.into_iter().collect();
        plugins.sort_by_key(|plugin| (plugin.kind(), plugin.about().name, plugin.about().crate_name));
        for pair in plugins.windows(2) {
            let [first, second] = pair else { continue };
            if first.kind() == second.kind() && first.about().name == second.about().name {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    "linking plugins",
                    "",
                    format_args!(
                        "two crates register a {} \"{}\": {} {} and {} {}",
                        first.kind(),
                        first.about().name,
                        first.about().crate_name,
                        first.about().crate_version,
                        second.about().crate_name,
                        second.about().crate_version,
                    ),
                )
                .hint("link only one of them"));
            }
        }
        Ok(Self { plugins })
    }

    /// Every plugin that the linker put into this program and that registered itself.
    ///
    /// # Errors
    /// As [`Registry::new`].
    pub fn linked() -> Result<Self> {
        Self::new(inventory::iter::<Registered>.into_iter().map(|registered| registered.0))
    }

    /// All of them, sorted by (kind, name).
    pub fn plugins(&self) -> &[Plugin] {
        &self.plugins
    }

    /// The names of one kind, sorted.
    pub fn names(&self, kind: &str) -> Vec<&'static str> {
        self.plugins.iter().filter(|plugin| plugin.kind() == kind).map(|plugin| plugin.about().name).collect()
    }

    /// The plugin of that kind and name.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], listing what is linked.
    pub fn find(&self, kind: &str, name: &str) -> Result<Plugin> {
        let found = self.plugins.iter().find(|plugin| plugin.kind() == kind && plugin.about().name == name);
        found.copied().ok_or_else(|| {
            let linked = self.names(kind).join(", ");
            let linked = if linked.is_empty() { "none".to_owned() } else { linked };
            Error::new(
                ErrorKind::NotFound,
                "selecting a plugin",
                "",
                format_args!("no {kind} \"{name}\" is linked; linked: {linked}"),
            )
            .hint("a plugin crate is linked only if the source names it: `use that_crate as _;`")
        })
    }

    /// The backend of that name.
    ///
    /// # Errors
    /// As [`Registry::find`].
    pub fn backend(&self, name: &str) -> Result<&'static Descriptor<dyn BackendFactory>> {
        match self.find("backend", name)? {
            Plugin::Backend(descriptor) => Ok(descriptor),
            other => Err(mismatch(other)),
        }
    }

    /// The transport of that name.
    ///
    /// # Errors
    /// As [`Registry::find`].
    pub fn transport(&self, name: &str) -> Result<&'static Descriptor<dyn TransportFactory>> {
        match self.find("transport", name)? {
            Plugin::Transport(descriptor) => Ok(descriptor),
            other => Err(mismatch(other)),
        }
    }

    /// The store kind of that name.
    ///
    /// # Errors
    /// As [`Registry::find`].
    pub fn store(&self, name: &str) -> Result<&'static Descriptor<dyn StoreFactory>> {
        match self.find("store", name)? {
            Plugin::Store(descriptor) => Ok(descriptor),
            other => Err(mismatch(other)),
        }
    }

    /// The policy of rights of that name.
    ///
    /// # Errors
    /// As [`Registry::find`].
    pub fn auth(&self, name: &str) -> Result<&'static Descriptor<dyn AuthFactory>> {
        match self.find("auth", name)? {
            Plugin::Auth(descriptor) => Ok(descriptor),
            other => Err(mismatch(other)),
        }
    }

    /// The scheduler of that name.
    ///
    /// # Errors
    /// As [`Registry::find`].
    pub fn scheduler(&self, name: &str) -> Result<&'static Descriptor<dyn SchedulerFactory>> {
        match self.find("scheduler", name)? {
            Plugin::Scheduler(descriptor) => Ok(descriptor),
            other => Err(mismatch(other)),
        }
    }
}

fn mismatch(plugin: Plugin) -> Error {
    Error::new(ErrorKind::Bug, "selecting a plugin", plugin.about().name, "it was listed under another kind")
}

#[doc(hidden)]
pub mod private {
    pub use inventory;
}

/// Registers a `const` descriptor of a backend: `register_backend!(MEMORY);`.
#[macro_export]
macro_rules! register_backend {
    ($descriptor:expr) => {
        $crate::registry::private::inventory::submit! {
            $crate::registry::Registered($crate::registry::Plugin::Backend(&$descriptor))
        }
    };
}

/// Registers a `const` descriptor of a transport: `register_transport!(HTTP);`.
#[macro_export]
macro_rules! register_transport {
    ($descriptor:expr) => {
        $crate::registry::private::inventory::submit! {
            $crate::registry::Registered($crate::registry::Plugin::Transport(&$descriptor))
        }
    };
}

/// Registers a `const` descriptor of a store kind: `register_store!(DOC);`.
#[macro_export]
macro_rules! register_store {
    ($descriptor:expr) => {
        $crate::registry::private::inventory::submit! {
            $crate::registry::Registered($crate::registry::Plugin::Store(&$descriptor))
        }
    };
}

/// Registers a `const` descriptor of a policy of rights: `register_auth!(KEYS);`.
#[macro_export]
macro_rules! register_auth {
    ($descriptor:expr) => {
        $crate::registry::private::inventory::submit! {
            $crate::registry::Registered($crate::registry::Plugin::Auth(&$descriptor))
        }
    };
}

/// Registers a `const` descriptor of a scheduler: `register_scheduler!(STANDARD);`.
#[macro_export]
macro_rules! register_scheduler {
    ($descriptor:expr) => {
        $crate::registry::private::inventory::submit! {
            $crate::registry::Registered($crate::registry::Plugin::Scheduler(&$descriptor))
        }
    };
}
