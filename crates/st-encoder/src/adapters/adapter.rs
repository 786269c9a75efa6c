//! [`Adapter`]: an adapter of one network, read from its files or made fresh.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;

use super::config::{AdapterBias, AdapterConfig, Initialisation, ModuleNames};
use super::layer::{AdapterLayer, AdapterTensor};
use super::modules::{AdaptableModule, AdaptableModules, ModuleKind};
use super::random::Random;
use super::targets::Targets;
use super::{ADAPTER_CONFIG, ADAPTER_WEIGHTS};
use crate::{EncoderError, TensorSource, Weights};

/// What PEFT puts before every name in a file.
const FILE_PREFIX: &str = "base_model.model.";

/// An adapter: its configuration, the change of each module, and what it replaces whole.
///
/// ```no_run
/// use st_encoder::EncoderFiles;
/// use st_encoder::adapters::{AdaptableModules, Adapter};
///
/// let modules = AdaptableModules::of_files(&EncoderFiles::open("all-MiniLM-L6-v2")?)?;
/// let adapter = Adapter::open("my-adapter".as_ref(), &modules)?;
/// for (module, layer) in adapter.layers() {
///     println!("{module}: rank {}", layer.rank());
/// }
/// # Ok::<(), st_encoder::EncoderError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Adapter {
    config: AdapterConfig,
    path: PathBuf,
    layers: Tensors<AdapterLayer>,
    /// Tensors that stand in the place of the network's, by the names that those have.
    whole: Tensors<AdapterTensor>,
}

/// Things by name.
pub(super) type Tensors<T> = BTreeMap<String, T>;

/// A part of a module's change, by the end of its name in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    /// `A`, and whether it is a table's.
    A(bool),
    /// `B`, and whether it is a table's.
    B(bool),
    Bias,
    Magnitude,
}

const PIECES: &[(&str, Piece)] = &[
    (".lora_A.weight", Piece::A(false)),
    (".lora_B.weight", Piece::B(false)),
    (".lora_B.bias", Piece::Bias),
    (".lora_embedding_A", Piece::A(true)),
    (".lora_embedding_B", Piece::B(true)),
    (".lora_magnitude_vector", Piece::Magnitude),
    (".lora_magnitude_vector.weight", Piece::Magnitude),
];

impl Adapter {
    /// Reads an adapter's folder for a network.
    ///
    /// Tensors for modules that the network or the configuration lacks are left out, with a warning.
    ///
    /// # Errors
    /// When a file is missing or damaged, the adapter is of a kind that is not followed, its tensors have other shapes
    /// than the configuration and the network say or hold numbers that are not finite, or none of them fits the network.
    pub fn open(folder: &Path, modules: &AdaptableModules) -> Result<Self, EncoderError> {
        let path = folder.join(ADAPTER_CONFIG);
        let config = AdapterConfig::parse(&crate::weights::read_json(&path)?, &path)?;
        let file = ADAPTER_WEIGHTS.iter().map(|name| folder.join(name)).find(|file| file.is_file());
        let file = file.ok_or_else(|| EncoderError::NoWeights {
            path: folder.into(),
            expected: ADAPTER_WEIGHTS.map(|name| format!("'{name}'")).join(" or "),
        })?;
        Self::read(config, path, &Weights::open_file(&file)?, modules)
    }

