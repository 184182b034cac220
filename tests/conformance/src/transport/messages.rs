//! Messages arrive whole, once, in order.

use std::collections::BTreeSet;

use bytes::Bytes;
use eidetica_kernel::error::ErrorKind;
use eidetica_kernel::transport::{Link, LinkReceiver, LinkSender, MESSAGE_BYTES_MAX};

use super::check::came;
use super::ends::{Ends, pair};
use super::suite::{Case, Network};
use crate::check::{Outcome, ensure, fail, refused, same};

pub(super) const CASES: &[Case] = &[
    Case::new("messages_of_every_size_arrive_whole_both_ways", "L1", sizes),
    Case::new("many_messages_arrive_in_order", "L1", order),
    Case::new("both_directions_at_once_hold_each_other_up_nowhere", "L1", both_ways),
    Case::new("a_message_over_the_limit_is_refused_and_the_link_goes_on", "L1", over_the_limit),
    Case::new("many_links_at_once_stay_apart", "L1 L5", many_links),
    Case::new("links_move_between_threads", "T3", threads),
];

/// Around the lengths at which common framings change theirs.
const SIZES: [usize; 16] = [
    0,
    1,
    2,
    125,
    126,
    127,
    255,
    256,
    1_200,
    16_383,
    16_384,
    32_767,
    32_768,
    65_519,
    65_534,
    MESSAGE_BYTES_MAX,
];

fn patterned(size: usize) -> Bytes {
    (0..size).map(|at| (at % 251) as u8).collect()
}

async fn one(what: &str, from: &mut Link, to: &mut Link, message: Bytes) -> Outcome {
    let (sent, received) = tokio::join!(from.sender.send(message.clone()), to.receiver.recv());
    sent?;
    let received = came(what, received)?;
    ensure(received == message, || {
        format!("{what}: {} bytes were sent, {} others came (L1)", message.len(), received.len())
    })
}

fn sizes(network: &Network) -> Outcome {
    network.run(async {
        let (mut dialled, mut accepted, _ends) = pair(network).await?;
        for size in SIZES {
            one("from the dialler", &mut dialled, &mut accepted, patterned(size)).await?;
            one("to the dialler", &mut accepted, &mut dialled, patterned(size)).await?;
        }
        Ok(())
    })
}

/// The `number`-th of a stream of messages of many lengths.
fn varied(number: u32) -> Bytes {
    number.to_le_bytes().repeat(1 + number as usize * 7 % 500).into()
}

async fn send_all(sender: &mut dyn LinkSender, count: u32) -> Outcome {
    for number in 0..count {
        sender.send(varied(number)).await?;
    }
    Ok(())
}

async fn receive_all(receiver: &mut dyn LinkReceiver, count: u32) -> Outcome {
    for number in 0..count {
        let message = came("a stream of messages", receiver.recv().await)?;
        ensure(message == varied(number), || {
            let head: Vec<u8> = message.iter().copied().take(4).collect();
            format!("in place of message {number} came {} bytes that begin with {head:?} (L1)", message.len())
        })?;
    }
    Ok(())
}

fn order(network: &Network) -> Outcome {
    network.run(async {
        let (mut dialled, mut accepted, _ends) = pair(network).await?;
        let there =
            tokio::join!(send_all(&mut *dialled.sender, 5_000), receive_all(&mut *accepted.receiver, 5_000));
        let back =
            tokio::join!(send_all(&mut *accepted.sender, 5_000), receive_all(&mut *dialled.receiver, 5_000));
        there.1.and(there.0).and(back.1).and(back.0)
    })
}

fn both_ways(network: &Network) -> Outcome {
    network.run(async {
        let (mut dialled, mut accepted, _ends) = pair(network).await?;
        let (sent, received, sent_back, received_back) = tokio::join!(
            send_all(&mut *dialled.sender, 3_000),
            receive_all(&mut *accepted.receiver, 3_000),
            send_all(&mut *accepted.sender, 3_000),
            receive_all(&mut *dialled.receiver, 3_000),
        );
        received.and(received_back).and(sent).and(sent_back)
    })
}

fn over_the_limit(network: &Network) -> Outcome {
    network.run(async {
        let (mut dialled, mut accepted, _ends) = pair(network).await?;
        let too_long = vec![0; MESSAGE_BYTES_MAX + 1].into();
        refused(
            "a message of 65,536 bytes",
            dialled.sender.send(too_long).await,
            &[ErrorKind::LimitExceeded],
        )?;
        one("after the refusal", &mut dialled, &mut accepted, "goes on".into()).await
    })
}

fn many_links(network: &Network) -> Outcome {
    const LINKS: u8 = 40;
    network.run(async {
        let Ends { dialler, mut listener, address, context, server } = Ends::open(network).await?;
        let mut dialled = Vec::new();
        let dial = async {
            for _ in 0..LINKS {
                dialled.push(dialler.connect(&context, &address).await?);
            }
            Outcome::Ok(())
        };
        let mut accepted = Vec::new();
        let accept = async {
            for _ in 0..LINKS {
                match listener.accept().await? {
                    Some(link) => accepted.push(link),
                    None => return fail("an open listener says it is closed"),
                }
            }
            Outcome::Ok(())
        };
        let (dialling, accepting) = tokio::join!(dial, accept);
        dialling.and(accepting)?;
        for (number, link) in (0..).zip(&mut dialled) {
            link.sender.send(Bytes::from(vec![number; 3])).await?;
        }
        let mut seen = BTreeSet::new();
        for link in &mut accepted {
            let message = came("a link of many", link.receiver.recv().await)?;
            ensure(message.len() == 3 && seen.insert(message[0]), || {
                format!("{message:?} came twice or torn")
            })?;
            link.sender.send(message).await?;
        }
        for (number, link) in (0..).zip(&mut dialled) {
            let answer = came("a link of many", link.receiver.recv().await)?;
            same("what came back over this very link", answer, Bytes::from(vec![number; 3]))?;
        }
        drop(server);
        Ok(())
    })
}

fn threads(network: &Network) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    network.run_on(&runtime, async {
        let (mut dialled, mut accepted, _ends) = pair(network).await?;
        let sending = tokio::spawn(async move {
            let sent = send_all(&mut *dialled.sender, 2_000).await;
            (sent, dialled)
        });
        let receiving = tokio::spawn(async move {
            let received = receive_all(&mut *accepted.receiver, 2_000).await;
            (received, accepted)
        });
        let (sent, received) = (sending.await?, receiving.await?);
        received.0.and(sent.0)
    })
}
