//! Addresses, dialling, and what a link tells of its remote.

use std::collections::BTreeSet;

use eidetica_kernel::error::ErrorKind;
use eidetica_kernel::transport::{ADDRESS_BYTES_MAX, Address};

use super::ends::{Ends, accept_who_says, join_link, poll_once};
use super::suite::{Case, Needs, Network};
use crate::check::{Outcome, ensure, fail, refused, same};
use crate::context::hurried_context;

pub(super) const CASES: &[Case] = &[
    Case::new("the_scheme_is_a_name", "T6", scheme),
    Case::new("addresses_are_read_without_any_runtime", "T1", pure),
    Case::new("malformed_addresses_are_refused", "T1 T4", malformed),
    Case::new("an_address_of_another_transport_is_refused", "T6", foreign),
    Case::new("where_nobody_listens_any_more_is_unreachable", "T7", dead),
    Case::new("who_listens_and_accepts_nothing_keeps_no_dialler_for_ever", "T7", never_accepts),
    Case::new("a_dropped_connect_leaves_the_listener_sound", "T5", dropped_connect),
    Case::new("both_ends_of_a_link_agree_on_what_it_tells", "L7 T6", agreement),
    Case::new("keys_are_proven_at_both_ends", "L7", keys).needs(Needs::ProvesKeys),
    Case::new("each_link_has_a_binding_of_its_own_and_both_ends_know_it", "L7", bindings)
        .needs(Needs::Encrypts),
];

fn scheme(network: &Network) -> Outcome {
    let scheme = network.node()?.scheme();
    let named = !scheme.is_empty()
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_'));
    ensure(named, || format!("{scheme:?} isn't made of a-z, 0-9, _ and -"))
}

fn pure(network: &Network) -> Outcome {
    let mut address = None;
    network.run(async {
        address = Some(Ends::open(network).await?.address);
        Ok(())
    })?;
    let Some(address) = address else { return fail("no address") };
    let node = network.node()?;
    let read = node.parse_address(&address.address)?;
    same("an address read outside of any runtime", &read, &address)?;
    same("an address read twice", node.parse_address(&read.address)?, read)
}

fn malformed(network: &Network) -> Outcome {
    let node = network.node()?;
    let long = "x".repeat(ADDRESS_BYTES_MAX + 1);
    let nobodys = ["", " ", "\n", "\0", "a b", long.as_str()];
    for text in nobodys.into_iter().chain(network.malformed_texts().iter().map(String::as_str)) {
        let text_shown: String = text.chars().take(40).collect();
        let what = format!("the address {text_shown:?}");
        let error = refused(&what, node.parse_address(text), &[ErrorKind::InvalidInput])?;
        ensure(error.to_string().len() < 1_000, || {
            format!("{what}: the error is as long as the address (T4)")
        })?;
    }
    // Whatever these are, they are answered.
    for text in [":", "::", "//", "https://", "[::1]:0", "😀", "-1", "../..", "%00", "a:b:c:99999999999"] {
        if let Err(error) = node.parse_address(text) {
            same(&format!("the error for {text:?}"), error.kind(), ErrorKind::InvalidInput)?;
        }
    }
    Ok(())
}

fn foreign(network: &Network) -> Outcome {
    network.run(async {
        let ends = Ends::open(network).await?;
        let address = Address::new("nobodys-transport", ends.address.address.clone());
        let connected = ends.dialler.connect(&ends.context, &address).await;
        refused("dialling an address of another type", connected, &[ErrorKind::InvalidInput]).map(drop)
    })
}

fn dead(network: &Network) -> Outcome {
    network.run(async {
        let Ends { dialler, server, listener, address, context } = Ends::open(network).await?;
        drop((listener, server));
        let connected = dialler.connect(&context, &address).await;
        let error =
            refused("dialling who has gone", connected, &[ErrorKind::Unreachable, ErrorKind::Timeout])?;
        let text = error.to_string();
        ensure(text.contains(&address.address), || format!("the error names no address: {text}"))
    })
}

