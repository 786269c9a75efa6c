//! [`old_fit`].

use std::path::Path;

use candle_core::Var;
use st_eval::Occasion;

use crate::callbacks::ProgressLine;
use crate::loss::{Objective, ObjectiveBatch};
use crate::model::{EmbeddingModel, Parameters, TrainingPass};
use crate::optimizers::{Gradients, NoDecay, Optimizer, parameter_groups};
use crate::random::Generator;
use crate::readers::InputExample;
use crate::schedules::Schedule;
use crate::{Result, TrainError};

use super::collate::smart_batching_collate;
use super::loaders::ExampleLoader;
use super::{FitObjective, FitOptions};

/// An objective with its own optimizer and schedule.
struct Trained {
    loader: Box<dyn ExampleLoader>,
    loss: Box<dyn Objective>,
    variables: Vec<Var>,
    optimizer: Box<dyn Optimizer>,
    schedule: Schedule,
    steps: usize,
}

/// Trains a model on examples, as `SentenceTransformer.fit` before release 3: a loop of its own, with an optimizer and a
/// schedule per objective.
///
/// In each step every objective gets a batch. The evaluator runs every `evaluation_steps` of an epoch and at its end; the
/// best model is saved to `output_path`, checkpoints to folders named by their steps. It does not resume.
///
/// # Errors
/// Options that make no sense; whatever fails on the way.
///
/// ```
/// use sentence_transformers::SentenceTransformer;
/// use st_train::fit::{DataLoader, FitObjective, FitOptions, old_fit};
/// use st_train::losses::CosineSimilarityLoss;
/// use st_train::model::{TrainableModel, TrainingOptions};
/// use st_train::readers::InputExample;
///
/// let library = SentenceTransformer::load(st_testing::tiny_model("tiny-bert").to_string_lossy())?;
/// let model = TrainableModel::new(&library, TrainingOptions::new())?;
/// let examples = vec![InputExample::new(["a cat", "a dog"]).label(0.8), InputExample::new(["sunny", "cat"]).label(0.1)];
/// let objective = FitObjective::new(DataLoader::new(examples, 2), CosineSimilarityLoss::new());
/// let options = FitOptions::new().epochs(2).warmup_steps(0).learning_rate(1e-3).show_progress_bar(false);
/// assert_eq!(old_fit(&model, vec![objective], options)?, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn old_fit(model: &dyn EmbeddingModel, objectives: Vec<FitObjective>, mut options: FitOptions) -> Result<usize> {
    options.check()?;
    if options.resume_from_checkpoint {
        return Err(TrainError::option("resume_from_checkpoint", "is set, but `old_fit` cannot resume; use `fit`"));
    }
    let shortest = objectives.iter().map(|objective| objective.loader.len()).min().unwrap_or(0);
    let steps_per_epoch = options.steps_per_epoch.filter(|steps| *steps > 0).unwrap_or(shortest);
    if steps_per_epoch == 0 {
        return Err(TrainError::invalid("the training objectives give no batch"));
    }
    let total = steps_per_epoch * options.epochs;
    let prepare = |objective| Trained::new(model, objective, &options, total);
    let mut objectives = objectives.into_iter().map(prepare).collect::<Result<Vec<_>>>()?;
    let mut pass = TrainingPass::training(Generator::new(options.seed));
    let mut best = -9_999_999.0;
    let mut done = 0;
    for epoch in 0..options.epochs {
        for step in 1..=steps_per_epoch {
            for objective in &mut objectives {
                objective.step(model, &mut pass, options.max_grad_norm)?;
            }
            done += 1;
            if options.show_progress_bar {
                ProgressLine::show(&format!("epoch {epoch}, step {step} of {steps_per_epoch}"));
            }
            if options.evaluation_steps > 0 && step % options.evaluation_steps == 0 {
                evaluate(model, &mut options, epoch, i64::try_from(step).unwrap_or(i64::MAX), &mut best)?;
            }
            if let Some(folder) = &options.checkpoint_path
                && options.checkpoint_save_steps > 0
                && done % options.checkpoint_save_steps == 0
            {
                save_checkpoint(model, folder, done, options.checkpoint_save_total_limit)?;
            }
        }
        evaluate(model, &mut options, epoch, -1, &mut best)?;
    }
    if options.show_progress_bar {
        ProgressLine::show("");
    }
    if let (None, Some(folder)) = (&options.evaluator, &options.output_path) {
        model.save(folder)?;
    }
    if let Some(folder) = &options.checkpoint_path {
        save_checkpoint(model, folder, done, options.checkpoint_save_total_limit)?;
    }
    Ok(done)
}

