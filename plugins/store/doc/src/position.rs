//! Positions of list elements: byte strings that sort, made up so that concurrent runs stay apart and appending stays short.
//!
//! A *run* is what one transaction inserts in a row. Its positions are `place tag number`: a short place between the
//! neighbours, 4 random bytes that keep concurrent runs at the same place apart as wholes, and the number of the element
//! within the run, in an order-preserving variable length.
//!
//! Places grow only where there is no room: at the ends of a list they count up and down in 4 bytes, so that a million
//! appends stay at 9 to 11 bytes. Between two neighbours a place takes the middle of the first length that leaves room,
//! and goes on in steps of one from there in whichever direction it is repeated.

use crate::payload::POSITION_BYTES_MAX;

/// Bytes of a place at the end of a list.
const END_BYTES: usize = 4;
/// Room wanted on both sides of a place between two neighbours.
const ROOM: u64 = 1 << 16;
/// Room wanted where insertion goes on in one direction.
const ROOM_ON: u64 = 1 << 8;
const MIDDLE: u32 = 1 << 31;

/// Positions for one run of elements, each greater than the one before.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    prefix: Vec<u8>,
    next: u32,
}

impl Run {
    /// A run between two positions, where `None` is the end of the list; `None` when there is no room.
    pub(crate) fn between(left: Option<&[u8]>, right: Option<&[u8]>, tag: [u8; 4]) -> Option<Self> {
        if left.is_none() && right.is_none() {
            return Some(Self::first(tag));
        }
        let mut prefix = place_between(left, right)?;
        prefix.extend_from_slice(&tag);
        (prefix.len() + NUMBER_BYTES_MAX <= POSITION_BYTES_MAX).then_some(Self { prefix, next: 0 })
    }

    /// A run in the middle of an empty list.
    pub(crate) fn first(tag: [u8; 4]) -> Self {
        Self { prefix: [MIDDLE.to_be_bytes(), tag].concat(), next: 0 }
    }

    /// The next position.
    pub(crate) fn next(&mut self) -> Vec<u8> {
        let mut position = Vec::with_capacity(self.prefix.len() + NUMBER_BYTES_MAX);
        position.extend_from_slice(&self.prefix);
        push_number(&mut position, self.next);
        // More elements than a payload has operations never come.
        self.next = self.next.saturating_add(1);
        position
    }
}

const NUMBER_BYTES_MAX: usize = 4;

/// 1 byte below 2^7, 2 below 2^14, 3 below 2^21, 4 below 2^28; sorts as the number does.
fn push_number(out: &mut Vec<u8>, number: u32) {
    let [a, b, c, d] = number.to_be_bytes();
    match number {
        0..0x80 => out.push(d),
        0x80..0x4000 => out.extend_from_slice(&[0x80 | c, d]),
        0x4000..0x20_0000 => out.extend_from_slice(&[0xc0 | b, c, d]),
        _ => out.extend_from_slice(&[0xe0 | (a & 0x1f), b, c, d]),
    }
}

/// A string of which every continuation lies strictly between the two.
fn place_between(left: Option<&[u8]>, right: Option<&[u8]>) -> Option<Vec<u8>> {
    let (left_bytes, right_bytes) = (left.unwrap_or_default(), right.unwrap_or_default());
    let bytes_min = if left.is_none() || right.is_none() { END_BYTES } else { 1 };
    // Who is longer was made later, there: go on from it.
    let up = right.is_none() || (left.is_some() && left_bytes.len() > right_bytes.len());
    let down = left.is_none() || (right.is_some() && right_bytes.len() > left_bytes.len());
    let wanted = if up || down { ROOM_ON } else { ROOM };
    (bytes_min..=POSITION_BYTES_MAX).find_map(|bytes| {
        let room = room(left_bytes, right, bytes);
        if room < wanted {
            return None;
        }
        let mut place = padded(if down { right_bytes } else { left_bytes }, bytes);
        if down {
            subtract_one(&mut place);
        } else {
            add(&mut place, if up { 1 } else { room / 2 });
        }
        Some(place)
    })
}

/// How many strings of this length lie strictly between, none of them beginning `right`; saturating.
fn room(left: &[u8], right: Option<&[u8]>, bytes: usize) -> u64 {
    let mut difference: i128 = 0;
    for at in 0..bytes {
        let low = i128::from(left.get(at).copied().unwrap_or(0));
        let high = right
            .map_or(if at == 0 { 256 } else { 0 }, |right| i128::from(right.get(at).copied().unwrap_or(0)));
        difference = difference.saturating_mul(256) + high - low;
        // What later bytes can take away is less than one of these.
        difference = difference.clamp(-1 << 64, 1 << 64);
    }
    u64::try_from((difference - 1).max(0)).unwrap_or(u64::MAX)
}

