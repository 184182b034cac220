//! A peer that stops answering in the middle of a transfer delays nobody else, and is given up in time. No time passes but virtual time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use eidetica::Result;
use eidetica::auth::Permission;
use eidetica::crdt::{Doc, Value};
use eidetica::sync::transports::memory::{MemoryNetwork, MemoryTransport};
use eidetica::sync::{Address, ConnectionState};
use eidetica_kernel::Context;
use eidetica_kernel::transport::{
    Link, LinkReceiver, LinkSender, Listener, Transport, TransportCapabilities,
};
use eidetica_system_tests::node::{Node, get, set, until, within};
use eidetica_system_tests::seeded::{VirtualTime, noise};
use eidetica_system_tests::state::{assert_clean, state};
use tokio::sync::watch;

/// Messages that a stalling link takes in before it stops for ever: the handshake, and the beginning of a transfer.
const MESSAGES: u32 = 20;
/// How long a peer may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Links in memory; the first one that is dialled stops in both directions after [`MESSAGES`], and neither side is told.
struct Stalling {
    links: MemoryTransport,
    /// How many links have been dialled, and whether the first has stopped.
    dialled: watch::Sender<u32>,
    stalled: Arc<watch::Sender<bool>>,
}

#[async_trait]
impl Transport for Stalling {
    fn scheme(&self) -> &'static str {
        self.links.scheme()
    }

    fn capabilities(&self) -> TransportCapabilities {
        self.links.capabilities()
    }

    fn parse_address(&self, text: &str) -> Result<Address> {
        self.links.parse_address(text)
    }

    async fn listen(&self, context: &Context, address: &str) -> Result<Box<dyn Listener>> {
        self.links.listen(context, address).await
    }

    async fn connect(&self, context: &Context, address: &Address) -> Result<Link> {
        let mut link = self.links.connect(context, address).await?;
        let first = *self.dialled.borrow() == 0;
        self.dialled.send_modify(|dialled| *dialled += 1);
        if first {
            let stalled = self.stalled.clone();
            link.receiver = Box::new(StallingReceiver {
                receiver: link.receiver,
                left: MESSAGES,
                stalled: stalled.clone(),
            });
            link.sender = Box::new(StallingSender { sender: link.sender, stalled });
        }
        Ok(link)
    }
}

struct StallingReceiver {
    receiver: Box<dyn LinkReceiver>,
    left: u32,
    stalled: Arc<watch::Sender<bool>>,
}

#[async_trait]
impl LinkReceiver for StallingReceiver {
    async fn recv(&mut self) -> Result<Option<Bytes>> {
        if self.left == 0 {
            self.stalled.send_replace(true);
            return std::future::pending().await;
        }
        let message = self.receiver.recv().await;
        self.left -= 1;
        message
    }
}

struct StallingSender {
    sender: Box<dyn LinkSender>,
    stalled: Arc<watch::Sender<bool>>,
}

#[async_trait]
impl LinkSender for StallingSender {
    async fn send(&mut self, message: Bytes) -> Result<()> {
        if *self.stalled.borrow() {
            return std::future::pending().await;
        }
        self.sender.send(message).await
    }

    async fn close(&mut self) -> Result<()> {
        self.sender.close().await
    }
}

fn connection(at: &Node, to: &Node) -> ConnectionState {
    at.instance.sync().unwrap().get_peer_info(to.peer()).unwrap().unwrap().connection_state
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_stops_answering_in_a_transfer_delays_nobody_else_and_is_given_up() -> Result<()> {
    let (network, time) = (MemoryNetwork::new(), VirtualTime::new());
    let stalled = Arc::new(watch::Sender::new(false));
    let stalling = Stalling {
        links: MemoryTransport::on(&network),
        dialled: watch::Sender::new(0),
        stalled: stalled.clone(),
    };
    let a = Node::timed(&time, 1, Arc::new(MemoryTransport::on(&network)))?;
    let b = Node::timed(&time, 2, Arc::new(stalling))?;
    let c = Node::timed(&time, 3, Arc::new(MemoryTransport::on(&network)))?;
    let here = a.user.create_database(Doc::new(), a.key()?)?;
    for node in [&b, &c] {
        here.grant(node.key()?, Permission::Write, 100)?;
    }
    // Far more than a link holds and may be on its way unacknowledged.
    for number in 0..600 {
        set(&here, &format!("key {number}"), Value::from(noise(number, 10_000)))?;
    }
    let (address, id) = (a.at()?.to_string(), *here.root_id());

    // B's transfer begins, and stops.
    let fetching = tokio::spawn(b.instance.sync()?.sync_with_peer(&address, Some(&id)));
    let mut stops = stalled.subscribe();
    within("the transfer stops", stops.wait_for(|stalled| *stalled)).await.unwrap();
    until("what came before is taken in", || b.instance.has_database(id).unwrap()).await;
    let there = b.user.open_database(id)?;
    assert!(there.entry_count() < here.entry_count(), "it stopped in the middle");
    assert_eq!(connection(&a, &b), ConnectionState::Connected);

    // C gets everything at once, and everything live, while no time at all passes.
    let at_c = within("C's first sync", c.fetch(&address, &id)).await?;
    assert_eq!(state(&at_c)?, state(&here)?);
    let follow = async |round: i64| -> Result<()> {
        set(&here, "from a", round)?;
        until("A's commit is at C", || get(&at_c, "from a").is_ok_and(|value| value.as_i64() == Some(round)))
            .await;
        set(&at_c, "from c", round)?;
        until("C's commit is at A", || get(&here, "from c").is_ok_and(|value| value.as_i64() == Some(round)))
            .await;
        Ok(())
    };
    for round in 0..20 {
        follow(round).await?;
    }
    assert_eq!(time.passed(), Duration::ZERO);

    // Until the silence has lasted too long, the link to B stays; and so does C's, for which time is no matter.
    const STEP: Duration = Duration::from_secs(5);
    while time.passed() + STEP < SILENCE_MAX {
        time.pass(STEP.as_millis() as u64);
        follow(100 + time.passed().as_secs() as i64).await?;
        assert_eq!(connection(&a, &b), ConnectionState::Connected, "after {:?}", time.passed());
        assert!(!fetching.is_finished());
    }
    time.pass(STEP.as_millis() as u64);
    until("A gives B up", || connection(&a, &b) == ConnectionState::Disconnected).await;
    let error = within("B gives its transfer up", fetching).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("no answer within"), "{error}");
    assert_eq!(time.passed(), SILENCE_MAX);
    follow(1_000).await?;
    assert_eq!(connection(&a, &c), ConnectionState::Connected);

    // B's next link works, and its transfer goes on where it was.
    let had = there.entry_count();
    within("B's next sync", b.instance.sync()?.sync_with_peer(&address, Some(&id))).await?;
    assert!(had > 1, "what came before the silence was kept");
    until("all are equal", || {
        let now = state(&here).unwrap();
        [&there, &at_c].into_iter().all(|other| state(other).unwrap() == now)
    })
    .await;
    [&here, &there, &at_c].into_iter().for_each(assert_clean);
    assert_eq!(time.passed(), SILENCE_MAX, "nothing waited for time to pass");
    Ok(())
}
