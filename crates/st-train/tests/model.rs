//! Trainable models: the library's vectors, the original's gradients, the way to a saved model and back.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use sentence_transformers::modules::{
    BoW, Dense, DenseActivation, Dropout, LayerNorm, Module, Normalize, Pooling, PoolingMode, TextFileOptions,
    WordEmbeddings, WordWeights,
};
use sentence_transformers::native::NativeBackend;
use sentence_transformers::{EncodeOptions, LoadOptions, NamedModule, Pipeline, Prompt, SentenceTransformer};
use serde::Deserialize;
use st_candle::{CandleBackend, DeviceChoice};
use st_testing::{fixture_path, tiny_model};
use st_train::model::{Column, EmbeddingModel, InputKind, TrainableModel, TrainingOptions, TrainingPass};
use st_train::random::Generator;

const TEXTS: [&str; 4] = [
    "A man is eating food.",
    "the",
    "Two women walk and talk about the weather, and the weather is fine.",
    "A small dog sleeps under the table while it rains.",
];

fn load(path: &Path) -> SentenceTransformer {
    SentenceTransformer::load(path.to_str().unwrap()).unwrap()
}

fn folders(kind: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(fixture_path(kind)).unwrap();
    let mut folders: Vec<_> = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn trainable(library: &SentenceTransformer, data_type: DType) -> TrainableModel {
    TrainableModel::new(library, TrainingOptions::new().data_type(data_type)).unwrap()
}

fn numbers(x: &Tensor) -> Vec<f64> {
    x.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// The largest difference, relative to numbers above 1.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs() / a.abs().max(1.0)).fold(0.0, f64::max)
}

/// The tasks that a model knows; none when it takes no notice of them.
fn tasks(library: &SentenceTransformer) -> Vec<Option<&'static str>> {
    let routed = library.pipeline().modules().any(|(_, module)| module.kind().name == "Router");
    if routed { vec![Some("query"), Some("document")] } else { vec![None] }
}

#[test]
fn without_dropout_the_vectors_are_the_library_s() {
    let mut compared = 0;
    for folder in folders("models").into_iter().chain(folders("models-modules")) {
        let library = load(&folder);
        let model = trainable(&library, DType::F32);
        for task in tasks(&library) {
            let options = EncodeOptions::new().prompt(Prompt::text(""));
            let options = task.map_or(options.clone(), |task| options.task(task));
            let Ok(expected) = library.encode_with(&TEXTS, &options) else { continue };
            let column = model.tokenize(&texts(&TEXTS), None, task).unwrap();
            let embedded = model.embed(&column, &mut TrainingPass::evaluation()).unwrap();
            assert_eq!(embedded.sentences.dims(), [TEXTS.len(), model.dimension()]);
            let expected: Vec<f64> = expected.as_slice().iter().map(|&x| f64::from(x)).collect();
            let apart = distance(&expected, &numbers(&embedded.sentences));
            assert!(apart < 1e-5, "{}, task {task:?}: {apart}", folder.display());
            compared += 1;
        }
    }
    assert!(compared >= 30, "only {compared} models were compared");
}

#[test]
fn models_move_to_the_graph_and_back() {
    let mut library = load(&tiny_model("tiny-bert-plain"));
    let single = library.encode(&TEXTS).unwrap();
    let doubles = CandleBackend::new(DeviceChoice::Cpu).with_dtype(DType::F64);
    library.to_backend(Arc::new(doubles)).unwrap();
    assert_eq!((library.dtype(), library.device()), (Some("float64"), "cpu"));
    let double = library.encode(&TEXTS).unwrap();
    let numbers = |rows: &[f32]| rows.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
    assert!(distance(&numbers(single.as_slice()), &numbers(double.as_slice())) < 1e-5);
    library.to_backend(Arc::new(NativeBackend::new())).unwrap();
    assert_eq!(library.dtype(), Some("float32"));
    assert_eq!(library.encode(&TEXTS).unwrap(), single);
}

