//! [`NativeBackend`]: the engine as a backend.

use std::sync::atomic::AtomicU64;

use st_encoder::{
    AttentionPosition, Backend, DataType, Encoder, EncoderError, EncoderFiles, EncoderInfo, EncoderOptions,
    EncoderSpec, WeightFormat,
};

use crate::InstructionSet;
use crate::calibration::Frame;
use crate::encoder::NativeEncoder;
use crate::kernels::Kernels;
use crate::load::{Loader, open};

/// The engine for processors: what loads a model folder unless another backend is asked for.
///
/// ```no_run
/// use st_encoder::{Backend, Batch, EncoderFiles, EncoderOptions, Pass};
/// use st_native::NativeBackend;
///
/// let encoder = NativeBackend::new().load(&EncoderFiles::open("all-MiniLM-L6-v2")?, &EncoderOptions::new())?;
/// let tokens = encoder.forward(&Batch::from_sequences([&[101u32, 7592, 102][..]]), &Pass::default())?;
/// assert_eq!((tokens.len(), tokens.hidden()), (1, 384));
/// # Ok::<(), st_encoder::EncoderError>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NativeBackend {
    instructions: Option<InstructionSet>,
}

impl NativeBackend {
    /// With the fastest instructions that the machine has.
    #[must_use]
    pub const fn new() -> Self {
        Self { instructions: None }
    }

    /// With the given instructions. Loading fails where the machine lacks them.
    #[must_use]
    pub const fn with_instructions(instructions: InstructionSet) -> Self {
        Self { instructions: Some(instructions) }
    }
}

pub(crate) fn unsupported(message: impl Into<String>) -> EncoderError {
    EncoderError::Unsupported { executor: "native", message: message.into() }
}

impl Backend for NativeBackend {
    fn name(&self) -> &'static str {
        "native"
    }

    fn load(&self, files: &EncoderFiles, options: &EncoderOptions) -> Result<Box<dyn Encoder>, EncoderError> {
        let set = self.instructions.unwrap_or_else(InstructionSet::detect);
        let kernels = Kernels::of(set).ok_or_else(|| unsupported(format!("this machine has no {set} instructions")))?;
        let (architecture, spec, weights) = open(files)?;
        check(&spec)?;
        let probe = (architecture.source)(&spec, st_encoder::Slot::WordEmbedding);
        let stored = weights.tensor(&probe, &[spec.embeddings.vocabulary, spec.embeddings.width])?.data_type();
        let format = match (options.weights, stored) {
            (WeightFormat::Auto, DataType::F16) => WeightFormat::F16,
            (WeightFormat::Auto, DataType::BF16) => WeightFormat::BF16,
            (WeightFormat::Auto, _) => WeightFormat::F32,
            (format, _) => format,
        };
        let loader = Loader { kernels, architecture, spec: &spec, weights, format, parameters: AtomicU64::new(0) };
        let network = loader.network()?;
        let mut info = EncoderInfo::new(architecture.name, "native", spec.hidden);
        info.class_name =
            files.config().pointer("/architectures/0").and_then(serde_json::Value::as_str).map(str::to_owned);
        info.layers = spec.layers.len();
        info.vocabulary = spec.embeddings.vocabulary;
        info.max_sequence = spec.max_sequence;
        info.token_types = spec.embeddings.token_types;
        info.parameters = loader.parameters.into_inner();
        info.stored = stored;
        info.weights = format;
        info.instructions = Some(set.as_str());
        let mut encoder = NativeEncoder { info, token_types: spec.embeddings.token_types, kernels, network };
        if format == WeightFormat::Int8 {
            encoder.quantise(set, &options.calibration, &Frame::of(files.folder()))?;
        }
        Ok(Box::new(encoder))
    }
}

/// Refuses what the engine does not run.
fn check(spec: &EncoderSpec) -> Result<(), EncoderError> {
    for (index, layer) in spec.layers.iter().enumerate() {
        let attention = &layer.attention;
        if matches!(attention.position, AttentionPosition::Disentangled { .. }) {
            return Err(unsupported("disentangled attention; run it with the candle backend"));
        }
        if attention.heads == 0 || attention.key_value_heads == 0 || attention.heads % attention.key_value_heads != 0 {
            return Err(unsupported(format!(
                "layer {index} has {} query heads for {} key heads",
                attention.heads, attention.key_value_heads
            )));
        }
    }
    Ok(())
}
