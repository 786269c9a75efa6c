//! Adapters against the original with peft (`fixtures/adapter_models.py`).
//!
//! `SAVE_ADAPTERS_TO=FOLDER cargo test -p sentence-transformers --test adapters -- --ignored` saves models for
//! `fixtures/adapter_models.py --check FOLDER`, which loads them with the original.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sentence_transformers::adapters::{AdapterConfig, AdapterOptions};
use sentence_transformers::hub::{Environment, HubOptions};
use sentence_transformers::{Embeddings, ErrorKind, LoadOptions, Result, SentenceTransformer};
use serde::Deserialize;
use serde_json::Value;
use st_testing::{LocalHub, fixture_path, tiny_model};

/// The original adds the low-rank product to the layer's output, here it is in the weight.
const TOLERANCE: f32 = 2e-6;
/// The changes of this adapter are as large as the weights; merged by PEFT itself, its embeddings move by 1.4e-5.
const LARGE: (&str, f32) = ("bert-patterns", 1e-5);

#[derive(Deserialize)]
struct Golden {
    texts: Vec<String>,
    adapters: BTreeMap<String, OneGolden>,
    together: Vec<TogetherGolden>,
    steps: Vec<Step>,
    saved: Vec<Vec<f32>>,
}

#[derive(Deserialize)]
struct OneGolden {
    base: String,
    tensors: usize,
    embeddings: Vec<Vec<f32>>,
    change: f32,
}

#[derive(Deserialize)]
struct TogetherGolden {
    adapters: Vec<String>,
    embeddings: Vec<Vec<f32>>,
}

#[derive(Deserialize)]
struct Step {
    call: Vec<Value>,
    error: String,
    active: Value,
}

fn golden() -> Golden {
    st_testing::golden::read("adapters/golden.json")
}

fn adapter(name: &str) -> String {
    fixture_path("adapters").join(name).to_str().unwrap().to_owned()
}

fn load(base: &str) -> SentenceTransformer {
    SentenceTransformer::load(fixture_path(base).to_str().unwrap()).unwrap()
}

fn named(name: &str) -> AdapterOptions {
    AdapterOptions::new().name(name)
}

#[track_caller]
fn assert_close(found: &Embeddings, expected: &[Vec<f32>], what: &str) {
    let pairs = found.as_slice().iter().zip(expected.iter().flatten());
    let largest = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    println!("{what}: {largest:.1e}");
    let tolerance = if what.contains(LARGE.0) { LARGE.1 } else { TOLERANCE };
    assert!(largest < tolerance, "{what}: {largest}");
}

