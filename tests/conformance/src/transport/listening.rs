//! Listeners: their addresses, what they accept, and what strangers can't do to them.

use bytes::Bytes;
use eidetica_kernel::error::ErrorKind;
use eidetica_kernel::transport::{Link, Listener};

use super::check::came;
use super::closing::ended;
use super::ends::{Ends, accept_who_says, at_once, poll_times};
use super::suite::{Case, Needs, Network};
use crate::check::{Outcome, ensure, fail, refused, same};

pub(super) const CASES: &[Case] = &[
    Case::new("every_address_of_a_listener_can_be_dialled", "A5", addresses),
    Case::new("addresses_do_not_change_without_a_reason", "A4", unchanged),
    Case::new("nodes_that_ask_for_any_address_get_their_own", "A5", any_address).needs(Needs::Binds),
    Case::new("an_address_in_use_is_refused", "A1", in_use).needs(Needs::Binds),
    Case::new("a_closed_or_dropped_listener_frees_its_address_at_once", "A1", freed).needs(Needs::Binds),
    Case::new("a_node_listens_once_at_a_time_or_at_further_addresses", "A6", listens_again),
    Case::new("a_closed_listener_accepts_nothing_and_its_links_stay_open", "A1", closed),
    Case::new("links_that_nobody_accepted_end_with_their_listener", "A1", never_accepted),
    Case::new("a_dropped_accept_loses_no_link", "A3", dropped_accept),
    Case::new("strangers_who_say_nothing_or_nonsense_delay_nobody", "A2 T4", strangers).needs(Needs::Raw),
];

async fn talk(ends: &mut Ends) -> Outcome {
    let (mut dialled, mut accepted) = ends.link().await?;
    dialled.sender.send("hello".into()).await?;
    same("the greeting", came("a link", accepted.receiver.recv().await)?, Bytes::from("hello"))
}

fn addresses(network: &Network) -> Outcome {
    network.run(async {
        let mut ends = Ends::open(network).await?;
        for address in ends.listener.addresses() {
            same("the type of an address", &address.transport_type[..], ends.server.scheme())?;
            same("an address read again", ends.dialler.parse_address(&address.address)?, address.clone())?;
            ends.address = address;
            talk(&mut ends).await?;
        }
        Ok(())
    })
}

fn unchanged(network: &Network) -> Outcome {
    network.run(async {
        let mut ends = Ends::open(network).await?;
        let before = ends.listener.addresses();
        let changed = ends.listener.addresses_changed();
        talk(&mut ends).await?;
        let ended = at_once(changed).await.is_some();
        ensure(ended == (ends.listener.addresses() != before), || {
            format!(
                "a change was {}told of, and the addresses say otherwise (A4)",
                if ended { "" } else { "not " }
            )
        })
    })
}

fn any_address(network: &Network) -> Outcome {
    network.run(async {
        let (one, two) = (Ends::open(network).await?, Ends::open(network).await?);
        ensure(one.address != two.address, || format!("both listen at {} (A5)", one.address))
    })
}

fn in_use(network: &Network) -> Outcome {
    network.run(async {
        let mut ends = Ends::open(network).await?;
        let other = network.node()?;
        let taken = other.listen(&ends.context, &ends.address.address).await.map(drop);
        let error = refused("listening where somebody does", taken, &[ErrorKind::InUse])?;
        let text = error.to_string();
        ensure(text.contains(&ends.address.address), || format!("the error names no address: {text}"))?;
        talk(&mut ends).await
    })
}

fn freed(network: &Network) -> Outcome {
    network.run(async {
        let mut ends = Ends::open(network).await?;
        for close in [true, false, true] {
            // A link that stays open, as a node that is stopped has them.
            let (_dialled, _accepted) = ends.link().await?;
            let text = ends.address.address.clone();
            if close {
                ends.listener.close().await?;
                ends.listen_anew(&text).await?;
            } else {
                let Ends { dialler, server, listener, address, context } = ends;
                drop(listener);
                let listener = server.listen(&context, &text).await?;
                ends = Ends { dialler, server, listener, address, context };
            }
            talk(&mut ends).await?;
        }
        Ok(())
    })
}

fn listens_again(network: &Network) -> Outcome {
    network.run(async {
        let mut ends = Ends::open(network).await?;
        match ends.server.listen(&ends.context, &network.listen_text()).await {
            Ok(second) => ensure(second.addresses() != ends.listener.addresses(), || {
                format!("two listeners of one node are at {} (A6)", ends.address)
            })?,
            Err(error) => same("the error of a second listen", error.kind(), ErrorKind::InUse)?,
        }
        talk(&mut ends).await?;
        for _ in 0..3 {
            ends.listener.close().await?;
            ends.listen_anew(&network.listen_text()).await?;
            talk(&mut ends).await?;
        }
        Ok(())
    })
}

