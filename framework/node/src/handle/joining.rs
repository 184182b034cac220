//! Sharing by tickets, joining by them.

use std::sync::Arc;
use std::time::Duration;

use eidetica::auth::Permission;
use eidetica::sync::{ConnectionState, InviteOptions, Ticket};
use eidetica::{Database, Error, ErrorKind};
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};

use super::Job;
use crate::failure::{Exit, Failure};
use crate::node::{Acting, Node};
use crate::request::Reply;

/// How long a join waits for anybody to be reached.
const REACH_TIMEOUT: Duration = Duration::from_secs(30);
/// The first delay between two attempts; each further one doubles it.
const RETRY_BASE: Duration = Duration::from_millis(500);
/// The longest delay between two attempts.
const RETRY_MAX: Duration = Duration::from_secs(64);
/// How often a join whose link broke over the protocol is tried on a fresh one.
const BROKEN_MAX: u32 = 3;
/// How often progress is looked at.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

impl Job {
    pub(super) fn share(
        &self,
        db: &str,
        permission: Permission,
        uses: u32,
        expires: Duration,
    ) -> Result<Reply, Failure> {
        let (database, _user) = self.open(db)?;
        // Before an invite is made that nobody could use.
        if database.ticket()?.addresses().is_empty() {
            return Err(Failure::failed(
                "nobody could reach this node: run `eidetica serve`, or set node.advertise to where it will be",
            ));
        }
        let options = InviteOptions { expires_in: Some(expires), uses: Some(uses) };
        let ticket = database.invite(permission, options)?.to_string();
        let value = json!({
            "ticket": ticket,
            "database": database.root_id().to_string(),
            "permission": permission,
            "uses": uses,
            "expires_in_seconds": expires.as_secs(),
        });
        Ok(Reply::new(value, ticket))
    }

    pub(super) fn join(&self, ticket: &str) -> Result<Reply, Failure> {
        let ticket: Ticket = ticket.parse()?;
        if *ticket.peer() == self.node.instance.device_key() {
            return Err(Failure::usage("this node made the ticket itself: it is for others to join by"));
        }
        let user = self.acting()?;
        if ticket.addresses().is_empty() && self.node.sync.get_peer_info(ticket.peer())?.is_none() {
            return Err(Failure::usage("the ticket names no address; ask for one made by a node that runs"));
        }
        let joining = Joining { node: self.node.clone(), user, ticket: ticket.clone() };
        let mut joining = self.runtime.spawn(joining.until_joined());
        let joined = self.runtime.block_on(async {
            let mut until = Instant::now() + REACH_TIMEOUT;
            loop {
                tokio::select! {
                    joined = &mut joining => return Some(joined),
                    () = self.events.closed() => return None,
                    () = sleep(PROGRESS_INTERVAL) => self.received(&ticket),
                    // Reached, but not done: a first sync takes as long as it takes.
                    () = sleep_until(until) => match self.is_connected(&ticket) {
                        true => until = Instant::now() + REACH_TIMEOUT,
                        false => return None,
                    },
                }
            }
        });
        match joined {
            Some(Ok(joined)) => {
                let database = joined.map_err(|error| match error.kind() {
                    // All that a join is told comes from the ticket.
                    ErrorKind::InvalidInput => Failure::usage(format_args!("the ticket: {error}")),
                    _ => error.into(),
                })?;
                let (id, name) = (database.root_id().to_string(), database.name()?);
                let entries = database.entry_count();
                let text = format!("{id}  {}", name.as_deref().unwrap_or(""));
                Ok(Reply::new(json!({ "id": id, "name": name, "entries": entries }), text))
            }
            Some(Err(error)) => Err(Failure::failed(format_args!("joining broke off: {error}"))),
            None => {
                let on = if self.node.serving {
                    "; the node goes on trying"
                } else {
                    joining.abort();
                    "; join again once it can be reached"
                };
                let peer = ticket.peer();
                let message =
                    format!("joining: {peer} wasn't reached within {} s{on}", REACH_TIMEOUT.as_secs());
                Err(Failure::new(Exit::Unreachable, message))
            }
        }
    }

    fn is_connected(&self, ticket: &Ticket) -> bool {
        let info = self.node.sync.get_peer_info(ticket.peer());
        info.is_ok_and(|info| info.is_some_and(|info| info.connection_state == ConnectionState::Connected))
    }

    fn received(&self, ticket: &Ticket) {
        if let Ok(Some(state)) = self.node.sync.tree_sync_state(ticket.peer(), ticket.database()) {
            self.progress("receiving", state.received, None, "entries");
        }
    }
}

/// A join under way, which may outlast the command.
struct Joining {
    node: Arc<Node>,
    user: Acting,
    ticket: Ticket,
}

impl Joining {
    /// Tries until it has succeeded or can't any more.
    async fn until_joined(self) -> Result<Database, Error> {
        let (mut delay, mut broken) = (RETRY_BASE, 0);
        loop {
            match self.user.join(&self.ticket).await {
                Ok(database) => return Ok(database),
                Err(error) if matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::Timeout) => {
                    tracing::info!(database = %self.ticket.database(), %error, "joining; trying again");
                }
                Err(error) if error.kind() == ErrorKind::Protocol && broken < BROKEN_MAX => {
                    broken += 1;
                    tracing::warn!(database = %self.ticket.database(), %error, "joining; trying on a fresh link");
                }
                Err(error) => {
                    if self.node.serving {
                        tracing::warn!(database = %self.ticket.database(), %error, "joining failed");
                    }
                    return Err(error);
                }
            }
            sleep(delay).await;
            delay = (delay * 2).min(RETRY_MAX);
        }
    }
}
