//! [`WeightsOverlay`]: other numbers in the place of a checkpoint's.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use crate::EncoderError;

/// Changes the numbers of some tensors of a checkpoint while they are read. The checkpoint stays as it is, and tensors are
/// changed one by one, so that no second copy of a model is ever in memory.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![1, 2], &[0, 0, 128, 63, 0, 0, 0, 64])?;
/// # std::fs::write(folder.path().join("model.safetensors"), safetensors::serialize([("linear.weight", view)], None)?)?;
/// use std::{ops::Range, sync::Arc};
/// use st_encoder::{EncoderError, TensorSource, Weights, WeightsOverlay};
///
/// #[derive(Debug)]
/// struct Doubled;
///
/// impl WeightsOverlay for Doubled {
///     fn changes(&self, name: &str) -> bool {
///         name == "linear.weight"
///     }
///
///     fn apply(&self, _: &str, _: Range<usize>, numbers: &mut [f32]) -> Result<(), EncoderError> {
///         numbers.iter_mut().for_each(|number| *number *= 2.0);
///         Ok(())
///     }
/// }
///
/// let weights = Weights::open(folder.path())?.with_overlay(Arc::new(Doubled));
/// let tensor = weights.tensor(&TensorSource::whole("linear.weight"), &[1, 2])?;
/// assert_eq!(*tensor.to_f32()?, [2.0, 4.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait WeightsOverlay: Debug + Send + Sync {
    /// Whether the tensor `name`, without a prefix, has other numbers than the checkpoint's.
    fn changes(&self, name: &str) -> bool;

    /// Changes `numbers`, which are the given rows (of a vector: elements) of the tensor `name`.
    ///
    /// # Errors
    /// When the overlay was made for a tensor of another shape.
    fn apply(&self, name: &str, rows: Range<usize>, numbers: &mut [f32]) -> Result<(), EncoderError>;
}

/// An overlay for a whole checkpoint as one for a part of it whose tensors have a prefix: CLIP's text encoder, say, which
/// reads its tensors without the prefix.
///
/// ```
/// use std::{ops::Range, sync::Arc};
/// use st_encoder::{EncoderError, PartOverlay, WeightsOverlay};
///
/// #[derive(Debug)]
/// struct Zeros;
///
/// impl WeightsOverlay for Zeros {
///     fn changes(&self, name: &str) -> bool {
///         name == "text_model.norm.weight"
///     }
///
///     fn apply(&self, _: &str, _: Range<usize>, numbers: &mut [f32]) -> Result<(), EncoderError> {
///         numbers.fill(0.0);
///         Ok(())
///     }
/// }
///
/// let part = PartOverlay::new(Arc::new(Zeros), "text_model.");
/// assert!(part.changes("norm.weight") && !part.changes("text_model.norm.weight"));
/// ```
#[derive(Debug)]
pub struct PartOverlay {
    whole: Arc<dyn WeightsOverlay>,
    prefix: String,
}

impl PartOverlay {
    /// The part of `whole` for tensors whose names begin with `prefix`.
    #[must_use]
    pub fn new(whole: Arc<dyn WeightsOverlay>, prefix: impl Into<String>) -> Self {
        Self { whole, prefix: prefix.into() }
    }
}

impl WeightsOverlay for PartOverlay {
    fn changes(&self, name: &str) -> bool {
        self.whole.changes(&format!("{}{name}", self.prefix))
    }

    fn apply(&self, name: &str, rows: Range<usize>, numbers: &mut [f32]) -> Result<(), EncoderError> {
        self.whole.apply(&format!("{}{name}", self.prefix), rows, numbers)
    }
}
