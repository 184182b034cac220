//! What can be dialled.

use eidetica_kernel::{ErrorKind, Result, SyncError};

use super::Address;

/// What can be dialled: an [`Address`], or its text.
///
/// `host:port` and `http(s)://…` are HTTP, a ticket of iroh (`endpoint…`) is that; anything else is `type:rest`.
pub trait ToAddress {
    /// The address.
    ///
    /// # Errors
    /// [`SyncError::InvalidAddress`].
    fn to_address(&self) -> Result<Address>;
}

impl ToAddress for Address {
    fn to_address(&self) -> Result<Address> {
        Ok(self.clone())
    }
}

impl ToAddress for str {
    fn to_address(&self) -> Result<Address> {
        let text = self.trim();
        let port =
            text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        // "memory:1" would be a port too: a type is known by having neither dots nor brackets nor being "localhost".
        let names_host = text.contains('.') || text.starts_with('[') || text.starts_with("localhost:");
        if text.starts_with("http://")
            || text.starts_with("https://")
            || (port && names_host && !text.contains("://"))
        {
            return Address::http(
                text.strip_prefix("http:").filter(|rest| !rest.starts_with("//")).unwrap_or(text),
            );
        }
        if is_iroh_ticket(text) {
            return Address::iroh(text);
        }
        match text.parse::<Address>() {
            Ok(address) => Ok(address),
            Err(error) if error.kind() == ErrorKind::InvalidInput => Err(SyncError::InvalidAddress {
                address: text.chars().take(80).collect(),
                reason: error.reason().to_owned(),
            }
            .into()),
            Err(error) => Err(error),
        }
    }
}

/// `endpoint`, and a key with where it is in base 32.
fn is_iroh_ticket(text: &str) -> bool {
    let key_bytes = 32;
    let encoded = text.strip_prefix("endpoint").unwrap_or_default();
    encoded.len() > key_bytes * 8 / 5 && encoded.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

impl ToAddress for String {
    fn to_address(&self) -> Result<Address> {
        self.as_str().to_address()
    }
}

impl<T: ToAddress + ?Sized> ToAddress for &T {
    fn to_address(&self) -> Result<Address> {
        (**self).to_address()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_of_iroh_is_its_own_address() {
        let ticket = format!("endpoint{}", "a".repeat(60));
        assert_eq!(ticket.to_address().unwrap(), Address::new("iroh", &ticket));
        assert_eq!(format!("iroh:{ticket}").to_address().unwrap(), Address::new("iroh", &ticket));
        assert_eq!("endpoint:8080".to_address().unwrap(), Address::new("endpoint", "8080"));
        assert_eq!("endpoint.example:80".to_address().unwrap().transport_type, "http");
        assert!("endpoint".to_address().is_err());
    }
}
