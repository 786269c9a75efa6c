//! [`CandleBackend`]: the graph as a backend of the library.

use candle_core::{DType, Tensor};
use st_encoder::{
    Backend, Batch, DataType, Encoder, EncoderError, EncoderFiles, EncoderInfo, EncoderOptions, Pass, Rows,
    TokenEmbeddings, WeightFormat,
};

use crate::device::DeviceChoice;
use crate::error::{NAME, failed, unsupported};
use crate::graph::{Checkpoint, EncoderGraph, GraphPass};

/// Inference through the graph: on graphics processors and in 64-bit floats. Token embeddings are returned in 32-bit floats,
/// whatever was computed with.
///
/// On a processor the native engine is several times faster. Texts of a batch share matrix products, so that a text's
/// numbers may differ in the last bits between batches. [`Pass::threads`] changes nothing: candle takes the threads of the
/// rayon pool that it runs in.
///
/// ```
/// use st_candle::{CandleBackend, DeviceChoice};
/// use st_encoder::{Backend, Batch, EncoderFiles, EncoderOptions, Pass};
///
/// let files = EncoderFiles::open(st_testing::tiny_model("tiny-bert"))?;
/// let encoder = CandleBackend::new(DeviceChoice::Cpu).load(&files, &EncoderOptions::new())?;
/// let tokens = encoder.forward(&Batch::from_sequences([&[2u32, 7, 3][..]]), &Pass::default())?;
/// assert_eq!((tokens.len(), tokens.hidden()), (1, 32));
/// # Ok::<(), st_encoder::EncoderError>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CandleBackend {
    device: DeviceChoice,
    dtype: Option<DType>,
}

impl CandleBackend {
    /// On a device, with numbers of the type that [`EncoderOptions::weights`] asks for.
    #[must_use]
    pub const fn new(device: DeviceChoice) -> Self {
        Self { device, dtype: None }
    }

    /// With numbers of the given type: [`DType::F64`], [`DType::F32`], [`DType::F16`] or [`DType::BF16`].
    ///
    /// ```
    /// use candle_core::DType;
    /// use st_candle::{CandleBackend, DeviceChoice};
    /// use st_encoder::{Backend, EncoderFiles, EncoderOptions};
    ///
    /// let files = EncoderFiles::open(st_testing::tiny_model("tiny-bert"))?;
    /// let doubles = CandleBackend::new(DeviceChoice::Cpu).with_dtype(DType::F64);
    /// assert!(doubles.load(&files, &EncoderOptions::new()).is_ok());
    /// # Ok::<(), st_encoder::EncoderError>(())
    /// ```
    #[must_use]
    pub const fn with_dtype(self, dtype: DType) -> Self {
        Self { dtype: Some(dtype), ..self }
    }

    /// The type to compute with: the backend's, unless the options ask for another than the default.
    fn dtype(&self, weights: WeightFormat, stored: DataType) -> Result<DType, EncoderError> {
        let asked = match (weights, stored) {
            (WeightFormat::F32, _) => None,
            (WeightFormat::Auto, DataType::F64) => Some(DType::F64),
            (WeightFormat::Auto, DataType::F32) => Some(DType::F32),
            (WeightFormat::F16, _) | (WeightFormat::Auto, DataType::F16) => Some(DType::F16),
            (WeightFormat::BF16, _) | (WeightFormat::Auto, DataType::BF16) => Some(DType::BF16),
            (other, _) => return Err(unsupported(format!("weights as {other}; take the native engine for them"))),
        };
        match (self.dtype, asked) {
            (None, None) => Ok(DType::F32),
            (Some(DType::F64 | DType::F32 | DType::F16 | DType::BF16), None) | (None, Some(_)) => {
                Ok(self.dtype.or(asked).unwrap_or(DType::F32))
            }
            (Some(dtype), None) => Err(unsupported(format!("numbers of type {dtype:?}, which are no floats"))),
            (Some(dtype), Some(asked)) if dtype == asked => Ok(dtype),
            (Some(dtype), Some(_)) => Err(unsupported(format!(
                "weights as {weights} with a backend that computes with {dtype:?}; name one only"
            ))),
        }
    }
}

impl Backend for CandleBackend {
    fn name(&self) -> &'static str {
        NAME
    }

    fn load(&self, files: &EncoderFiles, options: &EncoderOptions) -> Result<Box<dyn Encoder>, EncoderError> {
        let checkpoint = Checkpoint::open(files)?;
        let stored = checkpoint.stored()?;
        let dtype = self.dtype(options.weights, stored)?;
        let graph = checkpoint.graph(&self.device.open()?, dtype)?;
        let spec = graph.spec();
        let mut info = EncoderInfo::new(graph.architecture().name, NAME, spec.hidden);
        let class = files.config().pointer("/architectures/0").and_then(serde_json::Value::as_str);
        info.class_name = class.map(str::to_owned);
        info.layers = spec.layers.len();
        info.vocabulary = spec.embeddings.vocabulary;
        info.max_sequence = spec.max_sequence;
        info.token_types = spec.embeddings.token_types;
        info.parameters = graph.parameters().iter().map(|parameter| parameter.tensor().elem_count() as u64).sum();
        info.stored = stored;
        info.weights = match dtype {
            DType::F16 => WeightFormat::F16,
            DType::BF16 => WeightFormat::BF16,
            _ => WeightFormat::F32,
        };
        info.computes = match dtype {
            DType::F64 => DataType::F64,
            DType::F16 => DataType::F16,
            DType::BF16 => DataType::BF16,
            _ => DataType::F32,
        };
        info.device = match self.device {
            DeviceChoice::Metal(_) => "mps".to_owned(),
            other => other.to_string(),
        };
        Ok(Box::new(CandleEncoder { info, graph }))
    }
}

/// A graph without derivatives.
#[derive(Debug)]
struct CandleEncoder {
    info: EncoderInfo,
    graph: EncoderGraph,
}

impl Encoder for CandleEncoder {
    fn info(&self) -> &EncoderInfo {
        &self.info
    }

    fn forward(&self, batch: &Batch, pass: &Pass) -> Result<TokenEmbeddings, EncoderError> {
        let output = self.graph.forward(batch, &GraphPass { layers: pass.layers, ..GraphPass::inference() })?;
        let (rows, offsets) = match pass.rows {
            Rows::All => (None, batch.offsets().to_vec()),
            Rows::First => first_rows(batch),
        };
        let numbers = |tensor: &Tensor| {
            let picked = match &rows {
                Some(rows) if rows.is_empty() => return Ok(Vec::new()),
                Some(rows) => tensor.index_select(&Tensor::new(&rows[..], tensor.device())?, 0)?,
                None => tensor.clone(),
            };
            picked.to_dtype(DType::F32)?.flatten_all()?.to_vec1()
        };
        let data = numbers(&output.tokens).map_err(failed)?;
        let layers = output.layers.iter().flatten().map(numbers).collect::<Result<Vec<_>, _>>().map_err(failed)?;
        TokenEmbeddings::new(data, self.info.hidden, offsets)?.with_layers(layers)
    }
}

/// The first row of every sequence that has one, and the offsets of a result of these rows.
fn first_rows(batch: &Batch) -> (Option<Vec<u32>>, Vec<usize>) {
    let mut rows = Vec::with_capacity(batch.len());
    let mut offsets = vec![0];
    for pair in batch.offsets().windows(2) {
        if pair[0] < pair[1] {
            rows.push(pair[0] as u32);
        }
        offsets.push(rows.len());
    }
    (Some(rows), offsets)
}
