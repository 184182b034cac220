//! What can be tuned.

use std::net::SocketAddr;

use eidetica_kernel::error::excerpt;
use eidetica_kernel::options::OptionFault;
use iroh::{RelayMode, RelayUrl};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which relays help where no direct way is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Relays {
    /// Those that the makers of iroh run.
    #[default]
    Default,
    /// Those that the makers of iroh run for tests.
    Staging,
    /// None: nodes reach each other directly or not at all.
    Disabled,
    /// Those in [`IrohOptions::relay_urls`].
    Custom,
}

/// Options of the transport `iroh`.
///
/// ```
/// use eidetica_transport_iroh::{IrohOptions, Relays};
///
/// let options = IrohOptions { relay_mode: Relays::Disabled, bind: vec!["127.0.0.1:0".into()], ..IrohOptions::default() };
/// assert!(options.faults().is_empty());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct IrohOptions {
    /// Which relays to use: `default`, `staging`, `disabled` or `custom`.
    pub relay_mode: Relays,
    /// The relays of `custom`, like `https://relay.example.com`.
    pub relay_urls: Vec<String>,
    /// Where to bind, `ip:port`, at most one per address family. Port 0 stands for a free one. Empty: every interface.
    pub bind: Vec<String>,
    /// Publishes where this node is at the makers' of iroh, and asks there for others, so that a bare key is an address.
    pub address_lookup: bool,
    /// Asks the router to forward a port (UPnP, PCP, NAT-PMP). Never done on loopback addresses.
    pub port_mapping: bool,
    /// How long dialling may take, until the other side has taken the link, in milliseconds.
    pub connect_timeout_ms: u64,
    /// How long somebody who connected may take for the handshake, and may then have no link, in milliseconds.
    pub handshake_timeout_ms: u64,
    /// How long listening waits for a relay at most, so that the first address told has it, in milliseconds. 0: not at all.
    pub relay_wait_ms: u64,
    /// Most connections without a link; one more ends the oldest.
    pub handshakes_max: usize,
    /// Most links that wait to be accepted.
    pub accept_queue_max: usize,
    /// Most links that one endpoint may open to this one.
    pub links_per_endpoint_max: u32,
    /// Most bytes of a link that have come and weren't received yet; of a connection, four times as many.
    pub receive_window_bytes: u32,
}

impl Default for IrohOptions {
    fn default() -> Self {
        Self {
            relay_mode: Relays::Default,
            relay_urls: Vec::new(),
            bind: Vec::new(),
            address_lookup: false,
            port_mapping: true,
            connect_timeout_ms: 10_000,
            handshake_timeout_ms: 10_000,
            relay_wait_ms: 800,
            handshakes_max: 512,
            accept_queue_max: 64,
            links_per_endpoint_max: 64,
            receive_window_bytes: 1 << 20,
        }
    }
}

impl IrohOptions {
    /// What is wrong with the values; pure.
    pub fn faults(&self) -> Vec<OptionFault> {
        let mut faults = Vec::new();
        let mut fault = |path: &str, message: String| faults.push(OptionFault::new(path, message));
        match (self.relay_mode, self.relay_urls.is_empty()) {
            (Relays::Custom, true) => {
                fault("relay_urls", "must name a relay, as relay_mode is \"custom\"".to_owned());
            }
            (Relays::Custom, false) | (_, true) => {}
            (_, false) => fault("relay_urls", "is for relay_mode = \"custom\" alone".to_owned()),
        }
        for (index, text) in self.relay_urls.iter().enumerate() {
            if let Err(reason) = relay_url(text) {
                fault(&format!("relay_urls[{index}]"), reason);
            }
        }
        let mut bound: Vec<SocketAddr> = Vec::new();
        for (index, text) in self.bind.iter().enumerate() {
            let path = format!("bind[{index}]");
            match text.parse::<SocketAddr>() {
                Ok(address) if bound.iter().any(|other| other.is_ipv4() == address.is_ipv4()) => {
                    fault(&path, format!("is a second one of its address family: {address}"));
                }
                Ok(address) => bound.push(address),
                Err(_) => fault(
                    &path,
                    format!("must look like \"0.0.0.0:4802\" or \"[::]:4802\", is {}", excerpt(text, 80)),
                ),
            }
        }
        for (name, value, min, max) in [
            ("connect_timeout_ms", self.connect_timeout_ms, 1, 3_600_000),
            ("handshake_timeout_ms", self.handshake_timeout_ms, 1, 3_600_000),
            ("relay_wait_ms", self.relay_wait_ms, 0, 60_000),
            ("handshakes_max", self.handshakes_max as u64, 1, 65_536),
            ("accept_queue_max", self.accept_queue_max as u64, 1, 65_536),
            ("links_per_endpoint_max", self.links_per_endpoint_max.into(), 1, 65_536),
            ("receive_window_bytes", self.receive_window_bytes.into(), 65_536, 1 << 28),
        ] {
            if !(min..=max).contains(&value) {
                fault(name, format!("must be {min} to {max}, is {value}"));
            }
        }
        faults
    }

    /// The relays that these options name. What is faulty is left out.
    pub(crate) fn relays(&self) -> RelayMode {
        match self.relay_mode {
            Relays::Default => RelayMode::Default,
            Relays::Staging => RelayMode::Staging,
            Relays::Disabled => RelayMode::Disabled,
            Relays::Custom => {
                RelayMode::custom(self.relay_urls.iter().filter_map(|text| relay_url(text).ok()))
            }
        }
    }

    /// The sockets that these options name. What is faulty is left out.
    pub(crate) fn sockets(&self) -> Vec<SocketAddr> {
        self.bind.iter().filter_map(|text| text.parse().ok()).collect()
    }
}

fn relay_url(text: &str) -> Result<RelayUrl, String> {
    let wrong = || format!("must look like \"https://relay.example.com\", is {}", excerpt(text, 80));
    let url: RelayUrl = text.parse().map_err(|_| wrong())?;
    let served = matches!(url.scheme(), "https" | "http") && url.has_host();
    if served { Ok(url) } else { Err(wrong()) }
}
