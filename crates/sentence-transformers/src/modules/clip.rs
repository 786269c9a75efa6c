//! [`ClipModel`]: texts and images in one space.

mod projection;
mod tower;

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value};
use st_encoder::adapters::AdaptableModules;
use st_encoder::architectures::describe;
use st_encoder::{Backend, Batch, EncoderFiles, EncoderInfo, EncoderOptions, Pass, Rows, Weights};
use st_vectors::Embeddings;

use super::adapters::{AdapterHost, Base, Shelf, TrainedAdapters};
use super::calibration::calibration_batch;
use super::transformer::{WEIGHT_FILES, merged, save_config, save_weights, with_new};
use super::{
    Conversion, Dataflow, Feature, ImageReader, InputContext, InputModule, Loader, Module, ModuleFolder, ModuleKind,
};
use crate::files::{ModuleWriter, read_json};
use crate::image::ImageProcessor;
use crate::tokenizer::{TextTokenizer, Tokens};
use crate::{Error, ErrorKind, Features, Image, NewWeights, Result};
use projection::LastToken;
pub use tower::ClipTower;
use tower::{Tower, TowerOptions};

/// The row of [`super::MODULES`].
pub(super) const CLIP_MODEL: ModuleKind = ModuleKind {
    name: "CLIPModel",
    aliases: &[],
    type_path: "sentence_transformers.models.CLIPModel",
    load: Loader::Input(|folder, context| Ok(Box::new(ClipModel::load(folder, context)?))),
};

/// Files besides the configuration and the weights, copied when the model is saved.
const SAVED_FILES: [&str; 8] = [
    PREPROCESSOR_CONFIG,
    "processor_config.json",
    "tokenizer.json",
    TOKENIZER_CONFIG,
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
];
const CONFIG: &str = "config.json";
const PREPROCESSOR_CONFIG: &str = "preprocessor_config.json";
/// Where the longest text is named.
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";

/// What stands between the module's name and its weights' names, as in the original.
const MODEL: &str = "model.";

/// CLIP (Radford et al. 2021): an encoder of texts and one of images, each with a map into the space that both share.
///
/// A text's embedding is the row of its last token, an image's the row of the class vector, mapped without a bias; neither is
/// normalised. Shapes: texts and [`Image`]s to sentence embeddings `[projection_dim]`. Files: `config.json` with `text_config`
/// and `vision_config`, the weights of both, `preprocessor_config.json`, the tokenizer's. With an active adapter, the adapter's
/// files take the place of configuration and weights.
#[derive(Debug, Clone)]
pub struct ClipModel {
    tokenizer: Arc<TextTokenizer>,
    processor: ImageProcessor,
    text: Tower,
    vision: Tower,
    last_token: LastToken,
    /// Pixels along a side of an image and of a patch.
    side: usize,
    patch: usize,
    max_seq_length: Option<usize>,
    /// The whole model's, without adapters.
    files: EncoderFiles,
    /// What the model is called.
    name: String,
    /// Folder of the tokenizer's files.
    own: PathBuf,
    shelf: Shelf,
    backend: Arc<dyn Backend>,
    options: EncoderOptions,
}

impl ClipModel {
    /// Reads the folder of a CLIP model.
    ///
    /// # Errors
    /// Whatever is wrong with its files.
    pub fn load(folder: &ModuleFolder, context: &InputContext) -> Result<Self> {
        let Base { files, name, shelf, tokenizer: own } = Base::open(folder, context, adaptable)?;
        let (config, path) = (files.config(), files.config_path());
        if let Some(kind) = config.get("model_type").filter(|kind| kind.as_str() != Some("clip")) {
            return Err(Error::config(&path, format_args!("a model of type {kind} is no CLIP model")));
        }
        let (text, vision) = (tower::TEXT.files(&files)?, tower::VISION.files(&files)?);
        let from = if own.join(PREPROCESSOR_CONFIG).is_file() { own.as_path() } else { files.folder() };
        let processor = ImageProcessor::read(from)?;
        let (_, spec) = describe(vision.config(), &path)?;
        let channels = spec.embeddings.patches.map(|patches| patches.channels);
        let size = |field: &str, default: u64| vision.config().get(field).and_then(Value::as_u64).unwrap_or(default);
        let (side, patch) = (size("image_size", 224) as usize, size("patch_size", 32) as usize);
        if channels != Some(3) {
            return Err(Error::config(&path, "'num_channels' of 'vision_config' is not supported, only 3 is"));
        }
        let last_token = LastToken::of_config(text.config(), &path)?;
        let width = tower::width(config, &path)?;
        let tokenizer = Arc::new(TextTokenizer::load(&own, &context.tokenizer)?);
        let (backend, options) = (Arc::clone(&context.backend), context.encoder.clone());
        let towers = TowerOptions { width, backend: backend.as_ref(), options: &options, overlay: shelf.overlay()? };
        let (text, vision) = (Tower::load(&tower::TEXT, text, &towers)?, Tower::load(&tower::VISION, vision, &towers)?);
        let max_seq_length =
            context.max_seq_length.or(tokenizer.model_max_length()).or(text.encoder.info().max_sequence);
        Ok(Self {
            tokenizer,
            processor,
            text,
            vision,
            last_token,
            side,
            patch,
            max_seq_length,
            files,
            name,
            own,
            shelf,
            backend,
            options,
        })
    }

