//! [`EncodeIterator`]: embeddings of a stream.

use std::iter::FusedIterator;

use st_vectors::{Embeddings, Precision, QuantizedEmbeddings, quantize_embeddings};

use crate::input::AsInput;
use crate::{Result, SentenceTransformer};

use super::{EncodeOptions, Truncation};

/// Texts per chunk unless the options say otherwise.
const CHUNK: usize = 2048;
/// A chunk of long texts is closed early at this many bytes, so that memory stays flat whatever the texts are.
const CHUNK_BYTES: usize = 4 << 20;

/// Embeddings of a stream of texts, chunk by chunk; see [`SentenceTransformer::encode_iter`].
///
/// ```no_run
/// use sentence_transformers::{EncodeOptions, SentenceTransformer};
///
/// let model = SentenceTransformer::load("all-MiniLM-L6-v2")?;
/// let lines = std::io::stdin().lines().map_while(Result::ok);
/// for chunk in model.encode_iter(lines, &EncodeOptions::new())? {
///     let chunk = chunk?;
///     println!("{} texts from number {}", chunk.texts.len(), chunk.start);
/// }
/// # Ok::<(), sentence_transformers::Error>(())
/// ```
#[derive(Debug)]
pub struct EncodeIterator<'a, I: Iterator> {
    model: &'a SentenceTransformer,
    texts: I,
    options: EncodeOptions,
    start: usize,
    done: bool,
}

/// A chunk of a stream: its texts and their embeddings.
#[derive(Debug, Clone, PartialEq)]
pub struct EncodedChunk<T> {
    /// Index of the first text in the stream.
    pub start: usize,
    /// The texts, given back.
    pub texts: Vec<T>,
    /// One row per text, float32.
    pub embeddings: Embeddings,
    /// The texts that were cut; `index` counts from the start of the stream.
    pub truncated: Vec<Truncation>,
    /// The rows in the precision of the options, when that is not float32.
    pub quantized: Option<QuantizedEmbeddings>,
}

impl<'a, I: Iterator> EncodeIterator<'a, I> {
    pub(super) fn new(model: &'a SentenceTransformer, texts: I, options: EncodeOptions) -> Self {
        Self { model, texts, options, start: 0, done: false }
    }
}

impl<I> Iterator for EncodeIterator<'_, I>
where
    I: Iterator,
    I::Item: AsInput + Sync,
{
    type Item = Result<EncodedChunk<I::Item>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let most = self.options.chunk_size.unwrap_or(CHUNK).max(1);
        let mut texts = Vec::new();
        let mut bytes = 0;
        while texts.len() < most && bytes < CHUNK_BYTES {
            match self.texts.next() {
                Some(text) => {
                    bytes += text.as_input().bytes();
                    texts.push(text);
                }
                None => {
                    self.done = true;
                    break;
                }
            }
        }
        if texts.is_empty() {
            return None;
        }
        let start = self.start;
        self.start += texts.len();
        Some(self.encode(start, texts))
    }
}

impl<I> FusedIterator for EncodeIterator<'_, I>
where
    I: Iterator,
    I::Item: AsInput + Sync,
{
}

impl<I> EncodeIterator<'_, I>
where
    I: Iterator,
    I::Item: AsInput + Sync,
{
    fn encode(&self, start: usize, texts: Vec<I::Item>) -> Result<EncodedChunk<I::Item>> {
        let mut encoded = self.model.encode_report(&texts, &self.options)?;
        encoded.truncated.iter_mut().for_each(|truncation| truncation.index += start);
        let quantized = match self.options.precision {
            Precision::Float32 => None,
            precision => Some(quantize_embeddings(&encoded.embeddings, precision, self.options.ranges.as_ref(), None)?),
        };
        Ok(EncodedChunk { start, texts, embeddings: encoded.embeddings, truncated: encoded.truncated, quantized })
    }
}
