//! CLIP against the original: texts and images, alone, mixed, streamed, saved.
//!
//! `cargo test --features images --test clip -- --ignored` saves the model under `SAVE_CLIP_TO`, for
//! `python fixtures/clip_model.py --check`.

#![cfg(feature = "images")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sentence_transformers::{
    AsInput, EncodeOptions, ErrorKind, Image, Input, LoadOptions, SentenceTransformer, WeightFormat,
};
use serde::Deserialize;
use st_testing::{assert_close, fixture_path};

const TOLERANCE: f64 = 1e-5;
/// Decoders of JPEG differ by a few levels of a colour.
const TOLERANCE_OF_JPEG: f64 = 0.05;

#[derive(Deserialize)]
struct Golden {
    inputs: Vec<String>,
    files: Vec<String>,
    ids: Vec<Vec<u32>>,
    eos: u32,
    pixels: Vec<Vec<u8>>,
    old_rule: Vectors,
    new_rule: Vectors,
}

#[derive(Deserialize)]
struct Vectors {
    texts: Vec<Vec<f64>>,
    images: Vec<Vec<f64>>,
    similarity: Vec<Vec<f64>>,
}

fn golden() -> Golden {
    st_testing::golden::read("clip/golden.json")
}

fn folder() -> PathBuf {
    fixture_path("clip/model")
}

fn load(path: &Path) -> SentenceTransformer {
    SentenceTransformer::load(path.to_str().unwrap()).unwrap()
}

fn image(name: &str) -> Image {
    Image::from_path(fixture_path("clip/images").join(name))
}

fn images(golden: &Golden) -> Vec<Image> {
    golden.files.iter().map(|name| image(name)).collect()
}

fn tolerance(file: &str) -> f64 {
    if file.ends_with(".jpg") { TOLERANCE_OF_JPEG } else { TOLERANCE }
}

/// A copy of the model with its configuration changed.
fn changed(file: &str, change: impl FnOnce(&mut serde_json::Value)) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(folder()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let path = copy.path().join(file);
    let mut config = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut config);
    fs::write(path, config.to_string()).unwrap();
    copy
}

fn assert_vectors(model: &SentenceTransformer, golden: &Golden, expected: &Vectors) {
    let texts = model.encode(&golden.inputs).unwrap();
    let pictures = model.encode(&images(golden)).unwrap();
    for (row, expected) in expected.texts.iter().enumerate() {
        assert_close(texts.row(row), expected, TOLERANCE, &golden.inputs[row]);
    }
    for (row, expected) in expected.images.iter().enumerate() {
        assert_close(pictures.row(row), expected, tolerance(&golden.files[row]), &golden.files[row]);
    }
    let scores = model.similarity(&texts, &pictures).unwrap();
    for (row, expected) in expected.similarity.iter().enumerate() {
        for (column, file) in golden.files.iter().enumerate() {
            assert_close(&scores.row(row)[column..=column], &expected[column..=column], tolerance(file), file);
        }
    }
}

#[test]
fn texts_and_images_have_the_original_s_vectors() {
    let golden = golden();
    let model = load(&folder());
    assert_eq!((model.dimension(), model.max_seq_length()), (Some(20), Some(20)));
    assert_eq!(format!("{model:?}"), "SentenceTransformer(\n  (0): CLIPModel()\n)");
    let report = model.tokenize(&golden.inputs).unwrap();
    for (tokens, expected) in report.texts().iter().zip(&golden.ids) {
        assert_eq!(tokens.ids(), expected);
    }
    assert!(report.truncated().next().is_some());
    assert_vectors(&model, &golden, &golden.old_rule);
    let newer = changed("config.json", |config| config["text_config"]["eos_token_id"] = golden.eos.into());
    assert_vectors(&load(newer.path()), &golden, &golden.new_rule);
}

