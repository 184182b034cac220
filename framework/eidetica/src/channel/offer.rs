//! What both sides of a handshake offer, and what is chosen of it.

use super::compress::Compression;
use super::wire::{Reader, put_section};

/// The versions of the sync protocol that this build speaks.
pub(crate) const VERSION_MIN: u16 = 1;
/// See [`VERSION_MIN`].
pub(crate) const VERSION_MAX: u16 = 1;
/// Longest offer, in bytes.
pub(crate) const OFFER_BYTES_MAX: usize = 1_024;
/// The least that [`Offer::message_bytes_max`] may be, in bytes.
pub(crate) const MESSAGE_BYTES_MIN: u16 = 4_096;

const FEATURES_MAX: u8 = 32;
const FEATURE_COMPRESSION: u16 = 1;
const FEATURE_MESSAGE_BYTES_MAX: u16 = 2;
const FEATURE_SECURITY: u16 = 3;

/// Who seals the messages of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Security {
    /// This layer, by Noise.
    Noise = 1,
    /// The transport.
    Transport = 2,
}

impl Security {
    fn from_u8(byte: u8) -> Option<Self> {
        [Self::Noise, Self::Transport].into_iter().find(|mode| *mode as u8 == byte)
    }
}

/// What one side offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    /// Random, new for each handshake.
    pub(crate) nonce: [u8; 32],
    /// The oldest version it speaks.
    pub(crate) version_min: u16,
    /// The newest version it speaks.
    pub(crate) version_max: u16,
    /// Algorithms, best first; unknown ones left out.
    pub(crate) compression: Vec<Compression>,
    /// The longest link message it takes, in bytes.
    pub(crate) message_bytes_max: u16,
    /// Whether it lets the transport do the sealing. Noise is always offered.
    pub(crate) transport: bool,
}

impl Offer {
    /// Its bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        out.extend_from_slice(&self.nonce);
        out.extend_from_slice(&self.version_min.to_le_bytes());
        out.extend_from_slice(&self.version_max.to_le_bytes());
        out.push(3);
        let algorithms: Vec<u8> = self.compression.iter().map(|algorithm| *algorithm as u8).collect();
        let modes: &[u8] = match self.transport {
            true => &[Security::Noise as u8, Security::Transport as u8],
            false => &[Security::Noise as u8],
        };
        let message_bytes_max = self.message_bytes_max.to_le_bytes();
        let features: [(u16, &[u8]); 3] = [
            (FEATURE_COMPRESSION, &algorithms),
            (FEATURE_MESSAGE_BYTES_MAX, &message_bytes_max),
            (FEATURE_SECURITY, modes),
        ];
        for (tag, value) in features {
            out.extend_from_slice(&tag.to_le_bytes());
            put_section(&mut out, value);
        }
        out
    }

    /// Reads an offer; `None` if it is malformed or too long.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > OFFER_BYTES_MAX {
            return None;
        }
        let mut reader = Reader::new(bytes);
        let mut offer = Self {
            nonce: reader.array()?,
            version_min: reader.u16()?,
            version_max: reader.u16()?,
            compression: Vec::new(),
            message_bytes_max: u16::MAX,
            transport: false,
        };
        if offer.version_min == 0 || offer.version_min > offer.version_max {
            return None;
        }
        let count = reader.u8().filter(|count| *count <= FEATURES_MAX)?;
        let mut previous = None;
        for _ in 0..count {
            let (tag, value) = (reader.u16()?, reader.section()?);
            if previous.replace(tag).is_some_and(|previous| previous >= tag) {
                return None;
            }
            match tag {
                FEATURE_COMPRESSION => {
                    offer.compression = value.iter().filter_map(|byte| Compression::from_u8(*byte)).collect();
                }
                FEATURE_MESSAGE_BYTES_MAX => {
                    offer.message_bytes_max =
                        Reader::new(value).u16().filter(|bytes| *bytes >= MESSAGE_BYTES_MIN)?;
                }
                FEATURE_SECURITY => {
                    let modes: Vec<Security> =
                        value.iter().filter_map(|byte| Security::from_u8(*byte)).collect();
                    if !modes.contains(&Security::Noise) {
                        return None;
                    }
                    offer.transport = modes.contains(&Security::Transport);
                }
                _ => {}
            }
        }
        Some(offer)
    }
}

/// What the responder chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Of the protocol.
    pub(crate) version: u16,
    /// Who seals.
    pub(crate) security: Security,
    /// Of frame bodies.
    pub(crate) compression: Option<Compression>,
}

