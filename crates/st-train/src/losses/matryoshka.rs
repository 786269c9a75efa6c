use candle_core::Tensor;
use candle_core::backprop::GradStore;
use serde_json::{Map, Value, json};

use super::differentiable::{NORM_FLOOR, at_least_f32, normalize};
use super::gradient_cache::{bound_backward, bound_forward};
use super::{settings, whole};
use crate::error::{Result, TrainError};
use crate::loss::{Bound, Described, LossCard, LossValue, Objective, ObjectiveBatch, Targets};
use crate::model::{EmbeddingModel, Parameters, TrainingPass};

pub(super) const CARD: LossCard = LossCard {
    name: "MatryoshkaLoss",
    aliases: &["Matryoshka"],
    columns: "those of the inner loss",
    at_least: 1,
    at_most: None,
    labels: "those of the inner loss",
    formula: "Σ over dims of weight·loss(first dim components, normalised)",
    paper: Some("https://arxiv.org/abs/2205.13147"),
};

/// Another loss at several lengths of the same embeddings, so that they can be cut.
///
/// # Formula
/// Σ_d w_d·ℓ(e[..d] / ‖e[..d]‖) over the dimensions d, all weights 1 unless set otherwise. The model runs once. Labels that
/// are a teacher's embeddings of the model's dimension are cut as well. With
/// [`dims_per_step`](MatryoshkaLoss::dims_per_step), each step draws that many dimensions.
///
/// # Columns
/// Those of the inner loss: any [`Loss`](crate::Loss), cached or guided.
///
/// # When to use
/// To get embeddings of which the first 256 or 64 components do nearly as well as all: less memory, faster search.
///
/// # See also
/// [`Matryoshka2dLoss`](super::Matryoshka2dLoss) and [`AdaptiveLayerLoss`](super::AdaptiveLayerLoss), which cut layers.
///
/// # Reference
/// Kusupati and others, *Matryoshka Representation Learning*, 2022, <https://arxiv.org/abs/2205.13147>.
///
/// ```
/// use st_train::Described;
/// use st_train::losses::{MatryoshkaLoss, MultipleNegativesRankingLoss};
///
/// let loss = MatryoshkaLoss::new(MultipleNegativesRankingLoss::new(), &[128, 256])?.weights(&[0.5, 1.0])?;
/// let config = r#"{"loss":"MultipleNegativesRankingLoss","matryoshka_dims":[256,128],"matryoshka_weights":[1,0.5],"n_dims_per_step":-1}"#;
/// assert_eq!(serde_json::to_string(&loss.config())?, config);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct MatryoshkaLoss {
    inner: Box<dyn Objective>,
    dims: Vec<usize>,
    weights: Vec<f64>,
    dims_per_step: Option<usize>,
}

impl MatryoshkaLoss {
    /// A loss at these dimensions, in any order, all with weight 1.
    ///
    /// # Errors
    /// When there is no dimension, or one is 0.
    pub fn new(inner: impl Objective + 'static, dims: &[usize]) -> Result<Self> {
        if dims.is_empty() {
            return Err(TrainError::invalid("You must provide at least one dimension in matryoshka_dims."));
        }
        if dims.contains(&0) {
            return Err(TrainError::invalid("All dimensions passed to a matryoshka loss must be > 0."));
        }
        Ok(Self { inner: Box::new(inner), dims: dims.to_vec(), weights: vec![1.0; dims.len()], dims_per_step: None })
    }

    /// Sets a weight per dimension, in the order in which the dimensions were given.
    ///
    /// # Errors
    /// When there are not as many weights as dimensions.
    pub fn weights(mut self, weights: &[f64]) -> Result<Self> {
        if weights.len() != self.dims.len() {
            return Err(TrainError::invalid("matryoshka_weights must be the same length as matryoshka_dims."));
        }
        self.weights = weights.to_vec();
        Ok(self)
    }

    /// Sets how many dimensions each step draws (`n_dims_per_step`); `None`, 0, or as many as there are: all.
    #[must_use]
    pub fn dims_per_step(mut self, count: Option<usize>) -> Self {
        self.dims_per_step = count.filter(|&count| count > 0);
        self
    }

    /// Dimensions and weights, the largest dimension first.
    fn descending(&self) -> Vec<(usize, f64)> {
        let mut pairs: Vec<(usize, f64)> = self.dims.iter().copied().zip(self.weights.iter().copied()).collect();
        pairs.sort_by_key(|pair| std::cmp::Reverse(pair.0));
        pairs
    }
}

