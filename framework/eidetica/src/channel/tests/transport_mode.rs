use bytes::Bytes;
use eidetica_kernel::PublicKey;

use super::super::testing::{Record, Tamper, honest, pair};
use super::*;

fn trusting() -> ChannelConfig {
    ChannelConfig { trust_transport: true, ..ChannelConfig::default() }
}

/// A link whose transport proves keys and seals, each end with its own idea of the channel.
fn sealed_pair(bindings: [u8; 2], from_initiator: Tamper, from_responder: Tamper) -> (Link, Link, Record) {
    let (mut one, mut other, record) = pair(from_initiator, from_responder);
    for (link, binding) in [(&mut one, bindings[0]), (&mut other, bindings[1])] {
        link.remote_key = Some(PublicKey::from_bytes([9; 32]));
        link.binding = Some([binding; 32]);
    }
    (one, other, record)
}

#[tokio::test]
async fn a_trusted_transport_does_the_sealing_if_both_say_so() {
    let (one, other, record) = sealed_pair([5, 5], honest(), honest());
    let (initiator, responder) = shake_as((one, other), 1, &identity(1), &identity(2), &trusting()).await;
    let (mut initiator, mut responder) = (initiator.unwrap(), responder.unwrap());
    assert_eq!((initiator.peer, responder.peer), (identity(2).public_key(), identity(1).public_key()));
    assert_eq!(initiator.session_id, responder.session_id);
    let plain = Bytes::from_static(b"sealed by the transport below");
    initiator.sender.send(plain.clone()).await.unwrap();
    assert_eq!(record.lock().unwrap().last(), Some(&plain));
    assert_eq!(responder.receiver.recv().await.unwrap(), Some(plain));
}

#[tokio::test]
async fn the_transports_word_alone_does_not_suffice() {
    let (me, you) = (identity(1), identity(2));
    let careful = ChannelConfig::default();
    for (initiator_config, responder_config) in
        [(careful.clone(), careful.clone()), (trusting(), careful.clone()), (careful, trusting())]
    {
        let (one, other, record) = sealed_pair([5, 5], honest(), honest());
        let (here, there) = (context(1), context(2));
        let (initiator, responder) = tokio::join!(
            initiate(one, &me, &initiator_config, &here, None),
            respond(other, &you, &responder_config, &there)
        );
        initiator.unwrap().sender.send("secret".into()).await.unwrap();
        assert!(responder.is_ok());
        assert_eq!(record.lock().unwrap().last().map(Bytes::len), Some("secret".len() + 16));
    }
}

#[tokio::test]
async fn a_link_that_proves_half_of_it_is_sealed_here() {
    for half in 0..2 {
        let (mut one, other, record) = sealed_pair([5, 5], honest(), honest());
        match half {
            0 => one.remote_key = None,
            _ => one.binding = None,
        }
        let (initiator, responder) = shake_as((one, other), 1, &identity(1), &identity(2), &trusting()).await;
        initiator.unwrap().sender.send("secret".into()).await.unwrap();
        assert!(responder.is_ok());
        assert_eq!(record.lock().unwrap().last().map(Bytes::len), Some("secret".len() + 16));
    }
}

#[tokio::test]
async fn somebody_between_two_sealed_channels_is_noticed() {
    let (one, other, _) = sealed_pair([5, 6], honest(), honest());
    let (initiator, responder) = shake_as((one, other), 1, &identity(1), &identity(2), &trusting()).await;
    assert!(is_handshake_failure(&initiator.unwrap_err()));
    assert!(responder.is_err());
}

#[tokio::test]
async fn no_byte_that_was_agreed_on_can_be_altered() {
    let (one, other, record) = sealed_pair([5, 5], honest(), honest());
    let (initiator, responder) = shake_as((one, other), 1, &identity(1), &identity(2), &trusting()).await;
    assert!(initiator.is_ok() && responder.is_ok());
    let lengths: Vec<usize> = record.lock().unwrap().iter().map(Bytes::len).collect();
    // The wall time at the end is the one thing that no signature covers; the transport's sealing does.
    let wall_bytes = 8;
    let flip = |number: usize, at: usize| -> Tamper {
        Box::new(move |sent, message| {
            let mut message = message.to_vec();
            if let Some(byte) = message.get_mut(at).filter(|_| sent == number) {
                *byte ^= 1 << (at % 8);
            }
            vec![message.into()]
        })
    };
    for (number, length) in [lengths[0], lengths[1], lengths[3] - wall_bytes].into_iter().enumerate() {
        for at in 0..length {
            let (one, other, _) = sealed_pair([5, 5], flip(number, at), honest());
            let (initiator, responder) =
                shake_as((one, other), 1, &identity(1), &identity(2), &trusting()).await;
            let refused = if number == 2 { responder.is_err() } else { initiator.is_err() };
            assert!(refused, "byte {at} of the initiator's message {number}");
        }
    }
    for at in 0..lengths[2] - wall_bytes {
        let (one, other, _) = sealed_pair([5, 5], honest(), flip(0, at));
        let (initiator, _) = shake_as((one, other), 1, &identity(1), &identity(2), &trusting()).await;
        assert!(initiator.is_err(), "byte {at} of the answer");
    }
}
