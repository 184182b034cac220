//! The sync of one tree over one channel, as a state machine: fed with messages and storage's answers, it returns
//! messages and questions to storage. It knows no socket, clock or randomness.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use eidetica_kernel::{Id, PublicKey, Timestamp};

use super::gap::Plan;
use super::messages::{
    Entries, Have, Message, Open, Persisted, Piece, Refuse, Settled, Want, WireEntry, WirePayload,
};
use crate::engine::ingest::Incoming;
use crate::engine::layout::Arrival;

/// Messages of entries that may be on their way unacknowledged. The protocol allows 8; a link that breaks costs what is on its way.
const UNACKED_MAX: usize = 4;

/// Messages that may wait to be dealt with: unacknowledged entries, and the little that goes with them.
const RECEIVED_MAX: usize = 16;

/// What the machine wants done.
#[derive(Debug)]
pub(crate) enum Output {
    /// Send this; live if it is a fresh commit rather than a backlog.
    Send { message: Message, live: bool },
    /// Ask storage; the answer comes through [`TreeMachine::answer`].
    Ask(Ask),
    /// A received message of this many credit bytes has been dealt with.
    Consumed(usize),
    /// Something worth knowing happened.
    Report(Report),
    /// The sync of this tree is over.
    End,
}

/// A question to storage. At most one that reads and one that writes is open at a time.
#[derive(Debug)]
pub(crate) enum Ask {
    /// Make our [`Open`], with proofs.
    Open,
    /// Whether these proofs entitle the peer; `wanted` if we asked for the tree ourselves.
    Check { open: Open, wanted: bool },
    /// Make a [`Have`] for this round.
    Have { round: u32 },
    /// Which entries a peer that knows these ids lacks.
    Plan { known: Vec<Id> },
    /// The next entries.
    Read { plan: Box<Plan>, keys: Arc<[PublicKey]> },
    /// A piece of a payload.
    ReadPiece { want: Want, keys: Arc<[PublicKey]> },
    /// What the tree's state is now.
    Settled { round: u32 },
    /// How much of a payload is staged here.
    Staged { entry: Box<Incoming>, store: usize },
    /// Stage a piece of a payload; answered with the whole payload when it is complete.
    Stage { entry: Box<Incoming>, store: usize, piece: Piece },
    /// Take in entries.
    Ingest { entries: Vec<Incoming> },
    /// Compare the peer's state with ours.
    Compare(Settled),
}

/// Storage's answer.
#[derive(Debug)]
pub(crate) enum Answer {
    Open(Open),
    /// The keys that the peer has proven; `None` if none of them may read.
    Checked(Option<Vec<PublicKey>>),
    /// The peer's keys may read no longer.
    Revoked,
    Have(Have),
    /// `None` where the tree isn't held yet.
    Planned(Option<Box<Plan>>),
    Read {
        plan: Box<Plan>,
        entries: Vec<WireEntry>,
        replan: bool,
    },
    /// A piece, and whether it is the payload's last.
    Piece(Piece, bool),
    Settled(Settled),
    /// Bytes staged already, or the payload if it is complete.
    Staged {
        bytes: u32,
        payload: Option<Bytes>,
    },
    Ingested(Ingest),
    /// The store that differs, if one does although the entries are the same.
    Compared(Option<String>),
    /// It failed here.
    Failed(String),
}

/// What became of a message of entries.
#[derive(Debug, Default)]
pub(crate) struct Ingest {
    pub(crate) accepted: Vec<Arrival>,
    pub(crate) last: Option<Id>,
    pub(crate) not_before: Option<Timestamp>,
    /// An entry that breaks a rule, or whose copy is wrong: the peer's fault.
    pub(crate) broken: Option<(Id, String)>,
    pub(crate) missing: Option<Id>,
}

/// What others may want to know.
#[derive(Debug)]
pub(crate) enum Report {
    /// The peer may sync: keys of it were proven and may read.
    Proven,
    /// Entries from the peer were persisted.
    Received { entries: u64, last: Option<Id> },
    /// The peer has persisted entries of ours.
    Acknowledged { entries: u64, last: Id },
    /// Both sides have what the other had when this round began.
    InSync { round: u32 },
    /// The peer won't.
    Refused(Refuse),
    /// The peer's entries are from the future of this node's clock.
    NotBefore(Timestamp),
    /// Same entries, other state.
    Diverged(String),
    /// The peer sent an entry that breaks a rule, or a wrong copy of one.
    Invalid { entry: Id, reason: String },
    /// It can't go on.
    Failed(String),
}

