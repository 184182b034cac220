//! Whom to trust behind `https://`.

use std::path::Path;
use std::sync::Arc;

use eidetica_kernel::{Error, ErrorKind, Result};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// A configuration that trusts the system's roots and those in `ca_file`. Its cryptography is ring's, named here,
/// never the process's default.
pub(crate) fn client_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(native.certs);
    if let Some(file) = ca_file {
        for certificate in read(file)? {
            roots.add(certificate).map_err(|error| unusable(file, error))?;
        }
    }
    if roots.is_empty() {
        let reason = native.errors.first().map_or("this system has none".to_owned(), ToString::to_string);
        return Err(Error::new(ErrorKind::NotFound, "loading the certificates to trust", "", reason)
            .hint("install the system's CA certificates, or set option ca_file"));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(ErrorKind::Bug, "preparing TLS", "", error))?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn read(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let text = std::fs::read(file).map_err(|error| Error::io("reading ca_file", file.display(), error))?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(file, error))?;
    if certificates.is_empty() { Err(unusable(file, "no certificate is in it")) } else { Ok(certificates) }
}

fn unusable(file: &Path, reason: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::InvalidInput, "reading ca_file", file.display(), reason)
        .hint("it must hold certificates in PEM")
}