fn never_accepted(network: &Network) -> Outcome {
    network.run(async {
        for close in [true, false] {
            let Ends { dialler, server, mut listener, address, context } = Ends::open(network).await?;
            let mut connecting = dialler.connect(&context, &address);
            let connected = at_once(&mut connecting).await;
            let kept = if close {
                listener.close().await?;
                Some(listener)
            } else {
                drop(listener);
                None
            };
            // Some transports connect only once they are accepted.
            let connected = match connected {
                Some(connected) => connected,
                None => connecting.await,
            };
            if let Ok(mut link) = connected {
                let what = "a link that nobody accepted, after its listener has gone (A1)";
                network.in_time(what, ended(&mut *link.receiver)).await??;
            }
            drop((server, kept));
        }
        Ok(())
    })
}

fn closed(network: &Network) -> Outcome {
    network.run(async {
        let mut ends = Ends::open(network).await?;
        let (mut dialled, mut accepted) = ends.link().await?;
        ends.listener.close().await?;
        ends.listener.close().await?;
        ensure(ends.listener.accept().await?.is_none(), || "a closed listener accepts (A1)".to_owned())?;
        for next in 0..20_u8 {
            dialled.sender.send(vec![next].into()).await?;
            let message = came("a link whose listener was closed", accepted.receiver.recv().await)?;
            same("what came", message, Bytes::from(vec![next]))?;
            accepted.sender.send(vec![next].into()).await?;
            came("a link whose listener was closed", dialled.receiver.recv().await)?;
        }
        Ok(())
    })
}

/// Accepts by an `accept` that is dropped when it waits for the `polls`-th time.
async fn accept_by_polling(listener: &mut dyn Listener, polls: usize) -> Outcome<Link> {
    loop {
        match poll_times(polls, listener.accept()).await {
            None => tokio::task::yield_now().await,
            Some(link) => {
                return link?.map_or_else(|| fail("an open listener says it is closed"), Ok);
            }
        }
    }
}

fn dropped_accept(network: &Network) -> Outcome {
    network.run(async {
        let Ends { dialler, server, mut listener, address, context } = Ends::open(network).await?;
        for next in 0..20_u8 {
            let polls = usize::from(next % 3) + 1;
            let linking = async {
                tokio::join!(dialler.connect(&context, &address), accept_by_polling(&mut *listener, polls))
            };
            let what = "who dials, or accepts by calls that are dropped (A3)";
            let (dialled, accepted) = network.in_time(what, linking).await?;
            let (mut dialled, mut accepted) = (dialled?, accepted?);
            dialled.sender.send(vec![next].into()).await?;
            let message = came("a link accepted by polling", accepted.receiver.recv().await)?;
            same("what came", message, Bytes::from(vec![next]))?;
        }
        drop(server);
        Ok(())
    })
}

fn strangers(network: &Network) -> Outcome {
    network.run(async {
        let Ends { dialler, server, mut listener, address, context } = Ends::open(network).await?;
        let nonsense: [Vec<u8>; 6] = [
            Vec::new(),
            vec![0],
            vec![0xff; 64],
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            (0..=255).cycle().take(100_000).collect(),
            u64::MAX.to_be_bytes().repeat(8),
        ];
        let mut held = Vec::new();
        for round in 0..3_u8 {
            for bytes in &nonsense {
                let Some(connecting) = network.raw_connection(&address, bytes.clone()) else {
                    return fail("this case needs a raw connection");
                };
                // Whether a stranger is cut off, and when, is the transport's own choice; some may get a link that says nothing.
                tokio::select! {
                    connected = connecting => held.extend(connected),
                    never = accept_for_ever(&mut *listener) => return never,
                }
            }
            // An honest node comes through all the same.
            let greeting = [round; 5];
            let dialling = async {
                let mut dialled = dialler.connect(&context, &address).await?;
                dialled.sender.send(greeting.to_vec().into()).await?;
                Outcome::Ok(dialled)
            };
            let (dialled, accepted) = tokio::join!(dialling, accept_who_says(&mut *listener, &greeting));
            accepted.and(dialled)?;
        }
        drop((held, server));
        Ok(())
    })
}

/// Accepts links and drops them; ends only if the listener does.
async fn accept_for_ever(listener: &mut dyn Listener) -> Outcome {
    while listener.accept().await?.is_some() {}
    fail("a stranger has closed the listener (A2)")
}
