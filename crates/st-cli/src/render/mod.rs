//! What people see: tables, excerpts, progress, messages.

mod log;
mod preview;
mod progress;
mod steps;
mod table;

use std::io::{self, Write};

use crate::failure::{Failure, Result};

pub(crate) use log::Log;
pub(crate) use preview::Preview;
pub(crate) use progress::{Downloads, Progress};
pub(crate) use steps::Steps;
pub(crate) use table::{Align, Table, shorten};

/// Writes a whole text to standard output.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| Failure::io("write", "standard output", &error))
}
