//! What must be there before the first round: the opponents' Python, exports, texts, and the workers' programs.

use super::options::Options;
use super::places::Places;
use super::workloads::Model;
use crate::{models, process};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Installs, exports and builds what is missing.
pub(crate) fn prepare(options: &Options) -> Result<Places> {
    let root = st_testing::repository();
    fs::create_dir_all(&options.folder)
        .with_context(|| format!("cannot make the folder {}", options.folder.display()))?;
    let folder = fs::canonicalize(&options.folder)
        .with_context(|| format!("cannot resolve the folder {}", options.folder.display()))?;
    let target = process::target_folder()?;
    let mut places = Places {
        texts: folder.join("texts"),
        rust_opponents: target.join("rust-opponents").join("release"),
        ours: target.join("release").join("bench-worker"),
        onnx_library: PathBuf::new(),
        scripts: root.join("benchmarks").join("opponents"),
        models: folder.join("models"),
        folder,
    };
    places.onnx_library = install(&places)?;
    prepare_texts(&places, options)?;
    for model in &options.models {
        prepare_model(&places, model)?;
    }
    if options.contestants.iter().any(|one| one.is_ours()) {
        process::run(process::cargo().args(["build", "--release", "--package", "bench-worker"]))?;
    }
    let manifest = root.join("benchmarks").join("rust-opponents").join("Cargo.toml");
    let mut build = process::cargo();
    build.args(["build", "--release", "--locked", "--manifest-path"]).arg(manifest);
    process::run(build.env("CARGO_TARGET_DIR", target.join("rust-opponents")))?;
    Ok(places)
}

fn install(places: &Places) -> Result<PathBuf> {
    let requirements = places.scripts.join("requirements.txt");
    let wanted =
        fs::read_to_string(&requirements).with_context(|| format!("cannot read {}", requirements.display()))?;
    let installed = places.folder.join("venv/requirements.txt");
    if fs::read_to_string(&installed).ok().as_ref() != Some(&wanted) {
        process::run(Command::new("python3").args(["-m", "venv"]).arg(places.folder.join("venv")))?;
        let pip = ["-m", "pip", "install", "--quiet", "--requirement"];
        process::run(Command::new(places.interpreter()).args(pip).arg(&requirements))?;
        fs::write(&installed, wanted).with_context(|| format!("cannot write {}", installed.display()))?;
    }
    let packages =
        find(&places.folder.join("venv/lib"), "site-packages").context("the opponents' Python has no site-packages")?;
    find(&packages.join("onnxruntime/capi"), "libonnxruntime.so")
        .context("the package onnxruntime holds no libonnxruntime.so")
}

fn prepare_texts(places: &Places, options: &Options) -> Result<()> {
    let texts = places.texts.display().to_string();
    match &options.retrieval {
        Some(folder) => run(places, "texts.py", &[&texts, "--retrieval", &folder.display().to_string()]),
        None => run(places, "texts.py", &[&texts]),
    }
}

fn prepare_model(places: &Places, model: &Model) -> Result<()> {
    if model.table {
        let out = places.models.join(model.name);
        if out.join("model2vec/config.json").is_file() {
            return Ok(());
        }
        let tokenizer = models::ensure(models::find("minilm")?, &st_testing::models_folder())?;
        return run(places, "static_table.py", &[&tokenizer.display().to_string(), &out.display().to_string()]);
    }
    let source = models::ensure(models::find(model.short)?, &st_testing::models_folder())?;
    let out = places.models.join(model.name);
    // The last that the script makes.
    if out.join("openvino/openvino_model_qint8_quantized.bin").is_file() {
        return Ok(());
    }
    let calibration = places.texts.join("calibration.txt").display().to_string();
    run(places, "export.py", &[&source.display().to_string(), &out.display().to_string(), &calibration])
}

fn run(places: &Places, script: &str, arguments: &[&str]) -> Result<()> {
    let words = places.python(script, arguments);
    let mut command = Command::new(&words[0]);
    process::run(command.args(&words[1..]).env("HF_HUB_OFFLINE", "1").env("HF_DATASETS_OFFLINE", "1"))
}

/// A file or folder somewhere under `folder` whose name begins so, the nearest of its branch.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    let entries: Vec<PathBuf> = fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    let named = |path: &&PathBuf| path.file_name().is_some_and(|own| own.to_string_lossy().starts_with(name));
    entries.iter().find(named).cloned().or_else(|| entries.iter().find_map(|inner| find(inner, name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_by_the_beginning_of_the_name() {
        let folder = st_testing::repository().join("benchmarks");
        assert_eq!(find(&folder, "texts."), Some(folder.join("opponents").join("texts.py")));
        assert_eq!(find(&folder, "no such thing"), None);
    }
}
