//! What open links promise beyond the conformance suite: what a hostile remote can't do.

#![allow(clippy::unwrap_used, reason = "a test panics to fail")]

mod support;

use eidetica_kernel::ErrorKind;
use support::{by_hand, frame, pair, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn only_the_dialler_knows_an_address_worth_dialling() {
    let (dialled, accepted) = pair().await;
    assert!(dialled.remote.is_some_and(|remote| remote.transport_type == "http"));
    assert_eq!(accepted.remote, None, "the port that a dialler comes from can't be dialled");
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
