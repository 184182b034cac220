//! An instance: a backend with the databases, users and identity in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use eidetica_kernel::backend::{Backend, Batch, Scan, for_each_row};
use eidetica_kernel::error::excerpt;
use eidetica_kernel::runtime::Context;
use eidetica_kernel::scheduler::SyncScheduler;
use eidetica_kernel::store::Store;
use eidetica_kernel::{
    AuthPolicy, Error, ErrorKind, Id, KeyId, PublicKey, Result, SecretKey, SyncError, ToId, Transport,
};
use parking_lot::Mutex;

use crate::database::{Database, Signer};
use crate::engine::layout::{self, LAYOUT_VERSION};
use crate::engine::records::{decode, encode};
use crate::engine::tree::{Shared, Tree};
use crate::engine::trees::Trees;
use crate::keyring::{KeyRecord, Protection, UserRecord, wrong_login};
use crate::preferences::Combined;
use crate::runtime::Runtime;
use crate::sync::{Address, Sync, SyncEngine};
use crate::user::{Session, User};

/// Makes a scheduler, given a seed for its jitter.
pub type MakeScheduler = Box<dyn Fn(u64) -> Box<dyn SyncScheduler> + Send + std::marker::Sync>;

/// An embedded database engine over one backend. Handles are cheap to clone and may be used from several threads.
///
/// ```
/// use eidetica::{Instance, backend::InMemory};
///
/// let instance = Instance::open(Box::new(InMemory::new()))?;
/// assert!(instance.list_databases()?.is_empty());
/// # Ok::<(), eidetica::Error>(())
/// ```
#[derive(Clone)]
pub struct Instance {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) trees: Arc<Trees>,
    /// The policy of databases created here.
    pub(crate) policy: Arc<dyn AuthPolicy>,
    pub(crate) runtime: Runtime,
    /// The node's own key: device key, peer key.
    pub(crate) identity: Arc<SecretKey>,
    sessions: Mutex<Vec<Arc<Session>>>,
    sync: Mutex<Option<Arc<SyncEngine>>>,
    pub(crate) make_scheduler: MakeScheduler,
    transports: Mutex<Vec<Arc<dyn Transport>>>,
    advertise: Vec<Address>,
    /// What the users of databases want of their sync.
    pub(crate) preferences: Mutex<Combined>,
    closed: AtomicBool,
}

impl Instance {
    /// Opens an instance over a backend, and loads what the backend holds.
    ///
    /// # Errors
    /// Those of the backend; [`ErrorKind::Unsupported`] if a newer version wrote it.
    pub fn open(backend: Box<dyn Backend>) -> Result<Self> {
        Self::builder().backend(backend).open()
    }

    /// For choosing more than the backend.
    pub fn builder() -> InstanceBuilder {
        InstanceBuilder::default()
    }

    /// Turns synchronisation on; turning it on twice is harmless. Databases made before it sync too.
    ///
    /// # Errors
    /// [`SyncError::InstanceDropped`] after [`Instance::close`].
    pub fn enable_sync(&self) -> Result<Self> {
        self.inner.check_open()?;
        let mut sync = self.inner.sync.lock();
        if sync.is_none() {
            *sync = Some(SyncEngine::start(&self.inner, &self.inner.transports.lock())?);
        }
        drop(sync);
        Ok(self.clone())
    }

    /// The handle for everything that talks to peers.
    ///
    /// # Errors
    /// [`SyncError::SyncNotEnabled`] before [`Instance::enable_sync`].
    pub fn sync(&self) -> Result<Sync> {
        self.inner.check_open()?;
        let engine = self.inner.sync.lock().clone().ok_or(SyncError::SyncNotEnabled)?;
        Ok(Sync::new(self.inner.clone(), engine))
    }

    /// The node's own key: what peers know it by.
    pub fn device_key(&self) -> KeyId {
        self.inner.identity.public_key()
    }

