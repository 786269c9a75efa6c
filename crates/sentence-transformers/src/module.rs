//! The contract of modules: what one is, where it lies, and what it is loaded with.

use std::any::Any;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use st_encoder::{Backend, Batch, EncoderInfo, EncoderOptions, Pass, Rows, WeightFormat};
use st_hub::HubOptions;

use crate::files::{ModuleWriter, SavedTensor};
use crate::input::PreparedText;
use crate::tokenizer::{TextTokenizer, TokenizerOptions, Tokens};
use crate::{Error, Features, Image, NewWeights, Result};

/// One step of a model.
///
/// Whoever needs to know more about a module than this finds its type: `(module as &dyn Any).downcast_ref::<Pooling>()`.
pub trait Module: Any + Debug + Send + Sync {
    /// Its row of [`crate::modules::MODULES`].
    fn kind(&self) -> &'static ModuleKind;

    /// What it needs and what it gives, checked when a pipeline is put together.
    fn dataflow(&self) -> Dataflow;

    /// Runs it.
    ///
    /// # Errors
    /// When a feature it needs is absent or has the wrong width, or the encoder fails.
    fn forward(&self, features: Features, pass: &Pass) -> Result<Features>;

    /// Width of what it gives for an input of width `input`.
    ///
    /// # Errors
    /// The width it wants instead.
    fn output_dim(&self, input: usize) -> Result<usize, usize>;

    /// Its configuration, keys in the order of its file.
    fn config(&self) -> serde_json::Map<String, serde_json::Value>;

    /// Writes its files.
    ///
    /// # Errors
    /// When a file cannot be written.
    fn save(&self, writer: &ModuleWriter) -> Result<()>;

    /// Its weights under the names of its file, as the original's `state_dict()` has them. A transformer's are not among
    /// them: they are its checkpoint's ([`crate::modules::Transformer::files`]).
    ///
    /// # Errors
    /// When they cannot be read any more.
    fn tensors(&self) -> Result<Vec<SavedTensor<'_>>> {
        Ok(Vec::new())
    }

    /// The same module with new weights, which are taken out under their names, `path` before each.
    ///
    /// # Errors
    /// When a shape differs, or an encoder cannot be loaded.
    fn with_weights(&self, path: &str, weights: &mut NewWeights) -> Result<Box<dyn Module>>;

    /// Which token rows it reads, so that the encoder can leave the others out.
    fn rows(&self) -> Rows {
        Rows::All
    }

    /// How many hidden states of the encoder it needs, the embeddings' included; `None` when it needs none.
    fn needed_layers(&self) -> Option<usize> {
        None
    }

    /// Sets whether prompt tokens take part in pooling; says whether the module has such a setting.
    fn set_include_prompt(&mut self, _include: bool) -> bool {
        false
    }

    /// Whether prompt tokens are left out, so that their number must be known.
    fn excludes_prompt(&self) -> bool {
        false
    }
}

/// A module that reads texts: the first of a pipeline.
pub trait InputModule: Module {
    /// Its tokenizer; `None` for a module that cuts texts into words itself.
    fn tokenizer(&self) -> Option<&TextTokenizer> {
        None
    }

    /// Longest token sequence it reads, special tokens included; `None` when unlimited.
    fn max_seq_length(&self) -> Option<usize>;

    /// Changes [`InputModule::max_seq_length`]; nothing happens where there is no such limit.
    fn set_max_seq_length(&mut self, length: Option<usize>);

    /// Whether texts are lower-cased before the tokenizer sees them.
    fn lower_case(&self) -> bool {
        false
    }

    /// Whether white space at both ends of a text is removed before the tokenizer sees it.
    fn strips(&self) -> bool {
        true
    }

    /// Width of what it gives.
    fn width(&self) -> usize;

    /// [`Module::with_weights`], still as a module that reads texts.
    ///
    /// # Errors
    /// As there.
    fn input_with_weights(&self, path: &str, weights: &mut NewWeights) -> Result<Box<dyn InputModule>>;

    /// What runs inside, where there is an encoder.
    fn encoder(&self) -> Option<&EncoderInfo> {
        None
    }

    /// Tokens of a micro-batch, unless one text alone has more: few enough that its activations stay in a core's cache.
    fn micro_batch(&self) -> usize {
        256
    }

    /// Token ids of a text, or of a pair of texts, as the module reads them.
    ///
    /// # Errors
    /// When the tokenizer fails on the text.
    fn tokenize(&self, first: &str, second: Option<&str>) -> Result<Tokens>;

    /// How many hidden states it can give, the embeddings' included; `None` when it can give none.
    fn layers(&self) -> Option<usize> {
        self.encoder().map(|info| info.layers + 1)
    }

