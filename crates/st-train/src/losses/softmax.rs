use candle_core::{DType, Device, Tensor, Var};

use super::differentiable::{absolute, cross_entropy, exactly};
use crate::error::{Result, TrainError};
use crate::loss::{Described, Loss, LossCard, Targets};
use crate::model::Parameters;
use crate::random::Generator;

pub(super) const CARD: LossCard = LossCard {
    name: "SoftmaxLoss",
    aliases: &["Softmax"],
    columns: "(sentence a, sentence b)",
    at_least: 2,
    at_most: Some(2),
    labels: "a class per pair",
    formula: "CE(W·[a; b; |a − b|] + c, class)",
    paper: Some("https://arxiv.org/abs/1908.10084"),
};

/// Classifies pairs with a linear layer of its own over both embeddings.
///
/// # Formula
/// mean cross-entropy of softmax(W·[a; b; |a − b|; a∘b] + c) and the class. By default the last part is left out.
/// W and c are parameters of the loss, trained with the model and left behind afterwards.
///
/// # Columns
/// Two texts and a class, such as entailment, neutral, contradiction.
///
/// # When to use
/// For natural language inference data with classes. [`MultipleNegativesRankingLoss`](super::MultipleNegativesRankingLoss)
/// over (anchor, entailment, contradiction) usually gives better embeddings.
///
/// # See also
/// [`MultipleNegativesRankingLoss`](super::MultipleNegativesRankingLoss),
/// [`CosineSimilarityLoss`](super::CosineSimilarityLoss).
///
/// # Reference
/// Reimers and Gurevych, *Sentence-BERT*, 2019, <https://arxiv.org/abs/1908.10084>.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use st_train::losses::SoftmaxLoss;
/// use st_train::{Described, Loss, Targets};
///
/// let loss = SoftmaxLoss::new(2, 3, 42, DType::F32, &Device::Cpu)?; // dimension 2, 3 classes, seed 42
/// let a = Tensor::new(&[[1f32, 0.0], [0.5, 0.5]], &Device::Cpu)?;
/// let value = loss.compute(&[a.clone(), a], &Targets::Classes(vec![0, 2]))?;
/// value.backward()?;
/// assert_eq!(loss.parameters().iter().map(|p| p.name().to_owned()).collect::<Vec<_>>(), ["classifier.weight", "classifier.bias"]);
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug, Clone)]
pub struct SoftmaxLoss {
    labels: usize,
    dimension: usize,
    parts: Parts,
    weight: Var,
    bias: Var,
}

/// What the classifier reads.
#[derive(Debug, Clone, Copy)]
struct Parts {
    embeddings: bool,
    difference: bool,
    product: bool,
}

impl Parts {
    fn count(self) -> usize {
        2 * usize::from(self.embeddings) + usize::from(self.difference) + usize::from(self.product)
    }
}

impl SoftmaxLoss {
    /// A classifier over [a; b; |a − b|], with random weights as PyTorch draws them for a linear layer.
    ///
    /// # Errors
    /// When there is no label or no component.
    pub fn new(dimension: usize, labels: usize, seed: u64, data_type: DType, device: &Device) -> Result<Self> {
        Self::with_parts(dimension, labels, [true, true, false], seed, data_type, device)
    }

