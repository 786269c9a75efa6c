//! The real models: agreement with the original, the figures it publishes, and bitwise batch invariance.
//!
//! Where no models are at hand these tests say so and pass; in CI (and with `ST_REQUIRE_MODELS`) they are required.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use sentence_transformers::{EncodeOptions, LoadOptions, SentenceTransformer, SimilarityFunction};
use serde::Deserialize;
use st_testing::{RealGolden, assert_close, real_model, real_texts, sts_test};

/// Largest difference of a component of a normalised vector.
const TOLERANCE: f64 = 1e-5;

fn load(name: &str) -> Option<SentenceTransformer> {
    let Some(path) = real_model(name) else {
        eprintln!("{name} is not at hand: run `cargo xtask models`");
        return None;
    };
    Some(SentenceTransformer::load(path.to_str().unwrap()).unwrap())
}

#[derive(Deserialize)]
struct Published {
    values: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    id: String,
    tolerance: f64,
    #[serde(default)]
    sentences: Vec<String>,
    #[serde(default)]
    sentences1: Vec<String>,
    #[serde(default)]
    sentences2: Vec<String>,
    cosine: Option<Vec<Vec<f64>>>,
    manhattan: Option<Vec<Vec<f64>>>,
    euclidean: Option<Vec<Vec<f64>>>,
    sums: Option<Vec<f64>>,
}

fn published(id: &str) -> Entry {
    let all: Published = st_testing::golden::read("golden/published.json");
    all.values.into_iter().find(|entry| entry.id == id).unwrap()
}

/// Every matrix that the entry holds.
fn check_matrices(model: &SentenceTransformer, id: &str) {
    let entry = published(id);
    let (left, right) = if entry.sentences.is_empty() {
        (&entry.sentences1, &entry.sentences2)
    } else {
        (&entry.sentences, &entry.sentences)
    };
    let (a, b) = (model.encode(left).unwrap(), model.encode(right).unwrap());
    let functions = [
        (SimilarityFunction::Cosine, &entry.cosine),
        (SimilarityFunction::Manhattan, &entry.manhattan),
        (SimilarityFunction::Euclidean, &entry.euclidean),
    ];
    let mut checked = 0;
    for (function, expected) in functions {
        if let Some(expected) = expected {
            let matrix = function.similarity(&a, &b).unwrap();
            assert_close(
                matrix.as_slice(),
                &expected.concat(),
                entry.tolerance.max(5.1e-5),
                &format!("{id} {function}"),
            );
            checked += 1;
        }
    }
    assert!(checked > 0, "{id} holds no matrix");
}

fn check_sums(model: &SentenceTransformer, id: &str) {
    let entry = published(id);
    let embeddings = model.encode(&entry.sentences).unwrap();
    for (row, expected) in entry.sums.unwrap().into_iter().enumerate() {
        let sum: f64 = embeddings.row(row).iter().map(|x| f64::from(*x)).sum();
        assert!((sum - expected).abs() <= entry.tolerance, "{id} {row}: {sum} {expected}");
    }
}

#[test]
fn minilm_agrees_with_the_original() {
    let Some(model) = load("all-MiniLM-L6-v2") else { return };
    let texts = real_texts();
    let golden = RealGolden::load("all-MiniLM-L6-v2");
    assert_eq!(model.max_seq_length(), Some(golden.max_seq_length));
    let kept: Vec<usize> = model.tokenize(&texts).unwrap().texts().iter().map(|tokens| tokens.kept()).collect();
    assert_eq!(kept, golden.tokens);
    let embeddings = model.encode(&texts).unwrap();
    golden.assert_matches(&embeddings.rows_iter().collect::<Vec<_>>(), TOLERANCE);
    check_matrices(&model, "docs-quickstart");
    check_matrices(&model, "docs-sts");
    check_sums(&model, "fastembed-rs-sums");
}

#[test]
fn mpnet_agrees_with_the_original() {
    let Some(model) = load("all-mpnet-base-v2") else { return };
    let texts = real_texts();
    let golden = RealGolden::load("all-mpnet-base-v2");
    assert_eq!(model.max_seq_length(), Some(384));
    let embeddings = model.encode(&texts).unwrap();
    golden.assert_matches(&embeddings.rows_iter().collect::<Vec<_>>(), TOLERANCE);
    check_matrices(&model, "docstring-mpnet");
    check_matrices(&model, "docstring-mpnet-similarity");
    check_sums(&model, "fastembed-rs-sums-mpnet");
    let entry = published("docstring-mpnet-similarity");
    let all = model.encode_with(&entry.sentences, &EncodeOptions::new().normalize(true)).unwrap();
    let pick =
        |rows: [usize; 2]| sentence_transformers::Embeddings::from_rows(rows.map(|row| all.row(row).to_vec())).unwrap();
    let scores = model.similarity_pairwise(&pick([0, 2]), &pick([1, 3])).unwrap();
    assert_close(&scores, &[0.7235, 0.5027], 5.1e-5, "pairwise");
}

