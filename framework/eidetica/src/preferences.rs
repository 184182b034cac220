//! What users want of the sync of their databases, and what follows when several want different things.

use std::collections::BTreeMap;
use std::time::Duration;

use eidetica_kernel::backend::{Batch, Scan, for_each_row};
use eidetica_kernel::scheduler::Preferences;
use eidetica_kernel::{Error, ErrorKind, Id, KeyId, Result, ToId};
use serde::{Deserialize, Serialize};

use crate::engine::layout;
use crate::engine::records::{decode, encode};
use crate::instance::Inner;
use crate::user::User;

/// How a user wants a database to be synced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncSettings {
    /// Whether it is synced at all.
    pub sync_enabled: bool,
    /// Whether commits are sent at once; otherwise they go with the next periodic sync.
    pub sync_on_commit: bool,
    /// The longest time between two syncs, in seconds; `None` leaves it to the scheduler.
    pub interval_seconds: Option<u64>,
    /// Whatever the application wants to remember with it.
    pub properties: BTreeMap<String, String>,
}

impl Default for SyncSettings {
    /// Enabled, on commit, at the scheduler's interval.
    fn default() -> Self {
        Self { sync_enabled: true, sync_on_commit: true, interval_seconds: None, properties: BTreeMap::new() }
    }
}

/// What a user wants of one database.
///
/// Several users of one database combine: it is synced if any wants it, on commit if any of these does, at the smallest of their
/// intervals. A database that nobody has preferences for is synced on commit, at the scheduler's interval.
///
/// ```
/// # use eidetica::{Instance, backend::InMemory, crdt::Doc};
/// use eidetica::user::{DatabasePreferences, SyncSettings};
///
/// # let instance = Instance::open(Box::new(InMemory::new()))?;
/// # instance.create_user("alice", None)?;
/// # let user = instance.login_user("alice", None)?;
/// let key = user.get_default_key()?;
/// let notes = user.create_database(Doc::new(), &key)?;
/// user.add_database(DatabasePreferences {
///     database_id: *notes.root_id(),
///     key_id: key,
///     sync_settings: SyncSettings { interval_seconds: Some(60), ..SyncSettings::default() },
/// })?;
/// assert_eq!(user.database_prefs(notes.root_id())?.sync_settings.interval_seconds, Some(60));
/// # Ok::<(), eidetica::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabasePreferences {
    /// The database; it need not be here yet.
    pub database_id: Id,
    /// The user's key to open it with.
    pub key_id: KeyId,
    /// How it is to be synced.
    pub sync_settings: SyncSettings,
}

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    key: KeyId,
    settings: SyncSettings,
}

/// What the users of the databases want together: `None` where nobody wants sync. Databases without preferences aren't in it.
pub(crate) type Combined = BTreeMap<Id, Option<Preferences>>;

/// Reads what the users of every database want together.
pub(crate) fn load(backend: &dyn eidetica_kernel::Backend) -> Result<Combined> {
    let mut wanted: BTreeMap<Id, Vec<SyncSettings>> = BTreeMap::new();
    for_each_row(
        Scan::prefix(&layout::preferences()),
        |scan| backend.scan(scan),
        |(key, row)| {
            if let Some((tree, _)) = layout::preference_in(&key) {
                wanted.entry(tree).or_default().push(decode::<Record>("preferences", &row)?.settings);
            }
            Ok(())
        },
    )?;
    Ok(wanted.into_iter().map(|(tree, settings)| (tree, combine(&settings))).collect())
}

fn combine(settings: &[SyncSettings]) -> Option<Preferences> {
    let enabled = || settings.iter().filter(|settings| settings.sync_enabled);
    enabled().next()?;
    Some(Preferences {
        on_commit: enabled().any(|settings| settings.sync_on_commit),
        interval: enabled().filter_map(|settings| settings.interval_seconds).min().map(Duration::from_secs),
    })
}

