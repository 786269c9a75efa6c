//! Ctrl-C: at once while nothing is at stake, at the next safe point while rows are being written.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::failure::{Exit, Failure, Result};

/// Whether someone looks at [`REQUESTED`].
static WATCHED: AtomicBool = AtomicBool::new(false);
static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Takes over Ctrl-C. Where that cannot be done, Ctrl-C goes on ending the process as the system does it.
pub(crate) fn install() {
    let handler = || {
        let again = REQUESTED.swap(true, Ordering::SeqCst);
        if again || !WATCHED.load(Ordering::SeqCst) {
            std::process::exit(Exit::Interrupted as i32);
        }
        eprintln!("stopping after the current chunk; press Ctrl-C again to stop at once");
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        log::info!("Ctrl-C cannot be handled: {error}");
    }
}

/// While this lives, Ctrl-C waits for [`Watch::check`].
#[derive(Debug)]
pub(crate) struct Watch(());

impl Watch {
    pub(crate) fn begin() -> Self {
        WATCHED.store(true, Ordering::SeqCst);
        Self(())
    }

    /// Whether Ctrl-C was pressed.
    pub(crate) fn is_requested(&self) -> bool {
        REQUESTED.load(Ordering::SeqCst)
    }

    /// # Errors
    /// When Ctrl-C was pressed.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_requested() { Err(Failure::interrupted()) } else { Ok(()) }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        WATCHED.store(false, Ordering::SeqCst);
    }
}
