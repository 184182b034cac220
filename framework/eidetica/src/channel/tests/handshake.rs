use bytes::Bytes;
use eidetica_kernel::{Fault, Retry, SyncError, Timestamp, Transport as _};
use eidetica_transport_memory::{MemoryNetwork, MemoryTransport};

use super::super::Role;
use super::super::compress::Compression;
use super::super::handshake::refuse_busy;
use super::super::testing::{Tamper, honest, impatient_context, noise, pair};
use super::*;

#[tokio::test]
async fn both_ends_agree_and_know_each_other() {
    let (one, other, _) = pair(honest(), honest());
    let (initiator, responder) = shake((one, other), 7).await;
    let (initiator, responder) = (initiator.unwrap(), responder.unwrap());
    assert_eq!(initiator.peer, identity(2).public_key());
    assert_eq!(responder.peer, identity(1).public_key());
    assert_eq!((initiator.role, responder.role), (Role::Initiator, Role::Responder));
    assert_eq!(initiator.session_id, responder.session_id);
    assert_eq!((initiator.version, responder.version), (1, 1));
    assert_eq!(initiator.compression, Some(Compression::Lz4));
    assert_eq!(responder.compression, Some(Compression::Lz4));
    assert_eq!(initiator.peer_wall, Timestamp::from_millis(1_000_015));
    assert_eq!(responder.peer_wall, Timestamp::from_millis(1_000_014));
    assert_eq!(initiator.mux_config().plain_bytes_max, 65_519);
}

#[tokio::test]
async fn a_channel_opens_over_the_memory_transport() {
    let network = MemoryNetwork::new();
    let context = context(1);
    let mut listener = MemoryTransport::on(&network).listen(&context, "alice").await.unwrap();
    let bob = MemoryTransport::on(&network);
    let dialled = bob.connect(&context, &bob.parse_address("alice").unwrap()).await.unwrap();
    let accepted = listener.accept().await.unwrap().unwrap();
    let (initiator, responder) = shake((dialled, accepted), 1).await;
    let (mut initiator, mut responder) = (initiator.unwrap(), responder.unwrap());
    for size in [1, 1_000, 65_519] {
        let plain = Bytes::from(noise(9, size));
        initiator.sender.send(plain.clone()).await.unwrap();
        assert_eq!(responder.receiver.recv().await.unwrap(), Some(plain.clone()));
        responder.sender.send(plain.clone()).await.unwrap();
        assert_eq!(initiator.receiver.recv().await.unwrap(), Some(plain));
    }
    initiator.sender.close().await.unwrap();
    assert_eq!(responder.receiver.recv().await.unwrap(), None);
}

#[tokio::test]
async fn sessions_have_ids_of_their_own() {
    let mut ids = Vec::new();
    for seed in 0..4 {
        let (one, other, _) = pair(honest(), honest());
        ids.push(shake((one, other), seed).await.0.unwrap().session_id);
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 4);
}

#[tokio::test]
async fn the_same_randomness_gives_the_same_bytes() {
    let mut records = Vec::new();
    for _ in 0..2 {
        let (one, other, record) = pair(honest(), honest());
        let (initiator, responder) = shake((one, other), 3).await;
        initiator.unwrap().sender.send(Bytes::from_static(b"equal")).await.unwrap();
        drop(responder);
        records.push(record.lock().unwrap().clone());
    }
    assert_eq!(records[0].len(), 5);
    assert_eq!(records[0], records[1]);
}

#[tokio::test]
async fn a_certificate_by_another_device_is_refused() {
    let config = ChannelConfig::default();
    let victim = || SecretKey::from_bytes([3; 32]);
    let (one, other, _) = pair(honest(), honest());
    let liar = identity(2).impersonate(victim());
    let (initiator, responder) = shake_as((one, other), 1, &identity(1), &liar, &config).await;
    assert!(is_handshake_failure(&initiator.unwrap_err()));
    assert!(responder.is_err());
    let (one, other, _) = pair(honest(), honest());
    let liar = identity(1).impersonate(victim());
    let (_, responder) = shake_as((one, other), 1, &liar, &identity(2), &config).await;
    assert!(is_handshake_failure(&responder.unwrap_err()));
}

#[tokio::test]
async fn a_certificate_of_the_other_role_is_refused() {
    let config = ChannelConfig::default();
    let (one, other, _) = pair(honest(), honest());
    let reflected = identity(2).swap_roles();
    let (initiator, _) = shake_as((one, other), 1, &identity(1), &reflected, &config).await;
    assert!(is_handshake_failure(&initiator.unwrap_err()));
    let (one, other, _) = pair(honest(), honest());
    let reflected = identity(1).swap_roles();
    let (_, responder) = shake_as((one, other), 1, &reflected, &identity(2), &config).await;
    assert!(is_handshake_failure(&responder.unwrap_err()));
}

#[tokio::test]
async fn a_connection_to_oneself_is_refused_at_both_ends() {
    let config = ChannelConfig::default();
    let (one, other, _) = pair(honest(), honest());
    let (initiator, responder) = shake_as((one, other), 1, &identity(1), &identity(1), &config).await;
    let error = initiator.unwrap_err();
    assert!(is_handshake_failure(&error), "{error}");
    assert!(error.to_string().contains("this node itself"), "{error}");
    assert!(responder.is_err());
}

