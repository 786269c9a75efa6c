//! Training several adapters at once, against torch with peft (`fixtures/adapters_together.py`), and what is saved of it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::path::Path;

use candle_core::{DType, Tensor};
use sentence_transformers::adapters::{AdapterConfig, AdapterOptions};
use sentence_transformers::{Image, SentenceTransformer};
use serde::Deserialize;
use serde_json::Value;
use st_testing::fixture_path;
use st_train::callbacks::{Callback, Event};
use st_train::data::Table;
use st_train::losses::CoSentLoss;
use st_train::model::{EmbeddingModel, TrainableModel, TrainingOptions, TrainingPass};
use st_train::random::Generator;
use st_train::{Resume, Trainer, TrainingArguments};

#[derive(Deserialize)]
struct Golden {
    texts: Vec<Case>,
    clip: Vec<Case>,
    refused: Vec<Refused>,
}

#[derive(Deserialize)]
struct Case {
    base: String,
    adapters: Vec<String>,
    rate: f64,
    losses: Vec<f64>,
    gradients: std::collections::BTreeMap<String, [f64; 2]>,
    embeddings: Vec<Vec<f32>>,
}

#[derive(Deserialize)]
struct Refused {
    base: String,
    adapters: Vec<String>,
    error: String,
}

/// What is embedded: the texts, then the images.
#[derive(Default)]
struct Inputs {
    texts: Vec<String>,
    images: Vec<Image>,
}

impl Inputs {
    fn of_texts() -> Self {
        let golden: Value = st_testing::golden::read("adapters/golden.json");
        Self { texts: serde_json::from_value(golden["texts"].clone()).unwrap(), ..Self::default() }
    }

    fn of_clip() -> Self {
        let golden: Value = st_testing::golden::read("clip/adapters/golden.json");
        let images: Vec<usize> = serde_json::from_value(golden["images"].clone()).unwrap();
        let images = images.into_iter().map(picture).collect();
        Self { texts: serde_json::from_value(golden["texts"].clone()).unwrap(), images }
    }

    /// A linear form of all embeddings; texts are embedded one by one.
    fn loss(&self, model: &TrainableModel, pass: &mut TrainingPass) -> Tensor {
        let mut rows: Vec<Tensor> = Vec::new();
        for text in &self.texts {
            let column = model.tokenize(std::slice::from_ref(text), None, None).unwrap();
            rows.push(model.embed(&column, pass).unwrap().sentences);
        }
        if !self.images.is_empty() {
            rows.push(model.embed(&model.read_images(&self.images, None).unwrap(), pass).unwrap().sentences);
        }
        let embeddings = Tensor::cat(&rows, 0).unwrap().flatten_all().unwrap();
        let count = embeddings.elem_count();
        (embeddings * Tensor::from_vec(wave(count), count, &candle_core::Device::Cpu).unwrap())
            .unwrap()
            .sum_all()
            .unwrap()
    }

    fn vectors(&self, model: &SentenceTransformer) -> Vec<f32> {
        let mut rows = model.encode(&self.texts).unwrap().into_vec();
        if !self.images.is_empty() {
            rows.extend(model.encode(&self.images).unwrap().into_vec());
        }
        rows
    }
}

/// Image `number`, as `fixtures/clip_training.py` computes it.
fn picture(number: usize) -> Image {
    let (width, height, pixels) = st_testing::picture(number);
    Image::from_rgb(width, height, pixels).unwrap()
}

/// sin(1), sin(2), …
fn wave(count: usize) -> Vec<f64> {
    (1..=count).map(|index| (index as f64).sin()).collect()
}

/// A model with adapters that are all active, from a folder of fixtures.
fn load(base: &str, folder: &str, names: &[String]) -> sentence_transformers::Result<SentenceTransformer> {
    let mut library = SentenceTransformer::load(fixture_path(base).to_str().unwrap())?;
    for name in names {
        let folder = fixture_path(folder).join(name);
        library.load_adapter(folder.to_str().unwrap(), &AdapterOptions::new().name(name))?;
    }
    library.set_adapters(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
    Ok(library)
}

fn apart(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(a, b)| (a - b).abs() / b.abs().max(1.0)).fold(0.0, f32::max)
}