#[test]
fn prompts_are_measured_and_left_out() {
    let mut library = load(&tiny_model("tiny-bert-concat"));
    for include in [true, false] {
        assert!(library.set_pooling_include_prompt(include));
        let model = trainable(&library, DType::F32);
        let options = EncodeOptions::new().prompt(Prompt::text("search query: "));
        let expected = library.encode_with(&TEXTS, &options).unwrap();
        let column = model.tokenize(&texts(&TEXTS), Some("search query: "), None).unwrap();
        assert_eq!(column.prompt_length().is_some(), !include);
        assert_eq!(column.texts()[1], "search query: the");
        let embedded = model.embed(&column, &mut TrainingPass::evaluation()).unwrap();
        let expected: Vec<f64> = expected.as_slice().iter().map(|&x| f64::from(x)).collect();
        let apart = distance(&expected, &numbers(&embedded.sentences));
        assert!(apart < 1e-5, "include_prompt {include}: {apart}");
    }
}

#[derive(Deserialize)]
struct Gradients {
    texts: Vec<String>,
    models: BTreeMap<String, ModelGradients>,
}

#[derive(Deserialize)]
struct ModelGradients {
    task: Option<String>,
    loss: f64,
    parameters: BTreeMap<String, Gradient>,
}

#[derive(Deserialize)]
struct Gradient {
    shape: Vec<usize>,
    sum: f64,
    norm: f64,
    first: Vec<f64>,
}

/// `Σ sin(0.7·k + 0.3)·e_k` over all components `k`: a loss that reaches every component.
fn loss(model: &dyn EmbeddingModel, column: &Column) -> Tensor {
    let sentences = model.embed(column, &mut TrainingPass::evaluation()).unwrap().sentences;
    let weights: Vec<f64> = (0..sentences.elem_count()).map(|k| (0.7 * k as f64 + 0.3).sin()).collect();
    let weights = Tensor::from_vec(weights, sentences.shape(), sentences.device()).unwrap();
    let weights = weights.to_dtype(sentences.dtype()).unwrap();
    (sentences * weights).unwrap().sum_all().unwrap()
}

#[test]
fn gradients_are_the_original_s() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/model_gradients.json");
    let golden: Gradients = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let mut compared = 0;
    for (name, expected) in &golden.models {
        let model = trainable(&load(&fixture_path(name)), DType::F64);
        let column = model.tokenize(&golden.texts, None, expected.task.as_deref()).unwrap();
        let value = loss(&model, &column);
        let number = value.to_scalar::<f64>().unwrap();
        assert!((number - expected.loss).abs() < 1e-6 * expected.loss.abs().max(1.0), "{name}: {number}");
        let gradients = value.backward().unwrap();
        for parameter in model.parameters().trainable() {
            let Some(gradient) = gradients.get(parameter.variable()) else {
                assert!(!expected.parameters.contains_key(parameter.name()), "{name}: {}", parameter.name());
                continue;
            };
            // What the original computes no gradient for has none here either, or it is zero.
            let flat = numbers(gradient);
            let Some(expected) = expected.parameters.get(parameter.name()) else {
                assert!(flat.iter().all(|x| x.abs() < 1e-12), "{name}: {} has a gradient", parameter.name());
                continue;
            };
            assert_eq!(gradient.dims(), expected.shape);
            let norm = flat.iter().map(|x| x * x).sum::<f64>().sqrt();
            let scale = 1e-6 * expected.norm.max(1e-6);
            let (sum, first) = (flat.iter().sum::<f64>(), &flat[..expected.first.len()]);
            let near = |a: f64, b: f64| (a - b).abs() < scale * (flat.len() as f64).sqrt();
            assert!(near(norm, expected.norm), "{name}: {}: {norm} is not {}", parameter.name(), expected.norm);
            assert!(near(sum, expected.sum), "{name}: {}: {sum} is not {}", parameter.name(), expected.sum);
            for (x, y) in first.iter().zip(&expected.first) {
                assert!(near(*x, *y), "{name}: {}: {x} is not {y}", parameter.name());
            }
            compared += 1;
        }
        let known: Vec<&str> = model.parameters().iter().map(|parameter| parameter.name()).collect();
        for parameter in expected.parameters.keys() {
            assert!(known.contains(&parameter.as_str()), "{name} has no parameter {parameter}");
        }
    }
    assert!(compared > 100, "only {compared} parameters were compared");
}

