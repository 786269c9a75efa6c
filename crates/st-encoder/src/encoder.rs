//! [`Encoder`] and [`Backend`]: the contract between the library and whatever runs a network.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use crate::architectures::{Architecture, describe};
use crate::{Batch, DataType, EncoderError, EncoderSpec, Slot, TokenEmbeddings, Weights, WeightsOverlay};

/// Something that turns token ids into token embeddings.
///
/// Every method takes `&self`, and one encoder serves any number of threads at once.
pub trait Encoder: Debug + Send + Sync {
    /// What the encoder is.
    fn info(&self) -> &EncoderInfo;

    /// Runs a batch.
    ///
    /// A sequence's rows do not depend on the other sequences of the batch. The result has the batch's sequences in the
    /// batch's order.
    ///
    /// # Errors
    /// [`EncoderError::TokenOutOfRange`] and [`EncoderError::SequenceTooLong`] for ids and lengths that the network has
    /// no rows for; whatever else the executor meets.
    fn forward(&self, batch: &Batch, pass: &Pass) -> Result<TokenEmbeddings, EncoderError>;
}

/// Something that makes encoders from model folders. A backend is a value that is handed to the library.
pub trait Backend: Debug + Send + Sync {
    /// Its name, such as `native`.
    fn name(&self) -> &'static str;

    /// Loads the encoder of a folder.
    ///
    /// # Errors
    /// Whatever is wrong with the folder, with the file's name.
    fn load(&self, files: &EncoderFiles, options: &EncoderOptions) -> Result<Box<dyn Encoder>, EncoderError>;
}

/// The folder of a transformer and its parsed `config.json`; and its weights, where they are not the folder's.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # std::fs::write(folder.path().join("config.json"), "{}")?;
/// use std::sync::Arc;
/// use st_encoder::EncoderFiles;
///
/// let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![1], &[0, 0, 128, 63])?;
/// let bytes = safetensors::serialize([("norm.weight", view)], None)?;
/// let files = EncoderFiles::open(folder.path())?.with_weights(Arc::new(bytes));
/// assert_eq!(files.weights()?.shape_of("norm.weight"), Some(&[1][..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct EncoderFiles {
    folder: PathBuf,
    config: serde_json::Value,
    held: Option<Arc<Vec<u8>>>,
    overlay: Option<Arc<dyn WeightsOverlay>>,
}

impl EncoderFiles {
    /// Reads `config.json` of a folder.
    ///
    /// # Errors
    /// [`EncoderError::Io`] or, with line and column, [`EncoderError::Config`].
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, EncoderError> {
        let folder = folder.into();
        let config = crate::weights::read_json(&folder.join("config.json"))?;
        Ok(Self { folder, config, held: None, overlay: None })
    }

    /// The same folder and weights with another configuration: that of a part of the network, when one checkpoint holds
    /// several (CLIP's text and image encoders).
    #[must_use]
    pub fn with_config(mut self, config: serde_json::Value) -> Self {
        self.config = config;
        self
    }

    /// Takes the bytes of a safetensors file as the weights, instead of what the folder holds: those of a model in
    /// training, or with adapters merged into them.
    #[must_use]
    pub fn with_weights(mut self, bytes: Arc<Vec<u8>>) -> Self {
        self.held = Some(bytes);
        self
    }

    /// The weights. Backends read them here, not from the folder.
    ///
    /// # Errors
    /// As [`Weights::open`].
    pub fn weights(&self) -> Result<Weights, EncoderError> {
        let weights = match &self.held {
            None => Weights::open(&self.folder),
            Some(bytes) => Weights::from_bytes(&self.folder, Arc::clone(bytes)),
        }?;
        Ok(match &self.overlay {
            None => weights,
            Some(overlay) => weights.with_overlay(Arc::clone(overlay)),
        })
    }

    /// Lays other numbers over the weights: adapters, say.
    #[must_use]
    pub fn with_overlay(mut self, overlay: Arc<dyn WeightsOverlay>) -> Self {
        self.overlay = Some(overlay);
        self
    }

    /// Takes away what [`EncoderFiles::with_overlay`] laid over the weights.
    #[must_use]
    pub fn without_overlay(mut self) -> Self {
        self.overlay = None;
        self
    }

    /// What the network is, and its weights with the prefix that their names have.
    ///
    /// # Errors
    /// As [`describe`] and [`EncoderFiles::weights`].
    pub fn network(&self) -> Result<(&'static Architecture, EncoderSpec, Weights), EncoderError> {
        let (architecture, spec) = describe(&self.config, &self.config_path())?;
        let probe = (architecture.source)(&spec, Slot::WordEmbedding);
        let weights = self.weights()?.with_prefix_of(architecture.prefixes, &probe.name);
        let architecture = architecture.named_as(&spec, |name| weights.contains(name));
        Ok((architecture, spec, weights))
    }

