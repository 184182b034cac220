//! What links of the transport `memory` promise beyond the conformance suite.

#![allow(clippy::unwrap_used, reason = "a test panics to fail")]

use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Wake, Waker};

use eidetica_conformance::context::tokio_context;
use eidetica_kernel::registry::OpenContext;
use eidetica_kernel::transport::{Link, Listener, Transport};
use eidetica_kernel::{Address, ErrorKind};
use eidetica_transport_memory::{MEMORY, MemoryNetwork, MemoryOptions, MemoryTransport};

async fn listen(network: &MemoryNetwork, name: &str) -> Box<dyn Listener> {
    MemoryTransport::on(network).listen(&tokio_context(), name).await.unwrap()
}

async fn pair(network: &MemoryNetwork, options: MemoryOptions) -> (Link, Link) {
    let mut listener = listen(network, "").await;
    let address = listener.addresses().remove(0);
    let transport = MemoryTransport::with_options(network, options);
    let dialled = transport.connect(&tokio_context(), &address).await.unwrap();
    (dialled, listener.accept().await.unwrap().unwrap())
}

struct Nobody;
impl Wake for Nobody {
    fn wake(self: Arc<Self>) {}
}

/// Polls once; what is pending is dropped.
fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = Box::pin(future);
    match future.as_mut().poll(&mut TaskContext::from_waker(&Waker::from(Arc::new(Nobody)))) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

#[tokio::test]
async fn sending_waits_at_either_bound_and_a_dropped_send_was_never_made() {
    for options in [
        MemoryOptions { queue_messages_max: 2, ..MemoryOptions::default() },
        MemoryOptions { queue_bytes_max: 20, ..MemoryOptions::default() },
    ] {
        let (mut here, mut there) = pair(&MemoryNetwork::new(), options).await;
        here.sender.send("number-001".into()).await.unwrap();
        here.sender.send("number-002".into()).await.unwrap();
        assert!(poll_once(here.sender.send("number-003".into())).is_none());
        assert_eq!(there.receiver.recv().await.unwrap(), Some("number-001".into()));
        here.sender.send("number-004".into()).await.unwrap();
        assert_eq!(there.receiver.recv().await.unwrap(), Some("number-002".into()));
        assert_eq!(there.receiver.recv().await.unwrap(), Some("number-004".into()));
        assert!(poll_once(there.receiver.recv()).is_none());
    }
}

#[tokio::test]
async fn a_listener_that_goes_late_leaves_the_name_to_the_next() {
    let network = MemoryNetwork::new();
    let mut first = listen(&network, "alice").await;
    first.close().await.unwrap();
    let second = listen(&network, "alice").await;
    drop(first);
    assert_eq!(network.names(), ["alice"]);
    drop(second);
    assert!(network.names().is_empty());
}

#[tokio::test]
async fn fresh_names_are_unique_and_networks_are_apart() {
    let network = MemoryNetwork::new();
    let (one, two) = (listen(&network, "").await, listen(&network, "0").await);
    assert_ne!(one.addresses(), two.addresses());
    let elsewhere = MemoryTransport::on(&MemoryNetwork::new());
    assert!(elsewhere.connect(&tokio_context(), &one.addresses()[0]).await.is_err());
}

#[tokio::test]
async fn cutting_breaks_links_from_and_to_a_name_and_loses_what_is_under_way() {
    let network = MemoryNetwork::new();
    let (alice, bob) = (MemoryTransport::on(&network), MemoryTransport::on(&network));
    let context = tokio_context();
    let mut alice_listens = alice.listen(&context, "alice").await.unwrap();
    let mut bob_listens = bob.listen(&context, "bob").await.unwrap();
    let mut to_bob = alice.connect(&context, &Address::new("memory", "bob")).await.unwrap();
    let mut to_alice = bob.connect(&context, &Address::new("memory", "alice")).await.unwrap();
    let mut at_bob = bob_listens.accept().await.unwrap().unwrap();
    let _at_alice = alice_listens.accept().await.unwrap().unwrap();
    assert_eq!(at_bob.remote, Some(Address::new("memory", "alice")));

    to_bob.sender.send("lost".into()).await.unwrap();
    network.cut("alice");
    assert_eq!(at_bob.receiver.recv().await.unwrap_err().kind(), ErrorKind::Unreachable);
    assert_eq!(to_alice.receiver.recv().await.unwrap_err().kind(), ErrorKind::Unreachable);
    assert_eq!(to_bob.sender.close().await.unwrap_err().kind(), ErrorKind::Unreachable);

    network.isolate("bob");
    let refused = alice.connect(&context, &Address::new("memory", "bob")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unreachable);
    assert!(bob.connect(&context, &Address::new("memory", "alice")).await.is_err());
    network.restore("bob");
    alice.connect(&context, &Address::new("memory", "bob")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn dialling_a_node_that_accepts_nothing_times_out() {
    let network = MemoryNetwork::new();
    let options = MemoryOptions { accept_queue_max: 1, ..MemoryOptions::default() };
    let transport = MemoryTransport::with_options(&network, options);
    let listener = transport.listen(&tokio_context(), "busy").await.unwrap();
    let address = listener.addresses().remove(0);
    let _queued = transport.connect(&tokio_context(), &address).await.unwrap();
    let error = transport.connect(&tokio_context(), &address).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

#[test]
fn bad_names_and_options_are_named() {
    let transport = MemoryTransport::new();
    for name in ["", "0", "two words", "line\n", &"x".repeat(129)] {
        assert_eq!(transport.parse_address(name).unwrap_err().kind(), ErrorKind::InvalidInput, "{name:?}");
    }
    let text = r#"{"queue_messages_max": 0, "queue_bytes_max": 0, "connect_timeout_ms": 0, "listen": "a b"}"#;
    let mut json = serde_json::Deserializer::from_str(text);
    let factory = (MEMORY.parse)(&mut <dyn erased_serde::Deserializer<'_>>::erase(&mut json)).unwrap();
    let paths: Vec<String> = factory.validate().into_iter().map(|fault| fault.path).collect();
    assert_eq!(paths, ["queue_messages_max", "queue_bytes_max", "connect_timeout_ms", "listen"]);

    let mut json = serde_json::Deserializer::from_str(r#"{"queue": 1}"#);
    let fault = (MEMORY.parse)(&mut <dyn erased_serde::Deserializer<'_>>::erase(&mut json)).unwrap_err();
    assert!(fault.message.contains("queue_messages_max"), "{fault}");
    let mut json = serde_json::Deserializer::from_str(r#"{"listen": "alice"}"#);
    let factory = (MEMORY.parse)(&mut <dyn erased_serde::Deserializer<'_>>::erase(&mut json)).unwrap();
    assert_eq!(factory.listen_address().as_deref(), Some("alice"));
    assert!(factory.open(&OpenContext::default()).is_ok());
}
