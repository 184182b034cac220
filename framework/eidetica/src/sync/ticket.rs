//! Tickets: everything needed to join a database, as one line of text.

use std::fmt;
use std::str::FromStr;

use eidetica_kernel::{Error, Id, PublicKey, Result, SyncError};

use super::Address;

/// Addresses in a ticket at most.
const ADDRESSES_MAX: usize = 16;
/// Longest ticket, in bytes.
const TICKET_BYTES_MAX: usize = 16 * 1_024;

/// Where a database is to be had, and an invite: `eidetica:?db=…&peer=…&at=http:…&invite=…`.
///
/// Whoever has a ticket with an invite may join until the invite is spent, expired or revoked.
///
/// ```
/// use eidetica::sync::Ticket;
///
/// let text = format!("eidetica:?db={}&peer=ed25519:{}&at=http:127.0.0.1:8080", "0".repeat(64), "1".repeat(64));
/// let ticket: Ticket = text.parse()?;
/// assert_eq!(ticket.addresses().len(), 1);
/// assert_eq!(ticket.to_string(), text);
/// # Ok::<(), eidetica::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket {
    pub(crate) database: Id,
    pub(crate) peer: PublicKey,
    pub(crate) addresses: Vec<Address>,
    pub(crate) invite: Option<[u8; 16]>,
}

impl Ticket {
    /// The database.
    pub fn database(&self) -> &Id {
        &self.database
    }

    /// The node that made it.
    pub fn peer(&self) -> &PublicKey {
        &self.peer
    }

    /// Where that node can be reached.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Names its invite, for [`Database::revoke_invite`](crate::Database::revoke_invite); `None` without one.
    pub fn invite_id(&self) -> Option<String> {
        self.invite.as_ref().map(super::records::invite_id)
    }

    /// Whether it carries an invite.
    pub fn has_invite(&self) -> bool {
        self.invite.is_some()
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "eidetica:?db={}&peer={}", self.database, self.peer)?;
        for address in &self.addresses {
            write!(f, "&at={}", escape(&address.to_string()))?;
        }
        if let Some(invite) = &self.invite {
            write!(f, "&invite={}", data_encoding::HEXLOWER.encode(invite))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("database", &self.database)
            .field("peer", &self.peer)
            .field("addresses", &self.addresses)
            .field("invite", &self.invite.map(|_| "…"))
            .finish()
    }
}

impl FromStr for Ticket {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = |reason: &str| Error::from(SyncError::InvalidTicket { reason: reason.to_owned() });
        let text = text.trim();
        if text.len() > TICKET_BYTES_MAX {
            return Err(invalid("it is too long"));
        }
        let query =
            text.strip_prefix("eidetica:?").ok_or_else(|| invalid("it doesn't begin with \"eidetica:?\""))?;
        let (mut database, mut peer, mut invite) = (None, None, None);
        let mut addresses = Vec::new();
        for field in query.split('&') {
            let (name, value) = field.split_once('=').ok_or_else(|| invalid("a field has no value"))?;
            let value = unescape(value).ok_or_else(|| invalid("a field is escaped wrongly"))?;
            let twice = match name {
                "db" => database
                    .replace(value.parse().map_err(|_| invalid("its database isn't an id"))?)
                    .is_some(),
                "peer" => peer.replace(value.parse().map_err(|_| invalid("its peer isn't a key"))?).is_some(),
                "at" => {
                    addresses.push(value.parse().map_err(|_| invalid("one of its addresses isn't one"))?);
                    addresses.len() > ADDRESSES_MAX
                }
                "invite" => {
                    let mut secret = [0; 16];
                    // The length first: decoding into a place of another size is a programming error to the library.
                    let read = value.len() == 32
                        && data_encoding::HEXLOWER.decode_mut(value.as_bytes(), &mut secret).is_ok();
                    if !read {
                        return Err(invalid("its invite isn't 32 hex digits"));
                    }
                    invite.replace(secret).is_some()
                }
                // Newer programs may add fields.
                _ => false,
            };
            if twice {
                return Err(invalid("a field is there too often"));
            }
        }
        Ok(Self {
            database: database.ok_or_else(|| invalid("it names no database"))?,
            peer: peer.ok_or_else(|| invalid("it names no peer"))?,
            addresses,
            invite,
        })
    }
}

/// Percent-encodes what would end a field (RFC 3986).
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:/[]@".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first == b'%' {
            let (hex, after) = rest.split_first_chunk::<2>()?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_tickets_are_errors_wherever_they_are_cut() {
        let whole = format!(
            "eidetica:?db={}&peer=ed25519:{}&at=http:127.0.0.1:8080&invite={}",
            "0".repeat(64),
            "1".repeat(64),
            "2".repeat(32)
        );
        assert!(whole.parse::<Ticket>().is_ok());
        for end in whole.find("&invite").unwrap() + 1..whole.len() {
            assert!(whole[..end].parse::<Ticket>().is_err(), "{end}");
        }
        assert!(format!("{whole}2").parse::<Ticket>().is_err());
    }
}
