//! The tiny models of `st-encoder`'s fixtures as model folders: a configuration, the shapes of the checkpoint's tensors, and
//! numbers made from their names.

use std::path::{Path, PathBuf};

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::Value;
use st_encoder::{Batch, EncoderSpec, PatchSpec};

/// A model that is described in a file.
pub(crate) struct Described {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    file: Value,
}

/// One text and its last hidden state.
pub(crate) struct Output {
    pub(crate) ids: Vec<u32>,
    pub(crate) types: Vec<u32>,
    /// The pixels along a side of a square image, for a network that reads images.
    pub(crate) pixels: Option<usize>,
    /// Some rows, by their number, in 64-bit floats.
    pub(crate) rows: Vec<(usize, Vec<f64>)>,
}

/// Every described model, by name.
pub(crate) fn all() -> Vec<Described> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../st-encoder/fixtures/architectures");
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut models: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| Described {
            name: path.file_stem().unwrap().to_string_lossy().into_owned(),
            file: serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap(),
            path,
        })
        .collect();
    models.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(models.len(), 47);
    models
}

/// Images of some numbers of patches, for a network that reads such.
pub(crate) fn images(spec: &EncoderSpec, counts: &[usize]) -> Option<Batch> {
    let width = spec.embeddings.patches?.numbers();
    let mut batch = Batch::new();
    for (image, &count) in counts.iter().enumerate() {
        let name = format!("image {image}");
        let numbers: Vec<f32> = (0..count * width).map(|place| number(&name, place) as f32).collect();
        batch.push_patches(&numbers, width).unwrap();
    }
    Some(batch)
}

/// The square image that `generate.py` of the fixtures makes, as a batch of its patches.
pub(crate) fn whole_image(patches: PatchSpec, side: usize) -> Batch {
    let size = patches.size;
    let pixel = |channel: usize, y: usize, x: usize| number("pixels", (channel * side + y) * side + x) as f32;
    let mut numbers = Vec::new();
    for (top, left) in (0..side / size).flat_map(|y| (0..side / size).map(move |x| (y * size, x * size))) {
        for place in 0..patches.numbers() {
            numbers.push(pixel(place / (size * size), top + place / size % size, left + place % size));
        }
    }
    let mut batch = Batch::new();
    batch.push_patches(&numbers, patches.numbers()).unwrap();
    batch
}

impl Described {
    pub(crate) fn config(&self) -> &Value {
        &self.file["config"]
    }

    /// What transformers computes.
    pub(crate) fn output(&self) -> Option<Output> {
        let output = self.file.get("output")?;
        let ids = |name: &str| whole(&output[name]).iter().map(|&id| id as u32).collect::<Vec<_>>();
        let row = |value: &Value| value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect();
        let rows = output["rows"].as_object().unwrap();
        let rows = rows.iter().map(|(place, numbers)| (place.parse().unwrap(), row(numbers))).collect();
        let pixels = output.get("pixels").and_then(Value::as_u64).map(|side| side as usize);
        Some(Output { ids: ids("ids"), types: ids("types"), pixels, rows })
    }

    /// A whole tensor by its name; `None` when the checkpoint has none of that name.
    pub(crate) fn tensor(&self, name: &str) -> Option<(Vec<usize>, Vec<f64>)> {
        let shape = whole(self.file["tensors"].get(name)?);
        let one = if shape.len() == 1 && name.ends_with("weight") { 1.0 } else { 0.0 };
        let numbers = (0..shape.iter().product()).map(|index| number(name, index) + one).collect();
        Some((shape, numbers))
    }

    /// Writes the model folder, weights in 64-bit floats (`double`) or 32-bit ones.
    pub(crate) fn write(&self, folder: &Path, double: bool) {
        std::fs::write(folder.join("config.json"), self.config().to_string()).unwrap();
        let tensors: Vec<_> = self.file["tensors"]
            .as_object()
            .unwrap()
            .keys()
            .map(|name| {
                let (shape, numbers) = self.tensor(name).unwrap();
                let bytes: Vec<u8> = if double {
                    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
                } else {
                    numbers.iter().flat_map(|&number| (number as f32).to_le_bytes()).collect()
                };
                (name, shape, bytes)
            })
            .collect();
        let dtype = if double { Dtype::F64 } else { Dtype::F32 };
        let views =
            tensors.iter().map(|(name, shape, bytes)| (name, TensorView::new(dtype, shape.clone(), bytes).unwrap()));
        std::fs::write(folder.join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    }
}

fn whole(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|number| number.as_u64().unwrap() as usize).collect()
}

/// Elements of a tensor by its name, as `generate.py` of the fixtures makes them.
fn number(name: &str, index: usize) -> f64 {
    let start = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |state, byte| (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let state = start.wrapping_add((index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let state = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ state >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((state ^ state >> 31) >> 40) as f64 / f64::from(1 << 24) - 0.5
}
