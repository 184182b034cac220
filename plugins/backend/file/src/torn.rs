//! Where fjall's newest journal is torn after power has failed.
//!
//! fjall sets a journal's room aside, so that a flush has no new length to write. Power that fails while a batch is on its way
//! to the disk may then leave out any of the batch's sectors, which read as zeros. Where the batch's end is missing, fjall drops
//! it; where a sector before the end is, fjall takes the journal for damaged and opens nothing, with everything that was flushed
//! before. Such a batch was never confirmed, nor was what comes behind it, so the journal can end where it begins.
//!
//! Bytes that are wrong but not missing are damage, and stay an error.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

use xxhash_rust::xxh3::Xxh3;

/// What a disk writes whole or not at all.
const SECTOR_BYTES: u64 = 512;

/// Markers of fjall's journal format, version 3: a batch is a start, its items, and an end with their checksum.
const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const TRAILER: [u8; 4] = *b"FJL\x03";

/// Where the first torn batch begins, if there is one.
///
/// # Errors
/// Those of reading the file.
pub(crate) fn torn_at(journal: &Path) -> io::Result<Option<u64>> {
    let mut reader = Journal { bytes: BufReader::new(File::open(journal)?), at: 0 };
    loop {
        match reader.batch() {
            Ok(Batch::Whole) => {}
            Ok(Batch::Wrong(range)) => {
                let begins = range.start;
                return Ok(lacks_a_sector(reader.bytes.into_inner(), range)?.then_some(begins));
            }
            Ok(Batch::None) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

enum Batch {
    Whole,
    /// It has its end, and what lies before isn't what was written.
    Wrong(Range<u64>),
    /// No batch ends here: fjall's own recovery cuts the journal.
    None,
}

struct Journal {
    bytes: BufReader<File>,
    at: u64,
}

impl Journal {
    fn batch(&mut self) -> io::Result<Batch> {
        let begins = self.at;
        if self.array::<1>()? != [START] {
            return Ok(Batch::None);
        }
        let mut items = u32::from_le_bytes(self.array()?);
        let _sequence_number: [u8; 8] = self.array()?;
        let mut hash = Xxh3::new();
        loop {
            let tag = self.array::<1>()?;
            match tag[0] {
                ITEM => {
                    // Kind of value, compression, keyspace.
                    let fixed: [u8; 10] = self.array()?;
                    let key: [u8; 2] = self.array()?;
                    let plain: [u8; 4] = self.array()?;
                    let held: [u8; 4] = self.array()?;
                    let fields: [&[u8]; 5] = [&tag, &fixed, &key, &plain, &held];
                    fields.iter().for_each(|field| hash.update(field));
                    self.hash(
                        u64::from(u16::from_le_bytes(key)) + u64::from(u32::from_le_bytes(held)),
                        &mut hash,
                    )?;
                }
                CLEAR => {
                    hash.update(&tag);
                    self.hash(8, &mut hash)?;
                }
                END => {
                    let checksum = u64::from_le_bytes(self.array()?);
                    return Ok(match self.array()? {
                        TRAILER if items == 0 && checksum == hash.digest() => Batch::Whole,
                        TRAILER => Batch::Wrong(begins..self.at),
                        _ => Batch::None,
                    });
                }
                _ => return Ok(Batch::None),
            }
            match items.checked_sub(1) {
                Some(left) => items = left,
                None => return Ok(Batch::Wrong(begins..self.at)),
            }
        }
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut array = [0; N];
        self.bytes.read_exact(&mut array)?;
        self.at += N as u64;
        Ok(array)
    }

    /// Hashes what comes next, which may be as long as it says, in pieces.
    fn hash(&mut self, mut bytes: u64, hash: &mut Xxh3) -> io::Result<()> {
        while bytes > 0 {
            let held = self.bytes.fill_buf()?;
            if held.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let taken = held.len().min(usize::try_from(bytes).unwrap_or(usize::MAX));
            hash.update(&held[..taken]);
            self.bytes.consume(taken);
            self.at += taken as u64;
            bytes -= taken as u64;
        }
        Ok(())
    }
}

/// `true` if a whole sector of this range is zeros.
fn lacks_a_sector(mut journal: File, range: Range<u64>) -> io::Result<bool> {
    let mut at = range.start.next_multiple_of(SECTOR_BYTES);
    journal.seek(SeekFrom::Start(at))?;
    let mut journal = BufReader::new(journal);
    let mut sector = [0; SECTOR_BYTES as usize];
    while at + SECTOR_BYTES <= range.end {
        journal.read_exact(&mut sector)?;
        if sector == [0; SECTOR_BYTES as usize] {
            return Ok(true);
        }
        at += SECTOR_BYTES;
    }
    Ok(false)
}
