#![doc = include_str!("../README.md")]

pub mod book;
mod channel;
mod database;
mod engine;
mod history;
mod instance;
mod keyring;
mod past;
mod preferences;
mod runtime;
mod step;
mod subscription;
pub mod sync;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod testing;
mod transaction;
pub mod user;

pub use eidetica_kernel::{Error, ErrorKind, Id, KeyId, Result, ToId, ToKey};

pub use self::database::{Database, PermissionEntry, ToGrantee, Why};
pub use self::engine::derive::Verified;
pub use self::history::{Entries, EntryInfo, Origin};
pub use self::instance::{Instance, InstanceBuilder, MakeScheduler};
pub use self::past::{Diff, Past};
pub use self::subscription::{Change, Event, Position, Subscription};
pub use self::transaction::Transaction;
pub use self::user::User;

/// Where bytes rest.
pub mod backend {
    #[cfg(feature = "file")]
    pub use eidetica_backend_file::File;
    pub use eidetica_backend_memory::InMemory;
    pub use eidetica_kernel::backend::Backend;

    /// The backends by their older path.
    pub mod database {
        pub use eidetica_backend_memory::InMemory;
    }
}

/// Values and documents.
pub mod crdt {
    pub use eidetica_store_doc::{Doc, Import, Value, json};
}

/// Typed handles on stores.
pub mod store {
    pub use eidetica_store_doc::DocStore;
    pub use eidetica_store_table::{IndexValue, IntoRange, RowId, Rows, Table};
}

/// Who may do what.
pub mod auth {
    pub use eidetica_kernel::auth::{Grant, Grantee, Permission, Right, RightsOp, StoreScope};
}