impl Choice {
    /// What `responder` chooses; `None` without a common version.
    pub(crate) fn between(initiator: &Offer, responder: &Offer) -> Option<Self> {
        let version = initiator.version_max.min(responder.version_max);
        if version < initiator.version_min || version < responder.version_min {
            return None;
        }
        let security = match initiator.transport && responder.transport {
            true => Security::Transport,
            false => Security::Noise,
        };
        let compression =
            initiator.compression.iter().copied().find(|algorithm| responder.compression.contains(algorithm));
        Some(Self { version, security, compression })
    }

    /// `true` if a responder that offered `responder` may choose so.
    pub(crate) fn is_fair(&self, initiator: &Offer, responder: &Offer) -> bool {
        let offered = |algorithm: Compression| {
            initiator.compression.contains(&algorithm) && responder.compression.contains(&algorithm)
        };
        Self::between(initiator, responder)
            .is_some_and(|best| (best.version, best.security) == (self.version, self.security))
            && self.compression.is_none_or(offered)
    }

    /// Its bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let [low, high] = self.version.to_le_bytes();
        vec![low, high, self.security as u8, self.compression.map_or(0, |algorithm| algorithm as u8)]
    }

    /// Reads a choice; `None` if it is malformed or of something unknown.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let version = reader.u16()?;
        let security = Security::from_u8(reader.u8()?)?;
        let compression = match reader.u8()? {
            0 => None,
            byte => Some(Compression::from_u8(byte)?),
        };
        Some(Self { version, security, compression })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer() -> Offer {
        Offer {
            nonce: [7; 32],
            version_min: 1,
            version_max: 3,
            compression: vec![Compression::Lz4],
            message_bytes_max: 60_000,
            transport: true,
        }
    }

    #[test]
    fn an_offer_reads_back() {
        assert_eq!(Offer::decode(&offer().encode()), Some(offer()));
    }

    #[test]
    fn unknown_features_and_appended_fields_are_ignored() {
        let mut bytes = offer().encode();
        bytes[36] += 1;
        bytes.extend_from_slice(&999_u16.to_le_bytes());
        put_section(&mut bytes, b"from the future");
        bytes.extend_from_slice(b"and more");
        assert_eq!(Offer::decode(&bytes), Some(offer()));
    }

    #[test]
    fn repeated_features_are_refused() {
        let mut bytes = offer().encode();
        bytes[36] += 1;
        bytes.extend_from_slice(&FEATURE_SECURITY.to_le_bytes());
        put_section(&mut bytes, &[1]);
        assert_eq!(Offer::decode(&bytes), None);
    }

    #[test]
    fn cut_offers_are_refused_and_never_panic() {
        let bytes = offer().encode();
        assert!((0..bytes.len()).all(|end| Offer::decode(&bytes[..end]).is_none()));
    }

    #[test]
    fn an_offer_without_noise_or_with_tiny_messages_is_refused() {
        let mut bytes = offer().encode();
        let length = bytes.len();
        bytes[length - 2] = 9;
        assert_eq!(Offer::decode(&bytes), None);
        let tiny = Offer { message_bytes_max: MESSAGE_BYTES_MIN - 1, ..offer() };
        assert_eq!(Offer::decode(&tiny.encode()), None);
    }

    #[test]
    fn the_highest_common_version_is_chosen_and_nothing_less_is_fair() {
        let newer = Offer { version_min: 2, version_max: 9, ..offer() };
        let choice = Choice::between(&offer(), &newer).unwrap();
        assert_eq!(choice.version, 3);
        assert!(choice.is_fair(&offer(), &newer));
        assert!(!Choice { version: 2, ..choice }.is_fair(&offer(), &newer));
        assert!(!Choice { security: Security::Noise, ..choice }.is_fair(&offer(), &newer));
        let none = Offer { compression: Vec::new(), ..offer() };
        assert!(!choice.is_fair(&offer(), &none));
        assert_eq!(Choice::decode(&choice.encode()), Some(choice));
        let only_newer = Offer { version_min: 4, version_max: 9, ..offer() };
        assert_eq!(Choice::between(&offer(), &only_newer), None);
    }

    #[test]
    fn the_transport_seals_only_if_both_offer_it() {
        let careful = Offer { transport: false, ..offer() };
        let chosen = |one: &Offer, other: &Offer| Choice::between(one, other).unwrap().security;
        assert_eq!(chosen(&offer(), &offer()), Security::Transport);
        assert_eq!(chosen(&offer(), &careful), Security::Noise);
        assert_eq!(chosen(&careful, &offer()), Security::Noise);
    }
}
