//! [`EncoderError`]: what can go wrong between a model folder and token embeddings.

use std::path::{Path, PathBuf};

/// Why an encoder could not be described, loaded or run.
///
/// ```
/// use st_encoder::EncoderError;
///
/// let error = EncoderError::MissingTensor { path: "model.safetensors".into(), name: "pooler.weight".into() };
/// assert!(error.to_string().contains("pooler.weight"));
/// assert_eq!(error.path().unwrap().to_str(), Some("model.safetensors"));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncoderError {
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A configuration file is not what it should be.
    #[error("{}: {message}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the field's name.
        message: String,
    },
    /// No architecture of ours answers to the configuration's `model_type`.
    #[error("{}: model type '{found}' is not supported; supported are {supported}", path.display())]
    UnknownArchitecture {
        /// The configuration file.
        path: PathBuf,
        /// The `model_type` found.
        found: String,
        /// Supported model types, joined by commas.
        supported: String,
    },
    /// There is no file with weights.
    #[error("could not find {} in {}", expected, path.display())]
    NoWeights {
        /// The folder.
        path: PathBuf,
        /// The file names looked for.
        expected: String,
    },
    /// A weights file is damaged or not in a format that is read.
    #[error("{}: {message}", path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        message: String,
        /// The parser's error, where there is one.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// A tensor that the architecture needs is absent.
    #[error("{}: tensor '{name}' is missing", path.display())]
    MissingTensor {
        /// The weights file or folder.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// A tensor has another shape than the configuration says.
    #[error("{}: tensor '{name}' has shape {found:?}, but the configuration asks for {expected:?}", path.display())]
    Shape {
        /// The weights file or folder.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The shape in the file.
        found: Vec<usize>,
        /// The shape that the configuration asks for.
        expected: Vec<usize>,
    },
    /// A tensor holds NaN or infinity.
    #[error("{}: tensor '{name}' holds a number that is not finite (element {index})", path.display())]
    NotFinite {
        /// The weights file or folder.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Index of the first such element, row-major.
        index: usize,
    },
    /// An adapter is of a kind that is not followed.
    #[error("{}: {message}", path.display())]
    UnsupportedAdapter {
        /// The adapter's file.
        path: PathBuf,
        /// What is not followed, by its name.
        message: String,
    },
    /// The executor cannot run what the description asks for.
    #[error("{executor} cannot run this model: {message}")]
    Unsupported {
        /// The executor, such as `native`.
        executor: &'static str,
        /// What it lacks, and the way out.
        message: String,
    },
    /// The executor failed while it loaded or ran a network: out of memory, no such device, an operation it lacks.
    #[error("{executor} failed")]
    Execution {
        /// The executor, such as `candle`.
        executor: &'static str,
        /// What it said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A token id lies outside the vocabulary.
    #[error("text {sequence} of the batch has token id {id}, but the vocabulary has {vocabulary} entries")]
    TokenOutOfRange {
        /// Index of the sequence in its batch.
        sequence: usize,
        /// The id.
        id: u32,
        /// Size of the vocabulary.
        vocabulary: usize,
    },
    /// A sequence is longer than the encoder's positions.
    #[error("text {sequence} of the batch has {length} tokens, but the model has positions for {limit}")]
    SequenceTooLong {
        /// Index of the sequence in its batch.
        sequence: usize,
        /// Its tokens.
        length: usize,
        /// Positions of the encoder.
        limit: usize,
    },
    /// Numbers that do not fit together were handed over.
    #[error("invalid batch: {0}")]
    Batch(String),
}

impl EncoderError {
    /// The file or folder that the error is about.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Io { path, .. }
            | Self::Config { path, .. }
            | Self::UnknownArchitecture { path, .. }
            | Self::NoWeights { path, .. }
            | Self::Weights { path, .. }
            | Self::MissingTensor { path, .. }
            | Self::Shape { path, .. }
            | Self::UnsupportedAdapter { path, .. }
            | Self::NotFinite { path, .. } => Some(path),
            _ => None,
        }
    }

    /// The way out, where there is one.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::UnknownArchitecture { .. } => {
                Some("convert the model to a supported architecture, or run it with the original library")
            }
            Self::NoWeights { .. } => Some("download the weights too, or name the folder that holds them"),
            Self::MissingTensor { .. } | Self::Shape { .. } => {
                Some("config.json and the weights do not belong together: download both again from one revision")
            }
            Self::NotFinite { .. } => {
                Some("the checkpoint is damaged: download it again or take an earlier checkpoint")
            }
            Self::UnsupportedAdapter { .. } => {
                Some("merge the adapter into its base model in Python, with PEFT's merge_and_unload(), and save that")
            }
            Self::SequenceTooLong { .. } => Some("lower max_seq_length to what the model was trained for"),
            _ => None,
        }
    }
}
