//! Mining with a real pipeline: hard negatives and paraphrases on a tiny model.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use sentence_transformers::{
    EncodeOptions, HardNegativeMiner, HardNegativeOptions, MiningOptions, SentenceTransformer,
};

fn model() -> SentenceTransformer {
    SentenceTransformer::load(st_testing::tiny_model("tiny-bert").to_string_lossy()).unwrap()
}

const PAIRS: [(&str, &str); 4] = [
    ("what is rust", "Rust is a language."),
    ("what is iron", "Iron is a metal."),
    ("what is rust", "Rust is what iron becomes."),
    ("who sings", "The bird sings in the morning."),
];

#[test]
fn positives_never_come_back_as_negatives() {
    let model = model();
    let options = HardNegativeOptions::new().num_negatives(2);
    let mined =
        HardNegativeMiner::new(&model).options(options).corpus(["A stone.", "Iron is a metal."]).mine(&PAIRS).unwrap();
    assert_eq!(mined.queries(), ["what is rust", "what is iron", "who sings"]);
    assert_eq!(mined.documents().len(), 5);
    assert_eq!(mined.triplets().count(), 8);
    for triplet in mined.triplets() {
        assert!(!PAIRS.contains(&(triplet.anchor, triplet.negative)));
    }
    let scores = &mined.found().negatives[0];
    assert!(scores.is_sorted_by(|a, b| a.score >= b.score));
}

#[test]
fn a_cache_gives_the_same_negatives() {
    let (model, folder) = (model(), tempfile::tempdir().unwrap());
    let run = || {
        let miner = HardNegativeMiner::new(&model).cache_folder(folder.path());
        miner.mine(&PAIRS).unwrap().found().clone()
    };
    let first = run();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    assert_eq!(run(), first);
}

#[test]
fn a_rescorer_decides_where_a_limit_is_set() {
    let model = model();
    let longest = |_: &str, texts: &[&str]| texts.iter().map(|text| text.len() as f32).collect();
    let options = HardNegativeOptions::new().num_negatives(1).max_score(100.0);
    let mined = HardNegativeMiner::new(&model).options(options).rescorer(&longest).mine(&PAIRS).unwrap();
    assert_eq!(mined.triplets().next().unwrap().negative, "The bird sings in the morning.");
}

#[test]
fn no_pairs_are_refused() {
    let error = HardNegativeMiner::new(&model()).mine::<&str, &str>(&[]).unwrap_err();
    assert_eq!(error.to_string(), "The dataset is empty. Please provide a non-empty dataset.");
}

#[test]
fn paraphrases_are_the_pairs_of_the_similarity_matrix() {
    let model = model();
    let texts = PAIRS.map(|(_, text)| text);
    let pairs = model.paraphrase_mining(&texts, &EncodeOptions::new(), &MiningOptions::new()).unwrap();
    assert_eq!(pairs.len(), 6);
    let embeddings = model.encode(&texts).unwrap();
    let scores = model.similarity(&embeddings, &embeddings).unwrap();
    for pair in pairs {
        assert_eq!(pair.score, scores.row(pair.first)[pair.second]);
    }
}
