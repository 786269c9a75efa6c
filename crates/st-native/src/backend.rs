//! [`NativeBackend`]: the engine as a backend.

use std::sync::atomic::AtomicU64;

use st_encoder::{
    AttentionPosition, Backend, ConvolutionSpec, DataType, Encoder, EncoderError, EncoderFiles, EncoderInfo,
    EncoderOptions, EncoderSpec, PositionSpec, WeightFormat,
};

use crate::InstructionSet;
use crate::calibration::sample::Sample;
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
        let stored = weights.stored_type(&probe).unwrap_or(DataType::F32);
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
        let (token_types, patches) = (spec.embeddings.token_types, spec.embeddings.patches);
        let mut encoder = NativeEncoder { info, token_types, patches, kernels, network };
        if format == WeightFormat::Int8 {
            encoder.quantise(set, &options.calibration, &Sample::of(files.folder()))?;
        }
        if format == WeightFormat::BF16Products {
            encoder.narrow_attention();
        }
        Ok(Box::new(encoder))
    }
}

/// More layers than any encoder has; a larger number is a damaged or hostile configuration.
const MOST_LAYERS: usize = 1024;
/// Larger distances than any relative bias tells apart.
const LARGEST_DISTANCE: usize = 1 << 16;

/// Refuses what the engine does not run, before anything is allocated in proportion to it.
fn check(spec: &EncoderSpec) -> Result<(), EncoderError> {
    if spec.layers.len() > MOST_LAYERS {
        return Err(unsupported(format!("{} layers; at most {MOST_LAYERS} are run", spec.layers.len())));
    }
    if let PositionSpec::Learned { count, offset, padding } = spec.embeddings.positions {
        let last = spec.max_sequence.and_then(|longest| longest.checked_add(offset));
        if last.is_none_or(|last| last > count) || padding.is_some_and(|padding| padding as usize >= count) {
            return Err(unsupported(format!(
                "{count} positions, of which the first {offset} are not used, for sequences of {:?} tokens",
                spec.max_sequence
            )));
        }
    }
    for (index, layer) in spec.layers.iter().enumerate() {
        let attention = &layer.attention;
        let refuse = |what: String| Err(unsupported(format!("layer {index} has {what}")));
        if attention.heads == 0 || attention.key_value_heads == 0 || attention.heads % attention.key_value_heads != 0 {
            return refuse(format!("{} query heads for {} key heads", attention.heads, attention.key_value_heads));
        }
        if !(attention.scale > 0.0 && attention.scale.is_finite()) {
            return refuse(format!("scores scaled by {}", attention.scale));
        }
        if let Some(convolution) = &layer.convolution
            && !(convolution.kernel % 2 == 1 && spec.hidden.checked_rem(convolution.groups) == Some(0))
        {
            let ConvolutionSpec { kernel, groups, .. } = convolution;
            return refuse(format!("a convolution of {kernel} tokens in {groups} groups"));
        }
        match attention.position {
            AttentionPosition::Disentangled { span, .. }
                if span == 0
                    || span > LARGEST_DISTANCE
                    || attention.heads != attention.key_value_heads
                    || spec.embeddings.norm.is_none() =>
            {
                let heads = attention.key_value_heads;
                return refuse(format!("disentangled attention of span {span} with {heads} key heads"));
            }
            AttentionPosition::Rotary { dimensions, .. } if dimensions > attention.head_size => {
                return refuse(format!("{dimensions} rotated components in heads of {}", attention.head_size));
            }
            AttentionPosition::RelativeBias { buckets, max_distance }
                if buckets < 2 || max_distance > LARGEST_DISTANCE =>
            {
                return refuse(format!("a relative bias of {buckets} buckets up to distance {max_distance}"));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use st_encoder::architectures::describe;

    fn spec(edit: impl FnOnce(&mut EncoderSpec)) -> Result<(), String> {
        let config = serde_json::json!({
            "model_type": "bert", "vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2,
            "num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": 40,
        });
        let (_, mut spec) = describe(&config, "config.json".as_ref()).unwrap();
        edit(&mut spec);
        check(&spec).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_run_is_refused_by_name() {
        assert_eq!(spec(|_| ()), Ok(()));
        type Edit = fn(&mut EncoderSpec);
        let cases: [(Edit, &str); 9] = [
            (|spec| spec.layers = vec![spec.layers[0].clone(); 2000], "2000 layers"),
            (|spec| spec.max_sequence = Some(41), "40 positions"),
            (|spec| spec.max_sequence = None, "40 positions"),
            (|spec| spec.layers[1].attention.key_value_heads = 3, "layer 1 has 4 query heads for 3 key heads"),
            (|spec| spec.layers[0].attention.scale = f64::NAN, "scaled by NaN"),
            (
                |spec| {
                    spec.layers[0].attention.position = AttentionPosition::Disentangled {
                        span: 0,
                        max_distance: None,
                        terms: st_encoder::DisentangledTerms::Both,
                        own_projections: false,
                    };
                },
                "disentangled attention of span 0",
            ),
            (
                |spec| {
                    spec.layers[0].attention.position =
                        AttentionPosition::RelativeBias { buckets: 32, max_distance: 1 << 40 };
                },
                "relative bias of 32 buckets",
            ),
            (
                |spec| {
                    let (activation, norm) = (st_encoder::Activation::Gelu, spec.layers[1].feed_forward_norm);
                    spec.layers[1].convolution = Some(ConvolutionSpec { kernel: 3, groups: 5, activation, norm });
                },
                "layer 1 has a convolution of 3 tokens in 5 groups",
            ),
            (
                |spec| {
                    let scaling = st_encoder::RotaryScaling::None;
                    spec.layers[0].attention.position =
                        AttentionPosition::Rotary { base: 10_000.0, dimensions: 10, scaling };
                },
                "10 rotated components in heads of 8",
            ),
        ];
        for (edit, expected) in cases {
            let message = spec(edit).unwrap_err();
            assert!(message.starts_with("native cannot run this model: "), "{message}");
            assert!(message.contains(expected), "{message} does not say {expected}");
        }
    }
}
