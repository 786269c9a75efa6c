//! [`fit`] and [`old_fit`]: training as it was before the trainer, for programs that call it.

mod callback;
mod collate;
mod contrastive_tension;
mod denoising;
mod label_groups;
mod loaders;
mod new;
mod old;
mod options;
mod parallel_sentences;

use crate::loss::Objective;

pub use collate::smart_batching_collate;
pub use contrastive_tension::ContrastiveTensionDataLoader;
pub use denoising::{DenoisingAutoEncoderDataset, delete_words};
pub use label_groups::SentenceLabelDataset;
pub use loaders::{DataLoader, ExampleLoader, LoaderKind, NoDuplicatesDataLoader};
pub use new::fit;
pub use old::old_fit;
pub use options::{FitOptions, MakeOwnOptimizer, OptimizerChoice, ScoreCallback};
pub use parallel_sentences::ParallelSentencesDataset;

/// What [`fit`] trains on: examples and their loss.
///
/// ```
/// use st_train::fit::{DataLoader, FitObjective};
/// use st_train::losses::CosineSimilarityLoss;
/// use st_train::readers::InputExample;
///
/// let examples = vec![InputExample::new(["a cat", "a dog"]).label(0.8)];
/// let objective = FitObjective::new(DataLoader::new(examples, 16).shuffle(42), CosineSimilarityLoss::new());
/// assert_eq!(objective.loader.len(), 1);
/// ```
#[derive(Debug)]
pub struct FitObjective {
    /// The examples.
    pub loader: Box<dyn ExampleLoader>,
    /// The loss.
    pub loss: Box<dyn Objective>,
}

impl FitObjective {
    /// Examples and a loss.
    #[must_use]
    pub fn new(loader: impl ExampleLoader + 'static, loss: impl Objective + 'static) -> Self {
        Self { loader: Box::new(loader), loss: Box::new(loss) }
    }
}
