//! What can be tuned.

use std::path::PathBuf;
use std::sync::Arc;

use eidetica_kernel::backend::{Backend, BackendCapabilities};
use eidetica_kernel::error::Result;
use eidetica_kernel::options::OptionFault;
use eidetica_kernel::registry::{BackendFactory, OpenContext};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::File;

/// What a flush guarantees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// A flush returns when the disk has confirmed: power loss loses nothing that was flushed.
    #[default]
    Immediate,
    /// A flush returns at once and the disk is asked in the background, at most `sync_interval_ms` later: power loss may
    /// lose the commits of that time. The death of the process alone loses nothing.
    Eventual,
}

/// Options of the backend `file`.
///
/// ```
/// use eidetica_backend_file::{Durability, Options};
/// use eidetica_kernel::registry::{BackendFactory, OpenContext};
///
/// let folder = tempfile::tempdir()?;
/// let options = Options { durability: Durability::Eventual, ..Options::default() };
/// let backend = options.open(&OpenContext { data_dir: Some(folder.path().into()) })?;
/// assert!(!backend.capabilities().durable);
/// assert!(folder.path().join("data").is_dir());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// The folder; a relative path is taken from the node's data folder.
    pub path: PathBuf,
    /// What a flush guarantees: `immediate` or `eventual`.
    pub durability: Durability,
    /// Longest time from a commit to the disk's confirmation under `eventual`, in milliseconds.
    pub sync_interval_ms: u64,
    /// Memory for blocks read from disk, in bytes.
    pub cache_bytes: u64,
    /// Memory for rows not yet sorted into files, in bytes. Bounds what is replayed when the folder is opened.
    pub write_buffer_bytes: u64,
    /// Disk space of the journals, in bytes.
    pub journal_bytes_max: u64,
    /// Values of at least this many bytes rest in files of their own, so that sorting rows doesn't copy them.
    pub large_value_bytes: u32,
    /// Disk space that is left free, in bytes: a commit that would go below it fails as on a full disk.
    pub free_bytes_min: u64,
}

const MIB: u64 = 1 << 20;
const JOURNAL_BYTES_MIN: u64 = 64 * MIB;

impl Default for Options {
    fn default() -> Self {
        Self {
            path: PathBuf::from("data"),
            durability: Durability::Immediate,
            sync_interval_ms: 1_000,
            cache_bytes: 64 * MIB,
            write_buffer_bytes: 32 * MIB,
            journal_bytes_max: 128 * MIB,
            large_value_bytes: 8 << 10,
            free_bytes_min: 128 * MIB,
        }
    }
}

impl BackendFactory for Options {
    fn validate(&self) -> Vec<OptionFault> {
        let mut faults = Vec::new();
        if self.path.as_os_str().is_empty() {
            faults.push(OptionFault::new("path", "must name a folder, is empty"));
        }
        let mut at_least = |name: &str, value: u64, least: u64| {
            if value < least {
                faults.push(OptionFault::new(name, format!("must be at least {least}, is {value}")));
            }
        };
        at_least("sync_interval_ms", self.sync_interval_ms, 1);
        at_least("cache_bytes", self.cache_bytes, MIB);
        at_least("write_buffer_bytes", self.write_buffer_bytes, MIB);
        at_least("journal_bytes_max", self.journal_bytes_max, JOURNAL_BYTES_MIN);
        at_least("large_value_bytes", self.large_value_bytes.into(), 256);
        if self.sync_interval_ms > 3_600_000 {
            let message = format!("must be at most 3600000 (an hour), is {}", self.sync_interval_ms);
            faults.push(OptionFault::new("sync_interval_ms", message));
        }
        faults
    }

    fn capabilities(&self) -> BackendCapabilities {
        match self.durability {
            Durability::Immediate => BackendCapabilities::default().durable(),
            Durability::Eventual => BackendCapabilities::default(),
        }
    }

    fn open(&self, context: &OpenContext) -> Result<Arc<dyn Backend>> {
        let mut options = self.clone();
        if let Some(data_dir) = &context.data_dir {
            options.path = data_dir.join(&options.path);
        }
        Ok(Arc::new(File::open_with(options)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bad_values_are_reported_at_once() {
        let options =
            Options { path: PathBuf::new(), cache_bytes: 0, journal_bytes_max: 1, ..Options::default() };
        let paths: Vec<String> = options.validate().into_iter().map(|fault| fault.path).collect();
        assert_eq!(paths, ["path", "cache_bytes", "journal_bytes_max"]);
        assert!(Options::default().validate().is_empty());
    }
}
