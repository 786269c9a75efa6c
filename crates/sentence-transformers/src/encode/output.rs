//! [`TextFeatures`]: everything that was made of one text.

use st_encoder::TokenEmbeddings;

use crate::tokenizer::Tokens;
use crate::{Error, ErrorKind, Features, Result};

/// What the modules made of one text: the original's dictionary per text with `output_value=None`.
///
/// There is no padding here, so there is no attention mask: every token counts.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TextFeatures {
    /// Token ids, special tokens included.
    pub input_ids: Vec<u32>,
    /// Token type ids; `None` when all are 0.
    pub token_type_ids: Option<Vec<u32>>,
    /// Token embeddings, row-major, `[tokens, hidden]`; `None` when the model makes none.
    pub token_embeddings: Option<Vec<f32>>,
    /// Components of a token embedding; 0 when the model makes none.
    pub hidden: usize,
    /// The sentence embedding; `None` when the model makes none.
    pub sentence_embedding: Option<Vec<f32>>,
    /// Tokens of the prompt, when there was one.
    pub prompt_length: Option<usize>,
    /// The task: as the options say, or the route that a router took.
    pub task: Option<String>,
    /// The sum of the tokens' weights; `None` when no module weights them.
    pub token_weights_sum: Option<f32>,
}

impl TextFeatures {
    pub(super) fn of_row(features: &Features, row: usize, tokens: &Tokens, cut: Option<usize>) -> Self {
        let sentence_embedding = features.sentence_embeddings.as_ref().map(|sentences| {
            let full = sentences.row(row);
            full[..cut.unwrap_or(full.len()).min(full.len())].to_vec()
        });
        Self {
            input_ids: tokens.ids().to_vec(),
            token_type_ids: tokens.type_ids().map(<[u32]>::to_vec),
            token_embeddings: features.token_embeddings.as_ref().map(|all| all.sequence(row).to_vec()),
            hidden: features.token_embeddings.as_ref().map_or(0, TokenEmbeddings::hidden),
            sentence_embedding,
            prompt_length: features.prompt_length,
            task: features.task.clone(),
            token_weights_sum: features.token_weights_sum.as_ref().and_then(|sums| sums.get(row)).copied(),
        }
    }
}

/// Token embeddings of all texts in one ragged matrix.
pub(super) fn join_tokens(texts: &[TextFeatures]) -> Result<TokenEmbeddings> {
    let hidden = texts.first().map_or(1, |text| text.hidden);
    let mut data = Vec::new();
    let mut offsets = vec![0];
    for text in texts {
        let rows = text.token_embeddings.as_ref().ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "this model makes no token embeddings")
                .with_hint("ask for sentence embeddings")
        })?;
        data.extend_from_slice(rows);
        offsets.push(data.len() / hidden.max(1));
    }
    Ok(TokenEmbeddings::new(data, hidden, offsets)?)
}
