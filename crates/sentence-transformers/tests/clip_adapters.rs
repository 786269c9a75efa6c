//! Adapters on CLIP models against the original with peft (`fixtures/clip_adapters.py`).
//!
//! `SAVE_ADAPTERS_TO=FOLDER cargo test -p sentence-transformers --test clip_adapters -- --ignored` saves models for
//! `fixtures/clip_adapters.py --check FOLDER`, which loads them with the original.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sentence_transformers::adapters::{AdapterConfig, AdapterOptions};
use sentence_transformers::{ErrorKind, Image, LoadOptions, SentenceTransformer, WeightFormat};
use serde::Deserialize;
use serde_json::Value;
use st_testing::fixture_path;

/// The original adds the low-rank product to the layer's output, here it is in the weight.
const TOLERANCE: f32 = 1e-5;

#[derive(Deserialize)]
struct Golden {
    texts: Vec<String>,
    images: Vec<usize>,
    adapters: BTreeMap<String, One>,
    together: Vec<Together>,
}

#[derive(Deserialize)]
struct One {
    tensors: usize,
    change: f32,
    #[serde(flatten)]
    vectors: Vectors,
}

#[derive(Deserialize)]
struct Together {
    adapters: Vec<String>,
    #[serde(flatten)]
    vectors: Vectors,
}

#[derive(Deserialize, Debug, PartialEq)]
struct Vectors {
    texts: Vec<Vec<f32>>,
    images: Vec<Vec<f32>>,
}

impl Vectors {
    /// The largest difference; relative to numbers above 1.
    fn apart(&self, other: &Self) -> f32 {
        let numbers =
            |vectors: &Self| -> Vec<f32> { vectors.texts.iter().chain(&vectors.images).flatten().copied().collect() };
        let (own, other) = (numbers(self), numbers(other));
        assert_eq!(own.len(), other.len());
        own.iter().zip(&other).map(|(a, b)| (a - b).abs() / b.abs().max(1.0)).fold(0.0, f32::max)
    }
}

fn golden() -> Golden {
    st_testing::golden::read("clip/adapters/golden.json")
}

fn base() -> PathBuf {
    fixture_path("clip/model")
}

fn load(path: &Path) -> SentenceTransformer {
    SentenceTransformer::load(path.to_str().unwrap()).unwrap()
}

fn adapter(name: &str) -> String {
    fixture_path("clip/adapters").join(name).to_str().unwrap().to_owned()
}

fn picture(number: usize) -> Image {
    let (width, height, pixels) = st_testing::picture(number);
    Image::from_rgb(width, height, pixels).unwrap()
}

fn vectors(model: &SentenceTransformer, golden: &Golden) -> Vectors {
    let rows = |embeddings: sentence_transformers::Embeddings| {
        (0..embeddings.rows()).map(|row| embeddings.row(row).to_vec()).collect::<Vec<_>>()
    };
    let images: Vec<Image> = golden.images.iter().map(|&number| picture(number)).collect();
    Vectors { texts: rows(model.encode(&golden.texts).unwrap()), images: rows(model.encode(&images).unwrap()) }
}

#[test]
fn embeddings_with_an_adapter_are_the_originals() {
    let golden = golden();
    assert_eq!(golden.adapters.len(), 7);
    for (name, expected) in &golden.adapters {
        let mut model = load(&base());
        let before = vectors(&model, &golden);
        model.load_adapter(adapter(name), &AdapterOptions::new()).unwrap();
        let adapted = vectors(&model, &golden);
        println!("{name}: {:.1e}", adapted.apart(&expected.vectors));
        assert!(adapted.apart(&expected.vectors) < TOLERANCE, "{name}");
        assert!(expected.change > 1.0 && adapted.apart(&before) > 0.1, "{name} does something");
        assert_eq!(model.adapter_state_dict(None).unwrap().len(), expected.tensors, "{name}");
        model.disable_adapters().unwrap();
        assert_eq!(vectors(&model, &golden), before, "{name} is off");
        model.enable_adapters().unwrap();
        assert_eq!(vectors(&model, &golden), adapted, "{name} is on again");
        model.delete_adapter("default").unwrap();
        assert_eq!(vectors(&model, &golden), before, "{name} is gone");
        assert_eq!(model.adapter_names().count(), 0);
    }
}

#[test]
fn several_active_adapters_give_what_the_original_gives() {
    let golden = golden();
    for Together { adapters, vectors: expected } in &golden.together {
        let mut model = load(&base());
        for name in adapters {
            model.load_adapter(adapter(name), &AdapterOptions::new().name(name)).unwrap();
        }
        assert_eq!(model.active_adapters().unwrap(), &adapters[1..]);
        let names: Vec<&str> = adapters.iter().map(String::as_str).collect();
        model.set_adapters(&names).unwrap();
        let apart = vectors(&model, &golden).apart(expected);
        println!("{names:?}: {apart:.1e}");
        assert!(apart < TOLERANCE, "{names:?}: {apart}");
        model.set_adapter(names[0]).unwrap();
        assert!(vectors(&model, &golden).apart(&golden.adapters[names[0]].vectors) < TOLERANCE);
    }
}