    /// Creates a user, with a first key. The keys are sealed under the password if there is one.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for a name that is taken, empty or longer than 128 bytes; those of the backend.
    pub fn create_user(&self, name: impl AsRef<str>, password: Option<&str>) -> Result<()> {
        let name = name.as_ref();
        self.inner.check_open()?;
        let refuse = |reason: &str| {
            Err(Error::new(ErrorKind::InvalidInput, "creating the user", excerpt(name, 140), reason))
        };
        if name.is_empty() || name.len() > 128 {
            return refuse("a user's name has 1 to 128 bytes");
        }
        let rng = &*self.inner.runtime.context.rng;
        let protection = Protection::new(password, rng);
        let opener = protection.opener(password)?;
        let key = KeyRecord::seal(&SecretKey::generate(rng), None, &opener, rng)?;
        let record =
            UserRecord { created: self.inner.runtime.context.clock.wall(), protection, keys: vec![key] };
        let mut batch = Batch::new();
        batch.expect_absent(layout::user(name));
        batch.put(layout::user(name), encode("a user", &record)?);
        match self.inner.backend.commit(batch) {
            Err(error) if error.kind() == ErrorKind::Conflict => return refuse("a user of that name exists"),
            done => done?,
        }
        self.inner.backend.flush()
    }

    /// Logs a user in; their keys serve until they log out.
    ///
    /// # Errors
    /// `is_permission_denied()`, which doesn't say whether the name or the password was wrong.
    pub fn login_user(&self, name: impl AsRef<str>, password: Option<&str>) -> Result<User> {
        let name = name.as_ref();
        self.inner.check_open()?;
        let Some(record) = self.inner.user_record(name)? else {
            // As much work as for a user there is, so that the time it takes tells nothing either.
            let _ = Protection::new(password, &*self.inner.runtime.context.rng).opener(password)?;
            return Err(wrong_login());
        };
        let opener = record.protection.opener(password)?;
        let mut keys = Vec::with_capacity(record.keys.len());
        for key in &record.keys {
            keys.push((key.public, key.display_name.clone(), Arc::new(key.open(&opener)?)));
        }
        let session =
            Arc::new(Session { name: name.to_owned(), opener: Mutex::new(opener), keys: Mutex::new(keys) });
        self.inner.sessions.lock().push(session.clone());
        Ok(User { inner: self.inner.clone(), session })
    }

    /// Logs a user out: their keys are wiped from memory once no handle uses them.
    ///
    /// # Errors
    /// `is_not_found()` if the user isn't logged in.
    pub fn logout(&self, name: impl AsRef<str>) -> Result<()> {
        let mut sessions = self.inner.sessions.lock();
        let before = sessions.len();
        sessions.retain(|session| session.name != name.as_ref());
        if sessions.len() == before {
            return Err(Error::new(
                ErrorKind::NotFound,
                "logging out",
                name.as_ref(),
                "the user isn't logged in",
            ));
        }
        Ok(())
    }

