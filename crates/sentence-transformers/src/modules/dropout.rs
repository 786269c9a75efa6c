//! [`Dropout`]: does nothing outside training.

use st_encoder::Pass;

use super::{Dataflow, Feature, Loader, Module, ModuleConfig, ModuleFolder, ModuleKind};
use crate::files::ModuleWriter;
use crate::{Features, NewWeights, Result};

/// The row of [`super::MODULES`].
pub(super) const DROPOUT: ModuleKind = ModuleKind {
    name: "Dropout",
    aliases: &[],
    type_path: "sentence_transformers.models.Dropout",
    load: Loader::Inner(|folder| Ok(Box::new(Dropout::load(folder)?))),
};

/// Zeroes components at random while training (Srivastava et al. 2014); encoding passes through unchanged.
///
/// Shapes: `[N, D]` to `[N, D]`.
///
/// ```
/// use sentence_transformers::modules::Dropout;
///
/// assert_eq!(Dropout::new(0.2)?.probability(), 0.2);
/// assert!(Dropout::new(1.5).is_err());
/// # Ok::<(), sentence_transformers::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    probability: f64,
}

impl Dropout {
    /// A dropout with the probability of a component being zeroed.
    ///
    /// # Errors
    /// Outside 0 to 1.
    pub fn new(probability: f64) -> Result<Self> {
        if (0.0..=1.0).contains(&probability) {
            Ok(Self { probability })
        } else {
            Err(crate::Error::new(
                crate::ErrorKind::Argument,
                format!("a dropout probability of {probability} is not between 0 and 1"),
            ))
        }
    }

    fn load(folder: &ModuleFolder) -> Result<Self> {
        let mut config = ModuleConfig::read(folder.file("config.json"))?;
        let probability = config.number("dropout")?.unwrap_or(0.2);
        config.finish()?;
        Self::new(probability)
    }

    /// Probability of a component being zeroed.
    #[must_use]
    pub fn probability(&self) -> f64 {
        self.probability
    }
}

impl Module for Dropout {
    fn kind(&self) -> &'static ModuleKind {
        &DROPOUT
    }

    fn dataflow(&self) -> Dataflow {
        Dataflow { needs: Feature::SentenceEmbedding, gives: Feature::SentenceEmbedding }
    }

    fn forward(&self, features: Features, _: &Pass) -> Result<Features> {
        Ok(features)
    }

    fn output_dim(&self, input: usize) -> Result<usize, usize> {
        Ok(input)
    }

    fn save(&self, writer: &ModuleWriter) -> Result<()> {
        writer.config("config.json", self.config())
    }

    fn with_weights(&self, _: &str, _: &mut NewWeights) -> Result<Box<dyn Module>> {
        Ok(Box::new(*self))
    }

    fn config(&self) -> serde_json::Map<String, serde_json::Value> {
        [("dropout".to_owned(), self.probability.into())].into_iter().collect()
    }
}
