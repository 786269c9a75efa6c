//! The original's evaluators on fixed embeddings: same metrics in the same order, same files.

#![expect(clippy::unwrap_used, reason = "fixtures that are not as expected fail the test")]

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

use serde_json::Value;
use st_eval::{
    BinaryClassificationEvaluator, Cutoffs, EVALUATORS, EmbedOptions, Embedder, EmbeddingSimilarityEvaluator,
    EvalError, Evaluator, InformationRetrievalEvaluator, MseEvaluator, MultilingualMseEvaluator, NanoBeirEvaluator,
    NanoBeirOptions, Occasion, ParaphraseMiningEvaluator, RerankingEvaluator, RerankingSample, Result, Role,
    SequentialEvaluator, TranslationEvaluator, TripletEvaluator,
};
use st_vectors::{Embeddings, SimilarityFunction};

/// Metrics and cells agree to this, relative to values above 1.
const TOLERANCE: f64 = 1e-6;

/// Looks embeddings up.
struct Lookup<'a> {
    vectors: &'a Value,
    function: SimilarityFunction,
}

impl Embedder for Lookup<'_> {
    fn embed(&self, texts: &[&str], _: Role, options: &EmbedOptions<'_>) -> Result<Embeddings> {
        let row = |text: &&str| {
            let vector =
                self.vectors[*text].as_array().ok_or_else(|| EvalError::model(1, format!("no vector: {text}")))?;
            Ok(vector.iter().map(|value| value.as_f64().unwrap_or(f64::NAN) as f32).collect::<Vec<_>>())
        };
        let mut embeddings = Embeddings::from_rows(texts.iter().map(row).collect::<Result<Vec<_>>>()?)?;
        if let Some(dimension) = options.truncate_dim {
            embeddings.truncate(dimension);
        }
        Ok(embeddings)
    }

    fn similarity(&self) -> SimilarityFunction {
        self.function
    }
}

fn goldens() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/evaluators.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn numbers(value: &Value) -> Option<Vec<usize>> {
    Some(value.as_array()?.iter().map(|number| number.as_u64().unwrap() as usize).collect())
}

fn function(value: &Value) -> SimilarityFunction {
    value.as_str().unwrap().parse().unwrap()
}

fn functions(value: &Value) -> Vec<SimilarityFunction> {
    value.as_array().into_iter().flatten().map(function).collect()
}

/// Sets what the shared options of a case say.
macro_rules! shared {
    ($evaluator:expr, $options:expr) => {{
        let mut evaluator = $evaluator.named($options["name"].as_str().unwrap_or_default());
        if let Some(dimension) = $options["truncate_dim"].as_u64() {
            evaluator = evaluator.truncate_dim(dimension as usize);
        }
        Box::new(evaluator) as Box<dyn Evaluator>
    }};
}

