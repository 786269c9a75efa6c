//! [`Steps`]: how far training is: a bar on a terminal, a line per log elsewhere.

use std::time::Duration;

use indicatif::ProgressBar;
use serde_json::{Map, Value};
use st_train::callbacks::Speed;

use super::progress::{style, target};

/// The steps of a training run.
#[derive(Debug)]
pub(crate) struct Steps {
    bar: ProgressBar,
    quiet: bool,
}

impl Steps {
    pub(crate) fn new(quiet: bool) -> Self {
        let bar = ProgressBar::with_draw_target(None, target(quiet));
        Self { bar: bar.with_style(style("{bar:32} {pos} of {len} steps, {msg}")), quiet }
    }

    /// So many steps are to come, some of which an earlier run has done.
    pub(crate) fn begin(&self, steps: usize, done: usize) {
        self.bar.set_length(steps as u64);
        self.bar.set_position(done as u64);
        self.bar.reset_eta();
    }

    pub(crate) fn advance(&self, step: usize, loss: f64, rate: f64, speed: &Speed) {
        self.bar.set_position(step as u64);
        self.bar.set_message(line(loss, rate, speed));
    }

    /// A log: without a terminal, and unless nothing is to be said, a line.
    pub(crate) fn log(&self, step: usize, steps: usize, logs: &Map<String, Value>, speed: &Speed) {
        if !self.quiet && self.bar.is_hidden() {
            let number = |name: &str| logs.get(name).and_then(Value::as_f64).unwrap_or(f64::NAN);
            eprintln!("step {step} of {steps}, {}", line(number("loss"), number("learning_rate"), speed));
        }
    }

    /// Results of an evaluation: a line, above the bar where there is one.
    pub(crate) fn evaluated(&self, step: usize, metrics: &Map<String, Value>) {
        if self.quiet {
            return;
        }
        let is_result =
            |name: &str| name.starts_with("eval_") && !name.ends_with("_runtime") && !name.ends_with("_per_second");
        let shown: Vec<String> = metrics
            .iter()
            .filter(|(name, _)| is_result(name))
            .filter_map(|(name, value)| Some(format!("{name} {:.4}", value.as_f64()?)))
            .collect();
        let text = format!("step {step}: {}", shown.join(", "));
        if self.bar.is_hidden() { eprintln!("{text}") } else { self.bar.println(text) }
    }

    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        self.clear();
    }
}

fn line(loss: f64, rate: f64, speed: &Speed) -> String {
    let left = speed.left().map_or_else(|| "?".to_owned(), clock);
    format!("loss {loss:.4}, learning rate {rate:.2e}, {:.1} rows a second, {left} left", speed.rows_per_second())
}

/// `1:02:03`, or `2:03` below an hour.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_loss_rate_speed_and_time() {
        let speed = Speed { elapsed: Duration::from_secs(10), steps: 5, rows: 160, tokens: 0, steps_left: 100 };
        assert_eq!(line(0.5, 2e-5, &speed), "loss 0.5000, learning rate 2.00e-5, 16.0 rows a second, 3:20 left");
        assert_eq!(clock(Duration::from_secs(3723)), "1:02:03");
        assert!(line(0.5, 0.0, &Speed::default()).ends_with("? left"));
    }
}
