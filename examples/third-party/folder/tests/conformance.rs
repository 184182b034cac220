//! The transport suite of the conformance kit, run against `folder`.

use std::any::Any;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

use eidetica_conformance::transport::{Network, Suite};
use eidetica_kernel::error::{Error, Result};
use folder_transport::{FolderOptions, FolderTransport};

/// Files that are nobody's, and a link whose first message, whose end and whose side that dialled are nonsense; every other one lacks
/// the way back.
fn nonsense(mailbox: &Path, number: usize, bytes: &[u8]) -> std::io::Result<()> {
    fs::write(mailbox.join(format!("stray-{number}")), bytes)?;
    let link = mailbox.join(format!("stranger.{number:032x}"));
    fs::create_dir_all(link.join("there"))?;
    fs::write(link.join("there/00000000000000000000"), bytes)?;
    fs::write(link.join("there/end"), bytes)?;
    if number.is_multiple_of(2) {
        fs::create_dir(link.join("back"))?;
    }
    fs::create_dir(link.join("dialled"))
}

fn main() -> ExitCode {
    Suite::new("folder", || {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let options = FolderOptions {
            folder: folder.path().to_owned(),
            poll_ms: 2,
            queue_messages_max: 32,
            ..FolderOptions::default()
        };
        let (path, strangers, listeners) =
            (folder.path().to_owned(), AtomicUsize::new(0), AtomicUsize::new(0));
        Network::new("", move || Ok(Box::new(FolderTransport::new(options.clone()))))
            .fresh(move || format!("node-{}", listeners.fetch_add(1, Ordering::Relaxed)))
            .malformed(["../up", "/tmp", ".hidden", "Alice", "-", "_", "a/b", &"x".repeat(65)])
            .raw(move |address, bytes| {
                let number = strangers.fetch_add(1, Ordering::Relaxed);
                let done = nonsense(&path.join(&address.address), number, &bytes);
                let failed = |error| Error::io("talking nonsense to", &address, error);
                let done: Result<Box<dyn Any + Send>> =
                    done.map_err(failed).map(|()| Box::new(()) as Box<dyn Any + Send>);
                Box::pin(std::future::ready(done))
            })
            .keep(folder)
    })
    .main()
}
