//! [`Dense`]: a linear map of sentence embeddings with an activation.

use st_encoder::{Pass, TensorSource, Weights};
use st_vectors::Embeddings;

use super::{Dataflow, Feature, Loader, Module, ModuleConfig, ModuleFolder, ModuleKind};
use crate::files::{ModuleWriter, SavedTensor};
use crate::{Error, ErrorKind, Features, NewWeights, Result};

/// The row of [`super::MODULES`].
pub(super) const DENSE: ModuleKind = ModuleKind {
    name: "Dense",
    aliases: &[],
    type_path: "sentence_transformers.models.Dense",
    load: Loader::Inner(|folder| Ok(Box::new(Dense::load(folder)?))),
};

/// Names of the weights.
const WEIGHT: &str = "linear.weight";
const BIAS: &str = "linear.bias";

/// `y = activation(x·Wᵀ + b)`.
///
/// Shapes: `[N, in]` to `[N, out]`. Files: `config.json` with `in_features`, `out_features`, `bias`,
/// `activation_function`; `linear.weight` `[out, in]`, `linear.bias` `[out]`.
///
/// ```
/// use sentence_transformers::modules::{Dense, DenseActivation, Module};
///
/// let dense = Dense::new(2, 1, vec![1.0, -1.0], Some(vec![0.5]), DenseActivation::Identity)?;
/// assert_eq!(dense.output_dim(2), Ok(1));
/// assert_eq!(dense.output_dim(3), Err(2));
/// # Ok::<(), sentence_transformers::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Dense {
    in_features: usize,
    out_features: usize,
    weight: Vec<f32>,
    bias: Option<Vec<f32>>,
    activation: DenseActivation,
}

/// Activation functions of [`Dense`], by the class names of PyTorch without arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DenseActivation {
    /// `x`.
    Identity,
    /// Hyperbolic tangent, the default.
    Tanh,
    /// `max(0, x)`.
    Relu,
    /// `x·Φ(x)` with the error function.
    Gelu,
    /// `1 / (1 + e⁻ˣ)`.
    Sigmoid,
    /// `x·sigmoid(x)`.
    Silu,
    /// `x` where positive, else `0.01·x`.
    LeakyRelu,
    /// `x` where positive, else `eˣ − 1`.
    Elu,
    /// `ln(1 + eˣ)`; `x` itself above 20.
    Softplus,
    /// `x` cut to −1 … 1.
    Hardtanh,
    /// `x·tanh(softplus(x))`.
    Mish,
    /// `x` cut to 0 … 6.
    Relu6,
}

impl DenseActivation {
    /// All of them with the dotted class name that the original writes.
    pub const ALL: [(&'static str, Self); 12] = [
        ("torch.nn.modules.linear.Identity", Self::Identity),
        ("torch.nn.modules.activation.Tanh", Self::Tanh),
        ("torch.nn.modules.activation.ReLU", Self::Relu),
        ("torch.nn.modules.activation.GELU", Self::Gelu),
        ("torch.nn.modules.activation.Sigmoid", Self::Sigmoid),
        ("torch.nn.modules.activation.SiLU", Self::Silu),
        ("torch.nn.modules.activation.LeakyReLU", Self::LeakyRelu),
        ("torch.nn.modules.activation.ELU", Self::Elu),
        ("torch.nn.modules.activation.Softplus", Self::Softplus),
        ("torch.nn.modules.activation.Hardtanh", Self::Hardtanh),
        ("torch.nn.modules.activation.Mish", Self::Mish),
        ("torch.nn.modules.activation.ReLU6", Self::Relu6),
    ];

    /// The dotted class name that the original writes.
    #[must_use]
    pub fn class_name(self) -> &'static str {
        Self::ALL.iter().find(|(_, activation)| *activation == self).map_or("", |(name, _)| name)
    }

    fn from_class_name(name: &str) -> Option<Self> {
        let last = |name: &str| name.rsplit('.').next().map(str::to_owned);
        if !name.starts_with("torch.nn.") {
            return None;
        }
        Self::ALL.iter().find(|(known, _)| last(known) == last(name)).map(|(_, activation)| *activation)
    }