/// Compares derivatives with differences, for some numbers of every trainable parameter.
fn check_differences(name: &str, model: &TrainableModel, column: &Column) -> usize {
    const STEP: f64 = 1e-5;
    let gradients = loss(model, column).backward().unwrap();
    let mut checked = 0;
    for parameter in model.parameters().trainable() {
        let before = parameter.variable().as_detached_tensor().copy().unwrap();
        let values = numbers(&before);
        let gradient = gradients.get(parameter.variable()).map(numbers).unwrap_or_else(|| vec![0.0; values.len()]);
        // The largest derivatives, and the first number.
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|&a, &b| gradient[b].abs().total_cmp(&gradient[a].abs()));
        order.truncate(2);
        order.push(0);
        for index in order {
            let at = |offset: f64| {
                let mut moved = values.clone();
                moved[index] += offset;
                let moved = Tensor::from_vec(moved, before.shape(), &Device::Cpu).unwrap();
                parameter.variable().set(&moved).unwrap();
                loss(model, column).to_scalar::<f64>().unwrap()
            };
            let difference = (at(STEP) - at(-STEP)) / (2.0 * STEP);
            parameter.variable().set(&before).unwrap();
            let scale = gradient[index].abs().max(difference.abs()).max(1e-2);
            let apart = (difference - gradient[index]).abs() / scale;
            assert!(apart < 1e-4, "{name}: {} [{index}]: {} is not {difference}", parameter.name(), gradient[index]);
            checked += 1;
        }
    }
    checked
}

#[test]
fn gradients_of_every_module_are_differences() {
    let mut checked = 0;
    let more = ["tiny-bert-concat", "tiny-bert-cls-dense", "tiny-roberta"].map(tiny_model);
    for folder in folders("models-modules").into_iter().chain(more) {
        let library = load(&folder);
        let model = trainable(&library, DType::F64);
        for task in tasks(&library) {
            let Ok(column) = model.tokenize(&texts(&TEXTS[..2]), None, task) else { continue };
            // The router inside may know other tasks.
            if model.embed(&column, &mut TrainingPass::evaluation()).is_err() {
                continue;
            }
            checked += check_differences(&folder.display().to_string(), &model, &column);
        }
    }
    assert!(checked > 300, "only {checked} derivatives were checked");
}

fn words(pooling: &[PoolingMode], rest: Vec<Box<dyn Module>>) -> SentenceTransformer {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vectors.txt");
    std::fs::write(&path, "a 0.5 -1 0.25\nman 1 0.75 -0.5\nfood -0.25 0.5 1.5\nthe 0.1 0.2 0.3\n").unwrap();
    let input = WordEmbeddings::from_text_file(&path, TextFileOptions::new()).unwrap().update_embeddings(true);
    let pooling: Box<dyn Module> = Box::new(Pooling::new(3, pooling).unwrap());
    let mut modules = rest;
    let at = modules.iter().position(|module| module.kind().name != "WordWeights").unwrap_or(modules.len());
    modules.insert(at, pooling);
    let named = |(index, module): (usize, Box<dyn Module>)| NamedModule { name: (index + 1).to_string(), module };
    let pipeline = Pipeline::new("0", Box::new(input), modules.into_iter().enumerate().map(named).collect());
    SentenceTransformer::from_pipeline(pipeline.unwrap(), &LoadOptions::new()).unwrap()
}

