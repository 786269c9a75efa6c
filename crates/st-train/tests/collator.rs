//! What becomes of rows: prompts, routes, labels, messages.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use sentence_transformers::SentenceTransformer;
use st_train::data::{Cell, Collator, PromptSettings, RouterMapping, Table};
use st_train::losses::MultipleNegativesRankingLoss;
use st_train::model::{EmbeddingModel, TrainableModel, TrainingOptions};
use st_train::{SaveInterval, Targets, Trainer, TrainingArguments};

fn model(folder: &Path) -> TrainableModel {
    let library = SentenceTransformer::load(folder.to_str().unwrap()).unwrap();
    TrainableModel::new(&library, TrainingOptions::new()).unwrap()
}

fn router() -> TrainableModel {
    model(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/models-modules/router"))
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn rows() -> Vec<Vec<Cell>> {
    vec![vec!["a cat".into(), 0.5.into(), "a dog".into()], vec!["sunny".into(), 1.0.into(), "the mat".into()]]
}

#[test]
fn prompts_stand_before_texts_and_labels_apart() {
    let model = model(&st_testing::tiny_model("tiny-bert"));
    let prompts: PromptSettings = serde_json::from_str(r#"{"query": "the weather: ", "nli": "not: "}"#).unwrap();
    let mut collator = Collator::new(Some(prompts), RouterMapping::default());
    let columns = names(&["query", "score", "answer"]);
    let batch = collator.collate(&model, None, &columns, rows()).unwrap();
    assert_eq!((batch.rows, batch.columns.len()), (2, 2));
    assert_eq!(batch.columns[0].texts(), ["the weather: a cat", "the weather: sunny"]);
    assert_eq!(batch.columns[1].texts(), ["a dog", "the mat"]);
    assert!(matches!(&batch.targets, Targets::Scores(scores) if *scores == [0.5, 1.0]));
    let tokens: usize = batch.columns.iter().map(|column| column.batch().offsets().last().unwrap()).sum();
    assert_eq!(batch.tokens(), tokens);
    let batch = collator.collate(&model, Some("nli"), &columns, rows()).unwrap();
    assert_eq!(batch.columns[1].texts(), ["not: a dog", "not: the mat"]);
}

#[test]
fn prompts_are_measured_where_pooling_leaves_them_out() {
    let model = model(&st_testing::tiny_model("tiny-bert-prompts"));
    let mut collator = Collator::new(Some(PromptSettings::from("the cat: ")), RouterMapping::default());
    let batch = collator.collate(&model, None, &names(&["query", "score", "answer"]), rows()).unwrap();
    let length = batch.columns[0].prompt_length().unwrap();
    // [CLS] the cat :
    assert_eq!(length, 4);
    assert_eq!(batch.columns[1].prompt_length(), Some(length));
}

#[test]
fn columns_take_their_routes() {
    let model = router();
    let mut collator = Collator::new(None, RouterMapping::from([("query", "query"), ("answer", "document")]));
    let batch = collator.collate(&model, None, &names(&["query", "score", "answer"]), rows()).unwrap();
    let tasks: Vec<Option<&str>> = batch.columns.iter().map(|column| column.task()).collect();
    assert_eq!(tasks, [Some("query"), Some("document")]);
}

#[test]
fn a_router_needs_a_mapping_and_is_trained_with_one() {
    let folder = tempfile::tempdir().unwrap();
    let table =
        || Table::new().column("query", ["a cat", "sunny"]).unwrap().column("answer", ["a dog", "the mat"]).unwrap();
    let arguments = || TrainingArguments::new(folder.path()).max_steps(1).save_strategy(SaveInterval::No);
    let trainer = |arguments: TrainingArguments| {
        Trainer::new(router(), arguments).train_dataset(table()).loss(MultipleNegativesRankingLoss::new())
    };
    let error = trainer(arguments()).train().unwrap_err().to_string();
    assert!(error.starts_with(
        "You are using a Router module in your model, but you did not provide a `router_mapping` in the training arguments. "
    ));
    let routes = RouterMapping::from([("query", "query"), ("answer", "document")]);
    let mut trainer = trainer(arguments().router_mapping(routes));
    assert_eq!(trainer.train().unwrap().global_step, 1);
    assert!(trainer.model().parameters().len() > 1);
}

#[test]
fn what_is_no_text_is_refused_by_name() {
    let model = model(&st_testing::tiny_model("tiny-bert"));
    let mut collator = Collator::default();
    let mut error = |columns: &[&str], row: Vec<Cell>| {
        collator.collate(&model, None, &names(columns), vec![row]).unwrap_err().to_string()
    };
    let message = error(&["query", "similarity"], vec!["a".into(), 0.5.into()]);
    assert!(message.starts_with("column 'similarity' holds a number where a text is needed"), "{message}");
    let message = error(&["label"], vec![1.into()]);
    assert_eq!(message, "the dataset has no column of texts or images; its columns are ['label']");
}
