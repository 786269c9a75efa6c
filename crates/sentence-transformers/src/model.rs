//! [`SentenceTransformer`]: the model.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::{Map, Value};
use st_card::ModelCardData;
use st_encoder::EncoderInfo;
use st_vectors::{Embeddings, SimilarityFunction, SimilarityMatrix};

use crate::pipeline::Pipeline;
use crate::{Error, ErrorKind, NewWeights, Prompts, Result};

/// A model that turns texts into vectors.
///
/// Everything that encodes takes `&self`; a model can be shared by any number of threads.
///
/// ```no_run
/// use sentence_transformers::SentenceTransformer;
///
/// let model = SentenceTransformer::load("sentence-transformers/all-MiniLM-L6-v2")?;
/// let embeddings = model.encode(&["The weather is lovely today.", "It's so sunny outside!"])?;
/// let scores = model.similarity(&embeddings, &embeddings)?;
/// assert_eq!((embeddings.rows(), embeddings.dimension()), (2, 384));
/// assert!((scores.row(0)[1] - 0.6660).abs() < 1e-4);
/// # Ok::<(), sentence_transformers::Error>(())
/// ```
pub struct SentenceTransformer {
    pub(crate) parts: Parts,
    pool: OnceLock<rayon::ThreadPool>,
}

/// What a model is made of.
pub(crate) struct Parts {
    pub(crate) pipeline: Pipeline,
    pub(crate) prompts: Prompts,
    pub(crate) default_prompt_name: Option<String>,
    pub(crate) similarity: SimilarityFunction,
    pub(crate) truncate_dim: Option<usize>,
    pub(crate) threads: usize,
    pub(crate) path: PathBuf,
    pub(crate) origin: String,
    pub(crate) config: Map<String, Value>,
    pub(crate) card: Option<String>,
    pub(crate) card_data: ModelCardData,
}

impl SentenceTransformer {
    pub(crate) fn from_parts(parts: Parts) -> Self {
        Self { parts, pool: OnceLock::new() }
    }

    /// Components of a sentence embedding after truncation; `None` when no module makes one.
    #[must_use]
    pub fn dimension(&self) -> Option<usize> {
        match (self.parts.pipeline.dimension(), self.parts.truncate_dim) {
            (Some(full), Some(cut)) if cut > 0 => Some(full.min(cut)),
            (full, _) => full,
        }
    }

    /// Longest token sequence, special tokens included; longer texts are cut. `None` when the model sets no limit.
    #[must_use]
    pub fn max_seq_length(&self) -> Option<usize> {
        self.parts.pipeline.input().max_seq_length()
    }

    /// Changes [`SentenceTransformer::max_seq_length`].
    pub fn set_max_seq_length(&mut self, length: Option<usize>) {
        self.parts.pipeline.input_mut().set_max_seq_length(length);
    }

    /// The prompts.
    #[must_use]
    pub fn prompts(&self) -> &Prompts {
        &self.parts.prompts
    }

    /// The prompts, to change them.
    pub fn prompts_mut(&mut self) -> &mut Prompts {
        &mut self.parts.prompts
    }

    /// Name of the prompt used when a call names none.
    #[must_use]
    pub fn default_prompt_name(&self) -> Option<&str> {
        self.parts.default_prompt_name.as_deref()
    }

    /// Changes [`SentenceTransformer::default_prompt_name`].
    ///
    /// # Errors
    /// When there is no prompt of that name.
    pub fn set_default_prompt_name(&mut self, name: Option<&str>) -> Result<()> {
        if let Some(name) = name {
            self.parts.prompts.require(name, "Default prompt")?;
        }
        self.parts.default_prompt_name = name.map(str::to_owned);
        Ok(())
    }

    /// The similarity function.
    #[must_use]
    pub fn similarity_function(&self) -> SimilarityFunction {
        self.parts.similarity
    }

    /// Changes [`SentenceTransformer::similarity_function`].
    pub fn set_similarity_function(&mut self, function: SimilarityFunction) {
        self.parts.similarity = function;
    }

    /// Components that sentence embeddings are cut to.
    #[must_use]
    pub fn truncate_dim(&self) -> Option<usize> {
        self.parts.truncate_dim
    }

    /// Changes [`SentenceTransformer::truncate_dim`].
    pub fn set_truncate_dim(&mut self, dimension: Option<usize>) {
        self.parts.truncate_dim = dimension;
    }

    /// Sets whether prompt tokens take part in pooling, on the first Pooling module; says whether there is one.
    pub fn set_pooling_include_prompt(&mut self, include: bool) -> bool {
        self.parts.pipeline.rest_mut().iter_mut().any(|module| module.module.set_include_prompt(include))
    }