fn evaluator(case: &Value, vectors: &Value) -> Box<dyn Evaluator> {
    let options = &case["options"];
    let column = |name: &str| strings(&case[name]);
    match case["evaluator"].as_str().unwrap() {
        "EmbeddingSimilarityEvaluator" => {
            let scores = case["scores"].as_array().unwrap().iter().map(|score| score.as_f64().unwrap()).collect();
            let mut evaluator =
                EmbeddingSimilarityEvaluator::new(column("sentences1"), column("sentences2"), scores).unwrap();
            evaluator = evaluator.similarity_functions(functions(&options["similarity_fn_names"]));
            if options["main_similarity"].is_string() {
                evaluator = evaluator.main_similarity(function(&options["main_similarity"]));
            }
            if let Some(precision) = options["precision"].as_str() {
                evaluator = evaluator.precision(precision.parse().unwrap());
            }
            shared!(evaluator, options)
        }
        "BinaryClassificationEvaluator" => {
            let labels = case["labels"].as_array().unwrap().iter().map(|label| label == 1).collect();
            let evaluator =
                BinaryClassificationEvaluator::new(column("sentences1"), column("sentences2"), labels).unwrap();
            shared!(evaluator.similarity_functions(functions(&options["similarity_fn_names"])), options)
        }
        "TripletEvaluator" => {
            let mut evaluator =
                TripletEvaluator::new(column("anchors"), column("positives"), column("negatives")).unwrap();
            evaluator = evaluator.similarity_functions(functions(&options["similarity_fn_names"]));
            if options["main_similarity_function"].is_string() {
                evaluator = evaluator.main_similarity(function(&options["main_similarity_function"]));
            }
            if let Some(margin) = options["margin"].as_f64() {
                evaluator = evaluator.margin(margin as f32);
            }
            for (name, margin) in options["margin"].as_object().into_iter().flatten() {
                evaluator = evaluator.margin_for(name.parse().unwrap(), margin.as_f64().unwrap() as f32);
            }
            shared!(evaluator, options)
        }
        "InformationRetrievalEvaluator" => retrieval(case, options),
        "RerankingEvaluator" => {
            let samples = case["samples"].as_array().unwrap().iter().map(|sample| RerankingSample {
                query: sample["query"].as_str().unwrap().to_owned(),
                positive: strings(&sample["positive"]),
                negative: strings(&sample["negative"]),
            });
            let mut evaluator = RerankingEvaluator::new(samples.collect()).unwrap();
            evaluator = evaluator.use_batched_encoding(options["use_batched_encoding"] != false);
            if let Some(k) = options["at_k"].as_u64() {
                evaluator = evaluator.at_k(k as usize);
            }
            shared!(evaluator, options)
        }
        "ParaphraseMiningEvaluator" => {
            let sentences = case["sentences"].as_object().unwrap().iter();
            let sentences = sentences.map(|(id, text)| (id.clone(), text.as_str().unwrap().to_owned())).collect();
            let duplicates = case["duplicates"].as_array().unwrap().iter().map(|pair| {
                let pair = strings(pair);
                (pair[0].clone(), pair[1].clone())
            });
            let close = options["add_transitive_closure"] == true;
            let mut evaluator = ParaphraseMiningEvaluator::new(sentences, duplicates, close).unwrap();
            if let Some(k) = options["top_k"].as_u64() {
                evaluator = evaluator.top_k(k as usize);
            }
            if let Some(pairs) = options["max_pairs"].as_u64() {
                evaluator = evaluator.max_pairs(pairs as usize);
            }
            shared!(evaluator, options)
        }
        "TranslationEvaluator" => {
            let (source, target) = (column("source_sentences"), column("target_sentences"));
            shared!(TranslationEvaluator::new(source, target).unwrap(), options)
        }
        "MSEEvaluator" => {
            let truncate_dim = options["truncate_dim"].as_u64().map(|dimension| dimension as usize);
            let teacher = Lookup { vectors, function: SimilarityFunction::Cosine };
            let embed = EmbedOptions { truncate_dim, ..EmbedOptions::default() };
            let (source, target) = (column("source_sentences"), column("target_sentences"));
            shared!(MseEvaluator::from_teacher(&teacher, &source, target, &embed).unwrap(), options)
        }
        "MSEEvaluatorFromDataFrame" => {
            let rows: Vec<HashMap<String, String>> = serde_json::from_value(case["rows"].clone()).unwrap();
            let pairs: Vec<(String, String)> = serde_json::from_value(case["combinations"].clone()).unwrap();
            let teacher = Lookup { vectors, function: SimilarityFunction::Cosine };
            let options_of_teacher = EmbedOptions::default();
            shared!(MultilingualMseEvaluator::new(&teacher, &rows, &pairs, &options_of_teacher).unwrap(), options)
        }
        "NanoBEIREvaluator" => nano_beir(case, options),
        other => panic!("{other} has no case here"),
    }
}

fn retrieval(case: &Value, options: &Value) -> Box<dyn Evaluator> {
    let pairs = |value: &Value| {
        let pairs = value.as_object().unwrap().iter();
        pairs.map(|(id, text)| (id.clone(), text.as_str().unwrap().to_owned())).collect::<Vec<_>>()
    };
    let relevant = case["relevant"].as_object().unwrap().iter();
    let relevant = relevant.map(|(id, all)| (id.clone(), strings(all).into_iter().collect::<HashSet<_>>()));
    let relevant: HashMap<_, _> = relevant.collect();
    let mut evaluator =
        InformationRetrievalEvaluator::new(pairs(&case["queries"]), pairs(&case["corpus"]), relevant).unwrap();
    let standard = Cutoffs::default();
    evaluator = evaluator.similarity_functions(functions(&options["score_functions"])).cutoffs(Cutoffs {
        accuracy: numbers(&options["accuracy_at_k"]).unwrap_or(standard.accuracy),
        precision_recall: numbers(&options["precision_recall_at_k"]).unwrap_or(standard.precision_recall),
        mrr: numbers(&options["mrr_at_k"]).unwrap_or(standard.mrr),
        ndcg: numbers(&options["ndcg_at_k"]).unwrap_or(standard.ndcg),
        map: numbers(&options["map_at_k"]).unwrap_or(standard.map),
    });
    if options["main_score_function"].is_string() {
        evaluator = evaluator.main_similarity(function(&options["main_score_function"]));
    }
    if let Some(size) = options["corpus_chunk_size"].as_u64() {
        evaluator = evaluator.corpus_chunk_size(size as usize);
    }
    shared!(evaluator.write_predictions(options["write_predictions"] == true), options)
}

