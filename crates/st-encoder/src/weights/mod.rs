//! Reading checkpoints: safetensors (also sharded) and PyTorch's `.bin`, without running anything they contain.

mod mapped;
mod overlay;
mod pytorch;
mod safetensors_file;
mod shards;
mod stored;
mod tensor;
mod weights_file;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{EncoderError, TensorSource};
pub use overlay::{PartOverlay, WeightsOverlay};
pub use pytorch::write_pytorch;
use safetensors_file::SafetensorsFile;
use stored::Kind;
use tensor::Content;
pub use tensor::{DataType, RawTensor, Tensor};
use weights_file::WeightsFile;

/// Where the weights of a folder are looked for, first to last, and whether the file is an index of others.
const FILES: &[(&str, bool)] = &[
    ("model.safetensors", false),
    ("model.safetensors.index.json", true),
    ("pytorch_model.bin", false),
    ("pytorch_model.bin.index.json", true),
];

/// Endings of tensor names in checkpoints from TensorFlow, and what those tensors are called today.
const OLD_ENDINGS: &[(&str, &str)] = &[("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")];

/// The tensors of a model folder, memory-mapped until they are asked for.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![1, 2], &[0, 0, 0, 0, 0, 0, 128, 63])?;
/// # std::fs::write(folder.path().join("model.safetensors"), safetensors::serialize([("linear.weight", view)], None)?)?;
/// use st_encoder::{TensorSource, Weights};
///
/// let weights = Weights::open(folder.path())?;
/// assert_eq!(weights.shape_of("linear.weight"), Some(&[1, 2][..]));
/// let tensor = weights.tensor(&TensorSource::whole("linear.weight"), &[1, 2])?;
/// assert_eq!(*tensor.to_f32()?, [0.0, 1.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Weights {
    path: PathBuf,
    files: Vec<WeightsFile>,
    /// File and name in the file of every tensor.
    index: BTreeMap<String, (usize, String)>,
    prefix: String,
    overlay: Option<Arc<dyn WeightsOverlay>>,
}

impl Weights {
    /// Opens the weights of a folder: of the whole model, or of one module.
    ///
    /// # Errors
    /// [`EncoderError::NoWeights`] when there are none; [`EncoderError::Weights`], [`EncoderError::Config`] and
    /// [`EncoderError::Io`] when they are damaged.
    pub fn open(folder: &Path) -> Result<Self, EncoderError> {
        let found =
            FILES.iter().map(|&(name, is_index)| (folder.join(name), is_index)).find(|(path, _)| path.is_file());
        let Some((path, is_index)) = found else {
            let names: Vec<_> = FILES.iter().map(|(name, _)| format!("'{name}'")).collect();
            return Err(EncoderError::NoWeights { path: folder.into(), expected: names.join(", ") });
        };
        if !is_index {
            return Self::open_file(&path);
        }
        let shards = shards::read_index(&path)?;
        if let Some(file) = shards.files.iter().find(|file| !file.exists()) {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            return Err(mapped::damaged(&path, format!("'{name}' is named here but is not there: download it too")));
        }
        let files = shards.files.iter().map(|file| WeightsFile::open(file)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self::new(path, files, shards.tensors))
    }

    /// Opens one file, `*.safetensors` or a checkpoint of PyTorch.
    ///
    /// # Errors
    /// [`EncoderError::Io`] and [`EncoderError::Weights`].
    pub fn open_file(path: &Path) -> Result<Self, EncoderError> {
        Ok(Self::of_file(path, WeightsFile::open(path)?))
    }

    /// Weights that are only in memory, as the bytes of a safetensors file: those of a model in training, or merged from
    /// several files. `path` stands in messages.
    ///
    /// # Errors
    /// [`EncoderError::Weights`] when the bytes are no such file.
    pub fn from_bytes(path: &Path, bytes: Arc<Vec<u8>>) -> Result<Self, EncoderError> {
        Ok(Self::of_file(path, WeightsFile::Safetensors(SafetensorsFile::held(path, bytes)?)))
    }

    fn of_file(path: &Path, file: WeightsFile) -> Self {
        let names: Vec<_> = file.names().into_iter().map(|name| (name.to_owned(), 0)).collect();
        Self::new(path.into(), vec![file], names)
    }