#[test]
fn every_pooling_mode_and_activation_is_differentiated() {
    let modes = PoolingMode::ALL.map(|(mode, ..)| mode);
    let weights = || WordWeights::new(["PADDING_TOKEN", "a", "man", "food", "the"], [("man", 2.0), ("food", 0.5)], 1.0);
    let column_texts = texts(&["a man a food", "man the", "food a man"]);
    for modes in modes.iter().map(std::slice::from_ref).chain([&modes[..]]) {
        for weighted in [false, true] {
            let rest: Vec<Box<dyn Module>> = if weighted { vec![Box::new(weights())] } else { vec![] };
            let library = words(modes, rest);
            let model = trainable(&library, DType::F64);
            let column = model.tokenize(&column_texts, None, None).unwrap();
            for length in [None, Some(1)] {
                let column = column.clone().with_prompt_length(length);
                assert!(check_differences(&format!("{modes:?}"), &model, &column) > 0);
            }
            let with_empty = texts(&["a man", "", "the"]);
            let expected = library.encode(&with_empty).unwrap();
            let expected: Vec<f64> = expected.as_slice().iter().map(|&x| f64::from(x)).collect();
            let column = model.tokenize(&with_empty, None, None).unwrap();
            let found = model.embed(&column, &mut TrainingPass::evaluation()).unwrap().sentences;
            assert!(distance(&expected, &numbers(&found)) < 1e-6, "{modes:?}");
        }
    }
    for (name, activation) in DenseActivation::ALL {
        let weight = (0..12).map(|k| 2.5 * (1.3f32 * k as f32 + 0.4).sin()).collect();
        let dense = Dense::new(3, 4, weight, Some(vec![0.3, -0.2, 0.1, 0.7]), activation).unwrap();
        let norm = LayerNorm::new(vec![1.0, 0.5, 2.0, -1.0], vec![0.1; 4]).unwrap();
        let drop = Dropout::new(0.5).unwrap();
        let library =
            words(&[PoolingMode::Mean], vec![Box::new(dense), Box::new(norm), Box::new(drop), Box::new(Normalize)]);
        let model = trainable(&library, DType::F64);
        let column = model.tokenize(&column_texts, None, None).unwrap();
        assert!(check_differences(name, &model, &column) > 10);
        let expected = library.encode(&column_texts).unwrap();
        let expected: Vec<f64> = expected.as_slice().iter().map(|&x| f64::from(x)).collect();
        let found = model.embed(&column, &mut TrainingPass::evaluation()).unwrap().sentences;
        assert!(distance(&expected, &numbers(&found)) < 1e-5, "{name}");
    }
}

/// One step of gradient descent.
fn step(model: &TrainableModel, column: &Column, rate: f64) {
    let gradients = loss(model, column).backward().unwrap();
    for parameter in model.parameters().trainable() {
        if let Some(gradient) = gradients.get(parameter.variable()) {
            let new = (parameter.variable().as_tensor() - (gradient * rate).unwrap()).unwrap();
            parameter.variable().set(&new).unwrap();
        }
    }
}

#[test]
fn a_step_is_saved_and_loaded_again() {
    for folder in folders("models").into_iter().chain(folders("models-modules")) {
        let library = load(&folder);
        let model = trainable(&library, DType::F32);
        let task = tasks(&library)[0];
        let Ok(column) = model.tokenize(&texts(&TEXTS), None, task) else { continue };
        step(&model, &column, 0.01);
        let expected = numbers(&model.embed(&column, &mut TrainingPass::evaluation()).unwrap().sentences);
        let options = EncodeOptions::new().prompt(Prompt::text(""));
        let options = task.map_or(options.clone(), |task| options.task(task));
        let close = |library: &SentenceTransformer| {
            let found = library.encode_with(&TEXTS, &options).unwrap();
            let found: Vec<f64> = found.as_slice().iter().map(|&x| f64::from(x)).collect();
            let apart = distance(&expected, &found);
            assert!(apart < 1e-5, "{}: {apart}", folder.display());
            found
        };
        let found = close(&model.sentence_transformer().unwrap());
        let target = tempfile::tempdir().unwrap();
        let saved = target.path().join("model");
        model.save(&saved).unwrap();
        let reloaded = load(&saved);
        assert_eq!(close(&reloaded), found, "{}", folder.display());
        // A model made of the saved one has the very same parameters.
        let again = trainable(&reloaded, DType::F32);
        for parameter in model.parameters().iter() {
            let own = again.parameters().get(parameter.name()).unwrap();
            assert_eq!(numbers(own.variable()), numbers(parameter.variable()), "{}", parameter.name());
        }
        let with_weights = model.parameters().trainable().next().is_some();
        let before = library.encode_with(&TEXTS, &options).unwrap();
        let before: Vec<f64> = before.as_slice().iter().map(|&x| f64::from(x)).collect();
        if with_weights && expected.iter().any(|x| *x != 0.0) {
            assert_ne!(before, found, "{}", folder.display());
        }
    }
}

