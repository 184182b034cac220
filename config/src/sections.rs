//! The tables that belong to no plugin.

use std::path::PathBuf;

use eidetica_kernel::error::excerpt;
use eidetica_kernel::transport::ADDRESS_BYTES_MAX;
use eidetica_kernel::{Id, Permission, PublicKey};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The tables of a profile, sorted.
pub(crate) const SECTIONS: [&str; 8] =
    ["admission", "auth", "backend", "node", "peer", "scheduler", "store", "transport"];

/// Who may join the databases of this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Admission {
    /// Nobody; requests are refused.
    Deny,
    /// Whom a person lets in; requests wait.
    #[default]
    Manual,
    /// Everybody, up to a permission.
    Automatic {
        /// The most that is granted.
        cap: Permission,
    },
}

/// `[default.admission]`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AdmissionTable {
    /// Who may join: nobody (deny), whom a person lets in (manual), everybody up to the cap (automatic).
    pub(crate) mode: Mode,
    /// The most that automatic admission grants.
    #[schemars(with = "Cap")]
    pub(crate) cap: Permission,
}

impl Default for AdmissionTable {
    fn default() -> Self {
        Self { mode: Mode::Manual, cap: Permission::Write }
    }
}

impl AdmissionTable {
    pub(crate) fn admission(&self) -> Admission {
        match self.mode {
            Mode::Deny => Admission::Deny,
            Mode::Manual => Admission::Manual,
            Mode::Automatic => Admission::Automatic { cap: self.cap },
        }
    }
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    Deny,
    Manual,
    Automatic,
}

/// What a [`Permission`] looks like in a file.
#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "it stands for its schema")]
enum Cap {
    Read,
    Write,
    Admin,
}

/// `[default.node]`: the node itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Node {
    /// The data folder; without it the platform's.
    pub data_dir: Option<PathBuf>,
    /// The address that transports listen at, over what their own options say: `host:port`; port 0 takes a free one.
    pub listen: Option<String>,
    /// The addresses that tickets carry, for a node behind a proxy or NAT; without it, those it listens at.
    pub advertise: Vec<String>,
}

impl Node {
    pub(crate) fn faults(&self) -> Vec<(String, String)> {
        let mut faults = Vec::new();
        let empty = |text: &Option<String>| text.as_ref().is_some_and(|text| text.trim().is_empty());
        if empty(&self.listen) {
            faults.push(("listen".to_owned(), "expected an address, found empty text".to_owned()));
        }
        if self.data_dir.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
            faults.push(("data_dir".to_owned(), "expected a folder, found empty text".to_owned()));
        }
        addresses("advertise", &self.advertise, &mut faults);
        faults
    }
}

/// `[[default.peer]]`: a node to sync with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its key.
    pub key: PublicKey,
    /// What to call it.
    pub name: Option<String>,
    /// Where it can be reached.
    pub addresses: Vec<String>,
    /// The databases to sync with it; they need not be here yet.
    pub databases: Vec<Id>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PeerTable {
    /// Its key: `ed25519:` and 64 hex digits, as `eidetica status` prints it.
    pub(crate) key: String,
    /// What to call it.
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// Where it can be reached, best first: `https://…`, `host:port`, `type:rest`.
    #[serde(default)]
    pub(crate) addresses: Vec<String>,
    /// The ids of the databases to sync with it; they need not be here yet.
    #[serde(default)]
    pub(crate) databases: Vec<String>,
}

impl PeerTable {
    /// The peer, or what is wrong with which key.
    pub(crate) fn peer(&self) -> Result<Peer, Vec<(String, String)>> {
        let mut faults = Vec::new();
        let key = self.key.parse::<PublicKey>();
        if key.is_err() {
            let message = format!(
                "expected \"ed25519:\" and 64 lowercase hex digits, found {}",
                excerpt(&self.key, 80)
            );
            faults.push(("key".to_owned(), message));
        }
        addresses("addresses", &self.addresses, &mut faults);
        let mut databases = Vec::new();
        for (at, text) in self.databases.iter().enumerate() {
            match text.parse::<Id>() {
                Ok(id) => databases.push(id),
                Err(_) => faults.push((
                    format!("databases[{at}]"),
                    format!("expected a database id, 64 lowercase hex digits, found {}", excerpt(text, 80)),
                )),
            }
        }
        match key {
            Ok(key) if faults.is_empty() => {
                Ok(Peer { key, name: self.name.clone(), addresses: self.addresses.clone(), databases })
            }
            _ => Err(faults),
        }
    }
}

/// The notation beyond that is the transport's.
fn addresses(key: &str, addresses: &[String], faults: &mut Vec<(String, String)>) {
    for (at, address) in addresses.iter().enumerate() {
        let plausible = address.contains(':')
            && address.len() <= ADDRESS_BYTES_MAX
            && !address.contains(|c: char| c.is_whitespace() || c.is_control());
        if !plausible {
            faults.push((
                format!("{key}[{at}]"),
                format!(
                    "expected an address as https://…, host:port or type:rest, found {}",
                    excerpt(address, 80)
                ),
            ));
        }
    }
}
