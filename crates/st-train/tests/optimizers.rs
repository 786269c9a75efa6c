//! Optimizers do what PyTorch's and transformers' do, step by step, on the same gradients.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use serde_json::Value;
use st_train::data::Mapping;
use st_train::optimizers::{Gradients, Optimizer, OptimizerSettings, OptimizerState, ParameterGroup, optimizer};

fn numbers(count: usize, start: f64) -> Vec<f64> {
    (0..count).map(|index| (start + 0.7 * index as f64).sin()).collect()
}

fn variable(values: Vec<f64>, shape: &[usize], data_type: DType) -> Var {
    Var::from_tensor(&Tensor::from_vec(values, shape, &Device::Cpu).unwrap().to_dtype(data_type).unwrap()).unwrap()
}

struct Setup {
    matrix: Var,
    vector: Var,
    optimizer: Box<dyn Optimizer>,
    steps: usize,
}

impl Setup {
    fn new(golden: &Value, case: &str, data_type: DType) -> Self {
        let (name, rest) = case.split_once(' ').unwrap_or((case, ""));
        let matrix = variable(numbers(12, 1.0), &[3, 4], data_type);
        let vector = variable(numbers(3, 2.0), &[3], data_type);
        let rate = golden["rate"].as_f64().unwrap();
        let group = |name: &str, variable: &Var, weight_decay: f64| ParameterGroup {
            parameters: vec![(name.to_owned(), variable.clone())],
            learning_rate: rate,
            weight_decay,
        };
        let groups = vec![group("matrix", &matrix, golden["decay"].as_f64().unwrap()), group("vector", &vector, 0.0)];
        let arguments = if rest == "momentum" { Mapping::from([("momentum", 0.9)]) } else { Mapping::default() };
        let settings = OptimizerSettings { beta1: 0.8, beta2: 0.95, epsilon: 1e-6, arguments };
        let optimizer = optimizer(name, groups, &settings).unwrap();
        Self { matrix, vector, optimizer, steps: golden["steps"].as_u64().unwrap() as usize }
    }

    /// One step; the norm of the gradients where they are clipped.
    fn step(&mut self, step: usize, clip: bool) -> Option<f64> {
        let like = |values: Vec<f64>, variable: &Var| {
            Tensor::from_vec(values, variable.dims(), &Device::Cpu).unwrap().to_dtype(variable.dtype()).unwrap()
        };
        let mut store = GradStore::default();
        store.insert(&self.matrix, like(numbers(12, 3.0 + step as f64), &self.matrix));
        if step != 2 {
            store.insert(&self.vector, like(numbers(3, 5.0 + step as f64), &self.vector));
        }
        let mut gradients = Gradients::new();
        gradients.accumulate(&mut store, [&self.matrix, &self.vector]).unwrap();
        let norm = clip.then(|| gradients.clip([&self.matrix, &self.vector], 0.5).unwrap());
        self.optimizer.step(&gradients, 1.0 - step as f64 / self.steps as f64).unwrap();
        norm
    }

    fn values(&self) -> [Vec<f64>; 2] {
        [&self.matrix, &self.vector]
            .map(|variable| variable.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap())
    }
}

fn golden() -> Value {
    serde_json::from_str(include_str!("../fixtures/optimizers.json")).unwrap()
}

#[test]
fn steps_are_those_of_the_original() {
    let golden = golden();
    for (case, steps) in golden["cases"].as_object().unwrap() {
        for (data_type, tolerance) in [(DType::F64, 1e-12), (DType::F32, 2e-6), (DType::BF16, 0.1)] {
            let mut setup = Setup::new(&golden, case, data_type);
            for (number, wanted) in steps.as_array().unwrap().iter().enumerate() {
                let norm = setup.step(number, wanted["norm"].is_number());
                let names = ["matrix", "vector"].map(|name| wanted[name].clone());
                for (found, wanted) in setup.values().into_iter().zip(names) {
                    let wanted: Vec<f64> = serde_json::from_value(wanted).unwrap();
                    for (found, wanted) in found.into_iter().zip(wanted) {
                        let difference = (found - wanted).abs();
                        assert!(difference < tolerance, "{case} {data_type:?} step {number}: {found}, not {wanted}");
                    }
                }
                if let (Some(norm), DType::F64) = (norm, data_type) {
                    assert!((norm - wanted["norm"].as_f64().unwrap()).abs() < 1e-12);
                }
            }
        }
    }
}

#[test]
fn a_saved_memory_goes_on_to_the_bit() {
    let golden = golden();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("optimizer.safetensors");
    for case in golden["cases"].as_object().unwrap().keys() {
        for data_type in [DType::F64, DType::F32] {
            let mut whole = Setup::new(&golden, case, data_type);
            let mut second = Setup::new(&golden, case, data_type);
            for step in 0..3 {
                whole.step(step, true);
            }
            whole.optimizer.state().unwrap().save(&path).unwrap();
            second.optimizer.restore(&OptimizerState::load(&path).unwrap()).unwrap();
            second.matrix.set(&whole.matrix).unwrap();
            second.vector.set(&whole.vector).unwrap();
            for step in 3..6 {
                whole.step(step, true);
                second.step(step, true);
            }
            assert_eq!(whole.values(), second.values(), "{case}");
        }
    }
}

#[test]
fn the_memory_of_another_optimizer_is_refused() {
    let golden = golden();
    let mut adam = Setup::new(&golden, "adamw_torch", DType::F32);
    adam.step(0, false);
    let state = adam.optimizer.state().unwrap();
    let mut sgd = Setup::new(&golden, "sgd", DType::F32);
    let error = sgd.optimizer.restore(&state).unwrap_err().to_string();
    assert_eq!(error, "the state is that of the optimizer 'adamw_torch', not of 'sgd'");
    let mut other = OptimizerState { optimizer: "sgd".into(), ..state };
    other.parameters[0].name = "tensor".into();
    assert!(sgd.optimizer.restore(&other).unwrap_err().to_string().contains("'tensor', which is not trained"));
}

#[test]
fn arguments_that_an_optimizer_does_not_have_are_refused() {
    let settings = OptimizerSettings { arguments: Mapping::from([("momentum", 0.9)]), ..OptimizerSettings::default() };
    let error = optimizer("adamw_torch", Vec::new(), &settings).unwrap_err().to_string();
    assert_eq!(error, "`optim_args` has `momentum`, but the optimizer 'adamw_torch' has none");
}