/// A message of entries that waits for the payloads it announced.
#[derive(Debug)]
struct Arriving {
    number: u64,
    entries: Vec<Incoming>,
    /// Position of the entry and of the store.
    wanted: VecDeque<(usize, usize)>,
    credit: usize,
}

/// What has been received and not dealt with yet.
#[derive(Debug)]
enum Received {
    Entries(Arriving),
    Settled(Settled, usize),
}

#[derive(Debug)]
struct Unacked {
    number: u64,
    entries: u64,
    last: Id,
}

/// One tree's sync over one channel.
#[derive(Debug)]
pub(crate) struct TreeMachine {
    opened: bool,
    /// Our own `Open` has gone out: nothing else may go before it.
    introduced: bool,
    proven: bool,
    /// The keys that the peer has proven: what is sent is sent to them.
    keys: Arc<[PublicKey]>,
    /// The peer's `Open` is being judged.
    checking: bool,
    early: VecDeque<(Message, usize)>,
    ended: bool,
    /// The current round; 0 before the first.
    round: u32,
    have_sent: u32,
    /// The round of the peer's `Have` that the plan answers.
    planned: u32,
    peer_have: Option<Have>,
    /// Ids that the peer is known to hold.
    known: Vec<Id>,
    plan: Option<Box<Plan>>,
    skip: Vec<Arrival>,
    /// Something may have arrived behind the plan.
    dirty: bool,
    reading: bool,
    writing: bool,
    /// Storage reads or plans what to send: entries that it took in meanwhile would be sent back to whom they came from.
    selecting: bool,
    /// Storage takes in entries.
    ingesting: bool,
    /// What storage did last of the two, so that neither direction holds up the other.
    ingested_last: bool,
    next_number: u64,
    unacked: VecDeque<Unacked>,
    settled_sent: u32,
    settled_received: u32,
    reported: u32,
    wants: VecDeque<Want>,
    received: VecDeque<Received>,
    /// The offset from which the front payload was asked for.
    requested: Option<u32>,
    pieces: VecDeque<(Piece, usize)>,
    piece_credit: Option<usize>,
    planning: u32,
    replan: bool,
    expected_number: u64,
    want_round: bool,
    output: Vec<Output>,
}

impl Ask {
    /// `true` if it makes something to send: it waits while much is queued.
    pub(crate) fn produces(&self) -> bool {
        matches!(self, Self::Read { .. } | Self::ReadPiece { .. })
    }
}

impl TreeMachine {
    /// A sync that we begin, or join when the peer begins it.
    pub(crate) fn new() -> Self {
        Self {
            opened: false,
            introduced: false,
            proven: false,
            keys: Arc::from([]),
            checking: false,
            early: VecDeque::new(),
            ended: false,
            round: 0,
            have_sent: 0,
            planned: 0,
            peer_have: None,
            known: Vec::new(),
            plan: None,
            skip: Vec::new(),
            dirty: false,
            reading: false,
            writing: false,
            selecting: false,
            ingesting: false,
            ingested_last: false,
            next_number: 0,
            unacked: VecDeque::new(),
            settled_sent: 0,
            settled_received: 0,
            reported: 0,
            wants: VecDeque::new(),
            received: VecDeque::new(),
            requested: None,
            pieces: VecDeque::new(),
            piece_credit: None,
            planning: 0,
            replan: false,
            expected_number: 0,
            want_round: false,
            output: Vec::new(),
        }
    }

    /// Asks for a full exchange now; [`TreeMachine::next_round`] said which [`Report::InSync`] ends it.
    pub(crate) fn request(&mut self) -> Vec<Output> {
        if !self.opened {
            self.opened = true;
            self.output.push(Output::Ask(Ask::Open));
        }
        self.want_round |= self.next_round() > self.round.max(1);
        self.step()
    }

    /// The first round that brings all the peer holds by now: one for which our `Have` hasn't been sent yet.
    pub(crate) fn next_round(&self) -> u32 {
        self.have_sent + 1
    }

