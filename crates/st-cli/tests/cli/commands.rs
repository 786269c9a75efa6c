//! `similarity`, `search`, `info`, and what `--help` says.

use crate::program::{bad, file, good, program, run, with_model};
use sentence_transformers::SentenceTransformer;
use serde_json::Value;

const TEXTS: [&str; 3] = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."];

fn model() -> SentenceTransformer {
    SentenceTransformer::load(st_testing::tiny_model("tiny-bert").to_str().unwrap()).unwrap()
}

#[test]
fn similarity_as_table_and_json() {
    let model = model();
    let rows = model.encode(&TEXTS).unwrap();
    let scores = model.similarity(&rows, &rows).unwrap();
    let table = good(with_model("similarity").args(TEXTS));
    let first = table.lines().nth(1).unwrap();
    let expected: Vec<String> = scores.row(0).iter().map(|score| format!("{score:.4}")).collect();
    assert_eq!(first, format!("1  {}  {}", TEXTS[0], expected.join("  ")));
    let json: Value =
        serde_json::from_str(&good(with_model("similarity").args(["--format", "json"]).args(TEXTS))).unwrap();
    assert_eq!(json["scores"][0][1].as_f64().unwrap() as f32, scores.row(0)[1]);
    assert_eq!(json["similarity"], "cosine");
    let json = good(with_model("similarity").args(["--similarity", "manhattan", "--format", "json"]).args(TEXTS));
    let json: Value = serde_json::from_str(&json).unwrap();
    assert!(json["scores"][0][1].as_f64().unwrap() < 0.0);
    bad(&mut with_model("similarity"), 2);
}

#[test]
fn search_finds_what_the_library_finds() {
    let folder = tempfile::tempdir().unwrap();
    // More than one chunk, so that the best of each are merged.
    let corpus: Vec<String> = (0..5000).map(|row| format!("text {} of {}", row % 997, row % 13)).collect();
    let path = file(&folder, "corpus.txt", corpus.join("\n"));
    let queries = file(&folder, "queries.jsonl", "{\"text\": \"text 5 of 5\"}\n\"sunny\"\n");
    let out = good(
        with_model("search").arg("--corpus").arg(&path).args(["-k", "4", "--format", "json", "--queries"]).arg(queries),
    );
    let found: Value = serde_json::from_str(&out).unwrap();
    let model = model();
    let (queries, rows) = (model.encode(&["text 5 of 5", "sunny"]).unwrap(), model.encode(&corpus).unwrap());
    let options = sentence_transformers::SearchOptions::new().top_k(4);
    let expected = sentence_transformers::semantic_search(&queries, &rows, &options).unwrap();
    for (found, expected) in found.as_array().unwrap().iter().zip(&expected) {
        for (found, expected) in found["hits"].as_array().unwrap().iter().zip(expected) {
            assert_eq!(found["index"].as_u64().unwrap() as usize, expected.corpus_id);
            assert_eq!(found["score"].as_f64().unwrap() as f32, expected.score);
            assert_eq!(found["text"], corpus[expected.corpus_id].as_str());
        }
    }
    assert_eq!(found.as_array().unwrap().len(), 2);
    let table = good(with_model("search").arg("--corpus").arg(&path).args(["-k", "2", "text 5 of 5"]));
    assert_eq!(table.lines().count(), 3);
    assert!(table.lines().nth(1).unwrap().trim_start().starts_with("1.0000"), "{table}");
    let error = bad(with_model("search").arg("--corpus").arg(&path), 2);
    assert!(error.contains("nothing to search for"), "{error}");
    let damaged = file(&folder, "damaged.txt", b"a\n\xff\n");
    let ended = run(with_model("search").arg("--corpus").arg(damaged).arg("a"));
    assert_eq!(ended.code, Some(3), "{}", ended.err);
}

#[test]
fn info_says_what_the_model_is() {
    let info: Value = serde_json::from_str(&good(with_model("info").args(["--format", "json"]))).unwrap();
    assert_eq!((info["dimension"].as_u64(), info["max_seq_length"].as_u64()), (Some(32), Some(48)));
    // The original counts 1,056 more: the pooler, which no sentence embedding uses.
    assert_eq!(info["parameters"], 27200);
    assert_eq!(info["modules"][1]["type"], "Pooling");
    let table = good(&mut with_model("info"));
    assert!(table.lines().any(|line| line.starts_with("parameters") && line.ends_with("27,200")), "{table}");
    assert!(table.contains("SentenceTransformer(\n  (0): Transformer("), "{table}");
}

#[test]
fn help_texts() {
    for command in [
        "",
        "encode",
        "similarity",
        "search",
        "mine",
        "cluster",
        "mine-negatives",
        "quantize",
        "train",
        "evaluate",
        "info",
        "card",
        "download",
        "save",
        "push",
    ] {
        let mut program = program();
        let help = good(program.args(Some(command).filter(|command| !command.is_empty())).arg("--help"));
        let name = if command.is_empty() { "help".to_owned() } else { format!("help-{command}") };
        insta::assert_snapshot!(name, help);
    }
}

#[test]
fn quiet_in_a_pipe() {
    let ended = run(with_model("encode").args(TEXTS).args(["--format", "jsonl"]));
    assert_eq!(ended.err, "");
}
