//! Signatures by the rules of ZIP 215: single and batch verification must agree on every one.

use eidetica_kernel::{PublicKey, SecretKey, Signature, SignatureBatch};
use serde_json::{Value, json};

use crate::{hex, unhex};

/// Every encoding of a point of small order that decompresses, the non-canonical ones included.
const SMALL_ORDER: [&str; 14] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
];

/// The key of seed 07… plus a point of order 8.
const TORSION_KEY: &str = "1f4f580e73ac208f06760190e9edc6f5916775dabd9c1cdca393175c2d6d1083";
/// Of "torsion", by seed 07…, R plain, under [`TORSION_KEY`].
const TORSION_IN_KEY: &str = "50584106c66171dbe6901bd187252a0d704a02a1080f80c486575d07e5e4b4fe\
                              084921d83463a9dc506aceb58ccf798a57126815bf70f747aa6b6c528bbfc20e";
/// Of "torsion", by seed 07…, R plus a point of order 8, under its own key.
const TORSION_IN_R: &str = "0cbba71954049ec81385f1a9a40b65bf4f2928735bd8f1248c4ef99a630012b0\
                            91c073255614cc4d4e51e4a0ae5e074f7d22f9913e82fe91db4209c06b46e402";
/// Of "torsion", by seed 07…, R plus a point of order 8, under [`TORSION_KEY`].
const TORSION_IN_BOTH: &str = "0cbba71954049ec81385f1a9a40b65bf4f2928735bd8f1248c4ef99a630012b0\
                               7d108fccf2cabecd53a34e5e5f827ac773d6fb9515b7a0ade265686b2ceb5901";
/// The order of the base point, little endian.
const ORDER: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";

#[derive(Clone)]
struct Case {
    name: String,
    key: Vec<u8>,
    message: Vec<u8>,
    signature: Vec<u8>,
    valid: bool,
}

impl Case {
    fn new(name: &str, key: &[u8], message: &[u8], signature: &[u8], valid: bool) -> Self {
        let (key, message, signature) = (key.to_vec(), message.to_vec(), signature.to_vec());
        Self { name: name.to_owned(), key, message, signature, valid }
    }

    fn key(&self) -> PublicKey {
        PublicKey::from_bytes(self.key.as_slice().try_into().unwrap())
    }

    fn signature(&self) -> Signature {
        Signature::from_bytes(self.signature.as_slice().try_into().unwrap())
    }

    fn push_to(&self, batch: &mut SignatureBatch) {
        batch.push(&self.key(), &self.message, &self.signature());
    }
}

fn cases() -> Vec<Case> {
    let secret = SecretKey::from_bytes([7; 32]);
    let key = *secret.public_key().as_bytes();
    let good = *secret.sign(b"message").as_bytes();
    let changed = |at: usize, bit: u8| {
        let mut signature = good;
        signature[at] ^= bit;
        signature
    };
    let mut plus_order = good;
    let mut carry = 0;
    for (byte, order) in plus_order[32..].iter_mut().zip(unhex(ORDER)) {
        carry += u16::from(*byte) + u16::from(order);
        *byte = carry as u8;
        carry >>= 8;
    }
    let no_point = [&[2_u8][..], &[0; 31]].concat();
    let identity = unhex(SMALL_ORDER[2]);
    let order = unhex(ORDER);
    let mut cases = vec![
        Case::new("RFC 8032, test 1", &rfc8032().0, b"", &rfc8032().1, true),
        Case::new("a good one", &key, b"message", &good, true),
        Case::new("another message", &key, b"massage", &good, false),
        Case::new(
            "another key",
            SecretKey::from_bytes([8; 32]).public_key().as_bytes(),
            b"message",
            &good,
            false,
        ),
        Case::new("R changed", &key, b"message", &changed(0, 1), false),
        Case::new("S changed", &key, b"message", &changed(32, 1), false),
        Case::new("S plus the order", &key, b"message", &plus_order, false),
        Case::new("the top bit of S", &key, b"message", &changed(63, 0x80), false),
        Case::new("all zero, a good key", &key, b"message", &[0; 64], false),
        Case::new("a key that is no point", &no_point, b"message", &good, false),
        Case::new("R that is no point", &key, b"message", &[&no_point[..], &good[32..]].concat(), false),
        Case::new(
            "R and S of nothing, under nothing",
            &identity,
            b"any",
            &[&identity[..], &[0; 32]].concat(),
            true,
        ),
        Case::new("S is the order", &identity, b"any", &[&identity[..], &order].concat(), false),
        Case::new("torsion in the key", &unhex(TORSION_KEY), b"torsion", &unhex(TORSION_IN_KEY), true),
        Case::new("torsion in R", &key, b"torsion", &unhex(TORSION_IN_R), true),
        Case::new("torsion in both", &unhex(TORSION_KEY), b"torsion", &unhex(TORSION_IN_BOTH), true),
        Case::new("torsion in the key, left out", &key, b"torsion", &unhex(TORSION_IN_KEY), false),
        Case::new(
            "torsion and another message",
            &unhex(TORSION_KEY),
            b"tension",
            &unhex(TORSION_IN_BOTH),
            false,
        ),
    ];
    for (a, key) in SMALL_ORDER.iter().enumerate() {
        for (r, start) in SMALL_ORDER.iter().enumerate() {
            let name = format!("small order, key {a}, R {r}");
            let signature = unhex(&format!("{start}{}", "00".repeat(32)));
            cases.push(Case::new(&name, &unhex(key), b"Zcash", &signature, true));
        }
    }
    cases
}

