//! "Error Handling": snippets 19 and 20.

use eidetica::sync::{Address, PeerStatus, Sync, SyncError};
use eidetica::{Instance, Result, backend::InMemory};
use eidetica_system_tests::node::{Node, within};
use eidetica_system_tests::proxy::{Direction, Proxy, Rules};
use eidetica_system_tests::websocket::payloads;

use crate::prints::printed;

fn instance() -> Result<Instance> {
    Instance::open(Box::new(InMemory::new()))?.enable_sync()
}

#[tokio::test]
#[expect(clippy::needless_borrow, reason = "the seed's lines")]
#[rustfmt::skip]
async fn common_error_patterns() -> Result<()> {
    async fn connect(sync: &Sync, addr: &Address) -> Result<()> {
        // [snippet 19]
        use eidetica::sync::SyncError;

        // Connection errors
        match sync.connect_to_peer(&addr).await {
            Ok(peer_key) => println!("Connected: {}", peer_key),
            Err(e) if e.is_sync_error() => {
                match e.sync_error().unwrap() {
                    SyncError::HandshakeFailed(msg) => {
                        eprintln!("Handshake failed: {}", msg);
                        // Retry with different address or check credentials
                    },
                    SyncError::NoTransportEnabled => {
                        eprintln!("Enable transport first");
                        sync.enable_http_transport()?;
                    },
                    SyncError::PeerNotFound(key) => {
                        eprintln!("Peer {} not registered", key);
                        // Register peer first
                    },
                    _ => eprintln!("Other sync error: {}", e),
                }
            },
            Err(e) => eprintln!("Non-sync error: {}", e),
        }
        // [end]
        Ok(())
    }

    /// What the snippet says of an address.
    async fn said(sync: &Sync, addr: &Address) -> Result<String> {
        printed();
        within("an answer", connect(sync, addr)).await?;
        let mut lines = printed();
        assert_eq!(lines.len(), 1, "{lines:?}");
        Ok(lines.remove(0))
    }

    let host = Node::http()?;
    let address = Address::http(host.address()?)?;
    let sync = instance()?.sync()?;
    assert_eq!(said(&sync, &address).await?, "Enable transport first");
    assert_eq!(said(&sync, &address).await?, format!("Connected: {}", host.peer()), "the first enabled it");

    // Somebody on the path alters the host's first message.
    let proxy = Proxy::to(host.address()?).await.unwrap();
    within("an untouched handshake", Node::http()?.instance.sync()?.connect_to_peer(&Address::http(proxy.address())?)).await?;
    let first = payloads(&proxy.recordings()[0].to_client)[0].clone();
    proxy.reset(Rules { flip: Some((Direction::ToClient, first.end as u64 - 1)), ..Rules::default() });
    let failed = said(&sync, &Address::http(proxy.address())?).await?;
    assert!(failed.starts_with("Handshake failed: "), "{failed}");
    proxy.reset(Rules::default());
    assert_eq!(said(&sync, &Address::http(proxy.address())?).await?, format!("Connected: {}", host.peer()));

    host.instance.close()?;
    let other = said(&instance_with_http()?, &address).await?;
    assert!(other.starts_with("Other sync error: connecting to "), "{other}");
    let other = said(&sync, &Address::iroh("iroh://node_id")?).await?;
    assert!(other.starts_with("Other sync error: no enabled transport dials iroh:"), "{other}");
    let other = said(&sync, &Address::new("http", "no address")).await?;
    assert!(other.starts_with("Non-sync error: "), "{other}");

    // Connecting registers, so nothing there is missing; it is where a peer is named.
    let stranger = Node::http()?.peer();
    let missing = within("an answer", sync.ping_peer(stranger)).await.unwrap_err();
    assert_eq!(missing.sync_error(), Some(&SyncError::PeerNotFound(stranger.to_string())));
    Ok(())
}

fn instance_with_http() -> Result<Sync> {
    let sync = instance()?.sync()?;
    sync.enable_http_transport()?;
    Ok(sync)
}

#[tokio::test]
#[rustfmt::skip]
async fn monitoring_sync_health() -> Result<()> {
    fn check(sync: &Sync) -> Result<()> {
        // [snippet 20]
        // Check server status
        if !sync.is_server_running() {
            eprintln!("Warning: Sync server not running");
        }

        // Monitor peer connectivity
        let peers = sync.list_peers()?;
        for peer in peers {
            if peer.status != PeerStatus::Active {
                eprintln!("Warning: Peer {} is {}", peer.pubkey, peer.status);
            }
        }

        // Sync happens automatically, but you can monitor state
        // via the SyncStateManager for diagnostics
        // [end]
        Ok(())
    }

    let (host, guest) = (Node::http()?, Node::http()?);
    let sync = guest.instance.sync()?;
    let peer = within("a connection", sync.connect_to_peer(&Address::http(host.address()?)?)).await?;
    printed();
    check(&sync)?;
    assert!(printed().is_empty(), "all is well");
    sync.stop_server()?;
    sync.update_peer_status(&peer, PeerStatus::Inactive)?;
    check(&sync)?;
    let warnings =
        ["Warning: Sync server not running".to_owned(), format!("Warning: Peer {peer} is inactive")];
    assert_eq!(printed(), warnings);
    sync.update_peer_status(&peer, PeerStatus::Blocked)?;
    check(&sync)?;
    assert_eq!(printed()[1], format!("Warning: Peer {peer} is blocked"));
    Ok(())
}