#[test]
fn images_are_resized_to_the_same_bytes() {
    let golden = golden();
    let plain = changed("preprocessor_config.json", |config| {
        config["do_rescale"] = false.into();
        config["do_normalize"] = false.into();
    });
    let model = load(plain.path());
    let reader = model.pipeline().input().images().unwrap();
    for (file, expected) in golden.files.iter().zip(&golden.pixels) {
        let mut batch = sentence_transformers::encoder::Batch::new();
        reader.read(&image(file), &mut batch).unwrap();
        // Nine patches of 8 × 8 pixels, channel by channel.
        let numbers = batch.patches(0..1).unwrap();
        let mut largest = 0f32;
        for (place, &byte) in expected.iter().enumerate() {
            let (y, x, channel) = (place / 72, place / 3 % 24, place % 3);
            let patch = y / 8 * 3 + x / 8;
            let found = numbers[((patch * 3 + channel) * 8 + y % 8) * 8 + x % 8];
            largest = largest.max((found - f32::from(byte)).abs());
        }
        println!("{file}: {largest}");
        assert!(largest <= if file.ends_with(".jpg") { 4.0 } else { 0.0 }, "{file}: off by {largest}");
    }
}

/// Texts and images in one call.
enum Either {
    Text(String),
    Image(Image),
}

impl AsInput for Either {
    fn as_input(&self) -> Input<'_> {
        match self {
            Self::Text(text) => Input::Text(text),
            Self::Image(image) => Input::Image(image),
        }
    }
}

#[test]
fn mixed_calls_streams_and_pools_give_the_same_rows() {
    let golden = golden();
    let model = Arc::new(load(&folder()));
    let mut mixed = Vec::new();
    let mut expected: Vec<Vec<f32>> = Vec::new();
    for (index, text) in golden.inputs.iter().enumerate() {
        mixed.push(Either::Text(text.clone()));
        expected.push(model.encode_one(text, &EncodeOptions::new()).unwrap());
        if let Some(file) = golden.files.get(index) {
            let bytes = fs::read(fixture_path("clip/images").join(file)).unwrap();
            mixed.push(Either::Image(Image::from_bytes(bytes)));
            expected.push(model.encode_one(image(file), &EncodeOptions::new()).unwrap());
        }
    }
    for options in [EncodeOptions::new(), EncodeOptions::new().threads(1), EncodeOptions::new().batch_size(2)] {
        let rows = model.encode_with(&mixed, &options).unwrap();
        for (row, expected) in expected.iter().enumerate() {
            assert_eq!(rows.row(row), expected, "row {row}");
        }
    }
    let pool = SentenceTransformer::start_pool(&model, 2).unwrap();
    let rows = pool.encode_with(&mixed, &EncodeOptions::new().chunk_size(3)).unwrap();
    assert!((0..rows.rows()).all(|row| rows.row(row) == expected[row]));
    let features = model.encode_features(&mixed, &EncodeOptions::new()).unwrap();
    assert!(features.iter().zip(&expected).all(|(one, row)| one.sentence_embedding.as_ref() == Some(row)));
    assert!(features[1].input_ids.is_empty() && !features[0].input_ids.is_empty());
    let mut streamed = Vec::new();
    for chunk in model.encode_iter(mixed, &EncodeOptions::new().chunk_size(4)).unwrap() {
        streamed.extend(chunk.unwrap().embeddings.into_vec());
    }
    assert_eq!(streamed, expected.concat());
}

#[test]
fn a_saved_model_is_the_same_and_old_folders_load() {
    let golden = golden();
    let saved = tempfile::tempdir().unwrap();
    let mut model = load(&folder());
    model.save_pretrained(saved.path()).unwrap();
    for name in ["modules.json", "preprocessor_config.json", "model.safetensors", "vocab.json", "tokenizer_config.json"]
    {
        assert_eq!(fs::read(saved.path().join(name)).unwrap(), fs::read(folder().join(name)).unwrap(), "{name}");
    }
    assert_vectors(&load(saved.path()), &golden, &golden.old_rule);
    model.set_max_seq_length(Some(7));
    model.save_pretrained(saved.path()).unwrap();
    assert_eq!(load(saved.path()).max_seq_length(), Some(7));

    // As releases before 5.0 laid it out.
    let old = tempfile::tempdir().unwrap();
    fs::create_dir(old.path().join("0_CLIPModel")).unwrap();
    for entry in fs::read_dir(folder()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), old.path().join("0_CLIPModel").join(entry.file_name())).unwrap();
    }
    fs::remove_file(old.path().join("0_CLIPModel/modules.json")).unwrap();
    let modules =
        r#"[{"idx": 0, "name": "0", "path": "0_CLIPModel", "type": "sentence_transformers.models.CLIPModel"}]"#;
    fs::write(old.path().join("modules.json"), modules).unwrap();
    assert_vectors(&load(old.path()), &golden, &golden.old_rule);
}

