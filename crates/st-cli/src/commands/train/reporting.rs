//! [`Reporter`]: what a run tells while it goes: a line on stderr and a metrics file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Map, Value, json};
use st_train::callbacks::{Callback, Event};
use st_train::{Result, TrainError};

use crate::interrupt::Watch;
use crate::render::Steps;

/// Rows of the metrics file for the steps of a run, at most about.
const MOST_ROWS: usize = 10_000;
/// The metrics file in the output folder.
const METRICS: &str = "metrics.jsonl";

/// A callback of the trainer. Ctrl-C makes it save a checkpoint and end the run.
#[derive(Debug)]
pub(super) struct Reporter {
    folder: PathBuf,
    watch: Watch,
    /// Set when Ctrl-C ended the run.
    interrupted: Arc<AtomicBool>,
    steps: Steps,
    metrics: Option<File>,
    /// Steps whose losses make one row, and their sum so far.
    every: usize,
    sum: (f64, usize),
}

impl Reporter {
    /// Reports into a folder. `interrupted` becomes true when Ctrl-C ended the run.
    pub(super) fn new(folder: &Path, quiet: bool, interrupted: Arc<AtomicBool>) -> Self {
        Self {
            folder: folder.to_owned(),
            watch: Watch::begin(),
            interrupted,
            steps: Steps::new(quiet),
            metrics: None,
            every: 1,
            sum: (0.0, 0),
        }
    }

    /// Opens the metrics file; of an earlier run it keeps the rows up to the step that this one goes on from.
    fn open(&mut self, step: usize) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let path = self.folder.join(METRICS);
        let mut kept = Vec::new();
        if step > 0 && path.is_file() {
            for line in BufReader::new(File::open(&path)?).lines() {
                let line = line?;
                // A last line that was cut off when the run was killed is no row.
                let Ok(row) = serde_json::from_str::<Value>(&line) else { continue };
                if row["step"].as_u64().is_some_and(|at| at <= step as u64) {
                    kept.push(line);
                }
            }
        }
        let aside = path.with_extension("jsonl.new");
        fs::write(&aside, kept.iter().map(|line| format!("{line}\n")).collect::<String>())?;
        fs::rename(&aside, &path)?;
        self.metrics = Some(OpenOptions::new().append(true).open(&path)?);
        Ok(())
    }

    fn row(&mut self, row: &Value) -> Result<()> {
        let written = match &mut self.metrics {
            Some(file) => file.write_all(format!("{row}\n").as_bytes()),
            None => Ok(()),
        };
        written.map_err(|error| self.failed(error))
    }

    fn failed(&self, source: io::Error) -> TrainError {
        TrainError::File { action: "writing", path: self.folder.join(METRICS), source }
    }
}

impl Callback for Reporter {
    fn name(&self) -> &'static str {
        "Reporter"
    }

    fn on_train_begin(&mut self, event: &mut Event<'_>) -> Result<()> {
        self.every = event.state.max_steps.div_ceil(MOST_ROWS).max(1);
        self.steps.begin(event.state.max_steps, event.state.global_step);
        self.open(event.state.global_step).map_err(|error| self.failed(error))
    }

    fn on_step_end(&mut self, event: &mut Event<'_>) -> Result<()> {
        let (step, loss) = (event.state.global_step, event.loss.unwrap_or(f64::NAN));
        self.steps.advance(step, loss, event.learning_rate, &event.speed);
        self.sum = (self.sum.0 + loss, self.sum.1 + 1);
        if step.is_multiple_of(self.every) || step == event.state.max_steps {
            let (sum, count) = std::mem::take(&mut self.sum);
            let mut row = json!({
                "step": step,
                "epoch": event.state.epoch,
                "loss": sum / count as f64,
                "learning_rate": event.learning_rate,
            });
            if let Some(norm) = event.gradient_norm {
                row["grad_norm"] = norm.into();
            }
            self.row(&row)?;
        }
        if self.watch.is_requested() {
            self.interrupted.store(true, Ordering::SeqCst);
            event.control.should_save = true;
            event.control.should_training_stop = true;
        }
        Ok(())
    }

    fn on_log(&mut self, event: &mut Event<'_>, logs: &Map<String, Value>) -> Result<()> {
        if logs.contains_key("loss") {
            self.steps.log(event.state.global_step, event.state.max_steps, logs, &event.speed);
        }
        Ok(())
    }

    fn on_evaluate(&mut self, event: &mut Event<'_>, metrics: &Map<String, Value>) -> Result<()> {
        self.steps.evaluated(event.state.global_step, metrics);
        let mut row = Map::new();
        row.insert("step".into(), event.state.global_step.into());
        row.extend(metrics.iter().map(|(name, value)| (name.clone(), value.clone())));
        self.row(&Value::Object(row))
    }

    fn on_train_end(&mut self, _: &mut Event<'_>) -> Result<()> {
        self.steps.clear();
        Ok(())
    }
}
