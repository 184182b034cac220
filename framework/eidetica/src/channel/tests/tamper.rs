use std::collections::HashSet;

use bytes::Bytes;

use super::super::testing::{Tamper, honest, noise, pair};
use super::*;

/// Inverts some bits of byte `at` of message `number`, if there is one.
fn flip(number: usize, at: usize, bits: u8) -> Tamper {
    Box::new(move |sent, message| {
        let mut message = message.to_vec();
        if let Some(byte) = message.get_mut(at).filter(|_| sent == number) {
            *byte ^= bits;
        }
        vec![message.into()]
    })
}

/// Lengths of the messages of a handshake: the initiator's, then the responder's.
async fn lengths() -> ([usize; 3], usize) {
    let (one, other, record) = pair(honest(), honest());
    let (initiator, responder) = shake((one, other), 5).await;
    assert!(initiator.is_ok() && responder.is_ok());
    let lengths: Vec<usize> = record.lock().unwrap().iter().map(Bytes::len).collect();
    // hello, ephemeral, answer, finish
    ([lengths[0], lengths[1], lengths[3]], lengths[2])
}

#[tokio::test]
async fn no_byte_of_the_handshake_can_be_altered() {
    let (from_initiator, from_responder) = lengths().await;
    for (number, length) in from_initiator.into_iter().enumerate() {
        for at in 0..length {
            let (one, other, _) = pair(flip(number, at, 1 << (at % 8)), honest());
            let (initiator, responder) = shake((one, other), 5).await;
            // The initiator is done when it has sent `finish`; the responder alone can refuse that one.
            let refused =
                if number == 2 { responder.is_err() } else { initiator.is_err() && responder.is_err() };
            assert!(refused, "byte {at} of the initiator's message {number}");
        }
    }
    for at in 0..from_responder {
        let (one, other, _) = pair(honest(), flip(0, at, 1 << (at % 8)));
        let (initiator, responder) = shake((one, other), 5).await;
        assert!(initiator.is_err() && responder.is_err(), "byte {at} of the answer");
    }
}

#[tokio::test]
async fn messages_of_the_handshake_cannot_be_cut_extended_repeated_or_swapped() {
    type Change = fn(Bytes) -> Vec<Bytes>;
    let changes: [Change; 5] = [
        |message| vec![message.slice(..message.len() - 1)],
        |message| vec![[&message[..], b"x"].concat().into()],
        |message| vec![message.clone(), message],
        |_| vec![Bytes::new()],
        |message| vec![Bytes::from_static(b"first"), message],
    ];
    for change in changes {
        for number in 0..3 {
            let once: Tamper =
                Box::new(move |sent, message| if sent == number { change(message) } else { vec![message] });
            let (one, other, _) = pair(once, honest());
            let (_, responder) = shake((one, other), 5).await;
            match responder {
                Err(_) => {}
                // A repeated or late message arrives behind the handshake, where it doesn't open.
                Ok(mut responder) => assert!(responder.receiver.recv().await.is_err()),
            }
        }
        let once: Tamper =
            Box::new(move |sent, message| if sent == 0 { change(message) } else { vec![message] });
        let (one, other, _) = pair(honest(), once);
        match shake((one, other), 5).await.0 {
            Err(_) => {}
            Ok(mut initiator) => assert!(initiator.receiver.recv().await.is_err()),
        }
    }
}

#[tokio::test]
async fn stripping_an_offer_is_noticed() {
    let strip: Tamper = Box::new(|number, message| {
        let mut message = message.to_vec();
        if number == 0 {
            let algorithm = 9 + 37 + 4;
            assert_eq!(message[algorithm - 4..=algorithm], [1, 0, 1, 0, 1]);
            message[algorithm] = 200;
        }
        vec![message.into()]
    });
    let (one, other, _) = pair(strip, honest());
    let (initiator, responder) = shake((one, other), 1).await;
    assert!(is_handshake_failure(&initiator.unwrap_err()));
    assert!(responder.is_err());
}

#[tokio::test]
async fn two_sessions_over_equal_data_share_no_run_of_16_bytes() {
    let mut records = Vec::new();
    for seed in [1, 2] {
        let (one, other, record) = pair(honest(), honest());
        let (initiator, responder) = shake((one, other), seed).await;
        let (mut initiator, mut responder) = (initiator.unwrap(), responder.unwrap());
        for size in [0, 16, 100, 5_000, 65_519] {
            let plain = Bytes::from(noise(77, size));
            initiator.sender.send(plain.clone()).await.unwrap();
            responder.sender.send(plain.clone()).await.unwrap();
            initiator.sender.send(plain).await.unwrap();
        }
        records.push(record.lock().unwrap().split_off(1));
    }
    let runs: HashSet<&[u8]> = records[0].iter().flat_map(|message| message.windows(16)).collect();
    assert!(runs.len() > 200_000);
    assert!(records[1].iter().flat_map(|message| message.windows(16)).all(|run| !runs.contains(run)));
}
