//! What can be tuned.

use std::path::PathBuf;

use eidetica_kernel::error::excerpt;
use eidetica_kernel::options::OptionFault;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::address::{Target, address, check_path};

/// Options of the transport `http`.
///
/// ```
/// use eidetica_transport_http::HttpOptions;
///
/// let options = HttpOptions { listen: Some("127.0.0.1:0".into()), ..HttpOptions::default() };
/// assert!(options.faults().is_empty());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HttpOptions {
    /// Where to listen, `host:port`. Port 0 stands for a free one.
    pub listen: Option<String>,
    /// Addresses that others reach this node at (a proxy's, a router's), told before those that it is bound to.
    pub advertise: Vec<String>,
    /// Path of the endpoint, the same on both sides; behind a prefix it is found too.
    pub path: String,
    /// Certificates (PEM) to trust for `https` besides the system's; relative to the data folder.
    pub ca_file: Option<PathBuf>,
    /// Origins of web pages that may open links, `*` for all. Browsers name one, nodes don't.
    pub origins: Vec<String>,
    /// How long dialling may take, the handshake included, in milliseconds.
    pub connect_timeout_ms: u64,
    /// How long somebody who connected may take for the handshake, in milliseconds.
    pub handshake_timeout_ms: u64,
    /// Most handshakes at a time; one more ends the oldest.
    pub handshakes_max: usize,
    /// Most links that wait to be accepted.
    pub accept_queue_max: usize,
    /// Read buffer of each link, in bytes.
    pub read_buffer_bytes: usize,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            listen: None,
            advertise: Vec::new(),
            path: "/eidetica/v1/link".to_owned(),
            ca_file: None,
            origins: Vec::new(),
            connect_timeout_ms: 10_000,
            handshake_timeout_ms: 10_000,
            handshakes_max: 512,
            accept_queue_max: 64,
            read_buffer_bytes: 32 * 1_024,
        }
    }
}

impl HttpOptions {
    /// What is wrong with the values; pure.
    pub fn faults(&self) -> Vec<OptionFault> {
        let mut faults = Vec::new();
        let mut fault = |path: &str, message: String| faults.push(OptionFault::new(path, message));
        if let Some(Err(error)) = self.listen.as_deref().map(Target::parse_listen) {
            fault("listen", error.to_string());
        }
        for (index, text) in self.advertise.iter().enumerate() {
            if let Err(error) = address(text) {
                fault(&format!("advertise[{index}]"), error.to_string());
            }
        }
        if !self.path.starts_with('/') || self.path.len() < 2 || check_path(&self.path) != Ok(&self.path) {
            fault("path", format!("must look like \"/eidetica/v1/link\", is {}", excerpt(&self.path, 80)));
        }
        for (name, value, max) in [
            ("connect_timeout_ms", self.connect_timeout_ms, 3_600_000),
            ("handshake_timeout_ms", self.handshake_timeout_ms, 3_600_000),
            ("handshakes_max", self.handshakes_max as u64, 65_536),
            ("accept_queue_max", self.accept_queue_max as u64, 65_536),
        ] {
            if !(1..=max).contains(&value) {
                fault(name, format!("must be 1 to {max}, is {value}"));
            }
        }
        let (min, max) = (1_024, 1 << 20);
        if !(min..=max).contains(&self.read_buffer_bytes) {
            fault("read_buffer_bytes", format!("must be {min} to {max}, is {}", self.read_buffer_bytes));
        }
        faults
    }
}
