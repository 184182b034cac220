//! A logged-in user: their keys, and the databases they open with them.

use std::sync::Arc;

use eidetica_kernel::auth::Permission;
use eidetica_kernel::{KeyId, Result, SecretKey, ToId, ToKey};
use eidetica_store_doc::Doc;
use parking_lot::Mutex;

use crate::database::{Database, Signer};
use crate::instance::Inner;
use crate::keyring::Opener;

pub use crate::preferences::{DatabasePreferences, SyncSettings};

/// A key, its display name, and its secret half.
pub(crate) type HeldKey = (KeyId, Option<String>, Arc<SecretKey>);

/// What is kept in memory of a logged-in user.
pub(crate) struct Session {
    pub(crate) name: String,
    pub(crate) opener: Mutex<Opener>,
    /// In the order they were added; the first is the default key.
    pub(crate) keys: Mutex<Vec<HeldKey>>,
}

impl Session {
    /// The first of the user's keys that `fits`.
    pub(crate) fn key(&self, fits: impl Fn(&KeyId) -> bool) -> Option<Arc<SecretKey>> {
        self.keys.lock().iter().find(|(id, _, _)| fits(id)).map(|(_, _, key)| key.clone())
    }
}

/// A logged-in user.
///
/// ```
/// use eidetica::{Instance, backend::InMemory, crdt::Doc};
///
/// let instance = Instance::open(Box::new(InMemory::new()))?;
/// instance.create_user("alice", None)?;
/// let user = instance.login_user("alice", None)?;
/// let key = user.get_default_key()?;
/// let notes = user.create_database(Doc::new(), &key)?;
/// assert!(instance.has_database(notes.root_id())?);
/// # Ok::<(), eidetica::Error>(())
/// ```
#[derive(Clone)]
pub struct User {
    pub(crate) inner: Arc<Inner>,
    pub(crate) session: Arc<Session>,
}

impl User {
    /// The user's name.
    pub fn name(&self) -> &str {
        &self.session.name
    }

    /// The key that was made with the user.
    ///
    /// # Errors
    /// [`SyncError::InstanceDropped`](crate::sync::SyncError::InstanceDropped) after [`Instance::close`](crate::Instance::close).
    pub fn get_default_key(&self) -> Result<KeyId> {
        self.inner.check_open()?;
        self.session.keys.lock().first().map(|(id, _, _)| *id).ok_or_else(|| {
            eidetica_kernel::Error::new(
                eidetica_kernel::ErrorKind::Bug,
                "reading the keys of",
                self.name(),
                "there are none",
            )
        })
    }

    /// Makes a further key.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn add_private_key(&self, display_name: Option<&str>) -> Result<KeyId> {
        let key = SecretKey::generate(&*self.inner.runtime.context.rng);
        self.inner.add_key(&self.session, key, display_name.map(str::to_owned))
    }

    /// The user's keys with their display names, the default one first.
    ///
    /// # Errors
    /// [`SyncError::InstanceDropped`](crate::sync::SyncError::InstanceDropped) after [`Instance::close`](crate::Instance::close).
    pub fn list_keys(&self) -> Result<Vec<(KeyId, Option<String>)>> {
        self.inner.check_open()?;
        Ok(self.session.keys.lock().iter().map(|(id, name, _)| (*id, name.clone())).collect())
    }

    /// The secret half of a key: 64 hex digits of its seed. Whoever has it is this user.
    ///
    /// # Errors
    /// `is_not_found()` if the user has no such key.
    pub fn export_key(&self, key: impl ToKey) -> Result<String> {
        let key = self.secret(key)?;
        Ok(data_encoding::HEXLOWER.encode(&key.to_bytes()[..]))
    }

    /// Adds a key from its exported text.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](eidetica_kernel::ErrorKind::InvalidInput) for text that isn't an exported key; those of the backend.
    pub fn import_key(&self, exported: &str, display_name: Option<&str>) -> Result<KeyId> {
        let mut seed = zeroize::Zeroizing::new([0; 32]);
        let text = exported.trim().as_bytes();
        let read = (text.len() == 64).then(|| data_encoding::HEXLOWER.decode_mut(text, &mut *seed));
        if !matches!(read, Some(Ok(_))) {
            return Err(eidetica_kernel::Error::new(
                eidetica_kernel::ErrorKind::InvalidInput,
                "importing a key",
                "",
                "it isn't 64 lowercase hex digits",
            ));
        }
        self.inner.add_key(&self.session, SecretKey::from_bytes(*seed), display_name.map(str::to_owned))
    }

    pub(crate) fn secret(&self, key: impl ToKey) -> Result<Arc<SecretKey>> {
        let wanted = key.to_key()?;
        self.session.key(|id| *id == wanted).ok_or_else(|| {
            eidetica_kernel::Error::new(
                eidetica_kernel::ErrorKind::NotFound,
                "using the key",
                wanted,
                format_args!("the user {} has no such key", self.name()),
            )
            .hint("list the user's keys to see which there are")
        })
    }

    /// Creates a database whose creator, and first admin, is `key`.
    ///
    /// # Errors
    /// `is_not_found()` if the user has no such key; those of the backend.
    pub fn create_database(&self, settings: Doc, key: impl ToKey) -> Result<Database> {
        self.inner.check_open()?;
        let key = self.secret(key)?;
        let settings = crate::database::settings_payload(&settings, &self.inner)?;
        let tree = self.inner.trees.create(&*self.inner.policy, &key, settings)?;
        self.inner.tree_appeared(&tree);
        Ok(Database::new(self.inner.clone(), tree, Signer::Key(key)))
    }

    /// Opens a database that is held here, with the key that the user's preferences for it name, else the first that may do most in it.
    ///
    /// # Errors
    /// `is_not_found()` if it isn't held here.
    pub fn open_database(&self, id: impl ToId) -> Result<Database> {
        let tree = self.inner.tree(&id.to_id()?)?;
        let table = tree.table();
        if let Some(preferences) = self.preferences_of(&tree.id)?
            && let Ok(key) = self.secret(preferences.key_id)
        {
            return Ok(Database::new(self.inner.clone(), tree, Signer::Key(key)));
        }
        let best = [Permission::Admin, Permission::Write, Permission::Read].into_iter().find_map(|wanted| {
            self.session.key(|id| table.grant(id).is_some_and(|grant| grant.right.permission() == wanted))
        });
        let signer = match best.or_else(|| self.session.key(|_| true)) {
            Some(key) => Signer::Key(key),
            None => Signer::LoggedIn,
        };
        Ok(Database::new(self.inner.clone(), tree, signer))
    }
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("name", &self.session.name).finish_non_exhaustive()
    }
}
