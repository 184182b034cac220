//! Users and their keys.

use eidetica::KeyId;
use serde_json::{Value, json};

use super::Job;
use crate::failure::Failure;
use crate::request::Reply;

impl Job {
    pub(super) fn show_keys(&self) -> Result<Reply, Failure> {
        let user = self.acting()?;
        let device = self.node.instance.device_key().to_string();
        let (mut keys, mut lines) = (Vec::new(), vec![format!("node  {device}")]);
        for (key, name) in user.list_keys()? {
            lines.push(format!("user  {key}  {}", name.as_deref().unwrap_or_else(|| user.name())));
            keys.push(json!({ "key": key.to_string(), "name": name }));
        }
        let default = user.get_default_key()?.to_string();
        let value = json!({ "node": device, "user": user.name(), "default": default, "keys": keys });
        Ok(Reply::new(value, lines.join("\n")))
    }

    pub(super) fn export_key(&self, key: Option<KeyId>) -> Result<Reply, Failure> {
        let user = self.acting()?;
        let key = key.map_or_else(|| user.get_default_key(), Ok)?;
        let secret = user.export_key(key)?;
        Ok(Reply::new(json!({ "key": key.to_string(), "secret": secret }), secret))
    }

    pub(super) fn import_key(&self, secret: &str, name: Option<&str>) -> Result<Reply, Failure> {
        let key = self.acting()?.import_key(secret, name)?.to_string();
        Ok(Reply::new(json!({ "key": key }), key))
    }

    pub(super) fn add_user(&self, name: &str, new: Option<&str>) -> Result<Reply, Failure> {
        self.node.instance.create_user(name, new)?;
        if new.is_none() {
            self.node.hold(name, None)?;
        }
        Ok(Reply::new(json!({ "name": name }), ""))
    }

    pub(super) fn list_users(&self) -> Result<Reply, Failure> {
        let names = self.node.instance.list_users()?;
        let text = names.join("\n");
        Ok(Reply::new(names.into_iter().map(|name| json!({ "name": name })).collect::<Value>(), text))
    }

    pub(super) fn change_password(&self, name: &str, new: Option<&str>) -> Result<Reply, Failure> {
        let instance = &self.node.instance;
        let without = instance.change_password(name, None, new);
        let changed = match (without, &self.password) {
            (Err(error), Some(old)) if error.is_permission_denied() => {
                instance.change_password(name, Some(old), new)
            }
            (changed, _) => changed,
        };
        changed.map_err(|error| {
            let wants_password = self.password.is_none() && error.is_permission_denied();
            Failure { wants_password, ..Failure::from(error) }
        })?;
        self.node.password_changed(name, new)?;
        Ok(Reply::new(json!({ "name": name }), ""))
    }
}
