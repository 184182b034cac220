//! The backend over the engine: one commit at a time, shared flushes, closing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use eidetica_kernel::backend::{
    Backend, BackendCapabilities, Batch, KeyText, Page, Scan, Snapshot, Watch, check_key,
};
use eidetica_kernel::error::{Error, ErrorKind, Result};
use eidetica_kernel::registry::BackendFactory as _;
use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard};

use crate::engine::Engine;
use crate::flush::SharedFlush;
use crate::space::Space;
use crate::sync_thread::SyncThread;
use crate::{Durability, Options};

/// Times a flush lets waiting commits go first.
const YIELDS_MAX: usize = 4;

/// A folder on this machine's disk, held by one process at a time.
///
/// Dropping it lets the folder go without a flush; what was committed has reached the operating system all the same.
///
/// ```
/// use eidetica_backend_file::File;
/// use eidetica_kernel::ErrorKind;
///
/// let folder = tempfile::tempdir()?;
/// let backend = File::open(folder.path())?;
/// let error = File::open(folder.path()).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::InUse);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct File {
    shared: Arc<Shared>,
    /// Under [`Durability::Eventual`] only.
    sync_thread: Option<SyncThread>,
}

/// Lock order: `writing`, then `engine`.
struct Shared {
    folder: PathBuf,
    options: Options,
    /// `None` once closed.
    engine: RwLock<Option<Engine>>,
    writing: Mutex<Space>,
    /// Commits that wait for `writing`.
    waiting: AtomicUsize,
    flush: SharedFlush,
    commits: Arc<AtomicU64>,
    /// The value of `commits` that the disk has confirmed.
    flushed: AtomicU64,
}

impl File {
    /// Opens the folder, making it where there is none, with default options.
    ///
    /// # Errors
    /// [`ErrorKind::InUse`] when it is held already, [`ErrorKind::Corrupt`] when it is damaged,
    /// [`ErrorKind::InvalidInput`] when a file is in its place, [`ErrorKind::PermissionDenied`], [`ErrorKind::Io`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(Options { path: path.as_ref().to_owned(), ..Options::default() })
    }

    /// Opens the folder `options.path`, a relative one taken from the current directory.
    ///
    /// # Errors
    /// As [`File::open`]; [`ErrorKind::InvalidInput`] for bad options.
    pub fn open_with(options: Options) -> Result<Self> {
        if let Some(fault) = options.validate().first() {
            let folder = options.path.display();
            return Err(Error::new(ErrorKind::InvalidInput, "opening", folder, fault));
        }
        let engine = Engine::open(&options)?;
        let shared = Arc::new(Shared {
            folder: engine.path().to_owned(),
            engine: RwLock::new(Some(engine)),
            writing: Mutex::default(),
            waiting: AtomicUsize::new(0),
            flush: SharedFlush::default(),
            commits: Arc::default(),
            flushed: AtomicU64::new(0),
            options,
        });
        let sync_thread = match shared.options.durability {
            Durability::Immediate => None,
            Durability::Eventual => Some(SyncThread::start(shared.options.sync_interval_ms, {
                let shared = shared.clone();
                move || drop(shared.sync())
            })?),
        };
        Ok(Self { shared, sync_thread })
    }

    /// The folder, as an absolute path.
    pub fn path(&self) -> &Path {
        &self.shared.folder
    }

    fn shut(&self) -> Result<()> {
        if let Some(thread) = &self.sync_thread {
            thread.stop();
        }
        let Some(engine) = self.shared.engine.write().take() else { return Ok(()) };
        // Nobody else holds the engine now. Neither is a failed flush tried again.
        let flushed = self.shared.flush.check().and_then(|()| engine.sync());
        let closed = engine.close();
        flushed.and(closed)
    }
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("File").field(&self.shared.folder).finish()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        if let Some(thread) = &self.sync_thread {
            thread.stop();
        }
        // Snapshots may outlive this handle; the folder's lock must not.
        drop(self.shared.engine.write().take());
    }
}

