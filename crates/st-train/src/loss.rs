//! What a loss is: [`Loss`], a pure function of embeddings, and [`Objective`], which may need the model as well.
//!
//! Most losses only look at sentence embeddings. They implement [`Loss`]: columns of embeddings and [`Targets`] in, one
//! number out; nothing of the model is known to them, so that they can be tested, differentiated and cached on their
//! own. A trainer works with [`Objective`]s, and every [`Loss`] is one. Objectives of their own are those that run
//! another model (a guide, a decoder, a copy), that read other layers, or that embed in mini-batches.

use std::fmt::Debug;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor};
use serde_json::{Map, Value};
use st_card::LossFacts;

use crate::error::{Result, TrainError};
use crate::model::{Column, EmbeddingModel, Parameters, TrainingPass};

/// A row of [`LOSSES`](crate::losses::LOSSES): what a loss is called and what it is given.
///
/// ```
/// use st_train::losses::LOSSES;
///
/// let card = LOSSES.iter().find(|card| card.answers_to("MNRL")).unwrap();
/// assert_eq!((card.name, card.labels.is_empty()), ("MultipleNegativesRankingLoss", true));
/// assert!(card.accepts(2) && card.accepts(5) && !card.accepts(1));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LossCard {
    /// The class name in the original, which model cards show.
    pub name: &'static str,
    /// Other names that a front door may accept.
    pub aliases: &'static [&'static str],
    /// The text columns, in order.
    pub columns: &'static str,
    /// Fewest text columns.
    pub at_least: usize,
    /// Most text columns; `None` where any number will do.
    pub at_most: Option<usize>,
    /// The labels; empty where there are none.
    pub labels: &'static str,
    /// The formula in one line.
    pub formula: &'static str,
    /// Where the paper is.
    pub paper: Option<&'static str>,
}

impl LossCard {
    /// Whether the loss goes by this name, in whatever case.
    #[must_use]
    pub fn answers_to(&self, name: &str) -> bool {
        std::iter::once(&self.name).chain(self.aliases).any(|own| own.eq_ignore_ascii_case(name))
    }

    /// Whether the loss can be given this many text columns.
    #[must_use]
    pub fn accepts(&self, columns: usize) -> bool {
        columns >= self.at_least && self.at_most.is_none_or(|most| columns <= most)
    }

    /// An error of this loss about shapes or labels.
    pub(crate) fn error(&self, message: impl Into<String>) -> TrainError {
        TrainError::Shape { loss: self.name, message: message.into() }
    }
}

/// What is known about the rows of a batch besides their texts.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use st_train::Targets;
///
/// let teacher = Tensor::new(&[[0.25f32, 0.5], [1.0, 0.0]], &Device::Cpu)?;
/// let targets = [Targets::None, Targets::Classes(vec![0, 3]), Targets::Scores(vec![0.5, 1.0]), Targets::Matrix(teacher)];
/// assert_eq!(targets.map(|targets| targets.rows()), [None, Some(2), Some(2), Some(2)]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub enum Targets {
    /// Nothing.
    #[default]
    None,
    /// A class per row.
    Classes(Vec<i64>),
    /// A number per row.
    Scores(Vec<f64>),
    /// Several numbers per row, `[rows, k]`: scores of several documents, or a teacher's embedding.
    Matrix(Tensor),
}

impl Targets {
    /// Number of rows; `None` without labels.
    #[must_use]
    pub fn rows(&self) -> Option<usize> {
        match self {
            Self::None => None,
            Self::Classes(classes) => Some(classes.len()),
            Self::Scores(scores) => Some(scores.len()),
            Self::Matrix(matrix) => matrix.dims().first().copied(),
        }
    }

    fn described(&self) -> String {
        match self {
            Self::None => "no labels".into(),
            Self::Classes(classes) => format!("{} classes", classes.len()),
            Self::Scores(scores) => format!("{} scores", scores.len()),
            Self::Matrix(matrix) => format!("a matrix of shape {:?}", matrix.dims()),
        }
    }

