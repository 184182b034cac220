//! Plugins that only have options, under the names of those that ship.

use std::sync::Arc;

use eidetica_kernel::backend::{Backend, BackendCapabilities};
use eidetica_kernel::options::{OptionFault, decode, defaults};
use eidetica_kernel::registry::{
    About, AuthFactory, BackendFactory, Descriptor, OpenContext, Plugin, Registry, Status, StoreFactory,
    TransportFactory,
};
use eidetica_kernel::transport::TransportCapabilities;
use eidetica_kernel::{AuthPolicy, Error, ErrorKind, Result, Store, Transport};
use eidetica_scheduler_standard::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const fn about(name: &'static str) -> About {
    About {
        name,
        summary: "A fake.",
        status: Status::Experimental,
        trust: "Nobody.",
        crate_name: "fakes",
        crate_version: "0.0.0",
    }
}

fn never<T>() -> Result<T> {
    Err(Error::new(ErrorKind::Bug, "opening", "a fake", "configuration opens nothing"))
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Empty {}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Disk {
    path: Option<String>,
    password: Option<String>,
    durability: Durability,
    pool: Pool,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Durability {
    Immediate,
    Eventual,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Pool {
    size_max: u32,
    names: Vec<String>,
}

impl Default for Disk {
    fn default() -> Self {
        Self { path: None, password: None, durability: Durability::Immediate, pool: Pool::default() }
    }
}

impl Default for Pool {
    fn default() -> Self {
        Self { size_max: 8, names: Vec::new() }
    }
}

impl BackendFactory for Disk {
    fn validate(&self) -> Vec<OptionFault> {
        let zero = self.pool.size_max == 0;
        zero.then(|| OptionFault::new("pool.size_max", "must be at least 1, is 0")).into_iter().collect()
    }

    fn capabilities(&self) -> BackendCapabilities {
        BackendCapabilities::default().durable()
    }

    fn open(&self, _context: &OpenContext) -> Result<Arc<dyn Backend>> {
        never()
    }
}

impl BackendFactory for Empty {
    fn capabilities(&self) -> BackendCapabilities {
        BackendCapabilities::default()
    }

    fn open(&self, _context: &OpenContext) -> Result<Arc<dyn Backend>> {
        never()
    }
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Http {
    listen: Option<String>,
}

impl TransportFactory for Http {
    fn validate(&self) -> Vec<OptionFault> {
        let portless =
            self.listen.as_ref().is_some_and(|listen| !listen.ends_with(|c: char| c.is_ascii_digit()));
        portless.then(|| OptionFault::new("listen", "must end with a port")).into_iter().collect()
    }

    fn capabilities(&self) -> TransportCapabilities {
        TransportCapabilities::default().binds()
    }

    fn listen_address(&self) -> Option<String> {
        self.listen.clone()
    }

    fn open(&self, _context: &OpenContext) -> Result<Arc<dyn Transport>> {
        never()
    }
}

const HTTP: Descriptor<dyn TransportFactory> = Descriptor {
    about: about("http"),
    schema: || schemars::schema_for!(Http).to_value(),
    defaults: defaults::<Http>,
    parse: |options| Ok(Box::new(decode::<Http>(options)?)),
};

impl TransportFactory for Empty {
    fn capabilities(&self) -> TransportCapabilities {
        TransportCapabilities::default()
    }

    fn open(&self, _context: &OpenContext) -> Result<Arc<dyn Transport>> {
        never()
    }
}

impl StoreFactory for Empty {
    fn open(&self, _context: &OpenContext) -> Result<Arc<dyn Store>> {
        never()
    }
}

impl AuthFactory for Empty {
    fn open(&self, _context: &OpenContext) -> Result<Arc<dyn AuthPolicy>> {
        never()
    }
}

macro_rules! empty {
    ($name:literal, $factory:ident) => {{
        const PLUGIN: Descriptor<dyn $factory> = Descriptor {
            about: about($name),
            schema: || schemars::schema_for!(Empty).to_value(),
            defaults: defaults::<Empty>,
            parse: |options| Ok(Box::new(decode::<Empty>(options)?)),
        };
        &PLUGIN
    }};
}

const DISK: Descriptor<dyn BackendFactory> = Descriptor {
    about: about("file"),
    schema: || schemars::schema_for!(Disk).to_value(),
    defaults: defaults::<Disk>,
    parse: |options| Ok(Box::new(decode::<Disk>(options)?)),
};

/// All of them.
pub(crate) fn registry() -> Registry {
    Registry::new([
        Plugin::Backend(&DISK),
        Plugin::Backend(empty!("memory", BackendFactory)),
        Plugin::Transport(&HTTP),
        Plugin::Transport(empty!("memory", TransportFactory)),
        Plugin::Store(empty!("doc", StoreFactory)),
        Plugin::Store(empty!("table", StoreFactory)),
        Plugin::Auth(empty!("keys", AuthFactory)),
        Plugin::Scheduler(&STANDARD),
    ])
    .unwrap()
}