impl Backend for File {
    fn capabilities(&self) -> BackendCapabilities {
        self.shared.options.capabilities()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        check_key(key)?;
        self.shared.engine()?.get()?.get_now(key)
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        match keys {
            [] => Ok(Vec::new()),
            // A snapshot keeps several keys together; one needs none.
            [key] => Ok(vec![self.get(key)?]),
            keys => {
                let engine = self.shared.engine()?;
                let engine = engine.get()?;
                get_many(engine, &engine.snapshot(), keys)
            }
        }
    }

    fn scan(&self, scan: &Scan) -> Result<Page> {
        let engine = self.shared.engine()?;
        let engine = engine.get()?;
        engine.scan(&engine.snapshot(), scan)
    }

    fn snapshot(&self) -> Result<Arc<dyn Snapshot>> {
        let snapshot = self.shared.engine()?.get()?.snapshot();
        Ok(Arc::new(FileSnapshot { shared: self.shared.clone(), snapshot }))
    }

    fn commit(&self, batch: Batch) -> Result<()> {
        batch.check_limits()?;
        self.shared.flush.check()?;
        let (preconditions, writes) = batch.into_parts();
        let mut space = self.shared.writing_turn();
        let engine = self.shared.engine()?;
        let engine = engine.get()?;
        if let Some(violated) = engine.violated(&preconditions)? {
            return Err(Error::new(
                ErrorKind::Conflict,
                "committing a batch on",
                KeyText(violated.key()),
                "its value isn't the expected one",
            ));
        }
        if writes.is_empty() {
            return Ok(());
        }
        space.take(engine.path(), &writes, self.shared.options.free_bytes_min)?;
        engine.apply(writes)?;
        self.shared.commits.fetch_add(1, Ordering::Release);
        if let Some(thread) = &self.sync_thread {
            thread.wake();
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        match self.shared.options.durability {
            Durability::Immediate => self.shared.sync(),
            Durability::Eventual => {
                self.shared.engine()?;
                self.shared.flush.check()
            }
        }
    }

    fn watch(&self, _prefix: &[u8]) -> Option<Box<dyn Watch>> {
        let commits = self.shared.commits.clone();
        let seen = commits.load(Ordering::Acquire);
        Some(Box::new(CommitWatch { commits, seen }))
    }

    fn close(&self) -> Result<()> {
        self.shut()
    }
}

/// The engine, kept open as long as this lives.
struct OpenEngine<'a>(RwLockReadGuard<'a, Option<Engine>>, &'a Path);

impl OpenEngine<'_> {
    fn get(&self) -> Result<&Engine> {
        self.0
            .as_ref()
            .ok_or_else(|| Error::new(ErrorKind::Closed, "using", self.1.display(), "it was closed"))
    }
}

impl Shared {
    fn engine(&self) -> Result<OpenEngine<'_>> {
        let engine = OpenEngine(self.engine.read(), &self.folder);
        engine.get()?;
        Ok(engine)
    }

    fn writing_turn(&self) -> MutexGuard<'_, Space> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let turn = self.writing.lock();
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        turn
    }

    /// Returns when the disk has confirmed what was committed before the call.
    fn sync(&self) -> Result<()> {
        self.engine()?;
        self.flush.run(|| {
            // fjall takes no writes while the disk works: those who wait for their turn get it first, so that one
            // confirmation serves them all.
            let mut turn = self.writing.lock();
            for _ in 0..YIELDS_MAX {
                if self.waiting.load(Ordering::Relaxed) == 0 {
                    break;
                }
                MutexGuard::bump(&mut turn);
            }
            let engine = self.engine()?;
            let engine = engine.get()?;
            let commits = self.commits.load(Ordering::Acquire);
            if self.flushed.load(Ordering::Acquire) != commits {
                engine.sync()?;
                self.flushed.store(commits, Ordering::Release);
            }
            MutexGuard::unlock_fair(turn);
            Ok(())
        })
    }
}