#[test]
fn other_weight_formats_stay_near() {
    let golden = golden();
    let exact = load(&folder());
    for (format, bound) in [(WeightFormat::F16, 0.999), (WeightFormat::BF16, 0.995), (WeightFormat::Int8, 0.98)] {
        let model = LoadOptions::new().weights(format).load(folder().to_str().unwrap()).unwrap();
        let near = |a: &sentence_transformers::Embeddings, b: &sentence_transformers::Embeddings| {
            let scores = model.similarity_pairwise(a, b).unwrap();
            assert!(scores.iter().all(|&score| score > bound), "{format}: {scores:?}");
        };
        near(&exact.encode(&golden.inputs).unwrap(), &model.encode(&golden.inputs).unwrap());
        near(&exact.encode(&images(&golden)).unwrap(), &model.encode(&images(&golden)).unwrap());
    }
}

#[test]
fn texts_calibrate_the_encoder_of_texts_alone() {
    let golden = golden();
    let mut model = LoadOptions::new().weights(WeightFormat::Int8).load(folder().to_str().unwrap()).unwrap();
    let texts = model.encode(&golden.inputs).unwrap();
    let pictures = model.encode(&images(&golden)).unwrap();
    model.calibrate(&["a bicycle leans against a wall", "two cups of tea"]).unwrap();
    assert_ne!(model.encode(&golden.inputs).unwrap().as_slice(), texts.as_slice());
    assert_eq!(model.encode(&images(&golden)).unwrap().as_slice(), pictures.as_slice());
}

#[test]
fn what_cannot_be_seen_is_an_error() {
    let model = load(&folder());
    let cat = Image::from_bytes(&b"no picture"[..]);
    let error = model.encode(std::slice::from_ref(&cat)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Argument);
    assert_eq!(model.encode(&[Image::from_path("/no/such/cat.png")]).unwrap_err().kind(), ErrorKind::NotFound);
    let blind = load(&fixture_path("models/tiny-bert"));
    let error = blind.encode(&[cat]).unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string()),
        (ErrorKind::Unsupported, "this model reads texts, not images".into())
    );
    type Change = fn(&mut serde_json::Value);
    let damaged: [(&str, Change, &str); 5] = [
        ("config.json", |config| config["model_type"] = "blip".into(), "is no CLIP model"),
        ("config.json", |config| config["projection_dim"] = 21.into(), "text_projection.weight"),
        ("config.json", |config| config["vision_config"]["num_channels"] = 1.into(), "only 3 is"),
        ("config.json", |config| config["text_config"]["eos_token_id"] = "end".into(), "'eos_token_id'"),
        ("preprocessor_config.json", |config| config["resample"] = 1.into(), "'resample' is not supported"),
    ];
    for (file, change, expected) in damaged {
        let folder = changed(file, change);
        let error = SentenceTransformer::load(folder.path().to_str().unwrap()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let uncropped = changed("preprocessor_config.json", |config| config["do_center_crop"] = false.into());
    let error = load(uncropped.path()).encode(&[image("odd.png")]).unwrap_err();
    assert_eq!(error.to_string(), "Input image size (24*31) doesn't match model (24*24).");
}

#[test]
#[ignore = "writes a folder for the original to load"]
fn save_for_the_original() {
    let to = std::env::var_os("SAVE_CLIP_TO").unwrap();
    load(&folder()).save_pretrained(to).unwrap();
}