    /// Similarity of every row of `a` with every row of `b`, by the model's function: `[rows of a, rows of b]`.
    ///
    /// # Errors
    /// When the two differ in dimension.
    pub fn similarity(&self, a: &Embeddings, b: &Embeddings) -> Result<SimilarityMatrix> {
        Ok(self.parts.similarity.similarity(a, b)?)
    }

    /// Similarity of each row of `a` with the same row of `b`, by the model's function.
    ///
    /// # Errors
    /// When the two differ in shape.
    pub fn similarity_pairwise(&self, a: &Embeddings, b: &Embeddings) -> Result<Vec<f32>> {
        Ok(self.parts.similarity.similarity_pairwise(a, b)?)
    }

    /// The modules.
    #[must_use]
    pub fn pipeline(&self) -> &Pipeline {
        &self.parts.pipeline
    }

    /// What runs inside, where there is an encoder.
    #[must_use]
    pub fn encoder(&self) -> Option<&EncoderInfo> {
        self.parts.pipeline.input().encoder()
    }

    /// The same model with new weights, as training makes them; what is not named in `weights` stays as it is.
    ///
    /// The encoder is loaded anew, in the form that this model keeps its weights in. Saving the result writes the new
    /// weights under the checkpoint's own names, in 32 bits.
    ///
    /// # Errors
    /// When no module has a weight of that name, its shape differs, or the encoder cannot be loaded.
    pub fn with_weights(&self, mut weights: NewWeights) -> Result<Self> {
        let pipeline = self.parts.pipeline.with_weights(&|_, name| format!("{name}."), &mut weights)?;
        weights.finish()?;
        let parts = &self.parts;
        Ok(Self::from_parts(Parts {
            pipeline,
            prompts: parts.prompts.clone(),
            default_prompt_name: parts.default_prompt_name.clone(),
            similarity: parts.similarity,
            truncate_dim: parts.truncate_dim,
            threads: parts.threads,
            path: parts.path.clone(),
            origin: parts.origin.clone(),
            config: parts.config.clone(),
            card: parts.card.clone(),
            card_data: parts.card_data.clone(),
        }))
    }

    /// Threads that one call may use.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.parts.threads
    }

    /// The folder that it was loaded from; empty for a model made in memory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.parts.path
    }

    /// Where it was found, for people.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.parts.origin
    }

    /// What `config_sentence_transformers.json` said, in its order; empty when there was none.
    #[must_use]
    pub fn config(&self) -> &Map<String, Value> {
        &self.parts.config
    }

    /// The model card that came with the model.
    #[must_use]
    pub fn card(&self) -> Option<&str> {
        self.parts.card.as_deref()
    }

    /// The pool of threads that this model's calls share, made at first use.
    pub(crate) fn thread_pool(&self) -> Result<&rayon::ThreadPool> {
        if let Some(pool) = self.pool.get() {
            return Ok(pool);
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(self.parts.threads)
            .thread_name(|index| format!("encode-{index}"))
            .build()
            .map_err(|error| Error::new(ErrorKind::Io, "cannot start threads").with_source(error))?;
        Ok(self.pool.get_or_init(|| pool))
    }
}

/// As the original prints a model: one line per module, with its configuration as a Python dictionary.
impl fmt::Debug for SentenceTransformer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SentenceTransformer(\n")?;
        for (name, module) in self.parts.pipeline.modules() {
            let mut config = module.config();
            if let Some(class) = self.encoder().and_then(|info| info.class_name.as_deref().map(base_class))
                && config.contains_key("max_seq_length")
            {
                config.insert("architecture".into(), class.into());
            }
            let config = if config.is_empty() { String::new() } else { python_dict(&config) };
            writeln!(formatter, "  ({name}): {}({config})", module.kind().name)?;
        }
        formatter.write_str(")")
    }
}

/// The class that the original loads for a checkpoint of class `name`: the one without a head.
fn base_class(name: &str) -> String {
    let stem = name.split("For").next().unwrap_or(name);
    match stem {
        "T5" | "MT5" => format!("{stem}EncoderModel"),
        _ if stem.ends_with("Model") => stem.to_owned(),
        _ => format!("{stem}Model"),
    }
}

fn python_dict(keys: &Map<String, Value>) -> String {
    let value = |value: &Value| match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::String(text) => crate::prompts::python_repr(text),
        other => other.to_string(),
    };
    let entries: Vec<String> =
        keys.iter().map(|(key, entry)| format!("{}: {}", crate::prompts::python_repr(key), value(entry))).collect();
    format!("{{{}}}", entries.join(", "))
}
