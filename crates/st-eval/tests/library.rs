//! The library's model as an embedder: numbers of the original with a real model, roles, card data, NanoBEIR's sources.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, ListArray, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use sentence_transformers::hub::{Environment, HubOptions};
use sentence_transformers::{EncodeOptions, LoadOptions, Prompt, SentenceTransformer, SimilarityFunction};
use serde_json::Value;
use st_eval::{
    BinaryClassificationEvaluator, EmbedOptions, Embedder, EmbeddingSimilarityEvaluator, EvalError, Evaluation,
    Evaluator, InformationRetrievalEvaluator, NanoBeirEvaluator, NanoBeirOptions, Occasion, Role, TranslationEvaluator,
    TripletEvaluator, evaluate,
};

/// Metrics agree with the original's to this.
const TOLERANCE: f64 = 1e-6;

fn tiny(name: &str) -> SentenceTransformer {
    SentenceTransformer::load(st_testing::tiny_model(name).to_str().unwrap()).unwrap()
}

fn texts(all: &[&str]) -> Vec<String> {
    all.iter().map(|&text| text.to_owned()).collect()
}

fn assert_matches(evaluation: &Evaluation, golden: &Value, case: &str) {
    let expected = golden["results"][case].as_object().unwrap();
    assert_eq!(evaluation.metrics.len(), expected.len(), "{case}");
    for ((name, found), (expected_name, expected)) in evaluation.metrics.iter().zip(expected) {
        assert_eq!(name, expected_name, "{case}");
        let expected = expected.as_f64().unwrap();
        assert!((found - expected).abs() <= TOLERANCE, "{case} {name}: {found}, the original {expected}");
    }
}

#[test]
fn a_real_model_measures_as_the_original_does() {
    let Some(folder) = st_testing::real_model("all-MiniLM-L6-v2") else { return };
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/real.json");
    let golden: Value = serde_json::from_str(&fs::read_to_string(golden).unwrap()).unwrap();
    let model = LoadOptions::new().load(folder.to_str().unwrap()).unwrap();
    let pairs = st_testing::sts_test();
    let first: Vec<String> = pairs.iter().map(|pair| pair.sentence1.clone()).collect();
    let second: Vec<String> = pairs.iter().map(|pair| pair.sentence2.clone()).collect();
    let scores: Vec<f64> = pairs.iter().map(|pair| pair.score).collect();
    let occasion = Occasion::new();
    let similarity = || EmbeddingSimilarityEvaluator::new(first.clone(), second.clone(), scores.clone()).unwrap();

    let evaluator =
        similarity().named("sts").similarity_functions(SimilarityFunction::ALL.map(|(function, _)| function));
    assert_matches(&evaluator.evaluate(&model, &occasion).unwrap(), &golden, "similarity");
    let evaluator = similarity().truncate_dim(64);
    assert_matches(&evaluator.evaluate(&model, &occasion).unwrap(), &golden, "truncated");

    let rows = |prefix: &str, texts: &[String]| -> Vec<(String, String)> {
        texts.iter().enumerate().map(|(row, text)| (format!("{prefix}{row}"), text.clone())).collect()
    };
    // Each text once: the original puts equally scored documents in no particular order.
    let mut unique: Vec<String> = Vec::new();
    let places: Vec<usize> = second
        .iter()
        .map(|text| {
            unique.iter().position(|known| known == text).unwrap_or_else(|| {
                unique.push(text.clone());
                unique.len() - 1
            })
        })
        .collect();
    let relevant: HashMap<String, HashSet<String>> = scores
        .iter()
        .enumerate()
        .filter(|(_, score)| **score >= 4.0)
        .map(|(row, _)| (format!("q{row}"), HashSet::from([format!("d{}", places[row])])))
        .collect();
    let evaluator = InformationRetrievalEvaluator::new(rows("q", &first), rows("d", &unique), relevant).unwrap();
    let evaluation = evaluator.named("sts-retrieval").evaluate(&model, &occasion).unwrap();
    assert_matches(&evaluation, &golden, "retrieval");

    let labels = scores.iter().map(|score| *score >= 3.0).collect();
    let evaluator = BinaryClassificationEvaluator::new(first.clone(), second.clone(), labels).unwrap();
    let evaluator = evaluator.similarity_functions([SimilarityFunction::Cosine, SimilarityFunction::Dot]);
    assert_matches(&evaluator.evaluate(&model, &occasion).unwrap(), &golden, "classification");
    let evaluator = TranslationEvaluator::new(first, second).unwrap();
    assert_matches(&evaluator.evaluate(&model, &occasion).unwrap(), &golden, "translation");
}

