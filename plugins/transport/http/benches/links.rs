//! Throughput and latency of links over loopback, beside those of plain TCP in the same run.
//!
//! `cargo bench -p eidetica-transport-http`; without `--bench` (as `cargo test` calls it) it only shows that it runs.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench panics to fail, and prints")]

use std::time::Instant;

use eidetica_conformance::context::tokio_context;
use eidetica_kernel::transport::{Link, Transport};
use eidetica_transport_http::HttpTransport;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const MESSAGE_BYTES: usize = 60_000;

fn main() {
    let full = std::env::args().any(|argument| argument == "--bench");
    let (messages, trips) = if full { (20_000, 20_000) } else { (20, 20) };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        for _ in 0..3 {
            let (one, other) = tcp().await;
            report("TCP, one way", messages, tcp_one_way(one, other, messages).await);
            let (dialled, accepted) = links().await;
            report("dialler to listener", messages, one_way(dialled, accepted, messages).await);
            let (dialled, accepted) = links().await;
            report("listener to dialler", messages, one_way(accepted, dialled, messages).await);

            let (one, other) = tcp().await;
            println!("{:24} {:7.1} us", "TCP, 100 B round trip", tcp_round_trips(one, other, trips).await);
            let (dialled, accepted) = links().await;
            println!("{:24} {:7.1} us", "100 B round trip", round_trips(dialled, accepted, trips).await);
        }
    });
}

fn report(name: &str, messages: usize, seconds: f64) {
    println!("{name:24} {:7.0} MB/s", (messages * MESSAGE_BYTES) as f64 / seconds / 1e6);
}

async fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (one, other) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    let (one, other) = (one.unwrap(), other.unwrap().0);
    one.set_nodelay(true).unwrap();
    other.set_nodelay(true).unwrap();
    (one, other)
}

async fn links() -> (Link, Link) {
    let (transport, context) = (HttpTransport::new(), tokio_context());
    let mut listener = transport.listen(&context, "127.0.0.1:0").await.unwrap();
    let address = listener.addresses().remove(0);
    let (dialled, accepted) = tokio::join!(transport.connect(&context, &address), listener.accept());
    (dialled.unwrap(), accepted.unwrap().unwrap())
}

async fn tcp_one_way(mut from: TcpStream, mut to: TcpStream, messages: usize) -> f64 {
    let begin = Instant::now();
    let sending = tokio::spawn(async move {
        let message = vec![7; MESSAGE_BYTES];
        for _ in 0..messages {
            from.write_all(&message).await.unwrap();
        }
    });
    let mut buffer = vec![0; MESSAGE_BYTES];
    for _ in 0..messages {
        to.read_exact(&mut buffer).await.unwrap();
    }
    sending.await.unwrap();
    begin.elapsed().as_secs_f64()
}

async fn one_way(mut from: Link, mut to: Link, messages: usize) -> f64 {
    let begin = Instant::now();
    let sending = tokio::spawn(async move {
        let message = bytes::Bytes::from(vec![7; MESSAGE_BYTES]);
        for _ in 0..messages {
            from.sender.send(message.clone()).await.unwrap();
        }
        from
    });
    for _ in 0..messages {
        assert_eq!(to.receiver.recv().await.unwrap().unwrap().len(), MESSAGE_BYTES);
    }
    sending.await.unwrap();
    begin.elapsed().as_secs_f64()
}

async fn tcp_round_trips(mut one: TcpStream, mut other: TcpStream, trips: usize) -> f64 {
    let echo = tokio::spawn(async move {
        let mut buffer = [0; 100];
        while other.read_exact(&mut buffer).await.is_ok() {
            other.write_all(&buffer).await.unwrap();
        }
    });
    let mut buffer = [0; 100];
    let begin = Instant::now();
    for _ in 0..trips {
        one.write_all(&buffer).await.unwrap();
        one.read_exact(&mut buffer).await.unwrap();
    }
    let each = begin.elapsed().as_secs_f64() * 1e6 / trips as f64;
    drop(one);
    echo.await.unwrap();
    each
}

async fn round_trips(mut one: Link, mut other: Link, trips: usize) -> f64 {
    let echo = tokio::spawn(async move {
        while let Ok(Some(message)) = other.receiver.recv().await {
            other.sender.send(message).await.unwrap();
        }
    });
    let message = bytes::Bytes::from(vec![7; 100]);
    let begin = Instant::now();
    for _ in 0..trips {
        one.sender.send(message.clone()).await.unwrap();
        one.receiver.recv().await.unwrap().unwrap();
    }
    let each = begin.elapsed().as_secs_f64() * 1e6 / trips as f64;
    drop(one);
    echo.await.unwrap();
    each
}
