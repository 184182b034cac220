//! Deliberately broken transports: the suite catches each by the case meant for it.

#![allow(clippy::unwrap_used, reason = "a test panics to fail")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use eidetica_conformance::transport::{Needs, Network, Reference, ReferenceNode, Suite, Transport};
use eidetica_kernel::transport::{
    Address, Link, LinkReceiver, LinkSender, Listener, MESSAGE_BYTES_MAX, TransportCapabilities,
};
use eidetica_kernel::{Context, Error, ErrorKind, Result};
use tokio::sync::{Mutex, mpsc};

/// What is wrong with a transport. Each method does what the sound transport does unless replaced.
#[async_trait]
trait Break: Send + Sync + 'static {
    /// Another way to send; the halves of a link share nothing else.
    fn sender(&self, sound: Box<dyn LinkSender>, _: &Context) -> Box<dyn LinkSender> {
        sound
    }

    fn receiver(&self, sound: Box<dyn LinkReceiver>) -> Box<dyn LinkReceiver> {
        sound
    }

    fn link(&self, sound: Link, context: &Context) -> Link {
        Link {
            sender: self.sender(sound.sender, context),
            receiver: self.receiver(sound.receiver),
            remote: sound.remote,
            remote_key: sound.remote_key,
            binding: sound.binding,
            keepalive: sound.keepalive,
        }
    }

    fn listener(&self, sound: Box<dyn Listener>) -> Box<dyn Listener> {
        sound
    }

    fn capabilities(&self, sound: TransportCapabilities) -> TransportCapabilities {
        sound
    }

    fn parse(&self, sound: &ReferenceNode, text: &str) -> Result<Address> {
        sound.parse_address(text)
    }

    async fn connect(&self, sound: &ReferenceNode, context: &Context, address: &Address) -> Result<Link> {
        sound.connect(context, address).await
    }
}

struct Broken<B> {
    sound: ReferenceNode,
    how: Arc<B>,
}

#[async_trait]
impl<B: Break> Transport for Broken<B> {
    fn scheme(&self) -> &'static str {
        self.sound.scheme()
    }

    fn capabilities(&self) -> TransportCapabilities {
        self.how.capabilities(self.sound.capabilities())
    }

    fn parse_address(&self, text: &str) -> Result<Address> {
        self.how.parse(&self.sound, text)
    }

    async fn listen(&self, context: &Context, address: &str) -> Result<Box<dyn Listener>> {
        let sound = self.how.listener(self.sound.listen(context, address).await?);
        Ok(Box::new(Accepting { sound, how: self.how.clone(), context: context.clone() }))
    }

    async fn connect(&self, context: &Context, address: &Address) -> Result<Link> {
        Ok(self.how.link(self.how.connect(&self.sound, context, address).await?, context))
    }
}

struct Accepting<B> {
    sound: Box<dyn Listener>,
    how: Arc<B>,
    context: Context,
}

#[async_trait]
impl<B: Break> Listener for Accepting<B> {
    fn addresses(&self) -> Vec<Address> {
        self.sound.addresses()
    }

    async fn accept(&mut self) -> Result<Option<Link>> {
        Ok(self.sound.accept().await?.map(|link| self.how.link(link, &self.context)))
    }

    async fn close(&mut self) -> Result<()> {
        self.sound.close().await
    }
}

fn suite<B: Break>(how: impl Fn() -> B + Send + Sync + 'static) -> Suite {
    let suite = Suite::new("broken", move || {
        let hub = Reference::new();
        let how = Arc::new(how());
        Network::new("", move || Ok(Box::new(Broken { sound: hub.node(), how: how.clone() })))
    });
    suite.case_max(Duration::from_secs(3))
}

#[track_caller]
fn catches<B: Break>(case: &str, how: impl Fn() -> B + Send + Sync + 'static) {
    let case = Suite::cases().into_iter().find(|known| known.name == case).expect("a case of that name");
    let why = suite(how).failure(case);
    assert!(why.is_some(), "not caught by {}", case.name);
}

