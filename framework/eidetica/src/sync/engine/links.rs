//! Links to peers: dialled, reused, taken in, ended.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use eidetica_kernel::runtime::TaskGuard;
use eidetica_kernel::scheduler::Event;
use eidetica_kernel::{Error, ErrorKind, PublicKey, Result, SyncError};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;

use super::{ADDRESSES_MAX, SyncEngine, Tries};
use crate::channel::{self, Channel, Reason};
use crate::sync::link::{self, Command, LinkHandle, Refused};
use crate::sync::records::{PeerRecord, Rows};
use crate::sync::storage::ChannelFacts;
use crate::sync::{Address, PeerStatus};

/// Links to one peer; the oldest goes when there are more.
const LINKS_PER_PEER_MAX: usize = 4;

/// A link, the task that drives it, and whether it was accepted rather than dialled.
pub(super) type OpenLink = (LinkHandle, TaskGuard, bool);

impl SyncEngine {
    /// Dials one address.
    pub(crate) async fn dial(
        self: &Arc<Self>,
        address: &Address,
        expected: Option<PublicKey>,
    ) -> Result<LinkHandle> {
        let transport = self.transport_for(address)?;
        let address = transport.parse_address(&address.address)?;
        let unreached = |error: Error| {
            if error.is_sync_error() || error.kind() == ErrorKind::InvalidInput {
                return error;
            }
            let reason = error.reason().to_owned();
            SyncError::ConnectionFailed { address: address.to_string(), reason }.into()
        };
        let link = transport.connect(self.context(), &address).await.map_err(unreached)?;
        let channel = channel::initiate(link, &self.identity, &self.config, self.context(), expected);
        let channel = channel.await.map_err(unreached)?;
        self.add_link(channel, Some(address))
    }

    /// A link to whoever is at an address: one that is open to a peer known there, or a new one.
    pub(crate) async fn reach(self: &Arc<Self>, address: &Address) -> Result<LinkHandle> {
        let address = self.transport_for(address)?.parse_address(&address.address)?;
        let inner = self.inner()?;
        for peer in self.connected_peers() {
            let record = Rows(&*inner.backend).peer(&peer)?;
            let allowed = record.filter(|record| record.status != PeerStatus::Blocked);
            if allowed.is_some_and(|record| record.addresses.contains(&address))
                && let Some(link) = self.open_link(&peer)
            {
                return Ok(link);
            }
        }
        self.dial(&address, None).await
    }

    /// A link to a peer: one that is open, or a new one to the first of its addresses that answers.
    pub(crate) async fn link_to(self: &Arc<Self>, peer: &PublicKey) -> Result<LinkHandle> {
        let record = Rows(&*self.inner()?.backend)
            .peer(peer)?
            .ok_or_else(|| SyncError::PeerNotFound(peer.to_string()))?;
        // Links that were open when it was blocked may not have ended yet.
        if record.status == PeerStatus::Blocked {
            return Err(SyncError::PeerBlocked { peer: peer.to_string() }.into());
        }
        if let Some(link) = self.open_link(peer) {
            return Ok(link);
        }
        if only_dials_in(&record) {
            let reason = "no address of it is known, so far it has connected by itself".to_owned();
            return Err(SyncError::ConnectionFailed { address: peer.to_string(), reason }.into());
        }
        self.tries.lock().entry(*peer).or_default().attempts += 1;
        let dialled = self.dial_any(&record.addresses, Some(*peer)).await;
        let failed = dialled.as_ref().err().map(ToString::to_string);
        self.tries.lock().entry(*peer).or_default().last_error = failed;
        self.announce();
        dialled
    }

    /// How dialling a peer went.
    pub(crate) fn tries(&self, peer: &PublicKey) -> Tries {
        self.tries.lock().get(peer).cloned().unwrap_or_default()
    }

    /// Dials the addresses, the first at once and each further one when those before have failed or are slow. When all have failed,
    /// that the peer was away at one says more than that another can't be dialled.
    pub(crate) async fn dial_any(
        self: &Arc<Self>,
        addresses: &[Address],
        expected: Option<PublicKey>,
    ) -> Result<LinkHandle> {
        const STAGGER: Duration = Duration::from_millis(250);
        let mut attempts = FuturesUnordered::new();
        let mut waiting = addresses.iter();
        let mut failed: Option<Error> = None;
        loop {
            if let Some(address) = waiting.next() {
                attempts.push(self.dial(address, expected));
            } else if attempts.is_empty() {
                let nowhere = || {
                    let reason = "no address of it is known".to_owned();
                    let address = expected.map_or_else(String::new, |peer| peer.to_string());
                    SyncError::ConnectionFailed { address, reason }.into()
                };
                return Err(failed.unwrap_or_else(nowhere));
            }
            let more = waiting.len() > 0;
            loop {
                tokio::select! {
                    attempt = attempts.next() => match attempt {
                        Some(Ok(link)) => return Ok(link),
                        Some(Err(error)) => failed = Some(failed.filter(is_away).unwrap_or(error)),
                        None => break,
                    },
                    () = self.context().clock.sleep(STAGGER), if more => break,
                }
                if more {
                    break;
                }
            }
        }
    }

