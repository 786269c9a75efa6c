//! [`EncoderGraph`]: a network whose every operation candle can differentiate.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use st_encoder::adapters::Adapter;
use st_encoder::architectures::{Architecture, Config};
use st_encoder::{Batch, DataType, EncoderError, EncoderFiles, EncoderSpec, LayerSpec, Slot, Weights};

use crate::adapters::GraphAdapter;
use crate::dropout::DropoutPass;
use crate::dropout_rates::DropoutRates;
use crate::error::{failed, unsupported};
use crate::network::{Context, DropoutPlace, Network};
use crate::parameters::{Parameter, Parameters};
use crate::recompute;

/// An encoder whose forward pass is a candle graph: for training, for 64-bit floats, and for devices with candle's support.
///
/// Activations are ragged, `[tokens of the batch, hidden]`. Nothing is padded on a processor.
///
/// ```
/// use candle_core::{DType, Device};
/// use st_candle::{EncoderGraph, GraphPass};
/// use st_encoder::{Batch, EncoderFiles};
///
/// let files = EncoderFiles::open(st_testing::tiny_model("tiny-bert"))?;
/// let graph = EncoderGraph::load(&files, &Device::Cpu, DType::F32)?;
/// let batch = Batch::from_sequences([&[2u32, 7, 5, 3][..], &[2, 3]]);
/// let output = graph.forward(&batch, &GraphPass::training())?;
/// assert_eq!(output.tokens.dims(), [6, 32]);
///
/// // Any scalar made of the output has derivatives with respect to every parameter.
/// let gradients = output.tokens.sqr()?.mean_all()?.backward()?;
/// assert!(graph.parameters().iter().all(|parameter| gradients.get(parameter.tensor()).is_some()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct EncoderGraph {
    network: Arc<Network>,
}

/// What is wanted of one run.
///
/// ```
/// use st_candle::{DropoutState, GraphPass};
///
/// let mut dropout = DropoutState::new(42);
/// let step = GraphPass { dropout: Some(dropout.next_pass()), ..GraphPass::training() };
/// assert!(step.gradients && !GraphPass::inference().gradients);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GraphPass {
    /// Whether the output carries derivatives. Without them no intermediate result is kept.
    pub gradients: bool,
    /// Whether the hidden states of every layer are wanted too.
    pub layers: bool,
    /// The masks of dropout; `None` switches it off.
    pub dropout: Option<DropoutPass>,
    /// Whether a block's intermediate results are computed again in the backward pass instead of being kept: memory for
    /// about a third more time. The numbers are the same.
    pub checkpoint: bool,
    /// Whether the blocks' linear layers multiply bfloat16, forward and backward, as the original's do under
    /// `torch.autocast`: inputs, weights and gradients are rounded before they are multiplied, sums are in 32 bits; attention,
    /// norms and activations stay in 32 bits. On other devices than processors the products are rounded too. Only of 32-bit
    /// floats; of others nothing changes.
    pub autocast: bool,
}

impl GraphPass {
    /// With derivatives, and without dropout until its masks are given.
    #[must_use]
    pub const fn training() -> Self {
        Self { gradients: true, layers: false, dropout: None, checkpoint: false, autocast: false }
    }

    /// Without derivatives.
    #[must_use]
    pub const fn inference() -> Self {
        Self { gradients: false, layers: false, dropout: None, checkpoint: false, autocast: false }
    }
}

impl Default for GraphPass {
    fn default() -> Self {
        Self::training()
    }
}

/// What one run gives.
///
/// ```
/// use candle_core::{DType, Device};
/// use st_candle::{EncoderGraph, GraphPass};
/// use st_encoder::{Batch, EncoderFiles};
///
/// let files = EncoderFiles::open(st_testing::tiny_model("tiny-bert"))?;
/// let graph = EncoderGraph::load(&files, &Device::Cpu, DType::F64)?;
/// let pass = GraphPass { layers: true, ..GraphPass::inference() };
/// let output = graph.forward(&Batch::from_sequences([&[2u32, 7, 3][..], &[2, 3]]), &pass)?;
/// assert_eq!(output.sequence(1)?.dims(), [2, 32]);
/// // The embeddings and both layers.
/// assert_eq!(output.layers.map(|layers| layers.len()), Some(3));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct GraphOutput {
    /// Last hidden state, `[tokens of the batch, hidden]`.
    pub tokens: Tensor,
    /// Hidden states of every layer where asked for: the embeddings' first, the last layer's (after the final norm) last.
    pub layers: Option<Vec<Tensor>>,
    /// Where each sequence starts in the rows, and at last their number.
    pub offsets: Arc<[usize]>,
}

