//! The notation of `http` addresses.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use eidetica_kernel::error::excerpt;
use eidetica_kernel::transport::ADDRESS_BYTES_MAX;
use eidetica_kernel::{Address, Error, ErrorKind, Result};

/// The transport's name, and the part of its addresses before the first `:`.
pub(crate) const SCHEME: &str = "http";

/// An address that the transport `http` dials, checked and in its normal form.
///
/// Taken are `host:port`, `http://host[:port][/prefix]` and `https://host[:port][/prefix]`, IPv6 in brackets. Nothing
/// is opened or looked up.
///
/// ```
/// use eidetica_transport_http::address;
///
/// assert_eq!(address("192.168.1.100:8080")?.to_string(), "http:192.168.1.100:8080");
/// assert_eq!(address("http://Peer.example.com:8080/")?.address, "peer.example.com:8080");
/// assert_eq!(address("https://example.com:443/notes")?.address, "https://example.com/notes");
/// assert!(address("nonsense").is_err());
/// # Ok::<(), eidetica_kernel::Error>(())
/// ```
///
/// # Errors
/// [`ErrorKind::InvalidInput`], saying what such addresses look like.
pub fn address(text: &str) -> Result<Address> {
    Ok(Address::new(SCHEME, Target::parse(text)?.to_string()))
}

/// A parsed address. Prints its normal form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) tls: bool,
    /// A lower-case name, an IPv4 address, or an IPv6 address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Empty, or with a leading and without a trailing `/`.
    pub(crate) prefix: String,
}

impl Target {
    /// Of an address to dial.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let target = Self::parse_any_port(text).map_err(|reason| invalid(text, reason))?;
        if target.port == 0 { Err(invalid(text, "port 0 can't be dialled")) } else { Ok(target) }
    }

    /// Of an address to listen at: no TLS, no path, port 0 for a free one.
    pub(crate) fn parse_listen(text: &str) -> Result<Self> {
        let target = Self::parse_any_port(text).map_err(|reason| invalid(text, reason))?;
        if target.tls {
            return Err(Error::new(ErrorKind::InvalidInput, "listening at", text, "TLS isn't served here")
                .hint("listen at host:port, put a proxy that serves TLS in front, and advertise its https address"));
        }
        if target.prefix.is_empty() { Ok(target) } else { Err(invalid(text, "a path can't be listened at")) }
    }

    fn parse_any_port(text: &str) -> Result<Self, &'static str> {
        if text.len() > ADDRESS_BYTES_MAX {
            return Err("it is too long");
        }
        // What `http:` is followed by once the transport's name was split off a URL, or wasn't off an address.
        let text = match text.strip_prefix("http:") {
            Some(rest) if !rest.starts_with("//") && rest.contains(':') => rest,
            _ => text,
        };
        let (tls, rest) = if let Some(rest) = strip_prefix_of_any_case(text, "https://") {
            (Some(true), rest)
        } else if let Some(rest) = strip_prefix_of_any_case(text, "http://") {
            (Some(false), rest)
        } else if let Some(rest) = text.strip_prefix("//") {
            (Some(false), rest)
        } else {
            (None, text)
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let (host, port) = split_authority(authority)?;
        let port = match (port, tls) {
            (Some(port), _) => parse_port(port)?,
            (None, Some(true)) => 443,
            (None, Some(false)) => 80,
            (None, None) => return Err("it names no port"),
        };
        Ok(Self { tls: tls == Some(true), host, port, prefix: check_path(path)?.to_owned() })
    }

    /// `host:port` as the `Host` header has it, without the port that goes without saying.
    pub(crate) fn authority(&self) -> String {
        let implied = if self.tls { 443 } else { 80 };
        if self.port == implied { self.bracketed() } else { format!("{}:{}", self.bracketed(), self.port) }
    }

    fn bracketed(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.tls, self.prefix.as_str()) {
            (false, "") => write!(f, "{}:{}", self.bracketed(), self.port),
            (false, prefix) => write!(f, "http://{}:{}{prefix}", self.bracketed(), self.port),
            (true, prefix) => write!(f, "https://{}{prefix}", self.authority()),
        }
    }
}

fn invalid(text: &str, reason: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, "reading the http address", excerpt(text, 80), reason).hint(
        "such addresses look like \"192.168.1.100:8080\", \"[::1]:8080\" or \"https://example.com/prefix\"",
    )
}

