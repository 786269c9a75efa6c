//! [`Embedder`]: all that an evaluator needs of a model.

use st_vectors::{Embeddings, SimilarityFunction};

use crate::{EvalError, Result};

/// What a text is for. Models with prompts or routes per task treat them differently.
///
/// ```
/// assert_ne!(st_eval::Role::Query, st_eval::Role::Document);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Encoded without a task (`encode`).
    Plain,
    /// A query (`encode_query`).
    Query,
    /// A document (`encode_document`).
    Document,
}

/// How an evaluator wants its texts embedded.
///
/// ```
/// let options = st_eval::EmbedOptions { batch_size: 64, ..Default::default() };
/// assert_eq!(options.truncate_dim, None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmbedOptions<'a> {
    /// Texts at a time.
    pub batch_size: usize,
    /// Keep only the first components; `None`: what the model does by itself.
    pub truncate_dim: Option<usize>,
    /// A prompt in its words; goes before `prompt_name`.
    pub prompt: Option<&'a str>,
    /// A prompt by its name in the model.
    pub prompt_name: Option<&'a str>,
    /// Show a progress bar.
    pub show_progress: bool,
}

impl Default for EmbedOptions<'_> {
    fn default() -> Self {
        Self { batch_size: 32, truncate_dim: None, prompt: None, prompt_name: None, show_progress: false }
    }
}

/// A model, as evaluators see it.
///
/// ```
/// use st_eval::{EmbedOptions, Embedder, Result, Role};
/// use st_vectors::{Embeddings, SimilarityFunction};
///
/// struct Lengths;
/// impl Embedder for Lengths {
///     fn embed(&self, texts: &[&str], _: Role, _: &EmbedOptions<'_>) -> Result<Embeddings> {
///         Ok(Embeddings::from_rows(texts.iter().map(|text| [text.len() as f32, 1.0]))?)
///     }
///     fn similarity(&self) -> SimilarityFunction {
///         SimilarityFunction::Cosine
///     }
/// }
/// assert_eq!(Lengths.embed(&["four"], Role::Plain, &EmbedOptions::default())?.row(0), [4.0, 1.0]);
/// # Ok::<(), st_eval::EvalError>(())
/// ```
pub trait Embedder {
    /// Embeds texts: one row per text, in order, float32, not normalised unless the model does so by itself.
    ///
    /// # Errors
    /// [`EvalError::model`] wraps the model's own error.
    fn embed(&self, texts: &[&str], role: Role, options: &EmbedOptions<'_>) -> Result<Embeddings>;

    /// The similarity function of the model, which evaluators use unless they were given others.
    fn similarity(&self) -> SimilarityFunction;
}

/// Embeds, and checks that every text got its row.
pub(crate) fn embed_all<S: AsRef<str>>(
    model: &dyn Embedder,
    texts: &[S],
    role: Role,
    options: &EmbedOptions<'_>,
) -> Result<Embeddings> {
    let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
    let embeddings = model.embed(&texts, role, options)?;
    if embeddings.rows() != texts.len() {
        return Err(EvalError::EmbeddingCount { expected: texts.len(), found: embeddings.rows() });
    }
    Ok(embeddings)
}
