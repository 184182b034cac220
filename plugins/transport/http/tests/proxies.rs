//! Links through what stands between nodes: splices, reverse proxies, TLS.

#![allow(clippy::unwrap_used, reason = "a test panics to fail")]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;

use eidetica_conformance::context::tokio_context;
use eidetica_kernel::transport::{Listener, Transport};
use eidetica_kernel::{Address, ErrorKind};
use eidetica_transport_http::{HttpOptions, HttpTransport, address};
use support::{Task, listen, read_head, server, soon, transport};
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// Dials `through` and talks both ways with whom `listener` accepts.
async fn talks(dialler: &HttpTransport, listener: &mut dyn Listener, through: &Address) {
    let context = tokio_context();
    let (dialled, accepted) =
        soon(async { tokio::join!(dialler.connect(&context, through), listener.accept()) }).await;
    let (mut dialled, mut accepted) = (dialled.unwrap(), accepted.unwrap().unwrap());
    assert_eq!(dialled.remote.as_ref(), Some(through));
    for size in [0, 5, 65_535] {
        dialled.sender.send(vec![1; size].into()).await.unwrap();
        assert_eq!(soon(accepted.receiver.recv()).await.unwrap().unwrap().len(), size);
        accepted.sender.send(vec![2; size].into()).await.unwrap();
        assert_eq!(soon(dialled.receiver.recv()).await.unwrap().unwrap().len(), size);
    }
    accepted.sender.close().await.unwrap();
    assert_eq!(soon(dialled.receiver.recv()).await.unwrap(), None);
}

#[tokio::test]
async fn a_plain_splice_carries_links() {
    let (mut listener, behind) = listen(HttpOptions::default()).await;
    let (front, _proxy) = server(move |mut stream| {
        let behind = behind.address.clone();
        async move {
            let mut onward = TcpStream::connect(behind).await.unwrap();
            copy_bidirectional(&mut stream, &mut onward).await.ok();
        }
    })
    .await;
    talks(&HttpTransport::new(), &mut *listener, &address(&front.to_string()).unwrap()).await;
}

/// A reverse proxy that serves a node under `/notes`: it sets another `Host`, adds headers, and strips the prefix if
/// told so.
async fn reverse_proxy(behind: String, strip: bool) -> (SocketAddr, Task) {
    server(move |mut stream| {
        let behind = behind.clone();
        async move {
            let head = read_head(&mut stream).await;
            assert!(head.starts_with("GET /notes/"), "{head}");
            let mut lines: Vec<String> = head.trim_end().split("\r\n").map(str::to_owned).collect();
            if strip {
                lines[0] = lines[0].replace("GET /notes/", "GET /");
            }
            lines.retain(|line| !line.to_ascii_lowercase().starts_with("host:"));
            lines.push("Host: inner.example".to_owned());
            lines.push("X-Forwarded-For: 203.0.113.7".to_owned());
            let mut onward = TcpStream::connect(&behind).await.unwrap();
            onward.write_all(format!("{}\r\n\r\n", lines.join("\r\n")).as_bytes()).await.unwrap();
            copy_bidirectional(&mut stream, &mut onward).await.ok();
        }
    })
    .await
}

#[tokio::test]
async fn a_reverse_proxy_carries_links_under_a_prefix() {
    for strip in [true, false] {
        let (mut listener, behind) = listen(HttpOptions::default()).await;
        let (front, _proxy) = reverse_proxy(behind.address, strip).await;
        let through = address(&format!("http://{front}/notes")).unwrap();
        talks(&HttpTransport::new(), &mut *listener, &through).await;
    }
}

#[tokio::test]
async fn https_is_dialled_where_the_certificate_is_trusted() {
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), issued.cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(issued.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![issued.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));

    let (mut listener, behind) = listen(HttpOptions::default()).await;
    let (front, _proxy) = server(move |stream| {
        let (acceptor, behind) = (acceptor.clone(), behind.address.clone());
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let mut onward = TcpStream::connect(behind).await.unwrap();
            copy_bidirectional(&mut stream, &mut onward).await.ok();
        }
    })
    .await;
    let through = address(&format!("https://localhost:{}", front.port())).unwrap();

    let ca_file = Some(folder.path().join("ca.pem"));
    talks(&transport(HttpOptions { ca_file, ..HttpOptions::default() }), &mut *listener, &through).await;

    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(folder.path().join("other.pem"), other.cert.pem()).unwrap();
    let distrustful =
        transport(HttpOptions { ca_file: Some(folder.path().join("other.pem")), ..HttpOptions::default() });
    let error = soon(distrustful.connect(&tokio_context(), &through)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.to_string().contains("ca_file"), "{error}");
}

#[tokio::test]
async fn an_unusable_ca_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let through = address("https://localhost:1").unwrap();
    for (name, kind) in [("missing.pem", ErrorKind::NotFound), ("empty.pem", ErrorKind::InvalidInput)] {
        std::fs::write(folder.path().join("empty.pem"), "no certificate").unwrap();
        let ca_file = Some(folder.path().join(name));
        let node = transport(HttpOptions { ca_file, ..HttpOptions::default() });
        let error = soon(node.connect(&tokio_context(), &through)).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
}
