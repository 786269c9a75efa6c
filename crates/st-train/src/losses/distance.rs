//! Distances that the contrastive and triplet losses compare.

use candle_core::Tensor;

use super::differentiable::{COSINE_FLOOR, absolute, normalize, one_per_row, row_cosines, square_root};
use super::similarity::{PairwiseSimilarity, Similarity};
use crate::error::Result;

/// Distance of the two embeddings of a pair (`distance_metric` of the contrastive losses).
///
/// Euclidean and Manhattan distances add 1e-6 to every difference, as PyTorch's `pairwise_distance` does.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use st_train::losses::SiameseDistanceMetric;
///
/// let a = Tensor::new(&[[2f32, 0.0]], &Device::Cpu)?;
/// let b = Tensor::new(&[[0f32, 2.0]], &Device::Cpu)?;
/// assert_eq!(SiameseDistanceMetric::CosineDistance.pairs(&a, &b)?.to_vec1::<f32>()?, [1.0]);
/// assert_eq!(SiameseDistanceMetric::CosineDistance.name(), "SiameseDistanceMetric.COSINE_DISTANCE");
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SiameseDistanceMetric {
    /// ‖a − b + 1e-6‖₂
    Euclidean,
    /// ‖a − b + 1e-6‖₁
    Manhattan,
    /// 1 − cos(a, b)
    #[default]
    CosineDistance,
}

impl SiameseDistanceMetric {
    /// Its name in a model card.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Euclidean => "SiameseDistanceMetric.EUCLIDEAN",
            Self::Manhattan => "SiameseDistanceMetric.MANHATTAN",
            Self::CosineDistance => "SiameseDistanceMetric.COSINE_DISTANCE",
        }
    }

    /// Distances `[rows]` of rows `[rows, d]`.
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn pairs(self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        const SHIFT: f64 = 1e-6;
        match self {
            Self::Euclidean => square_root(&(a.sub(b)? + SHIFT)?.sqr()?.sum(1)?),
            Self::Manhattan => Ok(absolute(&(a.sub(b)? + SHIFT)?)?.sum(1)?),
            Self::CosineDistance => Ok((1.0 - row_cosines(a, b)?)?),
        }
    }
}

/// Distance of anchor and positive or negative (`distance_metric` of [`TripletLoss`](super::TripletLoss)).
///
/// Euclidean and Manhattan are distances here. In sentence-transformers 5.0 to 5.3 they were *negative* distances, so
/// that training pushed positives away; 5.4 repaired it.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use st_train::losses::TripletDistanceMetric;
///
/// let (a, b) = (Tensor::new(&[[3f32, 0.0]], &Device::Cpu)?, Tensor::new(&[[0f32, 4.0]], &Device::Cpu)?);
/// assert_eq!(TripletDistanceMetric::Euclidean.pairs(&a, &b)?.to_vec1::<f32>()?, [5.0]);
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TripletDistanceMetric {
    /// 1 − cos(a, b)
    Cosine,
    /// ‖a − b‖₂
    #[default]
    Euclidean,
    /// ‖a − b‖₁
    Manhattan,
}

impl TripletDistanceMetric {
    /// Its name in a model card.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cosine => "TripletDistanceMetric.COSINE",
            Self::Euclidean => "TripletDistanceMetric.EUCLIDEAN",
            Self::Manhattan => "TripletDistanceMetric.MANHATTAN",
        }
    }

    /// Distances `[rows]` of rows `[rows, d]`.
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn pairs(self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        match self {
            Self::Cosine => Ok((1.0 - PairwiseSimilarity::Cosine.pairs(a, b)?)?),
            Self::Euclidean => Ok(PairwiseSimilarity::Euclidean.pairs(a, b)?.neg()?),
            Self::Manhattan => Ok(PairwiseSimilarity::Manhattan.pairs(a, b)?.neg()?),
        }
    }
}

/// Distances within a batch (`BatchHardTripletLossDistanceFunction`).
///
/// Euclidean distances come from √max(0, ‖a‖² − 2ab + ‖b‖²); where that is 0, as on the diagonal, the gradient is 0.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use st_train::losses::BatchDistance;
///
/// let x = Tensor::new(&[[3f32, 0.0], [0.0, 4.0]], &Device::Cpu)?;
/// assert_eq!(BatchDistance::Euclidean.matrix(&x)?.to_vec2::<f32>()?, [[0.0, 5.0], [5.0, 0.0]]);
/// assert_eq!(BatchDistance::SquaredEuclidean.matrix(&x)?.to_vec2::<f32>()?, [[0.0, 25.0], [25.0, 0.0]]);
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BatchDistance {
    /// `eucledian_distance` (spelt so in the original).
    #[default]
    Euclidean,
    /// `eucledian_distance` with `squared=True`.
    SquaredEuclidean,
    /// `cosine_distance`: 1 − cos.
    Cosine,
}

impl BatchDistance {
    /// Distances `[rows, rows]` of rows `[rows, d]`.
    ///
    /// # Errors
    /// When an operation fails.
    pub fn matrix(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Cosine => Ok((1.0 - Similarity::Cosine.matrix(x, x)?)?),
            Self::Euclidean => square_root(&squared_distances(x)?),
            Self::SquaredEuclidean => {
                let squares = squared_distances(x)?;
                let positive = squares.gt(&squares.zeros_like()?)?.to_dtype(squares.dtype())?;
                Ok(squares.mul(&positive)?)
            }
        }
    }
}

fn squared_distances(x: &Tensor) -> Result<Tensor> {
    let products = x.matmul(&x.t()?)?;
    #[expect(clippy::cast_possible_truncation, reason = "a batch has fewer than 2³² rows")]
    let diagonal: Vec<u32> = (0..x.dim(0)? as u32).collect();
    let squares = one_per_row(&products, &diagonal)?;
    // In this order the diagonal is exactly 0.
    Ok(squares.unsqueeze(0)?.broadcast_sub(&(products * 2.0)?)?.broadcast_add(&squares.unsqueeze(1)?)?)
}

/// Cosine similarities of all rows with all rows, with PyTorch's floor for norms (`CosineSimilarity(dim=-1)`).
pub(crate) fn cosine_matrix(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    Ok(normalize(a, COSINE_FLOOR)?.matmul(&normalize(b, COSINE_FLOOR)?.t()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    #[test]
    fn equal_rows_have_distance_and_slope_zero() {
        let x = Var::new(&[[0.3f32, -1.7], [0.3, -1.7], [2.0, 0.5]], &Device::Cpu).unwrap();
        let matrix = BatchDistance::Euclidean.matrix(&x).unwrap();
        let values = matrix.to_vec2::<f32>().unwrap();
        assert_eq!((values[0][1], values[2][2]), (0.0, 0.0));
        let gradients = matrix.sum_all().unwrap().backward().unwrap();
        let slope: Vec<f32> = gradients.get(&x).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        assert!(slope.iter().all(|number| number.is_finite()), "{slope:?}");
    }

    #[test]
    fn triplet_distances_are_not_negative() {
        let a = Tensor::new(&[[1f32, 2.0]], &Device::Cpu).unwrap();
        let b = Tensor::new(&[[4f32, -2.0]], &Device::Cpu).unwrap();
        let value = |metric: TripletDistanceMetric| metric.pairs(&a, &b).unwrap().to_vec1::<f32>().unwrap()[0];
        assert_eq!((value(TripletDistanceMetric::Euclidean), value(TripletDistanceMetric::Manhattan)), (5.0, 7.0));
    }
}
