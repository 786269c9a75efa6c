//! Students made of teachers: static tables by model2vec's formulas, and models with fewer layers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::collections::BTreeMap;
use std::path::Path;

use sentence_transformers::modules::{Module, Normalize, StaticEmbedding};
use sentence_transformers::{EncodeOptions, LoadOptions, NamedModule, Pipeline, Prompt, SentenceTransformer};
use serde::Deserialize;
use st_testing::{fixture_path, tiny_model};
use st_train::distillation::{StaticDistillation, keep_layers};

#[derive(Deserialize)]
struct Golden {
    texts: Vec<String>,
    #[serde(rename = "static")]
    tables: BTreeMap<String, Table>,
    layers: BTreeMap<String, Fewer>,
}

#[derive(Deserialize)]
struct Table {
    dimensions: usize,
    tokens: usize,
    rows: BTreeMap<usize, Vec<f32>>,
}

#[derive(Deserialize)]
struct Fewer {
    layers: Vec<usize>,
    vectors: Vec<Vec<f32>>,
}

fn golden() -> Golden {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/distillation.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn load(path: &Path) -> SentenceTransformer {
    SentenceTransformer::load(path.to_str().unwrap()).unwrap()
}

#[test]
fn tables_follow_model2vec() {
    for (name, expected) in golden().tables {
        let teacher = load(&tiny_model(&name));
        let student = StaticDistillation::new().dimensions(Some(expected.dimensions)).distil(&teacher).unwrap();
        let tensors = student.tensors().unwrap();
        assert_eq!(tensors[0].shape, [expected.tokens, expected.dimensions]);
        let largest = tensors[0].data.iter().fold(0f32, |largest, x| largest.max(x.abs()));
        for (id, row) in &expected.rows {
            let found = &tensors[0].data[id * expected.dimensions..][..expected.dimensions];
            for (x, y) in found.iter().zip(row) {
                assert!((x - y).abs() < 1e-4 * largest, "{name}, token {id}: {found:?} is not {row:?}");
            }
        }
    }
}

#[derive(Deserialize)]
struct Packaged {
    version: String,
    tables: Vec<PackagedTable>,
}

/// A table by the package itself, a few of its rows by their tokens.
#[derive(Deserialize)]
struct PackagedTable {
    model: String,
    dimensions: Option<usize>,
    coefficient: Option<f64>,
    pattern: Option<String>,
    rows: BTreeMap<String, Vec<f32>>,
}

#[test]
fn tables_are_those_of_the_package() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/distillation_package.json");
    let packaged: Packaged = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    for expected in packaged.tables {
        let folder = tiny_model(&expected.model);
        let tokenizer: serde_json::Value =
            serde_json::from_slice(&std::fs::read(folder.join("tokenizer.json")).unwrap()).unwrap();
        let added = tokenizer["added_tokens"].as_array().unwrap();
        let id = |token: &str| -> usize {
            let added = added.iter().find(|entry| entry["content"] == token).map(|entry| &entry["id"]);
            let id = added.or_else(|| tokenizer["model"]["vocab"].get(token)).unwrap();
            id.as_u64().unwrap() as usize
        };
        let pattern = expected.pattern.as_deref().map(|pattern| regex::Regex::new(pattern).unwrap());
        let distillation = StaticDistillation::new()
            .dimensions(expected.dimensions)
            .coefficient(expected.coefficient)
            .removed(pattern);
        let student = distillation.distil(&load(&folder)).unwrap();
        let tensors = student.tensors().unwrap();
        let width = tensors[0].shape[1];
        let found = |token: &str| &tensors[0].data[id(token) * width..][..width];
        // A component's sign is arbitrary, and versions of the package have chosen it in different ways.
        let sign = |component: usize| {
            let products = expected.rows.iter().map(|(token, row)| found(token)[component] * row[component]);
            products.sum::<f32>().signum()
        };
        let signs: Vec<f32> = (0..width).map(sign).collect();
        let largest = expected.rows.values().flatten().fold(0f32, |largest, x| largest.max(x.abs()));
        for (token, row) in &expected.rows {
            assert_eq!(row.len(), width);
            for ((x, y), sign) in found(token).iter().zip(row).zip(&signs) {
                let name = &expected.model;
                assert!((x * sign - y).abs() < 1e-4 * largest, "{name}, {token}: {:?} is not {row:?}", found(token));
            }
        }
        assert!(expected.rows.len() > 10, "model2vec {}", packaged.version);
    }
}

#[test]
fn static_students_are_models_that_save() {
    let teacher = load(&tiny_model("tiny-bert"));
    for dimensions in [Some(4), Some(999), None] {
        let student = StaticDistillation::new().dimensions(dimensions).distil(&teacher).unwrap();
        let rest = vec![NamedModule { name: "1".into(), module: Box::new(Normalize) }];
        let pipeline = Pipeline::new("0", Box::new(student), rest).unwrap();
        let model = SentenceTransformer::from_pipeline(pipeline, &LoadOptions::new()).unwrap();
        assert_eq!(model.dimension(), Some(dimensions.unwrap_or(32).min(32)));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("static");
        model.save_pretrained(&path).unwrap();
        let texts = ["the weather", "a man eats food"];
        assert_eq!(load(&path).encode(&texts).unwrap(), model.encode(&texts).unwrap());
    }
    let refused = |distillation: StaticDistillation| distillation.distil(&teacher).unwrap_err().to_string();
    assert!(refused(StaticDistillation::new().dimensions(Some(0))).starts_with("`dimensions` is 0"));
    assert!(refused(StaticDistillation::new().coefficient(Some(1.5))).starts_with("`coefficient` must lie"));
    let words = load(&fixture_path("models-modules").join("word-embeddings"));
    let error = StaticDistillation::new().distil(&words).unwrap_err();
    assert_eq!(error.to_string(), "a teacher whose first module is WordEmbeddings");
    assert!(StaticEmbedding::from_model2vec(&tiny_model("tiny-bert")).is_err());
}

#[test]
fn fewer_layers_give_the_original_s_vectors() {
    let golden = golden();
    for (name, expected) in &golden.layers {
        let teacher = load(&tiny_model(name));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("student");
        let student = keep_layers(&teacher, &expected.layers, &path).unwrap();
        assert_eq!(student.encoder().unwrap().layers, expected.layers.len());
        let options = EncodeOptions::new().prompt(Prompt::text(""));
        let found = student.encode_with(&golden.texts, &options).unwrap();
        for (index, row) in expected.vectors.iter().enumerate() {
            for (x, y) in found.row(index).iter().zip(row) {
                assert!((x - y).abs() < 1e-5, "{name}: {x} is not {y}");
            }
        }
        let files: Vec<_> = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(!files.iter().any(|file| file.to_string_lossy().ends_with(".bin")), "{files:?}");
    }
}

#[test]
fn impossible_students_are_refused() {
    let teacher = load(&tiny_model("tiny-bert"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("student");
    let refused = |layers: &[usize]| keep_layers(&teacher, layers, &path).unwrap_err().to_string();
    assert_eq!(refused(&[0, 2]), "there is no layer 2: the teacher has layers 0 to 1");
    assert_eq!(refused(&[]), "a student needs at least one of the teacher's layers");
    assert!(!path.exists());
    let words = load(&fixture_path("models-modules").join("word-embeddings"));
    assert!(keep_layers(&words, &[0], &path).unwrap_err().to_string().starts_with("a teacher without a transformer"));
}
