//! What is under way is bounded, and calls may be dropped while they wait.

use eidetica_kernel::transport::Link;

use super::check::came;
use super::ends::{
    Ends, LARGE_BYTES, at_once, fill, large, let_them_wait, number, pair, poll_once, poll_times,
};
use super::suite::{Case, Network};
use crate::check::{Outcome, ensure, fail};

/// Most bytes that may be under way in one direction of a link nobody reads: more than any system's socket buffers.
pub(super) const UNDER_WAY_BYTES_MAX: usize = 64 << 20;

/// Messages that follow the ones that filled a link.
const MORE: usize = 50;

pub(super) const CASES: &[Case] = &[
    Case::new("send_waits_when_the_remote_does_not_read", "L2", send_waits),
    Case::new("a_waiting_send_goes_on_when_the_remote_reads", "L2", send_goes_on),
    Case::new("a_half_that_waits_is_woken_by_itself", "L1 L2", woken),
    Case::new("what_was_taken_needs_no_further_call_to_arrive", "L6", no_further_call),
    Case::new("a_dropped_send_leaves_nothing_torn_or_doubled", "L4", dropped_send),
    Case::new("many_dropped_sends_take_no_room", "L4 L2", dropped_sends),
    Case::new("a_dropped_recv_loses_nothing", "L4", dropped_recv),
    Case::new("a_link_that_nobody_reads_delays_no_other", "L5", stalled),
];

fn send_waits(network: &Network) -> Outcome {
    network.run(async {
        let (mut dialled, mut accepted, _ends) = pair(network).await?;
        let there = fill(&mut dialled).await?;
        let back = fill(&mut accepted).await?;
        ensure(there > 0 && back > 0, || "a fresh link takes no message".to_owned())
    })
}

/// Sends what follows and closes, while the other side reads all of it, in order, to the end.
async fn finish(dialled: &mut Link, accepted: &mut Link, sent: usize) -> Outcome {
    let sending = async {
        for next in sent..sent + MORE {
            dialled.sender.send(large(next)).await?;
        }
        Outcome::Ok(dialled.sender.close().await?)
    };
    let receiving = async {
        for expected in 0..sent + MORE {
            let found = number(&came("what was sent", accepted.receiver.recv().await)?)?;
            ensure(found == expected, || format!("message {found} came in place of {expected} (L1 L4)"))?;
        }
        match accepted.receiver.recv().await? {
            None => Ok(()),
            Some(message) => fail(format!("{} bytes came that nobody sent (L1)", message.len())),
        }
    };
    let (sent, received) = tokio::join!(sending, receiving);
    received.and(sent)
}

fn send_goes_on(network: &Network) -> Outcome {
    network.run(async {
        let (mut dialled, mut accepted, _ends) = pair(network).await?;
        finish(&mut dialled, &mut accepted, 0).await
    })
}

/// Waiting in a task of its own: what polls both halves together wakes the one for the other.
fn woken(network: &Network) -> Outcome {
    network.run(async {
        for dialler_sends in [true, false] {
            let (dialled, accepted, _ends) = pair(network).await?;
            let (mut here, there) = if dialler_sends { (dialled, accepted) } else { (accepted, dialled) };
            let Link { mut receiver, sender: _held, .. } = there;
            let receiving = tokio::spawn(async move { (receiver.recv().await, receiver) });
            let_them_wait().await;
            here.sender.send("wakes".into()).await?;
            let woken = network.in_time("a recv whose message has come (L1)", receiving).await?;
            let (message, mut receiver) = woken?;
            let message = came("what was sent to who waits", message)?;
            ensure(message == "wakes", || format!("{message:?} came"))?;

            let sent = fill(&mut here).await?;
            let Link { mut sender, receiver: _held, .. } = here;
            let mut sending = tokio::spawn(async move { (sender.send(large(sent)).await, sender) });
            let_them_wait().await;
            let reading = async {
                loop {
                    tokio::select! {
                        sent = &mut sending => break Outcome::Ok(sent?.0?),
                        message = receiver.recv() => drop(came("what was sent before", message)?),
                    }
                }
            };
            network.in_time("a send though there is room again (L2)", reading).await??;
        }
        Ok(())
    })
}

