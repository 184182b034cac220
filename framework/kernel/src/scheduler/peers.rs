//! Who has a link, and who is left alone for a while because of failures.

use std::collections::BTreeMap;

use super::{Backoff, Failure, Moment, Wait};
use crate::crypto::PublicKey;

/// The peers of a policy: which of them have a link, and until when the others aren't dialled.
///
/// All trees of a peer that couldn't be reached wait for the same moment, so that it is dialled once for all of them.
///
/// ```
/// use std::time::Duration;
///
/// use eidetica_kernel::PublicKey;
/// use eidetica_kernel::scheduler::{Backoff, Failure, Peers, Retry};
///
/// let second = Duration::from_secs(1);
/// let mut backoff = Backoff::new(second, 64 * second, 0.0, 42);
/// let (mut peers, peer) = (Peers::default(), PublicKey::from_bytes([1; 32]));
/// let mut of_tree = Retry::default();
/// let again = peers.failed(&peer, &mut of_tree, Failure::Unreachable, 9 * second, &mut backoff);
/// assert_eq!(again, 10 * second);
/// assert_eq!(peers.waits_until(&peer, &of_tree, 9 * second), Some(10 * second));
/// assert!(peers.connected(peer));
/// assert_eq!(peers.waits_until(&peer, &of_tree, 9 * second), None);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Peers(BTreeMap<PublicKey, Peer>);

#[derive(Clone, Debug, Default)]
struct Peer {
    connected: bool,
    /// Failed attempts to reach it.
    wait: Wait,
}

/// What went wrong with one relation, as far as that isn't its peer's being out of reach.
#[derive(Clone, Debug, Default)]
pub struct Retry {
    /// The peer refused it last.
    pub refused: bool,
    /// Failures over an open link, and refusals.
    pub wait: Wait,
}

impl Peers {
    /// The peer has a link, and is waited for no longer; `true` if it had none before.
    pub fn connected(&mut self, peer: PublicKey) -> bool {
        let entry = self.0.entry(peer).or_default();
        entry.wait.end();
        !std::mem::replace(&mut entry.connected, true)
    }

    /// The peer has lost its link: when it may be dialled; `None` if it had none.
    pub fn disconnected(&mut self, peer: &PublicKey, now: Moment, backoff: &mut Backoff) -> Option<Moment> {
        let entry = self.0.get_mut(peer)?;
        std::mem::replace(&mut entry.connected, false).then(|| entry.wait.failed(now, backoff))
    }

    /// A sync failed: from when on it may be tried again. Without a link that is the peer's fault, else the relation's.
    pub fn failed(
        &mut self,
        peer: &PublicKey,
        relation: &mut Retry,
        failure: Failure,
        now: Moment,
        backoff: &mut Backoff,
    ) -> Moment {
        relation.refused = failure == Failure::Refused;
        let linked = self.0.get(peer).is_some_and(|peer| peer.connected);
        let wait = match linked || relation.refused {
            true => &mut relation.wait,
            false => &mut self.0.entry(*peer).or_default().wait,
        };
        wait.failed(now, backoff)
    }

    /// Until when the relation, or its peer, is to be left alone.
    pub fn waits_until(&self, peer: &PublicKey, relation: &Retry, now: Moment) -> Option<Moment> {
        let of_peer = self.0.get(peer).and_then(|peer| peer.wait.until(now));
        relation.wait.until(now).max(of_peer)
    }

    /// Forgets the failures to reach the peer: it has answered, or somebody asked for another try.
    pub fn clear(&mut self, peer: &PublicKey) {
        if let Some(peer) = self.0.get_mut(peer) {
            peer.wait.clear();
        }
    }

    /// Forgets the peer, unless it has a link.
    pub fn forget(&mut self, peer: &PublicKey) {
        if self.0.get(peer).is_some_and(|peer| !peer.connected) {
            self.0.remove(peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const PEER: PublicKey = PublicKey::from_bytes([1; 32]);
    const SECOND: Duration = Duration::from_secs(1);

    fn backoff() -> Backoff {
        Backoff::new(SECOND, 64 * SECOND, 0.0, 1)
    }

    #[test]
    fn failures_over_a_link_and_refusals_are_the_relations() {
        let (mut peers, mut backoff) = (Peers::default(), backoff());
        let (mut one, mut other) = (Retry::default(), Retry::default());
        peers.failed(&PEER, &mut one, Failure::Refused, Moment::ZERO, &mut backoff);
        assert!(one.refused);
        assert_eq!(peers.waits_until(&PEER, &one, Moment::ZERO), Some(SECOND));
        assert_eq!(peers.waits_until(&PEER, &other, Moment::ZERO), None);
        assert!(peers.connected(PEER) && !peers.connected(PEER));
        peers.failed(&PEER, &mut other, Failure::Unreachable, Moment::ZERO, &mut backoff);
        assert!(!other.refused);
        assert_eq!(peers.waits_until(&PEER, &Retry::default(), Moment::ZERO), None);
    }

    #[test]
    fn a_lost_link_is_waited_for_and_forgotten_only_without_one() {
        let (mut peers, mut backoff) = (Peers::default(), backoff());
        assert_eq!(peers.disconnected(&PEER, Moment::ZERO, &mut backoff), None);
        peers.connected(PEER);
        peers.forget(&PEER);
        assert_eq!(peers.disconnected(&PEER, Moment::ZERO, &mut backoff), Some(SECOND));
        assert_eq!(peers.disconnected(&PEER, Moment::ZERO, &mut backoff), None);
        peers.forget(&PEER);
        assert_eq!(peers.waits_until(&PEER, &Retry::default(), Moment::ZERO), None);
    }
}