/// Follows the steps of a case in 64 bits, as torch did; gives the trained model.
fn follow(case: &Case, library: &SentenceTransformer, inputs: &Inputs) -> SentenceTransformer {
    let names = &case.adapters;
    let model = TrainableModel::new(library, TrainingOptions::new().data_type(DType::F64)).unwrap();
    for (step, expected) in case.losses.iter().enumerate() {
        let loss = inputs.loss(&model, &mut TrainingPass::evaluation());
        let value = loss.to_scalar::<f64>().unwrap();
        let difference = (value - expected).abs() / expected.abs().max(1.0);
        // ModernBERT's angles and CLIP's pixels are rounded to 32 bits there.
        assert!(difference < 1e-6, "{names:?}, step {step}: {value}, not {expected}");
        let gradients = st_candle::backward(&loss).unwrap();
        let mut trained = 0;
        for parameter in model.parameters().iter() {
            let Some(gradient) = gradients.get(parameter.variable()) else { continue };
            assert!(parameter.is_trainable(), "{names:?}: {} is the base model's", parameter.name());
            trained += 1;
            if step == 0 {
                let numbers = gradient.flatten_all().unwrap().to_vec1::<f64>().unwrap();
                let length = numbers.iter().map(|x| x * x).sum::<f64>().sqrt();
                let projection: f64 = numbers.iter().zip(wave(numbers.len())).map(|(a, b)| a * b).sum();
                let expected = case.gradients[parameter.name()];
                for (found, expected) in [length, projection].iter().zip(expected) {
                    let difference = (found - expected).abs() / expected.abs().max(length).max(1.0);
                    assert!(difference < 1e-6, "{names:?}, {}: {found}, not {expected}", parameter.name());
                }
            }
            let moved = (parameter.variable().as_tensor() - (gradient * case.rate).unwrap()).unwrap();
            parameter.variable().set(&moved).unwrap();
        }
        assert_eq!(trained, case.gradients.len(), "{names:?} trains what peft trains");
    }
    let trained = model.sentence_transformer().unwrap();
    let difference = apart(&inputs.vectors(&trained), &case.embeddings.concat());
    println!("{names:?}: {difference:.1e} after {} steps", case.losses.len());
    assert!(difference < 1e-5, "{names:?}: {difference}");
    assert_eq!(trained.active_adapters().unwrap(), names);
    trained
}

#[test]
fn gradients_and_steps_are_pefts() {
    let golden: Golden = st_testing::golden::read("adapters_together.json");
    assert_eq!((golden.texts.len(), golden.clip.len()), (8, 2));
    let inputs = Inputs::of_texts();
    for case in &golden.texts {
        let library = load(&case.base, "adapters", &case.adapters).unwrap();
        follow(case, &library, &inputs);
    }
}

#[test]
fn gradients_and_steps_on_clip_models_are_pefts() {
    let golden: Golden = st_testing::golden::read("adapters_together.json");
    let inputs = Inputs::of_clip();
    for case in &golden.clip {
        let library = load(&case.base, "clip/adapters", &case.adapters).unwrap();
        follow(case, &library, &inputs);
    }
}

#[test]
fn adapters_that_replace_something_whole_are_trained_alone() {
    let golden: Golden = st_testing::golden::read("adapters_together.json");
    let refused = |base: &str, names: &[String]| {
        let library = load(base, "adapters", names)?;
        Ok::<_, Box<dyn std::error::Error>>(TrainableModel::new(&library, TrainingOptions::new())?)
    };
    for case in &golden.refused {
        assert!(case.error.contains("at once for modules_to_save"), "peft refuses {:?}", case.adapters);
        let error = refused(&case.base, &case.adapters).unwrap_err().to_string();
        assert!(error.contains("adapter 'bert-whole' replaces modules or biases whole"), "{error}");
    }
    let error = refused("models/tiny-bert", &["bert-lora".into(), "bert-bias".into()]).unwrap_err().to_string();
    assert!(error.contains("adapter 'bert-bias' replaces modules or biases whole"), "{error}");
}