fn padded(position: &[u8], bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| position.get(at).copied().unwrap_or(0)).collect()
}

/// Adds as to a big-endian number; there is room.
fn add(place: &mut [u8], amount: u64) {
    let mut carry = u128::from(amount);
    for byte in place.iter_mut().rev() {
        carry += u128::from(*byte);
        *byte = (carry & 0xff) as u8;
        carry >>= 8;
    }
}

fn subtract_one(place: &mut [u8]) {
    for byte in place.iter_mut().rev() {
        let (less, borrow) = byte.overflowing_sub(1);
        *byte = less;
        if !borrow {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(seed: &mut u64) -> u64 {
        *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn tag(seed: &mut u64) -> [u8; 4] {
        (random(seed) as u32).to_be_bytes()
    }

    #[test]
    fn a_million_appends_keep_positions_within_12_bytes() {
        let mut seed = 1;
        let mut run = Run::between(None, None, tag(&mut seed)).unwrap();
        let mut last = Vec::new();
        for _ in 0..1_000_000 {
            let next = run.next();
            assert!(next > last && next.len() <= 12);
            last = next;
        }
        // Each in its own transaction, behind what is there.
        for _ in 0..1_000_000 {
            let next = Run::between(Some(&last), None, tag(&mut seed)).unwrap().next();
            assert!(next > last && next.len() <= 12);
            last = next;
        }
    }

    #[test]
    fn a_million_prepends_keep_positions_within_12_bytes() {
        let mut seed = 2;
        let mut first = Run::between(None, None, tag(&mut seed)).unwrap().next();
        for _ in 0..1_000_000 {
            let next = Run::between(None, Some(&first), tag(&mut seed)).unwrap().next();
            assert!(next < first && next.len() <= 12);
            first = next;
        }
    }

    #[test]
    fn inserting_on_in_one_direction_between_neighbours_stays_short() {
        let mut seed = 3;
        let mut run = Run::between(None, None, tag(&mut seed)).unwrap();
        let (left, right) = (run.next(), run.next());
        let mut last = left.clone();
        for _ in 0..30_000 {
            let next = Run::between(Some(&last), Some(&right), tag(&mut seed)).unwrap().next();
            assert!(last < next && next < right && next.len() <= 24, "{next:?}");
            last = next;
        }
        let mut first = right;
        for _ in 0..30_000 {
            let next = Run::between(Some(&left), Some(&first), tag(&mut seed)).unwrap().next();
            assert!(left < next && next < first && next.len() <= 24, "{next:?}");
            first = next;
        }
    }

    #[test]
    fn random_insertion_keeps_the_order_and_stays_short() {
        let mut seed = 4;
        let mut list: Vec<Vec<u8>> = Vec::new();
        for _ in 0..5_000 {
            let at = (random(&mut seed) % (list.len() as u64 + 1)) as usize;
            let left = at.checked_sub(1).map(|at| list[at].as_slice());
            let next = Run::between(left, list.get(at).map(Vec::as_slice), tag(&mut seed)).unwrap().next();
            list.insert(at, next);
        }
        assert!(list.is_sorted_by(|a, b| a < b));
        assert!(list.iter().all(|position| position.len() <= 64), "{:?}", list.iter().map(Vec::len).max());
    }

    #[test]
    fn concurrent_runs_at_one_place_do_not_interleave() {
        let mut seed = 5;
        let mut base = Run::between(None, None, tag(&mut seed)).unwrap();
        let (left, right) = (base.next(), base.next());
        for right in [None, Some(&right[..])] {
            let mut runs = [0, 1].map(|_| Run::between(Some(&left), right, tag(&mut seed)).unwrap());
            let runs = runs.each_mut().map(|run| (0..1_000).map(|_| run.next()).collect::<Vec<_>>());
            let [a, b] = &runs;
            assert!(a.last() < b.first() || b.last() < a.first());
        }
    }

    #[test]
    fn hostile_neighbours_leave_no_room_rather_than_a_wrong_place() {
        let nearly = [&[7; 254][..], &[0]].concat();
        for (left, right) in [
            (&b"a"[..], &b"a"[..]),
            (b"b", b"a"),
            (b"a", b"a\0"),
            (b"a", b"a\0\0"),
            (&[7; 254], &nearly),
            (&[0xff; 255], b""),
        ] {
            assert!(Run::between(Some(left), Some(right), [0; 4]).is_none());
        }
        assert!(Run::between(Some(&[0xff; 255]), None, [0; 4]).is_none());
        assert!(Run::between(None, Some(&[0; 255]), [0; 4]).is_none());
        assert!(Run::between(None, Some(b""), [0; 4]).is_none());
    }
}
