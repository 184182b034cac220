//! Whatever the bytes: nothing panics, and what decodes encodes to the same bytes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use eidetica_kernel::entry::{
    Codec, Envelope, Extension, FORMAT_VERSION, Header, StoreRef, Tree, entry_id, payload_hash,
};
use eidetica_kernel::{HybridClock, Id, PublicKey, Signature, Timestamp};

/// A reproducible source of choices: BLAKE3's output stream.
struct Choices(blake3::OutputReader);

impl Choices {
    fn new(seed: u64) -> Self {
        Self(blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof())
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill(&mut bytes);
        bytes
    }

    fn below(&mut self, end: usize) -> usize {
        (u64::from_le_bytes(self.bytes()) % end.max(1) as u64) as usize
    }

    /// Of all sizes: small ones as often as large ones.
    fn number(&mut self) -> u64 {
        let bits = self.below(65);
        u64::from_le_bytes(self.bytes()).checked_shr(64 - bits as u32).unwrap_or(0)
    }

    fn vec(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.0.fill(&mut bytes);
        bytes
    }

    fn ids(&mut self, count: usize) -> Vec<Id> {
        let mut ids: Vec<Id> = (0..count).map(|_| Id::from_bytes(self.bytes())).collect();
        ids.sort();
        ids
    }

    fn header(&mut self) -> Header {
        let is_root = self.below(4) == 0;
        let parents = if is_root { 0 } else { 1 + self.below(32) };
        let rights = if is_root { 0 } else { 1 + self.below(8) };
        let follows = !is_root && self.below(2) == 0;
        let mut stores: Vec<StoreRef> = (0..self.below(6))
            .map(|n| StoreRef {
                name: format!("{}{n}", ["a", "é", "_x", "stores"][self.below(4)]),
                kind: format!("doc/{}", self.below(3)),
                payload_hash: self.bytes(),
                payload_bytes: self.below(16 << 20) as u32,
            })
            .collect();
        stores.sort();
        let mut tags: Vec<u16> = (0..self.below(4)).map(|_| u16::from_le_bytes(self.bytes())).collect();
        tags.sort_unstable();
        tags.dedup();
        Header {
            version: FORMAT_VERSION,
            tree: if is_root {
                Tree::Root { nonce: self.bytes() }
            } else {
                Tree::Of(Id::from_bytes(self.bytes()))
            },
            parents: self.ids(parents),
            clock: HybridClock::from_bits(self.number()),
            author: PublicKey::from_bytes(self.bytes()),
            author_prev: follows.then(|| Id::from_bytes(self.bytes())),
            author_seq: if follows { self.number().max(1) } else { 0 },
            rights: self.ids(rights),
            stores,
            ext: tags
                .into_iter()
                .map(|tag| {
                    let length = self.below(200);
                    Extension { tag, bytes: self.vec(length).into() }
                })
                .collect(),
        }
    }

    fn envelope(&mut self) -> Envelope {
        let codec = match self.below(2) {
            0 => Codec::Plain,
            _ => Codec::Sealed { key_id: self.bytes() },
        };
        let length = self.below(300);
        Envelope { salt: self.bytes(), codec, version: self.number() as u16, body: self.vec(length).into() }
    }

    /// One to four changes of the kinds that break decoders.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(8) {
                _ if bytes.is_empty() => bytes.push(self.bytes::<1>()[0]),
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][self.below(5)],
                2 => bytes.insert(at, self.bytes::<1>()[0]),
                3 => drop(bytes.remove(at)),
                4 => bytes.truncate(at),
                // A varint with a needless byte.
                5 => {
                    bytes[at] |= 0x80;
                    bytes.insert(at + 1, 0);
                }
                6 => {
                    let length = self.below(40);
                    let part = bytes[at..(at + length).min(bytes.len())].to_vec();
                    let to = self.below(bytes.len());
                    bytes.splice(to..to, part);
                }
                _ => bytes.extend_from_slice(&[0xff; 9]),
            }
        }
    }
}

fn check_header(bytes: &[u8]) -> bool {
    let Ok(header) = Header::decode(bytes) else { return false };
    let (id, again) = header.encode().expect("what decodes keeps the rules");
    assert_eq!(again, bytes, "one header, two encodings");
    assert_eq!(id, entry_id(bytes));
    true
}

fn check_envelope(bytes: &[u8]) -> bool {
    let Ok(envelope) = Envelope::decode(bytes) else { return false };
    assert_eq!(
        envelope.encode().expect("what decodes keeps the rules"),
        bytes,
        "one envelope, two encodings"
    );
    true
}

#[test]
fn headers_and_envelopes_survive_the_round_trip() {
    for seed in 0..2_000 {
        let mut choices = Choices::new(seed);
        let (header, envelope) = (choices.header(), choices.envelope());
        let (_, bytes) = header.encode().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(Header::decode(&bytes).unwrap(), header, "seed {seed}");
        let bytes = envelope.encode().unwrap();
        assert_eq!(Envelope::decode(&bytes).unwrap(), envelope, "seed {seed}");
        assert_eq!(payload_hash(&bytes), payload_hash(&envelope.encode().unwrap()));
    }
}

#[test]
fn mutated_bytes_are_refused_or_canonical() {
    let (mut accepted, mut refused) = (0, 0);
    for seed in 0..20_000 {
        let mut choices = Choices::new(seed);
        let mut header = choices.header().encode().unwrap().1.to_vec();
        let mut envelope = choices.envelope().encode().unwrap().to_vec();
        choices.mutate(&mut header);
        choices.mutate(&mut envelope);
        for ok in [check_header(&header), check_envelope(&envelope)] {
            if ok { accepted += 1 } else { refused += 1 }
        }
    }
    // Else the test looks at one side only.
    assert!(accepted > 1_000 && refused > 10_000, "{accepted} accepted, {refused} refused");
}

#[test]
fn random_bytes_do_not_panic() {
    for seed in 0..20_000 {
        let mut choices = Choices::new(seed);
        let length = choices.below(200);
        let mut bytes = choices.vec(length);
        check_envelope(&bytes);
        if let Some(first) = bytes.first_mut() {
            *first = FORMAT_VERSION;
        }
        check_header(&bytes);
    }
}

#[test]
fn random_keys_and_signatures_do_not_panic() {
    for seed in 0..500 {
        let mut choices = Choices::new(seed);
        let key = PublicKey::from_bytes(choices.bytes());
        assert!(!key.verify(b"message", &Signature::from_bytes(choices.bytes())));
    }
}

#[test]
fn the_next_clock_is_greater_than_all_seen_until_none_is_left() {
    for seed in 0..2_000 {
        let mut choices = Choices::new(seed);
        let seen = HybridClock::from_bits(choices.number());
        let now = Timestamp::from_millis(choices.number());
        match HybridClock::next(Some(seen), now) {
            Some(next) => assert!(next > seen),
            None => assert_eq!(seen.to_bits(), u64::MAX),
        }
    }
}