    pub(super) fn is_blocked(&self, peer: &PublicKey) -> Result<bool> {
        let record = Rows(&*self.inner()?.backend).peer(peer)?;
        Ok(record.is_some_and(|record| record.status == PeerStatus::Blocked))
    }

    pub(crate) fn open_link(&self, peer: &PublicKey) -> Option<LinkHandle> {
        let links = self.links.lock();
        links
            .get(peer)?
            .iter()
            .rev()
            .map(|(link, _, _)| link)
            .find(|link| !link.commands.is_closed())
            .cloned()
    }

    /// Takes in a channel: registers the peer and drives the link.
    pub(super) fn add_link(
        self: &Arc<Self>,
        channel: Channel,
        dialled: Option<Address>,
    ) -> Result<LinkHandle> {
        let peer = channel.peer;
        let inner = self.inner()?;
        let now = self.context().clock.wall();
        let accepted = dialled.is_none();
        let blocked = Rows(&*inner.backend).change_peer(&peer, |record| {
            let mut record = record.unwrap_or_else(|| PeerRecord::new(now));
            if record.status == PeerStatus::Blocked {
                return Ok((Some(record), true));
            }
            record.last_seen = Some(now);
            if let Some(address) = &dialled {
                record.addresses.retain(|known| known != address);
                record.addresses.insert(0, address.clone());
                record.addresses.truncate(ADDRESSES_MAX);
            }
            Ok((Some(record), false))
        })?;
        if blocked {
            return Err(SyncError::PeerBlocked { peer: peer.to_string() }.into());
        }
        let difference = now.since(channel.peer_wall).max(channel.peer_wall.since(now));
        if difference > eidetica_kernel::clock::CLOCK_SKEW_MAX {
            let skew = SyncError::ClockSkew { peer: peer.to_string(), difference };
            tracing::warn!("{skew}");
        }
        let (commands, received) = mpsc::channel(link::COMMANDS_MAX);
        let facts = ChannelFacts { peer, session_id: channel.session_id, role: channel.role };
        let version = channel.version;
        let number = self.next_link.fetch_add(1, Ordering::Relaxed);
        let refused = Refused::default();
        let driving = link::run(self.me.clone(), self.runtime.clone(), channel, received, refused.clone());
        let handle = LinkHandle { number, facts, commands, refused };
        let engine = self.me.clone();
        let task = self.context().spawner.spawn(
            "link",
            Box::pin(async move {
                let ended = driving.await;
                if let Err(error) = ended {
                    tracing::debug!(%peer, %error, "a link ended");
                }
                if let Some(engine) = engine.upgrade() {
                    engine.link_ended(&peer, number);
                }
            }),
        );
        {
            let mut links = self.links.lock();
            let of_peer = links.entry(peer).or_default();
            of_peer.push((handle.clone(), task, accepted));
            if of_peer.len() > LINKS_PER_PEER_MAX {
                drop(of_peer.remove(0));
            }
        }
        tracing::debug!(%peer, accepted, version, "a link is open");
        self.tell(Event::Connected { peer });
        Ok(handle)
    }

    pub(super) fn link_ended(&self, peer: &PublicKey, number: u64) {
        // Taken out of the lock before it is dropped: it is the guard of the very task that calls.
        let (ended, gone) = {
            let mut links = self.links.lock();
            let Some(of_peer) = links.get_mut(peer) else { return };
            let at = of_peer.iter().position(|(link, _, _)| link.number == number);
            let ended = at.map(|at| of_peer.remove(at));
            let gone = of_peer.is_empty();
            if gone {
                links.remove(peer);
            }
            (ended, gone)
        };
        if gone {
            for ((of, _), live) in self.live.lock().iter_mut() {
                if of == peer {
                    live.live = false;
                }
            }
            self.tell(Event::Disconnected { peer: *peer });
        }
        drop(ended);
    }

    pub(crate) fn connected_peers(&self) -> HashSet<PublicKey> {
        self.links.lock().keys().copied().collect()
    }

    pub(crate) fn close_links(&self, peer: &PublicKey, reason: Reason) {
        if let Some(links) = self.links.lock().get(peer) {
            for (link, _, _) in links {
                let _ = link.commands.try_send(Command::Close { reason });
            }
        }
    }
}

/// Whether a peer is one that connects by itself: nothing is wrong while it doesn't.
pub(super) fn only_dials_in(peer: &PeerRecord) -> bool {
    peer.addresses.is_empty() && peer.last_seen.is_some()
}

/// Whether nobody was found, rather than somebody or something that won't do.
fn is_away(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::Timeout)
}
