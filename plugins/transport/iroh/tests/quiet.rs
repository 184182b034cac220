//! Without the internet nothing is complained about.

#![allow(clippy::unwrap_used, reason = "a test panics to fail")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use eidetica_conformance::context::tokio_context;
use eidetica_kernel::runtime::{BoxFuture, Spawner, TaskGuard};
use eidetica_kernel::transport::Transport;
use eidetica_transport_iroh::{IrohOptions, IrohTransport, RelayMode};
use parking_lot::Mutex;
use support::soon;
use tokio::sync::mpsc;

/// Tells when every task has ended.
struct Ending(Arc<dyn Spawner>, mpsc::Sender<()>);

impl Spawner for Ending {
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) -> TaskGuard {
        let running = self.1.clone();
        self.0.spawn(
            name,
            Box::pin(async move {
                task.await;
                drop(running);
            }),
        )
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_of_one_machine_meet_and_part_without_a_warning() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let (running, mut ended) = mpsc::channel(1);
    let mut context = tokio_context();
    context.spawner = Arc::new(Ending(context.spawner.clone(), running));
    // Every interface, and the router asked for a port.
    let node = || {
        let options = IrohOptions::default();
        IrohTransport::builder().options(options).relay_mode(RelayMode::Disabled).build().unwrap()
    };
    let (dialler, server) = (node(), node());
    let begun = Instant::now();
    let mut listener = server.listen(&context, "ignored").await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let address = listener.addresses().remove(0);
    let (dialled, accepted) =
        soon(async { tokio::join!(dialler.connect(&context, &address), listener.accept()) }).await;
    let (mut dialled, mut accepted) = (dialled.unwrap(), accepted.unwrap().unwrap());
    dialled.sender.send("hello".into()).await.unwrap();
    assert_eq!(soon(accepted.receiver.recv()).await.unwrap(), Some("hello".into()));
    drop((dialled, accepted, listener, dialler, server, context));
    assert_eq!(soon(ended.recv()).await, None);
    let log = String::from_utf8_lossy(&log.0.lock()).into_owned();
    assert_eq!(log, "");
}
