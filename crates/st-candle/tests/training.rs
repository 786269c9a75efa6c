//! Derivatives of whole networks, dropout, freezing, checkpointing and the backend.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "another test reads the rows")]
mod described;

use candle_core::{DType, Device, Tensor};
use described::Described;
use st_candle::{CandleBackend, DeviceChoice, DropoutState, EncoderGraph, GraphPass};
use st_encoder::adapters::{AdaptableModules, Adapter, AdapterConfig};
use st_encoder::{Backend, Batch, DataType, EncoderFiles, EncoderOptions, Pass, Rows, WeightFormat};

fn batch() -> Batch {
    let sequences: Vec<Vec<u32>> =
        [9, 1, 14, 0, 9].iter().map(|&length| (0..length).map(|place| (place * 7 + length) % 60).collect()).collect();
    Batch::from_sequences(sequences.iter().map(Vec::as_slice))
}

/// What a network reads: the batch, or images.
fn batch_of(graph: &EncoderGraph) -> Batch {
    described::images(graph.spec(), &[8, 0, 13, 1, 8]).unwrap_or_else(batch)
}

fn graph(model: &Described) -> EncoderGraph {
    let folder = tempfile::tempdir().unwrap();
    model.write(folder.path(), true);
    EncoderGraph::load(&EncoderFiles::open(folder.path()).unwrap(), &Device::Cpu, DType::F64).unwrap()
}

/// A scalar that every component of a network's output enters with a factor of its own.
fn scalar(graph: &EncoderGraph, pass: &GraphPass) -> Tensor {
    let tokens = graph.forward(&batch_of(graph), pass).unwrap().tokens;
    let count = tokens.elem_count();
    let factors: Vec<f64> = (0..count).map(|index| (index as f64 * 0.37).sin()).collect();
    let factors = Tensor::from_vec(factors, tokens.shape(), &Device::Cpu).unwrap();
    tokens.mul(&factors).unwrap().sum_all().unwrap()
}

fn value(graph: &EncoderGraph, pass: &GraphPass) -> f64 {
    scalar(graph, pass).to_scalar().unwrap()
}

/// Every architecture's derivative in the direction of some vector over all parameters, against finite differences; with
/// dropout, whose masks stay the same; and with checkpoints, which must change nothing.
#[test]
fn derivatives_are_those_of_the_function() {
    for model in described::all() {
        let graph = graph(&model);
        let dropout = Some(DropoutState::new(8).next_pass());
        let pass = GraphPass { dropout, ..GraphPass::training() };
        let loss = scalar(&graph, &pass);
        let gradients = loss.backward().unwrap();
        let directions: Vec<Tensor> = graph
            .parameters()
            .iter()
            .enumerate()
            .map(|(seed, parameter)| {
                let count = parameter.tensor().elem_count();
                let numbers: Vec<f64> = (0..count).map(|index| ((index + 31 * seed) as f64 * 0.71).cos()).collect();
                Tensor::from_vec(numbers, parameter.tensor().shape(), &Device::Cpu).unwrap()
            })
            .collect();
        let mut expected = 0.0;
        for (parameter, direction) in graph.parameters().iter().zip(&directions) {
            let gradient = gradients.get(parameter.tensor());
            let gradient = gradient.unwrap_or_else(|| panic!("{}: {} has none", model.name, parameter.name()));
            assert_eq!(gradient.dims(), parameter.tensor().dims());
            expected += gradient.mul(direction).unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap();
        }

        let again = scalar(&graph, &GraphPass { checkpoint: true, ..pass });
        let exactly = |scalar: &Tensor| scalar.to_scalar::<f64>().unwrap().to_bits();
        assert_eq!(exactly(&again), exactly(&loss), "{}", model.name);
        let recomputed = again.backward().unwrap();
        for parameter in graph.parameters() {
            let [kept, recomputed] = [&gradients, &recomputed].map(|all| all.get(parameter.tensor()).unwrap());
            let largest = kept.abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap();
            let difference = (kept - recomputed).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap();
            assert!(difference <= 1e-12 * largest.max(1.0), "{}: {}: {difference:e}", model.name, parameter.name());
        }

        let step = 1e-6;
        let start: Vec<Tensor> = graph.parameters().iter().map(|p| p.tensor().copy().unwrap().detach()).collect();
        let at = |offset: f64| {
            for ((parameter, start), direction) in graph.parameters().iter().zip(&start).zip(&directions) {
                parameter.variable().set(&(start + (direction * offset).unwrap()).unwrap()).unwrap();
            }
            value(&graph, &GraphPass { gradients: false, ..pass })
        };
        let found = (at(step) - at(-step)) / (2.0 * step);
        let difference = (found - expected).abs() / expected.abs().max(1.0);
        println!("{}: {expected:.6} {difference:.1e}", model.name);
        assert!(difference < 1e-6, "{}: {found} against {expected}", model.name);
    }
}

