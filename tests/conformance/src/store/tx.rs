//! A transaction on rows in memory, for handles.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use eidetica_kernel::store::{DraftSlot, RowReader, StoreTx};
use eidetica_kernel::{Result, Timestamp};

use super::rows::MemoryRows;

/// A transaction on rows in memory: what a typed handle is opened on.
///
/// ```
/// use eidetica_conformance::store::TestTx;
/// use eidetica_kernel::store::StoreTx;
///
/// let tx = TestTx::new();
/// // `MyHandle::open(tx.clone())?`, then write through it, then:
/// assert!(tx.encode()?.is_none());
/// assert_eq!(tx.name(), "test");
/// # Ok::<(), eidetica_kernel::Error>(())
/// ```
pub struct TestTx {
    rows: Arc<dyn RowReader>,
    draft: Mutex<DraftSlot>,
    random: AtomicU64,
}

impl TestTx {
    /// A transaction on a store that nobody has written to.
    pub fn new() -> Arc<Self> {
        Self::on(Arc::new(MemoryRows::new()), 0)
    }

    /// A transaction on these rows, with random bytes from `seed`.
    pub fn on(rows: Arc<dyn RowReader>, seed: u64) -> Arc<Self> {
        Arc::new(Self { rows, draft: Mutex::new(None), random: AtomicU64::new(seed) })
    }

    /// The version and the body of the payload for what was staged.
    ///
    /// # Errors
    /// Those of the draft.
    pub fn encode(&self) -> Result<Option<(u16, Vec<u8>)>> {
        self.slot().as_mut().map_or(Ok(None), |draft| draft.encode())
    }

    fn slot(&self) -> MutexGuard<'_, DraftSlot> {
        self.draft.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StoreTx for TestTx {
    fn name(&self) -> &str {
        "test"
    }

    fn rows(&self) -> Result<Arc<dyn RowReader>> {
        Ok(self.rows.clone())
    }

    fn draft(&self) -> Result<MutexGuard<'_, DraftSlot>> {
        Ok(self.slot())
    }

    fn draft_mut(&self) -> Result<MutexGuard<'_, DraftSlot>> {
        Ok(self.slot())
    }

    fn random(&self) -> [u8; 16] {
        let mut random = super::history::Random::new(self.random.fetch_add(1, Ordering::Relaxed));
        let mut bytes = [0; 16];
        random.fill(&mut bytes);
        bytes
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000)
    }
}

impl std::fmt::Debug for TestTx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TestTx")
    }
}