struct Sound;
impl Break for Sound {}

#[test]
fn sound_transports_pass() {
    assert_eq!(suite(|| Sound).case_max(Duration::from_secs(60)).failures(), Vec::new());
}

#[test]
fn a_transport_without_any_address_is_given_chosen_ones() {
    let suite = Suite::new("chosen", || {
        let (hub, named) = (Reference::new(), AtomicUsize::new(0));
        let fresh = move || format!("chosen-{}", named.fetch_add(1, Ordering::Relaxed));
        Network::new("taken by the first", move || Ok(Box::new(hub.node()))).fresh(fresh)
    });
    let listening: Vec<_> =
        Suite::cases().into_iter().filter(|case| case.invariants.starts_with('A')).collect();
    assert!(listening.len() > 8);
    for case in listening.into_iter().filter(|case| case.needs != Needs::Raw) {
        assert_eq!(suite.failure(case), None, "{}", case.name);
    }
}

#[test]
fn every_invariant_is_cited_and_every_case_cites_some() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../framework/kernel/src/transport.rs");
    let text = std::fs::read_to_string(file).unwrap();
    let number = |line: &str| Some(line.strip_prefix("/// - **")?.split_once("**")?.0.to_owned());
    let numbered: BTreeSet<String> = text.lines().filter_map(number).collect();
    assert!(["T1", "A1", "L1"].iter().all(|first| numbered.contains(*first)), "{numbered:?}");
    // What a case doesn't cite is an empty text here, and no number.
    let cited: BTreeSet<String> =
        Suite::cases().iter().flat_map(|case| case.invariants.split(' ')).map(str::to_owned).collect();
    assert_eq!(cited, numbered);
}

#[test]
fn only_what_is_not_declared_is_skipped_and_says_why() {
    let trials = suite(|| Sound).trials();
    let cases = Suite::cases();
    assert_eq!(trials.len(), cases.len());
    for (case, trial) in cases.iter().zip(&trials) {
        // The reference binds, and declares nothing else.
        let skipped = !matches!(case.needs, Needs::Nothing | Needs::Binds);
        assert_eq!(trial.has_ignored_flag(), skipped, "{}", case.name);
        assert_eq!(trial.kind().starts_with("skipped: "), skipped, "{}", case.name);
    }
    assert!(cases.iter().filter(|case| case.needs == Needs::Nothing).count() > 30);
}

/// Makes a sender of a function that is given each message and the sound sender.
macro_rules! sender {
    ($name:ident { $($field:ident: $type:ty = $value:expr),* } |$self:ident, $message:ident| $body:expr) => {
        struct $name;
        impl Break for $name {
            fn sender(&self, sound: Box<dyn LinkSender>, _: &Context) -> Box<dyn LinkSender> {
                struct Half { sound: Box<dyn LinkSender>, $($field: $type),* }
                #[async_trait]
                impl LinkSender for Half {
                    async fn send(&mut self, $message: Bytes) -> Result<()> {
                        let $self = self;
                        $body
                    }
                    async fn close(&mut self) -> Result<()> {
                        self.sound.close().await
                    }
                }
                Box::new(Half { sound, $($field: $value),* })
            }
        }
    };
}

sender!(Reorders { held: Option<Bytes> = None } |half, message| {
    // Every second message overtakes the one before.
    match half.held.take() {
        None if message.len() == 4 => { half.held = Some(message); Ok(()) }
        None => half.sound.send(message).await,
        Some(held) => {
            half.sound.send(message).await?;
            half.sound.send(held).await
        }
    }
});

#[test]
fn a_transport_that_reorders() {
    catches("many_messages_arrive_in_order", || Reorders);
}

