//! The error every plugin speaks: what was being done, to what, why it failed, what to do next.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::sync_error::SyncError;

/// Result of a kernel or plugin operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// At most `chars_max` characters of text that somebody gave, quoted and escaped, fit for an error or a log line.
///
/// A precision in a format string (`{text:.80?}`) doesn't shorten quoted text.
///
/// ```
/// use eidetica_kernel::error::excerpt;
///
/// assert_eq!(excerpt("a\nb", 80).to_string(), r#""a\nb""#);
/// assert_eq!(excerpt(&"x".repeat(1_000), 3).to_string(), r#""xxx"…"#);
/// ```
pub fn excerpt(text: &str, chars_max: usize) -> impl fmt::Display {
    let end = text.char_indices().nth(chars_max).map_or(text.len(), |(end, _)| end);
    fmt::from_fn(move |f| {
        write!(f, "{:?}", &text[..end])?;
        if end < text.len() { f.write_str("…") } else { Ok(()) }
    })
}

/// What went wrong, as a category a program can branch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// What was asked for isn't there.
    NotFound,
    /// An argument, option, file or message is malformed.
    InvalidInput,
    /// A length, count or depth is over a limit of the format or of the configuration.
    LimitExceeded,
    /// A batch's precondition didn't hold: somebody else wrote first.
    Conflict,
    /// A snapshot, invite or session is too old to be served.
    Expired,
    /// Stored bytes aren't what was written.
    Corrupt,
    /// The disk, or a quota, is full.
    Full,
    /// Reading or writing failed below us.
    Io,
    /// The resource is held by somebody else: a lock, a port.
    InUse,
    /// Used after it was closed.
    Closed,
    /// Nobody answers at that address.
    Unreachable,
    /// It took longer than allowed.
    Timeout,
    /// The other side broke the protocol.
    Protocol,
    /// Rights don't allow it.
    PermissionDenied,
    /// This build, plugin or peer can't do that.
    Unsupported,
    /// An invariant of ours was broken.
    Bug,
}

/// Whether trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same call will fail the same way.
    Never,
    /// The same call may succeed at once, on fresh data.
    Now,
    /// The same call may succeed after this long.
    After(Duration),
}

/// Who has to change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The caller passed something wrong.
    Caller,
    /// The peer misbehaved.
    Peer,
    /// The machine, disk or network failed.
    Environment,
    /// We did.
    Bug,
}

/// An error with its context.
///
/// ```
/// use eidetica_kernel::{Error, ErrorKind, Retry};
///
/// let error = Error::new(ErrorKind::InUse, "opening", "/var/lib/notes", "another node holds the lock")
///     .hint("stop that node, or choose another folder");
/// assert_eq!(
///     error.to_string(),
///     "opening /var/lib/notes: another node holds the lock (stop that node, or choose another folder)"
/// );
/// assert_eq!(error.retry(), Retry::Never);
/// ```
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    retry: Retry,
    fault: Fault,
    operation: Cow<'static, str>,
    subject: String,
    reason: String,
    hint: Option<Cow<'static, str>>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind`: what was being done (`operation`, a participle), to what (`subject`), and why it failed.
    pub fn new(
        kind: ErrorKind,
        operation: impl Into<Cow<'static, str>>,
        subject: impl fmt::Display,
        reason: impl fmt::Display,
    ) -> Self {
        let (retry, fault) = match kind {
            ErrorKind::Conflict | ErrorKind::Expired => (Retry::Now, Fault::Environment),
            ErrorKind::Unreachable | ErrorKind::Timeout => {
                (Retry::After(Duration::from_secs(1)), Fault::Environment)
            }
            ErrorKind::Io | ErrorKind::Full | ErrorKind::Corrupt => (Retry::Never, Fault::Environment),
            ErrorKind::Protocol => (Retry::Never, Fault::Peer),
            ErrorKind::Bug => (Retry::Never, Fault::Bug),
            _ => (Retry::Never, Fault::Caller),
        };
        Self(Box::new(Inner {
            kind,
            retry,
            fault,
            operation: operation.into(),
            subject: subject.to_string(),
            reason: reason.to_string(),
            hint: None,
            source: None,
        }))
    }

    /// What to do next, in a few words.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Replaces what the kind implies about retrying.
    #[must_use]
    pub fn retrying(mut self, retry: Retry) -> Self {
        self.0.retry = retry;
        self
    }

    /// Replaces what the kind implies about who is at fault.
    #[must_use]
    pub fn blame(mut self, fault: Fault) -> Self {
        self.0.fault = fault;
        self
    }

    /// The error underneath.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(Arc::from(source.into()));
        self
    }

    /// The category.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether trying again can help.
    pub fn retry(&self) -> Retry {
        self.0.retry
    }

    /// Who has to change something.
    pub fn fault(&self) -> Fault {
        self.0.fault
    }

    /// What was being done, a participle: "opening". Empty for a [`SyncError`], whose reason says it in its own words.
    pub fn operation(&self) -> &str {
        &self.0.operation
    }

    /// What it was being done to: a path, key, peer, name.
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// Why it failed.
    pub fn reason(&self) -> &str {
        &self.0.reason
    }

    /// The sync error underneath, where there is one.
    pub fn sync_error(&self) -> Option<&SyncError> {
        self.0.source.as_deref().and_then(|source| source.downcast_ref())
    }

    /// `true` if [`Error::sync_error`] has something to say.
    pub fn is_sync_error(&self) -> bool {
        self.sync_error().is_some()
    }

    /// `true` if rights stand in the way.
    pub fn is_permission_denied(&self) -> bool {
        self.0.kind == ErrorKind::PermissionDenied
    }

    /// `true` if somebody else wrote first.
    pub fn is_conflict(&self) -> bool {
        self.0.kind == ErrorKind::Conflict
    }

    /// `true` if what was asked for isn't there.
    pub fn is_not_found(&self) -> bool {
        self.0.kind == ErrorKind::NotFound
    }

    /// An I/O error, its kind mapped: a full disk is [`ErrorKind::Full`], a missing file [`ErrorKind::NotFound`], ….
    pub fn io(
        operation: impl Into<Cow<'static, str>>,
        subject: impl fmt::Display,
        error: std::io::Error,
    ) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match error.kind() {
            Io::NotFound => ErrorKind::NotFound,
            Io::AddrInUse => ErrorKind::InUse,
            Io::StorageFull | Io::QuotaExceeded => ErrorKind::Full,
            Io::PermissionDenied => ErrorKind::PermissionDenied,
            Io::TimedOut => ErrorKind::Timeout,
            Io::ConnectionRefused
            | Io::ConnectionReset
            | Io::ConnectionAborted
            | Io::HostUnreachable
            | Io::NetworkUnreachable
            | Io::NotConnected => ErrorKind::Unreachable,
            _ => ErrorKind::Io,
        };
        Self::new(kind, operation, subject, &error).blame(Fault::Environment).caused_by(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { operation, subject, reason, hint, .. } = &*self.0;
        // Errors of sync say in their own words what was being done.
        if !operation.is_empty() {
            write!(f, "{operation}")?;
            if !subject.is_empty() {
                write!(f, " {subject}")?;
            }
            write!(f, ": ")?;
        }
        write!(f, "{reason}")?;
        if let Some(hint) = hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