    fn read(
        mut config: AdapterConfig,
        path: PathBuf,
        file: &Weights,
        modules: &AdaptableModules,
    ) -> Result<Self, EncoderError> {
        let targets = Targets::new(&config, modules, &path)?;
        let targeted: Vec<&AdaptableModule> = modules.iter().filter(|module| targets.matches(module)).collect();
        if targeted.is_empty() {
            return Err(targets.nothing_found(&path));
        }
        let mut pieces: BTreeMap<String, Vec<(Piece, AdapterTensor)>> = BTreeMap::new();
        let mut whole = BTreeMap::new();
        let mut unexpected = Vec::new();
        let names: Vec<&str> = file.names().collect();
        for stored in &names {
            let name = modules.own_name(stored.strip_prefix(FILE_PREFIX).unwrap_or(stored));
            let piece = PIECES.iter().find_map(|(end, piece)| Some((name.strip_suffix(end)?, *piece)));
            match piece {
                Some((module, piece)) if targeted.iter().any(|target| target.name == module) => {
                    pieces.entry(module.to_owned()).or_default().push((piece, read_tensor(file, stored)?));
                }
                None if modules.tensors().contains_key(&own_tensor(name)) => {
                    let name = own_tensor(name);
                    let tensor = read_tensor(file, stored)?;
                    let expected = &modules.tensors()[&name];
                    if tensor.shape() != expected.as_slice() {
                        return Err(shape_error(file, stored, tensor.shape(), expected));
                    }
                    whole.insert(name, tensor);
                }
                _ => unexpected.push(name),
            }
        }
        if pieces.is_empty() {
            return Err(EncoderError::Config {
                path,
                message: format!("none of the adapter's {} tensors fits the model", names.len()),
            });
        }
        let mut layers = BTreeMap::new();
        let mut missing = Vec::new();
        for module in &targeted {
            match pieces.remove(&module.name) {
                Some(pieces) => {
                    let layer = assemble(file, module, pieces, &targets, &config)?;
                    layers.insert(module.name.clone(), layer);
                }
                None => missing.push(module.name.as_str()),
            }
        }
        warn("unexpected keys not found in", &unexpected, file.path());
        warn("missing keys in", &missing, file.path());
        if config.target_modules.as_ref().is_none_or(|names| *names == ModuleNames::AllLinear) {
            config.target_modules = Some(ModuleNames::Listed(layers.keys().cloned().collect()));
        }
        Ok(Self { config, path, layers, whole })
    }

    /// A fresh adapter for a network with these weights: random, and so that nothing changes at first, unless the
    /// configuration asks for another beginning. Equal seeds give equal adapters.
    ///
    /// # Errors
    /// When the configuration contradicts itself, asks for a beginning that is only read, or fits no module.
    pub fn fresh(
        mut config: AdapterConfig,
        modules: &AdaptableModules,
        weights: &Weights,
        seed: u64,
    ) -> Result<Self, EncoderError> {
        let path = PathBuf::from(ADAPTER_CONFIG);
        config.check(&path)?;
        if matches!(config.initialisation, Initialisation::Eva | Initialisation::Orthogonal) {
            let message = "a fresh adapter begins with init_lora_weights true, false or gaussian".to_owned();
            return Err(EncoderError::Config { path, message });
        }
        let targets = Targets::new(&config, modules, &path)?;
        let mut random = Random::new(seed);
        let mut layers = BTreeMap::new();
        for module in modules.iter().filter(|module| targets.matches(module)) {
            if config.lora_bias && module.kind.is_table() {
                let message = "lora_bias=True is not supported for Embedding.".to_owned();
                return Err(EncoderError::Config { path, message });
            }
            let mut layer = fresh_layer(module, &targets, &config, &mut random);
            if config.dora {
                let base =
                    weights.tensor(&TensorSource::whole(format!("{}.weight", module.name)), &module.weight_shape())?;
                layer.magnitude = Some(layer.magnitudes(&base.to_f32()?));
            }
            refuse_bias_without_place(&path, module, &layer)?;
            layers.insert(module.name.clone(), layer);
        }
        if layers.is_empty() {
            return Err(targets.nothing_found(&path));
        }
        let names: Vec<&String> = modules.tensors().keys().filter(|name| is_whole(&config, name, &layers)).collect();
        let mut whole = BTreeMap::new();
        for name in names {
            let shape = &modules.tensors()[name];
            let numbers = weights.tensor(&TensorSource::whole(name), shape)?.to_f32()?.into_owned();
            whole.extend(AdapterTensor::new(shape.clone(), numbers).map(|tensor| (name.clone(), tensor)));
        }
        if config.target_modules.as_ref().is_none_or(|names| *names == ModuleNames::AllLinear) {
            config.target_modules = Some(ModuleNames::Listed(layers.keys().cloned().collect()));
        }
        Ok(Self { config, path, layers, whole })
    }

