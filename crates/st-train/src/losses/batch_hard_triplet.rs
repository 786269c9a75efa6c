use candle_core::Tensor;

use super::differentiable::{exactly, numbers, one_per_row, relu, soft_plus};
use super::distance::BatchDistance;
use crate::error::Result;
use crate::loss::{Described, Loss, LossCard, Targets};

pub(super) const CARD: LossCard = LossCard {
    name: "BatchHardTripletLoss",
    aliases: &["BatchHardTriplet"],
    columns: "(sentence)",
    at_least: 1,
    at_most: Some(1),
    labels: "a class per sentence",
    formula: "relu(furthest positive − nearest negative + margin)",
    paper: Some("https://arxiv.org/abs/1703.07737"),
};

pub(super) const SOFT_CARD: LossCard = LossCard {
    name: "BatchHardSoftMarginTripletLoss",
    aliases: &["BatchHardSoftMarginTriplet", "BatchHardSoftMargin"],
    formula: "ln(1 + exp(furthest positive − nearest negative))",
    ..CARD
};

/// Triplets of each sentence with its furthest sentence of the same class and its nearest of another.
///
/// # Formula
/// mean over i of relu(max_p d(i, p) − min_n d(i, n) + m), p ≠ i of the same class, n of another; d is a
/// [`BatchDistance`] and m = 5 unless set otherwise. Without a positive the first term is 0; without a negative the second
/// is the row's smallest plus its largest distance, as in the original.
///
/// # Columns
/// One text and its class. Batches need several texts of each of several classes: use the group-by-label sampler.
///
/// # When to use
/// For classified texts, where classes have at least two members.
///
/// # See also
/// [`BatchHardSoftMarginTripletLoss`] (no margin to choose), [`BatchSemiHardTripletLoss`](super::BatchSemiHardTripletLoss),
/// [`BatchAllTripletLoss`](super::BatchAllTripletLoss), [`TripletLoss`](super::TripletLoss).
///
/// # Reference
/// Hermans, Beyer and Leibe, *In Defense of the Triplet Loss for Person Re-Identification*, 2017,
/// <https://arxiv.org/abs/1703.07737>.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use st_train::losses::BatchHardTripletLoss;
/// use st_train::{Loss, Targets};
///
/// // On a line: two sentences of class 0 at 0 and 1, two of class 1 at 3 and 7.
/// let x = Tensor::new(&[[0f64], [1.0], [3.0], [7.0]], &Device::Cpu)?;
/// let value = BatchHardTripletLoss::new().margin(2.0).compute(&[x], &Targets::Classes(vec![0, 0, 1, 1]))?;
/// // 1 − 3 + 2, 1 − 2 + 2, 4 − 2 + 2, 4 − 6 + 2
/// assert!((value.to_scalar::<f64>()? - 5.0 / 4.0).abs() < 1e-12);
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct BatchHardTripletLoss {
    distance: BatchDistance,
    margin: f64,
}

impl Default for BatchHardTripletLoss {
    fn default() -> Self {
        Self { distance: BatchDistance::Euclidean, margin: 5.0 }
    }
}

impl BatchHardTripletLoss {
    /// Euclidean distance, margin 5.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the distance.
    #[must_use]
    pub fn distance(mut self, distance: BatchDistance) -> Self {
        self.distance = distance;
        self
    }

    /// Sets the margin.
    #[must_use]
    pub fn margin(mut self, margin: f64) -> Self {
        self.margin = margin;
        self
    }
}

impl Described for BatchHardTripletLoss {
    fn card(&self) -> &'static LossCard {
        &CARD
    }
}

impl Loss for BatchHardTripletLoss {
    fn compute(&self, columns: &[Tensor], targets: &Targets) -> Result<Tensor> {
        let gaps = hardest_gaps(&CARD, columns, targets, self.distance)?;
        Ok(relu(&(gaps + self.margin)?)?.mean_all()?)
    }
}

/// [`BatchHardTripletLoss`] with a soft margin.
///
/// # Formula
/// mean over i of ln(1 + exp(max_p d(i, p) − min_n d(i, n))).
///
/// # Columns
/// One text and its class.
///
/// # When to use
/// As [`BatchHardTripletLoss`], where no margin fits all data; pairs never stop to matter.
///
/// # See also
/// [`BatchHardTripletLoss`], [`BatchSemiHardTripletLoss`](super::BatchSemiHardTripletLoss),
/// [`BatchAllTripletLoss`](super::BatchAllTripletLoss).
///
/// # Reference
/// Hermans, Beyer and Leibe, 2017, <https://arxiv.org/abs/1703.07737>.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use st_train::losses::BatchHardSoftMarginTripletLoss;
/// use st_train::{Loss, Targets};
///
/// let x = Tensor::new(&[[0f64], [1.0], [2.0]], &Device::Cpu)?;
/// let value = BatchHardSoftMarginTripletLoss::new().compute(&[x], &Targets::Classes(vec![0, 0, 1]))?;
/// let gap = |gap: f64| (1.0 + gap.exp()).ln(); // 1 − 2, 1 − 1, and 0 − 1 for the sentence without a positive
/// assert!((value.to_scalar::<f64>()? - (gap(-1.0) + gap(0.0) + gap(-1.0)) / 3.0).abs() < 1e-12);
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct BatchHardSoftMarginTripletLoss {
    distance: BatchDistance,
}