fn tiny(dtype: DType) -> EncoderGraph {
    let files = EncoderFiles::open(st_testing::tiny_model("tiny-bert")).unwrap();
    EncoderGraph::load(&files, &Device::Cpu, dtype).unwrap()
}

#[test]
fn dropout_repeats_and_is_right_on_average() {
    let graph = tiny(DType::F64);
    assert_eq!(graph.dropout_rates().embeddings, 0.1);
    let run = |seed| {
        let dropout = Some(DropoutState::new(seed).next_pass());
        value(&graph, &GraphPass { dropout, ..GraphPass::inference() })
    };
    assert_eq!(run(1).to_bits(), run(1).to_bits());
    assert_ne!(run(1).to_bits(), run(2).to_bits());
    let mut state = DropoutState::new(1);
    let [first, second] = [state.next_pass(), state.next_pass()]
        .map(|pass| value(&graph, &GraphPass { dropout: Some(pass), ..GraphPass::inference() }));
    assert_ne!(first.to_bits(), second.to_bits());
    let text = serde_json::to_string(&state).unwrap();
    assert_eq!(serde_json::from_str::<DropoutState>(&text).unwrap(), state);
}

#[test]
fn what_is_frozen_has_no_gradient_and_costs_none() {
    let mut graph = tiny(DType::F64);
    let all = scalar(&graph, &GraphPass::training()).backward().unwrap();
    graph.freeze(|name| name.starts_with("encoder.layer.1.attention"));
    for checkpoint in [false, true] {
        let some = scalar(&graph, &GraphPass { checkpoint, ..GraphPass::training() }).backward().unwrap();
        for parameter in graph.parameters() {
            match (parameter.is_trainable(), some.get(parameter.tensor()), all.get(parameter.tensor())) {
                (true, Some(found), Some(expected)) => {
                    let difference = (found - expected).unwrap().abs().unwrap().max_all().unwrap();
                    assert!(difference.to_scalar::<f64>().unwrap() < 1e-12, "{}", parameter.name());
                }
                (false, None, Some(_)) => {}
                other => panic!("{}: {other:?}", parameter.name()),
            }
        }
    }
    graph.freeze(|_| false);
    assert!(!scalar(&graph, &GraphPass::training()).track_op());
}

#[test]
fn a_pass_without_gradients_keeps_no_graph() {
    let graph = tiny(DType::F32);
    let output = graph.forward(&batch(), &GraphPass::inference()).unwrap();
    assert!(!output.tokens.track_op());
    let empty = graph.forward(&Batch::from_sequences([&[][..], &[]]), &GraphPass::training()).unwrap();
    assert_eq!((empty.tokens.dims(), &empty.offsets[..]), (&[0, 32][..], &[0, 0, 0][..]));
    assert!(output.sequence(5).is_err() && output.sequence(3).unwrap().dims() == [0, 32]);
    assert!(graph.forward(&Batch::from_sequences([&[1_000_000u32][..]]), &GraphPass::inference()).is_err());
    assert!(graph.forward(&Batch::from_sequences([&vec![1u32; 65][..]]), &GraphPass::inference()).is_err());
}

#[test]
fn a_gradient_step_goes_downhill() {
    let graph = tiny(DType::F32);
    let loss = || graph.forward(&batch(), &GraphPass::training()).unwrap().tokens.sqr().unwrap().mean_all().unwrap();
    let before = loss();
    let gradients = before.backward().unwrap();
    for parameter in graph.parameters() {
        let step = (gradients.get(parameter.tensor()).unwrap() * 1e-2).unwrap();
        parameter.variable().set(&(parameter.tensor().detach() - step).unwrap()).unwrap();
    }
    let [before, after] = [before, loss()].map(|loss| loss.to_scalar::<f32>().unwrap());
    assert!(after < before, "{after} after {before}");
}

