//! [`Normalize`]: unit length.

use st_encoder::Pass;

use super::{Dataflow, Feature, Loader, Module, ModuleKind};
use crate::files::ModuleWriter;
use crate::{Features, NewWeights, Result};

/// The row of [`super::MODULES`].
pub(super) const NORMALIZE: ModuleKind = ModuleKind {
    name: "Normalize",
    aliases: &[],
    type_path: "sentence_transformers.models.Normalize",
    load: Loader::Inner(|_| Ok(Box::new(Normalize))),
};

/// Divides every sentence embedding by its Euclidean length, `x / max(‖x‖₂, 1e-12)`; a zero vector stays zero.
///
/// Shapes: `[N, D]` to `[N, D]`. It has no files, and its folder may be absent.
///
/// ```
/// use sentence_transformers::modules::{Module, Normalize};
///
/// assert_eq!(Normalize.output_dim(384), Ok(384));
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Normalize;

impl Module for Normalize {
    fn kind(&self) -> &'static ModuleKind {
        &NORMALIZE
    }

    fn dataflow(&self) -> Dataflow {
        Dataflow { needs: Feature::SentenceEmbedding, gives: Feature::SentenceEmbedding }
    }

    fn forward(&self, mut features: Features, _: &Pass) -> Result<Features> {
        let mut sentences = features.take_sentences()?;
        sentences.normalize();
        features.sentence_embeddings = Some(sentences);
        Ok(features)
    }

    fn output_dim(&self, input: usize) -> Result<usize, usize> {
        Ok(input)
    }

    fn save(&self, _: &ModuleWriter) -> Result<()> {
        Ok(())
    }

    fn with_weights(&self, _: &str, _: &mut NewWeights) -> Result<Box<dyn Module>> {
        Ok(Box::new(*self))
    }

    fn config(&self) -> serde_json::Map<String, serde_json::Value> {
        serde_json::Map::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::sentence_features;

    #[test]
    fn rows_get_unit_length_and_zero_stays_zero() {
        let features = sentence_features(&[vec![3.0, 4.0], vec![0.0, 0.0]]);
        let out = Normalize.forward(features, &Pass::default()).unwrap().sentence_embeddings.unwrap();
        assert_eq!(out.as_slice(), &[0.6, 0.8, 0.0, 0.0]);
    }
}