#[tokio::test]
async fn another_key_than_expected_is_refused() {
    for (expected, fits) in [(2, true), (3, false)] {
        let (one, other, _) = pair(honest(), honest());
        let (config, here, there) = (ChannelConfig::default(), context(1), context(2));
        let (me, you) = (identity(1), identity(2));
        let expected = Some(identity(expected).public_key());
        let (initiator, responder) =
            tokio::join!(initiate(one, &me, &config, &here, expected), respond(other, &you, &config, &there));
        assert_eq!(initiator.is_ok(), fits);
        assert_eq!(responder.is_ok(), fits);
        if let Err(error) = initiator {
            assert!(is_handshake_failure(&error));
            assert_eq!((error.fault(), error.retry()), (Fault::Environment, Retry::Never));
        }
    }
}

#[tokio::test]
async fn without_a_common_version_both_ends_say_so() {
    let from_the_future: Tamper = Box::new(|number, message| {
        let mut message = message.to_vec();
        if number == 0 {
            message[9 + 32..9 + 36].copy_from_slice(&[7, 0, 9, 0]);
        }
        vec![message.into()]
    });
    let (one, other, _) = pair(from_the_future, honest());
    let (initiator, responder) = shake((one, other), 1).await;
    let (initiator, responder) = (initiator.unwrap_err(), responder.unwrap_err());
    assert!(is_mismatch(&initiator) && is_mismatch(&responder));
    assert!(responder.to_string().contains("versions 7 to 9"), "{responder}");
    assert_eq!(responder.retry(), Retry::Never);
}

#[tokio::test]
async fn a_busy_node_is_tried_again_later() {
    let (one, other, _) = pair(honest(), honest());
    refuse_busy(other).await.unwrap();
    let error = initiate(one, &identity(1), &ChannelConfig::default(), &context(1), None).await.unwrap_err();
    assert!(is_handshake_failure(&error));
    assert!(matches!(error.retry(), Retry::After(_)));
}

#[tokio::test]
async fn silence_is_a_timeout_except_on_links_without_keepalive() {
    let config = ChannelConfig::default();
    let (one, _silent, _) = pair(honest(), honest());
    let error = initiate(one, &identity(1), &config, &impatient_context(1), None).await.unwrap_err();
    assert!(matches!(error.sync_error(), Some(SyncError::Timeout { .. })), "{error}");
    let (_silent, other, _) = pair(honest(), honest());
    let error = respond(other, &identity(1), &config, &impatient_context(1)).await.unwrap_err();
    assert!(matches!(error.sync_error(), Some(SyncError::Timeout { .. })), "{error}");

    let (mut one, mut other, _) = pair(honest(), honest());
    (one.keepalive, other.keepalive) = (None, None);
    let (here, there, me, you) = (impatient_context(1), impatient_context(2), identity(1), identity(2));
    let (initiator, responder) =
        tokio::join!(initiate(one, &me, &config, &here, None), respond(other, &you, &config, &there));
    assert!(initiator.unwrap().keepalive.is_none() && responder.unwrap().keepalive.is_none());
}

#[tokio::test]
async fn nonsense_is_an_error_on_both_sides() {
    for seed in 0..400 {
        let garble = move |prefix: &'static [u8]| -> Tamper {
            Box::new(move |number, _| {
                let length = (seed * 7 + number as u64) % 1_500;
                vec![[prefix, &noise(seed, length as usize)].concat().into()]
            })
        };
        let prefix: &[u8] = if seed % 2 == 0 { b"eidetica\x01" } else { b"" };
        let (one, other, _) = pair(garble(prefix), honest());
        assert!(shake((one, other), seed).await.1.is_err());
        let prefix: &[u8] = [&b"\x01"[..], b"\x02", b"\xff", b""][seed as usize % 4];
        let (one, other, _) = pair(honest(), garble(prefix));
        assert!(shake((one, other), seed).await.0.is_err());
    }
}

#[tokio::test]
async fn the_bytes_of_a_session_are_those_of_version_1() {
    let (one, other, record) = pair(honest(), honest());
    let (initiator, responder) = shake((one, other), 42).await;
    let (mut initiator, mut responder) = (initiator.unwrap(), responder.unwrap());
    initiator.sender.send("from the initiator".into()).await.unwrap();
    responder.sender.send("from the responder".into()).await.unwrap();
    let record = record.lock().unwrap();
    let lengths: Vec<usize> = record.iter().map(Bytes::len).collect();
    assert_eq!(lengths, [62, 32, 264, 170, 34, 34]);
    let digest = blake3::hash(&record.concat()).to_hex();
    assert_eq!(digest.as_str(), "d39947969a7d6ccf03ce7210f89a84055341fdcae2738d5df4f520c8467aadce");
    assert_eq!(
        blake3::hash(&initiator.session_id).to_hex().as_str(),
        "d93111e683e36a6f15ecb8e352c23388d56cbe9fd8fe081ed4f0caaefb1f0b8f"
    );
}
