//! [`EncodeOptions`]: what can be said about one call of `encode`.

use std::sync::Arc;

use st_vectors::{Precision, Ranges};

use crate::{Error, ErrorKind, Prompt, Prompts, Result};

/// Options of one call.
///
/// ```
/// use sentence_transformers::{EncodeOptions, Precision, Prompt};
///
/// let options = EncodeOptions::new().prompt(Prompt::named("query")).truncate_dim(256).normalize(true);
/// assert_eq!(options, options.clone());
/// assert_ne!(options, EncodeOptions::new().precision(Precision::Int8));
/// ```
#[derive(Clone, Default)]
pub struct EncodeOptions {
    pub(crate) prompt: Prompt,
    pub(crate) task: Option<String>,
    pub(crate) batch_size: Option<usize>,
    pub(crate) normalize: bool,
    pub(crate) truncate_dim: Option<usize>,
    pub(crate) precision: Precision,
    pub(crate) ranges: Option<Ranges>,
    pub(crate) strict: bool,
    pub(crate) threads: Option<usize>,
    pub(crate) chunk_size: Option<usize>,
    pub(crate) progress: Option<Arc<dyn Fn(Progress) + Send + Sync>>,
}

/// How far a call has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Texts done.
    pub done: usize,
    /// Texts in all.
    pub total: usize,
}

impl EncodeOptions {
    /// The defaults: the model's default prompt, float32, neither truncated nor normalised beyond what the model does.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Which prompt is put in front of every text.
    #[must_use]
    pub fn prompt(mut self, prompt: Prompt) -> Self {
        self.prompt = prompt;
        self
    }

    /// The prompt that these options choose.
    #[must_use]
    pub fn chosen_prompt(&self) -> &Prompt {
        &self.prompt
    }

    /// The task, which chooses the route of a [`crate::modules::Router`]. Models without one take no notice of it.
    #[must_use]
    pub fn task(mut self, task: impl Into<String>) -> Self {
        self.task = Some(task.into());
        self
    }

    /// The task that these options name.
    #[must_use]
    pub fn chosen_task(&self) -> Option<&str> {
        self.task.as_deref()
    }

    /// Most texts that the encoder is given at once. Vectors do not depend on it; by default the number of tokens
    /// decides.
    #[must_use]
    pub fn batch_size(mut self, texts: usize) -> Self {
        self.batch_size = Some(texts);
        self
    }

    /// Whether rows get unit length, after truncation.
    #[must_use]
    pub fn normalize(mut self, normalize: bool) -> Self {
        self.normalize = normalize;
        self
    }

    /// Cuts every embedding to its first `dimension` components, for this call; 0 cuts nothing.
    #[must_use]
    pub fn truncate_dim(mut self, dimension: usize) -> Self {
        self.truncate_dim = Some(dimension);
        self
    }

    /// Number format of the result of [`crate::SentenceTransformer::encode_quantized`].
    #[must_use]
    pub fn precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// Ranges of int8 and uint8, instead of those of the call's own rows.
    #[must_use]
    pub fn ranges(mut self, ranges: Ranges) -> Self {
        self.ranges = Some(ranges);
        self
    }

    /// Whether a text that is longer than the model reads is an error instead of being cut.
    #[must_use]
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// Threads for this call; at most the model's, which is the default.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads.max(1));
        self
    }

    /// Texts per chunk of `encode_iter` (default 2,048) and of a worker pool (default: ten chunks per worker, at most
    /// 5,000 texts).
    #[must_use]
    pub fn chunk_size(mut self, texts: usize) -> Self {
        self.chunk_size = Some(texts);
        self
    }

    /// Calls `report` as texts get done, from whichever thread did them.
    #[must_use]
    pub fn progress(mut self, report: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(report));
        self
    }

    pub(crate) fn report(&self, done: usize, total: usize) {
        if let Some(progress) = &self.progress {
            progress(Progress { done, total });
        }
    }

    /// With the prompt `query`, when the model has one and these options name none; and with the task `query`, when they
    /// name none.
    #[must_use]
    pub fn for_query(&self, prompts: &Prompts) -> Self {
        self.for_task("query", prompts, &["query"])
    }

    /// With the first of the prompts `document`, `passage` and `corpus` that the model has, when these options name none;
    /// and with the task `document`, when they name none.
    #[must_use]
    pub fn for_document(&self, prompts: &Prompts) -> Self {
        self.for_task("document", prompts, &["document", "passage", "corpus"])
    }

    fn for_task(&self, task: &str, prompts: &Prompts, names: &[&str]) -> Self {
        let mut options = self.clone();
        options.task.get_or_insert_with(|| task.to_owned());
        if options.prompt == Prompt::Default
            && let Some(name) = names.iter().find(|name| prompts.get(name).is_some())
        {
            options.prompt = Prompt::named(*name);
        }
        options
    }

    pub(crate) fn require_float(&self) -> Result<()> {
        if self.precision == Precision::Float32 {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Argument, format!("encode gives float32, not {}", self.precision))
            .with_hint("call encode_quantized, or quantize_embeddings on the result"))
    }

    /// A stream has no end from which ranges could be taken.
    pub(crate) fn require_ranges(&self) -> Result<()> {
        let scalar = matches!(self.precision, Precision::Int8 | Precision::Uint8);
        if scalar && self.ranges.is_none() {
            return Err(Error::new(ErrorKind::Argument, format!("a stream in {} needs ranges", self.precision))
                .with_hint("embed a sample first and give Ranges::from_embeddings of it"));
        }
        Ok(())
    }

    pub(crate) fn checked_batch_size(&self) -> Result<Option<usize>> {
        match self.batch_size {
            Some(0) => Err(Error::new(ErrorKind::Argument, "batch_size should be at least 1")),
            size => Ok(size),
        }
    }
}

/// Equal in everything but the progress callback, which cannot be compared.
impl PartialEq for EncodeOptions {
    fn eq(&self, other: &Self) -> bool {
        self.prompt == other.prompt
            && self.task == other.task
            && self.batch_size == other.batch_size
            && self.normalize == other.normalize
            && self.truncate_dim == other.truncate_dim
            && self.precision == other.precision
            && self.ranges == other.ranges
            && self.strict == other.strict
            && self.threads == other.threads
            && self.chunk_size == other.chunk_size
    }
}

impl std::fmt::Debug for EncodeOptions {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("EncodeOptions")
            .field("prompt", &self.prompt)
            .field("task", &self.task)
            .field("batch_size", &self.batch_size)
            .field("normalize", &self.normalize)
            .field("truncate_dim", &self.truncate_dim)
            .field("precision", &self.precision)
            .field("strict", &self.strict)
            .field("threads", &self.threads)
            .field("chunk_size", &self.chunk_size)
            .finish_non_exhaustive()
    }
}
