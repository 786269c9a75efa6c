//! CLIP models: the library's vectors, the original's gradients and losses, files of images, the way to a saved model.
//!
//! `SAVE_CLIP_TO=FOLDER cargo test -p st-train --test clip -- --ignored` trains a checkpoint for
//! `python fixtures/clip_training.py --check FOLDER`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Tensor};
use sentence_transformers::{Image, LoadOptions, SentenceTransformer};
use serde::Deserialize;
use st_candle::{CandleBackend, DeviceChoice};
use st_testing::fixture_path;
use st_train::data::{Cell, Collator, Dataset, Table};
use st_train::losses::{CachedMultipleNegativesRankingLoss, MegaBatchMarginLoss, MultipleNegativesRankingLoss};
use st_train::model::{Column, EmbeddingModel, InputKind, TrainableModel, TrainingOptions, TrainingPass};
use st_train::random::Generator;
use st_train::{Objective, ObjectiveBatch, SaveInterval, Targets, Trainer, TrainingArguments};

#[derive(Deserialize)]
struct Golden {
    arguments: serde_json::Value,
    captions: Vec<String>,
    gradients: Gradients,
    mixed: Mixed,
    curve: Curve,
}

#[derive(Deserialize)]
struct Mixed {
    images: [Vec<usize>; 2],
    gradients: Gradients,
}

