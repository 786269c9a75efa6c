//! What the goldens do not show: state between calls, ties, chunks, roles, errors.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::{HashMap, HashSet};
use std::fs;
use std::sync::Mutex;

use proptest::prelude::*;
use st_eval::{
    Cutoffs, EmbedOptions, Embedder, EmbeddingSimilarityEvaluator, EvalError, Evaluator, InformationRetrievalEvaluator,
    Occasion, Result, Role, TripletEvaluator,
};
use st_vectors::{Embeddings, SimilarityFunction};

/// Embeds numbers, written as text, as (number, 1); remembers how it was asked.
struct Numbers {
    function: SimilarityFunction,
    calls: Mutex<Vec<(Role, Option<String>)>>,
}

impl Numbers {
    fn new(function: SimilarityFunction) -> Self {
        Self { function, calls: Mutex::default() }
    }
}

impl Embedder for Numbers {
    fn embed(&self, texts: &[&str], role: Role, options: &EmbedOptions<'_>) -> Result<Embeddings> {
        self.calls.lock().unwrap().push((role, options.prompt.or(options.prompt_name).map(str::to_owned)));
        let rows: Result<Vec<[f32; 2]>> = texts
            .iter()
            .map(|text| Ok([text.parse().map_err(|error| EvalError::model(texts.len(), error))?, 1.0]))
            .collect();
        Ok(Embeddings::from_rows(rows?)?)
    }

    fn similarity(&self) -> SimilarityFunction {
        self.function
    }
}

fn texts(numbers: &[&str]) -> Vec<String> {
    numbers.iter().map(|&number| number.to_owned()).collect()
}

fn documents(numbers: &[f32]) -> Vec<(String, String)> {
    numbers.iter().enumerate().map(|(index, number)| (format!("d{index}"), number.to_string())).collect()
}

fn retrieval(numbers: &[f32]) -> InformationRetrievalEvaluator {
    let queries = vec![("q".to_owned(), "1".to_owned()), ("unjudged".to_owned(), "not a number".to_owned())];
    let relevant = HashMap::from([("q".to_owned(), HashSet::from(["d0".to_owned(), "d2".to_owned()]))]);
    InformationRetrievalEvaluator::new(queries, documents(numbers), relevant).unwrap()
}

#[test]
fn the_first_models_function_stays() {
    let evaluator = TripletEvaluator::new(texts(&["1"]), texts(&["2"]), texts(&["-1"])).unwrap();
    for function in [SimilarityFunction::Dot, SimilarityFunction::Manhattan] {
        let evaluation = evaluator.evaluate(&Numbers::new(function), &Occasion::new()).unwrap();
        assert_eq!(evaluation.metrics, [("dot_accuracy".to_owned(), 1.0)]);
    }
}

#[test]
fn queries_and_documents_get_their_roles_and_prompts() {
    let model = Numbers::new(SimilarityFunction::Dot);
    let evaluator =
        retrieval(&[3.0, 2.0, 1.0]).query_prompt("find: ").corpus_prompt_name("passage").corpus_chunk_size(2);
    let evaluation = evaluator.evaluate(&model, &Occasion::new()).unwrap();
    let document = || (Role::Document, Some("passage".to_owned()));
    let query = (Role::Query, Some("find: ".to_owned()));
    assert_eq!(*model.calls.lock().unwrap(), [query, document(), document()]);
    assert_eq!(evaluation.parameters, [("query_prompt", "find: ".into()), ("corpus_prompt_name", "passage".into())]);
    // d0 at rank 1, d2 at rank 3.
    assert_eq!(evaluation.metric("dot_accuracy@1"), Some(1.0));
    assert_eq!(evaluation.metric("dot_map@100"), Some((1.0 + 2.0 / 3.0) / 2.0));
}

#[test]
fn equal_scores_keep_the_order_of_the_corpus() {
    let model = Numbers::new(SimilarityFunction::Dot);
    let folder = tempfile::tempdir().unwrap();
    let evaluator = retrieval(&[5.0; 4]).corpus_chunk_size(3).write_predictions(true).write_csv(false);
    evaluator.evaluate(&model, &Occasion::new().output_path(folder.path())).unwrap();
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["Information-Retrieval_evaluation_predictions_dot.jsonl"]);
    let hits: Vec<String> = (0..4).map(|index| format!("{{\"corpus_id\": \"d{index}\", \"score\": 6.0}}")).collect();
    assert_eq!(
        fs::read_to_string(folder.path().join(&names[0])).unwrap(),
        format!("{{\"query_id\": \"q\", \"query\": \"1\", \"results\": [{}]}}\n", hits.join(", "))
    );
}