impl GraphOutput {
    /// Rows of sequence `index`, `[tokens of the sequence, hidden]`.
    ///
    /// # Errors
    /// When there is no such sequence.
    pub fn sequence(&self, index: usize) -> Result<Tensor, EncoderError> {
        match (self.offsets.get(index), self.offsets.get(index + 1)) {
            (Some(&start), Some(&end)) => self.tokens.narrow(0, start, end - start).map_err(failed),
            _ => Err(EncoderError::Batch(format!("{} sequences have no index {index}", self.offsets.len() - 1))),
        }
    }
}

/// A folder's description and weights, before they are read.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    architecture: &'static Architecture,
    spec: EncoderSpec,
    rates: DropoutRates,
    weights: Weights,
}

impl Checkpoint {
    pub(crate) fn open(files: &EncoderFiles) -> Result<Self, EncoderError> {
        let (architecture, spec, weights) = files.network()?;
        let rates = DropoutRates::read(architecture, &Config::new(files.config(), &files.config_path())?)?;
        Ok(Self { architecture, spec, rates, weights })
    }

    /// Data type of the word table.
    pub(crate) fn stored(&self) -> Result<DataType, EncoderError> {
        let source = (self.architecture.source)(&self.spec, Slot::WordEmbedding);
        let missing = || EncoderError::MissingTensor { path: self.weights.path().into(), name: source.name.clone() };
        self.weights.stored_type(&source).ok_or_else(missing)
    }

    pub(crate) fn graph(self, device: &Device, dtype: DType) -> Result<EncoderGraph, EncoderError> {
        EncoderGraph::new(self.architecture, self.spec, self.rates, &self.weights, device, dtype)
    }
}

impl EncoderGraph {
    /// Loads the encoder of a folder.
    ///
    /// # Errors
    /// Whatever is wrong with the folder, with the file's name; [`EncoderError::Unsupported`] for networks of which no
    /// graph is made.
    pub fn load(files: &EncoderFiles, device: &Device, dtype: DType) -> Result<Self, EncoderError> {
        Checkpoint::open(files)?.graph(device, dtype)
    }

    /// Makes the graph of a description, with dropout rates of [`DropoutRates::read`] and weights that were given the
    /// architecture's prefix ([`Weights::with_prefix_of`]).
    ///
    /// # Errors
    /// [`EncoderError::MissingTensor`], [`EncoderError::Shape`] and [`EncoderError::NotFinite`] for the weights;
    /// [`EncoderError::Unsupported`] for networks of which no graph is made.
    pub fn new(
        architecture: &'static Architecture,
        spec: EncoderSpec,
        rates: DropoutRates,
        weights: &Weights,
        device: &Device,
        dtype: DType,
    ) -> Result<Self, EncoderError> {
        Network::check(&spec)?;
        let parameters = Parameters::load(architecture, &spec, weights, device, dtype)?;
        let device = device.clone();
        Ok(Self {
            network: Arc::new(Network { architecture, spec, rates, parameters, adapters: Vec::new(), device, dtype }),
        })
    }

    /// The checkpoint's tensors that the network uses, in the order of computation.
    #[must_use]
    pub fn parameters(&self) -> &[Parameter] {
        &self.network.parameters.all
    }

    /// The network's description.
    #[must_use]
    pub fn spec(&self) -> &EncoderSpec {
        &self.network.spec
    }

