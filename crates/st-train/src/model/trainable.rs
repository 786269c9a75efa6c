//! [`TrainableModel`]: a `SentenceTransformer` that can be trained.

use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;
use sentence_transformers::{EncodeOptions, Image, NewWeights, Prompt, SentenceTransformer};
use st_encoder::Batch;

use crate::error::{Result, TrainError};

use super::column::Column;
use super::contract::{Embedded, EmbeddingModel, InputKind, TokenRows};
use super::graph::{self, Builder, Flow, GraphModule, Run};
use super::parameters::Parameters;
use super::pass::TrainingPass;

/// Where and with what numbers a model is trained.
///
/// ```
/// use candle_core::DType;
/// use st_train::model::TrainingOptions;
///
/// let options = TrainingOptions::new().data_type(DType::F64);
/// assert!(options != TrainingOptions::new());
/// ```
#[derive(Debug, Clone)]
pub struct TrainingOptions {
    device: Device,
    data_type: DType,
    checkpoint: bool,
}

impl Default for TrainingOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl PartialEq for TrainingOptions {
    fn eq(&self, other: &Self) -> bool {
        self.device.same_device(&other.device)
            && self.data_type == other.data_type
            && self.checkpoint == other.checkpoint
    }
}

impl TrainingOptions {
    /// On the processor, in 32 bits.
    #[must_use]
    pub fn new() -> Self {
        Self { device: Device::Cpu, data_type: DType::F32, checkpoint: false }
    }

    /// Sets where the model runs.
    #[must_use]
    pub fn device(mut self, device: Device) -> Self {
        self.device = device;
        self
    }

    /// Sets the data type of parameters and activations: a type of floating-point numbers.
    #[must_use]
    pub fn data_type(mut self, data_type: DType) -> Self {
        self.data_type = data_type;
        self
    }

    /// Sets whether the encoder's blocks are computed again in the backward pass instead of being kept (gradient
    /// checkpointing): less memory for more time, the same numbers.
    #[must_use]
    pub fn gradient_checkpointing(mut self, again: bool) -> Self {
        self.checkpoint = again;
        self
    }
}

/// A [`SentenceTransformer`] that can be trained: its modules as differentiable operations, its weights as variables.
///
/// Without dropout its embeddings are those of the library, to rounding. The model that it was made of stays as it is;
/// [`EmbeddingModel::sentence_transformer`] gives one with the weights as they are now.
///
/// ```
/// use sentence_transformers::SentenceTransformer;
/// use st_train::model::{EmbeddingModel, TrainableModel, TrainingOptions, TrainingPass};
///
/// let library = SentenceTransformer::load(st_testing::tiny_model("tiny-bert").to_string_lossy())?;
/// let model = TrainableModel::new(&library, TrainingOptions::new())?;
/// let column = model.tokenize(&["the cat".to_owned(), "a dog".to_owned()], None, None)?;
/// let embedded = model.embed(&column, &mut TrainingPass::evaluation())?;
/// let gradients = st_candle::backward(&embedded.sentences.narrow(1, 0, 1)?.mean_all()?)?;
///
/// // One step downhill, then back to the library.
/// for parameter in model.parameters().trainable() {
///     if let Some(gradient) = gradients.get(parameter.variable()) {
///         parameter.variable().set(&(parameter.variable().as_tensor() - (gradient * 1e-3)?)?)?;
///     }
/// }
/// let trained = model.sentence_transformer()?;
/// assert_ne!(trained.encode(&["the cat"])?.as_slice(), library.encode(&["the cat"])?.as_slice());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TrainableModel {
    library: Arc<SentenceTransformer>,
    modules: Vec<Arc<dyn GraphModule>>,
    parameters: Parameters,
    options: TrainingOptions,
    dimension: usize,
    kind: InputKind,
    /// Whether any module reads the hidden states of every layer.
    needs_layers: bool,
}

/// What input modules are called in the library, and what they are.
const INPUTS: [(&str, InputKind); 6] = [
    ("Transformer", InputKind::Transformer),
    ("StaticEmbedding", InputKind::StaticEmbedding),
    ("WordEmbeddings", InputKind::WordEmbeddings),
    ("BoW", InputKind::BoW),
    ("CLIPModel", InputKind::Clip),
    ("Router", InputKind::Router),
];

