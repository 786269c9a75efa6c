//! [`LayerNorm`]: mean and variance over the components of sentence embeddings.

use st_encoder::{Pass, TensorSource, Weights};

use super::{Dataflow, Feature, Loader, Module, ModuleConfig, ModuleFolder, ModuleKind};
use crate::files::{ModuleWriter, SavedTensor};
use crate::{Features, NewWeights, Result};

/// The row of [`super::MODULES`].
pub(super) const LAYER_NORM: ModuleKind = ModuleKind {
    name: "LayerNorm",
    aliases: &[],
    type_path: "sentence_transformers.models.LayerNorm",
    load: Loader::Inner(|folder| Ok(Box::new(LayerNorm::load(folder)?))),
};

/// `y = (x − mean) / √(variance + 1e-5) · weight + bias` over the components of each row (Ba et al. 2016).
///
/// Shapes: `[N, D]` to `[N, D]`. Files: `config.json` with `dimension`; `norm.weight`, `norm.bias`.
///
/// ```
/// use sentence_transformers::modules::LayerNorm;
///
/// let norm = LayerNorm::new(vec![1.0, 1.0], vec![0.0, 0.0])?;
/// assert_eq!(norm.dimension(), 2);
/// # Ok::<(), sentence_transformers::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct LayerNorm {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

/// PyTorch's default, which the original does not change.
const EPSILON: f64 = 1e-5;

impl LayerNorm {
    /// A layer norm with the given weight and bias.
    ///
    /// # Errors
    /// When the two differ in length.
    pub fn new(weight: Vec<f32>, bias: Vec<f32>) -> Result<Self> {
        if weight.len() == bias.len() {
            Ok(Self { weight, bias })
        } else {
            let message = format!("a layer norm with {} weights and {} biases", weight.len(), bias.len());
            Err(crate::Error::new(crate::ErrorKind::Argument, message))
        }
    }

    fn load(folder: &ModuleFolder) -> Result<Self> {
        let mut config = ModuleConfig::read(folder.file("config.json"))?;
        let dimension = config.size(&["dimension"])?;
        config.finish()?;
        let weights = Weights::open(&folder.folder())?;
        let read = |name: &str| -> Result<Vec<f32>> {
            Ok(weights.tensor(&TensorSource::whole(name), &[dimension])?.to_f32()?.into_owned())
        };
        Self::new(read("norm.weight")?, read("norm.bias")?)
    }

    /// Components of the vectors it takes.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.weight.len()
    }
}

impl Module for LayerNorm {
    fn kind(&self) -> &'static ModuleKind {
        &LAYER_NORM
    }

    fn dataflow(&self) -> Dataflow {
        Dataflow { needs: Feature::SentenceEmbedding, gives: Feature::SentenceEmbedding }
    }

    fn forward(&self, mut features: Features, _: &Pass) -> Result<Features> {
        let mut sentences = features.take_sentences()?;
        for index in 0..sentences.rows() {
            let row = sentences.row_mut(index);
            let count = row.len() as f64;
            let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
            let variance = row.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / count;
            let scale = 1.0 / (variance + EPSILON).sqrt();
            for ((x, weight), bias) in row.iter_mut().zip(&self.weight).zip(&self.bias) {
                *x = ((f64::from(*x) - mean) * scale * f64::from(*weight) + f64::from(*bias)) as f32;
            }
        }
        features.sentence_embeddings = Some(sentences);
        Ok(features)
    }

    fn output_dim(&self, input: usize) -> Result<usize, usize> {
        if input == self.dimension() { Ok(input) } else { Err(self.dimension()) }
    }

    fn save(&self, writer: &ModuleWriter) -> Result<()> {
        writer.config("config.json", self.config())?;
        writer.tensors(&self.tensors()?)
    }

    fn tensors(&self) -> Result<Vec<SavedTensor<'_>>> {
        let tensor = |name, data| SavedTensor::new(name, [self.dimension()], data);
        Ok(vec![tensor("norm.weight", &self.weight[..]), tensor("norm.bias", &self.bias[..])])
    }

    fn with_weights(&self, path: &str, weights: &mut NewWeights) -> Result<Box<dyn Module>> {
        let shape = [self.dimension()];
        let weight = weights.take_or(&format!("{path}norm.weight"), &shape, &self.weight)?;
        let bias = weights.take_or(&format!("{path}norm.bias"), &shape, &self.bias)?;
        Ok(Box::new(Self { weight, bias }))
    }

    fn config(&self) -> serde_json::Map<String, serde_json::Value> {
        [("dimension".to_owned(), self.dimension().into())].into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::sentence_features;

    #[test]
    fn a_row_by_hand() {
        let norm = LayerNorm::new(vec![1.0, 2.0], vec![0.0, 0.5]).unwrap();
        let out = norm.forward(sentence_features(&[vec![1.0, 3.0]]), &Pass::default()).unwrap();
        let unit = 1.0 / (1.0f64 + 1e-5).sqrt();
        let expected = [-unit as f32, (2.0 * unit + 0.5) as f32];
        assert_eq!(out.sentence_embeddings.unwrap().row(0), &expected);
        assert_eq!(norm.output_dim(3), Err(2));
    }
}