/// Writes the data sets of the case as folders.
fn nano_beir(case: &Value, options: &Value) -> Box<dyn Evaluator> {
    let folder = tempfile::tempdir().unwrap();
    for (name, data) in case["data"].as_object().unwrap() {
        let set = folder.path().join(name);
        fs::create_dir_all(set.join("qrels")).unwrap();
        for subset in ["queries", "corpus"] {
            let lines = data[subset].as_array().unwrap().iter().map(|row| format!("{row}\n"));
            fs::write(set.join(format!("{subset}.jsonl")), lines.collect::<String>()).unwrap();
        }
        let cell = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
        let rows = data["qrels"].as_array().unwrap().iter();
        let rows = rows.map(|row| format!("{}\t{}\t1\n", cell(row, "query-id"), cell(row, "corpus-id")));
        fs::write(set.join("qrels/test.tsv"), rows.collect::<String>()).unwrap();
    }
    let names = strings(&options["dataset_names"]);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let truncate_dim = options["truncate_dim"].as_u64().map(|dimension| dimension as usize);
    let options = NanoBeirOptions { truncate_dim, ..NanoBeirOptions::default() };
    Box::new(NanoBeirEvaluator::from_folder(folder.path(), Some(&names), options).unwrap())
}

fn assert_close(found: f64, expected: f64, what: &str) {
    assert!((found - expected).abs() <= TOLERANCE * expected.abs().max(1.0), "{what}: {found}, expected {expected}");
}

/// The same header, the same line ends, as many rows, and cells that agree.
fn assert_same_table(found: &str, expected: &str, what: &str) {
    let lines = |text: &str| text.split_inclusive('\n').map(str::to_owned).collect::<Vec<_>>();
    let (found, expected) = (lines(found), lines(expected));
    assert_eq!(found[0], expected[0], "{what}");
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found[1..].iter().zip(&expected[1..]) {
        assert_eq!(found.ends_with("\r\n"), expected.ends_with("\r\n"), "{what}");
        let (found, expected) = (found.trim_end().split(','), expected.trim_end().split(','));
        assert_eq!(found.clone().count(), expected.clone().count(), "{what}");
        for (found, expected) in found.zip(expected) {
            assert_close(found.parse().unwrap(), expected.parse().unwrap(), what);
        }
    }
}

#[test]
fn every_evaluator_gives_what_the_original_gives() {
    let goldens = goldens();
    let mut covered = HashSet::new();
    for (index, case) in goldens["cases"].as_array().unwrap().iter().enumerate() {
        let class = case["evaluator"].as_str().unwrap();
        let what = format!("case {index}, {class} {}", case["options"]);
        let evaluator = evaluator(case, &goldens["vectors"]);
        assert_eq!(
            (evaluator.kind().class_name, evaluator.kind().description),
            (class, case["description"].as_str().unwrap())
        );
        covered.insert(class);
        let model = Lookup { vectors: &goldens["vectors"], function: function(&case["model_function"]) };
        let folder = tempfile::tempdir().unwrap();
        let evaluation = evaluator.evaluate(&model, &Occasion::new().output_path(folder.path())).unwrap();

        let expected = case["metrics"].as_array().unwrap();
        let names: Vec<_> = expected.iter().map(|metric| metric[0].as_str().unwrap()).collect();
        assert_eq!(evaluation.metrics.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), names, "{what}");
        for ((name, found), expected) in evaluation.metrics.iter().zip(expected) {
            assert_close(*found, expected[1].as_f64().unwrap(), &format!("{what} {name}"));
        }
        assert_eq!(evaluation.primary_metric, case["primary_metric"].as_str().unwrap(), "{what}");
        assert!(evaluation.score().is_some(), "{what}");

        let again = Occasion::new().output_path(folder.path()).epoch(1).steps(20);
        assert_eq!(evaluator.evaluate(&model, &again).unwrap(), evaluation, "{what}");
        let csv = fs::read_to_string(folder.path().join(case["csv_file"].as_str().unwrap())).unwrap();
        if class == "BinaryClassificationEvaluator" {
            // Ours has full rows.
            let lines: Vec<_> = csv.split("\r\n").collect();
            assert_eq!(format!("{}\r\n", lines[0]), case["csv"].as_str().unwrap());
            let prefix = if evaluator.name().is_empty() { String::new() } else { format!("{}_", evaluator.name()) };
            for line in &lines[1..3] {
                assert_eq!(line.split(',').count(), lines[0].split(',').count());
                for (column, cell) in lines[0].split(',').zip(line.split(',')).skip(2) {
                    let metric = evaluation.metric(&format!("{prefix}{column}")).unwrap();
                    assert_close(cell.parse().unwrap(), metric, column);
                }
            }
        } else {
            assert_same_table(&csv, case["csv"].as_str().unwrap(), &what);
        }
        for (name, expected) in case["predictions"].as_object().unwrap() {
            let found = fs::read_to_string(folder.path().join(name)).unwrap();
            assert_same_predictions(&found, expected.as_str().unwrap());
        }
    }
    // Its own test below; the original merges in the same way.
    covered.insert("SequentialEvaluator");
    // tests/label_accuracy.rs.
    covered.insert("LabelAccuracyEvaluator");
    let all: HashSet<_> = EVALUATORS.iter().map(|kind| kind.class_name).collect();
    assert_eq!(covered, all, "every row of the table has a golden");
}

