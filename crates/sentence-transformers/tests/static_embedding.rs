//! Static embeddings against what the original and model2vec answered, and their own rules.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its fixture has failed")]

use std::path::{Path, PathBuf};

use sentence_transformers::tokenizer::{Side, TokenizerOptions};
use sentence_transformers::{
    EncodeOptions, ErrorKind, LoadOptions, Prompt, SentenceTransformer, Truncation, WeightFormat,
};
use serde_json::{Value, json};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/static").join(name)
}

fn load(path: &Path) -> SentenceTransformer {
    LoadOptions::new().load(path.to_str().unwrap()).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn expected() -> Value {
    serde_json::from_slice(&std::fs::read(fixture("expected.json")).unwrap()).unwrap()
}

fn texts(expected: &Value) -> Vec<String> {
    serde_json::from_value(expected["texts"].clone()).unwrap()
}

#[track_caller]
fn assert_rows(model: &SentenceTransformer, texts: &[String], rows: &Value, tolerance: f64, what: &str) {
    let embeddings = model.encode(texts).unwrap();
    let rows: Vec<Vec<f64>> = serde_json::from_value(rows.clone()).unwrap();
    assert_eq!((embeddings.rows(), embeddings.dimension()), (rows.len(), rows[0].len()), "{what}");
    for (index, (text, row)) in texts.iter().zip(&rows).enumerate() {
        for (found, expected) in embeddings.row(index).iter().zip(row) {
            let difference = (f64::from(*found) - expected).abs();
            assert!(
                difference < tolerance * expected.abs().max(1.0),
                "{what}: {text:?}: {found} instead of {expected}"
            );
        }
    }
}

/// A copy of a fixture without some of its files.
fn copy_without(name: &str, without: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixture(name)).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap();
        if !without.contains(&file) {
            std::fs::copy(&path, folder.path().join(file)).unwrap();
        }
    }
    folder
}

#[test]
fn folders_of_the_original_give_its_vectors() {
    let expected = expected();
    let texts = texts(&expected);
    for (name, tolerance) in [("original", 1e-5), ("original-float16", 2e-3), ("float32", 1e-5)] {
        assert_rows(&load(&fixture(name)), &texts, &expected["original"][name], tolerance, name);
    }
}

#[test]
fn integers_and_quantised_vocabularies_give_the_vectors_of_model2vec() {
    let expected = expected();
    let all = texts(&expected);
    let indices: Vec<usize> = serde_json::from_value(expected["model2vec_texts"].clone()).unwrap();
    let texts: Vec<String> = indices.iter().map(|&index| all[index].clone()).collect();
    for name in ["float32", "int8", "vocabulary"] {
        assert_rows(&load(&fixture(name)), &texts, &expected[format!("model2vec {name}")], 1e-5, name);
    }
}

#[test]
fn folders_without_modules_follow_the_rules_of_model2vec() {
    let expected = expected();
    let texts = texts(&expected);
    for name in ["float32", "int8", "vocabulary"] {
        let folder = copy_without(name, &["modules.json"]);
        let model = load(folder.path());
        assert_eq!(model.max_seq_length(), Some(512));
        assert_rows(&model, &texts, &expected[format!("model2vec rules {name}")], 1e-5, name);
        let limited = LoadOptions::new().max_seq_length(3).load(folder.path().to_str().unwrap()).unwrap();
        assert_rows(&limited, &texts, &expected[format!("model2vec limit {name}")], 1e-5, &format!("limited {name}"));
    }
}

#[test]
fn the_other_layouts_of_model2vec_load_too() {
    let expected = expected();
    let texts = texts(&expected);
    for subfolder in ["", "0_StaticEmbedding"] {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join(subfolder);
        std::fs::create_dir_all(&inner).unwrap();
        for file in ["model.safetensors", "tokenizer.json"] {
            std::fs::copy(fixture("original").join(file), inner.join(file)).unwrap();
        }
        let config = json!({"normalize": true, "prompts": {"query": "the "}}).to_string();
        std::fs::write(folder.path().join("config_sentence_transformers.json"), config).unwrap();
        let model = load(folder.path());
        assert_eq!(model.prompts().get("query"), Some("the "));
        assert_rows(&model, &texts, &expected["model2vec rules float32"], 1e-5, subfolder);
    }
}

