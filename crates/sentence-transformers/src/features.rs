//! [`Features`]: what modules hand to each other.

use st_encoder::{Batch, TokenEmbeddings};
use st_vectors::Embeddings;

use crate::{Error, ErrorKind, Result};

/// What one module hands to the next: the token ids, and what has been made of them so far.
///
/// The original passes a dictionary of tensors; the fields here are its keys `input_ids`, `prompt_length`, `task`,
/// `token_embeddings` (with `all_layer_embeddings` inside), `token_weights_sum` and `sentence_embedding`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Features {
    /// Token ids, ragged.
    pub batch: Batch,
    /// Tokens at the start of every text that belong to the prompt.
    pub prompt_length: Option<usize>,
    /// The task, which chooses the route of a router; a router that found its route writes its name here.
    pub task: Option<String>,
    /// One vector per token, once an encoder ran.
    pub token_embeddings: Option<TokenEmbeddings>,
    /// Per text, the sum of its tokens' weights, once a module weighted them. Means are divided by it.
    pub token_weights_sum: Option<Vec<f32>>,
    /// One vector per text, once pooling ran.
    pub sentence_embeddings: Option<Embeddings>,
}

impl Features {
    /// Features of a batch that no module has seen yet.
    #[must_use]
    pub fn new(batch: Batch) -> Self {
        Self {
            batch,
            prompt_length: None,
            task: None,
            token_embeddings: None,
            token_weights_sum: None,
            sentence_embeddings: None,
        }
    }

    /// The token embeddings.
    ///
    /// # Errors
    /// When no earlier module made them.
    pub fn tokens(&self) -> Result<&TokenEmbeddings> {
        self.token_embeddings.as_ref().ok_or_else(|| missing("token_embeddings"))
    }

    /// The token embeddings, taken out to be changed.
    ///
    /// # Errors
    /// When no earlier module made them.
    pub fn take_tokens(&mut self) -> Result<TokenEmbeddings> {
        self.token_embeddings.take().ok_or_else(|| missing("token_embeddings"))
    }

    /// The sentence embeddings, taken out to be changed.
    ///
    /// # Errors
    /// When no earlier module made them.
    pub fn take_sentences(&mut self) -> Result<Embeddings> {
        self.sentence_embeddings.take().ok_or_else(|| missing("sentence_embedding"))
    }
}

fn missing(feature: &str) -> Error {
    Error::new(ErrorKind::Config, format!("no module of the pipeline has made '{feature}' yet"))
        .with_hint("the order of modules.json is wrong: an encoder comes first, then Pooling, then the rest")
}
