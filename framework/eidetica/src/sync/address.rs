//! What can be dialled.

use eidetica_kernel::{ErrorKind, Result, SyncError};

use super::Address;

/// What can be dialled: an [`Address`], or its text.
///
/// `host:port` and `http(s)://…` are HTTP; anything else is `type:rest`.
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
