//! Damaged checkpoints: each is an error that names the file and the tensor.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use st_encoder::{Backend, EncoderError, EncoderFiles, EncoderOptions, WeightFormat};
use st_native::NativeBackend;

/// Loads a copy of the tiny BERT whose files were edited.
fn load(edit: impl FnOnce(&Path), format: WeightFormat) -> Result<(), EncoderError> {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/bert");
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(fixture.join(name), folder.path().join(name)).unwrap();
    }
    edit(folder.path());
    let files = EncoderFiles::open(folder.path())?;
    NativeBackend::new().load(&files, &EncoderOptions::new().weights(format)).map(drop)
}

fn edit_config(folder: &Path, field: &str, value: u64) {
    let path = folder.join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config[field] = value.into();
    std::fs::write(path, config.to_string()).unwrap();
}

/// Overwrites the first number of a tensor.
fn poison(folder: &Path, tensor: &str, number: f32) {
    let path = folder.join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let entries: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    let at = 8 + header + entries[tensor]["data_offsets"][0].as_u64().unwrap() as usize;
    bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn numbers_that_are_not_finite_are_found_in_every_tensor() {
    let tensors = [
        "embeddings.word_embeddings.weight",
        "embeddings.LayerNorm.bias",
        "encoder.layer.0.attention.self.key.weight",
        "encoder.layer.1.attention.self.value.bias",
        "encoder.layer.1.output.dense.weight",
    ];
    for tensor in tensors {
        for number in [f32::NAN, f32::INFINITY] {
            for format in [WeightFormat::F32, WeightFormat::Int8] {
                let error = load(|folder| poison(folder, tensor, number), format).unwrap_err();
                assert!(
                    matches!(&error, EncoderError::NotFinite { name, index: 0, .. } if name == tensor),
                    "{tensor}: {error}"
                );
            }
        }
    }
}

#[test]
fn configurations_that_do_not_fit_the_weights_are_refused() {
    for (field, value) in [
        ("hidden_size", 1 << 22),
        ("intermediate_size", 1 << 24),
        ("vocab_size", 1 << 24),
        ("max_position_embeddings", 1 << 24),
        ("num_hidden_layers", 3),
        ("num_hidden_layers", 100_000),
    ] {
        let error = load(|folder| edit_config(folder, field, value), WeightFormat::F32).unwrap_err();
        assert!(
            matches!(
                error,
                EncoderError::Config { .. }
                    | EncoderError::Shape { .. }
                    | EncoderError::MissingTensor { .. }
                    | EncoderError::Unsupported { .. }
            ),
            "{field}: {error}"
        );
    }
}
