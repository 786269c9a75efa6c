//! [`EmbeddingModel`]: what a loss and a trainer see of a model.

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use sentence_transformers::{Image, SentenceTransformer};

use crate::error::{Result, TrainError};

use super::column::Column;
use super::parameters::Parameters;
use super::pass::TrainingPass;

/// A model whose embeddings can be differentiated.
///
/// Losses are functions of embeddings; only an objective that needs more of the model (a guide's tokens, its layers)
/// is handed one of these. [`super::TrainableModel`] is the one that there is; tests may have smaller ones.
pub trait EmbeddingModel: Debug + Send + Sync {
    /// Sentence embeddings of a column, `[rows, dimension]`, with what else the pass asks for.
    ///
    /// # Errors
    /// When an operation fails, or a router has no route for the column's task.
    fn embed(&self, column: &Column, pass: &mut TrainingPass) -> Result<Embedded>;

    /// Sentence embeddings made of one layer's hidden states, `[tokens, hidden]`, as they come out of
    /// [`Embedded::layers`]: everything that follows the encoder is run on them instead of on the last layer's.
    ///
    /// # Errors
    /// As [`EmbeddingModel::embed`]; and when the first module is no transformer.
    fn embed_layer(&self, column: &Column, layer: &Tensor, pass: &mut TrainingPass) -> Result<Tensor>;

    /// Token ids of texts as the model reads them, `prompt` put before each. The prompt's length is measured where a
    /// module asks for it.
    ///
    /// # Errors
    /// When the tokenizer fails, or a router has no route for the task.
    fn tokenize(&self, texts: &[String], prompt: Option<&str>, task: Option<&str>) -> Result<Column>;

    /// Images as the model reads them: decoded, resized and cut into patches.
    ///
    /// # Errors
    /// When the model reads texts only, as most do, or an image cannot be decoded.
    fn read_images(&self, images: &[Image], task: Option<&str>) -> Result<Column> {
        let _ = (images, task);
        Err(TrainError::unsupported("the model reads texts, not images", "train a CLIP model on them"))
    }

    /// The parameters.
    fn parameters(&self) -> &Parameters;

    /// The parameters, to freeze some.
    fn parameters_mut(&mut self) -> &mut Parameters;

    /// Components of a sentence embedding.
    fn dimension(&self) -> usize;

    /// What the first module is.
    fn input_kind(&self) -> InputKind;

    /// Hidden states that a pass with layers gives, the embeddings' included; `None` when it can give none.
    fn layers(&self) -> Option<usize>;

    /// Where it runs.
    fn device(&self) -> &Device;

    /// Data type of its parameters.
    fn data_type(&self) -> DType;

    /// A copy with parameters of its own.
    ///
    /// # Errors
    /// When the device has no room.
    fn copy(&self) -> Result<Box<dyn EmbeddingModel>>;

    /// The model for inference, with the weights as they are now.
    ///
    /// # Errors
    /// When the engine cannot load it.
    fn sentence_transformer(&self) -> Result<SentenceTransformer>;

    /// Saves the model as a folder that the library and the original load, with the weights as they are now. With several
    /// active adapters there is a folder for each inside it, the model with that one alone.
    ///
    /// # Errors
    /// When a file cannot be written.
    fn save(&self, folder: &Path) -> Result<()>;
}

/// What a model made of a column.
#[derive(Debug, Clone)]
pub struct Embedded {
    /// Sentence embeddings, `[rows, dimension]`.
    pub sentences: Tensor,
    /// Token embeddings, where the pass asked for them and the model makes any.
    pub tokens: Option<TokenRows>,
    /// The hidden states of every layer, `[tokens, hidden]` each, the embeddings' first, where the pass asked for them
    /// and the model makes any. [`EmbeddingModel::embed_layer`] makes sentence embeddings of one.
    pub layers: Option<Vec<Tensor>>,
}

impl Embedded {
    /// Sentence embeddings only.
    #[must_use]
    pub fn of(sentences: Tensor) -> Self {
        Self { sentences, tokens: None, layers: None }
    }
}

/// One vector per token, ragged.
#[derive(Debug, Clone)]
pub struct TokenRows {
    /// The vectors, `[tokens, hidden]`, text after text.
    pub rows: Tensor,
    /// Where each text starts among the rows, and at last the number of rows.
    pub offsets: Arc<[usize]>,
}

/// What a model's first module is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InputKind {
    /// A transformer with a Hugging Face tokenizer.
    Transformer,
    /// A table of token vectors with a Hugging Face tokenizer.
    StaticEmbedding,
    /// A table of word vectors with a word tokenizer.
    WordEmbeddings,
    /// A bag of words.
    BoW,
    /// An encoder of texts and one of images.
    Clip,
    /// Other modules for other tasks.
    Router,
}
