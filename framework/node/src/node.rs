//! An open node: the instance, its users, where it rests.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use eidetica::sync::Sync;
use eidetica::{Error, Instance, User};
use eidetica_kernel::error::excerpt;

use crate::failure::{Exit, Failure};
use crate::folder::Folder;

/// The node's own user, who acts where no other is named.
pub(crate) const OWN_USER: &str = "node";

/// An open node.
pub(crate) struct Node {
    pub(crate) instance: Instance,
    pub(crate) sync: Sync,
    pub(crate) data: PathBuf,
    /// Whether it goes on after this command.
    pub(crate) serving: bool,
    users: Mutex<Users>,
}

#[derive(Default)]
struct Users {
    /// Logged in for as long as the node is open: those without a password, and the node's own.
    held: BTreeMap<String, User>,
    /// Logged in for the commands that are under way: how many of them.
    guests: HashMap<String, usize>,
}

impl Node {
    /// What was opened, with those users logged in who need no password; the node's own is made at the first opening.
    pub(crate) fn new(folder: &Folder, instance: Instance, serving: bool) -> Result<Arc<Self>, Error> {
        let sync = instance.sync()?;
        let mut names = instance.list_users()?;
        if !names.iter().any(|name| name == OWN_USER) {
            instance.create_user(OWN_USER, None)?;
            names.push(OWN_USER.to_owned());
        }
        // Last, so that of several keys that fit the node's own are taken first.
        names.sort_by_key(|name| name == OWN_USER);
        let mut users = Users::default();
        for name in names {
            match instance.login_user(&name, None) {
                Ok(user) => drop(users.held.insert(name, user)),
                Err(error) if error.is_permission_denied() => {}
                Err(error) => return Err(error),
            }
        }
        let data = folder.path.clone();
        Ok(Arc::new(Self { instance, sync, data, serving, users: Mutex::new(users) }))
    }

    /// Logs the user in who acts in a command; the node's own without a name.
    pub(crate) fn acting(
        self: &Arc<Self>,
        name: Option<&str>,
        password: Option<&str>,
    ) -> Result<Acting, Failure> {
        let name = name.unwrap_or(OWN_USER);
        if let Some(user) = self.users().held.get(name) {
            return Ok(Acting { user: user.clone(), guest_of: None });
        }
        let user = self.instance.login_user(name, password).map_err(|error| {
            let wants_password = password.is_none() && error.is_permission_denied();
            Failure { wants_password, ..Failure::from(error) }
        })?;
        *self.users().guests.entry(name.to_owned()).or_default() += 1;
        Ok(Acting { user, guest_of: Some(self.clone()) })
    }

    /// Keeps a user logged in while the node is open.
    pub(crate) fn hold(&self, name: &str, password: Option<&str>) -> Result<(), Error> {
        let user = self.instance.login_user(name, password)?;
        self.users().held.insert(name.to_owned(), user);
        Ok(())
    }

    /// Whether a user is kept logged in.
    pub(crate) fn holds(&self, name: &str) -> bool {
        self.users().held.contains_key(name)
    }

    /// Logs a user out whose password changed: what they hold in memory is sealed by the old one. Those without a password
    /// and the node's own come back at once.
    pub(crate) fn password_changed(&self, name: &str, new: Option<&str>) -> Result<(), Error> {
        self.users().held.remove(name);
        match self.instance.logout(name) {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
        if new.is_none() || name == OWN_USER { self.hold(name, new) } else { Ok(()) }
    }

    /// The public keys at hand: the node's own and those of everybody who is held.
    pub(crate) fn keys(&self) -> Result<Vec<eidetica::KeyId>, Error> {
        let held: Vec<User> = self.users().held.values().cloned().collect();
        let mut keys = vec![self.instance.device_key()];
        for user in held {
            keys.extend(user.list_keys()?.into_iter().map(|(key, _)| key));
        }
        Ok(keys)
    }

    fn users(&self) -> MutexGuard<'_, Users> {
        // Every change to the table is a single one: a panic elsewhere leaves it whole.
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A user for the time of a command.
pub(crate) struct Acting {
    user: User,
    guest_of: Option<Arc<Node>>,
}

impl std::ops::Deref for Acting {
    type Target = User;

    fn deref(&self) -> &User {
        &self.user
    }
}

impl Drop for Acting {
    fn drop(&mut self) {
        let Some(node) = &self.guest_of else { return };
        let mut users = node.users();
        let name = self.user.name();
        let last = match users.guests.get_mut(name) {
            Some(commands) if *commands > 1 => {
                *commands -= 1;
                false
            }
            _ => {
                users.guests.remove(name);
                true
            }
        };
        if last && !users.held.contains_key(name) {
            // Logged out already when the instance was closed meanwhile.
            let _ = node.instance.logout(name);
        }
    }
}

/// The database that a name, an id, or a unique beginning of an id stands for.
pub(crate) fn find_database(node: &Node, wanted: &str) -> Result<eidetica::Id, Failure> {
    let ids = node.instance.list_databases()?;
    if let Some(id) = ids.iter().find(|id| id.to_string() == wanted) {
        return Ok(*id);
    }
    let mut named = Vec::new();
    for id in &ids {
        let name = node.instance.load_database(id)?.name()?;
        named.push((*id, name));
    }
    let of_name: Vec<_> = named.iter().filter(|(_, name)| name.as_deref() == Some(wanted)).collect();
    let begins = |id: &eidetica::Id| !wanted.is_empty() && id.to_string().starts_with(wanted);
    let found =
        if of_name.is_empty() { named.iter().filter(|(id, _)| begins(id)).collect() } else { of_name };
    match found[..] {
        [(only, _)] => Ok(*only),
        [] => Err(Failure::failed(format_args!(
            "no database {} is here; `eidetica db list` names those that are",
            excerpt(wanted, 140)
        ))),
        _ => {
            let mut message =
                format!("{} stands for several databases; say more of the id:", excerpt(wanted, 140));
            for (id, name) in found {
                message.push_str(&format!("\n  {id}  {}", name.as_deref().unwrap_or("")));
            }
            Err(Failure::new(Exit::Usage, message))
        }
    }
}