sender!(Merges { held: Vec<u8> = Vec::new() } |half, message| {
    // Two small ones become one.
    half.held.extend_from_slice(&message);
    if half.held.len() < 8 {
        return Ok(());
    }
    let merged = std::mem::take(&mut half.held);
    half.sound.send(merged.into()).await
});

#[test]
fn a_transport_that_merges_messages() {
    catches("messages_of_every_size_arrive_whole_both_ways", || Merges);
}

sender!(
    Truncates {} | half,
    message | {
        let end = message.len().min(MESSAGE_BYTES_MAX - 1);
        half.sound.send(message.slice(..end)).await
    }
);

#[test]
fn a_transport_that_truncates_the_longest() {
    catches("messages_of_every_size_arrive_whole_both_ways", || Truncates);
}

sender!(
    Swallows {} | half,
    message | {
        if message.len() > MESSAGE_BYTES_MAX {
            return Ok(());
        }
        half.sound.send(message).await
    }
);

#[test]
fn a_transport_that_takes_messages_over_the_limit() {
    catches("a_message_over_the_limit_is_refused_and_the_link_goes_on", || Swallows);
}

sender!(
    Drops {} | half,
    message | {
        // A full link loses the message rather than wait.
        match poll_once(half.sound.send(message)).await {
            Some(result) => result,
            None => Ok(()),
        }
    }
);

/// Polls once.
async fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = future => Some(output),
        () = std::future::ready(()) => None,
    }
}

#[test]
fn a_transport_that_drops_messages_under_load() {
    catches("send_waits_when_the_remote_does_not_read", || Drops);
    catches("many_messages_arrive_in_order", || Drops);
}

sender!(Doubles { last: Option<Bytes> = None } |half, message| {
    // What a dropped call had sent already is sent once more.
    if half.last.as_ref() == Some(&message) {
        half.sound.send(message.clone()).await?;
    }
    half.last = Some(message.clone());
    half.sound.send(message).await
});

#[test]
fn a_transport_that_sends_twice_what_was_dropped() {
    catches("a_dropped_send_leaves_nothing_torn_or_doubled", || Doubles);
}

sender!(Buffers { held: Vec<Bytes> = Vec::new() } |half, message| {
    // Handed on by the next call only.
    for held in std::mem::take(&mut half.held) {
        half.sound.send(held).await?;
    }
    half.held.push(message);
    Ok(())
});

#[test]
fn a_transport_that_waits_for_the_next_call() {
    catches("what_was_taken_needs_no_further_call_to_arrive", || Buffers);
}

struct Unbounded;

impl Break for Unbounded {
    fn sender(&self, mut sound: Box<dyn LinkSender>, context: &Context) -> Box<dyn LinkSender> {
        struct Half(
            mpsc::UnboundedSender<Bytes>,
            #[allow(dead_code, reason = "held")] eidetica_kernel::runtime::TaskGuard,
        );
        #[async_trait]
        impl LinkSender for Half {
            async fn send(&mut self, message: Bytes) -> Result<()> {
                eidetica_kernel::transport::check_message(&message)?;
                self.0.send(message).map_err(|_| Error::new(ErrorKind::Unreachable, "sending", "", "gone"))
            }
            async fn close(&mut self) -> Result<()> {
                Ok(())
            }
        }
        let (queue, mut queued) = mpsc::unbounded_channel();
        let pumping = async move {
            while let Some(message) = queued.recv().await {
                if sound.send(message).await.is_err() {
                    return;
                }
            }
        };
        Box::new(Half(queue, context.spawner.spawn("pump", Box::pin(pumping))))
    }
}

#[test]
fn a_transport_whose_queue_has_no_bound() {
    catches("send_waits_when_the_remote_does_not_read", || Unbounded);
}

#[derive(Default)]
struct OneForAll(Arc<Mutex<()>>);

