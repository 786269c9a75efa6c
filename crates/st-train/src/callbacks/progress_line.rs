//! [`ProgressLine`].

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::Result;

use super::{Callback, Event};

/// Time between two updates.
const PAUSE: Duration = Duration::from_millis(200);

/// One line on standard error that shows step, loss, learning rate, speed and the time that is left; nothing where that is
/// no terminal.
///
/// ```
/// use st_train::callbacks::{Callback, ProgressLine};
/// assert_eq!(ProgressLine::new().name(), "ProgressLine");
/// ```
#[derive(Debug, Default)]
pub struct ProgressLine {
    last: Option<Instant>,
}

impl ProgressLine {
    /// A line that has shown nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Shows a text in place of the one before, where standard error is a terminal.
    pub(crate) fn show(text: &str) {
        let mut stderr = std::io::stderr().lock();
        if stderr.is_terminal() {
            // What cannot be shown is no reason to stop.
            drop(write!(stderr, "\r\x1b[K{text}").and_then(|()| stderr.flush()));
        }
    }
}

/// Hours, minutes and seconds.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

impl Callback for ProgressLine {
    fn name(&self) -> &'static str {
        "ProgressLine"
    }

    fn on_step_end(&mut self, event: &mut Event<'_>) -> Result<()> {
        if self.last.is_some_and(|last| last.elapsed() < PAUSE) {
            return Ok(());
        }
        self.last = Some(Instant::now());
        let (state, speed) = (event.state, event.speed);
        Self::show(&format!(
            "step {} of {}, loss {:.4}, learning rate {:.2e}, {:.1} rows/s, {} left",
            state.global_step,
            state.max_steps,
            event.loss.unwrap_or(f64::NAN),
            event.learning_rate,
            speed.rows_per_second(),
            speed.left().map_or_else(|| "?".to_owned(), clock)
        ));
        Ok(())
    }

    fn on_train_end(&mut self, _: &mut Event<'_>) -> Result<()> {
        Self::show("");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        assert_eq!([59, 3599, 3661].map(|seconds| clock(Duration::from_secs(seconds))), ["0:59", "59:59", "1:01:01"]);
    }
}
