//! [`NewWeights`]: numbers that take the place of a model's own.

use std::collections::BTreeMap;

use crate::{Error, ErrorKind, Result};

/// Numbers that take the place of a model's weights, by the names that the original's `named_parameters()` has for them:
/// `0.auto_model.embeddings.word_embeddings.weight`, `2.linear.weight`. What is not named stays as it is.
///
/// ```
/// use sentence_transformers::modules::{BoW, Dense, DenseActivation};
/// use sentence_transformers::{LoadOptions, NamedModule, NewWeights, Pipeline, SentenceTransformer};
///
/// let words = BoW::new(["sky", "blue"], [], 1.0, true);
/// let dense = Dense::new(2, 1, vec![1.0, 1.0], None, DenseActivation::Identity)?;
/// let rest = vec![NamedModule { name: "1".into(), module: Box::new(dense) }];
/// let model = SentenceTransformer::from_pipeline(Pipeline::new("0", Box::new(words), rest)?, &LoadOptions::new())?;
///
/// let mut weights = NewWeights::new();
/// weights.insert("1.linear.weight", vec![1, 2], vec![10.0, 0.5])?;
/// let trained = model.with_weights(weights)?;
/// assert_eq!(trained.encode(&["blue sky"])?.row(0), &[10.5]);
/// assert_eq!(model.encode(&["blue sky"])?.row(0), &[2.0]);
/// # Ok::<(), sentence_transformers::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct NewWeights {
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl NewWeights {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tensor, row-major.
    ///
    /// # Errors
    /// When the numbers are not as many as the shape says.
    pub fn insert(&mut self, name: impl Into<String>, shape: Vec<usize>, data: Vec<f32>) -> Result<()> {
        let name = name.into();
        if shape.iter().product::<usize>() != data.len() {
            let message = format!("{} numbers for '{name}', which has the shape {shape:?}", data.len());
            return Err(Error::new(ErrorKind::Argument, message));
        }
        self.tensors.insert(name, (shape, data));
        Ok(())
    }

    /// Takes a tensor out, when it is there.
    ///
    /// # Errors
    /// When it has another shape.
    pub fn take(&mut self, name: &str, shape: &[usize]) -> Result<Option<Vec<f32>>> {
        match self.tensors.remove(name) {
            None => Ok(None),
            Some((found, data)) if found == shape => Ok(Some(data)),
            Some((found, _)) => {
                let message = format!("the new '{name}' has the shape {found:?}, the old one {shape:?}");
                Err(Error::new(ErrorKind::Argument, message).with_hint("the weights are another model's"))
            }
        }
    }

    /// Takes a tensor out, or else copies the old one.
    pub(crate) fn take_or(&mut self, name: &str, shape: &[usize], old: &[f32]) -> Result<Vec<f32>> {
        Ok(self.take(name, shape)?.unwrap_or_else(|| old.to_vec()))
    }

    /// Names of the tensors that no module has taken, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Fails when a tensor is left over.
    pub(crate) fn finish(self) -> Result<()> {
        match self.tensors.keys().next() {
            None => Ok(()),
            Some(name) => {
                let message = format!("no module of the model has a weight '{name}'");
                Err(Error::new(ErrorKind::Argument, message).with_hint("the weights are another model's"))
            }
        }
    }
}