fn assert_same_predictions(found: &str, expected: &str) {
    assert_eq!(found.lines().count(), expected.lines().count());
    for (found, expected) in found.lines().zip(expected.lines()) {
        assert_eq!(found.split("\"score\"").next(), expected.split("\"score\"").next(), "the same letters");
        let (found, expected): (Value, Value) =
            (serde_json::from_str(found).unwrap(), serde_json::from_str(expected).unwrap());
        let (found, expected) = (found["results"].as_array().unwrap(), expected["results"].as_array().unwrap());
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!(found["corpus_id"], expected["corpus_id"]);
            let score = |hit: &Value| hit["score"].as_f64().unwrap();
            assert!((score(found) - score(expected)).abs() < 1e-5);
        }
    }
}

#[test]
fn a_sequence_merges_its_parts() {
    let goldens = goldens();
    let cases = goldens["cases"].as_array().unwrap();
    let model = Lookup { vectors: &goldens["vectors"], function: SimilarityFunction::Cosine };
    let parts = || vec![evaluator(&cases[1], &goldens["vectors"]), evaluator(&cases[7], &goldens["vectors"])];
    let last = SequentialEvaluator::new(parts()).unwrap().evaluate(&model, &Occasion::new()).unwrap();
    let expected: usize = [1, 7].iter().map(|&index: &usize| cases[index]["metrics"].as_array().unwrap().len()).sum();
    assert_eq!(last.metrics.len(), expected + 1);
    assert_eq!((last.primary_metric.as_str(), last.score()), ("sequential_score", last.parts[1].score()));
    let first = SequentialEvaluator::new(parts()).unwrap().main_score(|scores| scores[0]);
    let first = first.evaluate(&model, &Occasion::new()).unwrap();
    assert_eq!(first.score(), first.parts[0].score());
    assert_eq!(
        first.for_card().iter().map(|part| part.class_name).collect::<Vec<_>>(),
        ["EmbeddingSimilarityEvaluator", "BinaryClassificationEvaluator"]
    );
}

#[test]
fn names_of_data_sets_are_checked() {
    let open = |names: &[&str]| {
        NanoBeirEvaluator::from_folder(Path::new("missing"), Some(names), NanoBeirOptions::default()).unwrap_err()
    };
    assert_eq!(open(&[]).to_string(), "dataset_names cannot be empty. Use None to evaluate on all datasets.");
    assert_eq!(
        open(&["nq", "x"]).to_string(),
        "Dataset(s) ['x'] are not valid NanoBEIR datasets. Valid dataset names are: ['climatefever', 'dbpedia', 'fever', \
         'fiqa2018', 'hotpotqa', 'msmarco', 'nfcorpus', 'nq', 'quoraretrieval', 'scidocs', 'arguana', 'scifact', \
         'touche2020']"
    );
    assert!(open(&["nq"]).to_string().starts_with("reading missing"));
}