impl Break for OneForAll {
    fn sender(&self, sound: Box<dyn LinkSender>, _: &Context) -> Box<dyn LinkSender> {
        /// Holds what all links share as long as its own is full.
        struct Half(Box<dyn LinkSender>, Arc<Mutex<()>>, Option<tokio::sync::OwnedMutexGuard<()>>);
        #[async_trait]
        impl LinkSender for Half {
            async fn send(&mut self, message: Bytes) -> Result<()> {
                if self.2.is_none() {
                    self.2 = Some(self.1.clone().lock_owned().await);
                }
                self.0.send(message).await?;
                self.2 = None;
                Ok(())
            }
            async fn close(&mut self) -> Result<()> {
                self.0.close().await
            }
        }
        Box::new(Half(sound, self.0.clone(), None))
    }
}

#[test]
fn a_transport_whose_links_wait_for_each_other() {
    catches("a_link_that_nobody_reads_delays_no_other", OneForAll::default);
}

struct LosesOnDrop;

impl Break for LosesOnDrop {
    fn receiver(&self, sound: Box<dyn LinkReceiver>) -> Box<dyn LinkReceiver> {
        struct Half(Box<dyn LinkReceiver>);
        #[async_trait]
        impl LinkReceiver for Half {
            async fn recv(&mut self) -> Result<Option<Bytes>> {
                let message = self.0.recv().await;
                // Taken already, and lost when this is dropped here.
                tokio::task::yield_now().await;
                message
            }
        }
        Box::new(Half(sound))
    }
}

#[test]
fn a_transport_that_loses_a_message_when_recv_is_dropped() {
    catches("a_dropped_recv_loses_nothing", || LosesOnDrop);
}

struct HalfDeaf;

impl Break for HalfDeaf {
    fn receiver(&self, sound: Box<dyn LinkReceiver>) -> Box<dyn LinkReceiver> {
        struct Half(Option<Box<dyn LinkReceiver>>);
        #[async_trait]
        impl LinkReceiver for Half {
            async fn recv(&mut self) -> Result<Option<Bytes>> {
                match &mut self.0 {
                    Some(sound) => sound.recv().await,
                    None => Ok(None),
                }
            }
        }
        impl Drop for Half {
            fn drop(&mut self) {
                // The remote is never told.
                std::mem::forget(self.0.take());
            }
        }
        Box::new(Half(Some(sound)))
    }
}

#[test]
fn a_transport_that_does_not_tell_that_a_half_was_dropped() {
    catches("dropping_either_half_on_either_side_ends_the_other_side", || HalfDeaf);
}

struct KeepsBound;

impl Break for KeepsBound {
    fn listener(&self, sound: Box<dyn Listener>) -> Box<dyn Listener> {
        struct Kept(Option<Box<dyn Listener>>, Vec<Address>);
        #[async_trait]
        impl Listener for Kept {
            fn addresses(&self) -> Vec<Address> {
                self.1.clone()
            }
            async fn accept(&mut self) -> Result<Option<Link>> {
                match &mut self.0 {
                    Some(sound) => sound.accept().await,
                    None => Ok(None),
                }
            }
            async fn close(&mut self) -> Result<()> {
                std::mem::forget(self.0.take());
                Ok(())
            }
        }
        let addresses = sound.addresses();
        Box::new(Kept(Some(sound), addresses))
    }
}

#[test]
fn a_transport_that_keeps_its_address_after_the_close() {
    catches("a_closed_or_dropped_listener_frees_its_address_at_once", || KeepsBound);
    catches("links_that_nobody_accepted_end_with_their_listener", || KeepsBound);
}

#[derive(Default)]
struct ListensOnce(AtomicBool);

impl Break for ListensOnce {
    fn listener(&self, sound: Box<dyn Listener>) -> Box<dyn Listener> {
        struct Deaf(Box<dyn Listener>);
        #[async_trait]
        impl Listener for Deaf {
            fn addresses(&self) -> Vec<Address> {
                self.0.addresses()
            }
            async fn accept(&mut self) -> Result<Option<Link>> {
                std::future::pending().await
            }
            async fn close(&mut self) -> Result<()> {
                self.0.close().await
            }
        }
        if self.0.swap(true, Ordering::Relaxed) { Box::new(Deaf(sound)) } else { sound }
    }
}

