//! Batch samplers: in which rows, and in which order, a dataset is read. [`BATCH_SAMPLERS`] lists those of one dataset,
//! [`MULTI_DATASET_BATCH_SAMPLERS`] those that put several together.
//!
//! For the same seed the orders are those of the original, to the row: that is why the shuffled order takes the training
//! seed, why the other samplers of a single dataset always take seed 0, and why samplers among several datasets share one
//! generator.

mod group_by_label;
mod no_duplicates;
mod order;
mod plain;
mod several;

use std::fmt::Debug;
use std::sync::Arc;

use crate::data::Dataset;
use crate::random::Generator;
use crate::{Result, TrainError};

pub use group_by_label::GroupByLabelBatchSampler;
pub use no_duplicates::NoDuplicatesBatchSampler;
pub use order::{BatchOrder, OrderState};
pub use plain::{SequentialBatchSampler, ShuffledBatchSampler};
pub use several::{ProportionalBatchSampler, RoundRobinBatchSampler};

/// Gives the rows of an epoch, batch by batch.
///
/// A sampler must be a function of the epoch and the generator alone: a run that resumes starts the epoch anew and skips
/// what it has had.
pub trait BatchSampler: Debug + Send {
    /// How many batches an epoch is expected to have: the trainer reads at most as many, and plans with this number.
    fn batches(&self) -> usize;

    /// Starts an epoch.
    fn start(&mut self, epoch: u64);

    /// The rows of the next batch; `None` at the end of the epoch.
    ///
    /// # Errors
    /// When a row cannot be read.
    fn next_batch(&mut self, generator: &mut Generator) -> Result<Option<Vec<usize>>>;
}

/// What a sampler of one dataset is made from.
#[derive(Debug, Clone)]
pub struct SamplerInput {
    /// The rows.
    pub dataset: Arc<dyn Dataset>,
    /// Rows per batch.
    pub batch_size: usize,
    /// Leaves out a last batch that is not full.
    pub drop_last: bool,
    /// Names of columns that hold labels.
    pub label_columns: Vec<String>,
    /// The seed to which the epoch is added; `None`: the generator is taken as it is.
    pub seed: Option<u64>,
}

impl SamplerInput {
    fn check(&self) -> Result<()> {
        match self.batch_size {
            0 => Err(TrainError::option("batch_size", "should be a positive integer value, but got batch_size=0")),
            _ => Ok(()),
        }
    }

    /// Batches of all rows.
    fn expected(&self) -> usize {
        let rows = self.dataset.len();
        if self.drop_last { rows / self.batch_size } else { rows.div_ceil(self.batch_size) }
    }

    /// Puts the generator where the epoch begins.
    fn seed(&self, epoch: u64, generator: &mut Generator) {
        if let Some(seed) = self.seed {
            generator.seed(seed.wrapping_add(epoch));
        }
    }
}

/// Makes a sampler of one dataset.
pub type MakeSampler = fn(SamplerInput) -> Result<Box<dyn BatchSampler>>;

/// Makes a sampler of several datasets from theirs and their numbers of rows; reseeds with the last number plus the epoch.
pub type MakeSeveral = fn(Vec<Box<dyn BatchSampler>>, Vec<usize>, u64) -> Result<Box<dyn BatchSampler>>;

/// A row of [`BATCH_SAMPLERS`].
#[derive(Debug, Clone, Copy)]
pub struct SamplerKind {
    /// Its name in the training arguments.
    pub name: &'static str,
    /// What it does.
    pub summary: &'static str,
    /// The seed that it has for a single dataset; `None`: that of the training arguments.
    pub seed: Option<u64>,
    /// Makes one.
    pub make: MakeSampler,
}

/// A row of [`MULTI_DATASET_BATCH_SAMPLERS`].
#[derive(Debug, Clone, Copy)]
pub struct SeveralKind {
    /// Its name in the training arguments.
    pub name: &'static str,
    /// What it does.
    pub summary: &'static str,
    /// Makes one.
    pub make: MakeSeveral,
}

/// The samplers of one dataset.
///
/// ```
/// use st_train::samplers::BATCH_SAMPLERS;
/// let names: Vec<_> = BATCH_SAMPLERS.iter().map(|kind| kind.name).collect();
/// assert_eq!(names, ["batch_sampler", "no_duplicates", "group_by_label", "sequential"]);
/// ```
pub const BATCH_SAMPLERS: &[SamplerKind] = &[
    SamplerKind {
        name: "batch_sampler",
        summary: "shuffled rows",
        seed: None,
        make: |input| Ok(Box::new(ShuffledBatchSampler::new(input)?)),
    },
    SamplerKind {
        name: "no_duplicates",
        summary: "shuffled rows, no text twice in a batch",
        seed: Some(0),
        make: |input| Ok(Box::new(NoDuplicatesBatchSampler::new(input)?)),
    },
    SamplerKind {
        name: "group_by_label",
        summary: "label by label, so that each batch has several rows of each of its labels",
        seed: Some(0),
        make: |input| Ok(Box::new(GroupByLabelBatchSampler::new(input)?)),
    },
    SamplerKind {
        name: "sequential",
        summary: "rows in their order",
        seed: None,
        make: |input| Ok(Box::new(SequentialBatchSampler::new(input)?)),
    },
];

/// The samplers of several datasets.
///
/// ```
/// use st_train::samplers::MULTI_DATASET_BATCH_SAMPLERS;
/// let names: Vec<_> = MULTI_DATASET_BATCH_SAMPLERS.iter().map(|kind| kind.name).collect();
/// assert_eq!(names, ["proportional", "round_robin"]);
/// ```
pub const MULTI_DATASET_BATCH_SAMPLERS: &[SeveralKind] = &[
    SeveralKind {
        name: "proportional",
        summary: "a batch of a random dataset each time, as often as the dataset has batches",
        make: |samplers, rows, seed| Ok(Box::new(ProportionalBatchSampler::new(samplers, rows, seed)?)),
    },
    SeveralKind {
        name: "round_robin",
        summary: "a batch of each dataset in turn, until one is used up",
        make: |samplers, rows, seed| Ok(Box::new(RoundRobinBatchSampler::new(samplers, rows, seed)?)),
    },
];

/// The sampler of one dataset by its name.
///
/// # Errors
/// When there is none of that name.
pub fn batch_sampler(name: &str) -> Result<&'static SamplerKind> {
    BATCH_SAMPLERS.iter().find(|kind| kind.name == name).ok_or_else(|| {
        let known: Vec<&str> = BATCH_SAMPLERS.iter().map(|kind| kind.name).collect();
        TrainError::option("batch_sampler", format!("is '{name}', but should be one of '{}'", known.join("', '")))
    })
}

/// The sampler of several datasets by its name.
///
/// # Errors
/// When there is none of that name.
pub fn multi_dataset_batch_sampler(name: &str) -> Result<&'static SeveralKind> {
    MULTI_DATASET_BATCH_SAMPLERS.iter().find(|kind| kind.name == name).ok_or_else(|| {
        let known: Vec<&str> = MULTI_DATASET_BATCH_SAMPLERS.iter().map(|kind| kind.name).collect();
        let message = format!("is '{name}', but should be one of '{}'", known.join("', '"));
        TrainError::option("multi_dataset_batch_sampler", message)
    })
}
