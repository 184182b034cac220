//! The backend `file` of Eidetica: a folder on this machine's disk, held by one process at a time.
//!
//! It stands on the log-structured engine fjall. A commit is written to the journal and handed to the operating system, so
//! that it survives the death of this process; [`flush`](eidetica_kernel::Backend::flush) makes it survive power loss.
//! Concurrent flushes share one `fdatasync`.
//!
//! A journal's room (64 MiB, sparse) is set aside when it is begun, so that a flush has no new length to write. Where power
//! fails while a batch is on its way to the disk, opening drops that batch, whichever of its sectors are missing, and keeps what
//! was flushed; what is dropped though its end was there rests in a file `torn-*` beside `rows`. A journal that was opened again grows instead: until the next one is begun, a flush takes about a third longer.
//!
//! ```
//! use eidetica_backend_file::File;
//! use eidetica_kernel::backend::{Backend, Batch};
//!
//! let folder = tempfile::tempdir()?;
//! let backend = File::open(folder.path().join("data"))?;
//! let mut batch = Batch::new();
//! batch.put("greeting", "hello");
//! backend.commit(batch)?;
//! backend.flush()?;
//! backend.close()?;
//!
//! let again = File::open(folder.path().join("data"))?;
//! assert_eq!(again.get(b"greeting")?.as_deref(), Some(&b"hello"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod engine;
mod failure;
mod file;
mod flush;
mod folder;
mod options;
mod space;
mod sync_thread;
mod torn;

use eidetica_kernel::options::{decode, defaults};
use eidetica_kernel::registry::{About, BackendFactory, Descriptor, Status};

pub use file::File;
pub use options::{Durability, Options};

/// The plugin `file`.
pub const FILE: Descriptor<dyn BackendFactory> = Descriptor {
    about: About {
        name: "file",
        summary: "A folder on this machine's disk, held by one process at a time",
        status: Status::Stable,
        trust: "The disk keeps what fdatasync confirmed; whoever can read the folder (mode 0700) reads the rows.",
        crate_name: env!("CARGO_PKG_NAME"),
        crate_version: env!("CARGO_PKG_VERSION"),
    },
    schema: || schemars::schema_for!(Options).to_value(),
    defaults: defaults::<Options>,
    parse: |options| Ok(Box::new(decode::<Options>(options)?)),
};

eidetica_kernel::register_backend!(FILE);
