//! The bytes of operations: golden vectors, limits, what is refused. And the plugin's place in the registry.

use eidetica_auth_keys::{BODY_BYTES_MAX, KEEP_MAX, KEYS, Keys, NAMES_MAX};
use eidetica_kernel::auth::{AuthPolicy, Grant, Grantee, Permission, Right, RightsOp, StoreScope};
use eidetica_kernel::registry::{OpenContext, Registry};
use eidetica_kernel::{ErrorKind, Id, PublicKey};

fn to_all(stores: StoreScope, keep: Vec<Id>) -> RightsOp {
    RightsOp::Grant {
        to: Grantee::Anyone,
        grant: Grant { right: Right::Write, seniority: 100, stores },
        keep,
    }
}

fn ids(count: usize) -> Vec<Id> {
    let id = |n: usize| {
        let mut bytes = [0; 32];
        bytes[24..].copy_from_slice(&(n as u64).to_be_bytes());
        Id::from_bytes(bytes)
    };
    (0..count).map(id).collect()
}

fn names(count: usize, bytes: usize) -> StoreScope {
    StoreScope::Only((0..count).map(|n| format!("{n:0bytes$}")).collect())
}

#[test]
fn golden_vectors() {
    let key = Grantee::Key(PublicKey::from_bytes([0xaa; 32]));
    let keyed = [&[1, 0][..], &[0xaa; 32]].concat();
    let keep = vec![Id::from_bytes([0x11; 32]), Id::from_bytes([0x22; 32])];
    let admit = Right::Admit { cap: Permission::Write, seniority_min: 300 };
    let only = StoreScope::Only(vec!["a".into(), "bc".into()]);
    let vectors = [
        (RightsOp::Merge, vec![2]),
        (
            RightsOp::Grant { to: key, grant: Grant::new(Permission::Admin, 0), keep: vec![] },
            [&[0][..], &keyed, &[3, 0, 0, 0]].concat(),
        ),
        (
            RightsOp::Grant {
                to: key,
                grant: Grant { right: admit, seniority: 100, stores: only },
                keep: keep.clone(),
            },
            [
                &[0][..],
                &keyed,
                &[1, 1, 0xac, 2, 100, 1, 2, 1, b'a', 2, b'b', b'c', 2],
                &[0x11; 32],
                &[0x22; 32],
            ]
            .concat(),
        ),
        (RightsOp::Revoke { from: Grantee::Anyone, keep: vec![] }, vec![1, 0, 0]),
        (
            RightsOp::Revoke { from: key, keep: keep[..1].to_vec() },
            [&[1][..], &keyed, &[1], &[0x11; 32]].concat(),
        ),
    ];
    for (op, bytes) in vectors {
        assert_eq!(Keys::new().encode(&op).unwrap(), bytes, "{op:?}");
        assert_eq!(Keys::new().decode(&bytes).unwrap(), op);
    }
}

#[test]
fn what_is_not_sorted_or_not_there_once_is_refused() {
    let two = ids(2);
    let scope = |names: &[&str]| StoreScope::Only(names.iter().map(|name| (*name).to_owned()).collect());
    let bad = [
        to_all(StoreScope::All, vec![two[1], two[0]]),
        to_all(StoreScope::All, vec![two[0], two[0]]),
        to_all(scope(&["b", "a"]), vec![]),
        to_all(scope(&["a", "a"]), vec![]),
        to_all(scope(&[""]), vec![]),
        to_all(scope(&["_settings"]), vec![]),
        RightsOp::Revoke { from: Grantee::Anyone, keep: vec![two[1], two[0]] },
    ];
    for op in bad {
        assert_eq!(Keys::new().encode(&op).unwrap_err().kind(), ErrorKind::InvalidInput, "{op:?}");
        let bytes = postcard::to_stdvec(&op).unwrap();
        assert_eq!(Keys::new().decode(&bytes).unwrap_err().kind(), ErrorKind::InvalidInput, "{op:?}");
    }
}

#[test]
fn limits_hold_both_ways_and_the_largest_fits() {
    let largest = RightsOp::Grant {
        to: Grantee::Key(PublicKey::from_bytes([1; 32])),
        grant: Grant {
            right: Right::Admit { cap: Permission::Admin, seniority_min: u32::MAX },
            seniority: u32::MAX,
            stores: names(NAMES_MAX, 128),
        },
        keep: ids(KEEP_MAX),
    };
    let body = Keys::new().encode(&largest).unwrap();
    assert!(body.len() <= BODY_BYTES_MAX && body.len() + 16 > BODY_BYTES_MAX);
    assert_eq!(Keys::new().decode(&body).unwrap(), largest);
    let over = [
        to_all(StoreScope::All, ids(KEEP_MAX + 1)),
        to_all(names(NAMES_MAX + 1, 2), vec![]),
        to_all(names(1, 129), vec![]),
    ];
    for op in over {
        assert_eq!(Keys::new().encode(&op).unwrap_err().kind(), ErrorKind::LimitExceeded);
        let bytes = postcard::to_stdvec(&op).unwrap();
        assert_eq!(Keys::new().decode(&bytes).unwrap_err().kind(), ErrorKind::LimitExceeded);
    }
    let long = vec![0; BODY_BYTES_MAX + 1];
    assert_eq!(Keys::new().decode(&long).unwrap_err().kind(), ErrorKind::LimitExceeded);
}

#[test]
fn bytes_that_are_not_canonical_are_refused() {
    let bad: [&[u8]; 8] = [
        &[],
        &[3],
        // Something follows.
        &[2, 0],
        // A tag in two bytes where one does.
        &[0x82, 0],
        // A count that nothing follows.
        &[1, 0, 0xff, 0xff, 0xff, 0xff, 0x0f],
        // A seniority beyond 32 bits.
        &[0, 0, 2, 0xff, 0xff, 0xff, 0xff, 0x1f, 0, 0],
        // A name that isn't text.
        &[0, 0, 2, 0, 1, 1, 1, 0xff, 0],
        // An algorithm that doesn't exist.
        &[1, 1, 1],
    ];
    for body in bad {
        let error = Keys::new().decode(body).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{body:?}");
        assert_eq!(error.operation(), "reading a rights operation");
    }
}

#[test]
fn the_plugin_registers_itself_and_takes_no_options() {
    let registry = Registry::linked().unwrap();
    let descriptor = registry.auth("keys").unwrap();
    assert_eq!(descriptor.about.name, KEYS.about.name);
    let parse =
        |json: serde_json::Value| (descriptor.parse)(&mut <dyn erased_serde::Deserializer<'_>>::erase(json));
    let factory = parse(serde_json::json!({})).unwrap();
    assert!(factory.validate().is_empty());
    assert_eq!(factory.open(&OpenContext::default()).unwrap().kind(), "keys/1");
    assert_eq!((descriptor.defaults)(), serde_json::json!({}));
    assert!(parse((descriptor.defaults)()).is_ok());
    assert!(parse(serde_json::json!({"cap": 1})).unwrap_err().message.contains("cap"));
    assert_eq!((descriptor.schema)()["additionalProperties"], serde_json::json!(false));
}