impl TrainableModel {
    /// Makes a model trainable.
    ///
    /// # Errors
    /// When a module cannot be trained, which is named; when no module makes sentence embeddings; when the weights cannot
    /// be read.
    pub fn new(model: &SentenceTransformer, options: TrainingOptions) -> Result<Self> {
        // The same modules; encoders are shared, not copied.
        Self::of_library(Arc::new(model.with_weights(NewWeights::new())?), options)
    }

    fn of_library(library: Arc<SentenceTransformer>, options: TrainingOptions) -> Result<Self> {
        if !options.data_type.is_float() {
            let message = format!("is {:?}, but numbers to be trained are floating-point", options.data_type);
            return Err(TrainError::option("data_type", message));
        }
        let dimension = library.pipeline().dimension().ok_or_else(|| {
            TrainError::unsupported(
                "no module of the model makes sentence embeddings",
                "add a Pooling module behind the encoder",
            )
        })?;
        let (device, data_type) = (options.device.clone(), options.data_type);
        let mut builder = Builder { parameters: Parameters::new(), device, data_type, build: graph::build };
        let mut modules = Vec::with_capacity(library.pipeline().len());
        let mut kind = None;
        for (name, module) in library.pipeline().modules() {
            modules.push(graph::build(module, &format!("{name}."), &mut builder)?);
            kind = kind.or_else(|| INPUTS.iter().find(|(name, _)| *name == module.kind().name).map(|(_, kind)| *kind));
        }
        let kind = kind.ok_or_else(|| TrainError::invalid("the model has no module that reads texts"))?;
        let needs_layers = modules.iter().any(|module| module.needs_layers());
        Ok(Self { library, modules, parameters: builder.parameters, options, dimension, kind, needs_layers })
    }

    /// The model that it was made of, with its first weights: prompts, tokenizer, configuration.
    #[must_use]
    pub fn library(&self) -> &SentenceTransformer {
        &self.library
    }

    fn run(
        &self,
        modules: &[Arc<dyn GraphModule>],
        flow: Flow,
        column: &Column,
        pass: &mut TrainingPass,
    ) -> Result<Flow> {
        let layers = pass.layers() || self.needs_layers;
        let checkpoint = self.options.checkpoint || pass.gradient_checkpointing();
        let mut run = Run {
            column,
            pass,
            parameters: &self.parameters,
            device: &self.options.device,
            data_type: self.options.data_type,
            layers,
            checkpoint,
        };
        modules.iter().try_fold(flow, |flow, module| module.forward(flow, &mut run))
    }

    /// Tokens that a prompt makes up at the start of a text, as the original counts them: without the end of the text.
    fn prompt_length(&self, prompt: &str, options: &EncodeOptions) -> Result<usize> {
        let reader = self.library.pipeline().reader(options.chosen_task())?;
        let report = self.library.tokenize_with(&[prompt], options)?;
        let ids = report.texts().first().map_or(&[][..], |tokens| tokens.ids());
        let is_special = |id: u32| reader.tokenizer().is_some_and(|tokenizer| tokenizer.is_special(id));
        Ok(ids.len() - usize::from(ids.last().is_some_and(|&id| is_special(id))))
    }
}

impl EmbeddingModel for TrainableModel {
    fn embed(&self, column: &Column, pass: &mut TrainingPass) -> Result<Embedded> {
        if column.is_empty() {
            let none = Tensor::zeros((0, self.dimension), self.options.data_type, &self.options.device)?;
            return Ok(Embedded::of(none));
        }
        if let (Some((texts, images)), Some(places)) = (column.parts(), column.places()) {
            let texts = self.embed(texts, pass)?.sentences;
            let rows = Tensor::cat(&[texts, self.embed(images, pass)?.sentences], 0)?;
            let places = Tensor::new(places, &self.options.device)?;
            return Ok(Embedded::of(st_candle::ops::embedding(&rows, &places)?));
        }
        let (layers, tokens) = (pass.layers(), pass.tokens());
        let flow = self.run(&self.modules, Flow::default(), column, pass)?;
        let offsets = column.batch().offsets();
        let tokens = flow.tokens.clone().filter(|_| tokens).map(|rows| TokenRows { rows, offsets: offsets.into() });
        let layers = flow.layers.clone().filter(|_| layers);
        Ok(Embedded { sentences: flow.sentences()?.clone(), tokens, layers })
    }

