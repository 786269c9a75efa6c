//! [`Trainer`]: trains a model on datasets with a loss.

mod batches;
mod card;
mod checkpoints;
mod checks;
mod evaluation;
mod plan;
mod progress;
mod run;
mod saving;

use std::path::{Path, PathBuf};

use sentence_transformers::SentenceTransformer;
use serde_json::{Map, Value};
use st_eval::{Evaluator, SequentialEvaluator};

use crate::arguments::{Resume, TrainingArguments};
use crate::callbacks::Callback;
use crate::checkpoint;
use crate::data::Datasets;
use crate::loss::Objective;
use crate::losses::CoSentLoss;
use crate::model::EmbeddingModel;
use crate::optimizers::{NoDecay, Optimizer, ParameterGroup};
use crate::samplers::{BatchSampler, SamplerInput};
use crate::schedules::Schedule;
use crate::state::TrainerState;
use crate::{Result, TrainError};

use run::Run;

/// What is minimised: one loss for everything, or one per dataset.
#[derive(Debug)]
pub(crate) enum Losses {
    Single(Box<dyn Objective>),
    Named(Vec<(String, Box<dyn Objective>)>),
}

/// Makes an optimizer from the parameters.
pub type OptimizerFactory = Box<dyn Fn(Vec<ParameterGroup>) -> Result<Box<dyn Optimizer>> + Send>;
/// Makes a batch sampler of one dataset.
pub type SamplerFactory = Box<dyn Fn(SamplerInput) -> Result<Box<dyn BatchSampler>> + Send>;
/// Makes a batch sampler of several datasets from theirs, their numbers of rows, and a seed.
pub type SeveralFactory =
    Box<dyn Fn(Vec<Box<dyn BatchSampler>>, Vec<usize>, u64) -> Result<Box<dyn BatchSampler>> + Send>;

/// What a training run came to.
///
/// ```
/// let outcome = st_train::TrainOutcome::default();
/// assert_eq!(outcome.global_step, 0);
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TrainOutcome {
    /// Steps done.
    pub global_step: usize,
    /// The mean loss of all steps.
    pub training_loss: f64,
    /// Run time and speed, by the names that the log has for them.
    pub metrics: Map<String, Value>,
}

/// Trains a model on datasets with a loss, evaluates it meanwhile, and keeps checkpoints.
///
/// As the original's `SentenceTransformerTrainer` on top of the Hugging Face trainer, for one process. For the same seed
/// the data comes in the same order; without dropout the losses are the same to rounding. A run that is killed and resumed
/// from its last checkpoint ends, on a CPU, with the same bits as one that was not.
///
/// Two things differ on purpose. Gradients of a loss's own parameters (the classifier of a softmax loss) are cleared after
/// each step and count for clipping, which the original forgets. And the sums behind the logs survive a resume.
///
/// ```no_run
/// use sentence_transformers::SentenceTransformer;
/// use st_train::data::FileDataset;
/// use st_train::losses::MultipleNegativesRankingLoss;
/// use st_train::model::{TrainableModel, TrainingOptions};
/// use st_train::{Trainer, TrainingArguments};
///
/// let model = SentenceTransformer::load("sentence-transformers/all-MiniLM-L6-v2")?;
/// let model = TrainableModel::new(&model, TrainingOptions::new())?;
/// let arguments = TrainingArguments::new("models/mine").num_train_epochs(1.0).per_device_train_batch_size(32);
/// let mut trainer = Trainer::new(model, arguments)
///     .train_dataset(FileDataset::open("pairs.parquet")?.read()?)
///     .loss(MultipleNegativesRankingLoss::new());
/// let outcome = trainer.train()?;
/// println!("{} steps, loss {:.4}", outcome.global_step, outcome.training_loss);
/// trainer.save_model("models/mine/final".as_ref())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Trainer<M: EmbeddingModel> {
    model: M,
    setup: Setup,
}

/// Everything but the model.
pub(crate) struct Setup {
    pub(crate) arguments: TrainingArguments,
    pub(crate) train: Option<Datasets>,
    pub(crate) eval: Option<Datasets>,
    pub(crate) losses: Option<Losses>,
    pub(crate) evaluators: Vec<Box<dyn Evaluator>>,
    pub(crate) evaluator: Option<Box<dyn Evaluator>>,
    pub(crate) callbacks: Vec<Box<dyn Callback>>,
    pub(crate) optimizer: Option<OptimizerFactory>,
    pub(crate) schedule: Option<Schedule>,
    pub(crate) no_decay: NoDecay,
    pub(crate) batch_sampler: Option<SamplerFactory>,
    pub(crate) multi_dataset_batch_sampler: Option<SeveralFactory>,
    pub(crate) state: TrainerState,
    pub(crate) card: card::Card,
}

