//! [`LossChart`].

mod drawing;
mod font;
mod png;

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Result, TrainError};

use super::{Callback, Event};

/// Points of a curve, at most about; of longer runs a point is the mean of several steps.
const MOST_POINTS: usize = 1000;

/// Draws the training loss over the steps, and the evaluation loss where there is one, into a PNG file: whenever a
/// checkpoint is saved, and at the end. A run that goes on from a checkpoint goes on with its curves.
///
/// ```
/// use st_train::callbacks::{Callback, LossChart};
/// assert_eq!(LossChart::new("models/mine/loss.png").name(), "LossChart");
/// ```
#[derive(Debug)]
pub struct LossChart {
    path: PathBuf,
    /// Steps whose losses make one point.
    every: usize,
    curves: Curves,
}

/// What is drawn: steps and the bits of losses, so that a checkpoint keeps them as they are.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Curves {
    training: Vec<(u32, u32)>,
    evaluation: Vec<(u32, u32)>,
    /// The losses that wait for their point: their sum's bits and their number.
    sum: (u64, usize),
}

fn point(step: usize, loss: f64) -> (u32, u32) {
    #[expect(clippy::cast_possible_truncation, reason = "a pixel is coarser")]
    let loss = loss as f32;
    (u32::try_from(step).unwrap_or(u32::MAX), loss.to_bits())
}

impl LossChart {
    /// A chart in this file.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), every: 1, curves: Curves::default() }
    }

    fn write(&self) -> Result<()> {
        let points = |curve: &[(u32, u32)]| -> Vec<(f64, f64)> {
            curve.iter().map(|&(step, loss)| (f64::from(step), f64::from(f32::from_bits(loss)))).collect()
        };
        let (training, evaluation) = (points(&self.curves.training), points(&self.curves.evaluation));
        let mut curves = vec![("training loss", training.as_slice())];
        if !evaluation.is_empty() {
            curves.push(("evaluation loss", &evaluation));
        }
        let aside = self.path.with_extension("png.new");
        let write = || {
            self.path.parent().map_or(Ok(()), fs::create_dir_all)?;
            fs::write(&aside, drawing::draw(&curves)?)?;
            fs::rename(&aside, &self.path)
        };
        write().map_err(TrainError::writing(&self.path))
    }
}

impl Callback for LossChart {
    fn name(&self) -> &'static str {
        "LossChart"
    }

    fn on_train_begin(&mut self, event: &mut Event<'_>) -> Result<()> {
        self.every = event.state.max_steps.div_ceil(MOST_POINTS).max(1);
        Ok(())
    }

    fn on_step_end(&mut self, event: &mut Event<'_>) -> Result<()> {
        let (step, loss) = (event.state.global_step, event.loss.unwrap_or(f64::NAN));
        let (sum, count) = (f64::from_bits(self.curves.sum.0) + loss, self.curves.sum.1 + 1);
        self.curves.sum = (sum.to_bits(), count);
        if step.is_multiple_of(self.every) || step == event.state.max_steps {
            #[expect(clippy::cast_precision_loss, reason = "a number of steps")]
            self.curves.training.push(point(step, sum / count as f64));
            self.curves.sum = (0, 0);
        }
        Ok(())
    }

    fn on_evaluate(&mut self, event: &mut Event<'_>, metrics: &Map<String, Value>) -> Result<()> {
        if let Some(loss) = metrics.get("eval_loss").and_then(Value::as_f64) {
            self.curves.evaluation.push(point(event.state.global_step, loss));
        }
        Ok(())
    }

    fn on_save(&mut self, _: &mut Event<'_>, _: &std::path::Path) -> Result<()> {
        self.write()
    }

    fn on_train_end(&mut self, _: &mut Event<'_>) -> Result<()> {
        self.write()
    }

    fn state(&self) -> Option<Value> {
        serde_json::to_value(&self.curves).ok()
    }

    fn restore(&mut self, state: &Value) -> Result<()> {
        self.curves = Curves::deserialize(state)
            .map_err(|error| TrainError::invalid(format!("the checkpoint's curves cannot be read: {error}")))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_survive_a_checkpoint_to_the_bit() {
        let folder = tempfile::tempdir().unwrap();
        let mut chart = LossChart::new(folder.path().join("charts/loss.png"));
        chart.curves.training.extend((1..40).map(|step| point(step, 1.0 / step as f64)));
        chart.curves.evaluation.push(point(20, f64::NAN));
        chart.curves.sum = (0.1f64.to_bits(), 3);
        let text = chart.state().unwrap().to_string();
        let mut again = LossChart::new(folder.path().join("again.png"));
        again.restore(&serde_json::from_str(&text).unwrap()).unwrap();
        chart.write().unwrap();
        again.write().unwrap();
        let read = |name: &str| fs::read(folder.path().join(name)).unwrap();
        assert!(read("charts/loss.png").starts_with(b"\x89PNG") && read("charts/loss.png") == read("again.png"));
        assert_eq!(again.state().unwrap().to_string(), text);
        assert!(again.restore(&Value::from(1)).is_err());
    }
}
