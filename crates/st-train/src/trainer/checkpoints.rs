//! Saving a run as a checkpoint, and taking it up again.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::arguments::TrainingArguments;
use crate::checkpoint::{self, Staged};
use crate::model::TrainingPass;
use crate::optimizers::OptimizerState;
use crate::schedules::PlateauState;
use crate::state::TrainerState;
use crate::{Result, TrainError};

use super::progress::Progress;
use super::run::Run;
use super::saving;

/// Where the schedule is. Most are functions of the step.
#[derive(Debug, Serialize, Deserialize)]
struct SchedulerState {
    name: String,
    last_epoch: usize,
    last_lr: Vec<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    plateau: Option<PlateauProgress>,
}

/// What a schedule by evaluations remembers, and the bits of the learning rates that it came to.
#[derive(Debug, Serialize, Deserialize)]
struct PlateauProgress {
    state: PlateauState,
    rates: Vec<u64>,
}

impl Run<'_> {
    /// Saves a checkpoint; gives its folder.
    pub(super) fn save(&mut self) -> Result<PathBuf> {
        let output = self.setup.arguments.output_dir.clone();
        let step = self.setup.state.global_step;
        let staged = Staged::new(&output, step)?;
        let folder = staged.folder().to_path_buf();
        saving::save_model(self.model, self.setup, &folder)?;
        let is_best = self.setup.state.best_global_step == Some(step);
        if is_best {
            self.setup.state.best_model_checkpoint = Some(staged.target().display().to_string());
        }
        self.collect_callbacks();
        let arguments = &self.setup.arguments;
        if !arguments.save_only_model || arguments.load_best_model_at_end {
            self.parameters.save(&folder.join(checkpoint::PARAMETERS))?;
        }
        if !arguments.save_only_model {
            self.optimizer.state()?.save(&folder.join(checkpoint::OPTIMIZER))?;
            checkpoint::write_json(&folder.join(checkpoint::SCHEDULER), &self.scheduler_state())?;
            checkpoint::write_json(&folder.join(checkpoint::PROGRESS), &self.progress())?;
        }
        checkpoint::write_json(&folder.join(checkpoint::ARGUMENTS), arguments)?;
        let path = folder.join(checkpoint::TRAINER_STATE);
        std::fs::write(&path, self.setup.state.to_json()?).map_err(TrainError::writing(&path))?;
        let folder = staged.finish()?;
        let best = self.setup.state.best_model_checkpoint.as_deref();
        checkpoint::rotate(&output, self.setup.arguments.save_total_limit, best)?;
        Ok(folder)
    }

    fn collect_callbacks(&mut self) {
        for callback in &self.setup.callbacks {
            if let Some(state) = callback.state() {
                self.setup.state.stateful_callbacks.insert(callback.name().to_owned(), state);
            }
        }
    }

    fn scheduler_state(&self) -> SchedulerState {
        let step = self.setup.state.global_step;
        let factor = self.schedule.factor(step);
        SchedulerState {
            name: self.schedule.kind().name.to_owned(),
            last_epoch: step,
            last_lr: self.optimizer.groups().iter().map(|group| group.learning_rate * factor).collect(),
            plateau: self.plateau.as_ref().map(|plateau| PlateauProgress {
                state: plateau.state(),
                rates: self.optimizer.groups().iter().map(|group| group.learning_rate.to_bits()).collect(),
            }),
        }
    }

    fn progress(&self) -> Progress {
        let card = &self.setup.card.recorded;
        Progress {
            epoch: self.epoch,
            epoch_done: self.epoch_done,
            batches_done: self.batches_done,
            batches: self.batches.state(),
            random: self.pass.random().clone(),
            sums: self.sums.clone(),
            total_loss: self.total_loss,
            state_bits: self.setup.state.bits(),
            card_logs: card.training_logs.clone(),
            card_evaluations: card.evaluations.clone(),
        }
    }

    /// Takes up what a checkpoint kept.
    pub(super) fn restore(&mut self, folder: &Path) -> Result<()> {
        let unfit = |error: TrainError| TrainError::Checkpoint { path: folder.to_owned(), message: error.to_string() };
        if !folder.join(checkpoint::PROGRESS).is_file() {
            let message = "there is nothing to resume from: the folder is no checkpoint, or one with the model only";
            return Err(TrainError::Checkpoint { path: folder.to_owned(), message: message.to_owned() });
        }
        let scheduler: SchedulerState = checkpoint::read_json(&folder.join(checkpoint::SCHEDULER))?;
        let progress: Progress = checkpoint::read_json(&folder.join(checkpoint::PROGRESS))?;
        let mut state = TrainerState::load(&folder.join(checkpoint::TRAINER_STATE))?;
        state.set_bits(&progress.state_bits);
        self.warn_of_other_arguments(folder)?;
        if scheduler.name != self.schedule.kind().name {
            log::warn!(
                "the checkpoint was trained with the schedule '{}', training goes on with '{}'",
                scheduler.name,
                self.schedule.kind().name
            );
        }
        self.parameters.restore(&folder.join(checkpoint::PARAMETERS)).map_err(unfit)?;
        self.optimizer.restore(&OptimizerState::load(&folder.join(checkpoint::OPTIMIZER))?).map_err(unfit)?;
        if let (Some(plateau), Some(saved)) = (&mut self.plateau, scheduler.plateau) {
            plateau.restore(saved.state);
            let groups = self.optimizer.groups_mut();
            if groups.len() != saved.rates.len() {
                let message = format!("it has {} learning rates, the run has {}", saved.rates.len(), groups.len());
                return Err(TrainError::Checkpoint { path: folder.to_owned(), message });
            }
            for (group, rate) in groups.iter_mut().zip(saved.rates) {
                group.learning_rate = f64::from_bits(rate);
            }
        }
        self.batches.restore(&progress.batches).map_err(unfit)?;
        for callback in &mut self.setup.callbacks {
            if let Some(state) = state.stateful_callbacks.get(callback.name()) {
                callback.restore(state)?;
            }
        }
        self.pass = TrainingPass::training(progress.random)
            .with_gradient_checkpointing(self.setup.arguments.gradient_checkpointing)
            .with_autocast(self.setup.arguments.bf16);
        (self.epoch, self.epoch_done, self.batches_done) = (progress.epoch, progress.epoch_done, progress.batches_done);
        (self.sums, self.total_loss) = (progress.sums, progress.total_loss);
        self.setup.card.restore(progress.card_logs, progress.card_evaluations);
        self.setup.state = state;
        Ok(())
    }

    /// As the original: says which arguments of the numbers of steps and rows are others than in the checkpoint.
    fn warn_of_other_arguments(&self, folder: &Path) -> Result<()> {
        let before: TrainingArguments = checkpoint::read_json(&folder.join(checkpoint::ARGUMENTS))?;
        let (before, now) = (before.to_map()?, self.setup.arguments.to_map()?);
        for (name, value) in &now {
            let elsewhere = name == "resume_from_checkpoint" || name == "output_dir";
            if !elsewhere && before.get(name) != Some(value) {
                let old = before.get(name).map_or_else(|| "unset".to_owned(), ToString::to_string);
                log::warn!("Warning: {name} is {value}, but the checkpoint was trained with {old}.");
            }
        }
        Ok(())
    }

    /// Goes back to the best checkpoint.
    pub(super) fn load_best(&mut self) -> Result<()> {
        let state = &self.setup.state;
        let (Some(folder), Some(step)) = (state.best_model_checkpoint.clone(), state.best_global_step) else {
            return Ok(());
        };
        log::info!("Loading best model from {folder} (score: {:?}).", state.best_metric);
        self.parameters.restore(&Path::new(&folder).join(checkpoint::PARAMETERS))?;
        self.setup.card.recorded.best_model_step = Some(i64::try_from(step).unwrap_or(i64::MAX));
        Ok(())
    }
}
