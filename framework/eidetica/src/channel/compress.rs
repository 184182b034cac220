//! Compressed frame bodies: the plain length as `u32`, then one LZ4 block.

use bytes::Bytes;
use eidetica_kernel::{Error, ErrorKind, Result};

use super::wire::Reader;

/// How frame bodies are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Compression {
    /// The LZ4 block format.
    Lz4 = 1,
}

impl Compression {
    /// From its number on the wire.
    pub(crate) fn from_u8(byte: u8) -> Option<Self> {
        (byte == Self::Lz4 as u8).then_some(Self::Lz4)
    }
}

const LENGTH_BYTES: usize = 4;
/// No LZ4 block holds more than this many bytes per byte of its own: a longer claim is a lie.
const RATIO_MAX: usize = 255;

/// `body` compressed, if that makes it smaller.
pub(crate) fn compress(body: &[u8]) -> Option<Bytes> {
    let plain_bytes = u32::try_from(body.len()).ok()?;
    let mut out = vec![0; LENGTH_BYTES + lz4_flex::block::get_maximum_output_size(body.len())];
    out[..LENGTH_BYTES].copy_from_slice(&plain_bytes.to_le_bytes());
    let block_bytes = lz4_flex::block::compress_into(body, &mut out[LENGTH_BYTES..]).ok()?;
    out.truncate(LENGTH_BYTES + block_bytes);
    (out.len() < body.len()).then(|| out.into())
}

/// The plain body of at most `bytes_max` bytes.
///
/// # Errors
/// [`ErrorKind::Protocol`] for what isn't such a body, or claims to be longer; nothing is allocated then.
pub(crate) fn decompress(body: &[u8], bytes_max: usize) -> Result<Bytes> {
    let invalid = |reason: String| Error::new(ErrorKind::Protocol, "decompressing a frame", "", reason);
    let mut reader = Reader::new(body);
    let plain_bytes = reader.u32().ok_or_else(|| invalid("it is cut short".into()))? as usize;
    let block = reader.rest();
    if plain_bytes > bytes_max {
        return Err(invalid(format!("it claims {plain_bytes} bytes, {bytes_max} are allowed")));
    }
    if plain_bytes > block.len() * RATIO_MAX + 64 {
        return Err(invalid(format!("{} bytes can't hold the {plain_bytes} it claims", block.len())));
    }
    let mut out = vec![0; plain_bytes];
    match lz4_flex::block::decompress_into(block, &mut out) {
        Ok(written) if written == plain_bytes => Ok(out.into()),
        Ok(written) => Err(invalid(format!("it claims {plain_bytes} bytes and holds {written}"))),
        Err(error) => Err(invalid("it isn't an LZ4 block".into()).caused_by(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::noise;
    use super::*;

    #[test]
    fn compressible_bodies_shrink_and_read_back() {
        let body = b"one and the same ".repeat(1_000);
        let small = compress(&body).unwrap();
        assert!(small.len() < body.len() / 10);
        assert_eq!(decompress(&small, body.len()).unwrap(), body);
    }

    #[test]
    fn incompressible_bodies_stay_plain() {
        assert!(compress(&noise(1, 5_000)).is_none());
        assert!(compress(b"").is_none());
        assert!(compress(b"abc").is_none());
    }

    #[test]
    fn the_best_ratio_of_lz4_passes_the_ratio_check() {
        let body = vec![0; 8 << 20];
        assert_eq!(decompress(&compress(&body).unwrap(), body.len()).unwrap().len(), body.len());
    }

    #[test]
    fn a_claimed_length_is_capped_before_it_is_believed() {
        let body = vec![0; 10_000];
        let mut small = compress(&body).unwrap().to_vec();
        assert_eq!(decompress(&small, 9_999).unwrap_err().kind(), ErrorKind::Protocol);
        small[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(decompress(&small, usize::MAX).unwrap_err().kind(), ErrorKind::Protocol);
    }

    #[test]
    fn hostile_bodies_are_errors() {
        for seed in 0..2_000 {
            let mut body = noise(seed, (seed % 80) as usize);
            if let Some(length) = body.get_mut(..4) {
                length.copy_from_slice(&((seed % 500) as u32).to_le_bytes());
            }
            if let Ok(plain) = decompress(&body, 500) {
                assert!(plain.len() <= 500);
            }
        }
    }
}