#[test]
fn errors_say_what_is_wrong() {
    let error = EmbeddingSimilarityEvaluator::new(texts(&["1"]), texts(&["1", "2"]), vec![0.0]).unwrap_err();
    assert!(error.to_string().starts_with("`sentences2` has 2 entries, `sentences1` has 1"));
    let error = EmbeddingSimilarityEvaluator::new(vec![], vec![], vec![]).unwrap_err();
    assert_eq!(error.to_string(), "EmbeddingSimilarityEvaluator has no pairs");

    let model = Numbers::new(SimilarityFunction::Cosine);
    let evaluator = EmbeddingSimilarityEvaluator::new(texts(&["x"]), texts(&["1"]), vec![0.0]).unwrap();
    let error = evaluator.evaluate(&model, &Occasion::new()).unwrap_err();
    assert_eq!(error.to_string(), "the model could not embed 1 texts");
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "invalid float literal");

    let file = tempfile::NamedTempFile::new().unwrap();
    let evaluator = EmbeddingSimilarityEvaluator::new(texts(&["1"]), texts(&["1"]), vec![0.0]).unwrap();
    let error = evaluator.evaluate(&model, &Occasion::new().output_path(file.path())).unwrap_err();
    assert_eq!(error.to_string(), format!("writing {}", file.path().display()));

    let relevant = HashMap::from([("q".to_owned(), HashSet::new())]);
    let queries = vec![("q".to_owned(), "1".to_owned())];
    let error = InformationRetrievalEvaluator::new(queries, documents(&[1.0]), relevant).unwrap_err();
    assert_eq!(error.to_string(), "InformationRetrievalEvaluator has no queries with relevant documents");
}

#[test]
fn options_without_meaning_are_refused() {
    let model = Numbers::new(SimilarityFunction::Cosine);
    let fails = |evaluator: InformationRetrievalEvaluator| {
        evaluator.evaluate(&model, &Occasion::new()).unwrap_err().to_string()
    };
    assert_eq!(
        fails(retrieval(&[1.0]).main_similarity(SimilarityFunction::Dot)),
        "`main_similarity` is 'dot', but the similarity functions are: cosine; name it there too"
    );
    assert!(fails(retrieval(&[1.0]).corpus_chunk_size(0)).contains("corpus_chunk_size"));
    let cutoffs = |accuracy, ndcg| Cutoffs { accuracy, ndcg, ..Cutoffs::default() };
    let zero = fails(retrieval(&[1.0]).cutoffs(cutoffs(vec![0], vec![10])));
    assert_eq!(zero, "`accuracy_at_k` counts from 1, it cannot hold 0");
    assert!(fails(retrieval(&[1.0]).cutoffs(cutoffs(vec![1], vec![]))).starts_with("`ndcg_at_k` is empty"));
}

/// Gives one embedding, whatever it is asked.
struct Short;

impl Embedder for Short {
    fn embed(&self, _: &[&str], _: Role, _: &EmbedOptions<'_>) -> Result<Embeddings> {
        Ok(Embeddings::zeros(1, 2))
    }

    fn similarity(&self) -> SimilarityFunction {
        SimilarityFunction::Cosine
    }
}

#[test]
fn a_model_that_loses_texts_is_noticed() {
    let evaluator = TripletEvaluator::new(texts(&["1", "2"]), texts(&["1", "2"]), texts(&["1", "2"])).unwrap();
    let error = evaluator.evaluate(&Short, &Occasion::new()).unwrap_err();
    assert_eq!(error.to_string(), "the model gave 1 embeddings for 2 texts");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn the_size_of_chunks_is_no_matter(numbers in prop::collection::vec(-9i8..9, 3..30), size in 1usize..12) {
        let numbers: Vec<f32> = numbers.into_iter().map(f32::from).collect();
        let model = Numbers::new(SimilarityFunction::Cosine);
        let whole = retrieval(&numbers).evaluate(&model, &Occasion::new()).unwrap();
        let chunked = retrieval(&numbers).corpus_chunk_size(size).evaluate(&model, &Occasion::new()).unwrap();
        prop_assert_eq!(whole, chunked);
    }
}