#[test]
fn each_is_saved_into_a_folder_of_its_own() {
    let golden: Golden = st_testing::golden::read("adapters_together.json");
    let inputs = Inputs::of_texts();
    let case = &golden.texts[2];
    let trained = follow(case, &load(&case.base, "adapters", &case.adapters).unwrap(), &inputs);
    let folder = tempfile::tempdir().unwrap();
    let error = trained.save_pretrained(folder.path().join("all")).unwrap_err().to_string();
    assert!(error.contains("saving multiple active adapters is not supported yet"), "{error}");
    trained.save_adapters(folder.path()).unwrap();
    // Laid over the base again, in the same order, they give the same numbers.
    let mut again = SentenceTransformer::load(fixture_path(&case.base).to_str().unwrap()).unwrap();
    for name in &case.adapters {
        let saved = folder.path().join(name);
        assert!(saved.join("adapter_config.json").is_file() && !saved.join("model.safetensors").exists());
        again.load_adapter(saved.to_str().unwrap(), &AdapterOptions::new().name(name)).unwrap();
        let state = |model: &SentenceTransformer| model.adapter_state_dict(Some(name)).unwrap();
        assert_eq!(state(&again), state(&trained), "{name}");
    }
    again.set_adapters(&case.adapters.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    assert_eq!(inputs.vectors(&again), inputs.vectors(&trained));

    let mut library = SentenceTransformer::load(fixture_path(&case.base).to_str().unwrap()).unwrap();
    for name in ["../escaped", "b"] {
        library.add_adapter(AdapterConfig::new(2), Some(&name.replace("..", "")), 1).unwrap();
    }
    library.set_adapters(&["/escaped", "b"]).unwrap();
    let error = library.save_adapters(folder.path().join("no")).unwrap_err().to_string();
    assert!(error.contains("the adapter '/escaped' cannot be saved"), "{error}");
    assert!(!folder.path().join("no").exists());
}

#[test]
fn a_change_without_dropout_beside_one_with_it_is_the_same_as_in_the_weights() {
    // The base's own dropout is off in this configuration, and zeros of B make the dropped change nothing.
    let inputs = Inputs::of_texts();
    for names in [["modernbert-lora", "fresh"], ["modernbert-dora", "fresh"], ["fresh", "modernbert-dora"]] {
        let mut library =
            SentenceTransformer::load(fixture_path("adapters/tiny-modernbert").to_str().unwrap()).unwrap();
        for name in names {
            if name == "fresh" {
                let config = AdapterConfig::new(2).dropout(0.5).target_modules(["Wqkv", "Wi", "mlp.Wo"]);
                library.add_adapter(config, Some(name), 3).unwrap();
            } else {
                let folder = fixture_path("adapters").join(name);
                library.load_adapter(folder.to_str().unwrap(), &AdapterOptions::new().name(name)).unwrap();
            }
        }
        library.set_adapters(&names).unwrap();
        let model = TrainableModel::new(&library, TrainingOptions::new().data_type(DType::F64)).unwrap();
        let value = |pass: &mut TrainingPass| inputs.loss(&model, pass).to_scalar::<f64>().unwrap();
        let still = value(&mut TrainingPass::evaluation());
        let dropped = value(&mut TrainingPass::training(Generator::new(2)));
        assert!((still - dropped).abs() < 1e-9, "{names:?}: {still} and {dropped}");
        let fresh = |name: &str| name.contains("lora_B.fresh");
        for parameter in model.parameters().trainable().filter(|parameter| fresh(parameter.name())) {
            parameter.variable().set(&parameter.variable().ones_like().unwrap()).unwrap();
        }
        let once = value(&mut TrainingPass::training(Generator::new(2)));
        assert_eq!(once, value(&mut TrainingPass::training(Generator::new(2))), "the same seed drops the same");
        let other = value(&mut TrainingPass::training(Generator::new(3)));
        assert!((once - other).abs() > 1e-4, "{names:?}: {once} and {other}");
    }
}

/// Ends the run at a step, as if it had been killed there.
#[derive(Debug)]
struct StopAt(usize);

impl Callback for StopAt {
    fn name(&self) -> &'static str {
        "StopAt"
    }

    fn on_step_begin(&mut self, event: &mut Event<'_>) -> st_train::Result<()> {
        if event.state.global_step == self.0 {
            return Err(st_train::TrainError::custom("the test", "killed here"));
        }
        Ok(())
    }
}