    /// The names of the users, sorted.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn list_users(&self) -> Result<Vec<String>> {
        self.inner.check_open()?;
        let mut names = Vec::new();
        for_each_row(
            Scan::prefix(&layout::users()),
            |scan| self.inner.backend.scan(scan),
            |(key, _)| {
                names.push(String::from_utf8_lossy(&key[1..]).into_owned());
                Ok(())
            },
        )?;
        Ok(names)
    }

    /// Changes, sets or removes a user's password.
    ///
    /// # Errors
    /// `is_permission_denied()` when the old one is wrong; those of the backend.
    pub fn change_password(&self, name: impl AsRef<str>, old: Option<&str>, new: Option<&str>) -> Result<()> {
        let name = name.as_ref();
        self.inner.check_open()?;
        let rng = &*self.inner.runtime.context.rng;
        let record = self.inner.user_record(name)?.ok_or_else(wrong_login)?;
        let opener = record.protection.opener(old)?;
        let protection = Protection::new(new, rng);
        let sealing = protection.opener(new)?;
        self.inner.change_user(name, |record| {
            for key in &mut record.keys {
                *key = KeyRecord::seal(&key.open(&opener)?, key.display_name.take(), &sealing, rng)?;
            }
            record.protection = protection.clone();
            Ok(())
        })?;
        // Who is logged in stays so, and seals further keys under the new one.
        for session in self.inner.sessions().iter().filter(|session| session.name == name) {
            *session.opener.lock() = sealing.clone();
        }
        Ok(())
    }

    /// Opens a database that is held here. What is written through the handle is signed by the last logged-in user's key
    /// that fits; where none does and the node's own key was granted what it takes, as by a bootstrap with `device_key`, by that.
    ///
    /// # Errors
    /// `is_not_found()` if it isn't held here; [`ErrorKind::InvalidInput`] for text that isn't an id.
    pub fn load_database(&self, id: impl ToId) -> Result<Database> {
        let tree = self.inner.tree(&id.to_id()?)?;
        Ok(Database::new(self.inner.clone(), tree, Signer::LoggedIn))
    }

    /// The ids of the databases held here, sorted.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn list_databases(&self) -> Result<Vec<Id>> {
        self.inner.check_open()?;
        self.inner.trees.ids()
    }

    /// Whether a database is held here.
    ///
    /// # Errors
    /// Those of the backend; [`ErrorKind::InvalidInput`] for text that isn't an id.
    pub fn has_database(&self, id: impl ToId) -> Result<bool> {
        self.inner.check_open()?;
        Ok(self.inner.trees.get(&id.to_id()?)?.is_some())
    }

    /// Removes a database from this instance. Peers keep theirs, and don't bring it back here.
    ///
    /// # Errors
    /// `is_not_found()` if it isn't held here; those of the backend.
    pub fn remove_database(&self, id: impl ToId) -> Result<()> {
        let id = id.to_id()?;
        self.inner.check_open()?;
        if self.inner.trees.remove(&id)? { Ok(()) } else { Err(no_database(&id)) }
    }

    /// Ends all sync, makes everything durable and closes the backend. Handles answer
    /// [`SyncError::InstanceDropped`] from then on. Closing twice is harmless.
    ///
    /// # Errors
    /// Those of the backend's last flush.
    pub fn close(&self) -> Result<()> {
        if self.inner.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.inner.trees.end();
        if let Some(sync) = self.inner.sync.lock().take() {
            sync.shut_down();
        }
        self.inner.sessions.lock().clear();
        self.inner.backend.close()
    }
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").field("device_key", &self.device_key()).finish_non_exhaustive()
    }
}

pub(crate) fn no_database(id: &Id) -> Error {
    Error::new(ErrorKind::NotFound, "opening the database", id, "it isn't held here")
        .hint("list the databases to see which are; join others with a ticket")
}

