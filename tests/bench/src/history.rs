//! Whether commits slow down as a database's history grows. The limit: the speed at its beginning.

use std::time::Instant;

use crate::Result;
use crate::measure::{rate, thread_time, timed};
use crate::report::{Bar, Line};
use crate::setup::{Node, commit, memory};

const COMMITS: f64 = 200_000.0;

pub(crate) fn run(scale: f64) -> Result<Vec<Line>> {
    let tenth = (COMMITS * scale / 10.0) as usize;
    let database = Node::open(memory())?.database()?;
    // Caches and the allocator warm up first.
    timed(1_000, |n| commit(&database, n))?;
    let mut n = 1_000;
    let (mut wall, mut busy) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        let (start, start_busy) = (Instant::now(), thread_time()?);
        timed(tenth, |_| {
            n += 1;
            commit(&database, n)
        })?;
        wall.push(rate(tenth, start.elapsed()));
        busy.push(rate(tenth, thread_time()? - start_busy));
    }
    let tenths: Vec<String> = busy.iter().map(|rate| format!("{rate:.0}")).collect();
    Ok(vec![
        Line::new("commits, last tenth, by processor time", busy[9], "/s")
            .limit("first tenth", busy[0])
            .bar(Bar::RatioAtLeast(0.9))
            .note(format!("all tenths: {}", tenths.join(" "))),
        Line::new("commits, last tenth, by the clock", wall[9], "/s").limit("first tenth", wall[0]),
    ])
}
