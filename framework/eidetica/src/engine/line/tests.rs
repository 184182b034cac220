//! Places in the line, taken and left in a chosen order.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, Scope};

use eidetica_auth_keys::Keys;
use eidetica_backend_memory::InMemory;
use eidetica_kernel::auth::{Grant, Grantee, Permission, RightsOp};
use eidetica_kernel::entry::PARENTS_MAX;
use eidetica_kernel::{Backend, ErrorKind, Id, Result, SecretKey, SignedEntry};

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
    Arc::new(tree.payloads(&[staged(bytes)], None).unwrap())
}

/// A commit that has got into line.
struct Under<'a> {
    held: Held<'a>,
    entry: SignedEntry,
    payloads: Arc<Payloads>,
}

impl<'a> Under<'a> {
    fn way(tree: &'a Tree) -> Self {
        Self::way_with(tree, 1)
    }

    fn way_with(tree: &'a Tree, bytes: usize) -> Self {
        Self::way_of(tree, key(), payloads(tree, bytes))
    }

    fn way_of(tree: &'a Tree, author: SecretKey, payloads: Arc<Payloads>) -> Self {
        let (held, entry) = tree.get_in_line(&author, &payloads).unwrap();
        Self { held, entry: entry.sign(&author), payloads }
    }

    fn id(&self) -> Id {
        self.entry.id()
    }

    /// Writes it.
    fn write(self) -> Result<bool> {
        self.held.write(self.entry, &self.payloads)
    }

    /// The same in another thread, which is ready in the line when this returns.
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

fn staged(bytes: usize) -> StagedPayload {
    StagedPayload {
        name: "blob".to_owned(),
        kind: "test/1".to_owned(),
        version: 1,
        body: vec![7; bytes],
        read: None,
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
fn each_author_s_chain_goes_on_in_the_line() {
    let (_instance, tree) = tree();
    let other = SecretKey::from_bytes([9; 32]);
    let grant = RightsOp::Grant {
        to: Grantee::Key(other.public_key()),
        grant: Grant::new(Permission::Write, 100),
        keep: Vec::new(),
    };
    let granted = tree.commit(&key(), &[], Some(&grant), None, None).unwrap();
    let one = Under::way(&tree);
    let two = Under::way_of(&tree, other.clone(), payloads(&tree, 1));
    let three = Under::way(&tree);
    let four = Under::way_of(&tree, other, payloads(&tree, 1));
    let chain = |under: &Under<'_>| {
        let header = under.entry.header();
        assert_eq!(header.rights, [granted]);
        (header.author_prev, header.author_seq)
    };
    assert_eq!(chain(&one), (Some(granted), 2));
    assert_eq!(chain(&two), (None, 0));
    assert_eq!(chain(&three), (Some(one.id()), 3));
    assert_eq!(chain(&four), (Some(two.id()), 1));
    let clocks = [&one, &two, &three, &four].map(|under| under.entry.header().clock);
    assert!(clocks.is_sorted_by(|a, b| a < b), "{clocks:?}");
    for under in [one, two, three, four] {
        assert!(under.write().unwrap());
    }
    assert!(tree.verify().unwrap().is_clean());
}

#[test]
fn nobody_follows_one_that_leaves_a_tip_aside() {
    let (_instance, tree) = tree();
    for _ in 0..PARENTS_MAX + 1 {
        tree.commit(&key(), &[staged(1)], None, None, Some(&[tree.id])).unwrap();
    }
    let one = Under::way(&tree);
    assert_eq!(one.entry.header().parents.len(), PARENTS_MAX);
    assert!(!tree.inside.lock().line.lets_in());
    let id = one.id();
    thread::scope(|scope| {
        // It waits for the first one.
        let two = scope.spawn(|| tree.commit(&key(), &[staged(1)], None, None, None));
        assert!(one.write().unwrap());
        two.join().unwrap().unwrap();
    });
    let last = log(&tree).pop().unwrap();
    let (_, last) = read::entry(&*tree.shared.live, tree.keys, &last).unwrap().unwrap();
    assert!(last.header().parents.contains(&id));
    assert_eq!(last.header().parents.len(), 2);
    assert_eq!(tree.look().head.tips.len(), 1);
}

#[test]
fn when_another_process_has_written_all_begin_anew() {
    let backend: Arc<dyn Backend> = Arc::new(InMemory::new());
    let open = || Instance::builder().shared_backend(backend.clone()).open().unwrap();
    let (here, there) = (open(), open());
    let tree = here.inner.trees.create(&Keys, &key(), None).unwrap();
    let theirs = there.inner.trees.get(&tree.id).unwrap().unwrap();
    let (one, two) = (Under::way(&tree), Under::way(&tree));
    let first = theirs.commit(&key(), &[staged(1)], None, None, None).unwrap();
    thread::scope(|scope| {
        let two = two.write_beside(scope);
        assert_eq!(one.write().unwrap_err().kind(), ErrorKind::Conflict);
        assert!(!two.recv().unwrap().unwrap());
    });
    let second = tree.commit(&key(), &[staged(1)], None, None, None).unwrap();
    assert_eq!(log(&tree), [tree.id, first, second]);
    assert!(tree.verify().unwrap().is_clean());
}

#[test]
fn the_first_place_is_left_to_the_next_one_who_is_ready() {
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