#[test]
fn a_transport_that_listens_only_once() {
    catches("a_node_listens_once_at_a_time_or_at_further_addresses", ListensOnce::default);
}

struct ForgetsAccepted;

impl Break for ForgetsAccepted {
    fn listener(&self, sound: Box<dyn Listener>) -> Box<dyn Listener> {
        struct Hasty(Box<dyn Listener>);
        #[async_trait]
        impl Listener for Hasty {
            fn addresses(&self) -> Vec<Address> {
                self.0.addresses()
            }
            async fn accept(&mut self) -> Result<Option<Link>> {
                let link = self.0.accept().await;
                tokio::task::yield_now().await;
                link
            }
            async fn close(&mut self) -> Result<()> {
                self.0.close().await
            }
        }
        Box::new(Hasty(sound))
    }
}

#[test]
fn a_transport_that_loses_a_link_when_accept_is_dropped() {
    catches("a_dropped_accept_loses_no_link", || ForgetsAccepted);
}

struct LeaksTask;

impl Break for LeaksTask {
    fn link(&self, sound: Link, context: &Context) -> Link {
        let guard = context.spawner.spawn("watch", Box::pin(std::future::pending()));
        std::mem::forget(guard);
        sound
    }
}

#[test]
fn a_transport_whose_task_outlives_its_link() {
    catches("every_task_ends_with_what_it_serves", || LeaksTask);
}

struct SpawnsPast;

impl Break for SpawnsPast {
    fn link(&self, sound: Link, _: &Context) -> Link {
        tokio::spawn(std::future::pending::<()>());
        sound
    }
}

#[test]
fn a_transport_that_spawns_past_the_context() {
    catches("nothing_is_left_on_the_runtime", || SpawnsPast);
}

struct DialsForEver;

#[async_trait]
impl Break for DialsForEver {
    async fn connect(&self, sound: &ReferenceNode, context: &Context, address: &Address) -> Result<Link> {
        match sound.connect(context, address).await {
            Err(_) => std::future::pending().await,
            link => link,
        }
    }
}

#[test]
fn a_transport_that_dials_the_dead_for_ever() {
    catches("where_nobody_listens_any_more_is_unreachable", || DialsForEver);
}

struct TakesAnyText;

impl Break for TakesAnyText {
    fn parse(&self, _: &ReferenceNode, text: &str) -> Result<Address> {
        Ok(Address::new("reference", text))
    }
}

#[test]
fn a_transport_that_takes_any_text_for_an_address() {
    catches("malformed_addresses_are_refused", || TakesAnyText);
}

struct OneBinding;

impl Break for OneBinding {
    fn link(&self, sound: Link, _: &Context) -> Link {
        Link { binding: Some([7; 32]), ..sound }
    }

    fn capabilities(&self, sound: TransportCapabilities) -> TransportCapabilities {
        sound.encrypts()
    }
}

#[test]
fn a_transport_whose_bindings_bind_nothing() {
    catches("each_link_has_a_binding_of_its_own_and_both_ends_know_it", || OneBinding);
}

struct SaysSo;

impl Break for SaysSo {
    fn link(&self, sound: Link, _: &Context) -> Link {
        // Both sides claim the same key: nobody has proven anything.
        Link { remote_key: Some(eidetica_kernel::SecretKey::from_bytes([1; 32]).public_key()), ..sound }
    }

    fn capabilities(&self, sound: TransportCapabilities) -> TransportCapabilities {
        sound.proves_keys()
    }
}

#[test]
fn a_transport_that_takes_a_key_on_somebodys_word() {
    catches("keys_are_proven_at_both_ends", || SaysSo);
}
