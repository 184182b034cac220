//! Instances to measure, and a backend that tells what it is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use eidetica::backend::{Backend, InMemory};
use eidetica::crdt::Doc;
use eidetica::store::DocStore;
use eidetica::{Database, Instance, User};
use eidetica_kernel::backend::{
    BackendCapabilities, Batch, Page, Scan, Snapshot, Watch, Write, for_each_row,
};
use parking_lot::{Condvar, Mutex};

use crate::Result;

/// The store that all of them write to.
pub(crate) const STORE: &str = "data";

/// An instance with one user and one database.
pub(crate) struct Node {
    pub(crate) instance: Instance,
    pub(crate) user: User,
}

impl Node {
    pub(crate) fn open(backend: Arc<dyn Backend>) -> Result<Self> {
        let instance = Instance::builder().shared_backend(backend).open()?;
        instance.create_user("user", None)?;
        let user = instance.login_user("user", None)?;
        Ok(Self { instance, user })
    }

    /// With the user and the databases that the backend holds.
    pub(crate) fn reopen(backend: Arc<dyn Backend>) -> Result<Self> {
        let instance = Instance::builder().shared_backend(backend).open()?;
        let user = instance.login_user("user", None)?;
        Ok(Self { instance, user })
    }

    /// With HTTP on a free port of the loopback interface.
    pub(crate) fn serving(backend: Arc<dyn Backend>) -> Result<Self> {
        let node = Self::open(backend)?;
        let sync = node.instance.enable_sync()?.sync()?;
        sync.enable_http_transport()?;
        sync.start_server("127.0.0.1:0")?;
        Ok(node)
    }

    pub(crate) fn database(&self) -> Result<Database> {
        Ok(self.user.create_database(Doc::new(), self.user.get_default_key()?)?)
    }
}

pub(crate) fn memory() -> Arc<dyn Backend> {
    Arc::new(InMemory::new())
}

/// Bytes of the keys and values that a backend holds.
pub(crate) fn held_bytes(backend: &dyn Backend) -> Result<u64> {
    let mut bytes = 0;
    for_each_row(
        Scan::all(),
        |scan| backend.scan(scan),
        |(key, value)| {
            bytes += (key.len() + value.len()) as u64;
            Ok(())
        },
    )?;
    Ok(bytes)
}

/// The `n`-th key; all have the same length.
pub(crate) fn key(n: usize) -> String {
    format!("key-{n:08}")
}

/// Sets the `n`-th key, in a commit of its own.
pub(crate) fn commit(database: &Database, n: usize) -> Result<()> {
    let transaction = database.new_transaction()?;
    transaction.get_store::<DocStore>(STORE)?.set(key(n), n as i64)?;
    transaction.commit()?;
    Ok(())
}

/// Sets keys `0..count`, a thousand per commit.
pub(crate) fn fill(database: &Database, count: usize) -> Result<()> {
    for start in (0..count).step_by(1_000) {
        let transaction = database.new_transaction()?;
        let store = transaction.get_store::<DocStore>(STORE)?;
        for n in start..count.min(start + 1_000) {
            store.set(key(n), n as i64)?;
        }
        transaction.commit()?;
    }
    Ok(())
}

/// Passes everything on to another backend; counts commits, and wakes those who wait for one.
pub(crate) struct Observed {
    inner: Arc<dyn Backend>,
    bytes: AtomicU64,
    commits: Mutex<u64>,
    committed: Condvar,
}

impl Observed {
    pub(crate) fn new(inner: Arc<dyn Backend>) -> Arc<Self> {
        Arc::new(Self { inner, bytes: AtomicU64::new(0), commits: Mutex::new(0), committed: Condvar::new() })
    }

    /// Bytes of keys and values written so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Asks after every commit until `answer` comes, for 20 s at most.
    pub(crate) fn wait_for<T>(&self, mut answer: impl FnMut() -> Option<T>) -> Result<T> {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let before = *self.commits.lock();
            if let Some(answer) = answer() {
                return Ok(answer);
            }
            let mut commits = self.commits.lock();
            while *commits == before {
                if self.committed.wait_until(&mut commits, end).timed_out() {
                    return Err("what was waited for didn't come within 20 s".into());
                }
            }
        }
    }
}

impl Backend for Observed {
    fn capabilities(&self) -> BackendCapabilities {
        self.inner.capabilities()
    }

    fn get(&self, key: &[u8]) -> eidetica::Result<Option<Bytes>> {
        self.inner.get(key)
    }

    fn get_many(&self, keys: &[&[u8]]) -> eidetica::Result<Vec<Option<Bytes>>> {
        self.inner.get_many(keys)
    }

    fn scan(&self, scan: &Scan) -> eidetica::Result<Page> {
        self.inner.scan(scan)
    }

    fn snapshot(&self) -> eidetica::Result<Arc<dyn Snapshot>> {
        self.inner.snapshot()
    }

    fn commit(&self, batch: Batch) -> eidetica::Result<()> {
        let written = batch.writes().iter().map(|write| match write {
            Write::Put(key, value) => key.len() + value.len(),
            Write::Delete(key) => key.len(),
        });
        let bytes: usize = written.sum();
        self.inner.commit(batch)?;
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        *self.commits.lock() += 1;
        self.committed.notify_all();
        Ok(())
    }

    fn flush(&self) -> eidetica::Result<()> {
        self.inner.flush()
    }

    fn watch(&self, prefix: &[u8]) -> Option<Box<dyn Watch>> {
        self.inner.watch(prefix)
    }

    fn close(&self) -> eidetica::Result<()> {
        self.inner.close()
    }
}