    /// What of it changes one of several networks in a checkpoint: the network whose tensors' names begin with `start`. The
    /// names lose this start. `None` when nothing does.
    #[must_use]
    pub fn part(&self, start: &str) -> Option<Self> {
        fn inside<T: Clone>(all: &Tensors<T>, start: &str) -> Tensors<T> {
            all.iter().filter_map(|(name, one)| Some((name.strip_prefix(start)?.to_owned(), one.clone()))).collect()
        }
        let (layers, whole) = (inside(&self.layers, start), inside(&self.whole, start));
        let some = !layers.is_empty() || !whole.is_empty();
        some.then(|| Self { config: self.config.clone(), path: self.path.clone(), layers, whole })
    }

    /// Its configuration.
    #[must_use]
    pub fn config(&self) -> &AdapterConfig {
        &self.config
    }

    /// Its configuration, to change what does not change the numbers: the base model's name, say.
    pub fn config_mut(&mut self) -> &mut AdapterConfig {
        &mut self.config
    }

    /// The configuration file, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The modules that are changed, with their changes.
    pub fn layers(&self) -> impl Iterator<Item = (&str, &AdapterLayer)> {
        self.layers.iter().map(|(module, layer)| (module.as_str(), layer))
    }

    /// The change of a module.
    #[must_use]
    pub fn layer(&self, module: &str) -> Option<&AdapterLayer> {
        self.layers.get(module)
    }

    /// The layers by module, and what is replaced whole by name.
    pub(super) fn content_mut(&mut self) -> (&mut Tensors<AdapterLayer>, &mut Tensors<AdapterTensor>) {
        (&mut self.layers, &mut self.whole)
    }