/// On a clock that runs fast, so that patient transports needn't be waited for.
fn never_accepts(network: &Network) -> Outcome {
    const LINKS: usize = 100;
    network.run(async {
        let Ends { dialler, server, listener, address, context } =
            Ends::open_with(network, hurried_context(100)).await?;
        let mut links = Vec::new();
        while links.len() < LINKS {
            let connecting = dialler.connect(&context, &address);
            match network.in_time("a connect to a listener that accepts nothing (T7)", connecting).await? {
                Ok(link) => links.push(link),
                failed => {
                    refused(
                        "dialling who accepts nothing",
                        failed,
                        &[ErrorKind::Timeout, ErrorKind::Unreachable],
                    )?;
                    break;
                }
            }
        }
        drop((links, listener, server));
        Ok(())
    })
}

fn dropped_connect(network: &Network) -> Outcome {
    network.run(async {
        let Ends { dialler, server, mut listener, address, context } = Ends::open(network).await?;
        for polls in 0..6 {
            let mut connecting = dialler.connect(&context, &address);
            for _ in 0..polls {
                if poll_once(&mut connecting).await.is_some() {
                    break;
                }
            }
        }
        // What was dropped may come as links that end; the one that stays is found by what it says.
        let dialling = async {
            let mut link = dialler.connect(&context, &address).await?;
            link.sender.send("stays".into()).await?;
            Outcome::Ok(link)
        };
        let (dialled, accepted) = tokio::join!(dialling, accept_who_says(&mut *listener, b"stays"));
        drop(server);
        accepted.and(dialled).map(drop)
    })
}

fn agreement(network: &Network) -> Outcome {
    network.run(async {
        let mut ends = Ends::open(network).await?;
        let capabilities = ends.dialler.capabilities();
        same("the capabilities of two nodes", ends.server.capabilities(), capabilities)?;
        let (dialled, accepted) = ends.link().await?;
        same("the binding at both ends", accepted.binding, dialled.binding)?;
        same("the pings at both ends", accepted.keepalive, dialled.keepalive)?;
        ensure(dialled.keepalive != Some(std::time::Duration::ZERO), || "pings without a pause".to_owned())?;
        same("a key told without the capability", dialled.remote_key.is_some(), capabilities.proves_keys)?;
        same("a binding told without the capability", dialled.binding.is_some(), capabilities.encrypts)?;
        for remote in [&dialled.remote, &accepted.remote].into_iter().flatten() {
            same("the type of a remote's address", &remote.transport_type[..], ends.dialler.scheme())?;
        }
        Ok(())
    })
}

fn keys(network: &Network) -> Outcome {
    network.run(async {
        let mut ends = Ends::open(network).await?;
        let (first, first_there) = ends.link().await?;
        let (second, second_there) = ends.link().await?;
        let server = first.remote_key;
        ensure(server.is_some(), || "the dialler doesn't know who it reached".to_owned())?;
        same("the listener's key, over two links", second.remote_key, server)?;
        let dialler = first_there.remote_key;
        ensure(dialler.is_some(), || "the listener doesn't know who dialled".to_owned())?;
        same("the dialler's key, over two links", second_there.remote_key, dialler)?;
        ensure(dialler != server, || "both nodes prove the same key".to_owned())?;
        let other = network.node()?;
        let (third, third_there) =
            join_link(&*other, &ends.context, &ends.address, &mut *ends.listener).await?;
        same("the listener's key, seen by another node", third.remote_key, server)?;
        ensure(third_there.remote_key.is_some() && third_there.remote_key != dialler, || {
            "another node proves no key of its own".to_owned()
        })
    })
}

fn bindings(network: &Network) -> Outcome {
    const LINKS: usize = 8;
    network.run(async {
        let mut ends = Ends::open(network).await?;
        let mut seen = BTreeSet::new();
        for _ in 0..LINKS {
            let (dialled, accepted) = ends.link().await?;
            same("the binding at both ends", accepted.binding, dialled.binding)?;
            seen.extend(dialled.binding);
        }
        same("different bindings", seen.len(), LINKS)
    })
}
