//! A process killed while it commits and flushes: what it reported as flushed is there afterwards.
//!
//! The test runs itself as the process to kill.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use eidetica_backend_file::File;
use eidetica_kernel::backend::{Backend, Batch, Scan, for_each_row};

const FOLDER: &str = "EIDETICA_TEST_KILLED_FOLDER";
const ROUNDS: u32 = 12;

fn main() -> ExitCode {
    if let Some(folder) = std::env::var_os(FOLDER) {
        write_until_killed(Path::new(&folder));
    }
    // Test runners list a program's tests before they run it.
    if std::env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    for round in 0..ROUNDS {
        flushed_batches_survive_being_killed(round);
    }
    ExitCode::SUCCESS
}

/// A batch writes a row in two tables and its number; the value is larger now and then.
fn batch(number: u64) -> Batch {
    let mut batch = Batch::new();
    let key = |table: u8| [&[table], &number.to_be_bytes()[..]].concat();
    let length = if number.is_multiple_of(16) { 40_000 } else { 100 };
    batch
        .put(key(b'a'), vec![b'x'; length])
        .put(key(b'b'), "x")
        .put("count", (number + 1).to_be_bytes().to_vec());
    batch
}

fn count(backend: &File) -> u64 {
    let value = backend.get(b"count").expect("a readable row");
    value.map_or(0, |value| u64::from_be_bytes(value[..].try_into().expect("eight bytes")))
}

fn write_until_killed(folder: &Path) -> ! {
    let backend = File::open(folder).expect("a folder that nobody holds");
    let mut number = count(&backend);
    loop {
        for _ in 0..=number % 5 {
            backend.commit(batch(number)).expect("a commit");
            number += 1;
        }
        backend.flush().expect("a flush");
        writeln!(std::io::stdout(), "{number}").expect("the parent reads");
    }
}

fn flushed_batches_survive_being_killed(round: u32) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("data");
    let mut random = round.wrapping_mul(0x9e37_79b9) >> 8;
    for _ in 0..2 {
        let mut child = Command::new(std::env::current_exe().expect("this program's path"))
            .env(FOLDER, &path)
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child process");
        let mut lines = BufReader::new(child.stdout.take().expect("a piped output")).lines();
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let mut flushed = 0;
        for _ in 0..=(random >> 16) % 120 {
            flushed = lines.next().expect("a line").expect("a line").parse().expect("a number");
        }
        child.kill().expect("a running child");
        // What the pipe still holds was reported before the end.
        for line in lines.map_while(Result::ok) {
            flushed = line.parse().unwrap_or(flushed);
        }
        child.wait().expect("a child that ended");
        check(&path, flushed);
    }
}

fn check(path: &Path, flushed: u64) {
    let backend = File::open(path).expect("a folder that opens after a kill");
    let count = count(&backend);
    assert!(count >= flushed, "{flushed} batches were reported as flushed, {count} are there");
    for table in [b'a', b'b'] {
        let mut expected = 0_u64;
        let rows = |(key, _): (bytes::Bytes, bytes::Bytes)| {
            assert_eq!(key[1..], expected.to_be_bytes(), "rows of whole batches, in order");
            expected += 1;
            Ok(())
        };
        for_each_row(Scan::prefix(&[table]), |scan| backend.scan(scan), rows).expect("readable rows");
        assert_eq!(expected, count, "rows of table {}", char::from(table));
    }
}
