//! Every module type against tiny models that the original library saved: the same vectors, the same files.
//!
//! `cargo test --test modules -- --ignored` saves all of them under `SAVE_MODULES_TO`, for
//! `python fixtures/module_models.py --check`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use sentence_transformers::modules::{BoW, InputModule, Router, TextFileOptions, WordEmbeddings};
use sentence_transformers::tokenizer::PhraseTokenizer;
use sentence_transformers::{EncodeOptions, Error, ErrorKind, LoadOptions, Pipeline, Prompt, SentenceTransformer};
use serde::Deserialize;
use st_testing::{assert_close, fixture_path};

const TOLERANCE: f64 = 1e-5;

/// A row per text; none where the original fails.
type Rows = Vec<Option<Vec<f64>>>;

#[derive(Deserialize)]
struct Golden {
    texts: Vec<String>,
    /// Per model and task, "" for none.
    models: BTreeMap<String, BTreeMap<String, Rows>>,
    word_ids: WordIds,
}

/// What the word tokenizers of two models make of awkward texts.
#[derive(Deserialize)]
struct WordIds {
    texts: Vec<String>,
    #[serde(flatten)]
    models: BTreeMap<String, Vec<Vec<u32>>>,
}

fn golden() -> Golden {
    st_testing::golden::read("models-modules/golden.json")
}

fn folder_of(name: &str) -> PathBuf {
    fixture_path("models-modules").join(name)
}

fn load(path: &Path) -> SentenceTransformer {
    SentenceTransformer::load(path.to_str().unwrap()).unwrap()
}

fn model(name: &str) -> SentenceTransformer {
    load(&folder_of(name))
}

fn for_task(task: &str) -> EncodeOptions {
    let options = EncodeOptions::new();
    if task.is_empty() { options } else { options.task(task) }
}

fn failure<T: std::fmt::Debug>(result: Result<T, Error>) -> (ErrorKind, String) {
    let error = result.unwrap_err();
    (error.kind(), error.to_string())
}

#[test]
fn vectors_are_the_original_s() {
    let golden = golden();
    assert_eq!(golden.models.len(), 14);
    for (name, tasks) in &golden.models {
        let model = model(name);
        for (task, rows) in tasks {
            let embeddings = model.encode_with(&golden.texts, &for_task(task)).unwrap();
            for (index, expected) in rows.iter().enumerate() {
                let what = format!("{name}, task '{task}', text {index}");
                match expected {
                    Some(expected) => assert_close(embeddings.row(index), expected, TOLERANCE, &what),
                    None => assert!(embeddings.row(index).iter().all(|x| *x == 0.0), "{what}"),
                }
            }
        }
    }
}

#[test]
fn words_are_the_original_s() {
    let WordIds { texts, models } = golden().word_ids;
    assert_eq!(models.keys().collect::<Vec<_>>(), ["phrases", "word-embeddings"]);
    for (name, expected) in models {
        let report = model(&name).tokenize(&texts).unwrap();
        for ((text, ids), expected) in texts.iter().zip(report.texts()).zip(expected) {
            assert_eq!(ids.ids(), expected, "{name}: {text:?}");
        }
    }
}

#[test]
fn vectors_do_not_depend_on_the_batch() {
    let golden = golden();
    for (name, tasks) in &golden.models {
        let model = model(name);
        for task in tasks.keys() {
            let options = for_task(task);
            let all = model.encode_with(&golden.texts, &options.clone().threads(1)).unwrap();
            let reversed: Vec<&String> = golden.texts.iter().rev().collect();
            let other = model.encode_with(&reversed, &options.clone().batch_size(3)).unwrap();
            for (index, text) in golden.texts.iter().enumerate() {
                let alone = model.encode_one(text, &options).unwrap();
                assert_eq!(all.row(index), alone, "{name}, task '{task}': {text}");
                assert_eq!(other.row(golden.texts.len() - 1 - index), alone, "{name}, task '{task}': {text}");
            }
        }
    }
}

/// Files of a folder and those below, relative to it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(path.strip_prefix(folder).unwrap().to_path_buf());
            }
        }
    }
    found.sort();
    found
}

