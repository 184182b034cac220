//! Deliberately broken transports: the suite catches each by the case meant for it.

#![allow(clippy::unwrap_used, reason = "a test panics to fail")]

mod halves;
mod nodes;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use eidetica_conformance::transport::{Needs, Network, Reference, ReferenceNode, Suite, Transport};
use eidetica_kernel::transport::{Address, Link, LinkReceiver, LinkSender, Listener, TransportCapabilities};
use eidetica_kernel::{Context, Result};

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
