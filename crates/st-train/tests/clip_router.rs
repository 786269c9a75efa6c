//! A router with a CLIP model as one of its routes: images and texts encoded and trained on by task, against the original
//! (`fixtures/clip_router.py`).
//!
//! `SAVE_CLIP_TO=FOLDER cargo test -p st-train --test clip_router -- --ignored` saves a trained model for
//! `python fixtures/clip_router.py --check FOLDER`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::path::{Path, PathBuf};

use sentence_transformers::{EncodeOptions, Image, Input, SentenceTransformer};
use serde::Deserialize;
use st_testing::fixture_path;
use st_train::data::{Cell, Table};
use st_train::losses::MultipleNegativesRankingLoss;
use st_train::model::{EmbeddingModel, TrainableModel, TrainingOptions, TrainingPass};
use st_train::{SaveInterval, Trainer, TrainingArguments};

#[derive(Deserialize)]
struct Golden {
    arguments: serde_json::Value,
    captions: Vec<String>,
    texts: Vec<String>,
    images: Vec<usize>,
    vectors: Vectors,
    trained: Trained,
}

#[derive(Deserialize, Debug)]
struct Vectors {
    queries: Vec<Vec<f32>>,
    documents: Vec<Vec<f32>>,
    default: Vec<Vec<f32>>,
}

#[derive(Deserialize)]
struct Trained {
    losses: Vec<f64>,
    #[serde(flatten)]
    vectors: Vectors,
}

fn golden() -> Golden {
    st_testing::golden::read("clip/router.json")
}

fn load() -> SentenceTransformer {
    SentenceTransformer::load(fixture_path("clip/router").to_str().unwrap()).unwrap()
}

/// Image `number`, as `fixtures/clip_training.py` computes it.
fn picture(number: usize) -> Image {
    let (width, height, pixels) = st_testing::picture(number);
    Image::from_rgb(width, height, pixels).unwrap()
}

/// Images and texts by turns.
fn documents<'a>(golden: &'a Golden, images: &'a [Image]) -> Vec<Input<'a>> {
    images.iter().zip(&golden.texts).flat_map(|(image, text)| [Input::Image(image), Input::Text(text)]).collect()
}

fn pictures(golden: &Golden) -> Vec<Image> {
    golden.images.iter().copied().map(picture).collect()
}

fn vectors(model: &SentenceTransformer, golden: &Golden) -> Vectors {
    let (options, images) = (EncodeOptions::new(), pictures(golden));
    let documents = documents(golden, &images);
    let rows = |found: sentence_transformers::Embeddings| (0..found.len()).map(|row| found.row(row).to_vec()).collect();
    Vectors {
        queries: rows(model.encode_query(&golden.texts, &options).unwrap()),
        documents: rows(model.encode_document(&documents, &options).unwrap()),
        default: rows(model.encode(&documents[2..4]).unwrap()),
    }
}

fn assert_near(found: &Vectors, expected: &Vectors, tolerance: f32) {
    for (found, expected) in [
        (&found.queries, &expected.queries),
        (&found.documents, &expected.documents),
        (&found.default, &expected.default),
    ] {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!(found.len(), expected.len());
            let apart = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(apart < tolerance, "{apart}: {found:?}, not {expected:?}");
        }
    }
}

fn trained(folder: &Path, steps: usize) -> (Vec<f64>, SentenceTransformer) {
    let golden = golden();
    let mut arguments = golden.arguments.clone();
    arguments["output_dir"] = folder.to_str().unwrap().into();
    arguments["logging_steps"] = 1.into();
    arguments["max_steps"] = steps.into();
    let arguments = TrainingArguments::from_json(&arguments.to_string()).unwrap().save_strategy(SaveInterval::No);
    let table = Table::new()
        .column("caption", golden.captions.clone())
        .and_then(|table| table.column("image", (0..golden.captions.len()).map(picture)))
        .unwrap();
    let model = TrainableModel::new(&load(), TrainingOptions::new()).unwrap();
    let mut trainer = Trainer::new(model, arguments).train_dataset(table).loss(MultipleNegativesRankingLoss::new());
    trainer.train().unwrap();
    let losses = trainer.state().log_history.iter().filter_map(|log| log.get("loss")?.as_f64()).collect();
    (losses, trainer.sentence_transformer().unwrap())
}