impl User {
    /// Remembers what this user wants of a database, in place of what they wanted before.
    ///
    /// # Errors
    /// `is_not_found()` if the user has no such key; [`ErrorKind::InvalidInput`] for an interval of 0; those of the backend.
    pub fn add_database(&self, preferences: DatabasePreferences) -> Result<()> {
        self.inner.check_open()?;
        self.secret(preferences.key_id)?;
        let DatabasePreferences { database_id, key_id, sync_settings } = preferences;
        if sync_settings.interval_seconds == Some(0) {
            let reason = "interval_seconds must be at least 1, is 0";
            return Err(Error::new(ErrorKind::InvalidInput, "setting preferences of", database_id, reason));
        }
        let record = encode("preferences", &Record { key: key_id, settings: sync_settings })?;
        let mut batch = Batch::new();
        batch.put(layout::preference(&database_id, self.name()), record);
        self.change_preferences(&database_id, batch)
    }

    /// As [`User::add_database`], for a database that the user has preferences for already.
    ///
    /// # Errors
    /// As [`User::add_database`]; `is_not_found()` if there are none yet.
    pub fn set_prefs(&self, preferences: DatabasePreferences) -> Result<()> {
        self.database_prefs(preferences.database_id)?;
        self.add_database(preferences)
    }

    /// What this user wants of a database.
    ///
    /// # Errors
    /// `is_not_found()` if they have no preferences for it; those of the backend.
    pub fn database_prefs(&self, id: impl ToId) -> Result<DatabasePreferences> {
        let id = id.to_id()?;
        self.inner.check_open()?;
        self.preferences_of(&id)?.ok_or_else(|| {
            let reason = format!("the user {} has none for it", self.name());
            Error::new(ErrorKind::NotFound, "reading preferences of", id, reason)
                .hint("add the database to the user's preferences")
        })
    }

    pub(crate) fn preferences_of(&self, id: &Id) -> Result<Option<DatabasePreferences>> {
        let row = self.inner.backend.get(&layout::preference(id, self.name()))?;
        row.map(|row| decode("preferences", &row).map(|record| of_record(*id, record))).transpose()
    }

    /// What this user wants, of every database they have preferences for; sorted by id.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn list_database_prefs(&self) -> Result<Vec<DatabasePreferences>> {
        self.inner.check_open()?;
        let mut found = Vec::new();
        for_each_row(
            Scan::prefix(&layout::preferences()),
            |scan| self.inner.backend.scan(scan),
            |(key, row)| {
                if let Some((tree, user)) = layout::preference_in(&key)
                    && user == self.name().as_bytes()
                {
                    found.push(of_record(tree, decode("preferences", &row)?));
                }
                Ok(())
            },
        )?;
        Ok(found)
    }

    /// Forgets what this user wants of a database; the database itself stays.
    ///
    /// # Errors
    /// `is_not_found()` if they have no preferences for it; those of the backend.
    pub fn remove_database(&self, id: impl ToId) -> Result<()> {
        let id = id.to_id()?;
        self.database_prefs(id)?;
        let mut batch = Batch::new();
        batch.delete(layout::preference(&id, self.name()));
        self.change_preferences(&id, batch)
    }

    fn change_preferences(&self, tree: &Id, batch: Batch) -> Result<()> {
        let written = self.inner.backend.commit(batch).and_then(|()| self.inner.backend.flush());
        // Also where it is the flush that failed: what is read is what counts.
        let changed = self.inner.preferences_changed(tree);
        written.and(changed)
    }
}

fn of_record(database_id: Id, record: Record) -> DatabasePreferences {
    DatabasePreferences { database_id, key_id: record.key, sync_settings: record.settings }
}

impl Inner {
    /// What the users of a database want together; `None` if its sync is turned off.
    pub(crate) fn preferences(&self, tree: &Id) -> Option<Preferences> {
        self.preferences.lock().get(tree).copied().unwrap_or_else(|| Some(Preferences::default()))
    }

    fn preferences_changed(&self, tree: &Id) -> Result<()> {
        {
            // Held while the rows are read: of two changes at once the later one is read last.
            let mut combined = self.preferences.lock();
            let mut settings = Vec::new();
            for_each_row(
                Scan::prefix(&layout::preferences_of(tree)),
                |scan| self.backend.scan(scan),
                |(_, row)| {
                    settings.push(decode::<Record>("preferences", &row)?.settings);
                    Ok(())
                },
            )?;
            match settings.is_empty() {
                true => combined.remove(tree),
                false => combined.insert(*tree, combine(&settings)),
            };
        }
        if let Some(sync) = self.sync_engine() {
            sync.preferences_changed(tree)?;
        }
        Ok(())
    }
}
