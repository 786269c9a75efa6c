//! Similarities as functions that can be differentiated.

use candle_core::{D, Tensor};
use st_vectors::SimilarityFunction;

use super::differentiable::{NORM_FLOOR, absolute, normalize, square_root};
use crate::error::{Result, TrainError};

/// Up to so many rows, distances are computed from differences; above, from products, as the original's `cdist` does.
const DIRECT_ROWS: usize = 25;

/// Similarity of every row with every row (`similarity_fct` of the ranking losses).
///
/// | | `[n, m]` |
/// | --- | --- |
/// | cosine | â·b̂ |
/// | dot | a·b |
/// | Euclidean | −‖a − b‖₂ |
/// | Manhattan | −Σ\|a − b\| |
///
/// ```
/// use candle_core::{Device, Tensor};
/// use st_train::losses::Similarity;
///
/// let a = Tensor::new(&[[3f32, 4.0]], &Device::Cpu)?;
/// let b = Tensor::new(&[[3f32, 4.0], [0.0, 8.0]], &Device::Cpu)?;
/// assert_eq!(Similarity::Dot.matrix(&a, &b)?.to_vec2::<f32>()?, [[25.0, 32.0]]);
/// assert_eq!(Similarity::Euclidean.matrix(&a, &b)?.to_vec2::<f32>()?, [[0.0, -5.0]]);
/// assert_eq!(Similarity::Cosine.name(), "cos_sim");
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Similarity {
    /// Cosine.
    #[default]
    Cosine,
    /// Dot product.
    Dot,
    /// Negative Euclidean distance.
    Euclidean,
    /// Negative Manhattan distance.
    Manhattan,
}

impl Similarity {
    /// The original's name of the function.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cosine => "cos_sim",
            Self::Dot => "dot_score",
            Self::Euclidean => "euclidean_sim",
            Self::Manhattan => "manhattan_sim",
        }
    }

    /// Similarities `[n, m]` of rows `[n, d]` and `[m, d]`.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn matrix(self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        match self {
            Self::Cosine => Ok(normalize(a, NORM_FLOOR)?.matmul(&normalize(b, NORM_FLOOR)?.t()?)?),
            Self::Dot => Ok(a.matmul(&b.t()?)?),
            Self::Euclidean if a.dim(0)? <= DIRECT_ROWS && b.dim(0)? <= DIRECT_ROWS => {
                Ok(square_root(&differences(a, b)?.sqr()?.sum(D::Minus1)?)?.neg()?)
            }
            Self::Euclidean => {
                let squares = a.sqr()?.sum_keepdim(1)?.broadcast_add(&b.sqr()?.sum_keepdim(1)?.t()?)?;
                Ok(square_root(&(squares - (a.matmul(&b.t()?)? * 2.0)?)?)?.neg()?)
            }
            Self::Manhattan => Ok(absolute(&differences(a, b)?)?.sum(D::Minus1)?.neg()?),
        }
    }
}

impl From<SimilarityFunction> for Similarity {
    fn from(function: SimilarityFunction) -> Self {
        match function {
            SimilarityFunction::Cosine => Self::Cosine,
            SimilarityFunction::Dot => Self::Dot,
            SimilarityFunction::Euclidean => Self::Euclidean,
            SimilarityFunction::Manhattan => Self::Manhattan,
        }
    }
}

/// `[n, m, d]`.
fn differences(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    Ok(a.unsqueeze(1)?.broadcast_sub(&b.unsqueeze(0)?)?)
}

/// Similarity of rows with the rows of the same number (`similarity_fct` of CoSENT and the distillation losses).
///
/// Besides the four of [`Similarity`] there is the angle in complex space that AnglE compares (Li and Li, 2024,
/// <https://arxiv.org/abs/2309.12871>): rows are vectors of complex numbers, the first half real and the second
/// imaginary parts, x = a + bi and y = c + di; the value is |Σ(ac + bd) + Σ(bc − ad)| / (‖x‖·‖y‖).
///
/// ```
/// use candle_core::{Device, Tensor};
/// use st_train::losses::PairwiseSimilarity;
///
/// let a = Tensor::new(&[[3f32, 4.0], [1.0, 1.0]], &Device::Cpu)?;
/// let b = Tensor::new(&[[0f32, 8.0], [1.0, -3.0]], &Device::Cpu)?;
/// assert_eq!(PairwiseSimilarity::Cosine.pairs(&a, &b)?.to_vec1::<f32>()?[0], 0.8);
/// assert_eq!(PairwiseSimilarity::Manhattan.pairs(&a, &b)?.to_vec1::<f32>()?, [-7.0, -4.0]);
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PairwiseSimilarity {
    /// Cosine.
    #[default]
    Cosine,
    /// Dot product.
    Dot,
    /// Negative Euclidean distance.
    Euclidean,
    /// Negative Manhattan distance.
    Manhattan,
    /// Normalised angle difference in complex space; the dimension must be even.
    Angle,
}