impl Inner {
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) { Err(SyncError::InstanceDropped.into()) } else { Ok(()) }
    }

    pub(crate) fn tree(&self, id: &Id) -> Result<Arc<Tree>> {
        self.check_open()?;
        self.trees.get(id)?.ok_or_else(|| no_database(id))
    }

    /// Logged-in users, the latest last.
    pub(crate) fn sessions(&self) -> Vec<Arc<Session>> {
        self.sessions.lock().clone()
    }

    /// Whether a tree may be synced at all.
    pub(crate) fn syncs(&self, tree: &Id) -> Result<bool> {
        Ok(self.preferences(tree).is_some() && !self.trees.was_removed(tree)?)
    }

    pub(crate) fn sync_engine(&self) -> Option<Arc<SyncEngine>> {
        self.sync.lock().clone()
    }

    /// The name in a tree's settings.
    pub(crate) fn database_name(self: &Arc<Self>, tree: &Arc<Tree>) -> Result<Option<String>> {
        Database::new(self.clone(), tree.clone(), Signer::LoggedIn).name()
    }

    /// What tickets say of where this node can be reached.
    pub(crate) fn advertised_addresses(&self) -> Result<Vec<Address>> {
        if !self.advertise.is_empty() {
            return Ok(self.advertise.clone());
        }
        let sync = self.sync.lock().clone().ok_or(SyncError::SyncNotEnabled)?;
        Ok(sync.server_addresses().unwrap_or_default())
    }

    /// Tells sync of a tree that wasn't here before.
    pub(crate) fn tree_appeared(&self, tree: &Arc<Tree>) {
        if let Some(sync) = &*self.sync.lock() {
            sync.tree_appeared(tree);
        }
    }

    fn user_record(&self, name: &str) -> Result<Option<UserRecord>> {
        if name.is_empty() || name.len() > 128 {
            return Ok(None);
        }
        self.backend.get(&layout::user(name))?.map(|row| decode("a user", &row)).transpose()
    }

    fn change_user(&self, name: &str, mut change: impl FnMut(&mut UserRecord) -> Result<()>) -> Result<()> {
        loop {
            let row = self.backend.get(&layout::user(name))?.ok_or_else(wrong_login)?;
            let mut record: UserRecord = decode("a user", &row)?;
            change(&mut record)?;
            let mut batch = Batch::new();
            batch.expect_equals(layout::user(name), row);
            batch.put(layout::user(name), encode("a user", &record)?);
            match self.backend.commit(batch) {
                Ok(()) => return self.backend.flush(),
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) fn add_key(
        &self,
        session: &Session,
        key: SecretKey,
        display_name: Option<String>,
    ) -> Result<PublicKey> {
        self.check_open()?;
        let id = key.public_key();
        if session.keys.lock().iter().any(|(held, _, _)| *held == id) {
            return Ok(id);
        }
        let rng = &*self.runtime.context.rng;
        let opener = session.opener.lock().clone();
        let sealed = KeyRecord::seal(&key, display_name.clone(), &opener, rng)?;
        self.change_user(&session.name, |record| {
            // A key sealed under another password than the others would lock them all away.
            if record.keys.first().is_some_and(|held| held.open(&opener).is_err()) {
                return Err(Error::new(
                    ErrorKind::PermissionDenied,
                    "adding a key to the user",
                    excerpt(&session.name, 140),
                    "the password was changed since they logged in",
                )
                .hint("log in again"));
            }
            if !record.keys.iter().any(|held| held.public == id) {
                record.keys.push(sealed.clone());
            }
            Ok(())
        })?;
        session.keys.lock().push((id, display_name, Arc::new(key)));
        Ok(id)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Tasks of sync hold weak references only; they end with the engine.
        if let Some(sync) = self.sync.get_mut().take() {
            sync.shut_down();
        }
    }
}

/// Chooses the parts of an [`Instance`]; what isn't chosen is the default.
#[derive(Default)]
pub struct InstanceBuilder {
    backend: Option<Arc<dyn Backend>>,
    transports: Vec<Arc<dyn Transport>>,
    scheduler: Option<MakeScheduler>,
    policies: Vec<Arc<dyn AuthPolicy>>,
    stores: Vec<Arc<dyn Store>>,
    context: Option<Context>,
    advertise: Vec<Address>,
}

impl InstanceBuilder {
    /// Where bytes rest; in memory by default.
    #[must_use]
    pub fn backend(mut self, backend: Box<dyn Backend>) -> Self {
        self.backend = Some(Arc::from(backend));
        self
    }

    /// As [`InstanceBuilder::backend`], for one that is shared.
    #[must_use]
    pub fn shared_backend(mut self, backend: Arc<dyn Backend>) -> Self {
        self.backend = Some(backend);
        self
    }

    /// A transport that sync has from the start.
    #[must_use]
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transports.push(transport);
        self
    }

    /// When to sync what with whom; `standard` by default.
    #[must_use]
    pub fn scheduler(mut self, make: MakeScheduler) -> Self {
        self.scheduler = Some(make);
        self
    }

    /// A policy of rights; new databases use the one given first, `keys/1` by default.
    #[must_use]
    pub fn auth_policy(mut self, policy: Arc<dyn AuthPolicy>) -> Self {
        self.policies.push(policy);
        self
    }

    /// A further kind of store, beside `doc/1`.
    #[must_use]
    pub fn store_kind(mut self, store: Arc<dyn Store>) -> Self {
        self.stores.push(store);
        self
    }

    /// Addresses that tickets carry in place of those the server listens at: for nodes behind a proxy or NAT.
    #[must_use]
    pub fn advertise(mut self, addresses: impl IntoIterator<Item = Address>) -> Self {
        self.advertise.extend(addresses);
        self
    }

    /// Time, tasks and randomness for the engine; the system's by default.
    #[must_use]
    pub fn context(mut self, context: Context) -> Self {
        self.context = Some(context);
        self
    }

    /// Opens the instance.
    ///
    /// # Errors
    /// Those of the backend; [`ErrorKind::Unsupported`] if a newer version wrote it.
    pub fn open(mut self) -> Result<Instance> {
        let runtime = match self.context {
            Some(context) => Runtime::with_context(context)?,
            None => Runtime::system()?,
        };
        let backend = self.backend.unwrap_or_else(|| Arc::new(eidetica_backend_memory::InMemory::new()));
        check_layout(&*backend)?;
        let keys: Arc<dyn AuthPolicy> = Arc::new(eidetica_auth_keys::Keys::new());
        if !self.policies.iter().any(|policy| policy.kind() == keys.kind()) {
            self.policies.push(keys);
        }
        let policy = self.policies[0].clone();
        let shipped: [Arc<dyn Store>; 2] =
            [Arc::new(eidetica_store_doc::DocKind), Arc::new(eidetica_store_table::TableKind)];
        for kind in shipped {
            if !self.stores.iter().any(|store| store.kind() == kind.kind()) {
                self.stores.push(kind);
            }
        }
        let identity = identity(&*backend, &runtime)?;
        let preferences = Mutex::new(crate::preferences::load(&*backend)?);
        let Context { clock, rng, .. } = runtime.context.clone();
        let shared = Arc::new(Shared::new(backend.clone(), self.policies, self.stores, clock, rng));
        let make_scheduler = self.scheduler.unwrap_or_else(|| {
            Box::new(|seed| {
                let options = eidetica_scheduler_standard::StandardOptions::default();
                Box::new(eidetica_scheduler_standard::Standard::new(options, seed))
            })
        });
        let inner = Arc::new(Inner {
            backend,
            trees: Arc::new(Trees::new(shared)),
            policy,
            runtime,
            identity: Arc::new(identity),
            sessions: Mutex::default(),
            sync: Mutex::default(),
            make_scheduler,
            transports: Mutex::new(self.transports),
            advertise: self.advertise,
            preferences,
            closed: AtomicBool::new(false),
        });
        inner.trees.finish_removals()?;
        Ok(Instance { inner })
    }
}

