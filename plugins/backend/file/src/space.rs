//! Room left on the disk.
//!
//! Once a write to its journal fails, fjall takes no more. Refusing a commit while some room is left keeps the data as it
//! was, the backend usable when room is made, and lets background work end.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use eidetica_kernel::backend::Write;
use eidetica_kernel::error::{Error, ErrorKind, Result};

/// Bytes written between two looks at the disk.
const LOOK_EVERY_BYTES: u64 = 8 << 20;

/// Longest time that a look counts: what other programs write meanwhile goes unseen. A disk that takes 2 GB a second takes
/// 100 MB in it, less than what stays free by default; and looking 20 times a second costs nothing that could be measured.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What the journal and the memory table add to a row, at most.
const ROW_OVERHEAD_BYTES: u64 = 64;

type FreeBytes = dyn Fn(&Path) -> io::Result<u64> + Send;
type Clock = dyn Fn() -> Instant + Send;

pub(crate) struct Space {
    /// Bytes free on the folder's disk.
    free_bytes: Box<FreeBytes>,
    now: Box<Clock>,
    /// When the disk was looked at last.
    looked: Option<Instant>,
    /// May be written before the next look.
    allowed_bytes: u64,
}

impl Default for Space {
    fn default() -> Self {
        Self::with(|folder| fs4::available_space(folder), Instant::now)
    }
}

impl Space {
    /// Room as `free_bytes` tells it, looked at again as `now` goes on.
    pub(crate) fn with(
        free_bytes: impl Fn(&Path) -> io::Result<u64> + Send + 'static,
        now: impl Fn() -> Instant + Send + 'static,
    ) -> Self {
        Self { free_bytes: Box::new(free_bytes), now: Box::new(now), looked: None, allowed_bytes: 0 }
    }

    /// Takes room for the writes; deletes may use part of what is otherwise left free.
    pub(crate) fn take(&mut self, folder: &Path, writes: &[Write], free_bytes_min: u64) -> Result<()> {
        let needed: u64 = writes.iter().map(bytes).sum();
        let now = (self.now)();
        let fresh = self.looked.is_some_and(|looked| now.saturating_duration_since(looked) < LOOK_EVERY);
        if fresh && needed <= self.allowed_bytes {
            self.allowed_bytes -= needed;
            return Ok(());
        }
        let free = (self.free_bytes)(folder)
            .map_err(|error| Error::io("asking for the free space of", folder.display(), error))?;
        let only_deletes = writes.iter().all(|write| matches!(write, Write::Delete(_)));
        let kept = if only_deletes { free_bytes_min / 4 } else { free_bytes_min };
        let Some(room) = free.checked_sub(kept).filter(|room| *room >= needed) else {
            self.allowed_bytes = 0;
            return Err(Error::new(
                ErrorKind::Full,
                "writing to",
                folder.display(),
                format_args!("{free} bytes are free on its disk, {kept} stay free"),
            )
            .hint("make room on the disk, or lower free_bytes_min"));
        };
        self.looked = Some(now);
        self.allowed_bytes = if only_deletes { 0 } else { (room - needed).min(LOOK_EVERY_BYTES) };
        Ok(())
    }
}

fn bytes(write: &Write) -> u64 {
    let length = match write {
        Write::Put(key, value) => key.len() + value.len(),
        Write::Delete(key) => key.len(),
    };
    length as u64 + ROW_OVERHEAD_BYTES
}
