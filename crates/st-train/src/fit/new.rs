//! [`fit`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::arguments::{Interval, Resume, SaveInterval, TrainingArguments};
use crate::callbacks::ProgressLine;
use crate::checkpoint;
use crate::data::{Cell, Dataset, Datasets, Table};
use crate::loss::Objective;
use crate::model::EmbeddingModel;
use crate::optimizers::NoDecay;
use crate::schedules::Schedule;
use crate::trainer::{Losses, Setup, TrainOutcome};
use crate::{Result, TrainError};

use super::callback::{FitCallback, Shared};
use super::loaders::{ExampleLoader, LoaderKind};
use super::{FitObjective, FitOptions};

/// Trains a model on examples, as `SentenceTransformer.fit` of release 3 and later: a short way to a
/// [`Trainer`](crate::Trainer).
///
/// Each loader is read once; several objectives are trained in turn, batch by batch, until the smallest is used up. Unlike
/// the original's, parameters of the losses (a classifier) are trained too.
///
/// # Errors
/// As [`Trainer::train`](crate::Trainer::train).
///
/// ```no_run
/// use sentence_transformers::SentenceTransformer;
/// use st_train::fit::{DataLoader, FitObjective, FitOptions, fit};
/// use st_train::losses::CosineSimilarityLoss;
/// use st_train::model::{EmbeddingModel, TrainableModel, TrainingOptions};
/// use st_train::readers::StsBenchmarkDataReader;
///
/// let library = SentenceTransformer::load("sentence-transformers/all-MiniLM-L6-v2")?;
/// let model = TrainableModel::new(&library, TrainingOptions::new())?;
/// let examples = StsBenchmarkDataReader::new("stsbenchmark").examples("sts-train.csv", 0)?;
/// let objective = FitObjective::new(DataLoader::new(examples, 16).shuffle(42), CosineSimilarityLoss::new());
/// fit(&model, vec![objective], FitOptions::new().warmup_steps(100).output_path(Some("models/sts".into())))?;
/// let trained = model.sentence_transformer()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn fit(model: &dyn EmbeddingModel, objectives: Vec<FitObjective>, mut options: FitOptions) -> Result<TrainOutcome> {
    options.check()?;
    if objectives.is_empty() {
        return Err(TrainError::invalid("there is no training objective: give at least one loader with a loss"));
    }
    let (mut tables, mut losses) = (Vec::new(), Vec::new());
    let (mut batch_size, mut sampler) = (8, "batch_sampler");
    for (index, FitObjective { mut loader, loss }) in objectives.into_iter().enumerate() {
        match loader.kind() {
            LoaderKind::NoDuplicates => sampler = "no_duplicates",
            LoaderKind::LabelGroups => sampler = "group_by_label",
            LoaderKind::Plain => {}
        }
        batch_size = loader.batch_size();
        let name = format!("_dataset_{}", index + 1);
        tables.push((name.clone(), drain(loader.as_mut())?));
        losses.push((name, loss));
    }
    let mut max_steps = -1;
    if let Some(steps) = options.steps_per_epoch.filter(|steps| *steps > 0) {
        if options.epochs == 1 {
            max_steps = i64::try_from(steps).unwrap_or(i64::MAX);
        } else {
            log::warn!(
                "Setting `steps_per_epoch` alongside `epochs` > 1 no longer works. We will train with the full datasets per \
                 epoch."
            );
            options.steps_per_epoch = None;
        }
    }
    let smallest = tables.iter().map(|(_, table)| table.len() / batch_size).min().unwrap_or(0);
    let horizon = options.steps_per_epoch.filter(|steps| *steps > 0).unwrap_or(smallest) * options.epochs;
    let schedule = Schedule::new(&options.scheduler, options.warmup_steps, horizon)?.by_step()?;
    let arguments = arguments(&options, batch_size, sampler, max_steps)?;
    train(model, arguments, tables, losses, schedule, options)
}

fn train(
    model: &dyn EmbeddingModel,
    arguments: TrainingArguments,
    tables: Vec<(String, Table)>,
    losses: Vec<(String, Box<dyn Objective>)>,
    schedule: Schedule,
    options: FitOptions,
) -> Result<TrainOutcome> {
    let resume = match (&options.checkpoint_path, options.resume_from_checkpoint) {
        (Some(folder), true) => last_checkpoint(folder)?,
        _ => None,
    };
    let evaluator = options.evaluator.clone().map(Shared::new);
    let mut setup = Setup::new(arguments.resume_from_checkpoint(resume.map(Resume::Folder)));
    setup.train = Some(Datasets::from(tables));
    setup.losses = Some(Losses::Named(losses));
    setup.schedule = Some(schedule);
    setup.no_decay = NoDecay::Fit;
    setup.evaluators.extend(evaluator.clone().map(|shared| Box::new(shared) as _));
    setup.callbacks.push(Box::new(FitCallback {
        evaluator,
        output_path: options.output_path,
        save_best_model: options.save_best_model,
        best: None,
        callback: options.callback,
    }));
    if options.show_progress_bar {
        setup.callbacks.push(Box::new(ProgressLine::new()));
    }
    let optimizer = Arc::new(options.optimizer);
    setup.optimizer = Some(Box::new(move |groups| optimizer.make(groups)));
    setup.train(model)
}

