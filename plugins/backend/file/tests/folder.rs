//! The folder: who may enter, who holds it, and what is said when it is damaged or full.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use eidetica_backend_file::{Durability, FILE, File, Options};
use eidetica_kernel::ErrorKind;
use eidetica_kernel::backend::{Backend, Batch};
use eidetica_kernel::registry::OpenContext;

fn put(key: &'static str, value: &'static str) -> Batch {
    let mut batch = Batch::new();
    batch.put(key, value);
    batch
}

#[cfg(unix)]
#[test]
fn nobody_else_may_read_the_folder_and_its_files() {
    use std::os::unix::fs::PermissionsExt as _;
    fn check(path: &Path) {
        let mode = fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let expected = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode, expected, "mode {mode:o} of {}", path.display());
        if path.is_dir() {
            fs::read_dir(path).unwrap().for_each(|entry| check(&entry.unwrap().path()));
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/data");
    let backend = File::open(&path).unwrap();
    check(&path);
    backend.commit(put("a", "1")).unwrap();
    backend.close().unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let _backend = File::open(&path).unwrap();
    check(&path);
}

#[test]
fn a_second_opener_is_told_that_the_folder_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let first = File::open(folder.path()).unwrap();
    let error = File::open(folder.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse);
    assert!(error.to_string().contains(&folder.path().display().to_string()), "{error}");
    let snapshot = first.snapshot().unwrap();
    drop(first);
    File::open(folder.path()).unwrap();
    assert_eq!(snapshot.get(b"a").unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn a_file_in_the_folders_place_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    fs::write(&path, "not a folder").unwrap();
    let error = File::open(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.reason().contains("it is a file"), "{error}");
    assert!(File::open(path.join("below")).is_err());
    assert_eq!(fs::read(&path).unwrap(), b"not a folder");
}

#[test]
fn an_interrupted_creation_is_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("rows.new/keyspaces")).unwrap();
    fs::write(folder.path().join("rows.new/0.jnl"), [0; 100]).unwrap();
    let backend = File::open(folder.path()).unwrap();
    backend.commit(put("a", "1")).unwrap();
    assert!(!folder.path().join("rows.new").exists());
}

type Damage = fn(&Path);

#[test]
fn damage_is_an_error_and_never_an_empty_database() {
    let damages: [(&str, Damage); 7] = [
        ("version missing", |rows| fs::remove_file(rows.join("version")).unwrap()),
        ("version overwritten", |rows| fs::write(rows.join("version"), "rubbish").unwrap()),
        ("keyspaces missing", |rows| fs::remove_dir_all(rows.join("keyspaces")).unwrap()),
        ("a stray journal", |rows| fs::write(rows.join("x.jnl"), "").unwrap()),
        ("a folder named as a journal", |rows| fs::create_dir(rows.join("7.jnl")).unwrap()),
        ("a wrong byte in the journal", |rows| {
            let mut journal = fs::read(rows.join("1.jnl")).unwrap();
            let value = journal.windows(2).position(|bytes| bytes == b"a1").unwrap() + 1;
            journal[value] ^= 1;
            fs::write(rows.join("1.jnl"), journal).unwrap();
        }),
        ("a stray folder", |rows| fs::create_dir(rows.join("keyspaces/stray")).unwrap()),
    ];
    for (what, damage) in damages {
        let folder = tempfile::tempdir().unwrap();
        let backend = File::open(folder.path()).unwrap();
        backend.commit(put("a", "1")).unwrap();
        backend.close().unwrap();
        damage(&folder.path().join("rows"));
        let error = File::open(folder.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
    }
}

#[test]
fn a_torn_journal_loses_its_torn_batch_alone() {
    let folder = tempfile::tempdir().unwrap();
    let backend = File::open(folder.path()).unwrap();
    for key in ["a", "b"] {
        backend.commit(put(key, "1")).unwrap();
    }
    drop(backend);
    // Opening cuts the journal to its last whole batch; what is appended then is the torn one.
    drop(File::open(folder.path()).unwrap());
    let journal = folder.path().join("rows/1.jnl");
    let whole = fs::metadata(&journal).unwrap().len();
    let backend = File::open(folder.path()).unwrap();
    backend.commit(put("c", "1")).unwrap();
    drop(backend);
    let file = fs::OpenOptions::new().write(true).open(&journal).unwrap();
    let longer = file.metadata().unwrap().len();
    assert!(longer > whole, "the batch was appended");
    file.set_len(longer - 3).unwrap();
    drop(file);
    let backend = File::open(folder.path()).unwrap();
    let found = backend.get_many(&[b"a", b"b", b"c"]).unwrap();
    assert_eq!(found.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, false]);
}

#[test]
fn a_full_disk_refuses_the_commit_and_keeps_the_data() {
    let folder = tempfile::tempdir().unwrap();
    let backend = File::open(folder.path()).unwrap();
    backend.commit(put("a", "1")).unwrap();
    backend.close().unwrap();
    let options = Options { path: folder.path().into(), free_bytes_min: u64::MAX, ..Options::default() };
    let full = File::open_with(options).unwrap();
    let error = full.commit(put("b", "1")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    full.flush().unwrap();
    assert!(full.get(b"a").unwrap().is_some() && full.get(b"b").unwrap().is_none());
    drop(full);
    let again = File::open(folder.path()).unwrap();
    again.commit(put("b", "1")).unwrap();
    assert!(again.get(b"a").unwrap().is_some());
}

#[test]
fn eventual_durability_is_declared_and_keeps_commits_of_a_closed_backend() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        path: folder.path().into(),
        durability: Durability::Eventual,
        sync_interval_ms: 3_600_000,
        ..Options::default()
    };
    let backend = File::open_with(options).unwrap();
    assert!(!backend.capabilities().durable);
    backend.commit(put("a", "1")).unwrap();
    backend.flush().unwrap();
    backend.close().unwrap();
    assert_eq!(backend.flush().unwrap_err().kind(), ErrorKind::Closed);
    assert!(File::open(folder.path()).unwrap().get(b"a").unwrap().is_some());
}

#[test]
fn options_are_decoded_strictly_and_paths_are_relative_to_the_data_folder() {
    let parse = |json: &str| {
        let mut json = serde_json::Deserializer::from_str(json);
        (FILE.parse)(&mut <dyn erased_serde::Deserializer<'_>>::erase(&mut json))
    };
    let folder = tempfile::tempdir().unwrap();
    let context = OpenContext { data_dir: Some(folder.path().into()) };
    let backend: Arc<dyn Backend> = parse(r#"{"path": "rows"}"#).unwrap().open(&context).unwrap();
    backend.commit(put("a", "1")).unwrap();
    assert!(folder.path().join("rows/lock").exists());
    assert_eq!(parse(r#"{"durability": "never"}"#).unwrap_err().path, "durability");
    assert!(parse(r#"{"pth": "x"}"#).is_err());
}
