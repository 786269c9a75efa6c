//! Encoding: from texts to embeddings.

mod direct;
mod iterator;
mod options;
mod output;
mod prompt;
mod schedule;
mod tokens;
mod worker_pool;

use st_vectors::{Embeddings, QuantizedEmbeddings, quantize_embeddings};

use crate::input::AsInput;
use crate::pipeline::Goal;
use crate::{Error, ErrorKind, Result, SentenceTransformer};

pub use iterator::{EncodeIterator, EncodedChunk};
pub use options::{EncodeOptions, Progress};
pub use output::TextFeatures;
use schedule::Window;
use st_encoder::TokenEmbeddings;
pub use tokens::{TokenReport, Truncation};
pub use worker_pool::WorkerPool;

/// Texts whose tokens are held in memory at once; longer lists go through in windows of this many.
const WINDOW: usize = 16_384;

/// Sentence embeddings with the texts that were cut.
///
/// ```no_run
/// use sentence_transformers::{EncodeOptions, SentenceTransformer};
///
/// let model = SentenceTransformer::load("all-MiniLM-L6-v2")?;
/// let long = "word ".repeat(1000);
/// let encoded = model.encode_report(&[long.as_str(), "short"], &EncodeOptions::new())?;
/// assert_eq!(encoded.truncated[0].index, 0);
/// # Ok::<(), sentence_transformers::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Encoded {
    /// One row per text, in the order of the texts.
    pub embeddings: Embeddings,
    /// The texts that were longer than the model reads, by index.
    pub truncated: Vec<Truncation>,
}

impl SentenceTransformer {
    /// Sentence embeddings of texts, `[N, D]`, one row per text in the order given.
    ///
    /// A text's vector does not depend on the other texts of the call. No texts give zero rows.
    ///
    /// # Errors
    /// When the tokenizer or the encoder fails.
    pub fn encode<T: AsInput + Sync>(&self, texts: &[T]) -> Result<Embeddings> {
        self.encode_with(texts, &EncodeOptions::new())
    }

    /// [`SentenceTransformer::encode`] with options.
    ///
    /// # Errors
    /// As there; and for an unknown prompt name, or a text that is too long when truncation is not allowed. A precision
    /// other than float32 belongs to [`SentenceTransformer::encode_quantized`].
    pub fn encode_with<T: AsInput + Sync>(&self, texts: &[T], options: &EncodeOptions) -> Result<Embeddings> {
        options.require_float()?;
        Ok(self.encode_report(texts, options)?.embeddings)
    }

    /// The embedding of one text.
    ///
    /// # Errors
    /// As [`SentenceTransformer::encode_with`].
    pub fn encode_one<T: AsInput + Sync>(&self, text: T, options: &EncodeOptions) -> Result<Vec<f32>> {
        Ok(self.encode_with(&[text], options)?.into_vec())
    }

    /// Embeddings of search queries: the prompt `query` is used when the model has one and the options name none, and so
    /// is the task `query`.
    ///
    /// # Errors
    /// As [`SentenceTransformer::encode_with`].
    pub fn encode_query<T: AsInput + Sync>(&self, texts: &[T], options: &EncodeOptions) -> Result<Embeddings> {
        self.encode_with(texts, &options.for_query(self.prompts()))
    }

    /// Embeddings of documents: the first of the prompts `document`, `passage` and `corpus` that the model has is used
    /// when the options name none, and so is the task `document`.
    ///
    /// # Errors
    /// As [`SentenceTransformer::encode_with`].
    pub fn encode_document<T: AsInput + Sync>(&self, texts: &[T], options: &EncodeOptions) -> Result<Embeddings> {
        self.encode_with(texts, &options.for_document(self.prompts()))
    }

    /// Sentence embeddings, and which texts were cut.
    ///
    /// # Errors
    /// As [`SentenceTransformer::encode_with`].
    pub fn encode_report<T: AsInput + Sync>(&self, texts: &[T], options: &EncodeOptions) -> Result<Encoded> {
        let prompt = self.prepare_prompt(options)?;
        let dimension = self.require_dimension()?;
        let width = options
            .truncate_dim
            .or(self.truncate_dim())
            .filter(|&cut| cut > 0)
            .map_or(dimension, |cut| cut.min(dimension));
        if let Some(embedder) = self.pipeline().input().embedder() {
            let call = direct::Call { texts, prompt: &prompt, options, width };
            let (rows, truncated) = self.embed_directly(embedder, &call)?;
            return Ok(Encoded { embeddings: Embeddings::new(rows, texts.len(), width)?, truncated });
        }
        let mut rows = Vec::with_capacity(texts.len() * width);
        let mut truncated = Vec::new();
        for (window, part) in texts.chunks(WINDOW).enumerate() {
            let tokens = self.tokenize_window(part, &prompt, options, window * WINDOW, &mut truncated)?;
            let done = window * WINDOW;
            let report = |count: usize| options.report(done + count, texts.len());
            let mut out = vec![0f32; part.len() * width];
            let window = Window::new(part, &tokens, &prompt, Goal::Sentences);
            for (indices, features) in self.run(&window, options, &report)? {
                let sentences = self.finish(features, options)?;
                for (row, index) in indices.into_iter().enumerate() {
                    out[index * width..(index + 1) * width].copy_from_slice(sentences.row(row));
                }
            }
            rows.append(&mut out);
        }
        Ok(Encoded { embeddings: Embeddings::new(rows, texts.len(), width)?, truncated })
    }