fn arguments(options: &FitOptions, batch_size: usize, sampler: &str, max_steps: i64) -> Result<TrainingArguments> {
    #[expect(clippy::cast_precision_loss, reason = "numbers of steps and epochs")]
    let number = |count: usize| count as f64;
    let output = match &options.checkpoint_path {
        Some(folder) => folder.clone(),
        None => free_folder()?,
    };
    let steps = options.evaluation_steps;
    Ok(TrainingArguments::new(output)
        .batch_sampler(sampler.to_owned())
        .multi_dataset_batch_sampler("round_robin".to_owned())
        .per_device_train_batch_size(batch_size)
        .per_device_eval_batch_size(batch_size)
        .num_train_epochs(number(options.epochs))
        .max_steps(max_steps)
        .learning_rate(options.optimizer.learning_rate())
        .weight_decay(options.weight_decay)
        .eval_strategy(if steps > 0 && options.evaluator.is_some() { Interval::Steps } else { Interval::No })
        .eval_steps((steps > 0).then(|| number(steps)))
        .max_grad_norm(options.max_grad_norm)
        .save_strategy(if options.checkpoint_path.is_some() { SaveInterval::Steps } else { SaveInterval::No })
        .save_steps(number(options.checkpoint_save_steps))
        .save_total_limit(Some(options.checkpoint_save_total_limit).filter(|limit| *limit > 0))
        .seed(options.seed))
}

/// `checkpoints/model`, or the first of `checkpoints/model_1`, … that is empty.
fn free_folder() -> Result<PathBuf> {
    let empty = |folder: &Path| match std::fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(_) => true,
    };
    let numbered = (1..).map(|number| PathBuf::from(format!("checkpoints/model_{number}")));
    std::iter::once(PathBuf::from("checkpoints/model"))
        .chain(numbered)
        .find(|folder| empty(folder))
        .ok_or_else(|| TrainError::invalid("there is no free folder in checkpoints"))
}

/// The newest checkpoint; warns when there is none.
fn last_checkpoint(folder: &Path) -> Result<Option<PathBuf>> {
    if !folder.is_dir() {
        log::warn!("Checkpoint directory does not exist or is not a directory: {}", folder.display());
        return Ok(None);
    }
    log::info!("Looking for checkpoints in: {}", folder.display());
    let last = checkpoint::last(folder)?;
    match &last {
        Some(last) => log::info!("Resuming from latest checkpoint: {}", last.display()),
        None => log::warn!("No checkpoints found in checkpoint directory: {}", folder.display()),
    }
    Ok(last)
}

/// One pass of a loader as a table: columns `sentence_0`, `sentence_1`, …, and `label` unless all labels are 0.
fn drain(loader: &mut dyn ExampleLoader) -> Result<Table> {
    let (mut texts, mut labels): (Vec<Vec<Cell>>, Vec<Cell>) = (Vec::new(), Vec::new());
    while let Some(batch) = loader.next_batch()? {
        for example in batch {
            if texts.is_empty() {
                texts = vec![Vec::new(); example.texts.len()];
            }
            if example.texts.len() != texts.len() {
                let message = format!("examples have {} and {} texts", texts.len(), example.texts.len());
                return Err(TrainError::invalid(message));
            }
            texts.iter_mut().zip(example.texts).for_each(|(column, text)| column.push(text.into()));
            labels.push(example.label);
        }
    }
    let mut table = Table::new();
    for (index, column) in texts.into_iter().enumerate() {
        table = table.column(format!("sentence_{index}"), column)?;
    }
    if labels.iter().all(|label| label.as_number() == Some(0.0)) {
        return Ok(table);
    }
    table.column("label", labels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fit::DataLoader;
    use crate::readers::InputExample;

    #[test]
    fn labels_of_zeros_only_are_no_labels() {
        let table = |labels: [f64; 2]| {
            let examples = labels.map(|label| InputExample::new(["a", "b"]).label(label));
            drain(&mut DataLoader::new(examples, 4)).unwrap()
        };
        assert_eq!(table([0.0, 0.0]).columns(), ["sentence_0", "sentence_1"]);
        assert_eq!(table([0.0, 0.5]).columns(), ["sentence_0", "sentence_1", "label"]);
        let uneven = [InputExample::new(["a"]), InputExample::new(["a", "b"])];
        assert_eq!(drain(&mut DataLoader::new(uneven, 4)).unwrap_err().to_string(), "examples have 1 and 2 texts");
    }
}