impl PairwiseSimilarity {
    /// The original's name of the function.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cosine => "pairwise_cos_sim",
            Self::Dot => "pairwise_dot_score",
            Self::Euclidean => "pairwise_euclidean_sim",
            Self::Manhattan => "pairwise_manhattan_sim",
            Self::Angle => "pairwise_angle_sim",
        }
    }

    /// Similarities `[n]` of rows `[n, d]` and `[n, d]`.
    ///
    /// # Errors
    /// When the shapes do not fit; for the angle also when the dimension is odd.
    pub fn pairs(self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        match self {
            Self::Cosine => Ok(normalize(a, NORM_FLOOR)?.mul(&normalize(b, NORM_FLOOR)?)?.sum(1)?),
            Self::Dot => Ok(a.mul(b)?.sum(1)?),
            Self::Euclidean => Ok(square_root(&a.sub(b)?.sqr()?.sum(1)?)?.neg()?),
            Self::Manhattan => Ok(absolute(&a.sub(b)?)?.sum(1)?.neg()?),
            Self::Angle => {
                let dimension = a.dim(1)?;
                if dimension % 2 != 0 {
                    let message = format!("pairwise_angle_sim halves embeddings: dimension {dimension} is odd");
                    return Err(TrainError::invalid(message));
                }
                let (x, y) = (normalize(a, NORM_FLOOR)?, normalize(b, NORM_FLOOR)?);
                let half = dimension / 2;
                let (c, d) = (y.narrow(1, 0, half)?, y.narrow(1, half, half)?);
                // Σ(ac + bd) + Σ(bc − ad) = Σ a(c − d) + Σ b(c + d)
                let turned = Tensor::cat(&[c.sub(&d)?, c.add(&d)?], 1)?;
                absolute(&x.mul(&turned)?.sum(1)?)
            }
        }
    }
}

impl From<SimilarityFunction> for PairwiseSimilarity {
    fn from(function: SimilarityFunction) -> Self {
        match function {
            SimilarityFunction::Cosine => Self::Cosine,
            SimilarityFunction::Dot => Self::Dot,
            SimilarityFunction::Euclidean => Self::Euclidean,
            SimilarityFunction::Manhattan => Self::Manhattan,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    #[test]
    fn many_rows_give_the_same_distances_as_few() {
        let a = Tensor::rand(-1f64, 1.0, (30, 6), &Device::Cpu).unwrap();
        let b = Tensor::rand(-1f64, 1.0, (4, 6), &Device::Cpu).unwrap();
        let all = Similarity::Euclidean.matrix(&a, &b).unwrap();
        let few = Similarity::Euclidean.matrix(&a.narrow(0, 0, 3).unwrap(), &b).unwrap();
        let difference = (all.narrow(0, 0, 3).unwrap() - few).unwrap().abs().unwrap().max_all().unwrap();
        assert!(difference.to_scalar::<f64>().unwrap() < 1e-12);
    }

    #[test]
    fn the_angle_needs_an_even_dimension() {
        let x = Tensor::ones((2, 3), DType::F32, &Device::Cpu).unwrap();
        assert!(PairwiseSimilarity::Angle.pairs(&x, &x).unwrap_err().to_string().contains("dimension 3 is odd"));
    }

    #[test]
    fn functions_of_the_vector_crate_are_known() {
        let functions = [SimilarityFunction::Cosine, SimilarityFunction::Dot, SimilarityFunction::Euclidean];
        for function in functions {
            let (matrix, pairs) = (Similarity::from(function), PairwiseSimilarity::from(function));
            assert_eq!(format!("pairwise_{}", matrix.name()), pairs.name());
        }
    }
}
