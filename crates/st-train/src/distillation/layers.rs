//! Smaller students: some of a teacher's layers.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use sentence_transformers::SentenceTransformer;
use serde_json::{Value, json};
use st_encoder::architectures::{Architecture, describe};
use st_encoder::{EncoderFiles, EncoderSpec, Slot, Weights, required_slots};

use crate::error::{Result, TrainError};

/// What configurations call the number of layers.
const LAYER_COUNTS: [&str; 3] = ["num_hidden_layers", "n_layers", "num_layers"];
/// What configurations call lists with an entry per layer.
const LAYER_LISTS: [&str; 1] = ["layer_types"];
/// The weights of a folder that are replaced.
const OLD_WEIGHTS: [&str; 3] = ["pytorch_model.bin", "pytorch_model.bin.index.json", "model.safetensors.index.json"];

/// Saves a student that has only some of a teacher's layers, in the order given and counted from 0, and loads it: the start of
/// a distillation (Sanh et al. 2019). Embeddings, norms and all other modules are the teacher's.
///
/// ```
/// use sentence_transformers::SentenceTransformer;
/// use st_train::distillation::keep_layers;
///
/// let teacher = SentenceTransformer::load(st_testing::tiny_model("tiny-bert").to_string_lossy())?;
/// let folder = tempfile::tempdir()?;
/// let student = keep_layers(&teacher, &[1], &folder.path().join("student"))?;
/// assert_eq!((teacher.encoder().unwrap().layers, student.encoder().unwrap().layers), (2, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// When there is no such layer, the teacher's first module is no transformer in the model's own folder, the layers cannot
/// stand in another order (alternating kinds of attention), or a file cannot be read or written.
pub fn keep_layers(teacher: &SentenceTransformer, layers: &[usize], folder: &Path) -> Result<SentenceTransformer> {
    let staging = tempfile::tempdir().map_err(TrainError::writing(&std::env::temp_dir()))?;
    let whole = staging.path().join("model");
    teacher.save_pretrained(&whole)?;
    if !whole.join("config.json").is_file() {
        return Err(TrainError::unsupported(
            "a teacher without a transformer in its own folder has no layers to choose from",
            "take a teacher whose first module is a transformer",
        ));
    }
    let files = EncoderFiles::open(&whole)?;
    let (architecture, spec, weights) = files.network()?;
    let config = chosen_config(&files, &spec, layers)?;
    let (_, student) = describe(&config, &files.config_path())?;
    let unlike = layers.iter().zip(&student.layers).find(|(from, to)| spec.layers.get(**from) != Some(to));
    if let Some((layer, _)) = unlike {
        return Err(TrainError::unsupported(
            format!("layer {layer} is of another kind than the place that it would take"),
            "keep layers so that their kinds alternate as before",
        ));
    }
    let bytes = chosen_weights(architecture, (&spec, &student), &weights, layers)?;
    drop(weights);
    let write = |name: &str, bytes: &[u8]| {
        let path = whole.join(name);
        std::fs::write(&path, bytes).map_err(TrainError::writing(&path))
    };
    write("model.safetensors", &bytes)?;
    let config = serde_json::to_vec_pretty(&config).map_err(TrainError::parse(&files.config_path(), "JSON"))?;
    write("config.json", &config)?;
    remove_old_weights(&whole)?;
    load(&whole)?.save_pretrained(folder)?;
    load(folder)
}

fn load(folder: &Path) -> Result<SentenceTransformer> {
    Ok(SentenceTransformer::load(folder.to_string_lossy())?)
}

/// The teacher's configuration with fewer layers.
fn chosen_config(files: &EncoderFiles, spec: &EncoderSpec, layers: &[usize]) -> Result<Value> {
    let count = spec.layers.len();
    if let Some(layer) = layers.iter().find(|layer| **layer >= count) {
        return Err(TrainError::invalid(format!(
            "there is no layer {layer}: the teacher has layers 0 to {}",
            count - 1
        )));
    }
    if layers.is_empty() {
        return Err(TrainError::invalid("a student needs at least one of the teacher's layers"));
    }
    let mut config = files.config().clone();
    for name in LAYER_LISTS {
        if let Some(Value::Array(kinds)) = config.get_mut(name)
            && kinds.len() == count
        {
            *kinds = layers.iter().map(|&layer| kinds[layer].clone()).collect();
        }
    }
    for name in LAYER_COUNTS {
        let mut candidate = config.clone();
        candidate[name] = json!(layers.len());
        if describe(&candidate, &files.config_path()).is_ok_and(|(_, spec)| spec.layers.len() == layers.len()) {
            return Ok(candidate);
        }
    }
    Err(TrainError::unsupported(
        "the teacher's configuration does not say how many layers it has",
        format!("known names are {}", LAYER_COUNTS.join(", ")),
    ))
}

/// A checkpoint of the chosen layers under their new numbers, in the stored types, and of what belongs to no layer.
fn chosen_weights(
    architecture: &Architecture,
    (teacher, student): (&EncoderSpec, &EncoderSpec),
    weights: &Weights,
    layers: &[usize],
) -> Result<Vec<u8>> {
    let stored_name = |spec: &EncoderSpec, slot: Slot| {
        let source = (architecture.source)(spec, slot);
        let known = source.or.filter(|_| !weights.contains(&source.name));
        known.unwrap_or(source.name)
    };
    // Old names by new ones.
    let mut chosen: BTreeMap<String, String> = BTreeMap::new();
    for (slot, _) in required_slots(student) {
        let old = match slot {
            Slot::Layer { layer, slot } => Slot::Layer { layer: layers[layer], slot },
            other => other,
        };
        chosen.insert(stored_name(student, slot), stored_name(teacher, old));
    }
    let used: Vec<String> = required_slots(teacher).iter().map(|(slot, _)| stored_name(teacher, *slot)).collect();
    for name in weights.names() {
        let inside = name.strip_prefix(weights.prefix()).unwrap_or(name);
        let today = st_encoder::weights::current_name(inside).unwrap_or_else(|| inside.to_owned());
        let is_layer = used.contains(&today) || used.iter().any(|used| used == inside);
        if !is_layer && name.starts_with(weights.prefix()) {
            chosen.entry(inside.to_owned()).or_insert_with(|| inside.to_owned());
        }
    }
    let path = weights.path();
    let mut views = Vec::with_capacity(chosen.len());
    for (new, old) in &chosen {
        let raw = weights.raw(old).ok_or_else(|| TrainError::format(path, format!("the tensor '{old}' is missing")))?;
        let data_type = match raw.data_type {
            "float64" => Dtype::F64,
            "float32" => Dtype::F32,
            "float16" => Dtype::F16,
            "bfloat16" => Dtype::BF16,
            other => return Err(TrainError::format(path, format!("the tensor '{old}' holds {other}"))),
        };
        let view = TensorView::new(data_type, raw.shape.to_vec(), raw.bytes)
            .map_err(|error| TrainError::format(path, error.to_string()))?;
        views.push((format!("{}{new}", weights.prefix()), view));
    }
    let format = std::collections::HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize(views, Some(format)).map_err(|error| TrainError::format(path, error.to_string()))
}

fn remove_old_weights(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder).map_err(TrainError::reading(folder))? {
        let path = entry.map_err(TrainError::reading(folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if OLD_WEIGHTS.contains(&name.as_str()) || name.contains("-of-") {
            std::fs::remove_file(&path).map_err(TrainError::writing(&path))?;
        }
    }
    Ok(())
}