    /// A classifier that reads any of: both embeddings (`concatenation_sent_rep`), |a − b|
    /// (`concatenation_sent_difference`), a∘b (`concatenation_sent_multiplication`).
    ///
    /// # Errors
    /// When it reads nothing, or there is no label or no component.
    pub fn with_parts(
        dimension: usize,
        labels: usize,
        [embeddings, difference, product]: [bool; 3],
        seed: u64,
        data_type: DType,
        device: &Device,
    ) -> Result<Self> {
        let parts = Parts { embeddings, difference, product };
        let inputs = parts.count() * dimension;
        if inputs == 0 || labels == 0 {
            let message = format!("is a classifier from {inputs} components to {labels} labels: neither may be 0");
            return Err(TrainError::option("num_labels", message));
        }
        // U(−1/√inputs, 1/√inputs), the weight first.
        #[expect(clippy::cast_precision_loss, reason = "layers are narrower than 2²⁴")]
        let bound = 1.0 / (inputs as f32).sqrt();
        let mut generator = Generator::new(seed);
        let mut draw = |shape: &[usize]| -> Result<Var> {
            let count = shape.iter().product();
            let numbers: Vec<f32> = (0..count).map(|_| generator.uniform() * 2.0 * bound - bound).collect();
            Ok(Var::from_tensor(
                &Tensor::from_vec(numbers, shape, &Device::Cpu)?.to_dtype(data_type)?.to_device(device)?,
            )?)
        };
        Ok(Self { labels, dimension, parts, weight: draw(&[labels, inputs])?, bias: draw(&[labels])? })
    }

    /// Sets the classifier: weight `[labels, parts·dimension]` and bias `[labels]`.
    ///
    /// # Errors
    /// When the shapes are others.
    pub fn set_classifier(&self, weight: &Tensor, bias: &Tensor) -> Result<()> {
        if weight.dims() != self.weight.dims() || bias.dims() != self.bias.dims() {
            let (weight, bias) = (weight.dims(), bias.dims());
            let message = format!("{:?} and {:?}, got {weight:?} and {bias:?}", self.weight.dims(), self.bias.dims());
            return Err(CARD.error(format!("expected a classifier of shapes {message}")));
        }
        self.weight.set(&weight.to_dtype(self.weight.dtype())?.to_device(self.weight.device())?)?;
        self.bias.set(&bias.to_dtype(self.bias.dtype())?.to_device(self.bias.device())?)?;
        Ok(())
    }

    /// What the classifier says about pairs, before the softmax: `[rows, labels]`.
    ///
    /// # Errors
    /// When the columns are not two of the classifier's dimension.
    pub fn logits(&self, columns: &[Tensor]) -> Result<Tensor> {
        let [a, b] = exactly(&CARD, columns)?;
        if a.dim(1)? != self.dimension {
            let message = format!("embeddings have {} components, the classifier takes {}", a.dim(1)?, self.dimension);
            return Err(CARD.error(message));
        }
        let mut read = Vec::new();
        if self.parts.difference {
            read.push(absolute(&a.sub(&b)?)?);
        }
        if self.parts.product {
            read.push(a.mul(&b)?);
        }
        if self.parts.embeddings {
            read.splice(0..0, [a, b]);
        }
        let (weight, bias) = (self.weight.to_dtype(read[0].dtype())?, self.bias.to_dtype(read[0].dtype())?);
        Ok(Tensor::cat(&read, 1)?.matmul(&weight.t()?)?.broadcast_add(&bias)?)
    }
}

impl Described for SoftmaxLoss {
    fn card(&self) -> &'static LossCard {
        &CARD
    }

    fn parameters(&self) -> Parameters {
        let mut parameters = Parameters::new();
        for (name, variable) in [("classifier.weight", &self.weight), ("classifier.bias", &self.bias)] {
            // The names differ, which is all that could go wrong.
            let _ = parameters.push(name, variable.clone());
        }
        parameters
    }
}

impl Loss for SoftmaxLoss {
    fn compute(&self, columns: &[Tensor], targets: &Targets) -> Result<Tensor> {
        let logits = self.logits(columns)?;
        let classes = targets.classes(&CARD, logits.dim(0)?)?;
        let wanted = classes.iter().map(|&class| u32::try_from(class).ok().filter(|&c| (c as usize) < self.labels));
        match wanted.collect::<Option<Vec<u32>>>() {
            Some(wanted) => cross_entropy(&logits, &wanted),
            None => {
                let message = format!("classes are 0 to {}, got {classes:?}; set num_labels", self.labels - 1);
                Err(CARD.error(message))
            }
        }
    }
}
