//! Running the program.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest wait for something that happens by itself.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A data folder that isn't there yet, gone with this.
pub(crate) struct Home {
    _root: tempfile::TempDir,
    pub(crate) data: PathBuf,
    /// What names it on the command line.
    named: [String; 2],
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Done {
    /// What it printed, if it succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out.trim_end_matches('\n').to_owned()
    }

    /// What it complained of, if it ended with that code.
    #[track_caller]
    pub(crate) fn fails(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.err.starts_with("error: "), "{self:?}");
        self.err
    }
}

impl Home {
    pub(crate) fn new() -> Self {
        Self::below("data")
    }

    pub(crate) fn below(path: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().canonicalize().unwrap().join(path);
        let named = ["--data".to_owned(), data.to_str().unwrap().to_owned()];
        Self { _root: root, data, named }
    }

    /// From now on a config file says everything, the data folder included.
    pub(crate) fn configure(&mut self, config: &str) {
        let file = self.file("node.toml", &format!("[default.node]\ndata_dir = {:?}\n{config}", self.data));
        self.named = ["--config".to_owned(), file];
    }

    /// A file beside the data folder.
    pub(crate) fn file(&self, name: &str, content: &str) -> String {
        let path = self._root.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        program(&self.named.each_ref().map(String::as_str), args)
    }

    pub(crate) fn run(&self, args: &[&str]) -> Done {
        finish(self.command(args).stdin(Stdio::null()))
    }

    /// What a command prints that succeeds.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        self.run(args).ok()
    }

    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let mut all = vec!["--json"];
        all.extend(args);
        serde_json::from_str(&self.ok(&all)).unwrap()
    }

    pub(crate) fn run_with_input(&self, args: &[&str], input: &str) -> Done {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The program may end before it has read everything.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        done(child)
    }

    /// Asks until the answer is `wanted`.
    #[track_caller]
    pub(crate) fn until(&self, args: &[&str], wanted: &str) {
        let begun = Instant::now();
        loop {
            let done = self.run(args);
            if done.code == Some(0) && done.out.trim_end() == wanted {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{args:?} never answered {wanted}: {done:?}");
        }
    }

    #[track_caller]
    pub(crate) fn serve(&self) -> Serving {
        self.serve_with(&[])
    }

    #[track_caller]
    pub(crate) fn serve_at(&self, listen: &str) -> Serving {
        self.serve_with(&["--listen", listen])
    }

    /// Starts a node, and waits for it to say that it is ready.
    #[track_caller]
    fn serve_with(&self, args: &[&str]) -> Serving {
        let mut child = self
            .command(&[&["serve"], args].concat())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = Vec::new();
        for line in lines {
            let line = line.unwrap();
            if line == "ready" {
                break;
            }
            said.push(line);
        }
        let of = |name: &str| {
            let line = said.iter().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("no {name} in {said:?}")).trim().to_owned()
        };
        Serving { key: of("key "), address: of("address "), child }
    }
}

/// A node that runs; killed if nobody stops it.
pub(crate) struct Serving {
    pub(crate) key: String,
    pub(crate) address: String,
    child: Child,
}

impl Serving {
    /// Asks it to stop, as service managers do, and returns its exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        let asked = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(asked.success());
        self.child.wait().unwrap().code()
    }

    /// Ends it as a power failure would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn program(named: &[&str], args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eidetica"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("EIDETICA_") {
            command.env_remove(name);
        }
    }
    command.env_remove("RUST_LOG").args(named).args(args);
    command
}

pub(crate) fn finish(command: &mut Command) -> Done {
    done(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

pub(crate) fn done(child: Child) -> Done {
    let output = child.wait_with_output().unwrap();
    Done {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}
