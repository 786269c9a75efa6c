//! [`WeightedLayerPooling`]: a weighted mean of the encoder's layers, per token.

use serde_json::{Map, Value};
use st_encoder::{Pass, TensorSource, TokenEmbeddings, Weights};

use super::{Dataflow, Feature, Loader, Module, ModuleConfig, ModuleFolder, ModuleKind};
use crate::files::{ModuleWriter, SavedTensor};
use crate::{Error, ErrorKind, Features, NewWeights, Result};

/// The row of [`super::MODULES`].
pub(super) const WEIGHTED_LAYER_POOLING: ModuleKind = ModuleKind {
    name: "WeightedLayerPooling",
    aliases: &[],
    type_path: "sentence_transformers.models.WeightedLayerPooling",
    load: Loader::Inner(|folder| Ok(Box::new(WeightedLayerPooling::load(folder)?))),
};

/// `y = Σ wₗ·xₗ / Σ wₗ` over the hidden states `xₗ` of the layers `l` from `layer_start` on, for every token. Layer 0 is
/// the output of the embeddings, layer `num_hidden_layers` that of the last block.
///
/// The encoder is asked for its hidden states by the pipeline. (The original needs `output_hidden_states` in the
/// encoder's configuration for that, and fails without it.)
///
/// Shapes: tokens `[T, H]` per text and layer to `[T, H]` per text. Files: `config.json` with
/// `word_embedding_dimension`, `layer_start` (4) and `num_hidden_layers` (12); `layer_weights`
/// `[num_hidden_layers + 1 − layer_start]`.
///
/// ```
/// use sentence_transformers::modules::{Module, WeightedLayerPooling};
///
/// // The mean of the last two of twelve layers.
/// let pooling = WeightedLayerPooling::new(384, 11, vec![1.0, 1.0])?;
/// assert_eq!(pooling.needed_layers(), Some(13));
/// # Ok::<(), sentence_transformers::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct WeightedLayerPooling {
    dimension: usize,
    layer_start: usize,
    weights: Vec<f32>,
}

impl WeightedLayerPooling {
    /// A mean of the layers from `layer_start` to the last one, with one weight for each.
    ///
    /// # Errors
    /// Without weights, or when they add up to 0.
    pub fn new(dimension: usize, layer_start: usize, weights: Vec<f32>) -> Result<Self> {
        let sum: f32 = weights.iter().sum();
        if sum == 0.0 || !sum.is_finite() {
            let message = format!("{} layer weights add up to {sum}: nothing can be divided by that", weights.len());
            return Err(Error::new(ErrorKind::Argument, message));
        }
        Ok(Self { dimension, layer_start, weights })
    }

    /// The first of the hidden states that take part, counted from 0, the embeddings'.
    #[must_use]
    pub fn layer_start(&self) -> usize {
        self.layer_start
    }

    fn load(folder: &ModuleFolder) -> Result<Self> {
        let mut config = ModuleConfig::read(folder.file("config.json"))?;
        let dimension = config.size(&["word_embedding_dimension", "embedding_dimension"])?;
        let layer_start = config.optional_index(&["layer_start"])?.unwrap_or(4);
        let last = config.optional_size(&["num_hidden_layers"])?.unwrap_or(12);
        let count = (last + 1).checked_sub(layer_start).filter(|&count| count > 0).ok_or_else(|| {
            config.error(format_args!("'layer_start' {layer_start} lies behind the last layer, {last}"))
        })?;
        config.finish()?;
        let file = Weights::open(&folder.folder())?;
        let weights = file.tensor(&TensorSource::whole("layer_weights"), &[count])?.to_f32()?.into_owned();
        Self::new(dimension, layer_start, weights)
    }
}

impl Module for WeightedLayerPooling {
    fn kind(&self) -> &'static ModuleKind {
        &WEIGHTED_LAYER_POOLING
    }

    fn dataflow(&self) -> Dataflow {
        Dataflow { needs: Feature::LayerEmbeddings, gives: Feature::TokenEmbeddings }
    }

    fn forward(&self, mut features: Features, _: &Pass) -> Result<Features> {
        let tokens = features.take_tokens()?;
        let layers = tokens.layers().get(self.layer_start..).unwrap_or_default();
        if layers.len() != self.weights.len() {
            let message = format!("{} hidden states for {} layer weights", layers.len(), self.weights.len());
            return Err(Error::new(ErrorKind::Encode, message).with_hint("use a backend that gives every hidden state"));
        }
        let mut mean = vec![0f32; tokens.data().len()];
        for (layer, weight) in layers.iter().zip(&self.weights) {
            for (sum, x) in mean.iter_mut().zip(layer) {
                *sum += weight * x;
            }
        }
        let total: f32 = self.weights.iter().sum();
        mean.iter_mut().for_each(|sum| *sum /= total);
        features.token_embeddings = Some(TokenEmbeddings::new(mean, tokens.hidden(), tokens.offsets().to_vec())?);
        Ok(features)
    }

    fn output_dim(&self, input: usize) -> Result<usize, usize> {
        if input == self.dimension { Ok(input) } else { Err(self.dimension) }
    }

    fn needed_layers(&self) -> Option<usize> {
        Some(self.layer_start + self.weights.len())
    }

    fn save(&self, writer: &ModuleWriter) -> Result<()> {
        writer.config("config.json", self.config())?;
        writer.tensors(&self.tensors()?)
    }

    fn tensors(&self) -> Result<Vec<SavedTensor<'_>>> {
        Ok(vec![SavedTensor::new("layer_weights", [self.weights.len()], &self.weights[..])])
    }

    fn with_weights(&self, path: &str, weights: &mut NewWeights) -> Result<Box<dyn Module>> {
        let new = weights.take_or(&format!("{path}layer_weights"), &[self.weights.len()], &self.weights)?;
        Ok(Box::new(Self::new(self.dimension, self.layer_start, new)?))
    }

    fn config(&self) -> Map<String, Value> {
        [
            ("word_embedding_dimension".to_owned(), self.dimension.into()),
            ("layer_start".to_owned(), self.layer_start.into()),
            ("num_hidden_layers".to_owned(), (self.layer_start + self.weights.len() - 1).into()),
        ]
        .into_iter()
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use st_encoder::Batch;

    #[test]
    fn layers_are_averaged_by_hand() {
        let tokens = TokenEmbeddings::new(vec![0.0; 4], 2, vec![0, 2]).unwrap();
        let layers = vec![vec![9.0; 4], vec![1.0, 2.0, 3.0, 4.0], vec![5.0, 6.0, 7.0, 8.0]];
        let mut features = Features::new(Batch::from_sequences([&[1u32, 2][..]]));
        features.token_embeddings = Some(tokens.with_layers(layers).unwrap());
        let pooling = WeightedLayerPooling::new(2, 1, vec![3.0, 1.0]).unwrap();
        let out = pooling.forward(features, &Pass::default()).unwrap();
        assert_eq!(out.tokens().unwrap().data(), [2.0, 3.0, 4.0, 5.0]);
    }

    #[test]
    fn missing_layers_and_useless_weights_are_errors() {
        assert!(WeightedLayerPooling::new(2, 0, vec![]).is_err());
        assert!(WeightedLayerPooling::new(2, 0, vec![1.0, -1.0]).is_err());
        let mut features = Features::new(Batch::from_sequences([&[1u32][..]]));
        features.token_embeddings = Some(TokenEmbeddings::new(vec![0.0; 2], 2, vec![0, 1]).unwrap());
        let error =
            WeightedLayerPooling::new(2, 1, vec![1.0]).unwrap().forward(features, &Pass::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Encode);
    }
}