fn get_many(engine: &Engine, snapshot: &fjall::Snapshot, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
    keys.iter().try_for_each(|key| check_key(key))?;
    keys.iter().map(|key| engine.get(snapshot, key)).collect()
}

struct FileSnapshot {
    shared: Arc<Shared>,
    snapshot: fjall::Snapshot,
}

impl Snapshot for FileSnapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        check_key(key)?;
        self.shared.engine()?.get()?.get(&self.snapshot, key)
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        get_many(self.shared.engine()?.get()?, &self.snapshot, keys)
    }

    fn scan(&self, scan: &Scan) -> Result<Page> {
        self.shared.engine()?.get()?.scan(&self.snapshot, scan)
    }
}

/// Any commit may have touched the prefix.
struct CommitWatch {
    commits: Arc<AtomicU64>,
    seen: u64,
}

impl Watch for CommitWatch {
    fn changed(&mut self) -> bool {
        let now = self.commits.load(Ordering::Acquire);
        std::mem::replace(&mut self.seen, now) != now
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    const MIB: u64 = 1 << 20;

    /// A disk of which the test says how much is free and how late it is.
    #[derive(Clone)]
    struct Disk {
        free: Arc<AtomicU64>,
        looks: Arc<AtomicU64>,
        now: Arc<Mutex<Instant>>,
    }

    impl Disk {
        fn with_free(free: u64) -> Self {
            let now = Arc::new(Mutex::new(Instant::now()));
            Self { free: Arc::new(AtomicU64::new(free)), looks: Arc::default(), now }
        }

        fn space(&self) -> Space {
            let (disk, clock) = (self.clone(), self.now.clone());
            Space::with(
                move |_| {
                    disk.looks.fetch_add(1, Ordering::Relaxed);
                    Ok(disk.free.load(Ordering::Relaxed))
                },
                move || *clock.lock(),
            )
        }

        fn pass(&self, time: Duration) {
            *self.now.lock() += time;
        }
    }

    fn put(backend: &File, key: &str, value: &[u8]) -> Result<()> {
        let mut batch = Batch::new();
        batch.put(key.to_owned(), value.to_vec());
        backend.commit(batch)
    }

    #[test]
    fn a_disk_that_others_fill_refuses_commits_until_there_is_room_again() {
        let folder = tempfile::tempdir().unwrap();
        let backend = File::open(folder.path()).unwrap();
        let disk = Disk::with_free(1_000 * MIB);
        *backend.shared.writing.lock() = disk.space();
        put(&backend, "a", b"1").unwrap();
        disk.free.store(100 * MIB, Ordering::Relaxed);
        disk.pass(Duration::from_millis(50));
        for _ in 0..2 {
            let error = put(&backend, "b", b"1").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Full);
            assert!(error.to_string().contains("make room on the disk"), "{error}");
        }
        backend.flush().unwrap();
        let mut forget = Batch::new();
        forget.delete("a");
        backend.commit(forget).unwrap();
        disk.free.store(1_000 * MIB, Ordering::Relaxed);
        put(&backend, "b", b"1").unwrap();
        backend.flush().unwrap();
        assert!(backend.get(b"a").unwrap().is_none() && backend.get(b"b").unwrap().is_some());
    }

    #[test]
    fn commits_in_quick_succession_share_a_look_at_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let backend = File::open(folder.path()).unwrap();
        let disk = Disk::with_free(1_000 * MIB);
        *backend.shared.writing.lock() = disk.space();
        for at in 0..1_000 {
            put(&backend, &at.to_string(), b"1").unwrap();
        }
        assert_eq!(disk.looks.load(Ordering::Relaxed), 1);
        disk.pass(Duration::from_millis(50));
        put(&backend, "later", b"1").unwrap();
        assert_eq!(disk.looks.load(Ordering::Relaxed), 2);
        for at in 0..9 {
            put(&backend, &at.to_string(), &vec![0; MIB as usize]).unwrap();
        }
        assert_eq!(disk.looks.load(Ordering::Relaxed), 3, "8 MiB were written");
    }
}
