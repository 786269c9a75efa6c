use candle_core::backprop::GradStore;
use serde_json::{Map, Value};

use super::adaptive_layer::AdaptiveLayerLoss;
use super::matryoshka::MatryoshkaLoss;
use crate::error::Result;
use crate::loss::{Bound, Described, LossCard, LossValue, Objective, ObjectiveBatch};
use crate::model::{EmbeddingModel, Parameters, TrainingPass};

pub(super) const CARD: LossCard = LossCard {
    name: "Matryoshka2dLoss",
    aliases: &["Matryoshka2d"],
    columns: "those of the inner loss",
    at_least: 1,
    at_most: None,
    labels: "those of the inner loss",
    formula: "AdaptiveLayerLoss around MatryoshkaLoss around the inner loss",
    paper: Some("https://arxiv.org/abs/2402.14776"),
};

/// Another loss at several layers and several lengths of their embeddings.
///
/// # Formula
/// [`AdaptiveLayerLoss`] around [`MatryoshkaLoss`] around the inner loss. One layer and one dimension are drawn per step
/// unless set otherwise.
///
/// # Columns
/// Those of the inner loss.
///
/// # When to use
/// To get a model that can be made smaller both ways after training.
///
/// # See also
/// [`AdaptiveLayerLoss`], [`MatryoshkaLoss`].
///
/// # Reference
/// Li and others, *2D Matryoshka Sentence Embeddings*, 2024, <https://arxiv.org/abs/2402.14776>.
///
/// ```
/// use st_train::Described;
/// use st_train::losses::{Matryoshka2dLoss, MatryoshkaLoss, MultipleNegativesRankingLoss};
///
/// let dims = MatryoshkaLoss::new(MultipleNegativesRankingLoss::new(), &[256, 64])?;
/// let loss = Matryoshka2dLoss::new(dims.dims_per_step(Some(1)), |layers| layers.kl_temperature(0.5));
/// let config = loss.config().unwrap();
/// assert_eq!((&config["loss"], &config["kl_temperature"]), (&"MultipleNegativesRankingLoss".into(), &0.5.into()));
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug)]
pub struct Matryoshka2dLoss {
    layers: AdaptiveLayerLoss,
    dims: Map<String, Value>,
}

impl Matryoshka2dLoss {
    /// A loss at several dimensions, and what to set of the layers. The original draws one dimension per step:
    /// [`MatryoshkaLoss::dims_per_step`] with `Some(1)`.
    #[must_use]
    pub fn new(loss: MatryoshkaLoss, layers: impl FnOnce(AdaptiveLayerLoss) -> AdaptiveLayerLoss) -> Self {
        let dims = loss.config().unwrap_or_default();
        Self { layers: layers(AdaptiveLayerLoss::new(loss)), dims }
    }
}

impl Described for Matryoshka2dLoss {
    fn card(&self) -> &'static LossCard {
        &CARD
    }

    fn config(&self) -> Option<Map<String, Value>> {
        let mut config = self.layers.config()?;
        config.extend(self.dims.clone());
        Some(config)
    }

    fn inner(&self) -> Option<&dyn Described> {
        self.layers.inner()
    }

    fn parameters(&self) -> Parameters {
        self.layers.parameters()
    }
}

impl Objective for Matryoshka2dLoss {
    fn check(&self, model: &dyn EmbeddingModel) -> Result<()> {
        self.layers.check(model)
    }

    fn bind<'a>(&'a self, batch: &ObjectiveBatch<'a>, pass: &mut TrainingPass) -> Result<Option<Bound<'a>>> {
        self.layers.bind(batch, pass)
    }

    fn forward(&self, batch: &ObjectiveBatch<'_>, pass: &mut TrainingPass) -> Result<LossValue> {
        self.layers.forward(batch, pass)
    }

    fn backward(
        &self,
        batch: &ObjectiveBatch<'_>,
        pass: &mut TrainingPass,
        scale: f64,
    ) -> Result<(LossValue, GradStore)> {
        self.layers.backward(batch, pass, scale)
    }
}