fn no_further_call(network: &Network) -> Outcome {
    network.run(async {
        let (mut dialled, mut accepted, _ends) = pair(network).await?;
        // Nobody calls the dialler's halves from then on.
        let sent = fill(&mut dialled).await?;
        for expected in 0..sent {
            let found = number(&came("what send has taken", accepted.receiver.recv().await)?)?;
            ensure(found == expected, || format!("message {found} came in place of {expected}"))?;
        }
        Ok(())
    })
}

fn dropped_send(network: &Network) -> Outcome {
    network.run(async {
        let (mut dialled, mut accepted, _ends) = pair(network).await?;
        let mut sent = 0;
        for _ in 0..5 {
            // Nobody reads: some send waits. It is dropped, and made again with the same number.
            loop {
                match at_once(dialled.sender.send(large(sent))).await {
                    None => break,
                    Some(Ok(())) => sent += 1,
                    Some(Err(_)) if sent > 0 => return closed_by_drop(accepted, sent).await,
                    Some(Err(error)) => return fail(error),
                }
                ensure(sent * LARGE_BYTES <= UNDER_WAY_BYTES_MAX, || {
                    format!(
                        "{sent} messages of {LARGE_BYTES} bytes are under way, and send doesn't wait (L2)"
                    )
                })?;
            }
        }
        finish(&mut dialled, &mut accepted, sent).await
    })
}

/// As many as would fill the link, had each of them taken its room along.
fn dropped_sends(network: &Network) -> Outcome {
    const DROPPED: usize = 300;
    network.run(async {
        let (mut dialled, mut accepted, _ends) = pair(network).await?;
        let mut sent = fill(&mut dialled).await?;
        for _ in 0..DROPPED {
            match poll_once(dialled.sender.send(large(sent))).await {
                None => {}
                Some(Ok(())) => sent += 1,
                Some(Err(_)) => return closed_by_drop(accepted, sent).await,
            }
        }
        let finished = finish(&mut dialled, &mut accepted, sent);
        network.in_time(&format!("a link after {DROPPED} dropped sends (L4)"), finished).await?
    })
}

/// A link that a dropped call has closed: whole messages, in order, then its end.
async fn closed_by_drop(mut accepted: Link, sent: usize) -> Outcome {
    for expected in 0..=sent {
        let Ok(Some(message)) = accepted.receiver.recv().await else { return Ok(()) };
        let found = number(&message)?;
        ensure(found == expected && found < sent, || {
            format!("message {found} came in place of {expected}, of {sent} (L4)")
        })?;
    }
    fail("a link that a dropped send has closed doesn't end (L4)")
}

fn dropped_recv(network: &Network) -> Outcome {
    const MESSAGES: usize = 300;
    network.run(async {
        let (mut dialled, mut accepted, _ends) = pair(network).await?;
        let sending = tokio::spawn(async move {
            for next in 0..MESSAGES {
                // At first there is always something to read; then whoever reads waits for each message.
                if next > MESSAGES / 2 {
                    let_them_wait().await;
                }
                dialled.sender.send(large(next)).await?;
            }
            Outcome::Ok(dialled)
        });
        let receiving = async {
            let mut expected = 0;
            while expected < MESSAGES {
                // Dropped at the first wait, or at a later one, where a message may be in hand.
                let Some(message) = poll_times(1 + expected % 3, accepted.receiver.recv()).await else {
                    tokio::task::yield_now().await;
                    continue;
                };
                let found = number(&came("what was sent", message)?)?;
                ensure(found == expected, || format!("message {found} came in place of {expected} (L4)"))?;
                expected += 1;
            }
            Outcome::Ok(())
        };
        network.in_time("who receives by calls that are dropped (L4)", receiving).await??;
        sending.await??;
        Ok(())
    })
}

fn stalled(network: &Network) -> Outcome {
    network.run(async {
        let mut ends = Ends::open(network).await?;
        let (mut stalled, _unread) = ends.link().await?;
        let (mut early, mut early_there) = ends.link().await?;
        fill(&mut stalled).await?;
        let (mut late, mut late_there) = ends.link().await?;
        for (here, there) in [(&mut early, &mut early_there), (&mut late, &mut late_there)] {
            for next in 0..20 {
                let (sent, received) = tokio::join!(here.sender.send(large(next)), there.receiver.recv());
                sent?;
                let found = number(&came("a link beside one that nobody reads", received)?)?;
                ensure(found == next, || format!("message {found} came in place of {next}"))?;
            }
        }
        Ok(())
    })
}