    /// What runs on images; [`InputModule::encoder`] is what runs on texts.
    #[must_use]
    pub fn image_encoder(&self) -> &EncoderInfo {
        self.vision.encoder.info()
    }

    /// The encoder of texts, then that of images.
    #[must_use]
    pub fn towers(&self) -> [ClipTower<'_>; 2] {
        [ClipTower(&self.text), ClipTower(&self.vision)]
    }

    /// Which row of a text's token embeddings stands for the text; an image's is the first.
    #[must_use]
    pub fn text_row(&self, ids: &[u32]) -> usize {
        self.last_token.place(ids)
    }

    /// The adapters that training changes in the place of the model's own weights: the active ones.
    /// The model's own weights are those of [`ClipModel::towers`].
    ///
    /// # Errors
    /// When several are active and one of them replaces biases or modules whole.
    pub fn trained_adapters(&self) -> Result<TrainedAdapters<'_>> {
        self.shelf.trained()
    }

    /// Loads both encoders again: of a checkpoint in memory, with other adapters, on another backend.
    fn reload(&mut self, weights: Option<Arc<Vec<u8>>>) -> Result<()> {
        let (width, overlay) = (self.text.projection.width(), self.shelf.overlay()?);
        let towers = TowerOptions { width, backend: self.backend.as_ref(), options: &self.options, overlay };
        let again = |tower: &Tower| {
            let files = tower.files().clone();
            tower.again(weights.iter().fold(files, |files, bytes| files.with_weights(Arc::clone(bytes))), &towers)
        };
        (self.text, self.vision) = (again(&self.text)?, again(&self.vision)?);
        if let Some(bytes) = weights {
            self.files = self.files.clone().with_weights(bytes);
        }
        Ok(())
    }

    /// The same model with new weights, when there are any.
    fn with_new(&self, path: &str, weights: &mut NewWeights) -> Result<Self> {
        let (mut model, start) = (self.clone(), format!("{path}{MODEL}"));
        let adapted = self.shelf.with_numbers(&start, weights)?;
        let bytes = with_new(&self.files, |_| Ok(""), &start, weights, !self.shelf.is_empty())?;
        if bytes.is_some() || adapted.is_some() {
            model.shelf = adapted.unwrap_or(model.shelf);
            model.reload(bytes)?;
        }
        Ok(model)
    }

    /// One mapped row per sequence.
    fn embed(&self, batch: &Batch, pass: &Pass) -> Result<Embeddings> {
        let images = batch.patch_width().is_some();
        let (tower, rows) = if images { (&self.vision, Rows::First) } else { (&self.text, Rows::All) };
        let tokens = tower.encoder.forward(batch, &Pass { rows, layers: false, ..*pass })?;
        let hidden = tokens.hidden();
        let mut embeddings = Vec::with_capacity(batch.len() * tower.projection.width());
        for sequence in 0..batch.len() {
            let place = if images { 0 } else { self.last_token.place(batch.sequence(sequence)) };
            let row = tokens.sequence(sequence).get(place * hidden..(place + 1) * hidden).ok_or_else(|| {
                Error::new(ErrorKind::Encode, "a text without any token has no embedding")
                    .with_hint("allow at least 2 tokens per text")
            })?;
            tower.projection.apply(row, &mut embeddings);
        }
        Ok(Embeddings::new(embeddings, batch.len(), tower.projection.width())?)
    }
}