    fn new(path: PathBuf, files: Vec<WeightsFile>, names: impl IntoIterator<Item = (String, usize)>) -> Self {
        let mut index: BTreeMap<_, _> = names.into_iter().map(|(name, file)| (name.clone(), (file, name))).collect();
        let renamed: Vec<_> =
            index.iter().filter_map(|(name, place)| Some((current_name(name)?, place.clone()))).collect();
        for (name, place) in renamed {
            index.entry(name).or_insert(place);
        }
        Self { path, files, index, prefix: String::new(), overlay: None }
    }

    /// The file or folder, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the first of `prefixes` under which `name` exists as the prefix of all later names.
    #[must_use]
    pub fn with_prefix_of(mut self, prefixes: &[&str], name: &str) -> Self {
        if let Some(prefix) = prefixes.iter().find(|prefix| self.index.contains_key(&format!("{prefix}{name}"))) {
            self.prefix = (*prefix).to_owned();
        }
        self
    }

    /// The prefix of all names.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Lays other numbers over the checkpoint's: [`Weights::tensor`] gives those.
    #[must_use]
    pub fn with_overlay(mut self, overlay: Arc<dyn WeightsOverlay>) -> Self {
        self.overlay = Some(overlay);
        self
    }

    /// Data type of a tensor in its file; `None` when it is not there or holds no floating-point numbers.
    #[must_use]
    pub fn stored_type(&self, source: &TensorSource) -> Option<DataType> {
        let (file, name) = self.find(source)?;
        match self.files[file].describe(name)? {
            (Kind::Float(data_type), _) => Some(*data_type),
            (Kind::Other(_), _) => None,
        }
    }