impl std::fmt::Debug for Setup {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Setup")
            .field("arguments", &self.arguments)
            .field("train", &self.train)
            .field("eval", &self.eval)
            .field("losses", &self.losses)
            .field("callbacks", &self.callbacks)
            .finish_non_exhaustive()
    }
}

impl<M: EmbeddingModel> Trainer<M> {
    /// A trainer of a model. Without a loss it takes CoSENT, the original's default.
    #[must_use]
    pub fn new(model: M, arguments: TrainingArguments) -> Self {
        Self { model, setup: Setup::new(arguments) }
    }

    /// Sets what to train on.
    #[must_use]
    pub fn train_dataset(mut self, data: impl Into<Datasets>) -> Self {
        self.setup.train = Some(data.into());
        self
    }

    /// Sets what to compute the evaluation loss on.
    #[must_use]
    pub fn eval_dataset(mut self, data: impl Into<Datasets>) -> Self {
        self.setup.eval = Some(data.into());
        self
    }

    /// Sets the loss of all datasets.
    #[must_use]
    pub fn loss(self, loss: impl Objective + 'static) -> Self {
        self.boxed_loss(Box::new(loss))
    }

    /// Sets the loss of all datasets.
    #[must_use]
    pub fn boxed_loss(mut self, loss: Box<dyn Objective>) -> Self {
        self.setup.losses = Some(Losses::Single(loss));
        self
    }

    /// Sets a loss per dataset, by the datasets' names.
    #[must_use]
    pub fn losses<N: Into<String>>(mut self, losses: impl IntoIterator<Item = (N, Box<dyn Objective>)>) -> Self {
        self.setup.losses = Some(Losses::Named(losses.into_iter().map(|(name, loss)| (name.into(), loss)).collect()));
        self
    }

    /// Adds an evaluator; several are run one after the other.
    #[must_use]
    pub fn evaluator(self, evaluator: impl Evaluator + 'static) -> Self {
        self.boxed_evaluator(Box::new(evaluator))
    }

    /// Adds an evaluator; several are run one after the other.
    #[must_use]
    pub fn boxed_evaluator(mut self, evaluator: Box<dyn Evaluator>) -> Self {
        self.setup.evaluators.push(evaluator);
        self
    }

    /// Adds a callback.
    #[must_use]
    pub fn callback(mut self, callback: impl Callback + 'static) -> Self {
        self.setup.callbacks.push(Box::new(callback));
        self
    }

    /// Sets another optimizer than the arguments name.
    #[must_use]
    pub fn optimizer(
        mut self,
        make: impl Fn(Vec<ParameterGroup>) -> Result<Box<dyn Optimizer>> + Send + 'static,
    ) -> Self {
        self.setup.optimizer = Some(Box::new(make));
        self
    }

    /// Sets another schedule than the arguments name, with its own numbers of steps.
    #[must_use]
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.setup.schedule = Some(schedule);
        self
    }

    /// Sets which parameters have no weight decay.
    #[must_use]
    pub fn no_decay(mut self, rule: NoDecay) -> Self {
        self.setup.no_decay = rule;
        self
    }

    /// Sets another batch sampler than the arguments name.
    #[must_use]
    pub fn batch_sampler(
        mut self,
        make: impl Fn(SamplerInput) -> Result<Box<dyn BatchSampler>> + Send + 'static,
    ) -> Self {
        self.setup.batch_sampler = Some(Box::new(make));
        self
    }

    /// Sets another sampler of several datasets than the arguments name.
    #[must_use]
    pub fn multi_dataset_batch_sampler(
        mut self,
        make: impl Fn(Vec<Box<dyn BatchSampler>>, Vec<usize>, u64) -> Result<Box<dyn BatchSampler>> + Send + 'static,
    ) -> Self {
        self.setup.multi_dataset_batch_sampler = Some(Box::new(make));
        self
    }

    /// Trains, from the start or from where `resume_from_checkpoint` says.
    ///
    /// # Errors
    /// Arguments, datasets and losses that do not fit together, in the original's words; whatever fails on the way.
    pub fn train(&mut self) -> Result<TrainOutcome> {
        self.setup.train(&self.model)
    }

    /// Evaluates the model on the evaluation data and with the evaluators; gives all metrics, with the prefix `eval_`.
    ///
    /// # Errors
    /// As [`Trainer::train`]; and when there is nothing to evaluate on.
    pub fn evaluate(&mut self) -> Result<Map<String, Value>> {
        self.setup.prepare(&self.model)?;
        if self.setup.eval.is_none() && self.setup.evaluator.is_none() {
            return Err(TrainError::invalid(
                "Evaluation requires specifying an eval_dataset to the SentenceTransformerTrainer.",
            ));
        }
        evaluation::evaluate(&self.model, &mut self.setup)
    }

    /// Saves the model as it is now, with a card that tells how it was trained.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save_model(&self, folder: &Path) -> Result<()> {
        saving::save_model(&self.model, &self.setup, folder)
    }

    /// The model as it is now, for inference; its card tells how it was trained.
    ///
    /// # Errors
    /// When the engine cannot load it.
    pub fn sentence_transformer(&self) -> Result<SentenceTransformer> {
        saving::library(&self.model, &self.setup)
    }

    /// How far training is, and what was logged.
    #[must_use]
    pub fn state(&self) -> &TrainerState {
        &self.setup.state
    }

    /// The arguments.
    #[must_use]
    pub fn arguments(&self) -> &TrainingArguments {
        &self.setup.arguments
    }

    /// The model as it is now.
    #[must_use]
    pub fn model(&self) -> &M {
        &self.model
    }

    /// The model, to freeze parameters.
    pub fn model_mut(&mut self) -> &mut M {
        &mut self.model
    }

    /// The trained model.
    #[must_use]
    pub fn into_model(self) -> M {
        self.model
    }
}