#[test]
fn merged_and_saved_models_stay_the_same() {
    let golden = golden();
    for name in golden.adapters.keys() {
        let mut model = load(&base());
        model.load_adapter(adapter(name), &AdapterOptions::new()).unwrap();
        let adapted = vectors(&model, &golden);
        let folder = tempfile::tempdir().unwrap();
        // The base's name in the fixture is a path from where it was made.
        let mut named = model.adapter(None).unwrap().clone();
        named.config_mut().base_model = Some(base().to_str().unwrap().to_owned());
        model.replace_adapter("default", named).unwrap();
        model.save_pretrained(folder.path().join("adapter")).unwrap();
        for absent in ["config.json", "model.safetensors"] {
            assert!(!folder.path().join("adapter").join(absent).exists(), "{absent}");
        }
        let again = load(&folder.path().join("adapter"));
        assert_eq!(again.active_adapters().unwrap(), ["default"]);
        assert_eq!(vectors(&again, &golden), adapted, "{name}");

        model.merge_adapters().unwrap();
        assert_eq!(vectors(&model, &golden), adapted, "{name}");
        model.save_pretrained(folder.path().join("merged")).unwrap();
        assert!(!folder.path().join("merged/adapter_config.json").exists());
        assert_eq!(vectors(&load(&folder.path().join("merged")), &golden), adapted, "{name}");
        let error = model.disable_adapters().unwrap_err();
        assert_eq!(error.to_string(), "No adapter loaded. Please load an adapter first.");
    }
}

#[test]
fn a_fresh_adapter_changes_nothing_and_names_its_base() {
    let golden = golden();
    let mut model = load(&base());
    let before = vectors(&model, &golden);
    let config = AdapterConfig::new(4).alpha(16.0).target_modules(["q_proj", "visual_projection"]).dora(true);
    model.add_adapter(config, Some("mine"), 3).unwrap();
    assert!(vectors(&model, &golden).apart(&before) < 1e-6);
    let names: Vec<String> = model.adapter_state_dict(None).unwrap().into_keys().collect();
    assert_eq!(names.len(), 15);
    assert!(names.contains(&"vision_model.encoder.layers.1.self_attn.q_proj.lora_A.weight".to_owned()));
    assert!(names.contains(&"visual_projection.lora_magnitude_vector".to_owned()));
    let folder = tempfile::tempdir().unwrap();
    model.save_pretrained(folder.path()).unwrap();
    let config: Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("adapter_config.json")).unwrap()).unwrap();
    assert_eq!(config["base_model_name_or_path"], base().to_str().unwrap());
    assert!(vectors(&load(folder.path()), &golden).apart(&before) < 1e-6);
}

#[test]
fn a_fresh_adapter_on_the_map_of_patches_has_the_shapes_of_a_convolution() {
    let golden = golden();
    for dora in [false, true] {
        let mut model = load(&base());
        let before = vectors(&model, &golden);
        let config = AdapterConfig::new(2).target_modules(["patch_embedding"]).dora(dora);
        model.add_adapter(config, None, 3).unwrap();
        assert!(vectors(&model, &golden).apart(&before) < 1e-6);
        let tensors = model.adapter_state_dict(None).unwrap();
        let shape = |end: &str| tensors[&format!("vision_model.embeddings.patch_embedding.{end}")].shape().to_vec();
        assert_eq!(shape("lora_A.weight"), [2, 3, 8, 8]);
        assert_eq!(shape("lora_B.weight"), [24, 2, 1, 1]);
        assert_eq!(tensors.len(), 2 + usize::from(dora));
        if dora {
            assert_eq!(shape("lora_magnitude_vector"), [1, 24, 1, 1]);
        }
    }
    // As PEFT has it, `all-linear` does not mean it.
    let mut model = load(&base());
    model.load_adapter(adapter("dora"), &AdapterOptions::new()).unwrap();
    assert!(model.adapter_state_dict(None).unwrap().keys().all(|name| !name.contains("patch_embedding")));
}

#[test]
fn narrower_weights_have_the_adapter_in_them() {
    let golden = golden();
    let mut model = LoadOptions::new().weights(WeightFormat::F16).load(base().to_str().unwrap()).unwrap();
    model.load_adapter(adapter("lora"), &AdapterOptions::new()).unwrap();
    assert!(vectors(&model, &golden).apart(&golden.adapters["lora"].vectors) < 0.05);
}

#[test]
fn what_does_not_fit_leaves_the_model_as_it_was() {
    let golden = golden();
    let mut model = load(&base());
    let before = vectors(&model, &golden);
    let config = |names: &[&str]| AdapterConfig::new(2).target_modules(names.iter().copied());
    let mut biased = config(&["patch_embedding"]);
    biased.lora_bias = true;
    for (config, expected) in [
        (biased, "'vision_model.embeddings.patch_embedding', which has no bias"),
        (config(&["query"]), "Target modules {'query'} not found in the base model."),
        (AdapterConfig::new(2), "Please specify `target_modules`"),
    ] {
        let error = model.add_adapter(config, None, 1).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let bert = fixture_path("adapters/bert-lora");
    let error = model.load_adapter(bert.to_str().unwrap(), &AdapterOptions::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!((model.adapter_names().count(), vectors(&model, &golden)), (0, before));
}

#[test]
#[ignore = "writes models for the original to load; see the top of the file"]
fn save_models_for_the_original() {
    let golden = golden();
    let folder = PathBuf::from(std::env::var("SAVE_ADAPTERS_TO").unwrap());
    let save = |model: &SentenceTransformer, name: &str| {
        model.save_pretrained(folder.join(name)).unwrap();
        let Vectors { texts, images } = vectors(model, &golden);
        let answers = serde_json::json!({"texts": texts, "images": images});
        std::fs::write(folder.join(format!("{name}.json")), answers.to_string()).unwrap();
    };
    for name in golden.adapters.keys() {
        let mut model = load(&base());
        model.load_adapter(adapter(name), &AdapterOptions::new()).unwrap();
        save(&model, name);
        model.merge_adapters().unwrap();
        save(&model, &format!("{name}-merged"));
    }
}