fn strip_prefix_of_any_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// The host in its normal form, and the text of the port.
fn split_authority(authority: &str) -> Result<(String, Option<&str>), &'static str> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or("the bracket isn't closed")?;
        let host: Ipv6Addr = host.parse().map_err(|_| "what is in the brackets is no IPv6 address")?;
        let port = match after {
            "" => None,
            after => Some(after.strip_prefix(':').ok_or("something else than a port follows the bracket")?),
        };
        return Ok((host.to_string(), port));
    }
    let (host, port) = match authority.split_once(':') {
        Some((_, port)) if port.contains(':') => return Err("an IPv6 address belongs in brackets"),
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    Ok((check_host(host)?, port))
}

fn check_host(host: &str) -> Result<String, &'static str> {
    if host.is_empty() {
        return Err("it names no host");
    }
    if host.len() > 253 {
        return Err("the host's name is too long");
    }
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        let ip: Ipv4Addr = host.parse().map_err(|_| "it is no IPv4 address")?;
        return Ok(ip.to_string());
    }
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if !host.bytes().all(legal) || host.starts_with('.') || host.contains("..") {
        return Err("the host's name has characters that such names don't have");
    }
    Ok(host.to_ascii_lowercase())
}

fn parse_port(port: &str) -> Result<u16, &'static str> {
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("the port is no number");
    }
    port.parse().map_err(|_| "the port isn't one of 0 to 65535")
}

/// A path without its trailing `/`s, if it holds nothing but path segments.
pub(crate) fn check_path(path: &str) -> Result<&str, &'static str> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@%".contains(&byte);
    if !path.bytes().all(legal) {
        return Err("a query, a fragment or a blank has no place in it");
    }
    if path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err("the path has relative segments");
    }
    Ok(path.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let normal = address(text).unwrap().address;
        assert_eq!(normal, expected, "{text}");
        assert_eq!(address(&normal).unwrap().address, normal, "the normal form is stable");
        let printed = address(text).unwrap().to_string();
        assert_eq!(address(&printed).unwrap().address, normal, "the printed form is taken too");
    }

    #[test]
    fn every_notation_has_one_normal_form() {
        check("127.0.0.1:8080", "127.0.0.1:8080");
        check("//127.0.0.1:8080", "127.0.0.1:8080");
        check("http://127.0.0.1:8080/", "127.0.0.1:8080");
        check("HTTP://Example.COM:8080", "example.com:8080");
        check("http://example.com", "example.com:80");
        check("http://example.com:8080/a/b/", "http://example.com:8080/a/b");
        check("https://example.com", "https://example.com");
        check("https://example.com:443/", "https://example.com");
        check("https://example.com:8443/x", "https://example.com:8443/x");
        check("[::1]:80", "[::1]:80");
        check("[0:0::1]:8080", "[::1]:8080");
        check("https://[2001:DB8::1]/p", "https://[2001:db8::1]/p");
        check("http:8080", "http:8080"); // a host of that name
        check("localhost:1", "localhost:1");
    }

    #[test]
    fn what_is_no_address_is_refused_with_its_reason() {
        for (text, reason) in [
            ("", "names no host"),
            ("nonsense", "names no port"),
            (":8080", "names no host"),
            ("host:", "isn't one of"),
            ("host:+1", "no number"),
            ("host:65536", "isn't one of"),
            ("host:0", "can't be dialled"),
            ("::1:8080", "belongs in brackets"),
            ("[::1:8080", "isn't closed"),
            ("[::1]x", "follows the bracket"),
            ("256.1.1.1:80", "no IPv4"),
            ("user@host:80", "characters"),
            ("a b:80", "characters"),
            ("http://host:80/?q", "query"),
            ("http://host:80/../x", "relative"),
            ("h\u{f6}st:80", "characters"),
            (&"x".repeat(3_000), "too long"),
        ] {
            let error = address(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text:.40}");
            assert!(error.to_string().contains(reason), "{text:.40}: {error}");
        }
    }

    #[test]
    fn only_plain_host_and_port_can_be_listened_at() {
        assert_eq!(Target::parse_listen("127.0.0.1:0").unwrap().port, 0);
        assert_eq!(Target::parse_listen("http://localhost:80").unwrap().host, "localhost");
        assert!(Target::parse_listen("https://localhost:80").unwrap_err().to_string().contains("proxy"));
        assert!(Target::parse_listen("http://localhost:80/x").is_err());
    }
}