impl Described for MatryoshkaLoss {
    fn card(&self) -> &'static LossCard {
        &CARD
    }

    fn config(&self) -> Option<Map<String, Value>> {
        let (dims, weights): (Vec<usize>, Vec<f64>) = self.descending().into_iter().unzip();
        let weights: Vec<Value> = weights.into_iter().map(whole).collect();
        Some(settings([
            ("loss", json!(self.inner.card().name)),
            ("matryoshka_dims", json!(dims)),
            ("matryoshka_weights", json!(weights)),
            ("n_dims_per_step", self.dims_per_step.map_or(json!(-1), |count| json!(count))),
        ]))
    }

    fn inner(&self) -> Option<&dyn Described> {
        Some(&self.inner)
    }

    fn parameters(&self) -> Parameters {
        self.inner.parameters()
    }
}

impl Objective for MatryoshkaLoss {
    fn check(&self, model: &dyn EmbeddingModel) -> Result<()> {
        let dimension = model.dimension();
        if self.dims.iter().any(|&dim| dim > dimension) {
            return Err(TrainError::invalid(format!(
                "Dimensions in matryoshka_dims cannot exceed the model's embedding dimension of {dimension}."
            )));
        }
        if !self.dims.contains(&dimension) {
            log::warn!(
                "The model's embedding dimension {dimension} is not included in matryoshka_dims: {:?}. This means that \
                 the full model dimension won't be trained, which may lead to degraded performance when using the model \
                 without specifying a lower truncation dimension. It is strongly recommended to include {dimension} in \
                 matryoshka_dims.",
                self.dims
            );
        }
        self.inner.check(model)
    }

    fn mini_batch_size(&self) -> Option<usize> {
        self.inner.mini_batch_size()
    }

    fn bind<'a>(&'a self, batch: &ObjectiveBatch<'a>, pass: &mut TrainingPass) -> Result<Option<Bound<'a>>> {
        let mut steps = self.descending();
        if let Some(count) = self.dims_per_step.filter(|&count| count < steps.len()) {
            let mut chosen = pass.random_mut().permutation(steps.len());
            chosen.truncate(count);
            chosen.sort_unstable();
            steps = chosen.into_iter().map(|index| steps[index]).collect();
        }
        let Some(inner) = self.inner.bind(batch, pass)? else { return Ok(None) };
        Ok(Some(Box::new(move |columns, targets| {
            let mut sum: Option<Tensor> = None;
            for &(dim, weight) in &steps {
                let cut = columns.iter().map(|column| cut(column, dim)).collect::<Result<Vec<_>>>()?;
                let value = (inner(&cut, &cut_targets(columns, targets, dim)?)? * weight)?;
                sum = Some(match sum {
                    Some(sum) => (sum + value)?,
                    None => value,
                });
            }
            sum.ok_or_else(|| CARD.error("no dimension"))
        })))
    }

    fn forward(&self, batch: &ObjectiveBatch<'_>, pass: &mut TrainingPass) -> Result<LossValue> {
        bound_forward(self, batch, pass)
    }

    fn backward(
        &self,
        batch: &ObjectiveBatch<'_>,
        pass: &mut TrainingPass,
        scale: f64,
    ) -> Result<(LossValue, GradStore)> {
        bound_backward(self, batch, pass, scale)
    }
}

/// The first components of embeddings, normalised.
fn cut(column: &Tensor, dim: usize) -> Result<Tensor> {
    let column = at_least_f32(column)?;
    let (_, dimension) = column.dims2()?;
    if dim > dimension {
        return Err(TrainError::invalid(format!(
            "Dimension {dim} in matryoshka_dims cannot be greater than the model's embedding dimension: {dimension}"
        )));
    }
    normalize(&column.narrow(1, 0, dim)?, NORM_FLOOR)
}

/// Labels as wide as the embeddings are embeddings, and cut like them (but not normalised).
fn cut_targets(columns: &[Tensor], targets: &Targets, dim: usize) -> Result<Targets> {
    Ok(match (targets, columns.first()) {
        (Targets::Matrix(matrix), Some(column)) if matrix.rank() == 2 && matrix.dim(1)? == column.dim(1)? => {
            Targets::Matrix(matrix.narrow(1, 0, dim)?)
        }
        _ => targets.clone(),
    })
}