    fn apply(self, x: f32) -> f32 {
        match self {
            Self::Identity => x,
            Self::Tanh => x.tanh(),
            Self::Relu => x.max(0.0),
            Self::Gelu => gelu(x),
            Self::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Self::Silu => x / (1.0 + (-x).exp()),
            Self::LeakyRelu => x.max(0.01 * x),
            Self::Elu => {
                if x > 0.0 {
                    x
                } else {
                    x.exp_m1()
                }
            }
            Self::Softplus => softplus(x),
            Self::Hardtanh => x.clamp(-1.0, 1.0),
            Self::Mish => x * softplus(x).tanh(),
            Self::Relu6 => x.clamp(0.0, 6.0),
        }
    }
}

/// `ln(1 + eˣ)`, which is `x` itself to the last bit above 20.
fn softplus(x: f32) -> f32 {
    if x > 20.0 { x } else { x.exp().ln_1p() }
}

/// GELU by the error function's Maclaurin series near zero and its continued fraction elsewhere, in 64 bits.
fn gelu(x: f32) -> f32 {
    let z = f64::from(x) / std::f64::consts::SQRT_2;
    let a = z.abs();
    let erf = if a < 2.5 {
        let (mut term, mut sum) = (a, a);
        for n in 1..80 {
            term *= -a * a / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    } else {
        let fraction = (1..60).rev().fold(0.0, |fraction, k| f64::from(k) / 2.0 / (a + fraction));
        1.0 - (-a * a).exp() / std::f64::consts::PI.sqrt() / (a + fraction)
    };
    (0.5 * f64::from(x) * (1.0 + erf.copysign(z))) as f32
}

impl Dense {
    /// A linear map with weight `[out, in]`, row-major.
    ///
    /// # Errors
    /// When the numbers do not fit the shapes.
    pub fn new(
        in_features: usize,
        out_features: usize,
        weight: Vec<f32>,
        bias: Option<Vec<f32>>,
        activation: DenseActivation,
    ) -> Result<Self> {
        let fits = in_features.checked_mul(out_features) == Some(weight.len())
            && bias.as_ref().is_none_or(|bias| bias.len() == out_features);
        if !fits {
            let message = format!("{} weights are not {out_features} rows of {in_features}", weight.len());
            return Err(Error::new(ErrorKind::Argument, message));
        }
        Ok(Self { in_features, out_features, weight, bias, activation })
    }

    fn load(folder: &ModuleFolder) -> Result<Self> {
        let mut config = ModuleConfig::read(folder.file("config.json"))?;
        let in_features = config.size(&["in_features"])?;
        let out_features = config.size(&["out_features"])?;
        let has_bias = config.flag("bias")?.unwrap_or(true);
        let activation = match config.text("activation_function")? {
            None => DenseActivation::Tanh,
            Some(name) => DenseActivation::from_class_name(&name).ok_or_else(|| {
                let known: Vec<_> = DenseActivation::ALL.iter().map(|(name, _)| *name).collect();
                config
                    .error(format_args!("'activation_function' {name} is not supported"))
                    .with_hint(format!("supported are {}", known.join(", ")))
            })?,
        };
        for name in ["module_input_name", "module_output_name"] {
            if let Some(feature) = config.text(name)?
                && feature != "sentence_embedding"
            {
                return Err(
                    config.error(format_args!("'{name}' {feature} is not supported, only sentence_embedding is"))
                );
            }
        }
        config.finish()?;
        let weights = Weights::open(&folder.folder())?;
        let read = |name: &str, shape: &[usize]| -> Result<Vec<f32>> {
            Ok(weights.tensor(&TensorSource::whole(name), shape)?.to_f32()?.into_owned())
        };
        let weight = read(WEIGHT, &[out_features, in_features])?;
        let bias = if has_bias { Some(read(BIAS, &[out_features])?) } else { None };
        Self::new(in_features, out_features, weight, bias, activation)
    }

    /// The activation.
    #[must_use]
    pub fn activation(&self) -> DenseActivation {
        self.activation
    }
}

/// Sum of products in eight lanes: one order for every row, and a loop that vectorises.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0f32; 8];
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let tail: f32 = a8.remainder().iter().zip(b8.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a8.zip(b8) {
        for lane in 0..8 {
            lanes[lane] += x[lane] * y[lane];
        }
    }
    lanes.iter().sum::<f32>() + tail
}

impl Module for Dense {
    fn kind(&self) -> &'static ModuleKind {
        &DENSE
    }

    fn dataflow(&self) -> Dataflow {
        Dataflow { needs: Feature::SentenceEmbedding, gives: Feature::SentenceEmbedding }
    }

    fn forward(&self, mut features: Features, _: &Pass) -> Result<Features> {
        let sentences = features.take_sentences()?;
        let mut out = Embeddings::zeros(sentences.rows(), self.out_features);
        for index in 0..sentences.rows() {
            let input = sentences.row(index);
            for (column, y) in out.row_mut(index).iter_mut().enumerate() {
                let weight = &self.weight[column * self.in_features..(column + 1) * self.in_features];
                let bias = self.bias.as_ref().map_or(0.0, |bias| bias[column]);
                *y = self.activation.apply(dot(input, weight) + bias);
            }
        }
        features.sentence_embeddings = Some(out);
        Ok(features)
    }

    fn output_dim(&self, input: usize) -> Result<usize, usize> {
        if input == self.in_features { Ok(self.out_features) } else { Err(self.in_features) }
    }

    fn save(&self, writer: &ModuleWriter) -> Result<()> {
        writer.config("config.json", self.config())?;
        writer.tensors(&self.tensors()?)
    }

    fn tensors(&self) -> Result<Vec<SavedTensor<'_>>> {
        let mut tensors = vec![SavedTensor::new(WEIGHT, [self.out_features, self.in_features], &self.weight[..])];
        if let Some(bias) = &self.bias {
            tensors.push(SavedTensor::new(BIAS, [self.out_features], &bias[..]));
        }
        Ok(tensors)
    }

    fn with_weights(&self, path: &str, weights: &mut NewWeights) -> Result<Box<dyn Module>> {
        let shape = [self.out_features, self.in_features];
        let weight = weights.take_or(&format!("{path}{WEIGHT}"), &shape, &self.weight)?;
        let bias = match &self.bias {
            None => None,
            Some(bias) => Some(weights.take_or(&format!("{path}{BIAS}"), &shape[..1], bias)?),
        };
        Ok(Box::new(Self { weight, bias, ..*self }))
    }

    fn config(&self) -> serde_json::Map<String, serde_json::Value> {
        [
            ("in_features".to_owned(), self.in_features.into()),
            ("out_features".to_owned(), self.out_features.into()),
            ("bias".to_owned(), self.bias.is_some().into()),
            ("activation_function".to_owned(), self.activation.class_name().into()),
        ]
        .into_iter()
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::sentence_features;

    #[test]
    fn rows_by_hand() {
        let dense = Dense::new(2, 2, vec![1.0, 2.0, -1.0, 0.5], Some(vec![0.0, 1.0]), DenseActivation::Relu).unwrap();
        let out = dense.forward(sentence_features(&[vec![1.0, 1.0], vec![4.0, -3.0]]), &Pass::default()).unwrap();
        assert_eq!(out.sentence_embeddings.unwrap().as_slice(), &[3.0, 0.5, 0.0, 0.0]);
    }

    #[test]
    fn gelu_matches_known_values() {
        for (x, y) in [(1.0f32, 0.841_344_7f32), (-1.0, -0.158_655_25), (3.0, 2.995_950_3), (-4.0, -0.000_126_684_96)] {
            assert!((gelu(x) - y).abs() < 1e-6, "{x}: {} {y}", gelu(x));
        }
    }

    #[test]
    fn class_names_of_any_module_path_are_understood() {
        assert_eq!(DenseActivation::from_class_name("torch.nn.Tanh"), Some(DenseActivation::Tanh));
        assert_eq!(
            DenseActivation::from_class_name("torch.nn.modules.linear.Identity"),
            Some(DenseActivation::Identity)
        );
        assert_eq!(DenseActivation::from_class_name("os.system"), None);
    }
}
