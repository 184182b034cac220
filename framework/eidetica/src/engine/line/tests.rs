//! Places in the line, taken and left in a chosen order.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, Scope};

use eidetica_auth_keys::Keys;
use eidetica_backend_memory::InMemory;
use eidetica_kernel::entry::UnsignedEntry;
use eidetica_kernel::{ErrorKind, Id, Result, SecretKey};

use super::{Held, Payloads, TOGETHER_MAX};
use crate::Instance;
use crate::engine::commit::StagedPayload;
use crate::engine::ingest::BATCH_BYTES_MAX;
use crate::engine::read;
use crate::engine::tree::Tree;

fn key() -> SecretKey {
    SecretKey::from_bytes([7; 32])
}

fn tree() -> (Instance, Arc<Tree>) {
    let instance = Instance::open(Box::new(InMemory::new())).unwrap();
    let tree = instance.inner.trees.create(&Keys, &key(), None).unwrap();
    (instance, tree)
}

/// The payload of a kind that nobody knows: nothing is folded.
fn payloads(tree: &Tree, bytes: usize) -> Arc<Payloads> {
    let staged = StagedPayload {
        name: "blob".to_owned(),
        kind: "test/1".to_owned(),
        version: 1,
        body: vec![7; bytes],
        read: None,
    };
    Arc::new(tree.payloads(&[staged], None).unwrap())
}

/// A commit that has got into line.
struct Under<'a> {
    held: Held<'a>,
    entry: UnsignedEntry,
    payloads: Arc<Payloads>,
}

impl<'a> Under<'a> {
    fn way(tree: &'a Tree) -> Self {
        Self::way_with(tree, 1)
    }

    fn way_with(tree: &'a Tree, bytes: usize) -> Self {
        let payloads = payloads(tree, bytes);
        let (held, entry) = tree.get_in_line(&key(), &payloads).unwrap();
        Self { held, entry, payloads }
    }

    fn id(&self) -> Id {
        self.entry.id()
    }

    /// Signs and writes it.
    fn write(mut self) -> Result<bool> {
        let written = self.held.tree.write_in_line(self.held.number, self.entry.sign(&key()), &self.payloads);
        self.held.left = true;
        written
    }

    /// The same in another thread, which has signed it when this returns.
    fn write_beside<'scope>(self, scope: &'scope Scope<'scope, '_>) -> Receiver<Result<bool>>
    where
        'a: 'scope,
    {
        let (done, written) = mpsc::channel();
        let (tree, number) = (self.held.tree, self.held.number);
        scope.spawn(move || done.send(self.write()));
        let waits = || {
            let line = &tree.inside.lock().line;
            line.position(number).is_some_and(|at| line.places[at].signed.is_some())
        };
        while !waits() {
            thread::yield_now();
        }
        written
    }
}

fn log(tree: &Tree) -> Vec<Id> {
    let entries = tree.look().head.next_arrival;
    let entry = |at| read::entry_at(&*tree.shared.live, tree.keys, at).unwrap().unwrap().1.id();
    (0..entries).map(entry).collect()
}

#[test]
fn ids_chain_before_anything_is_written_and_one_batch_takes_what_is_ready() {
    let (_instance, tree) = tree();
    let before = tree.generation();
    let (one, two, three) = (Under::way(&tree), Under::way(&tree), Under::way(&tree));
    let ids = [tree.id, one.id(), two.id(), three.id()];
    for (entry, after) in [(&one, 0), (&two, 1), (&three, 2)] {
        let header = entry.entry.header();
        assert_eq!(header.parents, [ids[after]]);
        assert_eq!(header.author_prev, Some(ids[after]));
        assert_eq!(header.author_seq, after as u64 + 1);
    }
    assert_eq!(log(&tree), [tree.id]);
    thread::scope(|scope| {
        let (three, two) = (three.write_beside(scope), two.write_beside(scope));
        assert!(one.write().unwrap());
        assert!(two.recv().unwrap().unwrap());
        assert!(three.recv().unwrap().unwrap());
    });
    assert_eq!(log(&tree), ids);
    assert_eq!(tree.generation() - before, 1, "one batch");
    assert!(tree.verify().unwrap().is_clean());
}

#[test]
fn the_first_one_writes_until_nobody_who_is_ready_waits() {
    let (_instance, tree) = tree();
    let before = tree.generation();
    let first = Under::way(&tree);
    thread::scope(|scope| {
        let others: Vec<_> = (0..TOGETHER_MAX + 1).map(|_| Under::way(&tree).write_beside(scope)).collect();
        assert!(first.write().unwrap());
        assert!(others.into_iter().all(|written| written.recv().unwrap().unwrap()));
    });
    assert_eq!(tree.generation() - before, 2, "more than one batch takes");
    assert_eq!(log(&tree).len(), TOGETHER_MAX + 3);
}

#[test]
fn large_ones_share_no_batch() {
    let (_instance, tree) = tree();
    let before = tree.generation();
    let first = Under::way_with(&tree, BATCH_BYTES_MAX / 2);
    thread::scope(|scope| {
        let second = Under::way_with(&tree, BATCH_BYTES_MAX / 2).write_beside(scope);
        assert!(first.write().unwrap());
        assert!(second.recv().unwrap().unwrap());
    });
    assert_eq!(tree.generation() - before, 2);
}

#[test]
fn those_behind_one_that_is_given_up_begin_anew() {
    let (_instance, tree) = tree();
    let (one, two, three, four) =
        (Under::way(&tree), Under::way(&tree), Under::way(&tree), Under::way(&tree));
    let kept = one.id();
    thread::scope(|scope| {
        let three = three.write_beside(scope);
        drop(two.held);
        assert!(!three.recv().unwrap().unwrap(), "it names one that nobody will ever see");
        assert!(!four.write().unwrap());
        assert!(one.write().unwrap());
    });
    assert_eq!(log(&tree), [tree.id, kept]);
    let next = Under::way(&tree);
    assert_eq!(next.entry.header().parents, [kept]);
    assert!(next.write().unwrap());
    assert!(tree.verify().unwrap().is_clean());
}

#[test]
fn another_writer_waits_for_the_line_and_keeps_others_out_of_it() {
    let (_instance, tree) = tree();
    let one = Under::way(&tree);
    let id = one.id();
    thread::scope(|scope| {
        let (alone, found) = mpsc::channel();
        let at = &tree;
        scope.spawn(move || {
            let core = at.lock();
            alone.send(core.head.tips.iter().map(|tip| tip.id).collect::<Vec<_>>()).unwrap();
        });
        while tree.inside.lock().line.closed == 0 {
            thread::yield_now();
        }
        assert!(!tree.inside.lock().line.lets_in());
        assert_eq!(tree.look().head.tips[0].id, tree.id, "who only looks doesn't wait");
        assert!(one.write().unwrap());
        assert_eq!(found.recv().unwrap(), [id]);
    });
    assert!(tree.inside.lock().line.lets_in());
    assert!(Under::way(&tree).write().unwrap());
}

#[test]
fn one_that_may_not_write_takes_no_place() {
    let (_instance, tree) = tree();
    let stranger = SecretKey::from_bytes([8; 32]);
    let refused = tree.get_in_line(&stranger, &payloads(&tree, 1)).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
    assert!(tree.inside.lock().line.is_empty());
}
