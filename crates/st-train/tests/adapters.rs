//! Training an adapter: gradients and steps against torch with peft (`fixtures/adapter_models.py`).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::collections::BTreeMap;

use candle_core::Tensor;
use sentence_transformers::adapters::{AdapterConfig, AdapterOptions};
use sentence_transformers::{Embeddings, SentenceTransformer};
use serde::Deserialize;
use serde_json::Value;
use st_testing::fixture_path;
use st_train::model::{EmbeddingModel, TrainableModel, TrainingOptions, TrainingPass};
use st_train::random::Generator;

#[derive(Deserialize)]
struct Golden {
    texts: Vec<String>,
    adapters: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct Training {
    rate: f64,
    cases: BTreeMap<String, Case>,
}

#[derive(Deserialize)]
struct Case {
    losses: Vec<f32>,
    gradients: BTreeMap<String, [f32; 2]>,
    embeddings: Vec<Vec<f32>>,
}

fn golden() -> (Golden, Training) {
    (st_testing::golden::read("adapters/golden.json"), st_testing::golden::read("adapters/training.json"))
}

fn load(base: &str) -> SentenceTransformer {
    SentenceTransformer::load(fixture_path(base).to_str().unwrap()).unwrap()
}

/// sin(1), sin(2), …
fn wave(count: usize) -> Vec<f32> {
    (1..=count).map(|index| (index as f64).sin() as f32).collect()
}

/// The golden's loss: a linear form of the embeddings of the texts, each embedded alone.
fn loss(model: &TrainableModel, texts: &[String], pass: &mut TrainingPass) -> Tensor {
    let rows: Vec<Tensor> = texts
        .iter()
        .map(|text| {
            let column = model.tokenize(std::slice::from_ref(text), None, None).unwrap();
            model.embed(&column, pass).unwrap().sentences
        })
        .collect();
    let embeddings = Tensor::cat(&rows, 0).unwrap().flatten_all().unwrap();
    let count = embeddings.elem_count();
    let wave = Tensor::from_vec(wave(count), count, embeddings.device()).unwrap();
    (embeddings * wave).unwrap().sum_all().unwrap()
}

fn largest(found: &Embeddings, expected: impl Iterator<Item = f32>) -> f32 {
    found.as_slice().iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn gradients_and_steps_are_pefts() {
    let (golden, training) = golden();
    assert!(training.cases.len() >= 7);
    for (name, case) in &training.cases {
        let mut library = load(golden.adapters[name]["base"].as_str().unwrap());
        let base = library.encode(&golden.texts).unwrap();
        let folder = fixture_path("adapters").join(name);
        library.load_adapter(folder.to_str().unwrap(), &AdapterOptions::new().trainable(true)).unwrap();
        let model = TrainableModel::new(&library, TrainingOptions::new()).unwrap();
        for (step, expected) in case.losses.iter().enumerate() {
            let loss = loss(&model, &golden.texts, &mut TrainingPass::evaluation());
            let value = loss.to_scalar::<f32>().unwrap();
            assert!(
                (value - expected).abs() < 1e-5 * expected.abs().max(1.0),
                "{name}, step {step}: {value}, not {expected}"
            );
            let gradients = loss.backward().unwrap();
            let mut names = Vec::new();
            for parameter in model.parameters().iter() {
                let Some(gradient) = gradients.get(parameter.variable()) else { continue };
                assert!(parameter.is_trainable(), "{name}: {} is the base model's", parameter.name());
                let numbers = gradient.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                let length = numbers.iter().map(|x| x * x).sum::<f32>().sqrt();
                let projection: f32 = numbers.iter().zip(wave(numbers.len())).map(|(a, b)| a * b).sum();
                names.push(parameter.name().to_owned());
                // What is trained whole is a parameter beside the base's in peft.
                let original = case
                    .gradients
                    .iter()
                    .find(|(known, _)| known.replace(".modules_to_save.default", "") == parameter.name());
                if step == 0 {
                    let (_, expected) =
                        original.unwrap_or_else(|| panic!("{name}: peft does not train {}", parameter.name()));
                    for (found, expected) in [length, projection].iter().zip(expected) {
                        let difference = (found - expected).abs() / expected.abs().max(1.0);
                        assert!(difference < 2e-5, "{name}, {}: {found}, not {expected}", parameter.name());
                    }
                }
                let moved = (parameter.variable().as_tensor() - (gradient * training.rate).unwrap()).unwrap();
                parameter.variable().set(&moved).unwrap();
            }
            assert_eq!(names.len(), case.gradients.len(), "{name} trains what peft trains");
        }
        let mut trained = model.sentence_transformer().unwrap();
        let found = trained.encode(&golden.texts).unwrap();
        let difference = largest(&found, case.embeddings.iter().flatten().copied());
        println!("{name}: {difference:.1e} after {} steps", case.losses.len());
        assert!(difference < 1e-5, "{name}: {difference}");

        let saved = tempfile::tempdir().unwrap();
        trained.save_pretrained(saved.path().join("adapter")).unwrap();
        assert!(saved.path().join("adapter/adapter_model.safetensors").is_file());
        assert!(!saved.path().join("adapter/model.safetensors").exists(), "the base model is not saved with it");
        trained.disable_adapters().unwrap();
        assert_eq!(trained.encode(&golden.texts).unwrap(), base, "{name} leaves the base model as it was");
        trained.enable_adapters().unwrap();
        trained.merge_adapters().unwrap();
        assert_eq!(trained.encode(&golden.texts).unwrap(), found, "{name}, merged");
        trained.save_pretrained(saved.path().join("merged")).unwrap();
        assert!(saved.path().join("merged/model.safetensors").is_file());
    }
}

#[test]
fn a_fresh_adapter_learns_and_comes_back_from_disk() {
    let (golden, _) = golden();
    let mut library = load("models/tiny-bert");
    library.add_adapter(AdapterConfig::new(4).alpha(8.0).dropout(0.3), None, 5).unwrap();
    let model = TrainableModel::new(&library, TrainingOptions::new()).unwrap();
    assert_eq!(model.parameters().trainable().count(), 8);
    let mut pass = TrainingPass::training(Generator::new(1));
    let mut losses = Vec::new();
    for _ in 0..20 {
        let loss = loss(&model, &golden.texts, &mut pass);
        losses.push(loss.to_scalar::<f32>().unwrap());
        let gradients = loss.backward().unwrap();
        for parameter in model.parameters().trainable() {
            if let Some(gradient) = gradients.get(parameter.variable()) {
                let moved = (parameter.variable().as_tensor() - (gradient * 0.05).unwrap()).unwrap();
                parameter.variable().set(&moved).unwrap();
            }
        }
    }
    assert!(losses[19] < losses[0] - 1.0, "{losses:?}");
    let trained = model.sentence_transformer().unwrap();
    let folder = tempfile::tempdir().unwrap();
    model.save(folder.path()).unwrap();
    let again = SentenceTransformer::load(folder.path().to_str().unwrap()).unwrap();
    assert_eq!(again.encode(&golden.texts).unwrap(), trained.encode(&golden.texts).unwrap());
    assert_ne!(again.encode(&golden.texts).unwrap(), library.encode(&golden.texts).unwrap());
}

#[test]
fn dropout_falls_on_the_change_alone() {
    let (golden, _) = golden();
    // The model's own dropout is off in this configuration; the adapter's is all there is.
    let folder = tempfile::tempdir().unwrap();
    let from = fixture_path("adapters/tiny-modernbert");
    for entry in std::fs::read_dir(&from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
    }
    std::fs::create_dir(folder.path().join("1_Pooling")).unwrap();
    std::fs::copy(from.join("1_Pooling/config.json"), folder.path().join("1_Pooling/config.json")).unwrap();
    let mut library = SentenceTransformer::load(folder.path().to_str().unwrap()).unwrap();
    for dora in [false, true] {
        let config = AdapterConfig::new(4).dropout(0.5).target_modules(["Wqkv", "Wo"]).dora(dora);
        library.add_adapter(config, Some("fresh"), 5).unwrap();
        let model = TrainableModel::new(&library, TrainingOptions::new()).unwrap();
        let value = |pass: &mut TrainingPass| loss(&model, &golden.texts, pass).to_scalar::<f32>().unwrap();
        let still = value(&mut TrainingPass::evaluation());
        // B is zero: whatever is dropped, nothing changes; with DoRA the magnitude is the length, so the scale is one.
        let dropped = value(&mut TrainingPass::training(Generator::new(2)));
        assert!((still - dropped).abs() < 1e-4, "{still} and {dropped}");
        for parameter in model.parameters().trainable().filter(|parameter| parameter.name().contains("lora_B")) {
            parameter.variable().set(&parameter.variable().ones_like().unwrap()).unwrap();
        }
        let still = value(&mut TrainingPass::evaluation());
        let once = value(&mut TrainingPass::training(Generator::new(2)));
        assert_eq!(once, value(&mut TrainingPass::training(Generator::new(2))), "the same seed drops the same");
        assert!(
            (still - once).abs() > 1e-3 && (once - value(&mut TrainingPass::training(Generator::new(3)))).abs() > 1e-4
        );
        library.delete_adapter("fresh").unwrap();
    }
}

#[test]
fn one_of_several_adapters_is_trained_and_the_others_stay() {
    let (golden, _) = golden();
    let mut library = load("models/tiny-bert");
    for name in ["first", "second"] {
        let config = AdapterConfig::new(2).target_modules(["query", "value"]);
        library.add_adapter(config, Some(name), 3 + name.len() as u64).unwrap();
    }
    library.set_adapter("first").unwrap();
    let before = ["first", "second"].map(|name| library.adapter_state_dict(Some(name)).unwrap());
    let model = TrainableModel::new(&library, TrainingOptions::new()).unwrap();
    assert!(model.parameters().trainable().count() > 0);
    assert!(model.parameters().trainable().all(|parameter| parameter.name().contains(".first.")));
    let gradients = loss(&model, &golden.texts, &mut TrainingPass::evaluation()).backward().unwrap();
    for parameter in model.parameters().trainable() {
        let gradient = gradients.get(parameter.variable()).unwrap();
        let moved = (parameter.variable().as_tensor() - (gradient * 0.1).unwrap()).unwrap();
        parameter.variable().set(&moved).unwrap();
    }
    let mut trained = model.sentence_transformer().unwrap();
    assert_eq!(trained.active_adapters().unwrap(), ["first"]);
    assert_ne!(trained.adapter_state_dict(Some("first")).unwrap(), before[0]);
    assert_eq!(trained.adapter_state_dict(Some("second")).unwrap(), before[1]);

    // The other one's turn: what was trained stays.
    let first = trained.adapter_state_dict(Some("first")).unwrap();
    trained.set_adapter("second").unwrap();
    let model = TrainableModel::new(&trained, TrainingOptions::new()).unwrap();
    assert!(model.parameters().trainable().all(|parameter| parameter.name().contains(".second.")));
    for parameter in model.parameters().trainable() {
        parameter.variable().set(&parameter.variable().ones_like().unwrap()).unwrap();
    }
    let both = model.sentence_transformer().unwrap();
    assert_eq!(both.adapter_state_dict(Some("first")).unwrap(), first);
    assert_ne!(both.adapter_state_dict(Some("second")).unwrap(), before[1]);
}
