//! The transport `folder`: links as files in a folder that both nodes come by, whether at once, by a program that copies it, or on a
//! stick that is carried from one to the other.
//!
//! Addresses are names: `folder:alice` is who listens as `alice` in the folder that the options name, wherever it is mounted here.
//!
//! ```text
//! FOLDER/alice/listens                 locked while alice listens
//! FOLDER/alice/bob.0f3a…/dialled       locked while the dialler has the link
//! FOLDER/alice/bob.0f3a…/accepted      made by alice, locked while she has the link
//! FOLDER/alice/bob.0f3a…/there/        from the dialler to alice
//! FOLDER/alice/bob.0f3a…/back/         from alice to the dialler
//!     00000000000000000007             a message; whoever has read it removes it
//!     end                              nothing follows the messages whose number this is
//!     deaf                             nobody reads here any more
//! ```
//!
//! Each file is written under a name with a dot in front and renamed. Links have no keepalive: nobody can tell who is slow, or on
//! the way, from who has gone. Who leaves says so by `end` and `deaf`, and whoever is last removes the link. What a node that was
//! killed has left behind, it ends when it listens again under its name.

mod link;
mod listener;
mod mailbox;
mod off;
mod options;
mod side;
mod transport;

use eidetica_kernel::options::{decode, defaults};
use eidetica_kernel::registry::{About, Descriptor, Status, TransportFactory};

pub use options::FolderOptions;
pub use transport::FolderTransport;

/// The plugin `folder`.
pub const FOLDER: Descriptor<dyn TransportFactory> = Descriptor {
    about: About {
        name: "folder",
        summary: "Links as files in a folder that both nodes come by, a stick that is carried too",
        status: Status::Experimental,
        trust: "Whoever may write to the folder may connect and say anything, and end the links of others",
        crate_name: env!("CARGO_PKG_NAME"),
        crate_version: env!("CARGO_PKG_VERSION"),
    },
    schema: || schemars::schema_for!(FolderOptions).to_value(),
    defaults: defaults::<FolderOptions>,
    parse: |given| Ok(Box::new(decode::<FolderOptions>(given)?)),
};

eidetica_kernel::register_transport!(FOLDER);
