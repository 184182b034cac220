//! Room left on the disk.
//!
//! Once a write to its journal fails, fjall takes no more. Refusing a commit while some room is left keeps the data as it
//! was, the backend usable when room is made, and lets background work end.

use std::path::Path;

use eidetica_kernel::backend::Write;
use eidetica_kernel::error::{Error, ErrorKind, Result};

/// Bytes written between two looks at the disk.
const LOOK_EVERY_BYTES: u64 = 8 << 20;

/// What the journal and the memory table add to a row, at most.
const ROW_OVERHEAD_BYTES: u64 = 64;

#[derive(Debug, Default)]
pub(crate) struct Space {
    /// May be written before the next look.
    allowed_bytes: u64,
}

impl Space {
    /// Takes room for the writes; deletes may use part of what is otherwise left free.
    pub(crate) fn take(&mut self, folder: &Path, writes: &[Write], free_bytes_min: u64) -> Result<()> {
        let needed: u64 = writes.iter().map(bytes).sum();
        if needed <= self.allowed_bytes {
            self.allowed_bytes -= needed;
            return Ok(());
        }
        let free = fs4::available_space(folder)
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