#[test]
fn queries_and_documents_have_the_originals_vectors() {
    let golden = golden();
    assert_near(&vectors(&load(), &golden), &golden.vectors, 1e-5);
    // Whatever the batch, and as a stream.
    let (model, images) = (load(), pictures(&golden));
    let all = documents(&golden, &images);
    let task = || EncodeOptions::new().task("document");
    let whole = model.encode_with(&all, &task()).unwrap();
    assert_eq!(model.encode_with(&all, &task().batch_size(1)).unwrap(), whole);
    for (row, one) in all.iter().enumerate() {
        assert_eq!(model.encode_one(one, &task()).unwrap(), whole.row(row));
    }
}

#[test]
fn a_route_of_words_refuses_images() {
    let error = load().encode_query(&[picture(1)], &EncodeOptions::new()).unwrap_err().to_string();
    assert!(error.contains("image"), "{error}");
}

#[test]
fn losses_and_vectors_of_training_are_the_originals() {
    let golden = golden();
    let folder = tempfile::tempdir().unwrap();
    let (losses, model) = trained(folder.path(), golden.trained.losses.len());
    assert_eq!(losses.len(), golden.trained.losses.len());
    for (found, expected) in losses.iter().zip(&golden.trained.losses) {
        assert!((found - expected).abs() < 2e-4 * expected, "{losses:?}, not {:?}", golden.trained.losses);
    }
    assert_near(&vectors(&model, &golden), &golden.trained.vectors, 1e-3);
    // Both routes were trained, and what was trained is saved.
    assert!(golden.vectors.queries[0] != golden.trained.vectors.queries[0]);
    let saved = folder.path().join("saved");
    model.save_pretrained(&saved).unwrap();
    let again = SentenceTransformer::load(saved.to_str().unwrap()).unwrap();
    assert_near(&vectors(&again, &golden), &vectors(&model, &golden), 1e-6);
}

#[test]
fn a_column_of_texts_and_images_goes_by_its_route() {
    let golden = golden();
    let model = TrainableModel::new(&load(), TrainingOptions::new()).unwrap();
    let cells: Vec<Cell> = golden
        .images
        .iter()
        .zip(&golden.texts)
        .flat_map(|(&number, text)| [picture(number).into(), Cell::from(text.as_str())])
        .collect();
    let mapping = st_train::data::RouterMapping::from([("image", "document")]);
    let rows = cells.into_iter().map(|cell| vec![cell]).collect();
    let batch =
        st_train::data::Collator::new(None, mapping).collate(&model, None, &["image".to_owned()], rows).unwrap();
    let embedded = model.embed(&batch.columns[0], &mut TrainingPass::evaluation()).unwrap().sentences;
    let found = embedded.to_vec2::<f32>().unwrap();
    assert_near(&Vectors { documents: found, ..golden.vectors }, &self::golden().vectors, 1e-5);
}

/// `python fixtures/clip_router.py --check FOLDER`: the original loads the model and gives the same vectors.
#[test]
#[ignore = "saves a model for the original to load"]
fn a_model_for_the_original() {
    let golden = golden();
    let folder = PathBuf::from(std::env::var_os("SAVE_CLIP_TO").unwrap());
    let (_, model) = trained(&folder.join("run"), 3);
    model.save_pretrained(folder.join("model")).unwrap();
    let Vectors { queries, documents, default } = vectors(&model, &golden);
    let answers = serde_json::json!({"queries": queries, "documents": documents, "default": default});
    std::fs::write(folder.join("vectors.json"), answers.to_string()).unwrap();
}
