//! The order of the data is the original's, row by row, for the same seed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use serde_json::Value;
use st_train::data::{Dataset, LABEL_COLUMNS, Table};
use st_train::samplers::{BatchOrder, SamplerInput, batch_sampler, multi_dataset_batch_sampler};

/// The dataset that `fixtures/training_orders.py` makes.
fn dataset(rows: usize) -> Arc<Table> {
    let table = Table::new()
        .column("anchor", (0..rows).map(|row| format!("a{}", (row * row + 3) % 21)))
        .unwrap()
        .column("positive", (0..rows).map(|row| format!("p{}", (row * 5 + 1) % 28)))
        .unwrap()
        .column("label", (0..rows).map(|row| (row * row / 3 % 4) as i64))
        .unwrap();
    Arc::new(table)
}

/// The sampler as the trainer makes it.
fn order(case: &Value) -> BatchOrder {
    let number = |key: &str| case[key].as_u64();
    let kind = batch_sampler(case["batch_sampler"].as_str().unwrap()).unwrap();
    let rows: Vec<usize> = case["datasets"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect();
    let seed = number("seed").unwrap();
    let sampler = |rows: usize, seed: Option<u64>| {
        let input = SamplerInput {
            dataset: dataset(rows),
            batch_size: number("batch_size").unwrap() as usize,
            drop_last: case["drop_last"].as_bool().unwrap(),
            label_columns: LABEL_COLUMNS.map(String::from).to_vec(),
            seed,
        };
        (kind.make)(input).unwrap()
    };
    let sampler = match rows[..] {
        [rows] => sampler(rows, kind.seed.or(number("data_seed")).or(Some(seed))),
        _ => {
            let several = multi_dataset_batch_sampler(case["multi_dataset_batch_sampler"].as_str().unwrap()).unwrap();
            (several.make)(rows.iter().map(|&rows| sampler(rows, kind.seed)).collect(), rows.clone(), seed).unwrap()
        }
    };
    BatchOrder::new(sampler, seed)
}

fn cases() -> Vec<Value> {
    let golden: Value = serde_json::from_str(include_str!("../fixtures/orders.json")).unwrap();
    golden["cases"].as_array().unwrap().clone()
}

#[test]
fn orders_are_those_of_the_original() {
    let cases = cases();
    assert_eq!(cases.len(), 24);
    for case in &cases {
        let mut order = order(case);
        assert_eq!(order.batches() as u64, case["length"].as_u64().unwrap(), "{case}");
        for (epoch, batches) in case["epochs"].as_array().unwrap().iter().enumerate() {
            order.start(epoch as u64);
            let found: Vec<Vec<usize>> = std::iter::from_fn(|| order.next_batch().unwrap()).collect();
            let wanted: Vec<Vec<usize>> = serde_json::from_value(batches.clone()).unwrap();
            assert_eq!(found, wanted, "epoch {epoch} of {case}");
        }
    }
}

#[test]
fn an_order_is_taken_up_anywhere() {
    for case in &cases() {
        for taken in [0, 1, 4] {
            let mut uninterrupted = order(case);
            uninterrupted.start(2);
            for _ in 0..taken {
                uninterrupted.next_batch().unwrap();
            }
            let mut resumed = order(case);
            resumed.restore(&uninterrupted.state()).unwrap();
            assert_eq!(resumed.next_batch().unwrap(), uninterrupted.next_batch().unwrap(), "{case}");
            assert_eq!(resumed.state(), uninterrupted.state());
        }
    }
}

#[test]
fn other_data_is_noticed() {
    let cases = cases();
    let mut before = order(&cases[0]);
    before.next_batch().unwrap();
    let mut other = cases[0].clone();
    other["datasets"] = serde_json::json!([52]);
    let error = order(&other).restore(&before.state()).unwrap_err().to_string();
    assert!(error.starts_with("the data cannot be taken up where it was left"), "{error}");
}

#[test]
fn every_sampler_has_an_order() {
    use st_train::samplers::{BATCH_SAMPLERS, MULTI_DATASET_BATCH_SAMPLERS};
    let cases = cases();
    let has = |key: &str, name: &str| cases.iter().any(|case| case[key] == name);
    // The sequential one is not the original's.
    for kind in BATCH_SAMPLERS.iter().filter(|kind| kind.name != "sequential") {
        assert!(has("batch_sampler", kind.name), "{}", kind.name);
    }
    for kind in MULTI_DATASET_BATCH_SAMPLERS {
        assert!(has("multi_dataset_batch_sampler", kind.name), "{}", kind.name);
    }
}

#[test]
fn odd_batches_and_unknown_names_are_refused() {
    let input = SamplerInput {
        dataset: dataset(4),
        batch_size: 3,
        drop_last: false,
        label_columns: vec!["label".into()],
        seed: None,
    };
    let error = (batch_sampler("group_by_label").unwrap().make)(input.clone()).unwrap_err().to_string();
    assert_eq!(error, "The batch size for `GroupByLabelBatchSampler` must be divisible by 2.");
    assert!((batch_sampler("batch_sampler").unwrap().make)(SamplerInput { batch_size: 0, ..input }).is_err());
    let error = batch_sampler("shuffled").unwrap_err().to_string();
    assert!(error.starts_with("`batch_sampler` is 'shuffled', but should be one of 'batch_sampler', "), "{error}");
    assert!(multi_dataset_batch_sampler("none").is_err());
    assert_eq!(dataset(4).len(), 4);
}
