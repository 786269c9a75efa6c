use std::collections::BTreeSet;

use candle_core::DType;
use serde_json::Value;
use st_train::losses::LOSSES;

use crate::cases::{Golden, Run, flat};

/// What a case is, for messages.
fn name(case: &Value) -> String {
    let mut case = case.clone();
    for key in ["gradients", "value", "config"] {
        case.as_object_mut().unwrap().remove(key);
    }
    case.to_string()
}

/// Largest difference of value and gradients, relative to the largest number among them (at least 1).
fn difference(run: &Run, case: &Value) -> f64 {
    let (value, gradients) = run.gradients();
    let expected = case["value"].as_f64().unwrap();
    let mut worst = (value - expected).abs() / expected.abs().max(1.0);
    for (key, expected) in case["gradients"].as_object().unwrap() {
        let (expected, _) = flat(expected);
        let found = gradients.get(key).unwrap_or_else(|| panic!("no gradient of {key}: {}", name(case)));
        assert_eq!(found.len(), expected.len(), "{key}: {}", name(case));
        let scale = expected.iter().fold(1f64, |scale, number| scale.max(number.abs()));
        for (found, expected) in found.iter().zip(&expected) {
            assert!(found.is_finite(), "{key}: {}", name(case));
            worst = worst.max((found - expected).abs() / scale);
        }
    }
    worst
}

#[test]
fn values_and_gradients_are_the_originals() {
    let golden = Golden::read();
    let mut wrong = Vec::new();
    for case in &golden.cases {
        let difference = difference(&Run::new(&golden, case, DType::F64), case);
        if difference > 2e-9 {
            wrong.push(format!("{difference:.1e} {}", name(case)));
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), golden.cases.len(), wrong.join("\n"));
}

#[test]
fn single_precision_agrees_as_far_as_it_goes() {
    let golden = Golden::read();
    let mut wrong = Vec::new();
    for case in &golden.cases {
        let difference = difference(&Run::new(&golden, case, DType::F32), case);
        if difference > 2e-5 {
            wrong.push(format!("{difference:.1e} {}", name(case)));
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), golden.cases.len(), wrong.join("\n"));
}

#[test]
fn gradients_are_those_of_finite_differences() {
    const STEP: f64 = 1e-6;
    let golden = Golden::read();
    let mut wrong = Vec::new();
    for case in &golden.cases {
        // Its gradient is the sum of the mini-batches' means, its value is not.
        if case["loss"] == "MegaBatchMarginLoss" && case["mini_batch_size"].as_u64().is_some_and(|size| size < 6) {
            continue;
        }
        let run = Run::new(&golden, case, DType::F64);
        let (_, gradients) = run.gradients();
        // Every number moves along a direction that is nowhere 0: by its name, place and the golden ratio.
        let direction = |index: usize| (0.618 * (index as f64 + 1.0)).fract() - 0.4999;
        let mut expected = 0.0;
        let mut index = 0;
        let mut parameters = run.objective.parameters();
        parameters.extend("", st_train::model::EmbeddingModel::parameters(&run.model)).unwrap();
        let (_, store) =
            run.objective.backward(&run.batch(), &mut st_train::model::TrainingPass::evaluation(), 1.0).unwrap();
        let mut moves = Vec::new();
        for parameter in parameters.iter() {
            let variable = parameter.variable();
            let count = variable.elem_count();
            let along: Vec<f64> = (index..index + count).map(direction).collect();
            index += count;
            if let Some(gradient) = store.get(variable) {
                expected += crate::cases::numbers(gradient).iter().zip(&along).map(|(g, d)| g * d).sum::<f64>();
            }
            let along = candle_core::Tensor::from_vec(along, variable.dims(), variable.device()).unwrap();
            moves.push((variable.clone(), variable.as_tensor().copy().unwrap(), along));
        }
        let at = |step: f64| {
            for (variable, start, along) in &moves {
                variable.set(&(start + (along * step).unwrap()).unwrap()).unwrap();
            }
            run.value()
        };
        let found = (at(STEP) - at(-STEP)) / (2.0 * STEP);
        let largest = gradients.values().flatten().fold(1f64, |largest, number| largest.max(number.abs()));
        if (found - expected).abs() > 1e-6 * largest {
            wrong.push(format!("{found} instead of {expected} {}", name(case)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn settings_are_shown_as_the_original_shows_them() {
    let golden = Golden::read();
    for case in &golden.cases {
        let run = Run::new(&golden, case, DType::F64);
        assert_eq!(run.objective.card().name, case["loss"].as_str().unwrap());
        let mut config = run.objective.config();
        if let Some(config) = &mut config {
            config.shift_remove("guide");
            if case["loss"] == "TripletLoss" {
                let metric = format!("TripletDistanceMetric.{}", case["metric"].as_str().unwrap());
                assert_eq!(config.shift_remove("distance_metric"), Some(metric.into()));
            }
        }
        let expected = case.get("config").map(Value::to_string);
        assert_eq!(config.map(|config| Value::Object(config).to_string()), expected, "{}", name(case));
    }
}

#[test]
fn every_row_of_the_table_has_a_golden() {
    let golden = Golden::read();
    let tested: BTreeSet<&str> = golden.cases.iter().map(|case| case["loss"].as_str().unwrap()).collect();
    // The decoder's goldens lie beside it.
    let table: BTreeSet<&str> =
        LOSSES.iter().map(|card| card.name).filter(|name| *name != "DenoisingAutoEncoderLoss").collect();
    assert_eq!(tested, table);
    for card in LOSSES {
        assert_eq!(LOSSES.iter().filter(|other| other.answers_to(card.name)).count(), 1, "{}", card.name);
        for alias in card.aliases {
            assert_eq!(LOSSES.iter().filter(|other| other.answers_to(alias)).count(), 1, "{alias}");
        }
    }
}