#[test]
fn the_backend_computes_in_every_type() {
    let files = EncoderFiles::open(st_testing::tiny_model("tiny-bert")).unwrap();
    let load = |backend: CandleBackend, weights| backend.load(&files, &EncoderOptions::new().weights(weights));
    let cpu = CandleBackend::new(DeviceChoice::Cpu);
    let pass = Pass { layers: true, ..Pass::default() };
    let doubles = load(cpu.with_dtype(DType::F64), WeightFormat::F32).unwrap();
    assert_eq!((doubles.info().computes, &doubles.info().device[..]), (DataType::F64, "cpu"));
    let exact = doubles.forward(&batch(), &pass).unwrap();
    for (weights, bound) in [(WeightFormat::F32, 1e-5), (WeightFormat::F16, 0.02), (WeightFormat::BF16, 0.15)] {
        let encoder = load(cpu, weights).unwrap();
        assert_eq!((encoder.info().weights, encoder.info().backend, encoder.info().layers), (weights, "candle", 2));
        let all = encoder.forward(&batch(), &pass).unwrap();
        let difference = all.data().iter().zip(exact.data()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(difference > 0.0 && difference < bound, "{weights}: {difference}");
        let first = encoder.forward(&batch(), &Pass { rows: Rows::First, ..pass }).unwrap();
        assert_eq!(first.layers().len(), 3);
        for sequence in 0..batch().len() {
            let row = all.sequence(sequence);
            assert_eq!(first.sequence(sequence), &row[..row.len().min(all.hidden())]);
        }
    }
    for form in [WeightFormat::Int8, WeightFormat::BF16Products] {
        let error = load(cpu, form).map(drop).unwrap_err().to_string();
        assert!(error.contains("take the native engine"), "{error}");
    }
    assert!(load(cpu.with_dtype(DType::F64), WeightFormat::F16).is_err());
    assert!(load(cpu.with_dtype(DType::U32), WeightFormat::F32).is_err());
    let half = EncoderFiles::open(st_testing::tiny_model("tiny-bert-bf16")).unwrap();
    let auto = cpu.load(&half, &EncoderOptions::new().weights(WeightFormat::Auto)).unwrap();
    assert_eq!(auto.info().weights, WeightFormat::BF16);
    let empty = load(cpu, WeightFormat::F32).unwrap().forward(&Batch::from_sequences([&[][..]]), &pass).unwrap();
    assert_eq!((empty.len(), empty.data().len()), (1, 0));
}

#[test]
fn shared_and_fused_tensors_are_one_parameter() {
    let names = |name: &str| {
        let model = described::all().into_iter().find(|model| model.name == name).unwrap();
        graph(&model).parameters().iter().map(|parameter| parameter.name().to_owned()).collect::<Vec<_>>()
    };
    let albert = names("albert");
    assert_eq!(albert.iter().filter(|name| name.ends_with("attention.query.weight")).count(), 1);
    let nomic = names("nomic_bert");
    assert_eq!(nomic.iter().filter(|name| name.contains("Wqkv")).count(), 3);
    for mut names in [albert, nomic, names("t5"), names("mpnet"), names("deberta-v3")] {
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}

/// The output of a network of the first two blocks is the hidden state after them; of the last, that of a run from there.
#[test]
fn kept_layers_compute_what_they_computed() {
    for name in ["bert", "albert", "t5", "mpnet", "nomic_bert", "modernbert"] {
        let model = described::all().into_iter().find(|model| model.name == name).unwrap();
        let whole = graph(&model);
        let pass = GraphPass { layers: true, ..GraphPass::inference() };
        let states = whole.forward(&batch(), &pass).unwrap().layers.unwrap();
        let mut start = whole.clone();
        start.keep_layers(&[0, 1]).unwrap();
        let found = start.forward(&batch(), &pass).unwrap().layers.unwrap();
        for (found, expected) in found[..2].iter().zip(&states) {
            let (found, expected) = (found.to_vec2::<f64>().unwrap(), expected.to_vec2::<f64>().unwrap());
            assert_eq!(found, expected, "{name}");
        }
        let mut end = whole.clone();
        end.keep_layers(&[1, 2]).unwrap();
        assert_eq!(end.spec().layers, whole.spec().layers[1..3]);
        assert_eq!(whole.spec().layers.len(), states.len() - 1);
        let differs = end.forward(&batch(), &pass).unwrap().tokens.to_vec2::<f64>().unwrap();
        assert_eq!(
            differs == start.forward(&batch(), &pass).unwrap().tokens.to_vec2::<f64>().unwrap(),
            name == "albert"
        );
        for layers in [&[][..], &[1, 0], &[0, 0], &[9]] {
            assert!(end.keep_layers(layers).is_err());
        }
    }
}

/// As in the original, where blocks are taken out of a list beside which the convolution stands.
#[test]
fn a_convolution_stays_beside_the_first_block() {
    let model = described::all().into_iter().find(|model| model.name == "deberta-v2-convolution").unwrap();
    let whole = graph(&model);
    let mut end = whole.clone();
    end.keep_layers(&[1, 2]).unwrap();
    let layers = [&end, &whole].map(|graph| graph.spec().layers.clone());
    assert!(layers[0][0].convolution.is_some() && layers[0][0].convolution == layers[1][0].convolution);
    assert_eq!(layers[0][1], layers[1][2]);
    let convolution = |graph: &EncoderGraph| {
        let parameters = graph.parameters().iter().filter(|parameter| parameter.name() == "encoder.conv.conv.weight");
        parameters.map(|parameter| parameter.tensor().to_vec3::<f64>().unwrap()).collect::<Vec<_>>()
    };
    assert!(convolution(&whole).len() == 1 && convolution(&whole) == convolution(&end));
    assert!(end.forward(&batch(), &GraphPass::inference()).is_ok());
}

#[test]
fn no_adapter_changes_a_convolution_over_tokens() {
    let model = described::all().into_iter().find(|model| model.name == "deberta-v2-convolution").unwrap();
    let folder = tempfile::tempdir().unwrap();
    model.write(folder.path(), false);
    let files = EncoderFiles::open(folder.path()).unwrap();
    let (modules, (_, _, weights)) = (AdaptableModules::of_files(&files).unwrap(), files.network().unwrap());
    let fresh = |names: &[&str]| {
        let config = AdapterConfig::new(2).target_modules(names.iter().copied());
        Adapter::fresh(config, &modules, &weights, 1)
    };
    assert!(fresh(&["query_proj"]).is_ok());
    let error = fresh(&["query_proj", "conv.conv"]).unwrap_err().to_string();
    assert!(error.contains("'encoder.conv.conv' is a convolution over tokens"), "{error}");
}

/// In training mode with one rate of dropout at 1 and the others at 0 nothing is random, and what transformers computes
/// shows where components are dropped.
#[test]
fn dropout_falls_where_it_does_in_transformers() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/dropout.json");
    let cases: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let cases = cases.as_array().unwrap();
    assert_eq!(cases.len(), 27);
    let models = described::all();
    for case in cases {
        let model = models.iter().find(|model| model.name == case["model"]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        model.write(folder.path(), true);
        let mut config = model.config().clone();
        for (field, rate) in case["rates"].as_object().unwrap() {
            config[field] = rate.clone();
        }
        std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        let files = EncoderFiles::open(folder.path()).unwrap();
        let graph = EncoderGraph::load(&files, &Device::Cpu, DType::F64).unwrap();
        let text = model.output().unwrap();
        let mut batch = Batch::new();
        batch.push_with_types(&text.ids, &text.types).unwrap();
        let dropout = Some(DropoutState::new(1).next_pass());
        let tokens = graph.forward(&batch, &GraphPass { dropout, ..GraphPass::inference() }).unwrap().tokens;
        let found = tokens.to_vec2::<f64>().unwrap().swap_remove(case["row"].as_u64().unwrap() as usize);
        let expected: Vec<f64> = case["numbers"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
        let size = expected.iter().fold(1f64, |largest, number| largest.max(number.abs()));
        for (found, expected) in found.iter().zip(&expected) {
            let difference = (found - expected).abs() / size;
            assert!(difference < 1e-5, "{} {}: {found} against {expected}", model.name, case["rates"]);
        }
    }
}