    fn refused(&self, card: &LossCard, rows: usize) -> TrainError {
        card.error(format!("got {}, expected {} for {rows} rows", self.described(), card.labels))
    }

    /// A whole number per row.
    pub(crate) fn classes(&self, card: &LossCard, rows: usize) -> Result<Vec<i64>> {
        match self {
            Self::Classes(classes) if classes.len() == rows => Ok(classes.clone()),
            #[expect(clippy::cast_possible_truncation, reason = "whole numbers, as was checked")]
            Self::Scores(scores) if scores.len() == rows && scores.iter().all(|score| score.fract() == 0.0) => {
                Ok(scores.iter().map(|&score| score as i64).collect())
            }
            _ => Err(self.refused(card, rows)),
        }
    }

    /// A number per row.
    pub(crate) fn scores(&self, card: &LossCard, rows: usize) -> Result<Vec<f64>> {
        match self {
            Self::Scores(scores) if scores.len() == rows => Ok(scores.clone()),
            #[expect(clippy::cast_precision_loss, reason = "classes are small")]
            Self::Classes(classes) if classes.len() == rows => Ok(classes.iter().map(|&class| class as f64).collect()),
            Self::Matrix(matrix) if matrix.elem_count() == rows && matrix.dims().first() == Some(&rows) => {
                Ok(matrix.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
            }
            _ => Err(self.refused(card, rows)),
        }
    }

    /// The numbers as a constant of the embeddings' data type, `[rows]` or `[rows, k]`.
    pub(crate) fn tensor(&self, card: &LossCard, like: &Tensor) -> Result<Tensor> {
        let rows = like.dim(0)?;
        match self {
            Self::Matrix(matrix) if matrix.rank() == 2 && matrix.dim(0)? == rows => {
                Ok(matrix.detach().to_dtype(like.dtype())?.to_device(like.device())?)
            }
            Self::Scores(_) | Self::Classes(_) => {
                let scores = self.scores(card, rows)?;
                Ok(Tensor::from_vec(scores, rows, &Device::Cpu)?.to_dtype(like.dtype())?.to_device(like.device())?)
            }
            _ => Err(self.refused(card, rows)),
        }
    }
}

/// What a loss is, apart from its value.
pub trait Described: Debug + Send + Sync {
    /// Its row of [`LOSSES`](crate::losses::LOSSES), or one of its own.
    fn card(&self) -> &'static LossCard;

    /// The settings that a model card shows, under the original's names; `None` for losses that show none.
    fn config(&self) -> Option<Map<String, Value>> {
        None
    }

    /// The loss that this one is built around.
    fn inner(&self) -> Option<&dyn Described> {
        None
    }

    /// Parameters of the loss's own, which are trained with the model's.
    fn parameters(&self) -> Parameters {
        Parameters::new()
    }

    /// What a model card says about it.
    fn facts(&self) -> LossFacts {
        LossFacts {
            name: self.card().name.to_owned(),
            parameters: self.config().unwrap_or_default(),
            inner: self.inner().map(Described::facts).into_iter().collect(),
            ..LossFacts::default()
        }
    }
}

/// A loss that only looks at sentence embeddings: a pure function.
///
/// Columns are `[rows, dimension]` each, in the order of the dataset's text columns; float32 or float64 (half precision
/// is widened to float32 first), on any device. The result is a scalar that can be differentiated with respect to the
/// columns and to [`Described::parameters`].
///
/// ```
/// use candle_core::{Device, Tensor};
/// use st_train::losses::CosineSimilarityLoss;
/// use st_train::{Loss, Targets};
///
/// let a = Tensor::new(&[[1f32, 0.0], [0.0, 2.0]], &Device::Cpu)?;
/// let b = Tensor::new(&[[3f32, 0.0], [1.0, 0.0]], &Device::Cpu)?; // cosines 1 and 0
/// let loss = CosineSimilarityLoss::new().compute(&[a, b], &Targets::Scores(vec![1.0, 0.5]))?;
/// assert_eq!(loss.to_scalar::<f32>()?, 0.125); // (0² + 0.5²) / 2
/// # Ok::<(), st_train::TrainError>(())
/// ```
pub trait Loss: Described {
    /// The loss of a batch.
    ///
    /// # Errors
    /// When columns or targets are not those of the [`LossCard`], or an operation fails.
    fn compute(&self, columns: &[Tensor], targets: &Targets) -> Result<Tensor>;
}

/// One batch, and the model that is trained on it.
#[derive(Debug, Clone, Copy)]
pub struct ObjectiveBatch<'a> {
    /// The model.
    pub model: &'a dyn EmbeddingModel,
    /// The text columns, all with the same number of rows.
    pub columns: &'a [Column],
    /// The labels.
    pub targets: &'a Targets,
}

