//! An adapter's folder: the bytes up to the first zero are `adapter_config.json`, the others `adapter_model.safetensors`.
//! What is read is laid over tiny-bert's weights, all of which are read, and written again.

#![no_main]

use std::path::Path;
use std::sync::{Arc, OnceLock};

use st_encoder::adapters::{ADAPTER_CONFIG, ADAPTER_WEIGHTS, AdaptableModules, Adapter, MergedAdapters};
use st_encoder::{EncoderFiles, Weights};

mod checkpoint;

fn base() -> &'static (EncoderFiles, AdaptableModules) {
    static BASE: OnceLock<(EncoderFiles, AdaptableModules)> = OnceLock::new();
    BASE.get_or_init(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../fixtures/models/tiny-bert");
        let files = EncoderFiles::open(folder).unwrap();
        let modules = AdaptableModules::of_files(&files).unwrap();
        (files, modules)
    })
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (files, modules) = base();
    let folder = checkpoint::folder();
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let path = folder.join(ADAPTER_WEIGHTS[0]);
    let _ = std::fs::remove_file(&path);
    std::fs::write(folder.join(ADAPTER_CONFIG), &bytes[..end]).unwrap();
    std::fs::write(&path, bytes.get(end + 1..).unwrap_or_default()).unwrap();
    let Ok(adapter) = Adapter::open(folder, modules) else { return };
    // What was read is written and read as it was.
    std::fs::remove_file(&path).unwrap();
    std::fs::write(folder.join(ADAPTER_CONFIG), adapter.config_json()).unwrap();
    std::fs::write(&path, adapter.to_safetensors().unwrap()).unwrap();
    assert_eq!(Adapter::open(folder, modules).unwrap().state_dict(), adapter.state_dict());
    if let Ok(merged) = MergedAdapters::new(vec![Arc::new(adapter)]) {
        let weights: Weights = files.clone().with_overlay(Arc::new(merged)).weights().unwrap();
        checkpoint::read_all(&weights);
    }
});
