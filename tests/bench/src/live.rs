//! From a commit to the peer that can read it. The limit: a round trip over TCP on the loopback interface.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use eidetica::auth::Permission;
use eidetica::store::DocStore;
use eidetica::sync::InviteOptions;

use crate::Result;
use crate::measure::quantile;
use crate::report::{Bar, Line};
use crate::setup::{Node, Observed, STORE, commit, key, memory};

const COMMITS: f64 = 500.0;
const WARM_UP: usize = 50;
/// About what an entry of one key takes on the wire.
const MESSAGE_BYTES: usize = 400;

pub(crate) fn run(scale: f64) -> Result<Vec<Line>> {
    let commits = (COMMITS * scale) as usize;
    let a = Node::serving(memory())?;
    let here = a.database()?;
    commit(&here, 0)?;
    let observed = Observed::new(memory());
    let b = Node::serving(observed.clone())?;
    let ticket = here.invite(Permission::Read, InviteOptions::default())?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let there = runtime.block_on(b.user.join(&ticket))?;
    let mut stream = echoing()?;
    let (mut latencies, mut round_trips) = (Vec::new(), Vec::new());
    for n in 1..=WARM_UP + commits {
        let start = Instant::now();
        commit(&here, n)?;
        observed.wait_for(|| there.get_store_viewer::<DocStore>(STORE).ok()?.get(key(n)).ok())?;
        let latency = start.elapsed();
        let start = Instant::now();
        let mut message = [n as u8; MESSAGE_BYTES];
        stream.write_all(&message)?;
        stream.read_exact(&mut message)?;
        if n > WARM_UP {
            latencies.push(latency.as_secs_f64() * 1e3);
            round_trips.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    drop(stream);
    a.instance.close()?;
    b.instance.close()?;
    let limit = format!("TCP round trip of {MESSAGE_BYTES} B, same quantile");
    Ok(vec![
        Line::new("commit to readable on the peer, p50", quantile(&mut latencies, 0.5), "ms")
            .limit(limit.clone(), quantile(&mut round_trips, 0.5))
            .bar(Bar::AtMost(2.0))
            .note("the commit itself included; lower is better"),
        Line::new("commit to readable on the peer, p99", quantile(&mut latencies, 0.99), "ms")
            .limit(limit, quantile(&mut round_trips, 0.99)),
    ])
}

/// A connection whose other end sends everything back.
fn echoing() -> Result<TcpStream> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || -> std::io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut message = [0; MESSAGE_BYTES];
        loop {
            stream.read_exact(&mut message)?;
            stream.write_all(&message)?;
        }
    });
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
