//! Turning a saved folder's safetensors into PyTorch's files.

use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use st_encoder::weights::{RawTensor, write_pytorch};

use crate::files::{ModuleWriter, read_json, write_error};
use crate::{Error, ErrorKind, Result};

const INDEX: &str = "model.safetensors.index.json";

/// Replaces every safetensors file in a folder and the folders inside it by a `pytorch_model.bin` with the same tensors,
/// and an index of several by one of those.
pub(super) fn replace_safetensors(folder: &Path) -> Result<()> {
    let failed = |source| write_error(folder, source);
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            replace_safetensors(&path)?;
        } else if name == INDEX {
            index(&path)?;
        } else if name.ends_with(".safetensors") && name.starts_with("model") {
            convert(&path)?;
        }
    }
    Ok(())
}

fn convert(path: &Path) -> Result<()> {
    let failed = |source| write_error(path, source);
    let bytes = std::fs::read(path).map_err(failed)?;
    let damaged = |error: safetensors::SafeTensorError| {
        Error::new(ErrorKind::Weights, format!("{} cannot be read again", path.display()))
            .with_path(path)
            .with_source(error)
    };
    let file = SafeTensors::deserialize(&bytes).map_err(damaged)?;
    let mut views = file.tensors();
    // In the order of the file.
    views.sort_by_key(|(_, view)| view.data().as_ptr());
    let types: Vec<String> = views.iter().map(|(_, view)| type_name(view.dtype())).collect();
    let tensors: Vec<_> = views
        .iter()
        .zip(&types)
        .map(|((name, view), data_type)| {
            (name.as_str(), RawTensor { data_type, shape: view.shape(), bytes: view.data() })
        })
        .collect();
    write_pytorch(&renamed(path), &tensors)?;
    std::fs::remove_file(path).map_err(failed)
}

/// The index names other files; its tensors stay where they were.
fn index(path: &Path) -> Result<()> {
    let Some(mut content) = read_json(path)? else { return Ok(()) };
    if let Some(Value::Object(map)) = content.get_mut("weight_map") {
        for file in map.values_mut() {
            let name = renamed(Path::new(file.as_str().unwrap_or_default()));
            *file = Value::String(name.to_string_lossy().into_owned());
        }
    }
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    ModuleWriter::new(folder.to_path_buf())?.json("pytorch_model.bin.index.json", &content, 2)?;
    std::fs::remove_file(path).map_err(|source| write_error(path, source))
}

/// `model-00001-of-00002.safetensors` → `pytorch_model-00001-of-00002.bin`.
fn renamed(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_suffix(".safetensors").unwrap_or(&name);
    path.with_file_name(format!("pytorch_{stem}.bin"))
}

fn type_name(data_type: Dtype) -> String {
    match data_type {
        Dtype::F64 => "float64".to_owned(),
        Dtype::F32 => "float32".to_owned(),
        Dtype::F16 => "float16".to_owned(),
        Dtype::BF16 => "bfloat16".to_owned(),
        other => format!("{other:?}"),
    }
}
