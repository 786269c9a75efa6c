//! Hard negatives number by number against the original's (`fixtures/mining/generate.py`), and what random sampling keeps.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::collections::BTreeMap;

use sentence_transformers::{
    EncodeOptions, HardNegativeMiner, HardNegativeOptions, MinedNegatives, NegativeSampling, Prompt,
    SentenceTransformer,
};
use serde_json::Value;

/// Scores of 32-bit vectors.
const TOLERANCE: f64 = 2e-6;

struct Golden {
    content: Value,
    texts: Vec<String>,
    pairs: Vec<(String, String)>,
    corpus: Vec<String>,
}

impl Golden {
    fn open() -> Self {
        let content: Value = serde_json::from_str(include_str!("../fixtures/mining/expected.json")).unwrap();
        let texts: Vec<String> = serde_json::from_value(content["texts"].clone()).unwrap();
        let text = |number: &Value| texts[number.as_u64().unwrap() as usize].clone();
        let list = |name: &str| content[name].as_array().unwrap().clone();
        let pairs = list("pairs").iter().map(|pair| (text(&pair[0]), text(&pair[1]))).collect();
        let corpus = list("corpus").iter().map(text).collect();
        Self { pairs, corpus, texts, content }
    }

    fn number(&self, text: &str) -> f64 {
        self.texts.iter().position(|other| other == text).unwrap() as f64
    }

    fn mine(&self, model: &SentenceTransformer, options: &Value) -> MinedNegatives {
        let size = |name: &str| options[name].as_u64().map(|number| number as usize);
        let score = |name: &str| options[name].as_f64().map(|number| number as f32);
        let mut settings = HardNegativeOptions::new();
        settings.range_min = size("range_min").unwrap_or(0);
        settings.range_max = size("range_max");
        settings.num_negatives = size("num_negatives").unwrap_or(3);
        settings.max_score = score("max_score");
        settings.min_score = score("min_score");
        settings.absolute_margin = score("absolute_margin");
        settings.relative_margin = score("relative_margin");
        settings.include_positives = options["include_positives"] == true;
        let prompt = |name: &str| match options[name].as_str() {
            Some(text) => EncodeOptions::new().prompt(Prompt::text(text)),
            None => EncodeOptions::new(),
        };
        let mut miner = HardNegativeMiner::new(model)
            .options(settings)
            .query_options(prompt("query_prompt"))
            .document_options(prompt("corpus_prompt"));
        if options.get("corpus").is_none() {
            miner = miner.corpus(self.corpus.iter().cloned());
        }
        let by_bytes = |query: &str, passages: &[&str]| {
            let score = |passage: &&str| {
                let bytes = query.bytes().chain(passage.bytes()).zip(1u32..);
                (bytes.map(|(byte, place)| place * u32::from(byte)).sum::<u32>() % 8191) as f32 / 8192.0
            };
            passages.iter().map(score).collect()
        };
        if options["cross_encoder"] == true {
            miner = miner.rescorer(&by_bytes);
        }
        miner.mine(&self.pairs).unwrap()
    }

    /// A format's rows as numbers: texts by their number, then scores, then labels.
    fn rows(&self, mined: &MinedNegatives, format: &str) -> Vec<Vec<f64>> {
        let texts = |texts: &[&str]| texts.iter().map(|text| self.number(text)).collect::<Vec<_>>();
        let scores = |scores: &[f32]| scores.iter().map(|&score| f64::from(score)).collect::<Vec<_>>();
        match format {
            "triplet" => mined
                .triplets()
                .map(|row| [texts(&[row.anchor, row.positive, row.negative]), scores(&row.scores)].concat())
                .collect(),
            "n-tuple" => mined
                .tuples()
                .map(|row| [texts(&[row.anchor, row.positive]), texts(&row.negatives), scores(&row.scores)].concat())
                .collect(),
            "labeled-pair" => mined
                .labeled_pairs()
                .map(|row| {
                    [texts(&[row.anchor, row.passage]), scores(&[row.score]), vec![f64::from(row.label)]].concat()
                })
                .collect(),
            "labeled-list" => mined
                .labeled_lists()
                .map(|row| {
                    let labels: Vec<f64> = row.labels.iter().map(|&label| f64::from(label)).collect();
                    [texts(&[row.anchor]), texts(&row.passages), scores(&row.scores), labels].concat()
                })
                .collect(),
            other => panic!("no format {other}"),
        }
    }
}

