//! What is signed and derived about a session, each in a domain of its own.

use eidetica_kernel::{Id, PublicKey, SecretKey, Signature};

use super::wire::put_section;

const CERTIFICATE_DOMAIN: &[u8] = b"eidetica 1 channel certificate\0";
const TRANSPORT_CERTIFICATE_DOMAIN: &[u8] = b"eidetica 1 channel certificate over a transport\0";
const PROOF_DOMAIN: &[u8] = b"eidetica 1 session proof\0";
const SESSION_CONTEXT: &str = "eidetica 1 session id";
const TRANSCRIPT_CONTEXT: &str = "eidetica 1 handshake transcript";

/// Which end of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Role {
    /// Dialled.
    Initiator = 1,
    /// Was dialled.
    Responder = 2,
}

impl Role {
    /// The other end.
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Initiator => Self::Responder,
            Self::Responder => Self::Initiator,
        }
    }
}

/// What a device signs to certify the X25519 key of a process.
pub(crate) fn certificate_message(role: Role, static_key: &[u8; 32]) -> Vec<u8> {
    [CERTIFICATE_DOMAIN, &[role as u8], static_key].concat()
}

/// What a device signs to certify that a channel sealed by a transport ends at it.
pub(crate) fn transport_certificate_message(
    role: Role,
    binding: &[u8; 32],
    transcript: &[u8; 32],
) -> Vec<u8> {
    [TRANSPORT_CERTIFICATE_DOMAIN, &[role as u8], binding, transcript].concat()
}

/// The digest of a handshake over a transport that seals: `hello`, `ephemeral`, the responder's offer, the choice.
pub(crate) fn transcript(sections: [&[u8]; 4]) -> [u8; 32] {
    derive(TRANSCRIPT_CONTEXT, &[], &sections)
}

/// The session's id, equal at both ends and in no other session.
pub(crate) fn session_id(binding: &[u8; 32], initiator_offer: &[u8], responder_offer: &[u8]) -> [u8; 32] {
    derive(SESSION_CONTEXT, binding, &[initiator_offer, responder_offer])
}

fn derive(context: &str, start: &[u8], sections: &[&[u8]]) -> [u8; 32] {
    let mut bytes = start.to_vec();
    for section in sections {
        put_section(&mut bytes, section);
    }
    *blake3::Hasher::new_derive_key(context).update(&bytes).finalize().as_bytes()
}

/// Proves that the end `role` of this session holds `secret`, for use with `tree` only.
pub(crate) fn session_proof(secret: &SecretKey, role: Role, session_id: &[u8; 32], tree: &Id) -> Signature {
    secret.sign(&proof_message(role, session_id, tree))
}

/// `true` if the end `role` of this session holds the secret of `key`.
pub(crate) fn verify_session_proof(
    key: &PublicKey,
    role: Role,
    session_id: &[u8; 32],
    tree: &Id,
    proof: &Signature,
) -> bool {
    key.verify(&proof_message(role, session_id, tree), proof)
}

fn proof_message(role: Role, session_id: &[u8; 32], tree: &Id) -> Vec<u8> {
    [PROOF_DOMAIN, &[role as u8], session_id, tree.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_holds_for_its_key_role_session_and_tree_only() {
        let secret = SecretKey::from_bytes([1; 32]);
        let key = secret.public_key();
        let (session, tree) = ([2; 32], Id::from_bytes([3; 32]));
        let proof = session_proof(&secret, Role::Initiator, &session, &tree);
        assert!(verify_session_proof(&key, Role::Initiator, &session, &tree, &proof));
        assert!(!verify_session_proof(&key, Role::Responder, &session, &tree, &proof));
        assert!(!verify_session_proof(&key, Role::Initiator, &[9; 32], &tree, &proof));
        assert!(!verify_session_proof(&key, Role::Initiator, &session, &Id::from_bytes([9; 32]), &proof));
        let other = SecretKey::from_bytes([9; 32]).public_key();
        assert!(!verify_session_proof(&other, Role::Initiator, &session, &tree, &proof));
    }

    #[test]
    fn a_session_id_depends_on_each_part() {
        let id = session_id(&[1; 32], b"one", b"two");
        assert_ne!(id, session_id(&[2; 32], b"one", b"two"));
        assert_ne!(id, session_id(&[1; 32], b"on", b"etwo"));
        assert_ne!(id, session_id(&[1; 32], b"two", b"one"));
    }
}
