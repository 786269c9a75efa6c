//! [`Failure`]: why a command ended, as a person reads it and as a shell sees it.

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::process::ExitCode;

/// The result of anything a command does.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// How a command ended. `--help` lists the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// All is done.
    Done = 0,
    /// It failed.
    Error = 1,
    /// The command line itself is wrong.
    Usage = 2,
    /// It went to the end, but some rows were damaged.
    DamagedRows = 3,
    /// Ctrl-C.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What went wrong, the chain of its causes, and what to do about it.
#[derive(Debug)]
pub(crate) struct Failure {
    /// `None` when whoever read our output has gone: nothing is said then.
    exit: Option<Exit>,
    message: String,
    causes: Vec<String>,
    hints: Vec<String>,
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { exit: Some(Exit::Error), message: message.into(), causes: Vec::new(), hints: Vec::new() }
    }

    /// The command line asks for something that makes no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { exit: Some(Exit::Usage), ..Self::new(message) }
    }

    pub(crate) fn interrupted() -> Self {
        Self { exit: Some(Exit::Interrupted), ..Self::new("interrupted") }
    }

    /// `what` could not be done to `name`, a file or a stream.
    pub(crate) fn io(what: &str, name: impl fmt::Display, error: &io::Error) -> Self {
        let failure = Self::new(format!("cannot {what} {name}")).with_cause(error);
        let hint = match error.kind() {
            ErrorKind::BrokenPipe => return Self { exit: None, ..failure },
            ErrorKind::NotFound => "check the path",
            ErrorKind::PermissionDenied => "check the permissions of the file and its folder",
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "free some space, or write elsewhere",
            _ => return failure,
        };
        failure.with_hint(hint)
    }

    /// As [`Failure::io`], for a path.
    pub(crate) fn path(what: &str, path: &Path, error: &io::Error) -> Self {
        Self::io(what, path.display(), error)
    }

    /// Adds a cause and the causes under it, without saying the same twice.
    pub(crate) fn with_cause(mut self, cause: &(dyn Error + 'static)) -> Self {
        let mut next = Some(cause);
        while let Some(error) = next {
            let text = error.to_string();
            let said = self.causes.last().unwrap_or(&self.message);
            if !said.contains(&text) {
                self.causes.push(text);
            }
            next = error.source();
        }
        self
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Says it on stderr; gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        let Some(exit) = self.exit else { return Exit::Done.into() };
        eprint!("{self}");
        exit.into()
    }
}

/// Every line of it, as stderr shows them.
impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "error: {}", self.message)?;
        for cause in &self.causes {
            writeln!(formatter, "caused by: {cause}")?;
        }
        self.hints.iter().try_for_each(|hint| writeln!(formatter, "hint: {hint}"))
    }
}

impl From<sentence_transformers::Error> for Failure {
    fn from(error: sentence_transformers::Error) -> Self {
        let mut failure = Self::new(error.to_string());
        if let Some(cause) = error.source() {
            failure = failure.with_cause(cause);
        }
        match error.hint() {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    }
}

impl From<sentence_transformers::VectorError> for Failure {
    fn from(error: sentence_transformers::VectorError) -> Self {
        let failure = Self::new(error.to_string());
        match error.hint() {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    }
}

impl From<sentence_transformers::hub::HubError> for Failure {
    fn from(error: sentence_transformers::hub::HubError) -> Self {
        sentence_transformers::Error::from(error).into()
    }
}

impl From<st_eval::EvalError> for Failure {
    fn from(error: st_eval::EvalError) -> Self {
        // The way out is with the error at the bottom.
        let hint = match &error {
            st_eval::EvalError::Hub(error) => error.hint().map(str::to_owned),
            st_eval::EvalError::Vectors(error) => error.hint(),
            st_eval::EvalError::Model { source, .. } => {
                source.downcast_ref::<sentence_transformers::Error>().and_then(|error| error.hint().map(str::to_owned))
            }
            _ => None,
        };
        let failure = Self::new(error.to_string()).with_cause(&error);
        match hint {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    }
}

impl From<st_train::TrainError> for Failure {
    fn from(error: st_train::TrainError) -> Self {
        let failure = Self::new(error.to_string()).with_cause(&error);
        match error.hint() {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_causes_and_hint_have_a_line_each() {
        let error = io::Error::from(ErrorKind::StorageFull);
        let text = Failure::io("write", "a.npy", &error).to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "error: cannot write a.npy");
        assert!(lines[1].starts_with("caused by: "), "{text}");
        assert_eq!(lines[2], "hint: free some space, or write elsewhere");
    }

    #[test]
    fn a_broken_pipe_is_no_failure() {
        let failure = Failure::io("write", "standard output", &io::Error::from(ErrorKind::BrokenPipe));
        assert_eq!(failure.exit, None);
    }

    #[test]
    fn a_cause_that_repeats_the_message_is_left_out() {
        let cause = io::Error::other("disk on fire");
        assert!(Failure::new("failed: disk on fire").with_cause(&cause).causes.is_empty());
    }
}
