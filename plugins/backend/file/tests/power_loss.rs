//! Power fails while batches that nobody has confirmed are on their way to the disk: any of their blocks may be missing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use eidetica_backend_file::File;
use eidetica_kernel::backend::{Backend as _, Batch};

/// Disks write sectors, file systems blocks.
const UNITS: [usize; 2] = [512, 4_096];
const ROUNDS: usize = 150;

/// Batches of two rows each, of all sizes up to many blocks.
fn batch(n: usize) -> Batch {
    let mut batch = Batch::new();
    let bytes = [1, 700, 5_000, 40_000, 300, 9_000][n % 6];
    batch.put(format!("{n:04}/a"), noise(bytes, n as u64));
    batch.put(format!("{n:04}/b"), noise(bytes / 3 + 1, n as u64 + 1_000));
    batch
}

fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut chance = Chance(seed);
    (0..bytes).map(|_| chance.below(256) as u8).collect()
}

struct Chance(u64);

impl Chance {
    /// SplitMix64 (Steele, Lea and Flood, 2014).
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

fn journal(folder: &Path) -> PathBuf {
    let names = fs::read_dir(folder.join("rows")).unwrap().map(|entry| entry.unwrap().path());
    let mut journals: Vec<PathBuf> =
        names.filter(|path| path.extension().is_some_and(|it| it == "jnl")).collect();
    assert_eq!(journals.len(), 1);
    journals.pop().unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false if entry.path().extension().is_some_and(|it| it == "jnl") => {}
            false => drop(fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

/// The first bytes of a file.
fn start(path: &Path, bytes: usize) -> Vec<u8> {
    let mut read = Vec::new();
    fs::File::open(path).unwrap().take(bytes as u64).read_to_end(&mut read).unwrap();
    read.resize(bytes, 0);
    read
}

/// How the journal of a folder looks once `confirmed` batches were flushed, and once `unconfirmed` more were written.
struct Written {
    folder: tempfile::TempDir,
    name: PathBuf,
    length: u64,
    flushed: Vec<u8>,
    written: Vec<u8>,
}

const BYTES_MAX: usize = 1 << 20;

fn write(again: bool, confirmed: usize, unconfirmed: usize) -> Written {
    let folder = tempfile::tempdir().unwrap();
    let mut backend = File::open(folder.path()).unwrap();
    if again {
        drop(backend);
        backend = File::open(folder.path()).unwrap();
    }
    for n in 0..confirmed {
        backend.commit(batch(n)).unwrap();
    }
    backend.flush().unwrap();
    let name = journal(folder.path());
    let flushed = start(&name, BYTES_MAX);
    for n in confirmed..confirmed + unconfirmed {
        backend.commit(batch(n)).unwrap();
    }
    let written = start(&name, BYTES_MAX);
    let length = fs::metadata(&name).unwrap().len();
    backend.close().unwrap();
    Written { folder, name, length, flushed, written }
}

impl Written {
    /// What a disk holds that got some of the units which the unconfirmed batches touch.
    fn torn(&self, unit: usize, chance: &mut Chance) -> Vec<u8> {
        let mut held = self.flushed.clone();
        let share = 1 + chance.below(9);
        for (held, written) in held.chunks_mut(unit).zip(self.written.chunks(unit)) {
            if held != written && chance.below(10) < share {
                held.copy_from_slice(written);
            }
        }
        held
    }
}

#[test]
fn blocks_that_never_reached_the_disk_take_nothing_confirmed_along() {
    const CONFIRMED: usize = 7;
    const UNCONFIRMED: usize = 6;
    for again in [false, true] {
        let before = write(again, CONFIRMED, UNCONFIRMED);
        let (mut lost, mut kept) = (0, 0);
        for round in 0..ROUNDS {
            let mut chance = Chance(round as u64);
            let held = before.torn(UNITS[round % 2], &mut chance);
            let crashed = tempfile::tempdir().unwrap();
            copy(before.folder.path(), crashed.path());
            let path = crashed.path().join("rows").join(before.name.file_name().unwrap());
            let mut file = fs::File::create(&path).unwrap();
            file.set_len(before.length).unwrap();
            file.seek(SeekFrom::Start(0)).unwrap();
            file.write_all(&held[..held.len().min(before.length as usize)]).unwrap();
            let backend = File::open(crashed.path()).unwrap_or_else(|error| panic!("round {round}: {error}"));
            let found: Vec<bool> = (0..CONFIRMED + UNCONFIRMED)
                .map(|n| {
                    let (a, b) = (format!("{n:04}/a"), format!("{n:04}/b"));
                    let rows = backend.get_many(&[a.as_bytes(), b.as_bytes()]).unwrap();
                    assert_eq!(rows[0].is_some(), rows[1].is_some(), "a batch is whole or not there");
                    rows[0].is_some()
                })
                .collect();
            assert!(found.is_sorted_by(|before, after| before >= after), "round {round}: {found:?}");
            let held = found.iter().filter(|held| **held).count();
            assert!(held >= CONFIRMED, "round {round}: {held}");
            lost += CONFIRMED + UNCONFIRMED - held;
            let names = fs::read_dir(crashed.path()).unwrap().map(|entry| entry.unwrap());
            for torn in names.filter(|entry| entry.file_name().to_string_lossy().starts_with("torn-")) {
                let bytes = torn.metadata().unwrap().len();
                assert!((1..BYTES_MAX as u64).contains(&bytes), "what was cut off is kept: {bytes}");
                kept += 1;
            }
            // What comes next is kept too.
            backend.commit(batch(99)).unwrap();
            backend.close().unwrap();
            assert!(File::open(crashed.path()).unwrap().get(b"0099/b").unwrap().is_some());
        }
        assert!(lost > ROUNDS, "power fails in the middle of batches: {lost}");
        assert!(kept > ROUNDS / 10, "sectors are missing inside of batches: {kept}");
    }
}