    /// The tensors that stand in the place of the network's, by the names that those have.
    pub fn whole_tensors(&self) -> impl Iterator<Item = (&str, &AdapterTensor)> {
        self.whole.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    pub(super) fn whole(&self, name: &str) -> Option<&AdapterTensor> {
        self.whole.get(name)
    }

    /// All its tensors under the names that PEFT gives them.
    #[must_use]
    pub fn state_dict(&self) -> BTreeMap<String, &AdapterTensor> {
        let mut tensors = BTreeMap::new();
        for (module, layer) in &self.layers {
            let (a, b) = match layer.kind {
                ModuleKind::Linear | ModuleKind::Convolution => ("lora_A.weight", "lora_B.weight"),
                ModuleKind::Embedding => ("lora_embedding_A", "lora_embedding_B"),
            };
            tensors.insert(format!("{module}.{a}"), &layer.a);
            tensors.insert(format!("{module}.{b}"), &layer.b);
            tensors.extend(layer.bias.iter().map(|bias| (format!("{module}.lora_B.bias"), bias)));
            let magnitude = layer.magnitude.iter();
            tensors.extend(magnitude.map(|magnitude| (format!("{module}.lora_magnitude_vector"), magnitude)));
        }
        for (name, tensor) in &self.whole {
            // A changed module lies inside the layer that changes it.
            let name = match name.rsplit_once('.') {
                Some((module, part)) if self.layers.contains_key(module) => format!("{module}.base_layer.{part}"),
                _ => name.clone(),
            };
            tensors.insert(name, tensor);
        }
        tensors
    }

    /// The content of `adapter_model.safetensors`.
    ///
    /// # Errors
    /// When it cannot be written, which no adapter that was read or made here causes.
    pub fn to_safetensors(&self) -> Result<Vec<u8>, EncoderError> {
        let failed = |error: safetensors::SafeTensorError| EncoderError::Weights {
            path: ADAPTER_WEIGHTS[0].into(),
            message: "the adapter cannot be written".into(),
            source: Some(Box::new(error)),
        };
        let bytes: Vec<(String, &AdapterTensor, Vec<u8>)> = self
            .state_dict()
            .into_iter()
            .map(|(name, tensor)| {
                let bytes = tensor.data().iter().flat_map(|number| number.to_le_bytes()).collect();
                (format!("{FILE_PREFIX}{name}"), tensor, bytes)
            })
            .collect();
        let views = bytes
            .iter()
            .map(|(name, tensor, bytes)| {
                Ok((name, TensorView::new(safetensors::Dtype::F32, tensor.shape().to_vec(), bytes)?))
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(failed)?;
        let metadata = [("format".to_owned(), "pt".to_owned())].into();
        safetensors::serialize(views, Some(metadata)).map_err(failed)
    }

    /// The content of `adapter_config.json`.
    #[must_use]
    pub fn config_json(&self) -> String {
        format!("{:#}", self.config.to_json())
    }
}

/// The name of a network's tensor, where a file names the module inside the layer that changes it.
fn own_tensor(name: &str) -> String {
    name.replace(".base_layer.", ".").replace(".modules_to_save.", ".")
}

fn read_tensor(file: &Weights, name: &str) -> Result<AdapterTensor, EncoderError> {
    let shape = file.shape_of(name).unwrap_or_default().to_vec();
    let numbers = file.tensor(&TensorSource::whole(name), &shape)?.to_f32()?.into_owned();
    AdapterTensor::new(shape, numbers)
        .ok_or_else(|| EncoderError::MissingTensor { path: file.path().into(), name: name.to_owned() })
}

fn shape_error(file: &Weights, name: &str, found: &[usize], expected: &[usize]) -> EncoderError {
    let (found, expected) = (found.to_vec(), expected.to_vec());
    EncoderError::Shape { path: file.path().into(), name: name.to_owned(), found, expected }
}

/// Puts the pieces of a module's change together and checks that they fit it and each other.
fn assemble(
    file: &Weights,
    module: &AdaptableModule,
    pieces: Vec<(Piece, AdapterTensor)>,
    targets: &Targets<'_>,
    config: &AdapterConfig,
) -> Result<AdapterLayer, EncoderError> {
    let rank = targets.rank(&module.name);
    let shapes = Shapes::of(module, rank);
    let (mut a, mut b, mut bias, mut magnitude) = (None, None, None, None);
    for (piece, tensor) in pieces {
        let (place, expected, end) = match piece {
            Piece::A(of_table) if of_table == module.kind.is_table() => (&mut a, &shapes.a, "A"),
            Piece::B(of_table) if of_table == module.kind.is_table() => (&mut b, &shapes.b, "B"),
            Piece::Bias if config.lora_bias && !module.kind.is_table() => (&mut bias, &shapes.bias, "B.bias"),
            Piece::Magnitude if config.dora => (&mut magnitude, &shapes.magnitude, "magnitude_vector"),
            other => {
                return Err(EncoderError::Weights {
                    path: file.path().into(),
                    message: format!("module '{}' has a part that the configuration does not: {other:?}", module.name),
                    source: None,
                });
            }
        };
        if tensor.shape() != expected.as_slice() {
            return Err(shape_error(file, &format!("{}.lora_{end}", module.name), tensor.shape(), expected));
        }
        *place = Some(tensor);
    }
    let missing = |end: &str| EncoderError::MissingTensor {
        path: file.path().into(),
        name: format!("{}.lora_{end}", module.name),
    };
    let layer = AdapterLayer {
        kind: module.kind,
        a: a.ok_or_else(|| missing("A"))?,
        b: b.ok_or_else(|| missing("B"))?,
        bias: if config.lora_bias { Some(bias.ok_or_else(|| missing("B.bias"))?) } else { None },
        magnitude: if config.dora { Some(magnitude.ok_or_else(|| missing("magnitude_vector"))?) } else { None },
        scaling: targets.scaling(&module.name),
    };
    refuse_bias_without_place(file.path(), module, &layer)?;
    Ok(layer)
}

fn refuse_bias_without_place(path: &Path, module: &AdaptableModule, layer: &AdapterLayer) -> Result<(), EncoderError> {
    if layer.bias.is_some() && !module.bias {
        let message = format!("lora_bias cannot be merged into '{}', which has no bias", module.name);
        return Err(EncoderError::UnsupportedAdapter { path: path.into(), message });
    }
    Ok(())
}

/// Shapes of the tensors of a module's change.
struct Shapes {
    a: Vec<usize>,
    b: Vec<usize>,
    bias: Vec<usize>,
    magnitude: Vec<usize>,
}

impl Shapes {
    fn of(module: &AdaptableModule, rank: usize) -> Self {
        let [outer, inner] = module.shape;
        let (a, b, magnitude) = match (module.kind, module.window) {
            (ModuleKind::Embedding, _) => (vec![rank, outer], vec![inner, rank], vec![inner]),
            (_, Some([channels, height, width])) => {
                (vec![rank, channels, height, width], vec![outer, rank, 1, 1], vec![1, outer, 1, 1])
            }
            _ => (vec![rank, inner], vec![outer, rank], vec![outer]),
        };
        Self { a, b, bias: vec![outer], magnitude }
    }
}

fn fresh_layer(
    module: &AdaptableModule,
    targets: &Targets<'_>,
    config: &AdapterConfig,
    random: &mut Random,
) -> AdapterLayer {
    let rank = targets.rank(&module.name);
    let [outer, inner] = module.shape;
    let shapes = Shapes::of(module, rank);
    let filled = |shape: &[usize], data: Vec<f32>| {
        AdapterTensor::new(shape.to_vec(), data).unwrap_or_else(|| AdapterTensor::zeros(shape.to_vec()))
    };
    let (a, b) = match (module.kind, config.initialisation) {
        (ModuleKind::Embedding, Initialisation::Random) => {
            let a = random.normal(rank * outer, 1.0);
            (filled(&shapes.a, a), filled(&shapes.b, random.normal(inner * rank, 1.0)))
        }
        (ModuleKind::Embedding, _) => {
            (AdapterTensor::zeros(shapes.a), filled(&shapes.b, random.normal(inner * rank, 1.0)))
        }
        (_, Initialisation::Gaussian) => {
            let a = random.normal(rank * inner, 1.0 / rank as f64);
            (filled(&shapes.a, a), AdapterTensor::zeros(shapes.b))
        }
        (_, initialisation) => {
            let a = random.uniform(rank * inner, 1.0 / (inner as f64).sqrt());
            let b = if initialisation == Initialisation::Random {
                filled(&shapes.b, random.uniform(outer * rank, 1.0 / (rank as f64).sqrt()))
            } else {
                AdapterTensor::zeros(shapes.b)
            };
            (filled(&shapes.a, a), b)
        }
    };
    AdapterLayer {
        kind: module.kind,
        a,
        b,
        bias: config.lora_bias.then(|| AdapterTensor::zeros(vec![outer])),
        magnitude: None,
        scaling: targets.scaling(&module.name),
    }
}

/// Whether a fresh adapter holds a tensor of the network whole.
fn is_whole(config: &AdapterConfig, name: &str, layers: &BTreeMap<String, AdapterLayer>) -> bool {
    let bias = name.strip_suffix(".bias").is_some_and(|module| match config.bias {
        AdapterBias::None => false,
        AdapterBias::All => true,
        AdapterBias::Changed => layers.contains_key(module),
    });
    let parents = || name.match_indices('.').map(|(at, _)| &name[..at]);
    bias || config.modules_to_save.iter().any(|end| parents().any(|module| module.ends_with(end.as_str())))
}

/// Warns in the original's words.
fn warn(what: &str, names: &[&str], origin: &Path) {
    if !names.is_empty() {
        let distinct: BTreeSet<&&str> = names.iter().collect();
        let names: Vec<&str> = distinct.into_iter().copied().collect();
        let origin = origin.display();
        log::warn!("Loading adapter weights from {origin} led to {what} the model: {}. ", names.join(", "));
    }
}
