//! The notation of `iroh` addresses.

use std::str::FromStr;

use eidetica_kernel::transport::ADDRESS_BYTES_MAX;
use eidetica_kernel::{Address, Error, Result, SyncError};
use iroh::{EndpointAddr, EndpointId};
use iroh_tickets::Ticket;
use iroh_tickets::endpoint::EndpointTicket;

/// The transport's name, and the part of its addresses before the first `:`.
pub(crate) const SCHEME: &str = "iroh";

/// What an endpoint's own settings say about addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Means {
    /// A key is enough.
    pub(crate) lookup: bool,
    /// Relays are used.
    pub(crate) relays: bool,
}

/// Reads a ticket or a key, with `iroh:`, `iroh://` or nothing in front.
///
/// # Errors
/// [`SyncError::InvalidAddress`], which is of the kind [`eidetica_kernel::ErrorKind::InvalidInput`].
pub(crate) fn parse(text: &str, means: Means) -> Result<EndpointAddr> {
    let invalid = |reason: &str| {
        let address = text.chars().take(80).collect();
        Error::from(SyncError::InvalidAddress { address, reason: reason.to_owned() })
    };
    if text.len() > ADDRESS_BYTES_MAX {
        return Err(invalid("it is too long").hint(LOOKS));
    }
    let rest = text.trim();
    let rest = rest.strip_prefix("iroh:").unwrap_or(rest);
    let rest = rest.strip_prefix("//").unwrap_or(rest).trim_end_matches('/');
    let target = if rest.starts_with(EndpointTicket::KIND) {
        let ticket =
            EndpointTicket::from_str(rest).map_err(|_| invalid("the ticket is damaged").hint(LOOKS))?;
        EndpointAddr::from(ticket)
    } else {
        let id = EndpointId::from_str(rest).map_err(|_| invalid("it is no ticket and no key").hint(LOOKS))?;
        EndpointAddr::new(id)
    };
    if target.is_empty() && !means.lookup {
        return Err(invalid("it is only a key, and address lookup is off: a ticket is needed")
            .hint("ask the other node for its address; or turn on address_lookup at both nodes"));
    }
    let direct = target.addrs.iter().any(|way| !way.is_relay());
    if !target.is_empty() && !direct && !means.relays && !means.lookup {
        return Err(invalid("it is reached over a relay alone, and relays are turned off here"));
    }
    Ok(target)
}

const LOOKS: &str = "such addresses look like \"iroh:endpointac…\"";

/// The address in its normal form.
pub(crate) fn address(target: &EndpointAddr) -> Address {
    if target.is_empty() {
        return Address::new(SCHEME, target.id.to_string());
    }
    let mut target = target.clone();
    loop {
        let text = EndpointTicket::new(target.clone()).to_string();
        // Sorted, relays first: what a machine with very many interfaces loses is the last of these.
        if SCHEME.len() + 1 + text.len() <= ADDRESS_BYTES_MAX || target.addrs.pop_last().is_none() {
            return Address::new(SCHEME, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use eidetica_kernel::ErrorKind;
    use iroh::{SecretKey, TransportAddr};

    use super::*;

    const STRICT: Means = Means { lookup: false, relays: false };
    const EASY: Means = Means { lookup: true, relays: true };

    fn target(addrs: &[TransportAddr]) -> EndpointAddr {
        EndpointAddr::from_parts(SecretKey::from_bytes(&[7; 32]).public(), addrs.iter().cloned())
    }

    fn socket(port: u16) -> TransportAddr {
        TransportAddr::Ip(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    fn relay() -> TransportAddr {
        TransportAddr::Relay("https://relay.example.com".parse().unwrap())
    }

    #[test]
    fn a_ticket_reads_back_from_every_notation() {
        for target in [target(&[socket(1)]), target(&[socket(1), socket(2), relay()])] {
            let normal = address(&target);
            assert!(normal.address.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{normal}");
            let ticket = &normal.address;
            for text in
                [ticket.clone(), normal.to_string(), format!("iroh://{ticket}"), format!("//{ticket}/")]
            {
                assert_eq!(parse(&text, STRICT).unwrap(), target, "{text}");
            }
        }
    }

    #[test]
    fn a_bare_key_needs_address_lookup() {
        let key = target(&[]).id.to_string();
        for text in [key.clone(), format!("iroh://{key}"), EndpointTicket::new(target(&[])).to_string()] {
            let error = parse(&text, STRICT).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(matches!(error.sync_error(), Some(SyncError::InvalidAddress { .. })), "{error}");
            assert!(error.to_string().contains("a ticket is needed"), "{error}");
            let read = parse(&text, EASY).unwrap();
            assert_eq!(address(&read).address, key);
        }
    }

    #[test]
    fn a_relay_alone_needs_relays() {
        let text = address(&target(&[relay()])).address;
        assert!(parse(&text, EASY).is_ok());
        assert!(parse(&text, STRICT).unwrap_err().to_string().contains("relays are turned off"));
        assert!(parse(&text, Means { lookup: false, relays: true }).is_ok());
    }

    #[test]
    fn what_is_no_address_is_refused_and_never_panics() {
        let whole = address(&target(&[socket(1), relay()])).address;
        for text in ["", "iroh:", "iroh://", "nonsense", "127.0.0.1:80", "endpoint", "endpoint!", "h\u{f6}st"]
        {
            assert_eq!(parse(text, EASY).unwrap_err().kind(), ErrorKind::InvalidInput, "{text}");
        }
        for end in 0..whole.len() {
            assert!(parse(&whole[..end], STRICT).is_err(), "{end}");
        }
        let long = format!("{whole}{}", "a".repeat(3_000));
        assert!(parse(&long, EASY).unwrap_err().to_string().contains("too long"));
        // 64 digits that are no point of the curve.
        assert!(parse(&format!("02{}", "0".repeat(62)), EASY).is_err());
    }

    #[test]
    fn very_many_interfaces_still_make_an_address() {
        let many: Vec<TransportAddr> = (1..2_000).map(socket).chain([relay()]).collect();
        let short = address(&target(&many));
        assert!(short.to_string().len() <= ADDRESS_BYTES_MAX);
        let read = parse(&short.address, STRICT).unwrap();
        assert!(read.addrs.contains(&relay()) && read.addrs.contains(&socket(1)));
    }
}