impl ObjectiveBatch<'_> {
    /// Sentence embeddings of all columns.
    ///
    /// # Errors
    /// As [`EmbeddingModel::embed`].
    pub fn embed(&self, pass: &mut TrainingPass) -> Result<Vec<Tensor>> {
        self.columns.iter().map(|column| Ok(self.model.embed(column, pass)?.sentences)).collect()
    }
}

/// A loss of one batch as a function of the batch's sentence embeddings: what [`Objective::bind`] returns.
pub type Bound<'a> = Box<dyn Fn(&[Tensor], &Targets) -> Result<Tensor> + 'a>;

/// What is minimised: a value and its gradients for a batch of texts.
///
/// Every [`Loss`] is an objective. A trainer calls [`Objective::check`] once, [`Objective::backward`] for training
/// batches and [`Objective::forward`] for evaluation batches.
pub trait Objective: Described {
    /// Says whether the model can be trained with this objective; warnings are logged.
    ///
    /// # Errors
    /// When it cannot, with the reason.
    fn check(&self, _model: &dyn EmbeddingModel) -> Result<()> {
        Ok(())
    }

    /// How many texts of a column are embedded at once; `None`: all of them. See
    /// [`GradientCache`](crate::losses::GradientCache).
    fn mini_batch_size(&self) -> Option<usize> {
        None
    }

    /// The objective of one batch as a function of the model's sentence embeddings of that batch. What it does at
    /// random, and what other models say about the batch, is settled here. `None` when it is no such function.
    ///
    /// # Errors
    /// When the columns do not fit, or another model fails.
    fn bind<'a>(&'a self, batch: &ObjectiveBatch<'a>, pass: &mut TrainingPass) -> Result<Option<Bound<'a>>>;

    /// The value for a batch.
    ///
    /// # Errors
    /// When columns or targets are not those of the [`LossCard`], or the model fails.
    fn forward(&self, batch: &ObjectiveBatch<'_>, pass: &mut TrainingPass) -> Result<LossValue>;

    /// The value for a batch, and the gradients of `scale` times the value with respect to the parameters of the model
    /// and the objective. The value is neither scaled nor differentiable.
    ///
    /// # Errors
    /// As [`Objective::forward`].
    fn backward(
        &self,
        batch: &ObjectiveBatch<'_>,
        pass: &mut TrainingPass,
        scale: f64,
    ) -> Result<(LossValue, GradStore)> {
        let value = self.forward(batch, pass)?;
        let mut gradients = differentiate(&(value.total()? * scale)?)?;
        let kept = only_parameters(&mut gradients, &[batch.model.parameters(), &self.parameters()]);
        Ok((value.detach(), kept))
    }
}

impl<L: Loss> Objective for L {
    fn bind<'a>(&'a self, _: &ObjectiveBatch<'a>, _: &mut TrainingPass) -> Result<Option<Bound<'a>>> {
        Ok(Some(Box::new(|columns, targets| self.compute(columns, targets))))
    }

    fn forward(&self, batch: &ObjectiveBatch<'_>, pass: &mut TrainingPass) -> Result<LossValue> {
        Ok(LossValue::new(self.compute(&batch.embed(pass)?, batch.targets)?))
    }
}

impl Described for Box<dyn Objective> {
    fn card(&self) -> &'static LossCard {
        (**self).card()
    }
    fn config(&self) -> Option<Map<String, Value>> {
        (**self).config()
    }
    fn inner(&self) -> Option<&dyn Described> {
        (**self).inner()
    }
    fn parameters(&self) -> Parameters {
        (**self).parameters()
    }
    fn facts(&self) -> LossFacts {
        (**self).facts()
    }
}