impl Losses {
    /// The loss of a dataset.
    pub(crate) fn of(&self, dataset: Option<&str>) -> Result<&dyn Objective> {
        match self {
            Self::Single(loss) => Ok(loss.as_ref()),
            Self::Named(named) => named
                .iter()
                .find(|(name, _)| Some(name.as_str()) == dataset)
                .map(|(_, loss)| loss.as_ref())
                .ok_or_else(|| TrainError::invalid(format!("there is no loss for the dataset {dataset:?}"))),
        }
    }

    /// Names (empty for the only one) and losses.
    pub(crate) fn all(&self) -> Vec<(&str, &dyn Objective)> {
        match self {
            Self::Single(loss) => vec![("", loss.as_ref())],
            Self::Named(named) => named.iter().map(|(name, loss)| (name.as_str(), loss.as_ref())).collect(),
        }
    }
}

impl Setup {
    /// Nothing but arguments.
    pub(crate) fn new(arguments: TrainingArguments) -> Self {
        Self {
            arguments,
            train: None,
            eval: None,
            losses: None,
            evaluators: Vec::new(),
            evaluator: None,
            callbacks: Vec::new(),
            optimizer: None,
            schedule: None,
            no_decay: NoDecay::Norms,
            batch_sampler: None,
            multi_dataset_batch_sampler: None,
            state: TrainerState::default(),
            card: card::Card::default(),
        }
    }

    /// Trains a model.
    pub(crate) fn train(&mut self, model: &dyn EmbeddingModel) -> Result<TrainOutcome> {
        let resume = self.resume()?;
        self.prepare(model)?;
        if self.train.is_none() {
            return Err(TrainError::invalid(
                "Training requires specifying a train_dataset to the SentenceTransformerTrainer.",
            ));
        }
        Run::new(model, self)?.train(resume.as_deref())
    }

    /// Fills in defaults and checks that everything fits.
    fn prepare(&mut self, model: &dyn EmbeddingModel) -> Result<()> {
        if self.losses.is_none() {
            log::info!("No `loss` passed, using `losses.CoSENTLoss` as a default option.");
            self.losses = Some(Losses::Single(Box::new(CoSentLoss::new())));
        }
        if self.evaluator.is_none() {
            self.evaluator = match self.evaluators.len() {
                0 => None,
                1 => self.evaluators.pop(),
                _ => Some(Box::new(SequentialEvaluator::new(std::mem::take(&mut self.evaluators))?)),
            };
        }
        checks::check(model, self)
    }

    fn resume(&self) -> Result<Option<PathBuf>> {
        let folder = &self.arguments.output_dir;
        match &self.arguments.resume_from_checkpoint {
            None | Some(Resume::Last(false)) => Ok(None),
            Some(Resume::Folder(folder)) => Ok(Some(folder.clone())),
            Some(Resume::Last(true)) => match checkpoint::last(folder)? {
                Some(last) => Ok(Some(last)),
                None => Err(TrainError::invalid(format!(
                    "No valid checkpoint found in output directory ({})",
                    folder.display()
                ))),
            },
        }
    }

    pub(crate) fn losses(&self) -> Result<&Losses> {
        self.losses.as_ref().ok_or_else(|| TrainError::invalid("there is no loss"))
    }
}
