#![doc = include_str!("../README.md")]

pub mod auth;
pub mod backend;
pub mod clock;
pub mod crypto;
pub mod entry;
pub mod error;
pub mod id;
pub mod options;
pub mod registry;
pub mod runtime;
pub mod scheduler;
pub mod store;
pub mod sync_error;
pub mod transport;

/// How the parts fit, and what each deliberately doesn't do.
#[doc = include_str!("../ARCHITECTURE.md")]
pub mod architecture {}

/// The bytes of entries, as a specification.
#[doc = include_str!("../FORMAT.md")]
pub mod format {}

/// What two nodes say to each other, as a specification.
#[doc = include_str!("../PROTOCOL.md")]
pub mod protocol {}

pub use auth::{AuthPolicy, Permission};
pub use backend::Backend;
pub use clock::{HybridClock, Timestamp};
pub use crypto::{KeyId, PublicKey, SecretKey, Signature, SignatureBatch, ToKey};
pub use entry::{Envelope, Header, SignedEntry};
pub use error::{Error, ErrorKind, Fault, Result, Retry};
pub use id::{Id, ToId};
pub use runtime::Context;
pub use scheduler::SyncScheduler;
pub use store::{Store, StoreHandle};
pub use sync_error::SyncError;
pub use transport::{Address, Transport};