    /// The bytes handed to [`EncoderFiles::with_weights`]; `None` when the weights are the folder's.
    #[must_use]
    pub fn held_weights(&self) -> Option<&Arc<Vec<u8>>> {
        self.held.as_ref()
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The content of `config.json`.
    #[must_use]
    pub fn config(&self) -> &serde_json::Value {
        &self.config
    }

    /// Path of `config.json`, for messages.
    #[must_use]
    pub fn config_path(&self) -> PathBuf {
        self.folder.join("config.json")
    }
}

/// How an encoder is loaded.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct EncoderOptions {
    /// In what form the weights are kept in memory.
    pub weights: WeightFormat,
    /// What [`WeightFormat::Int8`] is calibrated on; when empty, on a sample that the backend makes.
    pub calibration: Vec<Batch>,
}

impl EncoderOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`EncoderOptions::weights`].
    #[must_use]
    pub fn weights(mut self, weights: WeightFormat) -> Self {
        self.weights = weights;
        self
    }

    /// Sets [`EncoderOptions::calibration`].
    #[must_use]
    pub fn calibration(mut self, batches: Vec<Batch>) -> Self {
        self.calibration = batches;
        self
    }
}

/// In what form the weights are kept in memory and multiplied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WeightFormat {
    /// 32-bit floats, whatever the checkpoint holds: the original's default.
    #[default]
    F32,
    /// As the checkpoint holds them (`torch_dtype="auto"`).
    Auto,
    /// 16-bit floats; products are still summed in 32 bits.
    F16,
    /// bfloat16; products are still summed in 32 bits.
    BF16,
    /// bfloat16, multiplied as such: the inputs of linear layers and of attention's products are rounded to bfloat16 too,
    /// sums are in 32 bits, all else is 32-bit (what PyTorch's autocast does to products).
    BF16Products,
    /// 8-bit integers per output channel, activations quantised per token.
    Int8,
}

impl WeightFormat {
    /// All formats with their names.
    pub const ALL: [(&'static str, Self); 6] = [
        ("float32", Self::F32),
        ("auto", Self::Auto),
        ("float16", Self::F16),
        ("bfloat16", Self::BF16),
        ("bfloat16-products", Self::BF16Products),
        ("int8", Self::Int8),
    ];

    /// Its name; where PyTorch has such a data type, PyTorch's.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, format)| *format == self).map_or("float32", |(name, _)| name)
    }
}

impl std::fmt::Display for WeightFormat {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for WeightFormat {
    type Err = EncoderError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, format)| *format).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|(name, _)| *name).collect();
            EncoderError::Unsupported {
                executor: "this library",
                message: format!("weight format '{name}' is not one of {}", known.join(", ")),
            }
        })
    }
}

/// What is wanted of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass {
    /// Which rows are wanted.
    pub rows: Rows,
    /// Whether the hidden states of every layer are wanted too.
    pub layers: bool,
    /// Into how many pieces the work may be split, over the threads of the rayon pool the caller runs in.
    /// The result does not depend on it.
    pub threads: usize,
}

impl Default for Pass {
    fn default() -> Self {
        Self { rows: Rows::All, layers: false, threads: 1 }
    }
}

/// Which token rows a run returns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Rows {
    /// Every token's.
    #[default]
    All,
    /// Each sequence's first only, so that the last block can skip the rest (CLS pooling).
    First,
}

/// What an encoder is.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct EncoderInfo {
    /// Architecture as our table names it, such as `bert`.
    pub architecture: &'static str,
    /// Class name in the configuration's `architectures`, such as `BertModel`, where given.
    pub class_name: Option<String>,
    /// Backend that runs it.
    pub backend: &'static str,
    /// Components of a token embedding.
    pub hidden: usize,
    /// Blocks.
    pub layers: usize,
    /// Rows of the word table.
    pub vocabulary: usize,
    /// Longest sequence that the positions allow.
    pub max_sequence: Option<usize>,
    /// Rows of the token type table; 0 without one.
    pub token_types: usize,
    /// Number of parameters used.
    pub parameters: u64,
    /// Data type of the checkpoint.
    pub stored: DataType,
    /// Form of the weights in memory; never [`WeightFormat::Auto`].
    pub weights: WeightFormat,
    /// What activations are computed with; the result is in 32 bits all the same.
    pub computes: DataType,
    /// Where it runs, in PyTorch's words: `cpu`, `cuda:0`, `mps`.
    pub device: String,
    /// Instruction set in use, such as `avx512`, where the backend chooses one.
    pub instructions: Option<&'static str>,
}

impl EncoderInfo {
    /// An info with the given architecture, backend and sizes; the rest is filled in by assignment.
    #[must_use]
    pub fn new(architecture: &'static str, backend: &'static str, hidden: usize) -> Self {
        Self {
            architecture,
            class_name: None,
            backend,
            hidden,
            layers: 0,
            vocabulary: 0,
            max_sequence: None,
            token_types: 0,
            parameters: 0,
            stored: DataType::F32,
            weights: WeightFormat::F32,
            computes: DataType::F32,
            device: "cpu".to_owned(),
            instructions: None,
        }
    }
}