    fn embed_layer(&self, column: &Column, layer: &Tensor, pass: &mut TrainingPass) -> Result<Tensor> {
        if self.kind != InputKind::Transformer || self.needs_layers {
            return Err(TrainError::unsupported(
                "the model cannot make sentence embeddings of a single layer",
                "use a model of a Transformer, a Pooling and what follows them",
            ));
        }
        let flow = Flow { tokens: Some(layer.clone()), ..Flow::default() };
        let flow = self.run(&self.modules[1..], flow, column, pass)?;
        Ok(flow.sentences()?.clone())
    }

    fn tokenize(&self, texts: &[String], prompt: Option<&str>, task: Option<&str>) -> Result<Column> {
        let plain = EncodeOptions::new().prompt(Prompt::text(""));
        let plain = match task {
            Some(task) => plain.task(task),
            None => plain,
        };
        let prompt = prompt.filter(|prompt| !prompt.is_empty());
        let texts: Vec<String> = match prompt {
            Some(prompt) => texts.iter().map(|text| format!("{prompt}{text}")).collect(),
            None => texts.to_vec(),
        };
        let report = self.library.tokenize_with(&texts, &plain)?;
        let count = report.texts().iter().map(|tokens| tokens.kept()).sum();
        let mut batch = Batch::with_capacity(texts.len(), count);
        for tokens in report.texts() {
            match tokens.type_ids() {
                Some(types) => batch.push_with_types(tokens.ids(), types)?,
                None => batch.push(tokens.ids()),
            }
        }
        let length = match prompt {
            Some(prompt) if self.library.pipeline().excludes_prompt() => Some(self.prompt_length(prompt, &plain)?),
            _ => None,
        };
        Ok(Column::new(batch, texts)?.with_prompt_length(length).with_task(task.map(str::to_owned)))
    }

    fn read_images(&self, images: &[Image], task: Option<&str>) -> Result<Column> {
        let Some(reader) = self.library.pipeline().reader(task)?.images() else {
            return Err(TrainError::unsupported("the model reads texts, not images", "train a CLIP model on them"));
        };
        let read = |image: &Image| {
            let mut alone = Batch::new();
            reader.read(image, &mut alone)?;
            Ok(alone)
        };
        let mut batch = Batch::with_capacity(images.len(), images.len() * reader.rows());
        for alone in images.par_iter().map(read).collect::<Result<Vec<_>>>()? {
            if let Some((numbers, width)) = alone.patches(0..alone.len()).zip(alone.patch_width()) {
                batch.push_patches(numbers, width)?;
            }
        }
        Ok(Column::of_images(batch)?.with_task(task.map(str::to_owned)))
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn parameters_mut(&mut self) -> &mut Parameters {
        &mut self.parameters
    }

    fn dimension(&self) -> usize {
        self.dimension
    }

    fn input_kind(&self) -> InputKind {
        self.kind
    }

    fn layers(&self) -> Option<usize> {
        self.library.pipeline().input().layers()
    }

    fn device(&self) -> &Device {
        &self.options.device
    }

    fn data_type(&self) -> DType {
        self.options.data_type
    }

    fn copy(&self) -> Result<Box<dyn EmbeddingModel>> {
        let mut copy = Self::of_library(Arc::clone(&self.library), self.options.clone())?;
        for parameter in self.parameters.iter() {
            if let Some(own) = copy.parameters.get(parameter.name()) {
                own.variable().set(parameter.variable())?;
            }
            if !parameter.is_trainable() {
                copy.parameters.set_trainable(false, |name| name == parameter.name());
            }
        }
        Ok(Box::new(copy))
    }

    fn sentence_transformer(&self) -> Result<SentenceTransformer> {
        let mut weights = NewWeights::new();
        for parameter in self.parameters.iter() {
            let value = parameter.variable().as_detached_tensor().to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
            weights.insert(parameter.name(), value.dims().to_vec(), value.flatten_all()?.to_vec1()?)?;
        }
        Ok(self.library.with_weights(weights)?)
    }

    fn save(&self, folder: &Path) -> Result<()> {
        Ok(save(&self.sentence_transformer()?, folder)?)
    }
}

/// Saves a model into a folder; with several active adapters the model with each, into a folder inside it.
pub(crate) fn save(model: &SentenceTransformer, folder: &Path) -> sentence_transformers::Result<()> {
    match model.active_adapters() {
        Ok(active) if active.len() > 1 => model.save_adapters(folder),
        _ => model.save_pretrained(folder),
    }
}