#[test]
fn roles_and_options_reach_the_library() {
    let model = tiny("tiny-bert-prompts");
    let text = ["which planet is red"];
    let options = EncodeOptions::new();
    let embed = |role, options: &EmbedOptions<'_>| Embedder::embed(&model, &text, role, options).unwrap();
    let plain = EmbedOptions::default();
    assert_eq!(embed(Role::Plain, &plain), model.encode(&text).unwrap());
    assert_eq!(embed(Role::Query, &plain), model.encode_query(&text, &options).unwrap());
    assert_eq!(embed(Role::Document, &plain), model.encode_document(&text, &options).unwrap());
    assert_ne!(embed(Role::Query, &plain), embed(Role::Plain, &plain));
    let asked = EmbedOptions { prompt: Some("x: "), prompt_name: Some("query"), truncate_dim: Some(8), ..plain };
    let expected = options.clone().prompt(Prompt::text("x: ")).truncate_dim(8);
    assert_eq!(embed(Role::Query, &asked), model.encode_with(&text, &expected.for_query(model.prompts())).unwrap());
    let unknown = EmbedOptions { prompt_name: Some("nobody"), ..plain };
    let error = Embedder::embed(&model, &text, Role::Plain, &unknown).unwrap_err();
    assert_eq!(error.to_string(), "the model could not embed 1 texts");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.starts_with("Prompt name 'nobody' not found"), "{cause}");
}

#[test]
fn results_go_into_the_card_and_the_folder() {
    let mut model = tiny("tiny-bert");
    let triplets = |name: &str| {
        let one = |text: &str| texts(&[text, "b"]);
        TripletEvaluator::new(one("a cat"), one("a cat"), one("a car")).unwrap().named(name)
    };
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("not/yet");
    for name in ["dev", "dev", "test"] {
        evaluate(&mut model, &triplets(name), Some(&inner)).unwrap();
    }
    let csv = fs::read_to_string(inner.join("triplet_evaluation_dev_results.csv")).unwrap();
    assert_eq!(csv.lines().count(), 3, "a header and two runs: {csv}");
    let recorded: Vec<(&str, &str)> = model
        .card_data()
        .evaluations
        .iter()
        .map(|facts| (facts.name.as_str(), facts.primary_metric.as_deref().unwrap()))
        .collect();
    assert_eq!(recorded, [("dev", "dev_cosine_accuracy"), ("test", "test_cosine_accuracy")]);
    let card = model.model_card(None).unwrap();
    assert!(card.contains("#### Triplet\n\n* Datasets: `dev` and `test`\n"), "{card}");
}

fn strings(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn parquet(columns: &[(&str, ArrayRef)]) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns.iter().map(|(name, array)| (*name, array.clone()))).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

