use eidetica_auth_keys::Keys;
use eidetica_backend_memory::InMemory;
use eidetica_kernel::entry::{FORMAT_VERSION, Tree as TreeField};
use eidetica_kernel::{Header, HybridClock, SecretKey, SignedEntry};

use super::Incoming;
use crate::Instance;

#[test]
fn an_entry_that_is_refused_again_counts_once_and_keeps_its_reason() {
    let instance = Instance::open(Box::new(InMemory::new())).unwrap();
    let tree = instance.inner.trees.create(&Keys, &SecretKey::from_bytes([7; 32]), None).unwrap();
    let stranger = SecretKey::from_bytes([8; 32]);
    let header = Header {
        version: FORMAT_VERSION,
        tree: TreeField::Of(tree.id),
        parents: vec![tree.id],
        clock: HybridClock::next(Some(tree.head().clock), tree.shared.clock.wall()).unwrap(),
        author: stranger.public_key(),
        author_prev: None,
        author_seq: 0,
        rights: vec![tree.id],
        stores: Vec::new(),
        ext: Vec::new(),
    };
    let entry = SignedEntry::sign(header, &stranger).unwrap();
    let offered = || {
        let incoming = Incoming { entry: entry.clone(), payloads: Vec::new(), checked: false };
        let refused = tree.ingest(vec![incoming]).unwrap().refused;
        assert_eq!(refused.len(), 1);
        let kept = tree.shared.live.get(&tree.keys.refused(&entry.id())).unwrap().unwrap();
        (kept, tree.head().refused)
    };
    let first = offered();
    assert_eq!(first.1, 1);
    for _ in 0..3 {
        assert_eq!(offered(), first);
    }
}