impl Trained {
    fn new(model: &dyn EmbeddingModel, objective: FitObjective, options: &FitOptions, total: usize) -> Result<Self> {
        let FitObjective { loader, loss } = objective;
        loss.check(model)?;
        let mut parameters = Parameters::new();
        parameters.extend("model.", model.parameters())?;
        parameters.extend("", &loss.parameters())?;
        let rate = options.optimizer.learning_rate();
        let groups = parameter_groups(&parameters, rate, options.weight_decay, NoDecay::Fit, &Default::default())?;
        Ok(Self {
            variables: parameters.trainable().map(|parameter| parameter.variable().clone()).collect(),
            optimizer: options.optimizer.make(groups)?,
            schedule: Schedule::new(&options.scheduler, options.warmup_steps, total)?.by_step()?,
            loader,
            loss,
            steps: 0,
        })
    }

    /// The next batch; a loader that is used up starts again.
    fn next_batch(&mut self) -> Result<Vec<InputExample>> {
        for _ in 0..2 {
            if let Some(batch) = self.loader.next_batch()? {
                return Ok(batch);
            }
        }
        Err(TrainError::invalid("a loader gives no batch"))
    }

    fn step(&mut self, model: &dyn EmbeddingModel, pass: &mut TrainingPass, max_grad_norm: f64) -> Result<()> {
        let batch = self.next_batch()?;
        let (columns, targets) = smart_batching_collate(model, &batch)?;
        let input = ObjectiveBatch { model, columns: &columns, targets: &targets };
        let (_, mut store) = self.loss.backward(&input, pass, 1.0)?;
        let mut gradients = Gradients::new();
        gradients.accumulate(&mut store, &self.variables)?;
        gradients.clip(&self.variables, max_grad_norm)?;
        self.optimizer.step(&gradients, self.schedule.factor(self.steps))?;
        self.steps += 1;
        Ok(())
    }
}

fn evaluate(
    model: &dyn EmbeddingModel,
    options: &mut FitOptions,
    epoch: usize,
    steps: i64,
    best: &mut f64,
) -> Result<()> {
    let Some(evaluator) = &options.evaluator else { return Ok(()) };
    #[expect(clippy::cast_precision_loss, reason = "a number of epochs")]
    let epoch = epoch as f64;
    let mut occasion = Occasion::new().epoch(epoch).steps(steps);
    if let Some(folder) = &options.output_path {
        let folder = folder.join("eval");
        std::fs::create_dir_all(&folder).map_err(TrainError::writing(&folder))?;
        occasion = occasion.output_path(folder);
    }
    let evaluation = evaluator.evaluate(&model.sentence_transformer()?, &occasion)?;
    let Some(score) = evaluation.score() else { return Ok(()) };
    if let Some(callback) = &mut options.callback {
        callback(score, epoch, steps);
    }
    if score > *best {
        *best = score;
        if let (Some(folder), true) = (&options.output_path, options.save_best_model) {
            model.save(folder)?;
        }
    }
    Ok(())
}

/// Saves the model into a folder named by the step; removes the oldest such folder beyond the limit.
fn save_checkpoint(model: &dyn EmbeddingModel, folder: &Path, step: usize, limit: usize) -> Result<()> {
    model.save(&folder.join(step.to_string()))?;
    if limit == 0 {
        return Ok(());
    }
    let mut steps: Vec<usize> = std::fs::read_dir(folder)
        .map_err(TrainError::reading(folder))?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    steps.sort_unstable();
    if steps.len() > limit {
        let oldest = folder.join(steps[0].to_string());
        std::fs::remove_dir_all(&oldest).map_err(TrainError::writing(&oldest))?;
    }
    Ok(())
}