    /// The architecture.
    #[must_use]
    pub fn architecture(&self) -> &'static Architecture {
        self.network.architecture
    }

    /// What is dropped in training.
    #[must_use]
    pub fn dropout_rates(&self) -> &DropoutRates {
        &self.network.rates
    }

    /// Where it runs.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.network.device
    }

    /// What it computes with.
    #[must_use]
    pub fn dtype(&self) -> DType {
        self.network.dtype
    }

    /// Trains only the parameters whose names `trainable` says yes to. Frozen parameters get no derivatives, and none are
    /// computed for what depends on nothing else.
    ///
    /// ```
    /// use candle_core::{DType, Device};
    /// use st_candle::{EncoderGraph, GraphPass};
    /// use st_encoder::{Batch, EncoderFiles};
    ///
    /// let files = EncoderFiles::open(st_testing::tiny_model("tiny-bert"))?;
    /// let mut graph = EncoderGraph::load(&files, &Device::Cpu, DType::F32)?;
    /// graph.freeze(|name| name.starts_with("encoder.layer.1."));
    /// let output = graph.forward(&Batch::from_sequences([&[2u32, 7, 3][..]]), &GraphPass::training())?;
    /// let gradients = output.tokens.sum_all()?.backward()?;
    /// assert!(graph.parameters().iter().all(|p| p.is_trainable() == gradients.get(p.tensor()).is_some()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn freeze(&mut self, trainable: impl Fn(&str) -> bool) {
        Arc::make_mut(&mut self.network).parameters.select(trainable);
    }

    /// The same network with adapters, which change it in this order and are trained in the place of the network's own
    /// parameters: those are frozen, and the adapters' are parameters beside them, under the names that PEFT gives them where
    /// each adapter is called as here. Adapters that are not `trainable` are frozen too.
    ///
    /// ```
    /// use candle_core::{DType, Device};
    /// use st_candle::EncoderGraph;
    /// use st_encoder::EncoderFiles;
    /// use st_encoder::adapters::{AdaptableModules, Adapter, AdapterConfig};
    ///
    /// let files = EncoderFiles::open(st_testing::tiny_model("tiny-bert"))?;
    /// let (_, _, weights) = files.network()?;
    /// let config = AdapterConfig::new(4).target_modules(["query"]);
    /// let adapter = Adapter::fresh(config, &AdaptableModules::of_files(&files)?, &weights, 1)?;
    /// let graph = EncoderGraph::load(&files, &Device::Cpu, DType::F32)?;
    /// let graph = graph.with_adapters(&[("first", &adapter), ("second", &adapter)], true)?;
    /// let trained: Vec<_> = graph.parameters().iter().filter(|parameter| parameter.is_trainable()).collect();
    /// assert_eq!(trained[0].name(), "encoder.layer.0.attention.self.query.lora_A.first.weight");
    /// assert_eq!(trained.len(), 8);
    /// assert_eq!(graph.adapters()?[1], ("second".to_owned(), adapter));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`EncoderError::Unsupported`] when there are some already, or two have one name; [`EncoderError::Execution`] for what
    /// candle meets.
    pub fn with_adapters(&self, adapters: &[(&str, &Adapter)], trainable: bool) -> Result<Self, EncoderError> {
        if !self.network.adapters.is_empty() {
            return Err(unsupported("a graph is given its adapters at once; merge the first into the weights"));
        }
        if let Some((name, _)) = (1..adapters.len())
            .map(|index| adapters[index])
            .zip(1..)
            .find_map(|(one, index)| adapters[..index].iter().any(|other| other.0 == one.0).then_some(one))
        {
            return Err(unsupported(format!("two adapters are called '{name}'")));
        }
        let mut network = Network::clone(&self.network);
        network.parameters.freeze_for_adapters();
        for (number, adapter) in adapters.iter().enumerate() {
            let adapter = GraphAdapter::attach(number, *adapter, trainable, &mut network.parameters)?;
            network.adapters.push(Arc::new(adapter));
        }
        Ok(Self { network: Arc::new(network) })
    }

    /// The adapters by name, in order, with their numbers as they are now.
    ///
    /// # Errors
    /// [`EncoderError::Execution`] for what candle meets.
    pub fn adapters(&self) -> Result<Vec<(String, Adapter)>, EncoderError> {
        let parameters = &self.network.parameters;
        let now = |adapter: &Arc<GraphAdapter>| Ok((adapter.name.clone(), adapter.current(parameters)?));
        self.network.adapters.iter().map(now).collect()
    }

    /// Keeps some blocks and drops the others: the beginning of a smaller student (layer reduction).
    ///
    /// Block `layers[i]` becomes block `i`, and its parameters' names say so; a convolution beside the first block stays there. The variables stay the same.
    ///
    /// ```
    /// use candle_core::{DType, Device};
    /// use st_candle::EncoderGraph;
    /// use st_encoder::EncoderFiles;
    ///
    /// let files = EncoderFiles::open(st_testing::tiny_model("tiny-bert"))?;
    /// let mut graph = EncoderGraph::load(&files, &Device::Cpu, DType::F32)?;
    /// graph.keep_layers(&[1])?;
    /// assert_eq!(graph.spec().layers.len(), 1);
    /// assert!(graph.parameters().iter().any(|p| p.name() == "encoder.layer.0.output.dense.weight"));
    /// assert!(!graph.parameters().iter().any(|p| p.name() == "encoder.layer.1.output.dense.weight"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`EncoderError::Unsupported`] unless the numbers rise and are those of blocks.
    pub fn keep_layers(&mut self, layers: &[usize]) -> Result<(), EncoderError> {
        if !self.network.adapters.is_empty() {
            return Err(unsupported("a graph with an adapter keeps all its layers; merge the adapter first"));
        }
        let count = self.network.spec.layers.len();
        let rising = layers.windows(2).all(|pair| pair[0] < pair[1]);
        if !rising || layers.last().is_none_or(|&last| last >= count) {
            return Err(unsupported(format!("layers {layers:?} of {count}: name one or more, rising, from 0")));
        }
        let network = &self.network;
        let mut spec = network.spec.clone();
        let kept = layers.iter().zip(&network.spec.layers);
        // What stands beside a place in the stack stays there, as when layers are taken out of the original's list.
        let moved = |(&layer, place): (&usize, &LayerSpec)| LayerSpec {
            convolution: place.convolution,
            ..network.spec.layers[layer].clone()
        };
        spec.layers = kept.map(moved).collect();
        let parameters = network.parameters.with_layers(network.architecture, &spec, layers)?;
        let network = Arc::make_mut(&mut self.network);
        (network.spec, network.parameters) = (spec, parameters);
        Ok(())
    }

    /// Runs a batch.
    ///
    /// # Errors
    /// [`EncoderError::TokenOutOfRange`] and [`EncoderError::SequenceTooLong`] for ids and lengths that the network has no
    /// rows for; [`EncoderError::Execution`] for what candle meets.
    pub fn forward(&self, batch: &Batch, pass: &GraphPass) -> Result<GraphOutput, EncoderError> {
        let network = &self.network;
        let spec = &network.spec;
        batch.validate_kind(spec.embeddings.patches)?;
        batch.validate(spec.embeddings.vocabulary, spec.embeddings.token_types, spec.max_sequence)?;
        let offsets: Arc<[usize]> = batch.offsets().into();
        if batch.tokens() == 0 {
            let tokens = Tensor::zeros((0, spec.hidden), network.dtype, &network.device).map_err(failed)?;
            let layers = pass.layers.then(|| vec![tokens.clone(); spec.layers.len() + 1]);
            return Ok(GraphOutput { tokens, layers, offsets });
        }
        let context = Arc::new(Context::new(network, batch, pass.dropout, pass.gradients, pass.autocast)?);
        let mut tokens = network.embed(batch, &context)?;
        let mut layers = pass.layers.then(|| Vec::with_capacity(spec.layers.len() + 1));
        for layer in 0..spec.layers.len() {
            if let Some(layers) = &mut layers {
                layers.push(tokens.clone());
            }
            tokens = if pass.checkpoint && pass.gradients {
                recompute::block(network, layer, &tokens, &context)?
            } else {
                network.block(layer, &tokens, &context)?
            };
        }
        if let Some(norm) = &spec.final_norm {
            tokens = network.norm(&tokens, norm, Slot::FinalNorm, &context)?;
        }
        tokens = network.dropout(tokens, DropoutPlace::Last, &context)?;
        if let Some(layers) = &mut layers {
            layers.push(tokens.clone());
        }
        Ok(GraphOutput { tokens, layers, offsets })
    }
}