impl Module for ClipModel {
    fn kind(&self) -> &'static ModuleKind {
        &CLIP_MODEL
    }

    fn dataflow(&self) -> Dataflow {
        Dataflow { needs: Feature::Tokens, gives: Feature::SentenceEmbedding }
    }

    fn forward(&self, mut features: Features, pass: &Pass) -> Result<Features> {
        features.batch.clear_types();
        features.sentence_embeddings = Some(self.embed(&features.batch, pass)?);
        Ok(features)
    }

    fn output_dim(&self, _: usize) -> Result<usize, usize> {
        Ok(self.width())
    }

    fn config(&self) -> Map<String, Value> {
        Map::new()
    }

    fn save(&self, writer: &ModuleWriter) -> Result<()> {
        let place = |name: &str| {
            let own = self.own.join(name);
            if own.is_file() { own } else { self.files.folder().join(name) }
        };
        for name in SAVED_FILES {
            writer.copy(&place(name))?;
        }
        if self.max_seq_length != self.tokenizer.model_max_length() {
            let mut config = read_json(&place(TOKENIZER_CONFIG))?.unwrap_or_else(|| Value::Object(Map::new()));
            if let Some(fields) = config.as_object_mut() {
                fields.insert("model_max_length".into(), self.max_seq_length.into());
            }
            writer.json(TOKENIZER_CONFIG, &config, 2)?;
        }
        if !self.shelf.is_empty() {
            return self.save_adapter(writer);
        }
        writer.copy(&self.files.folder().join(CONFIG))?;
        if let Some(bytes) = self.files.held_weights() {
            save_config(&self.files, writer)?;
            return writer.bytes(WEIGHT_FILES[0], bytes);
        }
        save_weights(&self.files, writer)
    }

    fn with_weights(&self, path: &str, weights: &mut NewWeights) -> Result<Box<dyn Module>> {
        Ok(Box::new(self.with_new(path, weights)?))
    }
}

impl InputModule for ClipModel {
    fn tokenizer(&self) -> Option<&TextTokenizer> {
        Some(&self.tokenizer)
    }

    fn tokenize(&self, first: &str, second: Option<&str>) -> Result<Tokens> {
        self.tokenizer.encode(first, second, self.max_seq_length)
    }

    fn images(&self) -> Option<&dyn ImageReader> {
        Some(self)
    }

    fn input_with_weights(&self, path: &str, weights: &mut NewWeights) -> Result<Box<dyn InputModule>> {
        Ok(Box::new(self.with_new(path, weights)?))
    }

    fn convert(&mut self, conversion: &Conversion) -> Result<bool> {
        let mut model = self.clone();
        if let Some(backend) = &conversion.backend {
            model.backend = Arc::clone(backend);
        }
        model.options.weights = conversion.weights.unwrap_or(model.options.weights);
        if let Some(texts) = &conversion.calibration {
            model.options.calibration = vec![calibration_batch(self, texts)?];
        }
        model.reload(None)?;
        *self = model;
        Ok(true)
    }

    fn max_seq_length(&self) -> Option<usize> {
        self.max_seq_length
    }

    fn set_max_seq_length(&mut self, length: Option<usize>) {
        self.max_seq_length = length;
    }

    /// As in the original, texts reach the tokenizer as they are.
    fn strips(&self) -> bool {
        false
    }

    fn width(&self) -> usize {
        self.text.projection.width()
    }

    fn encoder(&self) -> Option<&EncoderInfo> {
        Some(self.text.encoder.info())
    }

    fn layers(&self) -> Option<usize> {
        None
    }
}

/// What adapters can change: the modules of both encoders, and the maps.
fn adaptable(files: &EncoderFiles) -> Result<AdaptableModules> {
    Ok(AdaptableModules::of_parts(files, &[&tower::TEXT.files(files)?, &tower::VISION.files(files)?])?)
}

impl AdapterHost for ClipModel {
    fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    fn take_shelf(&mut self, shelf: Shelf) -> Result<()> {
        let mut model = Self { shelf, ..self.clone() };
        model.reload(None)?;
        *self = model;
        Ok(())
    }

    fn adaptable(&self) -> Result<AdaptableModules> {
        adaptable(&self.files)
    }

    fn plain(&self) -> Result<(Weights, &str)> {
        Ok((self.files.weights()?, &self.name))
    }

    fn merge(&mut self) -> Result<()> {
        self.shelf.require()?;
        let adapted = match self.shelf.overlay()? {
            Some(overlay) => self.files.clone().with_overlay(overlay),
            None => self.files.clone(),
        };
        let bytes = merged(&self.files.weights()?, &adapted.weights()?)?;
        let mut model = Self { shelf: Shelf::default(), ..self.clone() };
        model.reload(Some(bytes))?;
        *self = model;
        Ok(())
    }
}

impl ImageReader for ClipModel {
    fn rows(&self) -> usize {
        (self.side / self.patch).pow(2) + 1
    }

    fn read(&self, image: &Image, batch: &mut Batch) -> Result<()> {
        let mut numbers = Vec::new();
        self.processor.patches(image, self.side, self.patch, &mut numbers)?;
        Ok(batch.push_patches(&numbers, 3 * self.patch * self.patch)?)
    }
}