    /// Our own `Open` has gone out: what the peer answers may be about it.
    pub(crate) fn is_introduced(&self) -> bool {
        self.introduced
    }

    /// Entries were committed or received here.
    pub(crate) fn tree_changed(&mut self) -> Vec<Output> {
        self.dirty = true;
        self.step()
    }

    /// `true` while storage takes in what has been received already, or could: also after the end, so that nothing that came
    /// before a refusal is lost.
    pub(crate) fn is_taking_in(&self) -> bool {
        let next = match self.received.front() {
            Some(Received::Entries(arriving)) => arriving.wanted.is_empty() || !self.pieces.is_empty(),
            Some(Received::Settled(..)) | None => false,
        };
        self.writing || next
    }

    /// A message came, which cost `credit`.
    pub(crate) fn message(&mut self, message: Message, credit: usize) -> Vec<Output> {
        if self.ended {
            self.output.push(Output::Consumed(credit));
            return std::mem::take(&mut self.output);
        }
        if self.received.len() + self.early.len() > RECEIVED_MAX {
            return self.broken("it sent more than was acknowledged");
        }
        if self.checking && !matches!(message, Message::Refuse(_)) {
            // What follows its `Open` waits until that is judged; its credit bounds how much can.
            self.early.push_back((message, credit));
            return std::mem::take(&mut self.output);
        }
        match message {
            Message::Open(open) => {
                self.output.push(Output::Consumed(credit));
                if self.proven {
                    return self.broken("it opened the database twice");
                }
                self.checking = true;
                self.output.push(Output::Ask(Ask::Check { open, wanted: self.opened }));
            }
            Message::Refuse(refuse) => {
                self.output.push(Output::Consumed(credit));
                self.output.push(Output::Report(Report::Refused(refuse)));
                self.end();
            }
            _ if !self.proven => return self.broken("it spoke of entries before it proved a key"),
            Message::Have(have) => {
                self.output.push(Output::Consumed(credit));
                if have.round <= self.peer_have.as_ref().map_or(0, |have| have.round) {
                    return self.broken("its rounds don't ascend");
                }
                self.round = self.round.max(have.round);
                self.peer_have = Some(have);
            }
            Message::Entries(Entries { number, entries }) => {
                if number != self.expected_number {
                    return self.broken("its messages of entries aren't numbered in order");
                }
                self.expected_number += 1;
                return self.entries(number, entries, credit);
            }
            Message::Settled(settled) => self.received.push_back(Received::Settled(settled, credit)),
            Message::Persisted(persisted) => {
                self.output.push(Output::Consumed(credit));
                return self.persisted(persisted);
            }
            Message::Want(want) => {
                self.output.push(Output::Consumed(credit));
                if self.wants.len() >= 64 {
                    return self.broken("it asked for too many payloads at once");
                }
                self.wants.push_back(want);
            }
            Message::Piece(piece) => {
                return self.piece(piece, credit);
            }
            Message::Admit(_) | Message::Admitted(_) | Message::List(_) | Message::Listed(_) => {
                self.output.push(Output::Consumed(credit));
                return self.broken("it sent a message that doesn't belong to a database's stream");
            }
        }
        self.step()
    }

    fn entries(&mut self, number: u64, entries: Vec<WireEntry>, credit: usize) -> Vec<Output> {
        let mut incoming = Vec::with_capacity(entries.len());
        let mut wanted = VecDeque::new();
        for (at, wire) in entries.into_iter().enumerate() {
            match wire.open() {
                Ok(entry) => {
                    let chunked = wire.payloads.iter().enumerate();
                    let chunked = chunked.filter(|(_, payload)| **payload == WirePayload::Chunked);
                    wanted.extend(chunked.map(|(store, _)| (at, store)));
                    incoming.push(entry);
                }
                Err(error) => return self.broken(&error.to_string()),
            }
        }
        self.received.push_back(Received::Entries(Arriving { number, entries: incoming, wanted, credit }));
        self.step()
    }

    fn persisted(&mut self, persisted: Persisted) -> Vec<Output> {
        match self.unacked.pop_front() {
            Some(unacked) if unacked.number == persisted.number => {
                self.output.push(Output::Report(Report::Acknowledged {
                    entries: unacked.entries,
                    last: unacked.last,
                }));
                self.knows(Some(unacked.last));
            }
            _ => return self.broken("it acknowledged what wasn't sent"),
        }
        if let Some(time) = persisted.not_before {
            self.output.push(Output::Report(Report::NotBefore(time)));
            self.end();
        }
        self.step()
    }

