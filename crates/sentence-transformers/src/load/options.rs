//! [`LoadOptions`]: everything that can be said when a model is loaded.

use std::path::PathBuf;
use std::sync::Arc;

use st_encoder::{Backend, EncoderOptions, WeightFormat};
use st_hub::HubOptions;
use st_native::NativeBackend;
use st_vectors::SimilarityFunction;

use crate::Prompts;
use crate::module::{InputContext, Origin};
use crate::tokenizer::TokenizerOptions;

/// How a model is loaded: the arguments of the original's constructor.
///
/// ```no_run
/// use sentence_transformers::{LoadOptions, SimilarityFunction};
///
/// let model = LoadOptions::new()
///     .revision("main")
///     .similarity(SimilarityFunction::Dot)
///     .truncate_dim(128)
///     .load("sentence-transformers/all-MiniLM-L6-v2")?;
/// assert_eq!(model.dimension(), Some(128));
/// # Ok::<(), sentence_transformers::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct LoadOptions {
    pub(crate) hub: HubOptions,
    pub(crate) prompts: Vec<(String, String)>,
    pub(crate) default_prompt_name: Option<String>,
    pub(crate) similarity: Option<SimilarityFunction>,
    pub(crate) truncate_dim: Option<usize>,
    pub(crate) threads: Option<usize>,
    pub(crate) input: InputContext,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl LoadOptions {
    /// The defaults: native engine, 32-bit weights, every core, what the model's files say.
    #[must_use]
    pub fn new() -> Self {
        Self {
            hub: HubOptions::default(),
            prompts: Vec::new(),
            default_prompt_name: None,
            similarity: None,
            truncate_dim: None,
            threads: None,
            input: InputContext {
                backend: Arc::new(NativeBackend::new()),
                encoder: EncoderOptions::new(),
                weights_given: false,
                tokenizer: TokenizerOptions::default(),
                max_seq_length: None,
                origin: Origin::default(),
            },
        }
    }

    /// Branch, tag or commit on the Hub.
    #[must_use]
    pub fn revision(mut self, revision: impl Into<String>) -> Self {
        self.hub = self.hub.revision(revision);
        self
    }

    /// Folder of the Hub's cache, instead of the one that the environment names.
    #[must_use]
    pub fn cache_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.hub = self.hub.cache_folder(folder);
        self
    }

    /// Token for private models.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.hub = self.hub.token(token);
        self
    }

    /// Use local files only; nothing is asked of the Hub.
    #[must_use]
    pub fn local_files_only(mut self, local: bool) -> Self {
        self.hub = self.hub.local_files_only(local);
        self
    }

    /// All options of the Hub client at once: endpoint, progress, environment.
    #[must_use]
    pub fn hub(mut self, hub: HubOptions) -> Self {
        self.hub = hub;
        self
    }

    /// Adds or replaces a prompt. Prompts given here win over the model's.
    #[must_use]
    pub fn prompt(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.prompts.push((name.into(), text.into()));
        self
    }

    /// Name of the prompt used when a call names none.
    #[must_use]
    pub fn default_prompt_name(mut self, name: impl Into<String>) -> Self {
        self.default_prompt_name = Some(name.into());
        self
    }

    /// Similarity function, instead of the model's.
    #[must_use]
    pub fn similarity(mut self, function: SimilarityFunction) -> Self {
        self.similarity = Some(function);
        self
    }

    /// Cuts every sentence embedding to its first `dimension` components.
    #[must_use]
    pub fn truncate_dim(mut self, dimension: usize) -> Self {
        self.truncate_dim = Some(dimension);
        self
    }

    /// Longest token sequence, instead of the model's.
    #[must_use]
    pub fn max_seq_length(mut self, length: usize) -> Self {
        self.input.max_seq_length = Some(length);
        self
    }

    /// What to change about the tokenizer.
    #[must_use]
    pub fn tokenizer(mut self, options: TokenizerOptions) -> Self {
        self.input.tokenizer = options;
        self
    }

    /// In what form the weights are kept: the original's `torch_dtype`, and `int8`.
    #[must_use]
    pub fn weights(mut self, weights: WeightFormat) -> Self {
        self.input.encoder = self.input.encoder.weights(weights);
        self.input.weights_given = true;
        self
    }

    /// All options of the encoder at once.
    #[must_use]
    pub fn encoder(mut self, options: EncoderOptions) -> Self {
        self.input.encoder = options;
        self.input.weights_given = true;
        self
    }

    /// Runs the network on another backend.
    #[must_use]
    pub fn backend(mut self, backend: Arc<dyn Backend>) -> Self {
        self.input.backend = backend;
        self
    }

    /// Number of threads that one call may use; by default one per core.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads.max(1));
        self
    }

    /// The prompts of a model: the fresh ones, those given here, then the folder's where the text is still empty.
    pub(super) fn merge_prompts(&self, folder: &[(String, String)]) -> Prompts {
        let mut prompts = Prompts::default();
        for (name, text) in &self.prompts {
            prompts.set(name, text);
        }
        for (name, text) in folder {
            if prompts.get(name).is_none_or(str::is_empty) {
                prompts.set(name, text);
            }
        }
        prompts
    }
}