#[test]
fn frozen_parameters_get_no_gradients() {
    let mut model = trainable(&load(&tiny_model("tiny-bert-cls-dense")), DType::F32);
    let column = model.tokenize(&texts(&TEXTS), None, None).unwrap();
    let of = |model: &TrainableModel, prefix: &str| {
        let sentences = model.embed(&column, &mut TrainingPass::evaluation()).unwrap().sentences;
        let gradients = (sentences.narrow(1, 0, 1)).unwrap().sum_all().unwrap().backward().unwrap();
        let mut parameters = model.parameters().iter().filter(|parameter| parameter.name().starts_with(prefix));
        parameters.any(|parameter| gradients.get(parameter.variable()).is_some())
    };
    let embeddings = "0.auto_model.embeddings.";
    assert!(of(&model, embeddings) && of(&model, "2."));
    assert!(model.parameters_mut().freeze(embeddings) >= 3);
    assert!(!of(&model, embeddings) && of(&model, "0.auto_model.encoder.layer.0.") && of(&model, "2."));
    model.parameters_mut().freeze("2.linear");
    assert!(!of(&model, "2.linear") && of(&model, "3.norm"));
    model.parameters_mut().set_trainable(true, |_| true);
    assert!(of(&model, embeddings) && of(&model, "2."));

    let mut pass = TrainingPass::evaluation().with_gradients(false);
    let sentences = model.embed(&column, &mut pass).unwrap().sentences;
    let gradients = sentences.sum_all().unwrap().backward().unwrap();
    assert!(model.parameters().iter().all(|parameter| gradients.get(parameter.variable()).is_none()));
}

#[test]
fn dropout_is_drawn_from_the_pass() {
    let model = trainable(&load(&tiny_model("tiny-bert-cls-dense")), DType::F32);
    let column = model.tokenize(&texts(&TEXTS), None, None).unwrap();
    let run = |pass: &mut TrainingPass| numbers(&model.embed(&column, pass).unwrap().sentences);
    let mut pass = TrainingPass::training(Generator::new(7));
    let mut again = pass.clone();
    let first = run(&mut pass);
    assert_eq!(first, run(&mut again));
    assert_eq!(pass, again);
    assert_ne!(first, run(&mut pass));
    assert_ne!(first, run(&mut TrainingPass::training(Generator::new(8))));
    assert_ne!(first, run(&mut TrainingPass::evaluation()));
    let checkpointing = TrainingOptions::new().gradient_checkpointing(true);
    let model = TrainableModel::new(model.library(), checkpointing).unwrap();
    assert_eq!(
        first,
        numbers(&model.embed(&column, &mut TrainingPass::training(Generator::new(7))).unwrap().sentences)
    );
}

#[test]
fn layers_tokens_and_kinds_are_told() {
    let model = trainable(&load(&tiny_model("tiny-bert")), DType::F32);
    assert_eq!((model.input_kind(), model.layers(), model.dimension()), (InputKind::Transformer, Some(3), 32));
    let column = model.tokenize(&texts(&TEXTS), None, None).unwrap();
    let mut pass = TrainingPass::evaluation().with_layers(true).with_tokens(true);
    let embedded = model.embed(&column, &mut pass).unwrap();
    let layers = embedded.layers.unwrap();
    assert_eq!(layers.len(), 3);
    let last = model.embed_layer(&column, &layers[2], &mut pass).unwrap();
    assert_eq!(numbers(&last), numbers(&embedded.sentences));
    let first = model.embed_layer(&column, &layers[0], &mut pass).unwrap();
    assert_ne!(numbers(&first), numbers(&embedded.sentences));
    let tokens = embedded.tokens.unwrap();
    assert_eq!(
        (tokens.rows.dims(), tokens.offsets.as_ref()),
        (&[column.batch().tokens(), 32][..], column.batch().offsets())
    );

    let kinds = [("bow", InputKind::BoW), ("router", InputKind::Router), ("lstm", InputKind::WordEmbeddings)];
    for (name, kind) in kinds {
        let model = trainable(&load(&fixture_path("models-modules").join(name)), DType::F32);
        assert_eq!(model.input_kind(), kind);
        let none = model.embed(&column.slice(0..0), &mut TrainingPass::evaluation()).unwrap();
        assert_eq!(none.sentences.dims(), [0, model.dimension()]);
    }
}