fn difference(a: &Embeddings, b: &Embeddings) -> f32 {
    a.as_slice().iter().zip(b.as_slice()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn embeddings_with_an_adapter_are_the_originals() {
    let golden = golden();
    assert!(golden.adapters.len() >= 16);
    for (name, expected) in &golden.adapters {
        let mut model = load(&expected.base);
        let before = model.encode(&golden.texts).unwrap();
        model.load_adapter(adapter(name), &AdapterOptions::new()).unwrap();
        let adapted = model.encode(&golden.texts).unwrap();
        assert_close(&adapted, &expected.embeddings, name);
        assert!((difference(&adapted, &before) - expected.change).abs() < 1e-5, "{name} does what it should");
        assert_eq!(model.adapter_state_dict(None).unwrap().len(), expected.tensors, "{name}");
        model.disable_adapters().unwrap();
        assert_eq!(model.encode(&golden.texts).unwrap(), before, "{name} is off");
        model.enable_adapters().unwrap();
        assert_eq!(model.encode(&golden.texts).unwrap(), adapted, "{name} is on again");
        model.delete_adapter("default").unwrap();
        assert_eq!(model.encode(&golden.texts).unwrap(), before, "{name} is gone");
    }
}

#[test]
fn weights_of_pytorch_are_read_too() {
    let golden = golden();
    let mut model = load("models/tiny-bert");
    model.load_adapter(adapter("bert-lora-bin"), &AdapterOptions::new()).unwrap();
    assert_close(&model.encode(&golden.texts).unwrap(), &golden.adapters["bert-lora"].embeddings, "bin");
}

#[test]
fn several_active_adapters_give_what_the_original_gives() {
    let golden = golden();
    for TogetherGolden { adapters, embeddings } in &golden.together {
        let mut model = load(&golden.adapters[&adapters[0]].base);
        for name in adapters {
            model.load_adapter(adapter(name), &named(name)).unwrap();
        }
        let names: Vec<&str> = adapters.iter().map(String::as_str).collect();
        model.set_adapters(&names).unwrap();
        assert_close(&model.encode(&golden.texts).unwrap(), embeddings, &format!("{names:?}"));
    }
}

/// One call of the original's by its name.
fn call(model: &mut SentenceTransformer, call: &[Value]) -> Result<()> {
    let text = |index: usize| call[index].as_str().unwrap().to_owned();
    let list = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().map(|name| name.as_str().unwrap().to_owned()).collect()
    };
    match call[0].as_str().unwrap() {
        "set_adapter" if call[1].is_array() => {
            let names = list(&call[1]);
            model.set_adapters(&names.iter().map(String::as_str).collect::<Vec<_>>())
        }
        "set_adapter" => model.set_adapter(&text(1)),
        "disable_adapters" => model.disable_adapters(),
        "enable_adapters" => model.enable_adapters(),
        "get_adapter_state_dict" => model.adapter_state_dict(None).map(drop),
        "delete_adapter" if call[1].is_array() => {
            let names = list(&call[1]);
            model.delete_adapters(&names.iter().map(String::as_str).collect::<Vec<_>>())
        }
        "delete_adapter" => model.delete_adapter(&text(1)),
        "load_adapter" => model.load_adapter(text(1), &named(&text(2))),
        "active_adapters" => model.active_adapters().map(drop),
        other => panic!("the golden calls {other}"),
    }
}

#[test]
fn the_methods_answer_as_the_originals() {
    // The golden's paths are relative to the fixtures.
    let absolute = |value: &Value| match value.as_str() {
        Some(path) if path.contains('/') => Value::from(fixture_path(path).to_str().unwrap()),
        _ => value.clone(),
    };
    let relative = |message: String| {
        message.replace(&format!("{}/", fixture_path("").to_str().unwrap().trim_end_matches('/')), "")
    };
    let mut model = load("models/tiny-bert");
    for Step { call: made, error, active } in golden().steps {
        if made[0] == "active_adapters" {
            model = load("models-modules/bow");
        }
        let arguments: Vec<Value> = made.iter().map(absolute).collect();
        let found = call(&mut model, &arguments).err().map(|error| relative(error.to_string())).unwrap_or_default();
        assert_eq!(found, error.trim_start_matches("ValueError: "), "{made:?}");
        match (model.active_adapters(), active) {
            (Ok(found), active) => assert_eq!(Value::from(found.to_vec()), active, "after {made:?}"),
            (Err(found), active) => {
                assert_eq!(found.to_string(), active.as_str().unwrap().trim_start_matches("ValueError: "), "{made:?}");
            }
        }
    }
}

/// A copy of the model that the original saved with an active adapter, whose base is named by its path here.
fn saved_by_the_original(base: Option<&str>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy(&fixture_path("adapters/saved"), folder.path());
    edit_config(folder.path(), |config| {
        config["base_model_name_or_path"] =
            base.map_or_else(|| tiny_model("tiny-bert").to_str().unwrap().into(), Value::from);
    });
    folder
}

fn edit_config(folder: &Path, edit: impl FnOnce(&mut Value)) {
    let path = folder.join("adapter_config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    edit(&mut config);
    std::fs::write(path, config.to_string()).unwrap();
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_folder_with_an_adapter_in_the_place_of_weights_is_a_model() {
    let golden = golden();
    let folder = saved_by_the_original(None);
    let path = folder.path().to_str().unwrap();
    let model = SentenceTransformer::load(path).unwrap();
    assert_eq!(model.active_adapters().unwrap(), ["default"]);
    assert_close(&model.encode(&golden.texts).unwrap(), &golden.saved, "saved by the original");
    let copy = folder.path().join("copy");
    model.save_pretrained(&copy).unwrap();
    let names = |folder: &Path| {
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let kept = |name: &String| !matches!(name.as_str(), "README.md" | "vocab.txt" | "2_Normalize" | "copy");
        let mut names: Vec<String> = names.filter(kept).collect();
        names.sort();
        names
    };
    let read = |path: PathBuf| std::fs::read_to_string(path).unwrap();
    assert_eq!(names(&copy), names(folder.path()), "the same files as the original writes");
    for file in
        ["adapter_config.json", "sentence_bert_config.json", "modules.json", "config_sentence_transformers.json"]
    {
        let json = |folder: &Path| serde_json::from_str::<Value>(&read(folder.join(file))).unwrap();
        let (mut found, mut expected) = (json(&copy), json(folder.path()));
        if file.starts_with("config_") {
            (found["__version__"], expected["__version__"]) = (Value::Null, Value::Null);
        }
        assert_eq!(found, expected, "{file}");
    }
    let again = SentenceTransformer::load(copy.to_str().unwrap()).unwrap();
    assert_eq!(again.encode(&golden.texts).unwrap(), model.encode(&golden.texts).unwrap());

    // Without modules.json it is an adapter as PEFT saves it, and gets mean pooling, as the original does.
    std::fs::remove_file(folder.path().join("modules.json")).unwrap();
    let model = SentenceTransformer::load(path).unwrap();
    assert_eq!(model.pipeline().len(), 2);
    // Without a tokenizer of its own it takes the base model's.
    for name in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"] {
        std::fs::remove_file(folder.path().join(name)).unwrap();
    }
    let bare = SentenceTransformer::load(path).unwrap();
    assert_eq!(bare.encode(&golden.texts).unwrap(), model.encode(&golden.texts).unwrap());
}

#[test]
fn a_saved_model_with_a_fresh_adapter_names_its_base() {
    let golden = golden();
    let mut model = load("models/tiny-bert");
    let before = model.encode(&golden.texts).unwrap();
    let config = AdapterConfig::new(4).alpha(16.0).target_modules(["query", "output.dense"]).dora(true);
    model.add_adapter(config, None, 3).unwrap();
    assert_eq!(model.active_adapters().unwrap(), ["default"]);
    assert!(difference(&model.encode(&golden.texts).unwrap(), &before) < 1e-6, "a fresh adapter changes nothing");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    model.save_pretrained(&path).unwrap();
    let config: Value = serde_json::from_slice(&std::fs::read(path.join("adapter_config.json")).unwrap()).unwrap();
    assert_eq!(config["base_model_name_or_path"], tiny_model("tiny-bert").to_str().unwrap());
    assert_eq!((&config["inference_mode"], &config["use_dora"]), (&Value::Bool(false), &Value::Bool(true)));
    assert!(!path.join("config.json").exists() && !path.join("model.safetensors").exists());
    let again = SentenceTransformer::load(path.to_str().unwrap()).unwrap();
    assert_eq!(again.encode(&golden.texts).unwrap(), model.encode(&golden.texts).unwrap());
}

#[test]
fn merged_adapters_are_part_of_a_whole_model() {
    let golden = golden();
    for name in ["bert-dora", "bert-embeddings-dora", "bert-layers", "bert-whole", "modernbert-dora"] {
        let mut model = load(&golden.adapters[name].base);
        model.load_adapter(adapter(name), &AdapterOptions::new()).unwrap();
        let adapted = model.encode(&golden.texts).unwrap();
        model.merge_adapters().unwrap();
        assert_eq!(model.encode(&golden.texts).unwrap(), adapted, "{name}");
        assert_eq!(
            model.active_adapters().unwrap_err().to_string(),
            "No adapter loaded. Please load an adapter first."
        );
        let folder = tempfile::tempdir().unwrap();
        model.save_pretrained(folder.path().join("model")).unwrap();
        assert!(!folder.path().join("model/adapter_config.json").exists());
        let again = SentenceTransformer::load(folder.path().join("model").to_str().unwrap()).unwrap();
        assert_eq!(again.encode(&golden.texts).unwrap(), adapted, "{name}");
    }
}

#[test]
fn several_active_adapters_are_not_saved_but_merged() {
    let mut model = load("models/tiny-bert");
    for name in ["bert-lora", "bert-other"] {
        model.load_adapter(adapter(name), &named(name)).unwrap();
    }
    model.set_adapters(&["bert-lora", "bert-other"]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let error = model.save_pretrained(folder.path().join("model")).unwrap_err();
    assert!(error.to_string().starts_with("Multiple active adapters detected"), "{error}");
    model.merge_adapters().unwrap();
    model.save_pretrained(folder.path().join("model")).unwrap();
}

#[test]
fn a_change_that_fails_leaves_the_model_as_it_was() {
    let golden = golden();
    let mut model = load("models/tiny-bert");
    model.load_adapter(adapter("bert-lora"), &named("a")).unwrap();
    let before = model.encode(&golden.texts).unwrap();
    let error = model.load_adapter(adapter("mpnet-lora"), &named("b")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("Target modules {'q', 'relative_attention_bias', 'v'} not found"), "{error}");
    let error = model.add_adapter(AdapterConfig::new(0), Some("c"), 1).unwrap_err();
    assert!(error.to_string().contains("'r' should be a whole number from 1"), "{error}");
    let error = model.load_adapter(adapter("bert-lora"), &named("x.y")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Argument);
    let options = named("d").subfolder("../bert-other");
    assert!(model.load_adapter(adapter("bert-lora"), &options).is_err(), "a sub-folder stays inside");
    assert_eq!(model.adapter_names().collect::<Vec<_>>(), ["a"]);
    assert_eq!(model.encode(&golden.texts).unwrap(), before);
}

fn files_of(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![(folder.to_owned(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() {
                folders.push((entry.path(), format!("{name}/")));
            } else {
                files.push((name, std::fs::read(entry.path()).unwrap()));
            }
        }
    }
    files
}

#[test]
fn adapters_and_their_bases_come_from_the_hub() {
    let golden = golden();
    let (hub, cache) = (LocalHub::start(), tempfile::tempdir().unwrap());
    let add = |id: &str, folder: &Path| {
        let files = files_of(folder);
        let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
        hub.add(id, &files);
    };
    add("org/base", &tiny_model("tiny-bert"));
    add("org/adapter", &fixture_path("adapters/bert-lora"));
    add("org/adapted", saved_by_the_original(Some("org/base")).path());
    add("org/hostile", saved_by_the_original(Some("../../../etc")).path());
    add("org/elsewhere", saved_by_the_original(Some(tiny_model("tiny-bert").to_str().unwrap())).path());
    let options = || {
        let mut environment = Environment::isolated(cache.path());
        environment.endpoint = hub.url();
        HubOptions::with_environment(environment)
    };
    let mut model = LoadOptions::new().hub(options()).load("org/base").unwrap();
    model.load_adapter("org/adapter", &AdapterOptions::new().hub(options())).unwrap();
    assert_close(&model.encode(&golden.texts).unwrap(), &golden.adapters["bert-lora"].embeddings, "from the Hub");
    let error = model.load_adapter("org/base", &named("b").hub(options())).unwrap_err();
    assert!(error.to_string().starts_with("adapter model file not found in org/base."), "{error}");

    let adapted = LoadOptions::new().hub(options()).load("org/adapted").unwrap();
    assert_close(&adapted.encode(&golden.texts).unwrap(), &golden.saved, "a model from the Hub");
    let offline = LoadOptions::new().hub(options().local_files_only(true)).load("org/adapted").unwrap();
    assert_eq!(offline.encode(&golden.texts).unwrap(), adapted.encode(&golden.texts).unwrap());
    for name in ["org/hostile", "org/elsewhere"] {
        let error = LoadOptions::new().hub(options()).load(name).unwrap_err();
        assert!(error.to_string().contains("is a path, not a model of the Hub"), "{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    model.save_pretrained(folder.path().join("model")).unwrap();
    model.delete_adapter("default").unwrap();
    model.add_adapter(AdapterConfig::new(2), None, 1).unwrap();
    assert_eq!(model.adapter(None).unwrap().config().base_model.as_deref(), Some("org/base"));
}

#[test]
#[ignore = "writes models for the original to load; see the top of the file"]
fn save_models_for_the_original() {
    let golden = golden();
    let folder = PathBuf::from(std::env::var("SAVE_ADAPTERS_TO").unwrap());
    let save = |model: &SentenceTransformer, name: &str| {
        model.save_pretrained(folder.join(name)).unwrap();
        let embeddings = model.encode(&golden.texts).unwrap();
        let rows: Vec<&[f32]> = (0..embeddings.rows()).map(|row| embeddings.row(row)).collect();
        std::fs::write(folder.join(format!("{name}.json")), serde_json::json!({"embeddings": rows}).to_string())
            .unwrap();
    };
    for (name, expected) in &golden.adapters {
        let mut model = load(&expected.base);
        model.load_adapter(adapter(name), &AdapterOptions::new()).unwrap();
        if model.adapter(None).unwrap().config().base_model.is_some() {
            save(&model, name);
        }
        model.merge_adapters().unwrap();
        save(&model, &format!("{name}-merged"));
    }
    let mut model = load("models/tiny-bert");
    let config = AdapterConfig::new(4).alpha(16.0).target_modules(["query", "word_embeddings"]).dora(true);
    model.add_adapter(config, None, 3).unwrap();
    save(&model, "fresh");
}