    /// The peer holds these entries.
    fn knows(&mut self, last: Option<Id>) {
        self.known.extend(last);
        if self.known.len() > 256 {
            self.known.drain(..128);
        }
    }

    fn piece(&mut self, piece: Piece, credit: usize) -> Vec<Output> {
        let Some(Received::Entries(arriving)) = self.received.front() else {
            return self.broken("it sent a piece of a payload that wasn't asked for");
        };
        let Some((at, store)) = arriving.wanted.front().copied() else {
            return self.broken("it sent a piece of a payload that wasn't asked for");
        };
        let entry = &arriving.entries[at];
        if entry.entry.id() != piece.entry || store != usize::from(piece.store) {
            return self.broken("it sent a piece of another payload than was asked for");
        }
        if piece.bytes.is_empty() {
            // The peer doesn't hold it after all: go on without.
            if let Some(Received::Entries(arriving)) = self.received.front_mut() {
                arriving.wanted.pop_front();
            }
            self.requested = None;
            self.output.push(Output::Consumed(credit));
            return self.step();
        }
        self.pieces.push_back((piece, credit));
        self.step()
    }

    /// Storage has answered a question.
    pub(crate) fn answer(&mut self, answer: Answer) -> Vec<Output> {
        if self.ended {
            return self.answer_after_end(answer);
        }
        match answer {
            Answer::Open(open) => {
                self.introduced = true;
                self.send(Message::Open(open));
            }
            Answer::Checked(Some(keys)) => {
                self.keys = keys.into();
                self.proven = true;
                self.checking = false;
                self.output.push(Output::Report(Report::Proven));
                if !self.opened {
                    self.opened = true;
                    self.output.push(Output::Ask(Ask::Open));
                }
                let mut outputs = self.step();
                while let Some((message, credit)) = self.early.pop_front() {
                    outputs.extend(self.message(message, credit));
                }
                return outputs;
            }
            Answer::Checked(None) | Answer::Revoked => {
                self.send(Message::Refuse(Refuse::NotForYou));
                self.end();
            }
            Answer::Have(have) => {
                self.reading = false;
                self.have_sent = have.round;
                self.send(Message::Have(have));
            }
            Answer::Planned(plan) => {
                self.reading = false;
                self.selecting = false;
                self.planned = self.planning;
                self.plan = plan;
                self.dirty = true;
            }
            Answer::Read { plan, entries, replan } => {
                self.reading = false;
                self.selecting = false;
                self.plan = Some(plan);
                self.replan |= replan;
                self.sent(entries);
            }
            Answer::Piece(piece, last) => {
                self.reading = false;
                match self.wants.front_mut() {
                    Some(want) if !last => want.offset = piece.offset + piece.bytes.len() as u32,
                    _ => drop(self.wants.pop_front()),
                }
                self.send(Message::Piece(piece));
            }
            Answer::Settled(settled) => {
                self.reading = false;
                self.settled_sent = settled.round;
                self.send(Message::Settled(settled));
            }
            Answer::Staged { bytes, payload } => {
                self.writing = false;
                self.staged(bytes, payload);
            }
            Answer::Ingested(ingest) => {
                self.writing = false;
                self.ingesting = false;
                return self.ingested(ingest);
            }
            Answer::Compared(differs) => {
                self.writing = false;
                if let Some(Received::Settled(settled, credit)) = self.received.pop_front() {
                    self.settled_received = settled.round;
                    self.output.push(Output::Consumed(credit));
                }
                if let Some(store) = differs {
                    self.output.push(Output::Report(Report::Diverged(store)));
                }
            }
            Answer::Failed(reason) => {
                self.send(Message::Refuse(Refuse::Failed));
                self.output.push(Output::Report(Report::Failed(reason)));
                self.drop_received();
                self.end();
            }
        }
        self.step()
    }