#[test]
fn vectors_depend_neither_on_neighbours_nor_on_threads() {
    let texts = texts(&expected());
    let many: Vec<&String> = texts.iter().cycle().take(700).collect();
    for name in ["original", "original-float16", "int8", "vocabulary"] {
        let path = fixture(name);
        let alone = LoadOptions::new().threads(1).load(path.to_str().unwrap()).unwrap();
        let threaded = LoadOptions::new().threads(3).load(path.to_str().unwrap()).unwrap();
        let reference: Vec<Vec<f32>> =
            texts.iter().map(|text| alone.encode_one(text, &EncodeOptions::new()).unwrap()).collect();
        for model in [&alone, &threaded] {
            let together = model.encode(&many).unwrap();
            // The modules one after the other, over batches.
            let features = model.encode_features(&many, &EncodeOptions::new()).unwrap();
            for (index, features) in features.iter().enumerate() {
                assert_eq!(together.row(index), reference[index % texts.len()], "{name}: {index}");
                assert_eq!(features.sentence_embedding.as_deref(), Some(together.row(index)), "{name}: {index}");
            }
        }
    }
}

#[test]
fn prompts_pairs_and_options_do_what_they_do_elsewhere() {
    let model = load(&fixture("original"));
    let whole = model.encode(&["the cat sat"]).unwrap();
    let options = EncodeOptions::new().prompt(Prompt::text("the "));
    assert_eq!(model.encode_with(&["cat sat"], &options).unwrap(), whole);
    assert_eq!(model.encode(&[("the cat", "sat")]).unwrap(), whole);
    let mut short = whole.clone();
    short.truncate(3);
    short.normalize();
    let options = EncodeOptions::new().truncate_dim(3).normalize(true);
    assert_eq!(model.encode_with(&["the cat sat"], &options).unwrap(), short);
    assert_eq!(model.encode::<&str>(&[]).unwrap().rows(), 0);
    let kind = model.encode_with(&["the"], &EncodeOptions::new().batch_size(0)).unwrap_err().kind();
    assert_eq!(kind, ErrorKind::Argument);
    let kind = model.encode_tokens(&["the"], &EncodeOptions::new()).unwrap_err().kind();
    assert_eq!(kind, ErrorKind::Unsupported);
}

#[test]
fn what_was_cut_is_reported() {
    // Its tokenizer keeps the last five tokens.
    let model = load(&fixture("original-float16"));
    assert_eq!(model.max_seq_length(), None);
    let texts = ["the cat", "the cat sat on the mat"];
    let encoded = model.encode_report(&texts, &EncodeOptions::new()).unwrap();
    assert_eq!(encoded.truncated, [Truncation { index: 1, kept: 5, lost: 1 }]);
    assert_eq!(encoded.embeddings.row(1), model.encode(&["cat sat on the mat"]).unwrap().row(0));
    let report = model.tokenize(&texts).unwrap();
    assert_eq!(report.truncated().collect::<Vec<_>>(), encoded.truncated);
    let error = model.encode_with(&texts, &EncodeOptions::new().strict(true)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLong);
    assert_eq!(error.to_string(), "text 1 has 6 tokens, but the model reads 5");
    // A limit of one's own cuts the end.
    let mut model = model;
    model.set_max_seq_length(Some(2));
    assert_eq!(model.encode(&texts[1..]).unwrap(), model.encode(&["the cat"]).unwrap());
}

