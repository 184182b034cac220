//! What is written for the caller: answers to stdout; errors, progress and the log to stderr.

use std::io::{ErrorKind, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tracing_subscriber::EnvFilter;

use crate::args::LogFormat;
use crate::failure::Failure;
use crate::request::{Progress, Reply};

/// How answers are written.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    /// As JSON.
    pub(crate) json: bool,
}

impl Output {
    /// Writes an answer.
    pub(crate) fn reply(self, reply: &Reply) -> Result<(), Failure> {
        if self.json && !reply.value.is_null() {
            self.line(&reply.value.to_string())
        } else if reply.text.is_empty() {
            Ok(())
        } else {
            self.line(&reply.text)
        }
    }

    /// Writes text and a line break, and sees to it that it has left.
    pub(crate) fn line(self, text: &str) -> Result<(), Failure> {
        self.piece(&format!("{text}\n"))
    }

    /// Writes text as it is.
    pub(crate) fn piece(self, text: &str) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        written.map_err(|error| Failure {
            unread: error.kind() == ErrorKind::BrokenPipe,
            ..Failure::failed(format_args!("writing the answer: {error}"))
        })
    }

    /// Writes an error to stderr; with `--json` as `{"error":{"code":…,"message":…}}`.
    pub(crate) fn failure(self, failure: &Failure) {
        let text = if self.json {
            json!({ "error": { "code": failure.exit as u8, "message": failure.message } }).to_string()
        } else {
            format!("error: {failure}")
        };
        // With stderr closed, the exit code still says it.
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    /// A bar for people who watch; nothing where stderr is no terminal.
    pub(crate) fn bar(self) -> Bar {
        let shown = !self.json && std::io::stderr().is_terminal();
        Bar { bar: None, shown }
    }
}

/// Progress, shown while a command takes long.
pub(crate) struct Bar {
    bar: Option<ProgressBar>,
    shown: bool,
}

impl Bar {
    pub(crate) fn show(&mut self, progress: &Progress) {
        if !self.shown {
            return;
        }
        let bar = self.bar.get_or_insert_with(ProgressBar::no_length);
        let style = match (progress.total, &progress.unit[..]) {
            (Some(_), "bytes") => "{msg} {wide_bar} {bytes}/{total_bytes} {eta}",
            (Some(_), _) => "{msg} {wide_bar} {human_pos}/{human_len} {eta}",
            (None, "bytes") => "{spinner} {msg} {bytes} {bytes_per_sec}",
            (None, _) => "{spinner} {msg} {human_pos}",
        };
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        if let Some(total) = progress.total {
            bar.set_length(total);
        }
        bar.set_message(progress.what.clone());
        bar.set_position(progress.done);
    }

    pub(crate) fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// Sends the log to stderr: what `RUST_LOG` asks for, else what a node has to say, and nothing for a command.
pub(crate) fn trace(format: LogFormat, serves: bool) -> Result<(), Failure> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(directives) if !directives.is_empty() => EnvFilter::try_new(&directives)
            .map_err(|error| Failure::usage(format_args!("RUST_LOG={directives}: {error}")))?,
        _ => EnvFilter::new(if serves { "info,fjall=warn,lsm_tree=warn" } else { "off" }),
    };
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let set = match format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => log.json().try_init(),
    };
    // Whoever calls main() from a program of their own may have set one up: theirs stays.
    drop(set);
    Ok(())
}