    fn sent(&mut self, entries: Vec<WireEntry>) {
        if entries.is_empty() {
            return;
        }
        // There may be more behind what fits into one message.
        self.dirty = true;
        let Some(last) = entries.last().map(|entry| eidetica_kernel::entry::entry_id(&entry.header)) else {
            return;
        };
        let number = self.next_number;
        self.next_number += 1;
        self.unacked.push_back(Unacked { number, entries: entries.len() as u64, last });
        // Live ones overtake what is queued: only when nothing of this tree is.
        let live = self.settled_sent >= self.planned && self.unacked.len() == 1;
        self.output.push(Output::Send { message: Message::Entries(Entries { number, entries }), live });
    }

    fn staged(&mut self, bytes: u32, payload: Option<Bytes>) {
        if let Some(credit) = self.piece_credit.take() {
            self.output.push(Output::Consumed(credit));
        }
        let Some(Received::Entries(arriving)) = self.received.front_mut() else { return };
        let Some((at, store)) = arriving.wanted.front().copied() else { return };
        if payload.is_some() {
            arriving.entries[at].payloads[store] = payload;
            arriving.wanted.pop_front();
            self.requested = None;
        } else if self.requested.is_none() {
            let entry = arriving.entries[at].entry.id();
            self.requested = Some(bytes);
            self.send(Message::Want(Want { entry, store: store as u8, offset: bytes }));
        }
    }

    /// Nothing is said any more; what was received whole is still taken in.
    fn answer_after_end(&mut self, answer: Answer) -> Vec<Output> {
        match answer {
            Answer::Ingested(ingest) => {
                self.writing = false;
                self.received.pop_front();
                let entries = ingest.accepted.len() as u64;
                if ingest.broken.is_some() || ingest.missing.is_some() || ingest.not_before.is_some() {
                    self.received.clear();
                }
                if entries > 0 {
                    self.output.push(Output::Report(Report::Received { entries, last: ingest.last }));
                }
            }
            Answer::Compared(_) => {
                self.writing = false;
                self.received.pop_front();
            }
            Answer::Staged { .. } => {
                self.writing = false;
                self.received.clear();
            }
            Answer::Failed(_) => {
                self.writing = false;
                self.received.clear();
            }
            // Answers to what was to be sent.
            _ => {}
        }
        self.take_in_the_rest();
        std::mem::take(&mut self.output)
    }

    /// Goes on with what was received whole before the end; what lacks a payload is dropped, with all that follows it.
    fn take_in_the_rest(&mut self) {
        if self.writing {
            return;
        }
        self.pieces.clear();
        while let Some(Received::Settled(..)) = self.received.front() {
            self.received.pop_front();
        }
        match self.received.front_mut() {
            Some(Received::Entries(arriving)) if arriving.wanted.is_empty() => {
                self.writing = true;
                let entries = std::mem::take(&mut arriving.entries);
                self.output.push(Output::Ask(Ask::Ingest { entries }));
            }
            _ => self.received.clear(),
        }
    }

    fn ingested(&mut self, ingest: Ingest) -> Vec<Output> {
        let Some(Received::Entries(arriving)) = self.received.pop_front() else { return self.step() };
        self.output.push(Output::Consumed(arriving.credit));
        if let Some((entry, reason)) = ingest.broken {
            let invalid = format!("the entry {entry} is refused: {reason}");
            return self.give_up(&invalid, Report::Invalid { entry, reason });
        }
        if let Some(missing) = ingest.missing {
            return self.broken(&format!("it sent entries before {missing}, which they depend on"));
        }
        let entries = ingest.accepted.len() as u64;
        // Nothing selects while entries are taken in, so that a plan which isn't here isn't under way either.
        if self.plan.is_none() && entries > 0 {
            self.plan = Some(Box::new(Plan::everything()));
        }
        self.skip.extend(ingest.accepted);
        // What came from the peer, it has.
        self.knows(ingest.last);
        self.dirty = true;
        let message = Persisted { number: arriving.number, not_before: ingest.not_before };
        self.output.push(Output::Send { message: Message::Persisted(message), live: true });
        if entries > 0 {
            self.output.push(Output::Report(Report::Received { entries, last: ingest.last }));
        }
        if let Some(time) = ingest.not_before {
            self.output.push(Output::Report(Report::NotBefore(time)));
            self.end();
        }
        self.step()
    }