fn rfc8032() -> (Vec<u8>, Vec<u8>) {
    let seed = unhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
    let secret = SecretKey::from_bytes(seed.try_into().unwrap());
    let key = unhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    let signature = unhex(
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe\
         24655141438e7a100b",
    );
    assert_eq!(secret.public_key().as_bytes()[..], key);
    assert_eq!(secret.sign(b"").as_bytes()[..], signature);
    (key, signature)
}

pub(crate) fn vectors() -> Vec<Value> {
    let vector = |case: &Case| {
        json!({
            "name": case.name, "key": hex(&case.key), "message": hex(&case.message),
            "signature": hex(&case.signature), "valid": case.valid,
        })
    };
    cases().iter().map(vector).collect()
}

#[test]
fn every_case_is_judged_alike_alone_and_in_a_batch_of_one() {
    for case in cases() {
        assert_eq!(case.key().verify(&case.message, &case.signature()), case.valid, "{}", case.name);
        for seed in 0..4 {
            let mut batch = SignatureBatch::new();
            case.push_to(&mut batch);
            assert_eq!(batch.invalid([seed; 32]).is_empty(), case.valid, "{} in a batch", case.name);
        }
    }
}

#[test]
fn crafted_signatures_pass_every_batch_they_are_valid_in() {
    let valid: Vec<Case> = cases().into_iter().filter(|case| case.valid).collect();
    for seed in 0..8 {
        let mut batch = SignatureBatch::new();
        valid.iter().for_each(|case| case.push_to(&mut batch));
        assert_eq!(batch.invalid([seed; 32]), Vec::<usize>::new(), "seed {seed}");
    }
}

#[test]
fn a_batch_names_exactly_those_that_are_invalid_alone() {
    let cases = cases();
    let invalid: Vec<usize> =
        cases.iter().enumerate().filter(|(_, case)| !case.valid).map(|(at, _)| at).collect();
    for seed in 0..4 {
        let mut batch = SignatureBatch::new();
        cases.iter().for_each(|case| case.push_to(&mut batch));
        assert_eq!(batch.invalid([seed; 32]), invalid, "seed {seed}");
    }
    // One bad among the good is enough, whichever it is.
    let good: Vec<&Case> = cases.iter().filter(|case| case.valid).take(8).collect();
    for at in invalid {
        let mut batch = SignatureBatch::new();
        good.iter().for_each(|case| case.push_to(&mut batch));
        cases[at].push_to(&mut batch);
        assert_eq!(batch.invalid([at as u8; 32]), [8], "{}", cases[at].name);
    }
}
