use bytes::Bytes;
use eidetica_kernel::{ErrorKind, Fault};

use super::super::halves::MESSAGES_MAX;
use super::super::testing::{Tamper, honest, pair};
use super::*;

/// The initiator's link messages before the first sealed one.
const HANDSHAKE: usize = 3;

/// Sends "one", "two", "three" to a responder; what it got before its first error, and that error.
async fn deliver(mut tamper: impl FnMut(usize, Bytes) -> Vec<Bytes> + Send + 'static) -> (Vec<Bytes>, Error) {
    let sealed: Tamper = Box::new(move |number, message| match number.checked_sub(HANDSHAKE) {
        Some(number) => tamper(number, message),
        None => vec![message],
    });
    let (one, other, _) = pair(sealed, honest());
    let (initiator, responder) = shake((one, other), 5).await;
    let (mut initiator, mut responder) = (initiator.unwrap(), responder.unwrap());
    for plain in ["one", "two", "three"] {
        initiator.sender.send(plain.into()).await.unwrap();
    }
    let mut arrived = Vec::new();
    loop {
        match responder.receiver.recv().await {
            Ok(Some(message)) => arrived.push(message),
            Ok(None) => panic!("the link is open"),
            Err(error) => {
                assert_eq!(responder.receiver.recv().await.unwrap_err().kind(), ErrorKind::Closed);
                return (arrived, error);
            }
        }
    }
}

#[tokio::test]
async fn an_altered_byte_ends_the_channel_before_it_has_any_effect() {
    let plain = ["one", "two", "three"];
    for number in 0..3 {
        for at in 0..plain[number].len() + 16 {
            let (arrived, error) = deliver(move |sent, message| {
                let mut message = message.to_vec();
                if sent == number {
                    message[at] ^= 1 << (at % 8);
                }
                vec![message.into()]
            })
            .await;
            assert_eq!(arrived, plain[..number]);
            // Whoever sits on the path can do this, so the peer is not to blame.
            assert_eq!((error.kind(), error.fault()), (ErrorKind::Protocol, Fault::Environment));
        }
    }
}

#[tokio::test]
async fn cut_repeated_lost_reordered_and_foreign_messages_end_the_channel() {
    let cut = |number, message: Bytes| match number {
        1 => vec![message.slice(..message.len() - 1)],
        _ => vec![message],
    };
    assert_eq!(deliver(cut).await.0, ["one"]);
    let cut_to_nothing = |number, message| if number == 1 { vec![Bytes::new()] } else { vec![message] };
    assert_eq!(deliver(cut_to_nothing).await.0, ["one"]);
    let repeated = |number, message: Bytes| match number {
        1 => vec![message.clone(), message],
        _ => vec![message],
    };
    assert_eq!(deliver(repeated).await.0, ["one", "two"]);
    let lost = |number, message| if number == 0 { vec![] } else { vec![message] };
    assert_eq!(deliver(lost).await.0, Vec::<Bytes>::new());
    let mut held = None;
    let reordered = move |number, message| match number {
        1 => {
            held = Some(message);
            vec![]
        }
        _ => [Some(message), held.take()].into_iter().flatten().collect(),
    };
    assert_eq!(deliver(reordered).await.0, ["one"]);
    let foreign = |_, _| vec![Bytes::from(vec![7; 65_535])];
    assert_eq!(deliver(foreign).await.0, Vec::<Bytes>::new());
}

#[tokio::test]
async fn a_message_of_one_direction_does_not_open_in_the_other() {
    let (one, other, record) = pair(honest(), honest());
    let (initiator, responder) = shake((one, other), 5).await;
    let (mut initiator, _responder) = (initiator.unwrap(), responder.unwrap());
    initiator.sender.send("mine".into()).await.unwrap();
    let mine = record.lock().unwrap().last().cloned().unwrap();

    let reflect: Tamper =
        Box::new(move |number, message| vec![if number == 1 { mine.clone() } else { message }]);
    let (one, other, _) = pair(honest(), reflect);
    let (initiator, responder) = shake((one, other), 5).await;
    let (mut initiator, mut responder) = (initiator.unwrap(), responder.unwrap());
    responder.sender.send("yours".into()).await.unwrap();
    assert_eq!(initiator.receiver.recv().await.unwrap_err().kind(), ErrorKind::Protocol);
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_and_harms_nothing() {
    let (one, other, _) = pair(honest(), honest());
    let (initiator, responder) = shake((one, other), 5).await;
    let (mut initiator, mut responder) = (initiator.unwrap(), responder.unwrap());
    let error = initiator.sender.send(Bytes::from(vec![0; 65_520])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    initiator.sender.send("fits".into()).await.unwrap();
    assert_eq!(responder.receiver.recv().await.unwrap(), Some("fits".into()));
}

#[tokio::test]
async fn a_channel_ends_before_its_message_numbers_do() {
    let (one, other, _) = pair(honest(), honest());
    let (initiator, responder) = shake((one, other), 5).await;
    let (mut initiator, mut responder) = (initiator.unwrap(), responder.unwrap());
    initiator.sender.skip_to(MESSAGES_MAX - 1);
    responder.receiver.skip_to(MESSAGES_MAX - 1);
    initiator.sender.send("last".into()).await.unwrap();
    assert_eq!(responder.receiver.recv().await.unwrap(), Some("last".into()));
    assert_eq!(initiator.sender.send("more".into()).await.unwrap_err().kind(), ErrorKind::Expired);
}

#[tokio::test]
async fn a_send_given_up_half_way_ends_the_channel() {
    struct Full;
    #[async_trait::async_trait]
    impl eidetica_kernel::transport::LinkSender for Full {
        async fn send(&mut self, _: Bytes) -> Result<()> {
            std::future::pending().await
        }
        async fn close(&mut self) -> Result<()> {
            Ok(())
        }
    }
    let (one, other, _) = pair(honest(), honest());
    let (initiator, _responder) = shake((one, other), 5).await;
    let mut sender = initiator.unwrap().sender;
    sender.replace_link(Full);
    let mut given_up = Box::pin(sender.send("half".into()));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(given_up.as_mut().poll(&mut context).is_pending());
    drop(given_up);
    assert_eq!(sender.send("next".into()).await.unwrap_err().kind(), ErrorKind::Closed);
}
