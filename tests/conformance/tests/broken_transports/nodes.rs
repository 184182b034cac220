//! Nodes that are broken in how they listen, dial, spawn, or what they say of themselves.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use eidetica_conformance::transport::{ReferenceNode, Transport as _};
use eidetica_kernel::transport::{Address, Link, Listener, TransportCapabilities};
use eidetica_kernel::{Context, ErrorKind, Result, SecretKey};

use crate::{Break, catches};

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

/// Waits for room among what waits to be accepted, however long that takes.
struct DialsThePatient;

#[async_trait]
impl Break for DialsThePatient {
    async fn connect(&self, sound: &ReferenceNode, context: &Context, address: &Address) -> Result<Link> {
        match sound.connect(context, address).await {
            Err(error) if error.kind() == ErrorKind::Timeout => std::future::pending().await,
            link => link,
        }
    }
}

#[test]
fn a_transport_that_waits_for_ever_to_be_accepted() {
    catches("who_listens_and_accepts_nothing_keeps_no_dialler_for_ever", || DialsThePatient);
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
        Link { remote_key: Some(SecretKey::from_bytes([1; 32]).public_key()), ..sound }
    }

    fn capabilities(&self, sound: TransportCapabilities) -> TransportCapabilities {
        sound.proves_keys()
    }
}

#[test]
fn a_transport_that_takes_a_key_on_somebodys_word() {
    catches("keys_are_proven_at_both_ends", || SaysSo);
}