    /// Sentence embeddings in the precision of the options (all five are allowed).
    ///
    /// Ranges for int8 and uint8 are those of the options, else they come from all rows of this call.
    ///
    /// # Errors
    /// As [`SentenceTransformer::encode_with`].
    pub fn encode_quantized<T: AsInput + Sync>(
        &self,
        texts: &[T],
        options: &EncodeOptions,
    ) -> Result<QuantizedEmbeddings> {
        let embeddings = self.encode_report(texts, options)?.embeddings;
        Ok(quantize_embeddings(&embeddings, options.precision, options.ranges.as_ref(), None)?)
    }

    /// Token embeddings of texts, ragged, special tokens included: the original's `output_value="token_embeddings"`.
    ///
    /// They are neither truncated nor normalised.
    ///
    /// # Errors
    /// As [`SentenceTransformer::encode_with`], and when the model makes no token embeddings.
    pub fn encode_tokens<T: AsInput + Sync>(&self, texts: &[T], options: &EncodeOptions) -> Result<TokenEmbeddings> {
        let features = self.encode_features(texts, options)?;
        output::join_tokens(&features)
    }

    /// Everything that the modules made of each text: the original's `output_value=None`.
    ///
    /// Sentence embeddings are truncated as the options say, and not normalised by them.
    ///
    /// # Errors
    /// As [`SentenceTransformer::encode_with`].
    pub fn encode_features<T: AsInput + Sync>(
        &self,
        texts: &[T],
        options: &EncodeOptions,
    ) -> Result<Vec<TextFeatures>> {
        let prompt = self.prepare_prompt(options)?;
        let tokens = self.tokenize_window(texts, &prompt, options, 0, &mut Vec::new())?;
        let report = |count: usize| options.report(count, texts.len());
        let cut = options.truncate_dim.or(self.truncate_dim()).filter(|&cut| cut > 0);
        let mut out: Vec<Option<TextFeatures>> = vec![None; texts.len()];
        let window = Window::new(texts, &tokens, &prompt, Goal::Tokens);
        for (indices, features) in self.run(&window, options, &report)? {
            for (row, index) in indices.into_iter().enumerate() {
                out[index] = Some(TextFeatures::of_row(&features, row, &tokens[index], cut));
            }
        }
        let missing = || Error::new(ErrorKind::Encode, "a text was not encoded");
        out.into_iter().map(|text| text.ok_or_else(missing)).collect()
    }

    /// Embeddings of any stream of texts, in chunks, with flat memory: at most one chunk is held at a time.
    ///
    /// Chunks come in the order of the texts. Dropping the iterator ends the work.
    ///
    /// # Errors
    /// For an unknown prompt name. A chunk that fails is an error in its place, and the iterator goes on after it.
    pub fn encode_iter<I>(&self, texts: I, options: &EncodeOptions) -> Result<EncodeIterator<'_, I::IntoIter>>
    where
        I: IntoIterator,
        I::Item: AsInput + Sync,
    {
        options.require_ranges()?;
        self.prepare_prompt(options)?;
        self.require_dimension()?;
        Ok(EncodeIterator::new(self, texts.into_iter(), options.clone()))
    }

    pub(crate) fn require_dimension(&self) -> Result<usize> {
        self.pipeline().dimension().ok_or_else(|| {
            Error::new(ErrorKind::Config, "no module of this model makes sentence embeddings")
                .with_hint("add a Pooling module, or ask for token embeddings")
        })
    }

    /// Truncation, then normalisation, as the options say.
    fn finish(&self, mut features: crate::Features, options: &EncodeOptions) -> Result<Embeddings> {
        let mut sentences = features.take_sentences()?;
        if let Some(cut) = options.truncate_dim.or(self.truncate_dim()).filter(|&cut| cut > 0) {
            sentences.truncate(cut);
        }
        if options.normalize {
            sentences.normalize();
        }
        Ok(sentences)
    }
}
