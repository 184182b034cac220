//! Links end, on both sides, and lose nothing that was sent before.

use std::any::Any;

use eidetica_kernel::error::ErrorKind;
use eidetica_kernel::transport::{Link, LinkReceiver};

use super::check::came;
use super::ends::{fill, large, let_them_wait, number, pair};
use super::suite::{Case, Network};
use crate::check::{Outcome, ensure, fail, refused};

pub(super) const CASES: &[Case] = &[
    Case::new("after_close_the_rest_is_read_and_the_remote_sees_the_end", "L3", closed),
    Case::new("closing_twice_is_harmless_and_nothing_is_sent_after", "L3", closed_twice),
    Case::new("dropping_either_half_on_either_side_ends_the_other_side", "L3", dropped_half),
    Case::new("what_was_sent_before_a_link_is_dropped_still_arrives", "L3 L6", dropped_link),
    Case::new("a_waiting_send_and_a_waiting_recv_wake_when_the_remote_goes", "L3", waiting),
];

/// The link has ended, and stays so.
pub(super) async fn ended(receiver: &mut dyn LinkReceiver) -> Outcome {
    for _ in 0..2 {
        if let Ok(Some(message)) = receiver.recv().await {
            return fail(format!("{} bytes came after the end (L3)", message.len()));
        }
    }
    Ok(())
}

fn closed(network: &Network) -> Outcome {
    network.run(async {
        for dialler_closes in [true, false] {
            let (dialled, accepted, _ends) = pair(network).await?;
            let (mut here, mut there) =
                if dialler_closes { (dialled, accepted) } else { (accepted, dialled) };
            there.sender.send("to here".into()).await?;
            for next in 0..10 {
                here.sender.send(large(next)).await?;
            }
            // Some must read before all is handed on.
            let (closed, received) = tokio::join!(here.sender.close(), async {
                for next in 0..10 {
                    let found =
                        number(&came("what was sent before the close", there.receiver.recv().await)?)?;
                    ensure(found == next, || format!("message {found} came in place of {next}"))?;
                }
                ended(&mut *there.receiver).await
            });
            received?;
            closed?;
            // What had been sent to the side that closed isn't lost either.
            let message = came("what was sent to the side that closed", here.receiver.recv().await)?;
            ensure(message == "to here", || format!("{message:?} came"))?;
        }
        Ok(())
    })
}

fn closed_twice(network: &Network) -> Outcome {
    network.run(async {
        let (mut here, mut there, _ends) = pair(network).await?;
        here.sender.close().await?;
        here.sender.close().await?;
        let late = here.sender.send("late".into()).await;
        refused("a message after the close", late, &[ErrorKind::Closed, ErrorKind::Unreachable])?;
        ended(&mut *there.receiver).await
    })
}

fn dropped_half(network: &Network) -> Outcome {
    network.run(async {
        for dialler_drops in [true, false] {
            for (receiver_goes, unread) in [(true, false), (false, false), (true, true), (false, true)] {
                let (dialled, accepted, _ends) = pair(network).await?;
                let (mut here, mut there) =
                    if dialler_drops { (dialled, accepted) } else { (accepted, dialled) };
                if unread {
                    there.sender.send("unread".into()).await?;
                }
                here.sender.send("last".into()).await?;
                let Link { sender, receiver, .. } = here;
                let kept: Box<dyn Any> = if receiver_goes {
                    drop(receiver);
                    Box::new(sender)
                } else {
                    drop(sender);
                    Box::new(receiver)
                };
                let last = came("what was sent before a half was dropped", there.receiver.recv().await)?;
                ensure(last == "last", || format!("{last:?} came"))?;
                let what = if unread {
                    "the remote of a link of which a half was dropped, with something unread (L3)"
                } else {
                    "the remote of a link of which a half was dropped (L3)"
                };
                network.in_time(what, ended(&mut *there.receiver)).await??;
                drop(kept);
            }
        }
        Ok(())
    })
}

fn dropped_link(network: &Network) -> Outcome {
    const MESSAGES: usize = 100;
    network.run(async {
        for dialler_drops in [true, false] {
            let (dialled, accepted, _ends) = pair(network).await?;
            let (mut here, mut there) = if dialler_drops { (dialled, accepted) } else { (accepted, dialled) };
            // Left unread on the side that drops its link.
            there.sender.send(large(0)).await?;
            let sending = async move {
                for next in 0..MESSAGES {
                    here.sender.send(large(next)).await?;
                }
                drop(here);
                Outcome::Ok(())
            };
            let receiving = async {
                for next in 0..MESSAGES {
                    let found = number(&came("what was sent before the drop", there.receiver.recv().await)?)?;
                    ensure(found == next, || format!("message {found} came in place of {next}"))?;
                }
                ended(&mut *there.receiver).await
            };
            let (sent, received) = tokio::join!(sending, receiving);
            received.and(sent)?;
        }
        Ok(())
    })
}

fn waiting(network: &Network) -> Outcome {
    network.run(async {
        let (mut here, there, _ends) = pair(network).await?;
        let mut next = fill(&mut here).await?;
        let Link { mut sender, mut receiver, .. } = here;
        // Each in a task of its own: the one that is woken must not wake the other. Both are held to the end.
        let sending = tokio::spawn(async move {
            loop {
                if let Err(error) = sender.send(large(next)).await {
                    break (error, sender);
                }
                next += 1;
            }
        });
        let receiving = tokio::spawn(async move { (ended(&mut *receiver).await, receiver) });
        let_them_wait().await;
        drop(there);
        let (error, _sender) = network.in_time("a send to who has gone (L3)", sending).await??;
        refused("a send to who has gone", Err::<(), _>(error), &[ErrorKind::Unreachable])?;
        let (received, _receiver) = network.in_time("a recv from who has gone (L3)", receiving).await??;
        received
    })
}
