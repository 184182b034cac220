//! What open links promise: order, bounds, cancelling, closing, and what a hostile remote can't do.

#![allow(clippy::unwrap_used, reason = "a test panics to fail")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use eidetica_conformance::context::tokio_context;
use eidetica_kernel::ErrorKind;
use eidetica_kernel::runtime::{BoxFuture, Spawner, TaskGuard};
use eidetica_kernel::transport::{Link, MESSAGE_BYTES_MAX, Transport};
use eidetica_transport_http::HttpTransport;
use support::{by_hand, frame, pair, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

#[tokio::test]
async fn messages_of_every_size_arrive_whole_both_ways() {
    let (mut here, mut there) = pair().await;
    assert!(here.remote.as_ref().is_some_and(|remote| remote.transport_type == "http"));
    assert_eq!(there.remote, None, "the port that a dialler comes from can't be dialled");
    for size in [0, 1, 2, 125, 126, 127, 32_767, 32_768, 65_534, MESSAGE_BYTES_MAX] {
        let message: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        for (from, to) in [(&mut here, &mut there)] {
            let (sent, got) =
                soon(async { tokio::join!(from.sender.send(message.clone().into()), to.receiver.recv()) })
                    .await;
            sent.unwrap();
            assert_eq!(got.unwrap().unwrap(), message);
            let (sent, got) =
                soon(async { tokio::join!(to.sender.send(message.clone().into()), from.receiver.recv()) })
                    .await;
            sent.unwrap();
            assert_eq!(got.unwrap().unwrap(), message);
        }
    }
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_and_the_link_goes_on() {
    let (mut here, mut there) = pair().await;
    let refused = here.sender.send(vec![0; MESSAGE_BYTES_MAX + 1].into()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::LimitExceeded);
    here.sender.send("goes on".into()).await.unwrap();
    assert_eq!(soon(there.receiver.recv()).await.unwrap(), Some("goes on".into()));
}

#[tokio::test]
async fn a_dropped_send_was_never_made_and_what_is_under_way_is_bounded() {
    let (mut here, mut there) = pair().await;
    let numbered = |number: u32| {
        let mut message = vec![0; 60_000];
        message[..4].copy_from_slice(&number.to_le_bytes());
        bytes(message)
    };
    // Nobody reads: some send will wait. It is dropped, and tried again with the same number.
    let (mut sent, mut dropped) = (0, 0);
    while dropped < 5 {
        match tokio::time::timeout(Duration::from_millis(50), here.sender.send(numbered(sent))).await {
            Ok(result) => {
                result.unwrap();
                sent += 1;
            }
            Err(_) => dropped += 1,
        }
        assert!(sent < 1_000, "60 MB are under way and send still doesn't wait");
    }
    let (mut sender, kept) = (here.sender, here.receiver);
    let sending = tokio::spawn(async move {
        for number in sent..sent + 50 {
            sender.send(numbered(number)).await.unwrap();
        }
        sender.close().await.unwrap();
    });
    for number in 0..sent + 50 {
        let message = soon(there.receiver.recv()).await.unwrap().expect("all that was sent");
        assert_eq!(message[..4], number.to_le_bytes());
    }
    assert_eq!(soon(there.receiver.recv()).await.unwrap(), None);
    sending.await.unwrap();
    drop(kept);
}

#[tokio::test]
async fn a_message_that_the_socket_did_not_take_at_once_needs_no_further_call() {
    let (mut here, mut there) = pair().await;
    let mut sent = 0;
    // The last of these returned with a rest that the socket didn't take; nobody calls `here` from then on.
    while tokio::time::timeout(Duration::from_millis(50), here.sender.send(vec![1; 60_000].into()))
        .await
        .is_ok()
    {
        sent += 1;
    }
    for _ in 0..sent {
        assert_eq!(soon(there.receiver.recv()).await.unwrap().unwrap().len(), 60_000);
    }
}

#[tokio::test]
async fn a_dropped_recv_loses_nothing() {
    let (mut here, mut there) = pair().await;
    let sending = tokio::spawn(async move {
        for number in 0..2_000_u32 {
            here.sender.send(bytes(number.to_le_bytes().repeat(1_000))).await.unwrap();
        }
        here
    });
    let mut expected = 0_u32;
    while expected < 2_000 {
        // Polled once at a time.
        let polled = soon(async {
            tokio::select! {
                biased;
                message = there.receiver.recv() => Some(message),
                () = tokio::task::yield_now() => None,
            }
        });
        if let Some(message) = polled.await {
            assert_eq!(message.unwrap().unwrap()[..4], expected.to_le_bytes());
            expected += 1;
        }
    }
    sending.await.unwrap();
}

#[tokio::test]
async fn after_close_the_rest_is_read_and_both_sides_end() {
    let (mut here, mut there) = pair().await;
    there.sender.send("to here".into()).await.unwrap();
    here.sender.send("last".into()).await.unwrap();
    here.sender.close().await.unwrap();
    here.sender.close().await.unwrap();
    assert_eq!(here.sender.send("late".into()).await.unwrap_err().kind(), ErrorKind::Closed);

    assert_eq!(soon(there.receiver.recv()).await.unwrap(), Some("last".into()));
    assert_eq!(soon(there.receiver.recv()).await.unwrap(), None);
    assert_eq!(soon(there.receiver.recv()).await.unwrap(), None);
    assert_eq!(there.sender.send("late".into()).await.unwrap_err().kind(), ErrorKind::Unreachable);
    there.sender.close().await.unwrap();

    assert_eq!(soon(here.receiver.recv()).await.unwrap(), Some("to here".into()));
    assert_eq!(soon(here.receiver.recv()).await.unwrap(), None);
}

#[tokio::test]
async fn dropping_either_half_on_either_side_ends_the_other_side() {
    for dialler_drops in [false, true] {
        for receiver_goes in [false, true] {
            let (dialled, accepted) = pair().await;
            let (mut here, mut there) = if dialler_drops { (dialled, accepted) } else { (accepted, dialled) };
            here.sender.send("last".into()).await.unwrap();
            let Link { sender, receiver, .. } = here;
            let _kept: Box<dyn std::any::Any> = if receiver_goes {
                drop(receiver);
                Box::new(sender)
            } else {
                drop(sender);
                Box::new(receiver)
            };
            assert_eq!(soon(there.receiver.recv()).await.unwrap(), Some("last".into()));
            assert_eq!(soon(there.receiver.recv()).await.unwrap(), None);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sent_before_a_link_is_dropped_still_arrives() {
    for dialler_drops in [false, true] {
        let (dialled, accepted) = pair().await;
        let (mut here, mut there) = if dialler_drops { (dialled, accepted) } else { (accepted, dialled) };
        // Unread on the dropping side: a plain close would reset the connection.
        there.sender.send(vec![9; 60_000].into()).await.unwrap();
        let sending = tokio::spawn(async move {
            for _ in 0..200 {
                here.sender.send(vec![1; 60_000].into()).await.unwrap();
            }
        });
        for _ in 0..200 {
            assert_eq!(soon(there.receiver.recv()).await.unwrap().unwrap().len(), 60_000);
        }
        sending.await.unwrap();
        assert_eq!(soon(there.receiver.recv()).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_waiting_send_and_a_waiting_recv_wake_when_the_remote_goes() {
    let (mut here, there) = pair().await;
    while tokio::time::timeout(Duration::from_millis(50), here.sender.send(vec![1; 60_000].into()))
        .await
        .is_ok()
    {}
    let waiting = async {
        let failed = loop {
            if let Err(error) = here.sender.send(vec![1; 60_000].into()).await {
                break error;
            }
        };
        assert_eq!(failed.kind(), ErrorKind::Unreachable);
    };
    let reading = async { while let Ok(Some(_)) = here.receiver.recv().await {} };
    let ((), (), ()) = soon(async { tokio::join!(waiting, reading, async { drop(there) }) }).await;
}

#[tokio::test]
async fn a_frame_that_claims_a_gigabyte_ends_the_link_before_it_comes() {
    let (mut stream, mut link) = by_hand().await;
    let mut head = vec![0x82, 0xff];
    head.extend_from_slice(&(1_u64 << 30).to_be_bytes());
    head.extend_from_slice(&[0; 4]);
    stream.write_all(&head).await.unwrap();
    let error = soon(link.receiver.recv()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert!(error.to_string().contains("65535"), "{error}");
    assert!(soon(link.receiver.recv()).await.is_err());
    assert!(link.sender.send("x".into()).await.is_err());
    let mut rest = Vec::new();
    soon(stream.read_to_end(&mut rest)).await.ok();
    assert!(rest.len() < 200, "at most a goodbye");
}

#[tokio::test]
async fn fragments_that_add_up_to_more_than_a_message_end_the_link() {
    let (mut stream, mut link) = by_hand().await;
    let sending = tokio::spawn(async move {
        let mut fragment = frame(2, &[7; 100]);
        fragment[0] = 0x02;
        while stream.write_all(&fragment).await.is_ok() {
            fragment[0] = 0x00;
        }
    });
    assert_eq!(soon(link.receiver.recv()).await.unwrap_err().kind(), ErrorKind::Protocol);
    soon(sending).await.unwrap();
}

#[tokio::test]
async fn text_is_no_message() {
    let (mut stream, mut link) = by_hand().await;
    stream.write_all(&frame(1, b"hello")).await.unwrap();
    assert_eq!(soon(link.receiver.recv()).await.unwrap_err().kind(), ErrorKind::Protocol);
    let mut rest = Vec::new();
    soon(stream.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest[..4], [0x88, rest[1], 0x03, 0xeb], "a close frame with code 1003");
}

#[tokio::test]
async fn pings_are_answered_while_somebody_receives() {
    let (mut stream, mut link) = by_hand().await;
    stream.write_all(&frame(9, b"there?")).await.unwrap();
    let mut answer = [0; 8];
    tokio::select! {
        message = link.receiver.recv() => panic!("a ping is no message: {message:?}"),
        read = soon(stream.read_exact(&mut answer)) => { read.unwrap(); }
    }
    assert_eq!(&answer, b"\x8a\x06there?");
}

#[tokio::test]
async fn a_connection_cut_within_a_message_is_an_error() {
    let (mut stream, mut link) = by_hand().await;
    stream.write_all(&frame(2, b"whole")).await.unwrap();
    stream.write_all(&frame(2, b"torn")[..8]).await.unwrap();
    drop(stream);
    assert_eq!(soon(link.receiver.recv()).await.unwrap(), Some("whole".into()));
    assert_eq!(soon(link.receiver.recv()).await.unwrap_err().kind(), ErrorKind::Unreachable);
}

#[tokio::test]
async fn an_unmasked_frame_from_a_client_is_refused() {
    let (mut stream, mut link) = by_hand().await;
    stream.write_all(&[0x82, 0x02, 1, 2]).await.unwrap();
    assert_eq!(soon(link.receiver.recv()).await.unwrap_err().kind(), ErrorKind::Protocol);
}

/// Counts the tasks that run.
struct Counting {
    inner: Arc<dyn Spawner>,
    running: Arc<watch::Sender<usize>>,
}

struct Running(Arc<watch::Sender<usize>>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running -= 1);
    }
}

impl Spawner for Counting {
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) -> TaskGuard {
        self.running.send_modify(|running| *running += 1);
        let running = Running(self.running.clone());
        self.inner.spawn(
            name,
            Box::pin(async move {
                let _running = running;
                task.await;
            }),
        )
    }
}

#[tokio::test]
async fn every_task_ends_once_links_and_listener_are_dropped() {
    let (count, mut running) = watch::channel(0);
    let mut context = tokio_context();
    context.spawner = Arc::new(Counting { inner: context.spawner.clone(), running: Arc::new(count) });
    let transport = HttpTransport::new();
    let mut listener = transport.listen(&context, "127.0.0.1:0").await.unwrap();
    let address = listener.addresses().remove(0);
    for _ in 0..10 {
        let (dialled, accepted) =
            soon(async { tokio::join!(transport.connect(&context, &address), listener.accept()) }).await;
        let (mut dialled, _accepted) = (dialled.unwrap(), accepted.unwrap().unwrap());
        // Filled, so that a rest is left to bring out.
        while tokio::time::timeout(Duration::from_millis(10), dialled.sender.send(vec![1; 60_000].into()))
            .await
            .is_ok()
        {}
    }
    let _silent = tokio::net::TcpStream::connect(&address.address).await.unwrap();
    let idle = tokio::time::timeout(Duration::from_millis(10), listener.accept()).await;
    assert!(idle.is_err() && *running.borrow() > 0);
    drop(listener);
    soon(running.wait_for(|running| *running == 0)).await.unwrap();
}

#[test]
fn a_link_may_outlive_its_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut dialled, accepted) = runtime.block_on(pair());
    drop(accepted);
    drop(runtime);
    let other = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // Its socket is dead: an end or an error, but no hang and no panic.
    other.block_on(async {
        assert!(!matches!(soon(dialled.receiver.recv()).await, Ok(Some(_))));
        soon(dialled.sender.send("x".into())).await.ok();
    });
    drop(dialled);
}

fn bytes(message: Vec<u8>) -> bytes::Bytes {
    message.into()
}