    /// The module that reads the texts of a task instead of this one; `None` when this one does, whatever the task.
    ///
    /// # Errors
    /// When there is none for the task.
    fn route(&self, _task: Option<&str>) -> Result<Option<&dyn InputModule>> {
        Ok(None)
    }

    /// Loads its encoder anew, on another backend or with its weights in another form; says whether it has one. When the
    /// encoder cannot be loaded so, everything stays as it was.
    ///
    /// # Errors
    /// When the encoder cannot be loaded so.
    fn convert(&mut self, _conversion: &Conversion) -> Result<bool> {
        Ok(false)
    }

    /// Whether its files are saved in the model's own folder, when it comes first.
    fn saved_in_root(&self) -> bool {
        true
    }

    /// What reads images, where the module does.
    fn images(&self) -> Option<&dyn ImageReader> {
        None
    }

    /// The short way from texts to sentence embeddings, where the module has one.
    fn embedder(&self) -> Option<&dyn TextEmbedder> {
        None
    }
}

/// What makes images into the numbers that an encoder reads.
pub trait ImageReader: Send + Sync {
    /// Rows that an image takes in a batch.
    fn rows(&self) -> usize;

    /// Appends an image to a batch, as its patches ([`Batch::push_patches`]).
    ///
    /// # Errors
    /// When the image cannot be decoded, or does not come to the size that the encoder reads.
    fn read(&self, image: &Image, batch: &mut Batch) -> Result<()>;
}

/// A module that makes sentence embeddings straight from texts, one by one: there is nothing to gain from batches of
/// tokens, and much to lose from making them.
pub trait TextEmbedder: Send + Sync {
    /// Writes the embedding of each text, the same that [`Module::forward`] gives, into its row of `rows`. Calls `cut` for
    /// each text that was cut, with its index, the tokens kept and the tokens lost.
    ///
    /// # Errors
    /// When the tokenizer fails on a text, or gives a token that the module does not know.
    fn embed(
        &self,
        texts: &[PreparedText<'_>],
        rows: &mut [f32],
        cut: &mut dyn FnMut(usize, usize, usize),
    ) -> Result<()>;
}

/// What a module needs among the features and what it gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dataflow {
    /// The feature it reads.
    pub needs: Feature,
    /// The feature it makes or replaces.
    pub gives: Feature,
}

/// Names of features.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Feature {
    /// Texts as token ids.
    Tokens,
    /// One vector per token.
    TokenEmbeddings,
    /// The hidden states of every layer, one vector per token each.
    LayerEmbeddings,
    /// One vector per text.
    SentenceEmbedding,
}

impl Feature {
    /// The original's key.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tokens => "input_ids",
            Self::TokenEmbeddings => "token_embeddings",
            Self::LayerEmbeddings => "all_layer_embeddings",
            Self::SentenceEmbedding => "sentence_embedding",
        }
    }
}

/// A kind of module: a row of [`crate::modules::MODULES`].
#[derive(Debug)]
pub struct ModuleKind {
    /// Class name of the original, the last part of `type` in `modules.json`.
    pub name: &'static str,
    /// Other class names that mean the same.
    pub aliases: &'static [&'static str],
    /// `type` that is written into `modules.json`.
    pub type_path: &'static str,
    /// Reads one from its folder.
    pub load: Loader,
}

/// How a kind of module is read from its folder.
#[derive(Debug, Clone, Copy)]
pub enum Loader {
    /// A module that reads texts.
    Input(fn(&ModuleFolder, &InputContext) -> Result<Box<dyn InputModule>>),
    /// Any other module.
    Inner(fn(&ModuleFolder) -> Result<Box<dyn Module>>),
    /// A module that reads texts when it comes first, and what others made of them elsewhere.
    Either {
        /// Reads one that comes first.
        first: fn(&ModuleFolder, &InputContext) -> Result<Box<dyn InputModule>>,
        /// Reads one that comes later.
        later: fn(&ModuleFolder) -> Result<Box<dyn Module>>,
    },
}

impl Loader {
    /// Reads a module that comes first; `None` when one of its kind cannot.
    pub(crate) fn first(self, folder: &ModuleFolder, context: &InputContext) -> Option<Result<Box<dyn InputModule>>> {
        match self {
            Self::Input(load) | Self::Either { first: load, .. } => Some(load(folder, context)),
            Self::Inner(_) => None,
        }
    }

    /// Reads a module that comes later; `None` when one of its kind cannot.
    pub(crate) fn later(self, folder: &ModuleFolder) -> Option<Result<Box<dyn Module>>> {
        match self {
            Self::Inner(load) | Self::Either { later: load, .. } => Some(load(folder)),
            Self::Input(_) => None,
        }
    }
}

