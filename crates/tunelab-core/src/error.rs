//! The one error type: what a person reads when something is wrong, and the exit code that goes with it.
//!
//! In: a message that names the file, key or tensor; optionally the causes below it and a remedy. Out: the text
//! `error: …`, `caused by: …`, `hint: …` that `main` prints, and exit code 2 (wrong input), 1 (a run failed) or
//! that of the signal which asked to stop.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Errors that are listed in one; more would fill the screen many times over.
const MAX_LISTED: usize = 20;

/// What kind of failure this is; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// The input is wrong: a file, key, image, weight or argument. Exit code 2.
    Input,
    /// A run that was rightly asked for failed: disk full, network gone, loss not finite. Exit code 1.
    Run,
    /// It was asked to stop. The exit code is the signal's.
    Interrupted(Stop),
}

/// The signal that asked to stop. A shell gives a process that a signal ended 128 and its number as exit code: so does this program,
/// though it ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stop {
    /// SIGHUP, a terminal that is closed: 129.
    HangUp,
    /// SIGINT, Ctrl-C: 130.
    Interrupt,
    /// SIGTERM, from `kill`, docker stop, a batch system or systemd: 143.
    Terminate,
    /// SIGUSR1, from a batch system some time before it ends a job that will be run again: 138.
    User,
}

impl Stop {
    /// Every signal that is listened to.
    pub const ALL: [Self; 4] = [Self::HangUp, Self::Interrupt, Self::Terminate, Self::User];

    /// The process exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::HangUp => 129,
            Self::Interrupt => 130,
            Self::Terminate => 143,
            Self::User => 138,
        }
    }

    /// As `kill` and batch systems spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::HangUp => "SIGHUP",
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
            Self::User => "SIGUSR1",
        }
    }
}

/// An error with its message, its causes (outermost first) and a remedy; one process can tell it to another.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Error {
    kind: Kind,
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
}

/// The crate's result.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Wrong input: exit code 2.
    pub fn input(message: impl Into<String>) -> Self {
        Self::new(Kind::Input, message)
    }

    /// A failed run: exit code 1.
    pub fn run(message: impl Into<String>) -> Self {
        Self::new(Kind::Run, message)
    }

    /// Several errors of one kind as one, under a message that says how many they are, with the first one's remedy; a single one as it
    /// is. `None` of none.
    pub fn several(errors: Vec<Self>, message: impl FnOnce(usize) -> String) -> Option<Self> {
        let count = errors.len();
        if count < 2 {
            return errors.into_iter().next();
        }
        let mut causes: Vec<String> = errors.iter().take(MAX_LISTED).map(Self::line).collect();
        if count > MAX_LISTED {
            causes.push(format!("and {} more", count - MAX_LISTED));
        }
        let first = errors.into_iter().next()?;
        Some(Self { message: message(count), causes, ..first })
    }

    /// Asked to stop: exit code 129, 130, 138 or 143.
    pub fn interrupted(by: Stop) -> Self {
        let message = match by {
            Stop::Interrupt => "interrupted".to_owned(),
            Stop::HangUp | Stop::Terminate | Stop::User => format!("interrupted by {}", by.name()),
        };
        Self::new(Kind::Interrupted(by), message)
    }

    fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), causes: Vec::new(), hint: None }
    }

    /// Adds a cause: printed below the message as `caused by: …`.
    #[must_use]
    pub fn cause(mut self, cause: impl fmt::Display) -> Self {
        self.causes.push(cause.to_string());
        self
    }

    /// Sets the remedy: printed last as `hint: …`.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds something to the remedy.
    #[must_use]
    pub fn also(mut self, hint: &str) -> Self {
        self.hint = Some(self.hint.map_or_else(|| hint.to_owned(), |first| format!("{first}; {hint}")));
        self
    }

    /// Message and causes on one line, for a warning.
    pub fn line(&self) -> String {
        let parts = [&self.message].into_iter().chain(&self.causes);
        parts.map(|part| part.lines().map(str::trim).collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join(": ")
    }

    /// Puts a wider message on top; the old message becomes the first cause. Kind and hint stay.
    #[must_use]
    pub fn context(mut self, message: impl Into<String>) -> Self {
        let inner = std::mem::replace(&mut self.message, message.into());
        self.causes.insert(0, inner);
        self
    }

    /// The kind of failure.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether it is no failure: something asked to stop.
    pub fn is_interrupted(&self) -> bool {
        matches!(self.kind, Kind::Interrupted(_))
    }

    /// The message without causes and hint.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The remedy.
    pub fn remedy(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The process exit code: 2, 1 or that of a signal.
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Input => 2,
            Kind::Run => 1,
            Kind::Interrupted(by) => by.exit_code(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        for cause in &self.causes {
            write!(f, "\n  caused by: {cause}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n\nhint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// A tensor operation failed inside a run (shapes are checked before, so this is a fault or no memory).
impl From<candle_core::Error> for Error {
    fn from(e: candle_core::Error) -> Self {
        let text = e.to_string();
        if !is_out_of_memory(&text) {
            return Self::run("a tensor operation failed").cause(text);
        }
        let remedies =
            "a smaller train.batch_size, train.gradient_checkpointing = true or train.dtype = \"bf16\" need less";
        Self::run("the GPU's memory is full").cause(text.lines().next().unwrap_or_default()).hint(remedies)
    }
}

/// Whether a GPU's driver or library says that its memory is full.
fn is_out_of_memory(text: &str) -> bool {
    ["OUT_OF_MEMORY", "ALLOC_FAILED", "ALLOCATION_FAILED", "out of memory"].iter().any(|word| text.contains(word))
}

/// Whether there is no room to write: on the disk, in the user's quota, or under the shell's limit on files.
pub fn is_full(e: &std::io::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(e.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// Reading or writing failed; `fs_err` puts the path into the text.
impl From<std::io::Error> for Error {
    fn from(e: std::io::Error) -> Self {
        let error = Self::run(e.to_string());
        if is_full(&e) { error.hint("the disk is full; free some space and run the same command again") } else { error }
    }
}
