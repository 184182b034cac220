//! What is known of past exchanges: how far they came, how they went. Local, never synced.

use std::sync::Arc;

use eidetica_kernel::backend::Snapshot;
use eidetica_kernel::{Id, Result, Timestamp, ToId, ToKey};

use super::records::{self, HISTORY_MAX};
use crate::transaction::{Shared, Transaction};

/// Reads the sync state through an operation of [`Sync::sync_tree`](super::Sync::sync_tree), as it was when that first read.
///
/// The engine writes it from what peers have acknowledged; it survives restarts.
///
/// ```
/// # use eidetica::{Instance, backend::InMemory};
/// use eidetica::sync::state::SyncStateManager;
///
/// let instance = Instance::open(Box::new(InMemory::new()))?.enable_sync()?;
/// let peer = Instance::open(Box::new(InMemory::new()))?.device_key();
/// let operation = instance.sync()?.sync_tree().new_operation()?;
/// let state = SyncStateManager::new(&operation);
/// assert!(state.get_sync_metadata(&peer)?.is_none(), "never synced with");
/// # Ok::<(), eidetica::Error>(())
/// ```
pub struct SyncStateManager {
    operation: Arc<Shared>,
}

/// How far the exchange of one database with one peer has come.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SyncCursor {
    /// The last entry that either side is known to have had from the other.
    pub last_synced_entry: Option<Id>,
    /// When entries were exchanged, or both sides found equal, last.
    pub last_sync_time: Option<Timestamp>,
    /// Entries persisted here from the peer, and those the peer acknowledged.
    pub total_synced_count: u64,
    /// Entries persisted here from the peer.
    pub received_count: u64,
    /// Entries that the peer acknowledged to have persisted.
    pub acknowledged_count: u64,
}

/// How exchanges with one peer went, over all databases.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SyncMetadata {
    /// Exchanges at whose end both sides held the same.
    pub successful_sync_count: u64,
    /// Exchanges that failed: unreachable, cut, refused.
    pub failed_sync_count: u64,
    /// Entries received and acknowledged.
    pub total_entries_synced: u64,
    /// Bytes of messages about databases, both ways, before encryption.
    pub total_bytes_synced: u64,
    /// Mean time that a successful exchange took, in milliseconds; 0 before the first.
    pub average_sync_duration_ms: f64,
    /// When an exchange succeeded last.
    pub last_success: Option<Timestamp>,
    /// When one failed last.
    pub last_failure: Option<Timestamp>,
}

impl SyncMetadata {
    /// Successful exchanges among all, 0 to 1; 1 before the first.
    pub fn sync_success_rate(&self) -> f64 {
        match self.successful_sync_count + self.failed_sync_count {
            0 => 1.0,
            all => self.successful_sync_count as f64 / all as f64,
        }
    }
}

/// One exchange of one database with one peer.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SyncHistoryEntry {
    /// Names it among the exchanges with this peer.
    pub sync_id: String,
    /// The database.
    pub tree_id: Id,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub completed_at: Timestamp,
    /// Whether both sides held the same at its end.
    pub success: bool,
    /// Entries received and acknowledged in it.
    pub entries_count: u64,
    /// Bytes of its messages, both ways, before encryption.
    pub bytes_transferred: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: f64,
    /// Why it failed, if it did.
    pub error_message: Option<String>,
}

impl SyncStateManager {
    /// Reads through `operation`.
    pub fn new(operation: &Transaction) -> Self {
        Self { operation: operation.shared.clone() }
    }

    fn reader(&self) -> Result<Arc<dyn Snapshot>> {
        self.operation.reader()
    }

    /// How far the exchange of a database with a peer has come; `None` if they were never exchanged.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](eidetica_kernel::ErrorKind::InvalidInput) for text that is no key or id; those of the backend.
    pub fn get_sync_cursor(&self, peer: impl ToKey, tree: impl ToId) -> Result<Option<SyncCursor>> {
        let record = records::relation(&*self.reader()?, &peer.to_key()?, &tree.to_id()?)?;
        let cursor = record.map(|record| SyncCursor {
            last_synced_entry: record.last_entry,
            last_sync_time: record.last_exchange.max(record.last_sync),
            total_synced_count: record.received + record.acknowledged,
            received_count: record.received,
            acknowledged_count: record.acknowledged,
        });
        Ok(cursor.filter(|cursor| cursor.last_sync_time.is_some()))
    }

    /// How exchanges with a peer went; `None` if none has ended yet.
    ///
    /// # Errors
    /// As [`SyncStateManager::get_sync_cursor`].
    pub fn get_sync_metadata(&self, peer: impl ToKey) -> Result<Option<SyncMetadata>> {
        let totals = records::totals(&*self.reader()?, &peer.to_key()?)?;
        Ok(totals.map(|totals| SyncMetadata {
            successful_sync_count: totals.succeeded,
            failed_sync_count: totals.failed,
            total_entries_synced: totals.entries,
            total_bytes_synced: totals.bytes,
            average_sync_duration_ms: match totals.succeeded {
                0 => 0.0,
                count => milliseconds(totals.succeeded_us) / count as f64,
            },
            last_success: totals.last_success,
            last_failure: totals.last_failure,
        }))
    }

    /// The last exchanges with a peer, newest first: at most `most`, of the 256 that are kept.
    ///
    /// # Errors
    /// As [`SyncStateManager::get_sync_cursor`].
    pub fn get_sync_history(&self, peer: impl ToKey, most: Option<usize>) -> Result<Vec<SyncHistoryEntry>> {
        let most = most.unwrap_or(HISTORY_MAX as usize);
        let history = records::history(&*self.reader()?, &peer.to_key()?, most)?;
        let entry = |(number, record): (u64, records::HistoryRecord)| SyncHistoryEntry {
            sync_id: format!("sync-{number}"),
            tree_id: record.tree,
            started_at: record.started,
            completed_at: record.completed,
            success: record.error.is_none(),
            entries_count: record.entries,
            bytes_transferred: record.bytes,
            duration_ms: milliseconds(record.duration_us),
            error_message: record.error,
        };
        Ok(history.into_iter().map(entry).collect())
    }
}

impl std::fmt::Debug for SyncStateManager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SyncStateManager")
    }
}

fn milliseconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1_000.0
}