fn flat(row: &Value) -> Vec<f64> {
    match row {
        Value::Array(items) => items.iter().flat_map(flat).collect(),
        number => vec![number.as_f64().unwrap()],
    }
}

fn model() -> SentenceTransformer {
    SentenceTransformer::load(st_testing::tiny_model("tiny-bert").to_string_lossy()).unwrap()
}

#[test]
fn every_format_of_every_case_is_the_original_s() {
    let (golden, model) = (Golden::open(), model());
    let cases = golden.content["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 18);
    for case in cases {
        let mined = golden.mine(&model, &case["options"]);
        for (format, expected) in case["rows"].as_object().unwrap() {
            let what = format!("{}, {format}", case["name"]);
            let (found, expected) = (golden.rows(&mined, format), expected.as_array().unwrap());
            assert_eq!(found.len(), expected.len(), "{what}");
            for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
                let expected = flat(expected);
                assert_eq!(found.len(), expected.len(), "{what}, row {index}");
                for (found, expected) in found.iter().zip(&expected) {
                    assert!((found - expected).abs() < TOLERANCE, "{what}, row {index}: {found} against {expected}");
                }
            }
        }
    }
}

#[test]
fn statistics_are_the_original_s() {
    let (golden, model) = (Golden::open(), model());
    for case in golden.content["cases"].as_array().unwrap() {
        let Some(expected) = case["statistics"].as_object() else { continue };
        let statistics = golden.mine(&model, &case["options"]).statistics();
        let printed = statistics.to_string();
        for (name, numbers) in expected["lines"].as_object().unwrap() {
            let line = printed.lines().find(|line| line.starts_with(name.as_str())).unwrap();
            let numbers: Vec<&str> =
                numbers.as_array().unwrap().iter().map(|number| number.as_str().unwrap()).collect();
            for (found, expected) in line.split_whitespace().skip(1).zip(&numbers) {
                let (found, expected): (f64, f64) = (found.parse().unwrap(), expected.parse().unwrap());
                // The original says nan for the mean of nothing and ±inf for its quantiles; here all are nan.
                let none = found.is_nan() && !expected.is_finite();
                assert!(none || (found - expected).abs() < 1.5e-4, "{}, {name}: {line}, {numbers:?}", case["name"]);
            }
        }
        // Of the lowest score the original counts again what other rules had dropped.
        let mut skipped: BTreeMap<String, u64> = serde_json::from_value(expected["skipped"].clone()).unwrap();
        skipped.remove("min_score");
        let found = statistics.dropped.iter().filter(|(name, count)| *count > 0 && *name != "min_score");
        let found: BTreeMap<String, u64> = found.map(|(name, count)| ((*name).to_owned(), *count as u64)).collect();
        assert_eq!(found, skipped, "{}", case["name"]);
    }
}

#[test]
fn random_negatives_come_from_those_that_the_original_draws_from() {
    let (golden, model) = (Golden::open(), model());
    let options = serde_json::json!({"range_min": 4, "range_max": 20, "relative_margin": -0.05, "num_negatives": 1000});
    let pool = golden.mine(&model, &options);
    let mut different = false;
    for seed in 0..20 {
        let settings = HardNegativeOptions::new()
            .range_min(4)
            .range_max(20)
            .relative_margin(-0.05)
            .num_negatives(5)
            .sampling(NegativeSampling::Random { seed });
        let miner = HardNegativeMiner::new(&model).options(settings).corpus(golden.corpus.iter().cloned());
        let mined = miner.mine(&golden.pairs).unwrap();
        assert_eq!(mined.found(), miner.mine(&golden.pairs).unwrap().found(), "a seed repeats");
        for (drawn, all) in mined.found().negatives.iter().zip(&pool.found().negatives) {
            assert_eq!(drawn.len(), all.len().min(5));
            assert!(drawn.iter().all(|hit| all.contains(hit)));
            assert!(drawn.is_sorted_by(|a, b| a.score > b.score || a.corpus_id != b.corpus_id));
            different |= drawn[..] != all[..drawn.len()];
        }
    }
    assert!(different, "the draw is always of the best");
}
