//! [`TensorBoard`].

mod event_file;

use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::{Result, TrainError};

use super::{Callback, Event};

pub use event_file::EventFile;

/// Writes what is logged into files that TensorBoard reads, under the names that the Hugging Face trainer gives:
/// `train/loss`, `eval/loss`, `eval/sts-dev_spearman_cosine`.
///
/// A run that goes on gets a file of its own, which TensorBoard reads as one with the earlier ones.
///
/// ```
/// use st_train::callbacks::{Callback, TensorBoard};
/// assert_eq!(TensorBoard::new("models/mine/runs").name(), "TensorBoard");
/// ```
#[derive(Debug)]
pub struct TensorBoard {
    folder: PathBuf,
    events: Option<EventFile>,
}

impl TensorBoard {
    /// Writes into a folder, which is made when training begins.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), events: None }
    }
}

impl Callback for TensorBoard {
    fn name(&self) -> &'static str {
        "TensorBoard"
    }

    fn on_train_begin(&mut self, _: &mut Event<'_>) -> Result<()> {
        self.events = Some(EventFile::create(&self.folder).map_err(TrainError::writing(&self.folder))?);
        Ok(())
    }

    fn on_log(&mut self, event: &mut Event<'_>, logs: &Map<String, Value>) -> Result<()> {
        let Some(events) = &mut self.events else { return Ok(()) };
        let scalars: Vec<(String, f32)> = logs
            .iter()
            .filter_map(|(name, value)| {
                let tag = match name.strip_prefix("eval_") {
                    Some(name) => format!("eval/{name}"),
                    None => format!("train/{name}"),
                };
                #[expect(clippy::cast_possible_truncation, reason = "the format has 32 bits")]
                Some((tag, value.as_f64()? as f32))
            })
            .collect();
        let written = events.scalars(event.state.global_step as u64, &scalars).and_then(|()| events.flush());
        written.map_err(TrainError::writing(&self.folder))
    }
}