/// No model has more modules than this, those inside routers included.
pub(crate) const MOST_MODULES: usize = 64;

/// A module's place in a model folder.
#[derive(Debug, Clone)]
pub struct ModuleFolder {
    root: PathBuf,
    path: String,
    /// Modules found inside this folder's module and those around it, so that a folder that contains itself comes to an
    /// end.
    inside: Arc<AtomicUsize>,
}

impl ModuleFolder {
    /// The folder `path` of the model in `root`; an empty path is the root itself.
    ///
    /// # Errors
    /// When `path` would leave the model's folder.
    pub fn new(root: &Path, path: &str) -> Result<Self> {
        let plain = |part: std::path::Component<'_>| {
            matches!(part, std::path::Component::Normal(_) | std::path::Component::CurDir)
        };
        if path.contains(['\\', '\0', ':']) || !Path::new(path).components().all(plain) {
            return Err(Error::config(
                &root.join("modules.json"),
                format_args!("the path '{path}' leaves the model's folder"),
            )
            .with_hint("a module's path is a folder inside the model's folder, such as '1_Pooling'"));
        }
        let folder = Self { root: root.to_path_buf(), path: path.to_owned(), inside: Arc::default() };
        folder.refuse_links_outside()?;
        Ok(folder)
    }

    /// The folder of a module inside this one; an empty name is this folder itself.
    ///
    /// # Errors
    /// When `name` would leave the model's folder, or there are more than 64 modules inside.
    pub fn inside(&self, name: &str) -> Result<Self> {
        let separator = if self.path.is_empty() || name.is_empty() { "" } else { "/" };
        let mut folder = Self::new(&self.root, &format!("{}{separator}{name}", self.path))?;
        folder.inside = Arc::clone(&self.inside);
        if folder.inside.fetch_add(1, Ordering::Relaxed) >= MOST_MODULES {
            return Err(Error::config(
                &self.folder(),
                format_args!("there are more than {MOST_MODULES} modules inside, or the module contains itself"),
            ));
        }
        Ok(folder)
    }

    /// A sub-folder that is a symbolic link to a place outside the model is as much an escape as `..`.
    fn refuse_links_outside(&self) -> Result<()> {
        let mut inside = self.root.clone();
        for part in Path::new(&self.path).components() {
            inside.push(part);
            let linked = std::fs::symlink_metadata(&inside).is_ok_and(|meta| meta.file_type().is_symlink());
            if linked
                && let (Ok(target), Ok(root)) = (inside.canonicalize(), self.root.canonicalize())
                && !target.starts_with(&root)
            {
                return Err(Error::config(
                    &self.root.join("modules.json"),
                    format_args!(
                        "the path '{}' is a link to {}, outside the model's folder",
                        self.path,
                        target.display()
                    ),
                )
                .with_hint("copy the linked folder into the model's folder"));
            }
        }
        Ok(())
    }

    /// The folder on disk. It need not exist: modules without files have none.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        if self.is_root() { self.root.clone() } else { self.root.join(&self.path) }
    }

    /// Whether it is the model's own folder.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.path.is_empty() || self.path == "."
    }

    /// A file of the folder.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }
}

/// How an encoder shall run from now on.
#[derive(Debug, Clone, Default)]
pub struct Conversion {
    /// On this backend; `None`: on the one that it has.
    pub backend: Option<Arc<dyn Backend>>,
    /// With its weights in this form; `None`: in the form that they have.
    pub weights: Option<WeightFormat>,
    /// Texts, prompts included, that [`WeightFormat::Int8`] is calibrated on; `None`: as before.
    pub calibration: Option<Vec<String>>,
}

/// What an input module is loaded with besides its folder.
#[derive(Debug, Clone)]
pub struct InputContext {
    /// Runs the network.
    pub backend: Arc<dyn Backend>,
    /// How the network is loaded.
    pub encoder: EncoderOptions,
    /// Whether the form of the weights in it was asked for, so that a folder's own `model_args` do not change it.
    pub weights_given: bool,
    /// What to change about the tokenizer.
    pub tokenizer: TokenizerOptions,
    /// Longest token sequence, instead of the folder's.
    pub max_seq_length: Option<usize>,
    /// Where the model comes from.
    pub origin: Origin,
}

/// Where a model comes from, for modules that name it or need another model: an adapter's base, say.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// Its Hub id or its path.
    pub name: String,
    /// How other models are looked for.
    pub hub: HubOptions,
    /// Whether it is a folder of this machine, whose files may name others.
    pub is_local: bool,
}