#[derive(Deserialize)]
struct Gradients {
    rows: usize,
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

#[derive(Deserialize)]
struct Curve {
    losses: Vec<f64>,
    grad_norms: Vec<f64>,
    embeddings: Vec<Vec<f64>>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../fixtures/clip.json")).unwrap()
}

fn library() -> SentenceTransformer {
    SentenceTransformer::load(fixture_path("clip/model").to_str().unwrap()).unwrap()
}

fn trainable(data_type: DType) -> TrainableModel {
    TrainableModel::new(&library(), TrainingOptions::new().data_type(data_type)).unwrap()
}

fn picture(number: usize) -> Image {
    let (width, height, pixels) = st_testing::picture(number);
    Image::from_rgb(width, height, pixels).unwrap()
}

fn pictures(count: usize) -> Vec<Image> {
    (0..count).map(picture).collect()
}

fn pairs(golden: &Golden, rows: usize) -> Table {
    let table = Table::new().column("image", pictures(rows)).unwrap();
    table.column("caption", golden.captions[..rows].iter().cloned()).unwrap()
}

/// The first rows, as the model reads them.
fn columns(model: &TrainableModel, golden: &Golden, rows: usize) -> [Column; 2] {
    let images = model.read_images(&pictures(rows), None).unwrap();
    [images, model.tokenize(&golden.captions[..rows], None, None).unwrap()]
}

fn numbers(x: &Tensor) -> Vec<f64> {
    x.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn wide(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().map(|&x| f64::from(x)).collect()
}

fn assert_near(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    let apart = found.iter().zip(expected).map(|(a, b)| (a - b).abs() / b.abs().max(1.0)).fold(0.0, f64::max);
    assert!(apart < tolerance, "{apart:e}");
}

#[test]
fn the_graph_s_vectors_are_those_of_the_native_engine() {
    let golden = golden();
    let mut library = library();
    let expected = [
        wide(library.encode(&pictures(6)).unwrap().as_slice()),
        wide(library.encode(&golden.captions[..6]).unwrap().as_slice()),
    ];
    for (data_type, tolerance) in [(DType::F32, 1e-5), (DType::F64, 1e-5)] {
        let model = trainable(data_type);
        assert_eq!((model.input_kind(), model.dimension(), model.layers()), (InputKind::Clip, 20, None));
        for (column, expected) in columns(&model, &golden, 6).iter().zip(&expected) {
            let embedded = model.embed(column, &mut TrainingPass::evaluation()).unwrap();
            assert_near(&numbers(&embedded.sentences), expected, tolerance);
        }
    }
    let backends = [(DType::F64, "float64", 1e-5), (DType::F32, "float32", 1e-5), (DType::BF16, "bfloat16", 0.3)];
    for (data_type, name, tolerance) in backends {
        let backend = Arc::new(CandleBackend::new(DeviceChoice::Cpu).with_dtype(data_type));
        library.to_backend(backend.clone()).unwrap();
        assert_eq!(library.dtype(), Some(name));
        let loaded = LoadOptions::new().backend(backend).load(fixture_path("clip/model").to_str().unwrap()).unwrap();
        for model in [&library, &loaded] {
            assert_near(&wide(model.encode(&pictures(6)).unwrap().as_slice()), &expected[0], tolerance);
            assert_near(&wide(model.encode(&golden.captions[..6]).unwrap().as_slice()), &expected[1], tolerance);
        }
    }
}

#[test]
fn gradients_are_the_originals() {
    let golden = golden();
    let model = trainable(DType::F64);
    let columns = columns(&model, &golden, golden.gradients.rows);
    assert_gradients(&model, &columns, &golden.gradients);
}

/// Columns of both: of each, images at the golden's rows and captions at the others.
fn mixed(golden: &Golden) -> Table {
    let rows = golden.mixed.gradients.rows;
    let column = |images: &Vec<usize>| -> Vec<Cell> {
        let cell = |row| if images.contains(&row) { picture(row).into() } else { golden.captions[row].clone().into() };
        (0..rows).map(cell).collect()
    };
    let [first, second] = [0, 1].map(|number| column(&golden.mixed.images[number]));
    Table::new().column("first", first).unwrap().column("second", second).unwrap()
}

#[test]
fn gradients_of_columns_of_texts_and_images_are_the_originals() {
    let golden = golden();
    let (model, table) = (trainable(DType::F64), mixed(&golden));
    let expected = &golden.mixed.gradients;
    let rows = (0..expected.rows).map(|row| table.row(row).unwrap()).collect();
    let names = ["first", "second"].map(String::from);
    let batch = Collator::default().collate(&model, None, &names, rows).unwrap();
    let parts = batch.columns.iter().map(|column| column.parts().map(|(texts, images)| (texts.len(), images.len())));
    assert_eq!(parts.collect::<Vec<_>>(), [Some((3, 3)), Some((4, 2))]);
    assert_gradients(&model, &batch.columns, expected);

    // In pieces, too.
    let whole = ObjectiveBatch { model: &model, columns: &batch.columns, targets: &Targets::None };
    let gradients = |loss: &dyn Objective| {
        let (_, gradients) = loss.backward(&whole, &mut TrainingPass::training(Generator::new(1)), 1.0).unwrap();
        let of = |parameter: &st_train::model::Parameter| numbers(gradients.get(parameter.variable()).unwrap());
        model.parameters().iter().flat_map(of).collect::<Vec<f64>>()
    };
    let cached = CachedMultipleNegativesRankingLoss::new(MultipleNegativesRankingLoss::new(), 2).unwrap();
    assert_near(&gradients(&cached), &gradients(&MultipleNegativesRankingLoss::new()), 1e-9);
}

#[test]
fn a_trainer_reads_columns_of_texts_and_images() {
    let golden = golden();
    let folder = tempfile::tempdir().unwrap();
    let arguments = arguments(&golden, folder.path()).max_steps(2);
    let mut trainer = Trainer::new(trainable(DType::F32), arguments)
        .train_dataset(mixed(&golden))
        .loss(MultipleNegativesRankingLoss::new());
    trainer.train().unwrap();
    let losses = logged(&trainer, "loss");
    assert!(losses.len() == 2 && (losses[0] - golden.mixed.gradients.loss).abs() < 1e-3, "{losses:?}");
    let to = folder.path().join("saved");
    trainer.save_model(&to).unwrap();
    let card = std::fs::read_to_string(to.join("README.md")).unwrap();
    assert!(card.contains("PIL.Image.Image"), "{card}");
}

fn assert_gradients(model: &TrainableModel, columns: &[Column], expected: &Gradients) {
    let batch = ObjectiveBatch { model, columns, targets: &Targets::None };
    let loss = MultipleNegativesRankingLoss::new();
    let (value, gradients) = loss.backward(&batch, &mut TrainingPass::training(Generator::new(1)), 1.0).unwrap();
    let value = numbers(&value.parts()[0].1)[0];
    assert!((value - expected.loss).abs() < 1e-7, "{value} is not {}", expected.loss);
    let names: Vec<&str> = model.parameters().iter().map(|parameter| parameter.name()).collect();
    assert_eq!(names.len(), expected.parameters.len());
    assert_eq!(names[75..], ["0.model.visual_projection.weight", "0.model.text_projection.weight"]);
    for parameter in model.parameters().iter() {
        let name = parameter.name();
        let (expected, gradient) = (&expected.parameters[name], gradients.get(parameter.variable()).unwrap());
        assert_eq!(gradient.dims(), expected.shape, "{name}");
        let flat = numbers(gradient);
        let scale = 1e-6 * expected.norm.max(1e-6) * (flat.len() as f64).sqrt();
        let near = |a: f64, b: f64| assert!((a - b).abs() < scale, "{name}: {a} is not {b}");
        near(flat.iter().map(|x| x * x).sum::<f64>().sqrt(), expected.norm);
        near(flat.iter().sum(), expected.sum);
        flat.iter().zip(&expected.first).for_each(|(a, b)| near(*a, *b));
    }
}

fn arguments(golden: &Golden, folder: &Path) -> TrainingArguments {
    let mut arguments = golden.arguments.clone();
    arguments["output_dir"] = folder.join("out").to_str().unwrap().into();
    arguments["logging_steps"] = 1.into();
    TrainingArguments::from_json(&arguments.to_string()).unwrap().save_strategy(SaveInterval::No)
}

/// The logged numbers of a run.
fn logged(trainer: &Trainer<TrainableModel>, name: &str) -> Vec<f64> {
    trainer.state().log_history.iter().filter_map(|log| log.get(name)?.as_f64()).collect()
}

#[test]
fn losses_of_fifty_steps_are_the_originals() {
    let golden = golden();
    let folder = tempfile::tempdir().unwrap();
    let mut trainer = Trainer::new(trainable(DType::F32), arguments(&golden, folder.path()))
        .train_dataset(pairs(&golden, golden.captions.len()))
        .loss(MultipleNegativesRankingLoss::new());
    trainer.train().unwrap();
    let losses = logged(&trainer, "loss");
    assert_eq!((losses.len(), golden.curve.losses.len()), (50, 50));
    let apart = |found: f64, wanted: f64| ((found - wanted) / wanted).abs();
    let largest = losses.iter().zip(&golden.curve.losses).map(|(&a, &b)| apart(a, b)).fold(0.0, f64::max);
    println!("largest relative difference of the loss: {largest:.1e}");
    assert!(largest < 1e-3, "{largest}");
    for (found, wanted) in logged(&trainer, "grad_norm").into_iter().zip(&golden.curve.grad_norms) {
        assert!(apart(found, *wanted) < 5e-3, "{found} is not {wanted}");
    }

    // The trained model, and the same one saved and loaded.
    let to = folder.path().join("saved");
    trainer.save_model(&to).unwrap();
    let saved = SentenceTransformer::load(to.to_str().unwrap()).unwrap();
    let card = std::fs::read_to_string(to.join("README.md")).unwrap();
    assert!(card.contains("PIL.Image.Image"), "{card}");
    for model in [&saved, &trainer.sentence_transformer().unwrap()] {
        let images = model.encode(&pictures(2)).unwrap();
        let texts = model.encode(&golden.captions[..2]).unwrap();
        for row in 0..2 {
            assert_near(&wide(images.row(row)), &golden.curve.embeddings[row], 2e-3);
            assert_near(&wide(texts.row(row)), &golden.curve.embeddings[2 + row], 2e-3);
        }
    }
}

#[test]
fn mini_batches_of_images_give_the_same_gradients() {
    let golden = golden();
    let model = trainable(DType::F64);
    let columns = columns(&model, &golden, 7);
    let batch = ObjectiveBatch { model: &model, columns: &columns, targets: &Targets::None };
    let gradients = |loss: &dyn Objective, checkpointing: bool| {
        let pass = TrainingPass::training(Generator::new(1)).with_gradient_checkpointing(checkpointing);
        let (value, gradients) = loss.backward(&batch, &mut pass.clone(), 1.0).unwrap();
        let of = |parameter: &st_train::model::Parameter| numbers(gradients.get(parameter.variable()).unwrap());
        let all: Vec<f64> = model.parameters().iter().flat_map(of).collect();
        (numbers(&value.parts()[0].1)[0], all)
    };
    let whole = gradients(&MultipleNegativesRankingLoss::new(), false);
    let cached =
        gradients(&CachedMultipleNegativesRankingLoss::new(MultipleNegativesRankingLoss::new(), 3).unwrap(), false);
    let again = gradients(&MultipleNegativesRankingLoss::new(), true);
    for (value, gradients) in [cached, again] {
        assert!((value - whole.0).abs() < 1e-9);
        assert_near(&gradients, &whole.1, 1e-9);
    }
    let mega = |size: Option<usize>| gradients(&MegaBatchMarginLoss::new().mini_batches(size).unwrap(), false);
    let (whole, parts) = (mega(None), mega(Some(7)));
    assert!((whole.0 - parts.0).abs() < 1e-9);
    assert_near(&parts.1, &whole.1, 1e-9);
}

#[test]
fn a_frozen_tower_stays_as_it_is() {
    let golden = golden();
    let folder = tempfile::tempdir().unwrap();
    let mut model = trainable(DType::F32);
    assert_eq!(model.parameters_mut().freeze("0.model.vision_model."), 39);
    assert_eq!(model.parameters_mut().freeze("0.model.visual_projection."), 1);
    let arguments = arguments(&golden, folder.path()).max_steps(2);
    let mut trainer = Trainer::new(model, arguments)
        .train_dataset(pairs(&golden, 12))
        .eval_dataset(pairs(&golden, 12))
        .loss(MultipleNegativesRankingLoss::new());
    trainer.train().unwrap();
    let (before, after) = (library(), trainer.sentence_transformer().unwrap());
    assert_eq!(before.encode(&pictures(2)).unwrap(), after.encode(&pictures(2)).unwrap());
    assert_ne!(before.encode(&["the cat"]).unwrap(), after.encode(&["the cat"]).unwrap());
}

#[cfg(feature = "images")]
#[test]
fn images_in_files_are_trained_on() {
    use st_train::data::FileDataset;
    let folder = tempfile::tempdir().unwrap();
    for name in ["odd.png", "grey.png", "wide.jpg"] {
        std::fs::copy(fixture_path("clip/images").join(name), folder.path().join(name)).unwrap();
    }
    let rows = [("odd.png", "waves"), ("grey.png", "fewer colours"), ("wide.jpg", "a wide one")];
    let csv: String = rows.iter().map(|(image, text)| format!("{image},{text}\n")).collect();
    let lines: String =
        rows.iter().map(|(image, text)| format!("{{\"image\": \"{image}\", \"caption\": \"{text}\"}}\n")).collect();
    let mut losses = Vec::new();
    for (name, content) in [("pairs.csv", format!("image,caption\n{csv}")), ("pairs.jsonl", lines)] {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let file = FileDataset::open(&path).unwrap().image_columns(&["image"]).unwrap();
        let arguments = arguments(&golden(), folder.path()).max_steps(2);
        let mut trainer = Trainer::new(trainable(DType::F32), arguments)
            .train_dataset(file.read().unwrap())
            .loss(MultipleNegativesRankingLoss::new());
        trainer.train().unwrap();
        losses.push(logged(&trainer, "loss"));
    }
    assert_eq!(losses[0], losses[1]);
    assert!(losses[0].len() == 2 && losses[0][0] > 0.0);
    let error = FileDataset::open(folder.path().join("pairs.csv")).unwrap().image_columns(&["picture"]).unwrap_err();
    assert_eq!(error.to_string(), "there is no column 'picture'; there are ['image', 'caption']");
}

#[test]
fn what_cannot_be_trained_is_said() {
    let golden = golden();
    let folder = tempfile::tempdir().unwrap();
    let run = |model: TrainableModel, table: Table, arguments: TrainingArguments| {
        let mut trainer = Trainer::new(model, arguments.max_steps(1)).train_dataset(table);
        trainer = trainer.loss(MultipleNegativesRankingLoss::new());
        trainer.train().unwrap_err().to_string()
    };
    let plain = || arguments(&golden, folder.path());
    let texts = ["a", "b"].map(Cell::from);
    let mixed = Table::new().column("a", [picture(1).into(), Cell::from(3)]).unwrap().column("b", texts.clone());
    let error = run(trainable(DType::F32), mixed.unwrap(), plain());
    assert!(error.contains("column 'a' holds a whole number where a text is needed"), "{error}");
    let bert = SentenceTransformer::load(st_testing::tiny_model("tiny-bert").to_str().unwrap()).unwrap();
    let bert = TrainableModel::new(&bert, TrainingOptions::new()).unwrap();
    let error = run(bert, pairs(&golden, 4), plain());
    assert!(error.contains("the model reads texts, not images"), "{error}");
    let mut prompted = golden.arguments.clone();
    prompted["output_dir"] = folder.path().join("out").to_str().unwrap().into();
    prompted["prompts"] = "a photo of ".into();
    let error = run(
        trainable(DType::F32),
        pairs(&golden, 4),
        TrainingArguments::from_json(&prompted.to_string()).unwrap().save_strategy(SaveInterval::No),
    );
    assert!(error.contains("a prompt before column 'image', which holds images"), "{error}");
    let broken = Table::new().column("a", [Image::from_path("/no/such/cat.png")]).unwrap().column("b", ["x"]).unwrap();
    let error = run(trainable(DType::F32), broken, plain());
    assert!(error.contains("cat.png"), "{error}");
}

/// `python fixtures/clip_training.py --check FOLDER`: the original loads the checkpoint and gives the same vectors.
#[test]
#[ignore = "writes a checkpoint for the original to load"]
fn a_checkpoint_for_the_original() {
    let golden = golden();
    let folder = PathBuf::from(std::env::var_os("SAVE_CLIP_TO").unwrap());
    let mut arguments = golden.arguments.clone();
    arguments["output_dir"] = folder.to_str().unwrap().into();
    let arguments = TrainingArguments::from_json(&arguments.to_string()).unwrap();
    let arguments = arguments.max_steps(5).save_strategy(SaveInterval::Steps).save_steps(5.0);
    let mut trainer = Trainer::new(trainable(DType::F32), arguments)
        .train_dataset(pairs(&golden, 16))
        .loss(MultipleNegativesRankingLoss::new());
    trainer.train().unwrap();
    let (model, texts) = (trainer.sentence_transformer().unwrap(), &golden.captions[..4]);
    let (seen, read) = (model.encode(&pictures(3)).unwrap(), model.encode(texts).unwrap());
    let rows: Vec<&[f32]> = (0..3).map(|row| seen.row(row)).chain((0..4).map(|row| read.row(row))).collect();
    let answers = serde_json::json!({"images": [0, 1, 2], "texts": texts, "embeddings": rows});
    std::fs::write(folder.join("embeddings.json"), answers.to_string()).unwrap();
}