impl BatchHardSoftMarginTripletLoss {
    /// Euclidean distance.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the distance.
    #[must_use]
    pub fn distance(mut self, distance: BatchDistance) -> Self {
        self.distance = distance;
        self
    }
}

impl Described for BatchHardSoftMarginTripletLoss {
    fn card(&self) -> &'static LossCard {
        &SOFT_CARD
    }
}

impl Loss for BatchHardSoftMarginTripletLoss {
    fn compute(&self, columns: &[Tensor], targets: &Targets) -> Result<Tensor> {
        Ok(soft_plus(&hardest_gaps(&SOFT_CARD, columns, targets, self.distance)?)?.mean_all()?)
    }
}

/// Distances within a batch: what can be differentiated, and the numbers by which triplets are chosen.
pub(super) struct Distances {
    /// `[rows, rows]`.
    pub(super) matrix: Tensor,
    /// The same numbers, row after row.
    pub(super) values: Vec<f64>,
    /// Class of each row.
    pub(super) classes: Vec<i64>,
}

impl Distances {
    pub(super) fn new(card: &LossCard, columns: &[Tensor], targets: &Targets, distance: BatchDistance) -> Result<Self> {
        let [x] = exactly(card, columns)?;
        let classes = targets.classes(card, x.dim(0)?)?;
        let matrix = distance.matrix(&x)?;
        Ok(Self { values: numbers(&matrix)?, matrix, classes })
    }

    pub(super) fn rows(&self) -> usize {
        self.classes.len()
    }

    pub(super) fn row(&self, i: usize) -> &[f64] {
        &self.values[i * self.rows()..(i + 1) * self.rows()]
    }
}

/// Index of the first element that no other beats.
pub(super) fn best(values: impl Iterator<Item = f64>, beats: fn(&f64, &f64) -> bool) -> Option<(u32, f64)> {
    (0u32..).zip(values).reduce(|best, next| if beats(&next.1, &best.1) { next } else { best })
}

/// max over positives − min over negatives, `[rows]`.
fn hardest_gaps(card: &LossCard, columns: &[Tensor], targets: &Targets, distance: BatchDistance) -> Result<Tensor> {
    let distances = Distances::new(card, columns, targets, distance)?;
    let (mut positive, mut negative, mut largest) = (Vec::new(), Vec::new(), Vec::new());
    let (mut has_positive, mut has_no_negative) = (Vec::new(), Vec::new());
    for i in 0..distances.rows() {
        let (row, classes) = (distances.row(i), &distances.classes);
        let is_positive = |j: usize| j != i && classes[j] == classes[i];
        let pairs = row.iter().copied().enumerate();
        let positives = pairs.clone().map(|(j, d)| if is_positive(j) { d } else { 0.0 });
        let (furthest, _) = best(positives, f64::gt).unwrap_or_default();
        let (most, maximum) = best(row.iter().copied(), f64::gt).unwrap_or_default();
        let negatives = pairs.map(|(j, d)| if classes[j] == classes[i] { d + maximum } else { d });
        let (nearest, _) = best(negatives, f64::lt).unwrap_or_default();
        has_positive.push(f64::from(is_positive(furthest as usize)));
        has_no_negative.push(f64::from(classes[nearest as usize] == classes[i]));
        positive.push(furthest);
        negative.push(nearest);
        largest.push(most);
    }
    let matrix = &distances.matrix;
    let constant = |numbers: Vec<f64>| -> Result<Tensor> {
        let rows = numbers.len();
        Ok(Tensor::from_vec(numbers, rows, &candle_core::Device::Cpu)?
            .to_dtype(matrix.dtype())?
            .to_device(matrix.device())?)
    };
    let furthest = one_per_row(matrix, &positive)?.mul(&constant(has_positive)?)?;
    let nearest =
        (one_per_row(matrix, &negative)? + one_per_row(matrix, &largest)?.mul(&constant(has_no_negative)?)?)?;
    Ok(furthest.sub(&nearest)?)
}