fn run(folder: &Path, stop: Option<usize>, resume: bool) -> st_train::Result<()> {
    let mut library = SentenceTransformer::load(fixture_path("models/tiny-bert").to_str().unwrap()).unwrap();
    for (seed, name) in ["law", "medicine"].into_iter().enumerate() {
        let config = AdapterConfig::new(2).dropout(0.2).target_modules(["query", "value"]).dora(seed == 1);
        library.add_adapter(config, Some(name), seed as u64).unwrap();
    }
    library.set_adapters(&["law", "medicine"]).unwrap();
    let model = TrainableModel::new(&library, TrainingOptions::new()).unwrap();
    let words = ["weather", "lovely", "today", "sunny", "river", "bank"];
    let text = |row: usize| format!("{} {} {}", words[row % 6], words[row * 5 % 6], words[(row + 2) % 6]);
    let data = Table::new()
        .column("sentence1", (0..12).map(text))
        .and_then(|table| table.column("sentence2", (0..12).map(|row| text(row + 1))))
        .and_then(|table| table.column("score", (0..12).map(|row| f64::from(row * 37 % 101) / 100.0)))
        .unwrap();
    let arguments = TrainingArguments::new(folder)
        .num_train_epochs(2.0)
        .per_device_train_batch_size(4)
        .learning_rate(1e-2)
        .save_steps(2.0)
        .resume_from_checkpoint(resume.then_some(Resume::Last(true)));
    let mut trainer = Trainer::new(model, arguments).train_dataset(data).loss(CoSentLoss::new());
    if let Some(step) = stop {
        trainer = trainer.callback(StopAt(step));
    }
    trainer.train().map(|_| ())
}

#[test]
fn a_run_over_two_adapters_is_taken_up_to_the_bit() {
    let read = |folder: &Path| {
        let last = st_train::last_checkpoint(folder).unwrap().unwrap();
        let file = |name: &str| std::fs::read(last.join(name)).unwrap();
        ["parameters.safetensors", "optimizer.safetensors", "law/adapter_model.safetensors"]
            .map(file)
            .into_iter()
            .chain([file("medicine/adapter_model.safetensors")])
            .collect::<Vec<_>>()
    };
    let whole = tempfile::tempdir().unwrap();
    run(whole.path(), None, false).unwrap();
    let fresh = {
        let mut library = SentenceTransformer::load(fixture_path("models/tiny-bert").to_str().unwrap()).unwrap();
        library.add_adapter(AdapterConfig::new(2).target_modules(["query", "value"]), Some("law"), 0).unwrap();
        library.adapter_state_dict(None).unwrap()
    };
    let last = st_train::last_checkpoint(whole.path()).unwrap().unwrap();
    let law = SentenceTransformer::load(last.join("law").to_str().unwrap()).unwrap();
    assert_ne!(law.adapter_state_dict(None).unwrap(), fresh, "the run changed it");
    let stopped = tempfile::tempdir().unwrap();
    run(stopped.path(), Some(3), false).unwrap_err();
    run(stopped.path(), None, true).unwrap();
    assert!(read(stopped.path()) == read(whole.path()));
}
