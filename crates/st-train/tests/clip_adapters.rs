//! Training an adapter on a CLIP model: gradients and steps against torch with peft (`fixtures/clip_adapters.py`).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::collections::BTreeMap;

use candle_core::Tensor;
use sentence_transformers::adapters::{AdapterConfig, AdapterOptions};
use sentence_transformers::{Image, SentenceTransformer};
use serde::Deserialize;
use st_testing::fixture_path;
use st_train::model::{EmbeddingModel, TrainableModel, TrainingOptions, TrainingPass};
use st_train::random::Generator;

#[derive(Deserialize)]
struct Golden {
    texts: Vec<String>,
    images: Vec<usize>,
    training: Training,
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
    texts: Vec<Vec<f32>>,
    images: Vec<Vec<f32>>,
}

fn golden() -> Golden {
    st_testing::golden::read("clip/adapters/golden.json")
}

fn load() -> SentenceTransformer {
    SentenceTransformer::load(fixture_path("clip/model").to_str().unwrap()).unwrap()
}

fn picture(number: usize) -> Image {
    let (width, height, pixels) = st_testing::picture(number);
    Image::from_rgb(width, height, pixels).unwrap()
}

/// sin(1), sin(2), …
fn wave(count: usize) -> Vec<f32> {
    (1..=count).map(|index| (index as f64).sin() as f32).collect()
}

/// The golden's loss: a linear form of the embeddings of texts and images.
fn loss(model: &TrainableModel, golden: &Golden, pass: &mut TrainingPass) -> Tensor {
    let texts = model.tokenize(&golden.texts, None, None).unwrap();
    let images: Vec<Image> = golden.images.iter().map(|&number| picture(number)).collect();
    let images = model.read_images(&images, None).unwrap();
    let rows = [texts, images].map(|column| model.embed(&column, pass).unwrap().sentences);
    let embeddings = Tensor::cat(&rows, 0).unwrap().flatten_all().unwrap();
    let count = embeddings.elem_count();
    let wave = Tensor::from_vec(wave(count), count, embeddings.device()).unwrap();
    (embeddings * wave).unwrap().sum_all().unwrap()
}

/// All vectors, one after the other.
fn vectors(model: &SentenceTransformer, golden: &Golden) -> Vec<f32> {
    let images: Vec<Image> = golden.images.iter().map(|&number| picture(number)).collect();
    let mut rows = model.encode(&golden.texts).unwrap().into_vec();
    rows.extend(model.encode(&images).unwrap().into_vec());
    rows
}

fn apart(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(a, b)| (a - b).abs() / b.abs().max(1.0)).fold(0.0, f32::max)
}

#[test]
fn gradients_and_steps_are_pefts() {
    let golden = golden();
    assert_eq!(golden.training.cases.len(), 7);
    for (name, case) in &golden.training.cases {
        let mut library = load();
        let base = vectors(&library, &golden);
        let folder = fixture_path("clip/adapters").join(name);
        library.load_adapter(folder.to_str().unwrap(), &AdapterOptions::new().trainable(true)).unwrap();
        let model = TrainableModel::new(&library, TrainingOptions::new()).unwrap();
        for (step, expected) in case.losses.iter().enumerate() {
            let loss = loss(&model, &golden, &mut TrainingPass::evaluation());
            let value = loss.to_scalar::<f32>().unwrap();
            // A sum of 140 numbers of which some are near 10.
            let apart = (value - expected).abs() / expected.abs().max(1.0);
            assert!(apart < 1e-4, "{name}, step {step}: {value}, not {expected}");
            let gradients = st_candle::backward(&loss).unwrap();
            let mut trained = 0;
            for parameter in model.parameters().iter() {
                let Some(gradient) = gradients.get(parameter.variable()) else { continue };
                assert!(parameter.is_trainable(), "{name}: {} is the base model's", parameter.name());
                let numbers = gradient.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                trained += 1;
                if step == 0 {
                    let length = numbers.iter().map(|x| x * x).sum::<f32>().sqrt();
                    let projection: f32 = numbers.iter().zip(wave(numbers.len())).map(|(a, b)| a * b).sum();
                    // What is trained whole is a parameter beside or inside the base's in peft.
                    let own = |known: &str| known.replace(".modules_to_save.default", "").replace(".base_layer.", ".");
                    let original = case.gradients.iter().find(|(known, _)| own(known) == parameter.name());
                    let (_, expected) =
                        original.unwrap_or_else(|| panic!("{name}: peft does not train {}", parameter.name()));
                    for (found, expected) in [length, projection].iter().zip(expected) {
                        let scale = expected.abs().max(length).max(1.0);
                        let difference = (found - expected).abs() / scale;
                        assert!(difference < 2e-5, "{name}, {}: {found}, not {expected}", parameter.name());
                    }
                }
                let moved = (parameter.variable().as_tensor() - (gradient * golden.training.rate).unwrap()).unwrap();
                parameter.variable().set(&moved).unwrap();
            }
            assert_eq!(trained, case.gradients.len(), "{name} trains what peft trains");
        }
        let mut trained = model.sentence_transformer().unwrap();
        let found = vectors(&trained, &golden);
        let expected: Vec<f32> = case.texts.iter().chain(&case.images).flatten().copied().collect();
        println!("{name}: {:.1e} after {} steps", apart(&found, &expected), case.losses.len());
        assert!(apart(&found, &expected) < 1e-5, "{name}: {}", apart(&found, &expected));

        let saved = tempfile::tempdir().unwrap();
        trained.save_pretrained(saved.path()).unwrap();
        assert!(saved.path().join("adapter_model.safetensors").is_file());
        assert!(!saved.path().join("model.safetensors").exists(), "the base model is not saved with it");
        trained.disable_adapters().unwrap();
        assert_eq!(vectors(&trained, &golden), base, "{name} leaves the base model as it was");
    }
}

#[test]
fn a_fresh_adapter_with_dropout_learns() {
    let golden = golden();
    let mut library = load();
    let targets = ["q_proj", "visual_projection", "patch_embedding"];
    let config = AdapterConfig::new(4).alpha(8.0).dropout(0.3).target_modules(targets);
    library.add_adapter(config.dora(true), None, 5).unwrap();
    let model = TrainableModel::new(&library, TrainingOptions::new()).unwrap();
    assert_eq!(model.parameters().trainable().count(), 18);
    let mut pass = TrainingPass::training(Generator::new(1));
    let mut losses = Vec::new();
    for _ in 0..10 {
        let loss = loss(&model, &golden, &mut pass);
        losses.push(loss.to_scalar::<f32>().unwrap());
        let gradients = st_candle::backward(&loss).unwrap();
        for parameter in model.parameters().trainable() {
            let step = (gradients.get(parameter.variable()).unwrap() * 0.02).unwrap();
            parameter.variable().set(&(parameter.variable().as_tensor() - step).unwrap()).unwrap();
        }
    }
    assert!(losses[9] < losses[0] - 1.0, "{losses:?}");
    let trained = model.sentence_transformer().unwrap();
    let before = loss(&model, &golden, &mut TrainingPass::evaluation()).to_scalar::<f32>().unwrap();
    let found: f32 = vectors(&trained, &golden).iter().zip(wave(7 * 20)).map(|(a, b)| a * b).sum();
    assert!((before - found).abs() < 1e-4 * before.abs().max(1.0), "{before} and {found}");
}