    /// Decides what to do next.
    fn step(&mut self) -> Vec<Output> {
        if !self.ended && self.introduced && self.proven {
            self.begin_round();
            if !self.ingested_last && !self.writing {
                self.step_writing();
            }
            if !self.reading {
                self.step_reading();
            }
            if !self.writing {
                self.step_writing();
            }
            let done = self.settled_sent >= self.round && self.settled_received >= self.round;
            if done && self.round > self.reported && self.unacked.is_empty() {
                self.reported = self.round;
                self.output.push(Output::Report(Report::InSync { round: self.round }));
                self.begin_round();
                if !self.reading {
                    self.step_reading();
                }
            }
        }
        std::mem::take(&mut self.output)
    }

    fn begin_round(&mut self) {
        if self.round == 0 {
            self.round = 1;
            self.want_round = false;
        }
        if self.want_round && self.reported == self.round {
            self.round += 1;
            self.want_round = false;
        }
    }

    fn step_reading(&mut self) {
        let peer_round = self.peer_have.as_ref().map_or(0, |have| have.round);
        let ask = if self.have_sent < self.round {
            Ask::Have { round: self.round }
        } else if self.planned < peer_round || (self.replan && self.planned > 0) {
            if self.ingesting {
                return;
            }
            self.replan = false;
            self.planning = peer_round;
            let have = self.peer_have.iter();
            let known = have.flat_map(|have| have.heads.iter().chain(&have.sample)).chain(&self.known);
            Ask::Plan { known: known.copied().collect() }
        } else if let Some(want) = self.wants.front() {
            Ask::ReadPiece { want: *want, keys: self.keys.clone() }
        } else if self.dirty && self.plan.is_some() {
            if self.unacked.len() >= UNACKED_MAX || self.ingesting {
                return;
            }
            let Some(mut plan) = self.plan.take() else { return };
            plan.skip(self.skip.drain(..));
            self.dirty = false;
            Ask::Read { plan, keys: self.keys.clone() }
        } else if self.settled_sent < self.planned {
            Ask::Settled { round: self.planned }
        } else {
            return;
        };
        if matches!(ask, Ask::Plan { .. } | Ask::Read { .. }) {
            self.selecting = true;
            self.ingested_last = false;
        }
        self.reading = true;
        self.output.push(Output::Ask(ask));
    }

    fn step_writing(&mut self) {
        let ask = match self.received.front_mut() {
            None => return,
            Some(Received::Settled(settled, _)) => Ask::Compare(settled.clone()),
            Some(Received::Entries(arriving)) => match arriving.wanted.front() {
                None if self.selecting => return,
                None => {
                    self.ingesting = true;
                    self.ingested_last = true;
                    Ask::Ingest { entries: std::mem::take(&mut arriving.entries) }
                }
                Some((at, store)) => {
                    let entry = Box::new(arriving.entries[*at].without_payloads());
                    match (self.requested, self.pieces.pop_front()) {
                        (None, _) => Ask::Staged { entry, store: *store },
                        (Some(_), Some((piece, credit))) => {
                            self.piece_credit = Some(credit);
                            Ask::Stage { entry, store: *store, piece }
                        }
                        (Some(_), None) => return,
                    }
                }
            },
        };
        self.writing = true;
        self.output.push(Output::Ask(ask));
    }

    fn send(&mut self, message: Message) {
        self.output.push(Output::Send { message, live: false });
    }

    /// The peer broke a rule: nothing more is taken from it about this tree.
    fn broken(&mut self, reason: &str) -> Vec<Output> {
        self.give_up(reason, Report::Failed(reason.to_owned()))
    }

    fn give_up(&mut self, reason: &str, report: Report) -> Vec<Output> {
        self.send(Message::Refuse(Refuse::Broken(reason.chars().take(200).collect())));
        self.output.push(Output::Report(report));
        self.drop_received();
        self.end();
        std::mem::take(&mut self.output)
    }

    fn drop_received(&mut self) {
        self.received.clear();
        self.pieces.clear();
        self.writing = false;
    }

    fn end(&mut self) {
        if !self.ended {
            self.ended = true;
            self.output.push(Output::End);
        }
    }

    /// The stream or the link is gone: nothing more comes, and nothing can be said. What to do while
    /// [`TreeMachine::is_taking_in`].
    pub(crate) fn cut(&mut self) -> Vec<Output> {
        self.ended = true;
        self.take_in_the_rest();
        std::mem::take(&mut self.output)
    }
}