#[test]
fn what_is_saved_is_what_the_original_saves() {
    let golden = golden();
    let place = tempfile::tempdir().unwrap();
    for (name, tasks) in &golden.models {
        let (source, target) = (folder_of(name), place.path().join(name));
        let model = load(&source);
        model.save_pretrained(&target).unwrap();
        if name != "asym" {
            // The fixtures carry no model cards.
            let saved: Vec<PathBuf> =
                files(&target).into_iter().filter(|file| file != Path::new("README.md")).collect();
            assert_eq!(saved, files(&source), "{name}");
            for file in saved {
                let read = |folder: &Path| fs::read(folder.join(&file)).unwrap();
                let json = file.extension().is_some_and(|extension| extension == "json");
                // The versions of other libraries differ from machine to machine.
                if json && file != Path::new("config_sentence_transformers.json") {
                    assert_eq!(read(&target), read(&source), "{name}: {}", file.display());
                }
            }
        }
        let again = load(&target);
        assert_eq!(format!("{again:?}"), format!("{model:?}"));
        for task in tasks.keys() {
            let encode = |model: &SentenceTransformer| model.encode_with(&golden.texts, &for_task(task)).unwrap();
            assert_eq!(encode(&again), encode(&model), "{name}, task '{task}'");
        }
    }
}

#[test]
fn an_old_asym_is_saved_as_a_router() {
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("model");
    model("asym").save_pretrained(&target).unwrap();
    let config = fs::read_to_string(target.join("2_Router/router_config.json")).unwrap();
    assert!(config.contains("\"default_route\": \"query\",\n        \"allow_empty_key\": true"), "{config}");
    let modules = fs::read_to_string(target.join("modules.json")).unwrap();
    assert!(modules.contains("\"type\": \"sentence_transformers.models.Router\""), "{modules}");
}

#[test]
fn encode_query_and_encode_document_name_their_tasks() {
    let texts = ["The weather is lovely today.", "river bank"];
    let options = EncodeOptions::new();
    for name in ["router", "router-tokens", "router-later", "router-nested"] {
        let model = model(name);
        let by_task = |task: &str| model.encode_with(&texts, &for_task(task)).unwrap();
        assert_eq!(model.encode_query(&texts, &options).unwrap(), by_task("query"), "{name}");
        assert_eq!(model.encode_document(&texts, &options).unwrap(), by_task("document"), "{name}");
        assert_ne!(by_task("query"), by_task("document"), "{name}");
    }
    // A model without a router takes no notice.
    let plain = model("weighted-layers");
    assert_eq!(plain.encode_query(&texts, &options).unwrap(), plain.encode(&texts).unwrap());
    assert_eq!(plain.encode_with(&texts, &for_task("anything")).unwrap(), plain.encode(&texts).unwrap());
}

#[test]
fn tasks_without_a_route_are_named() {
    let none =
        "You must provide a `task` argument when calling this method, or set a default route in the `Router` module.";
    let unknown = "No route found for task type 'x'. Available routes: ['query', 'document']";
    let later = model("router-later");
    assert_eq!(failure(later.encode(&["river"])), (ErrorKind::Argument, none.to_owned()));
    assert_eq!(failure(later.encode_with(&["river"], &for_task("x"))), (ErrorKind::Argument, unknown.to_owned()));
    let first = model("router");
    assert_eq!(failure(first.encode_with(&["river"], &for_task("x"))), (ErrorKind::Argument, unknown.to_owned()));
    assert_eq!(failure(first.tokenize_with(&["river"], &for_task("x"))), (ErrorKind::Argument, unknown.to_owned()));
    assert!(first.encode_with(&[""; 0], &for_task("x")).is_err());
}

#[test]
fn each_route_reads_texts_in_its_own_way() {
    let mut model = model("router");
    let tokens = |task: &str| model.tokenize_with(&["river bank"], &for_task(task)).unwrap().texts()[0].ids().to_vec();
    assert_eq!(tokens("document").len(), 4, "with special tokens");
    assert_eq!(tokens("query").len(), 2, "without");
    assert_eq!(model.tokenize(&["river bank"]).unwrap().texts()[0].ids(), tokens("document"));
    let prompted = for_task("document").prompt(Prompt::text("the "));
    assert_eq!(model.tokenize_with(&["river bank"], &prompted).unwrap().texts()[0].kept(), 5);
    // The static route reads texts of any length, so that the model has no limit; setting one sets it on all routes.
    assert_eq!(model.max_seq_length(), None);
    model.set_max_seq_length(Some(3));
    assert_eq!(model.max_seq_length(), Some(3));
    for task in ["query", "document"] {
        let report = model.tokenize_with(&["river bank river bank"], &for_task(task)).unwrap();
        assert_eq!(report.texts()[0].kept(), 3, "{task}");
    }
}

/// Keeps the warnings of this test binary.
struct Warnings(Mutex<Vec<String>>);

static WARNINGS: Warnings = Warnings(Mutex::new(Vec::new()));