#[test]
fn a_copy_has_parameters_of_its_own() {
    let mut model = trainable(&load(&tiny_model("tiny-bert")), DType::F64);
    let column = model.tokenize(&texts(&TEXTS), None, None).unwrap();
    step(&model, &column, 0.1);
    model.parameters_mut().freeze("0.auto_model.embeddings");
    let copy = model.copy().unwrap();
    let run =
        |model: &dyn EmbeddingModel| numbers(&model.embed(&column, &mut TrainingPass::evaluation()).unwrap().sentences);
    let before = run(&model);
    assert_eq!(run(copy.as_ref()), before);
    assert_eq!(copy.parameters().trainable().count(), model.parameters().trainable().count());
    step(&model, &column, 0.1);
    assert_eq!(run(copy.as_ref()), before);
    assert_ne!(run(&model), before);
}

#[test]
fn what_cannot_train_is_refused_by_name() {
    let words = BoW::new(["a"], [], 1.0, true);
    let library =
        SentenceTransformer::from_pipeline(Pipeline::new("0", Box::new(words), vec![]).unwrap(), &LoadOptions::new())
            .unwrap();
    let error = TrainableModel::new(&library, TrainingOptions::new().data_type(DType::U32)).unwrap_err();
    assert_eq!(error.to_string(), "`data_type` is U32, but numbers to be trained are floating-point");
    let model = trainable(&load(&fixture_path("models-modules").join("router-nested")), DType::F32);
    let column = Column::new(st_encoder::Batch::from_sequences([&[1u32][..]]), ["a".to_owned()]).unwrap();
    let error = model.embed(&column.with_task(Some("x".into())), &mut TrainingPass::evaluation()).unwrap_err();
    assert!(error.to_string().starts_with("No route found for task type 'x'. Available routes: ['"), "{error}");
}

/// Saves every tiny model after a step, with its vectors, under the folder that `SAVE_TRAINED_TO` names, for
/// `python crates/st-train/fixtures/check_saved.py FOLDER`; `MODELS` may name more models, split by commas.
#[test]
#[ignore = "writes models for a check with the original"]
fn save_for_the_original() {
    let target = PathBuf::from(std::env::var_os("SAVE_TRAINED_TO").unwrap());
    let more = std::env::var("MODELS").unwrap_or_default();
    let more = more.split(',').filter(|name| !name.is_empty()).map(PathBuf::from);
    for folder in folders("models").into_iter().chain(folders("models-modules")).chain(more) {
        let model = trainable(&load(&folder), DType::F32);
        let task = tasks(model.library())[0];
        let Ok(column) = model.tokenize(&texts(&TEXTS), None, task) else { continue };
        step(&model, &column, 0.01);
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let start = std::time::Instant::now();
        model.sentence_transformer().unwrap();
        println!("{name}: {:?} back to the library", start.elapsed());
        let saved = target.join(&name);
        model.save(&saved).unwrap();
        let sentences = model.embed(&column, &mut TrainingPass::evaluation()).unwrap().sentences;
        let rows: Vec<_> = numbers(&sentences).chunks(model.dimension()).map(<[f64]>::to_vec).collect();
        let vectors = serde_json::json!({"texts": TEXTS, "task": task, "vectors": rows});
        std::fs::write(saved.join("vectors.json"), vectors.to_string()).unwrap();
    }
}