impl Objective for Box<dyn Objective> {
    fn check(&self, model: &dyn EmbeddingModel) -> Result<()> {
        (**self).check(model)
    }
    fn mini_batch_size(&self) -> Option<usize> {
        (**self).mini_batch_size()
    }
    fn bind<'a>(&'a self, batch: &ObjectiveBatch<'a>, pass: &mut TrainingPass) -> Result<Option<Bound<'a>>> {
        (**self).bind(batch, pass)
    }
    fn forward(&self, batch: &ObjectiveBatch<'_>, pass: &mut TrainingPass) -> Result<LossValue> {
        (**self).forward(batch, pass)
    }
    fn backward(
        &self,
        batch: &ObjectiveBatch<'_>,
        pass: &mut TrainingPass,
        scale: f64,
    ) -> Result<(LossValue, GradStore)> {
        (**self).backward(batch, pass, scale)
    }
}

/// The value of an objective: one number, or several with names whose sum is minimised.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use st_train::LossValue;
///
/// let part = |value: f64| Tensor::new(value, &Device::Cpu);
/// let value = LossValue::named(vec![("ranking".into(), part(0.5)?), ("spread".into(), part(0.25)?)]);
/// assert_eq!(value.total()?.to_scalar::<f64>()?, 0.75);
/// assert_eq!(value.numbers()?, [("ranking".to_owned(), 0.5), ("spread".to_owned(), 0.25)]);
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug, Clone)]
pub struct LossValue {
    parts: Vec<(String, Tensor)>,
}

impl LossValue {
    /// One number; its name is `loss`.
    #[must_use]
    pub fn new(value: Tensor) -> Self {
        Self { parts: vec![("loss".to_owned(), value)] }
    }

    /// Several scalars, by name.
    #[must_use]
    pub fn named(parts: Vec<(String, Tensor)>) -> Self {
        Self { parts }
    }

    /// The scalars, by name.
    #[must_use]
    pub fn parts(&self) -> &[(String, Tensor)] {
        &self.parts
    }

    /// The sum, which is minimised.
    ///
    /// # Errors
    /// When a part is no scalar.
    pub fn total(&self) -> Result<Tensor> {
        match self.parts.split_first() {
            None => Err(TrainError::invalid("a loss without any value")),
            Some(((_, first), rest)) => {
                let mut sum = first.clone();
                for (_, part) in rest {
                    sum = (sum + part)?;
                }
                Ok(sum)
            }
        }
    }

    /// The parts as numbers.
    ///
    /// # Errors
    /// When a part is no scalar.
    pub fn numbers(&self) -> Result<Vec<(String, f64)>> {
        let number = |(name, part): &(String, Tensor)| {
            Ok((name.clone(), part.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.to_scalar::<f64>()?))
        };
        self.parts.iter().map(number).collect()
    }

    /// The same numbers, without what is needed to differentiate them.
    #[must_use]
    pub fn detach(&self) -> Self {
        Self { parts: self.parts.iter().map(|(name, part)| (name.clone(), part.detach())).collect() }
    }
}

/// The gradients of a scalar with respect to every variable that it depends on.
pub(crate) fn differentiate(value: &Tensor) -> Result<GradStore> {
    Ok(st_candle::backward(value)?)
}

/// The gradients of parameters; candle's store also holds those of constants on the way.
pub(crate) fn only_parameters(gradients: &mut GradStore, owners: &[&Parameters]) -> GradStore {
    let mut kept = GradStore::default();
    for parameter in owners.iter().flat_map(|parameters| parameters.trainable()) {
        if let Some(gradient) = gradients.remove(parameter.variable()) {
            kept.insert(parameter.variable(), gradient);
        }
    }
    kept
}