#[test]
fn saved_models_load_again_with_the_same_vectors() {
    let texts = texts(&expected());
    for (name, data_type) in [("original", "F32"), ("original-float16", "F16"), ("int8", "F32"), ("vocabulary", "F32")]
    {
        let model = load(&fixture(name));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("saved");
        model.save_pretrained(&path).unwrap();
        let file = std::fs::read(path.join("model.safetensors")).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&file).unwrap();
        assert_eq!(tensors.names(), ["embedding.weight"], "{name}");
        assert_eq!(format!("{:?}", tensors.tensor("embedding.weight").unwrap().dtype()), data_type, "{name}");
        let again = load(&path);
        let (before, after) = (model.encode(&texts).unwrap(), again.encode(&texts).unwrap());
        for (before, after) in before.as_slice().iter().zip(after.as_slice()) {
            assert!((before - after).abs() <= 1e-5 * before.abs().max(1.0), "{name}: {before} and {after}");
        }
    }
}

#[test]
fn options_that_mean_nothing_here_are_refused() {
    let path = fixture("original");
    let path = path.to_str().unwrap();
    let left = TokenizerOptions { truncation_side: Some(Side::Left), ..TokenizerOptions::default() };
    for options in [LoadOptions::new().tokenizer(left), LoadOptions::new().weights(WeightFormat::Int8)] {
        let error = options.load(path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.hint().is_some());
    }
    LoadOptions::new().weights(WeightFormat::Auto).load(path).unwrap();
}

/// Name, type, shape and bytes.
type Stored<'a> = (&'a str, safetensors::Dtype, &'a [usize], &'a [u8]);

/// The fixture `float32` with another weights file.
fn with_tensors(tensors: &[Stored<'_>]) -> tempfile::TempDir {
    let folder = copy_without("float32", &["model.safetensors"]);
    let mut views = Vec::new();
    for &(name, dtype, shape, bytes) in tensors {
        views.push((name, safetensors::tensor::TensorView::new(dtype, shape.to_vec(), bytes).unwrap()));
    }
    let file = safetensors::serialize(views, None).unwrap();
    std::fs::write(folder.path().join("model.safetensors"), file).unwrap();
    folder
}

#[test]
fn damaged_tables_are_refused_with_the_reason() {
    use safetensors::Dtype::{F32, I8, I32};
    let rows = |name, shape: &'static [usize]| (name, I8, shape, &[0u8; 4][..shape.iter().product()]);
    let mapping: Vec<u8> = [0i32, 1, 2].iter().flat_map(|row| row.to_le_bytes()).collect();
    let negative: Vec<u8> = [0i32, -1].iter().flat_map(|row| row.to_le_bytes()).collect();
    let not_finite = f32::NAN.to_le_bytes();
    let cases: [(&[Stored<'_>], &str); 6] = [
        (&[rows("other", &[2, 2])], "neither 'embedding.weight' nor 'embeddings'"),
        (&[rows("embeddings", &[4])], "has the shape [4], not [tokens, width]"),
        (&[rows("embeddings", &[4, 0])], "has no columns"),
        (&[rows("embeddings", &[2, 2]), ("mapping", I32, &[3], &mapping)], "'mapping' names rows outside of the 2"),
        (&[rows("embeddings", &[2, 2]), ("mapping", I32, &[2], &negative)], "'mapping' names rows outside of the 2"),
        (&[rows("embeddings", &[2, 2]), ("weights", F32, &[1], &not_finite)], "not finite"),
    ];
    for (tensors, reason) in cases {
        let folder = with_tensors(tensors);
        let error = LoadOptions::new().load(folder.path().to_str().unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Weights, "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    }
    // The table has vectors for two tokens, the tokenizer knows more.
    let folder = with_tensors(&[rows("embeddings", &[2, 2])]);
    let model = load(folder.path());
    let error = model.encode(&["the cat"]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Encode);
    assert!(error.to_string().contains("has vectors for 2 tokens"), "{error}");
    assert!(error.hint().is_some());
}
