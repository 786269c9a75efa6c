//! [`ClipModel`]: texts and images in one space.

mod projection;

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};
use st_encoder::architectures::describe;
use st_encoder::{Backend, Batch, Encoder, EncoderFiles, EncoderInfo, EncoderOptions, Pass, Rows};
use st_vectors::Embeddings;

use super::transformer::save_weights;
use super::{
    Conversion, Dataflow, Feature, ImageReader, InputContext, InputModule, Loader, Module, ModuleFolder, ModuleKind,
};
use crate::files::{ModuleWriter, read_json};
use crate::image::ImageProcessor;
use crate::tokenizer::{TextTokenizer, Tokens};
use crate::{Error, ErrorKind, Features, Image, NewWeights, Result};
use projection::{LastToken, Projection};

/// The row of [`super::MODULES`].
pub(super) const CLIP_MODEL: ModuleKind = ModuleKind {
    name: "CLIPModel",
    aliases: &[],
    type_path: "sentence_transformers.models.CLIPModel",
    load: Loader::Input(|folder, context| Ok(Box::new(ClipModel::load(folder, context)?))),
};

/// Files besides the weights, copied when the model is saved.
const SAVED_FILES: [&str; 9] = [
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    TOKENIZER_CONFIG,
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
];
/// Where the longest text is named.
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";

/// CLIP (Radford et al. 2021): an encoder of texts and one of images, each with a map into the space that both share.
///
/// A text's embedding is the row of its last token, an image's the row of the class vector, mapped without a bias; neither is
/// normalised. Shapes: texts and [`Image`]s to sentence embeddings `[projection_dim]`. Files: `config.json` with `text_config`
/// and `vision_config`, the weights of both, `preprocessor_config.json`, the tokenizer's.
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
    files: EncoderFiles,
    backend: Arc<dyn Backend>,
    options: EncoderOptions,
}

/// One of the two encoders, and the map of its rows.
#[derive(Debug, Clone)]
struct Tower {
    files: EncoderFiles,
    encoder: Arc<dyn Encoder>,
    projection: Arc<Projection>,
}

impl Tower {
    fn load(files: EncoderFiles, backend: &dyn Backend, options: &EncoderOptions, map: (&str, usize)) -> Result<Self> {
        let encoder: Arc<dyn Encoder> = Arc::from(backend.load(&files, options)?);
        let projection = Projection::load(&files, map.0, encoder.info().hidden, map.1)?;
        Ok(Self { files, encoder, projection: Arc::new(projection) })
    }
}

/// The configuration of one half, with the `model_type` that old files leave out.
fn half(config: &Value, path: &Path, name: &str, model_type: &str) -> Result<Value> {
    let empty = || Value::Object(Map::new());
    let mut half = config.get(name).filter(|half| !half.is_null()).cloned().unwrap_or_else(empty);
    // Files of 2021 say some fields a second time; those count.
    let again = config.get(format!("{name}_dict")).and_then(Value::as_object).cloned().unwrap_or_default();
    let Some(fields) = half.as_object_mut() else {
        return Err(Error::config(path, format_args!("'{name}' should be an object")));
    };
    fields.extend(again);
    fields.insert("model_type".into(), model_type.into());
    Ok(half)
}

impl ClipModel {
    /// Reads the folder of a CLIP model.
    ///
    /// # Errors
    /// Whatever is wrong with its files.
    pub fn load(folder: &ModuleFolder, context: &InputContext) -> Result<Self> {
        let files = EncoderFiles::open(folder.folder())?;
        let (config, path) = (files.config(), files.config_path());
        if let Some(kind) = config.get("model_type").filter(|kind| kind.as_str() != Some("clip")) {
            return Err(Error::config(&path, format_args!("a model of type {kind} is no CLIP model")));
        }
        let text = files.clone().with_config(half(config, &path, "text_config", "clip_text_model")?);
        let vision = files.clone().with_config(half(config, &path, "vision_config", "clip_vision_model")?);
        let processor = ImageProcessor::read(&folder.folder())?;
        let (_, spec) = describe(vision.config(), &path)?;
        let channels = spec.embeddings.patches.map(|patches| patches.channels);
        let size = |field: &str, default: u64| vision.config().get(field).and_then(Value::as_u64).unwrap_or(default);
        let (side, patch) = (size("image_size", 224) as usize, size("patch_size", 32) as usize);
        if channels != Some(3) {
            return Err(Error::config(&path, "'num_channels' of 'vision_config' is not supported, only 3 is"));
        }
        let last_token = LastToken::of_config(text.config(), &path)?;
        let width = match config.get("projection_dim").map_or(Some(512), Value::as_u64) {
            Some(width @ 1..=0xff_ffff) => width as usize,
            _ => return Err(Error::config(&path, "'projection_dim' should be a whole number from 1 to 16777215")),
        };
        let tokenizer = Arc::new(TextTokenizer::load(&folder.folder(), &context.tokenizer)?);
        let (backend, options) = (Arc::clone(&context.backend), context.encoder.clone());
        let text = Tower::load(text, backend.as_ref(), &options, ("text_projection.weight", width))?;
        let vision = Tower::load(vision, backend.as_ref(), &options, ("visual_projection.weight", width))?;
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
            backend,
            options,
        })
    }

    /// What runs on images; [`InputModule::encoder`] is what runs on texts.
    #[must_use]
    pub fn image_encoder(&self) -> &EncoderInfo {
        self.vision.encoder.info()
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
        let folder = self.files.folder();
        for name in SAVED_FILES {
            writer.copy(&folder.join(name))?;
        }
        if self.max_seq_length != self.tokenizer.model_max_length() {
            let mut config = read_json(&folder.join(TOKENIZER_CONFIG))?.unwrap_or_else(|| Value::Object(Map::new()));
            if let Some(fields) = config.as_object_mut() {
                fields.insert("model_max_length".into(), self.max_seq_length.into());
            }
            writer.json(TOKENIZER_CONFIG, &config, 2)?;
        }
        save_weights(&self.files, writer)
    }

    fn with_weights(&self, _: &str, _: &mut NewWeights) -> Result<Box<dyn Module>> {
        Ok(Box::new(self.clone()))
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

    fn input_with_weights(&self, _: &str, _: &mut NewWeights) -> Result<Box<dyn InputModule>> {
        Ok(Box::new(self.clone()))
    }

    fn convert(&mut self, conversion: &Conversion) -> Result<bool> {
        let backend = conversion.backend.as_ref().unwrap_or(&self.backend).clone();
        let mut options = self.options.clone();
        options.weights = conversion.weights.unwrap_or(options.weights);
        let again = |tower: &Tower| -> Result<Tower> {
            let encoder = Arc::from(backend.load(&tower.files, &options)?);
            Ok(Tower { encoder, ..tower.clone() })
        };
        (self.text, self.vision) = (again(&self.text)?, again(&self.vision)?);
        (self.backend, self.options) = (backend, options);
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
