//! Commits in memory. The limit: an entry can't be made faster than it is signed.

use ed25519_dalek::{Signer, SigningKey};

use crate::Result;
use crate::measure::{Pairs, rate, rate_of_threads, timed};
use crate::report::{Bar, Line};
use crate::setup::{Node, commit, memory};

const ROUNDS: usize = 20;
const PER_ROUND: f64 = 2_000.0;

pub(crate) fn run(scale: f64) -> Result<Vec<Line>> {
    let per_round = (PER_ROUND * scale) as usize;
    let database = Node::open(memory())?.database()?;
    let key = SigningKey::from_bytes(&[7; 32]);
    let sign = |at: usize| {
        // As long as the message that is signed for an entry.
        let message = [at as u8; 64];
        std::hint::black_box(key.sign(std::hint::black_box(&message)));
        Ok(())
    };
    let threads = std::thread::available_parallelism()?.get();
    let (mut alone, mut together) = (Pairs::new(), Pairs::new());
    let mut n = 0;
    // The first round warms up.
    for round in 0..=ROUNDS {
        let commits = timed(per_round, |_| {
            n += 1;
            commit(&database, n)
        })?;
        let signatures = timed(per_round, sign)?;
        let each = per_round / threads;
        let commits_together =
            rate_of_threads(threads, each, |thread, turn| commit(&database, n + 1 + thread * each + turn))?;
        n += threads * each;
        let signatures_together = rate_of_threads(threads, each, |_, turn| sign(turn))?;
        if round > 0 {
            alone.push(rate(per_round, commits), rate(per_round, signatures));
            together.push(commits_together, signatures_together);
        }
    }
    let (alone, together) = (alone.medians(), together.medians());
    Ok(vec![
        Line::new("commits, 1 thread", alone.value, "/s")
            .limit_with_ratio("Ed25519 signatures/s, 1 thread", alone.limit, alone.ratio)
            .bar(Bar::RatioAtLeast(0.4)),
        Line::new(format!("commits, {threads} threads, one database"), together.value, "/s")
            .limit_with_ratio(
                format!("Ed25519 signatures/s, {threads} threads"),
                together.limit,
                together.ratio,
            ),
    ])
}