#[test]
fn a_fine_tune_saved_by_the_original_agrees_with_its_own_card() {
    let Some(model) = load("sre-embedding-model") else { return };
    check_matrices(&model, "sre-model-card");
    assert!(model.card().is_some_and(|card| card.contains("0.9505")));
}

/// Ranks from 1, ties sharing their mean.
fn ranks(numbers: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..numbers.len()).collect();
    order.sort_by(|&a, &b| numbers[a].total_cmp(&numbers[b]));
    let mut ranks = vec![0.0; numbers.len()];
    let mut start = 0;
    while start < order.len() {
        let same = order[start..].iter().take_while(|&&index| numbers[index] == numbers[order[start]]).count();
        for &index in &order[start..start + same] {
            ranks[index] = start as f64 + (same as f64 + 1.0) / 2.0;
        }
        start += same;
    }
    ranks
}

fn pearson(x: &[f64], y: &[f64]) -> f64 {
    let mean = |z: &[f64]| z.iter().sum::<f64>() / z.len() as f64;
    let (mx, my) = (mean(x), mean(y));
    let dot =
        |a: &[f64], ma: f64, b: &[f64], mb: f64| -> f64 { a.iter().zip(b).map(|(p, q)| (p - ma) * (q - mb)).sum() };
    dot(x, mx, y, my) / (dot(x, mx, x, mx) * dot(y, my, y, my)).sqrt()
}

#[test]
fn the_sts_benchmark_gives_the_known_correlations() {
    let Some(model) = load("all-MiniLM-L6-v2") else { return };
    let pairs = sts_test();
    let side =
        |pick: fn(&st_testing::StsPair) -> &str| model.encode(&pairs.iter().map(pick).collect::<Vec<_>>()).unwrap();
    let scores = model.similarity_pairwise(&side(|pair| &pair.sentence1), &side(|pair| &pair.sentence2)).unwrap();
    let scores: Vec<f64> = scores.into_iter().map(f64::from).collect();
    let labels: Vec<f64> = pairs.iter().map(|pair| pair.score).collect();
    let spearman = pearson(&ranks(&scores), &ranks(&labels));
    assert!((spearman - 0.8203).abs() < 5e-5, "Spearman {spearman}");
    let pearson = pearson(&scores, &labels);
    assert!((pearson - 0.8274).abs() < 5e-5, "Pearson {pearson}");
}

#[test]
fn real_models_are_bitwise_invariant() {
    use sentence_transformers::WeightFormat::{BF16, BF16Products, F16, F32, Int8};
    let cases = [F32, BF16, BF16Products, F16, Int8].map(|weights| ("all-MiniLM-L6-v2", weights));
    for (name, weights) in cases.into_iter().chain([("all-mpnet-base-v2", F32)]) {
        let Some(path) = real_model(name) else { return };
        let model = LoadOptions::new().weights(weights).load(path.to_str().unwrap()).unwrap();
        let texts: Vec<String> = real_texts().into_iter().step_by(4).collect();
        let bits = |embeddings: &sentence_transformers::Embeddings| -> Vec<u32> {
            embeddings.as_slice().iter().map(|x| x.to_bits()).collect()
        };
        let together = bits(&model.encode(&texts).unwrap());
        let alone: Vec<u32> = texts.iter().flat_map(|text| bits(&model.encode(&[text]).unwrap())).collect();
        assert_eq!(together, alone, "{name} in {weights}");
        let one_thread = bits(&model.encode_with(&texts, &EncodeOptions::new().threads(1)).unwrap());
        assert_eq!(together, one_thread, "{name} in {weights}");
    }
}

#[test]
fn narrower_weights_stay_close_to_float32() {
    use sentence_transformers::WeightFormat::{BF16, BF16Products, F16, Int8};
    let Some(path) = real_model("all-MiniLM-L6-v2") else { return };
    let path = path.to_str().unwrap();
    let texts = real_texts();
    let exact = SentenceTransformer::load(path).unwrap().encode(&texts).unwrap();
    for (weights, bound) in [(F16, 0.99999), (BF16, 0.9998), (BF16Products, 0.9997), (Int8, 0.996)] {
        let rows = LoadOptions::new().weights(weights).load(path).unwrap().encode(&texts).unwrap();
        let cosines = SimilarityFunction::Cosine.similarity_pairwise(&exact, &rows).unwrap();
        let smallest = cosines.into_iter().fold(1.0, f32::min);
        assert!(smallest > bound, "{weights}: smallest cosine {smallest}");
    }
}