    /// Names of all tensors of floating-point numbers, with their prefix, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let floats = |&(file, ref stored): &(usize, String)| {
            self.files[file].describe(stored).is_some_and(|(kind, _)| matches!(kind, Kind::Float(_)))
        };
        self.index.iter().filter(move |&(name, place)| *name == place.1 && floats(place)).map(|(name, _)| name.as_str())
    }

    /// Whether a tensor is there, named without the prefix.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.shape_of(name).is_some()
    }

    /// Shape of a tensor, named without the prefix; `None` when it is not there.
    #[must_use]
    pub fn shape_of(&self, name: &str) -> Option<&[usize]> {
        let (file, name) = self.index.get(&format!("{}{name}", self.prefix))?;
        self.files[*file].describe(name).map(|(_, shape)| shape)
    }

    /// A tensor of any type as it lies in its file, named without the prefix; `None` when it is not there.
    #[must_use]
    pub fn raw(&self, name: &str) -> Option<RawTensor<'_>> {
        let (file, name) = self.index.get(&format!("{}{name}", self.prefix))?;
        let stored = self.files[*file].get(name)?;
        let data_type = match stored.kind {
            Kind::Float(data_type) => data_type.as_str(),
            Kind::Other(held) => held,
        };
        Some(RawTensor { data_type, shape: stored.shape, bytes: stored.bytes })
    }

    /// Number of parameters in the tensors of `sources`; a tensor that several slots share counts once, one that is not
    /// there not at all.
    pub fn parameters<'a>(&self, sources: impl IntoIterator<Item = &'a TensorSource>) -> u64 {
        let used: HashSet<_> = sources.into_iter().filter_map(|source| self.find(source)).collect();
        let elements = |(file, name): &(usize, &str)| {
            let shape = self.files[*file].describe(name).map_or(&[][..], |(_, shape)| shape);
            shape.iter().map(|&length| length as u64).product::<u64>()
        };
        used.iter().map(elements).sum()
    }

    /// A tensor, or some rows of it, checked to have `shape`.
    ///
    /// # Errors
    /// [`EncoderError::MissingTensor`], [`EncoderError::Shape`], and [`EncoderError::Weights`] when the tensor does not
    /// hold floating-point numbers; what an overlay meets.
    pub fn tensor(&self, source: &TensorSource, shape: &[usize]) -> Result<Tensor<'_>, EncoderError> {
        let name = format!("{}{}", self.prefix, source.name);
        let missing = |path: &Path| EncoderError::MissingTensor { path: path.into(), name: name.clone() };
        let (file, stored_name) = self.find(source).ok_or_else(|| missing(&self.path))?;
        let file = &self.files[file];
        let (kind, found) = file.describe(stored_name).ok_or_else(|| missing(file.path()))?;
        let Kind::Float(data_type) = *kind else {
            let Kind::Other(held) = kind else { return Err(missing(file.path())) };
            let message = format!("tensor '{name}' holds {held}, not floating-point numbers");
            return Err(mapped::damaged(file.path(), message));
        };
        let fits = match (&source.rows, shape) {
            (None, shape) => found == shape,
            (Some(rows), [count, inner @ ..]) => {
                rows.start <= rows.end
                    && rows.len() == *count
                    && found.first().is_some_and(|&all| rows.end <= all)
                    && found.get(1..) == Some(inner)
            }
            (Some(_), []) => false,
        };
        if !fits {
            let (path, found, expected) = (file.path().into(), found.to_vec(), shape.to_vec());
            return Err(EncoderError::Shape { path, name, found, expected });
        }
        let stored = file.get(stored_name).ok_or_else(|| missing(file.path()))?;
        let bytes = match &source.rows {
            None => stored.bytes,
            Some(rows) => {
                let row = shape.iter().skip(1).product::<usize>() * data_type.size();
                &stored.bytes[rows.start * row..rows.end * row]
            }
        };
        let content = Content::Stored(bytes);
        let tensor = Tensor { path: file.path(), name, data_type, shape: shape.to_vec(), content };
        self.changed(source, tensor)
    }

    /// The tensor as the overlay makes it.
    fn changed<'a>(&self, source: &TensorSource, tensor: Tensor<'a>) -> Result<Tensor<'a>, EncoderError> {
        let Some(overlay) = &self.overlay else { return Ok(tensor) };
        let mut names = std::iter::once(&source.name).chain(&source.or);
        let Some(name) = names.find(|name| overlay.changes(name)) else { return Ok(tensor) };
        let mut numbers = tensor.to_f32()?.into_owned();
        let rows = source.rows.clone().unwrap_or(0..tensor.shape.first().copied().unwrap_or(1));
        overlay.apply(name, rows, &mut numbers)?;
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        Ok(Tensor { data_type: DataType::F32, content: Content::Changed(bytes), ..tensor })
    }

    /// File and name in the file of a source.
    fn find(&self, source: &TensorSource) -> Option<(usize, &str)> {
        let names = std::iter::once(&source.name).chain(&source.or);
        let place = names.map(|name| self.index.get(&format!("{}{name}", self.prefix))).find_map(|place| place)?;
        Some((place.0, place.1.as_str()))
    }
}

/// The name that a tensor has today, where an old checkpoint calls it differently; tensors are found under either.
///
/// ```
/// use st_encoder::weights::current_name;
///
/// assert_eq!(current_name("embeddings.LayerNorm.gamma").as_deref(), Some("embeddings.LayerNorm.weight"));
/// assert_eq!(current_name("embeddings.LayerNorm.weight"), None);
/// ```
#[must_use]
pub fn current_name(name: &str) -> Option<String> {
    OLD_ENDINGS.iter().find_map(|(old, new)| Some(format!("{}{new}", name.strip_suffix(old)?)))
}

/// No configuration or index is larger, in bytes.
const LARGEST_JSON: u64 = 1 << 26;

/// Reads a JSON file.
pub(crate) fn read_json(path: &Path) -> Result<serde_json::Value, EncoderError> {
    if std::fs::metadata(path).is_ok_and(|metadata| metadata.len() > LARGEST_JSON) {
        let message = format!("the file is larger than {LARGEST_JSON} bytes, which no configuration is");
        return Err(EncoderError::Config { path: path.into(), message });
    }
    let text = std::fs::read(path).map_err(|source| EncoderError::Io { path: path.into(), source })?;
    serde_json::from_slice(&text)
        .map_err(|error| EncoderError::Config { path: path.into(), message: error.to_string() })
}