impl log::Log for Warnings {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            self.0.lock().unwrap().push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

#[test]
fn the_largest_limit_of_all_routes_counts() {
    log::set_logger(&WARNINGS).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
    let count = |text: &str| WARNINGS.0.lock().unwrap().iter().filter(|warning| warning.as_str() == text).count();
    let words = |limit: usize| {
        let path = fixture_path("models-modules/words.txt");
        let mut words = WordEmbeddings::from_text_file(path, TextFileOptions::new()).unwrap();
        words.set_max_seq_length(Some(limit));
        Pipeline::new("0", Box::new(words), vec![]).unwrap()
    };
    assert_eq!(model("router-tokens").max_seq_length(), Some(32));
    let mut router = Router::for_query_document(words(20), words(7)).unwrap();
    let warning = "Different max_seq_lengths detected: {7, 20}. Using the maximum value.";
    assert_eq!((count(warning), router.max_seq_length()), (0, Some(20)));
    assert_eq!((router.max_seq_length(), count(warning)), (Some(20), 1));
    router.set_max_seq_length(Some(9));
    assert!(router.routes().all(|(_, route)| route.input().max_seq_length() == Some(9)));
    let bag = || Pipeline::new("0", Box::new(BoW::new(["river"], [], 1.0, true)), vec![]).unwrap();
    let mut router = Router::for_query_document(bag(), bag()).unwrap();
    router.set_max_seq_length(Some(9));
    assert_eq!((router.max_seq_length(), count("No modules have a max_seq_length attribute to set.")), (None, 1));
}

#[test]
fn features_say_the_task_as_a_whole() {
    // The original gives one letter of it per text, and fails when there are more texts than letters.
    let texts = ["river"; 12];
    let features = model("router").encode_features(&texts, &for_task("query")).unwrap();
    assert_eq!(features.len(), 12);
    assert!(features.iter().all(|text| text.task.as_deref() == Some("query")));
    let features = model("router").encode_features(&["river"], &EncodeOptions::new()).unwrap();
    assert_eq!(features[0].task.as_deref(), Some("document"));
    let features = model("word-weights").encode_features(&["river dog", "x"], &EncodeOptions::new()).unwrap();
    assert_eq!(features[0].token_weights_sum, Some(9.5));
    assert_eq!(features[1].token_weights_sum, Some(0.0));
}

#[test]
fn token_embeddings_come_through_a_router() {
    let tokens = model("router-tokens").encode_tokens(&["river bank"], &for_task("query")).unwrap();
    assert_eq!((tokens.hidden(), tokens.data().len()), (16, 4 * 16));
}

#[test]
fn text_files_give_the_vectors_that_the_original_reads() {
    let path = fixture_path("models-modules/words.txt");
    let saved = |words: WordEmbeddings, name: &str| {
        let place = tempfile::tempdir().unwrap();
        let pipeline = Pipeline::new("0", Box::new(words), vec![]).unwrap();
        let model = SentenceTransformer::from_pipeline(pipeline, &LoadOptions::new()).unwrap();
        model.save_pretrained(place.path().join("model")).unwrap();
        let (ours, original) = (place.path().join("model/0_WordEmbeddings"), folder_of(name).join("0_WordEmbeddings"));
        assert_eq!(files(&ours), files(&original));
        let tensor = |folder: &Path| fs::read(folder.join("model.safetensors")).unwrap();
        let numbers = |bytes: Vec<u8>| bytes[bytes.len() - 34 * 6 * 4..].to_vec();
        assert_eq!(numbers(tensor(&ours)), numbers(tensor(&original)));
    };
    saved(WordEmbeddings::from_text_file(&path, TextFileOptions::new()).unwrap(), "word-embeddings");
    let phrases = TextFileOptions::new().tokenizer(PhraseTokenizer::new([""; 0]));
    saved(WordEmbeddings::from_text_file(&path, phrases).unwrap(), "phrases");
}

/// A copy of a model with one text of one file replaced.
fn changed(name: &str, file: &str, from: &str, to: &str) -> (tempfile::TempDir, Result<SentenceTransformer, Error>) {
    let place = tempfile::tempdir().unwrap();
    for path in files(&folder_of(name)) {
        let target = place.path().join(&path);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(folder_of(name).join(&path), target).unwrap();
    }
    let path = place.path().join(file);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{file} does not contain {from}");
    fs::write(&path, text.replacen(from, to, 1)).unwrap();
    let model = SentenceTransformer::load(place.path().to_str().unwrap());
    (place, model)
}

#[test]
fn folders_of_later_releases_are_read() {
    let modules = "sentence_transformers.sentence_transformer.modules";
    for (name, file, from, to) in [
        ("lstm", "1_LSTM/lstm_config.json", "word_embedding_dimension", "embedding_dimension"),
        ("cnn", "1_CNN/cnn_config.json", "in_word_embedding_dimension", "in_embedding_dimension"),
        ("weighted-layers", "1_WeightedLayerPooling/config.json", "word_embedding_dimension", "embedding_dimension"),
        ("lstm", "modules.json", "sentence_transformers.models.LSTM", &format!("{modules}.lstm.LSTM")),
        ("bow", "modules.json", "sentence_transformers.models.BoW", &format!("{modules}.bow.BoW")),
        (
            "router",
            "modules.json",
            "sentence_transformers.models.Router",
            "sentence_transformers.base.modules.router.Router",
        ),
    ] {
        let (_place, model) = changed(name, file, from, to);
        assert!(model.is_ok(), "{name}: {}", model.unwrap_err());
    }
}

#[test]
fn modules_that_do_not_fit_are_named() {
    let bad = |name: &str, file: &str, from: &str, to: &str| failure(changed(name, file, from, to).1).1;
    let config = "1_WeightedLayerPooling/config.json";
    let message = bad("weighted-layers", "config.json", "\"num_hidden_layers\": 3", "\"num_hidden_layers\": 2");
    assert!(message.contains("(WeightedLayerPooling) takes 4 hidden states, but the encoder has 3"), "{message}");
    let message = bad("weighted-layers", config, "\"layer_start\": 1", "\"layer_start\": 7");
    assert!(message.contains("'layer_start' 7 lies behind the last layer, 3"), "{message}");
    let message = bad("cnn", "1_CNN/cnn_config.json", "3", "4");
    assert!(message.contains("'kernel_sizes' should be a list of odd numbers"), "{message}");
    let message =
        bad("word-embeddings", "0_WordEmbeddings/wordembedding_config.json", "WhitespaceTokenizer\"", "Other\"");
    assert!(
        message.contains("Other' is not supported; supported are WhitespaceTokenizer, PhraseTokenizer"),
        "{message}"
    );
    let message =
        bad("word-weights", "1_WordWeights/config.json", "\"word_weights\": {", "\"word_weights\": 3, \"x\": {");
    assert!(message.contains("'word_weights' should be an object of numbers"), "{message}");
    let message =
        bad("router", "router_config.json", "models.StaticEmbedding.StaticEmbedding", "models.Normalize.Normalize");
    assert!(message.contains("(Normalize) cannot read texts"), "{message}");
    let message = bad("router", "router_config.json", "sentence_transformers.models.Static", "my_code.Static");
    assert!(message.contains("is Python code, which this library does not run"), "{message}");
    let message = bad("router", "router_config.json", "\"default_route\": \"document\"", "\"default_route\": \"x\"");
    assert!(message.contains("Default route 'x' not found in route keys: ['query', 'document']"), "{message}");
    let message = bad("router", "router_config.json", "\"query_0_StaticEmbedding\": ", "\"other\": ");
    assert!(message.contains("'types' does not say what module 'query_0_StaticEmbedding'"), "{message}");
}

#[test]
fn a_router_that_contains_itself_comes_to_an_end() {
    let config = |id: &str| {
        format!(
            "{{\"types\": {{\"{id}\": \"sentence_transformers.models.Router.Router\"}}, \"structure\": {{\"a\": [\"{id}\"]}}, \
             \"parameters\": {{}}}}"
        )
    };
    let place = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(place.path().join(name), text).unwrap();
    let modules = r#"[{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Router"}]"#;
    write("modules.json", modules);
    let load = || failure(SentenceTransformer::load(place.path().to_str().unwrap())).1;
    for (id, expected) in [("", "contains the router itself"), (".", "contains the router itself")] {
        write("router_config.json", &config(id));
        let message = load();
        assert!(message.contains(expected), "{message}");
    }
    write("router_config.json", &config("../elsewhere"));
    assert!(load().contains("leaves the model's folder"));
    // By an odd spelling.
    write("router_config.json", &config("./."));
    assert!(load().contains("or the module contains itself"));
    // Through a link inside the model, which is allowed: the system itself may follow fewer links than modules are.
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(place.path(), place.path().join("inner")).unwrap();
        write("router_config.json", &config("inner"));
        let message = load();
        assert!(message.contains("or the module contains itself") || message.contains("cannot read"), "{message}");
    }
}

#[test]
#[ignore = "writes the folders that `python fixtures/module_models.py --check` reads"]
fn save_for_the_original() {
    let target = PathBuf::from(std::env::var_os("SAVE_MODULES_TO").unwrap());
    for name in golden().models.keys() {
        model(name).save_pretrained(target.join(name)).unwrap();
    }
}
