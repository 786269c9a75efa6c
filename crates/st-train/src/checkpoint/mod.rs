//! Checkpoints: folders `checkpoint-N` in the output folder, written aside and put in place in one step.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Result, TrainError};

/// Before the step in a checkpoint's name.
pub(crate) const PREFIX: &str = "checkpoint-";
/// Before the name of a folder that is being written.
const STAGING: &str = ".saving-checkpoint-";

/// The optimizer's memory.
pub(crate) const OPTIMIZER: &str = "optimizer.safetensors";
/// All parameters to the bit, the losses' own included.
pub(crate) const PARAMETERS: &str = "parameters.safetensors";
/// Where the schedule is.
pub(crate) const SCHEDULER: &str = "scheduler.json";
/// Where random numbers, data and sums are.
pub(crate) const PROGRESS: &str = "training_progress.json";
/// What was logged and how far training is.
pub(crate) const TRAINER_STATE: &str = "trainer_state.json";
/// The arguments of the run.
pub(crate) const ARGUMENTS: &str = "training_args.json";

/// The checkpoints in a folder with their steps, in order.
///
/// # Errors
/// When the folder cannot be read; a folder that is not there has none.
pub(crate) fn all(folder: &Path) -> Result<Vec<(usize, PathBuf)>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(TrainError::reading(folder)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(TrainError::reading(folder))?;
        let name = entry.file_name();
        let step = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|step| step.parse().ok());
        if let (Some(step), true) = (step, entry.path().is_dir()) {
            found.push((step, entry.path()));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The checkpoint of the largest step in an output folder; `None` when there is none.
///
/// # Errors
/// When the folder cannot be read.
///
/// ```
/// let folder = tempfile::tempdir()?;
/// for name in ["checkpoint-9", "checkpoint-10", "other"] {
///     std::fs::create_dir(folder.path().join(name))?;
/// }
/// let last = st_train::last_checkpoint(folder.path())?.unwrap();
/// assert!(last.ends_with("checkpoint-10"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn last(folder: &Path) -> Result<Option<PathBuf>> {
    Ok(all(folder)?.pop().map(|(_, path)| path))
}

/// Removes what killed runs left half written.
pub(crate) fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(STAGING)) {
            // What cannot be removed is in nobody's way.
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

/// Removes the oldest checkpoints beyond a limit; the best and the last one stay.
pub(crate) fn rotate(folder: &Path, limit: Option<usize>, best: Option<&str>) -> Result<()> {
    let Some(limit) = limit.filter(|limit| *limit > 0) else { return Ok(()) };
    let checkpoints = all(folder)?;
    let last = checkpoints.last().map(|(_, path)| path.clone());
    let stays = |path: &PathBuf| Some(path) == last.as_ref() || best.is_some_and(|best| Path::new(best) == path);
    let mut surplus = checkpoints.len().saturating_sub(limit);
    for (_, path) in &checkpoints {
        if surplus == 0 {
            break;
        }
        if !stays(path) {
            log::info!("Deleting older checkpoint [{}] due to args.save_total_limit", path.display());
            fs::remove_dir_all(path).map_err(TrainError::writing(path))?;
            surplus -= 1;
        }
    }
    Ok(())
}

/// A checkpoint that is being written. Dropped before [`Staged::finish`], it is removed.
#[derive(Debug)]
pub(crate) struct Staged {
    folder: Option<tempfile::TempDir>,
    target: PathBuf,
}

impl Staged {
    /// Starts the checkpoint of a step.
    pub(crate) fn new(output: &Path, step: usize) -> Result<Self> {
        fs::create_dir_all(output).map_err(TrainError::writing(output))?;
        let mut builder = tempfile::Builder::new();
        builder.prefix(STAGING);
        // A temporary folder is private by default; a checkpoint is as open as the process's mask allows.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
        let folder = builder.tempdir_in(output).map_err(TrainError::writing(output))?;
        Ok(Self { folder: Some(folder), target: output.join(format!("{PREFIX}{step}")) })
    }

    /// Where to write.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.as_ref().map_or(&self.target, |folder| folder.path())
    }

    /// Where it will be.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Puts the checkpoint in its place; one of an earlier run there is replaced.
    pub(crate) fn finish(mut self) -> Result<PathBuf> {
        let Some(folder) = self.folder.take() else { return Ok(self.target.clone()) };
        if self.target.exists() {
            let aside = tempfile::Builder::new()
                .prefix(STAGING)
                .tempdir_in(self.target.parent().unwrap_or(&self.target))
                .map_err(TrainError::writing(&self.target))?;
            fs::rename(&self.target, aside.path().join("old")).map_err(TrainError::writing(&self.target))?;
            fs::rename(folder.path(), &self.target).map_err(TrainError::writing(&self.target))?;
        } else {
            fs::rename(folder.path(), &self.target).map_err(TrainError::writing(&self.target))?;
        }
        // It is no longer at its temporary place.
        let _ = folder.keep();
        Ok(self.target.clone())
    }
}

/// Writes JSON.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(TrainError::parse(path, "JSON"))?;
    fs::write(path, text + "\n").map_err(TrainError::writing(path))
}

/// Reads JSON.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).map_err(TrainError::reading(path))?;
    serde_json::from_str(&text).map_err(TrainError::parse(path, "JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(steps: &[usize]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for step in steps {
            fs::create_dir(folder.path().join(format!("{PREFIX}{step}"))).unwrap();
        }
        folder
    }

    fn steps(folder: &tempfile::TempDir) -> Vec<usize> {
        all(folder.path()).unwrap().into_iter().map(|(step, _)| step).collect()
    }

    #[test]
    fn the_oldest_go_but_never_the_best_or_the_last() {
        let folder = output(&[5, 10, 15, 100]);
        let best = folder.path().join("checkpoint-5");
        rotate(folder.path(), Some(2), best.to_str()).unwrap();
        assert_eq!(steps(&folder), [5, 100]);
        rotate(folder.path(), Some(1), best.to_str()).unwrap();
        assert_eq!(steps(&folder), [5, 100]);
        rotate(folder.path(), Some(1), None).unwrap();
        assert_eq!(steps(&folder), [100]);
        rotate(folder.path(), None, None).unwrap();
        assert_eq!(steps(&folder), [100]);
        assert!(last(&folder.path().join("nowhere")).unwrap().is_none());
    }

    #[test]
    fn a_checkpoint_is_there_whole_or_not_at_all() {
        let folder = output(&[]);
        let staged = Staged::new(folder.path(), 3).unwrap();
        fs::write(staged.folder().join("x"), "1").unwrap();
        drop(staged);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        for content in ["1", "2"] {
            let staged = Staged::new(folder.path(), 3).unwrap();
            fs::write(staged.folder().join("x"), content).unwrap();
            let path = staged.finish().unwrap();
            assert_eq!(fs::read_to_string(path.join("x")).unwrap(), content);
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        }
        fs::create_dir(folder.path().join(".saving-checkpoint-x")).unwrap();
        sweep(folder.path());
        assert_eq!(steps(&folder), [3]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
