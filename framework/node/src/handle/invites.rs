//! Invites that this node made: looking at them, and ending them.

use serde_json::{Value, json};

use super::Job;
use crate::failure::Failure;
use crate::request::Reply;

impl Job {
    pub(super) fn list_invites(&self, db: &str) -> Result<Reply, Failure> {
        let (database, _user) = self.open(db)?;
        let (mut values, mut lines): (Vec<Value>, Vec<String>) = Default::default();
        for invite in database.invites()? {
            let uses = invite.uses_left.map_or_else(|| "any number".to_owned(), |left| left.to_string());
            let expires = invite.expires_at.map_or_else(|| "never".to_owned(), |time| time.to_string());
            lines.push(format!(
                "{}  {}  {}, uses left: {uses}, made {}, expires {expires}",
                invite.invite_id,
                if invite.good { "good" } else { "over" },
                invite.permission,
                invite.created_at
            ));
            values.push(json!({
                "id": invite.invite_id,
                "good": invite.good,
                "permission": invite.permission.to_string(),
                "uses_left": invite.uses_left,
                "created_at": invite.created_at.to_string(),
                "expires_at": invite.expires_at.map(|time| time.to_string()),
            }));
        }
        Ok(Reply::new(values.into(), lines.join("\n")))
    }

    pub(super) fn revoke_invite(&self, db: &str, id: &str) -> Result<Reply, Failure> {
        let (database, _user) = self.open(db)?;
        let ids = database.invites()?.into_iter().map(|invite| invite.invite_id);
        let mut begin = ids.filter(|known| known.starts_with(id));
        let invite = match (begin.next(), begin.next()) {
            (Some(_), Some(_)) => {
                return Err(Failure::usage(format_args!(
                    "several invites begin with {id:?}; give more of it"
                )));
            }
            (Some(known), None) => known,
            // It says what there is.
            (None, _) => id.to_owned(),
        };
        database.revoke_invite(&invite)?;
        Ok(Reply::new(json!({ "id": invite }), ""))
    }
}
