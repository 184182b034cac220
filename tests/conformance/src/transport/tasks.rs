//! What a transport leaves behind: nothing.

use std::any::Any;

use tokio::sync::watch;

use super::ends::{Ends, at_once, fill};
use super::suite::{Case, Network};
use crate::check::{Outcome, ensure};
use crate::context::counting_context;

pub(super) const CASES: &[Case] = &[
    Case::new("every_task_ends_with_what_it_serves", "T2", tasks_end),
    Case::new("nothing_is_left_on_the_runtime", "T2", nothing_left),
];

/// The number of tasks that run, and a stranger who is still connected.
type Left = (watch::Receiver<usize>, Option<Box<dyn Any + Send>>);

/// Opens links, fills them, drops them in different orders, and the nodes last.
async fn live(network: &Network) -> Outcome<Left> {
    let (context, running) = counting_context();
    let mut ends = Ends::open_with(network, context).await?;
    for round in 0..6 {
        let (mut dialled, accepted) = ends.link().await?;
        // Filled, so that a rest is left to bring out.
        fill(&mut dialled).await?;
        match round % 3 {
            0 => drop(accepted),
            1 => drop(dialled),
            _ => drop((dialled.sender, accepted)),
        }
    }
    let (mut open, _unread) = ends.link().await?;
    fill(&mut open).await?;
    let mut stranger = None;
    if let Some(connecting) = network.raw_connection(&ends.address, Vec::new()) {
        tokio::select! {
            connected = connecting => stranger = Some(connected?),
            _ = ends.listener.accept() => {}
        }
        // Takes the stranger in, where that is done while somebody accepts.
        at_once(ends.listener.accept()).await;
    }
    drop(ends);
    Ok((running, stranger))
}

fn tasks_end(network: &Network) -> Outcome {
    network.run(async {
        let (mut running, _stranger) = live(network).await?;
        // The suite's time limit tells of a task that never ends.
        running.wait_for(|running| *running == 0).await?;
        Ok(())
    })
}

fn nothing_left(network: &Network) -> Outcome {
    network.run(async {
        let before = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        let (mut running, stranger) = live(network).await?;
        drop(stranger);
        running.wait_for(|running| *running == 0).await?;
        // Tasks of libraries end a moment after what owned them.
        while tokio::runtime::Handle::current().metrics().num_alive_tasks() > before {
            tokio::task::yield_now().await;
        }
        ensure(*running.borrow() == 0, || "a task was started after everything had been dropped".to_owned())
    })
}