impl std::fmt::Debug for InstanceBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InstanceBuilder")
    }
}

fn check_layout(backend: &dyn Backend) -> Result<()> {
    let key = layout::node("layout");
    let version: u32 = match backend.get(&key)? {
        Some(row) => decode("the layout's version", &row)?,
        None => {
            let mut batch = Batch::new();
            batch.expect_absent(key.clone()).put(key, encode("the layout's version", &LAYOUT_VERSION)?);
            match backend.commit(batch) {
                Err(error) if error.kind() == ErrorKind::Conflict => return check_layout(backend),
                done => done?,
            }
            LAYOUT_VERSION
        }
    };
    if version == LAYOUT_VERSION {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unsupported,
        "opening the data",
        "",
        format_args!("it is laid out in version {version}, this program knows {LAYOUT_VERSION}"),
    )
    .hint("use the program that wrote it, or a newer one"))
}

/// The node's own key, made when the backend is opened first.
fn identity(backend: &dyn Backend, runtime: &Runtime) -> Result<SecretKey> {
    let key = layout::node("identity");
    loop {
        if let Some(row) = backend.get(&key)? {
            return Ok(SecretKey::from_bytes(decode("the node's identity", &row)?));
        }
        let fresh = SecretKey::generate(&*runtime.context.rng);
        let mut batch = Batch::new();
        batch.expect_absent(key.clone()).put(key.clone(), encode("the node's identity", &*fresh.to_bytes())?);
        match backend.commit(batch) {
            Ok(()) => {
                backend.flush()?;
                return Ok(fresh);
            }
            Err(error) if error.kind() == ErrorKind::Conflict => {}
            Err(error) => return Err(error),
        }
    }
}
