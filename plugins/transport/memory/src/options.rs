//! What can be tuned.

use eidetica_kernel::options::OptionFault;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Options of the transport `memory`.
///
/// ```
/// use eidetica_transport_memory::MemoryOptions;
///
/// let options = MemoryOptions { queue_messages_max: 1, ..MemoryOptions::default() };
/// assert!(options.faults().is_empty());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MemoryOptions {
    /// Name to listen at. Empty or "0" stands for a fresh one.
    pub listen: Option<String>,
    /// Most messages under way in one direction of a link.
    pub queue_messages_max: usize,
    /// Most bytes under way in one direction of a link; a single message always fits.
    pub queue_bytes_max: usize,
    /// Most links that wait to be accepted.
    pub accept_queue_max: usize,
    /// How long a connection attempt may wait to be queued for acceptance, in milliseconds.
    pub connect_timeout_ms: u64,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self {
            listen: None,
            queue_messages_max: 64,
            queue_bytes_max: 1 << 20,
            accept_queue_max: 64,
            connect_timeout_ms: 10_000,
        }
    }
}

/// Above this a queue is no bound any more.
const QUEUE_MAX: usize = 1 << 20;

impl MemoryOptions {
    /// What is wrong with the values.
    pub fn faults(&self) -> Vec<OptionFault> {
        let mut faults = Vec::new();
        for (name, value) in
            [("queue_messages_max", self.queue_messages_max), ("accept_queue_max", self.accept_queue_max)]
        {
            if !(1..=QUEUE_MAX).contains(&value) {
                faults.push(OptionFault::new(name, format!("must be 1 to {QUEUE_MAX}, is {value}")));
            }
        }
        if self.queue_bytes_max == 0 {
            faults.push(OptionFault::new("queue_bytes_max", "must be at least 1, is 0"));
        }
        if self.connect_timeout_ms == 0 {
            faults.push(OptionFault::new("connect_timeout_ms", "must be at least 1, is 0"));
        }
        if let Some(name) = &self.listen
            && let Err(error) = crate::network::check_listen_name(name)
        {
            faults.push(OptionFault::new("listen", error.to_string()));
        }
        faults
    }
}
