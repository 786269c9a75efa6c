//! The four similarity functions and their names.

use std::fmt;

/// How two vectors are compared; larger is more similar.
///
/// | function | formula |
/// | --- | --- |
/// | cosine | Σ aᵢbᵢ / (max(‖a‖, 1e-12) · max(‖b‖, 1e-12)) |
/// | dot | Σ aᵢbᵢ |
/// | euclidean | −√Σ (aᵢ−bᵢ)² |
/// | manhattan | −Σ \|aᵢ−bᵢ\| |
///
/// Sums are kept in `f32`, in 8 or 16 partial sums. A score depends only on its two vectors: bit for bit the same in a
/// matrix, pairwise, in a search and with the two exchanged. Distances are summed from differences, so near-zero ones
/// are as exact as large ones.
///
/// ```
/// use st_vectors::{Embeddings, SimilarityFunction};
/// let a = Embeddings::from_rows([[3.0, 4.0]])?;
/// let b = Embeddings::from_rows([[0.0, 0.0], [4.0, 3.0]])?;
/// assert_eq!(SimilarityFunction::Euclidean.similarity(&a, &b)?.row(0), [-5.0, -2f32.sqrt()]);
/// assert_eq!("cosine".parse(), Ok(SimilarityFunction::Cosine));
/// # Ok::<(), st_vectors::VectorError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SimilarityFunction {
    /// Cosine of the angle between two vectors.
    #[default]
    Cosine,
    /// Dot product.
    Dot,
    /// Negative Euclidean distance.
    Euclidean,
    /// Negative Manhattan distance.
    Manhattan,
}

impl SimilarityFunction {
    /// Every function with its name.
    pub const ALL: [(Self, &'static str); 4] =
        [(Self::Cosine, "cosine"), (Self::Dot, "dot"), (Self::Euclidean, "euclidean"), (Self::Manhattan, "manhattan")];

    /// The name, as model configurations write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(function, _)| *function == self).map_or("", |(_, name)| name)
    }

    /// All names, in the order of [`SimilarityFunction::ALL`].
    #[must_use]
    pub fn possible_values() -> [&'static str; 4] {
        Self::ALL.map(|(_, name)| name)
    }
}

impl fmt::Display for SimilarityFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