/// Two data sets, as files of a repository; in the second one the relevant documents are lists.
fn nano_files() -> Vec<(String, Vec<u8>)> {
    let corpus = parquet(&[("_id", strings(&["d1", "d2", "d3"])), ("text", strings(&["a red planet", "a car", ""]))]);
    let queries = parquet(&[("_id", strings(&["q1", "q2"])), ("text", strings(&["which planet is red", "vehicles"]))]);
    let flat = parquet(&[("query-id", strings(&["q1", "q2"])), ("corpus-id", strings(&["d1", "d2"]))]);
    let mut lists = arrow_array::builder::ListBuilder::new(arrow_array::builder::StringBuilder::new());
    lists.append_value([Some("d1"), Some("d3")]);
    lists.append_value([Some("d2")]);
    let lists: ListArray = lists.finish();
    let listed = parquet(&[("query-id", strings(&["q1", "q2"])), ("corpus-id", Arc::new(lists))]);
    let mut files = Vec::new();
    for (split, qrels) in [("NanoNQ", flat), ("NanoSciFact", listed)] {
        for (subset, bytes) in [("corpus", &corpus), ("queries", &queries), ("qrels", &qrels)] {
            files.push((format!("{subset}/{split}-00000-of-00001.parquet"), bytes.clone()));
        }
    }
    files
}

#[test]
fn nano_beir_comes_from_the_hub_its_cache_and_folders() {
    let (hub, cache) = (st_testing::LocalHub::start(), tempfile::tempdir().unwrap());
    let files = nano_files();
    let borrowed: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    hub.add("datasets/org/NanoBEIR", &borrowed);
    let mut environment = Environment::isolated(cache.path());
    environment.endpoint = hub.url();
    let options = HubOptions::with_environment(environment);
    let model = tiny("tiny-bert");
    let from_hub = |names: &[&str], options: &HubOptions| {
        NanoBeirEvaluator::from_hub("org/NanoBEIR", Some(names), NanoBeirOptions::default(), options)
    };
    let one = from_hub(&["NQ"], &options).unwrap();
    assert_eq!(hub.count("GET", "SciFact"), 0, "only what is asked for is fetched");
    assert_eq!(one.evaluate(&model, &Occasion::new()).unwrap().parts.len(), 1);
    let both = from_hub(&["nq", "SciFact"], &options).unwrap().evaluate(&model, &Occasion::new()).unwrap();
    assert_eq!(both.parts[1].name, "NanoSciFact");
    // d3 is empty and left out, so that q1 finds one of its two documents at most.
    assert!(both.metric("NanoSciFact_cosine_recall@10").unwrap() <= 0.75);
    assert!(both.metric("NanoBEIR_mean_cosine_ndcg@10").is_some());
    assert!(both.facts().metrics.iter().all(|(name, _)| name.starts_with("NanoBEIR_mean_")), "parts have their own");

    hub.stop();
    let offline = from_hub(&["nq", "scifact"], &options.clone().local_files_only(true)).unwrap();
    assert_eq!(offline.evaluate(&model, &Occasion::new()).unwrap().metrics, both.metrics);

    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in &files {
        fs::create_dir_all(folder.path().join(name).parent().unwrap()).unwrap();
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let from_folder =
        |names: &[&str]| NanoBeirEvaluator::from_folder(folder.path(), Some(names), NanoBeirOptions::default());
    let local = from_folder(&["nq", "SciFact"]).unwrap();
    assert_eq!(local.evaluate(&model, &Occasion::new()).unwrap().metrics, both.metrics);
    let missing = from_folder(&["msmarco"]).unwrap_err().to_string();
    assert!(missing.starts_with("Could not load subset 'qrels' split 'NanoMSMARCO' from '"), "{missing}");
    let wrong = parquet(&[("id", strings(&["d1"])), ("text", strings(&["a"]))]);
    fs::write(folder.path().join("corpus/NanoNQ-00000-of-00001.parquet"), wrong).unwrap();
    let columns = from_folder(&["nq"]).unwrap_err().to_string();
    assert!(columns.ends_with("is missing required columns: ['_id']."), "{columns}");
    File::create(folder.path().join("corpus/NanoNQ-00000-of-00001.parquet")).unwrap();
    assert!(matches!(from_folder(&["nq"]), Err(EvalError::Parquet { .. })));
}
