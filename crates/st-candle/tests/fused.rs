//! The fused operations in 32 bits against the composed ones in 64, over every architecture.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "another test reads the rows")]
mod described;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use described::Described;
use st_candle::{DropoutState, EncoderGraph, GraphPass, ops};
use st_encoder::{Activation, Batch, EncoderFiles, NormKind, NormSpec};

fn batch(graph: &EncoderGraph) -> Batch {
    if let Some(images) = described::images(graph.spec(), &[8, 0, 13, 1, 8]) {
        return images;
    }
    let sequences: Vec<Vec<u32>> =
        [9, 1, 14, 0, 9].iter().map(|&length| (0..length).map(|place| (place * 7 + length) % 60).collect()).collect();
    Batch::from_sequences(sequences.iter().map(Vec::as_slice))
}

/// The same weights in both types.
fn graphs(model: &Described) -> [EncoderGraph; 2] {
    let folder = tempfile::tempdir().unwrap();
    model.write(folder.path(), true);
    let files = EncoderFiles::open(folder.path()).unwrap();
    [DType::F64, DType::F32].map(|dtype| EncoderGraph::load(&files, &Device::Cpu, dtype).unwrap())
}

/// A scalar that every component enters with a factor of its own.
fn scalar(tokens: &Tensor) -> Tensor {
    let factors: Vec<f64> = (0..tokens.elem_count()).map(|index| (index as f64 * 0.37).sin()).collect();
    let factors = Tensor::from_vec(factors, tokens.shape(), &Device::Cpu).unwrap();
    tokens.mul(&factors.to_dtype(tokens.dtype()).unwrap()).unwrap().sum_all().unwrap()
}

/// The largest difference, as a share of the largest number.
fn difference(found: &Tensor, expected: &Tensor) -> f64 {
    let [found, expected] = [found, expected].map(|tensor| tensor.to_dtype(DType::F64).unwrap());
    let largest = |tensor: &Tensor| tensor.abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap();
    largest(&(found - &expected).unwrap()) / largest(&expected).max(1e-2)
}

fn loss(graph: &EncoderGraph, pass: &GraphPass) -> Tensor {
    scalar(&graph.forward(&batch(graph), pass).unwrap().tokens)
}

#[test]
fn networks_have_the_gradients_of_composed_operations() {
    for model in described::all() {
        let [wide, single] = graphs(&model);
        for dropout in [None, Some(DropoutState::new(8).next_pass())] {
            let pass = GraphPass { dropout, ..GraphPass::training() };
            let expected = loss(&wide, &pass).backward().unwrap();
            let compare = |found: &GradStore, what: &str| {
                for (parameter, reference) in single.parameters().iter().zip(wide.parameters()) {
                    let name = format!("{} {what} {}", model.name, parameter.name());
                    let found = found.get(parameter.tensor()).unwrap_or_else(|| panic!("{name} has no gradient"));
                    let off = difference(found, expected.get(reference.tensor()).unwrap());
                    // A key's bias moves all scores of a query alike; in 32 bits its gradient is nearly 0.
                    let key_bias = ["key.bias", "k_proj.bias"].iter().any(|end| name.ends_with(end));
                    assert!(off < if key_bias { 1e-2 } else { 2e-3 }, "{name}: off by {off:e}");
                }
            };
            compare(&loss(&single, &pass).backward().unwrap(), "backward");
            compare(&st_candle::backward(&loss(&single, &pass)).unwrap(), "gathered");
            let checkpoint = GraphPass { checkpoint: true, ..pass };
            compare(&st_candle::backward(&loss(&single, &checkpoint)).unwrap(), "checkpoint");
        }
    }
}

/// How far all tensors together are from others, as a share of the others' Euclidean norm.
fn apart(found: &[Tensor], expected: &[Tensor]) -> f32 {
    let squares = |tensor: &Tensor| tensor.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
    let off: f32 = found.iter().zip(expected).map(|(found, expected)| squares(&(found - expected).unwrap())).sum();
    (off / expected.iter().map(squares).sum::<f32>()).sqrt()
}

/// In mixed precision every architecture gives nearly the same, and the same again in the backward pass. Networks of random
/// weights magnify what is rounded (T5 most, which does not scale its scores); a wrong product would be off by all of itself.
#[test]
fn mixed_precision_is_near_and_repeats() {
    for model in described::all() {
        let [_, graph] = graphs(&model);
        let tokens = |pass: &GraphPass| [graph.forward(&batch(&graph), pass).unwrap().tokens];
        let gradients = |pass: &GraphPass| -> Vec<Tensor> {
            let all = st_candle::backward(&loss(&graph, pass)).unwrap();
            graph.parameters().iter().map(|parameter| all.get(parameter.tensor()).unwrap().clone()).collect()
        };
        let pass = GraphPass { autocast: true, ..GraphPass::training() };
        let off = apart(&tokens(&pass), &tokens(&GraphPass::training()));
        assert!(off > 1e-5 && off < 0.06, "{}: off by {off:e}", model.name);
        let rounded = gradients(&pass);
        let off = apart(&rounded, &gradients(&GraphPass::training()));
        assert!(off > 1e-5 && off < 0.4, "{}: gradients off by {off:e}", model.name);
        let off = apart(&gradients(&GraphPass { checkpoint: true, ..pass }), &rounded);
        assert!(off < 1e-6, "{}: computed again, gradients are off by {off:e}", model.name);
    }
}

/// What other devices run: candle's own operations, here on a processor.
#[test]
fn composed_operations_multiply_bfloat16_too() {
    for model in described::all() {
        let [_, graph] = graphs(&model);
        let all = |pass: &GraphPass| -> [Vec<Tensor>; 2] {
            let tokens = graph.forward(&batch(&graph), pass).unwrap().tokens;
            let found = st_candle::backward(&scalar(&tokens)).unwrap();
            let gradients = graph.parameters().iter().map(|parameter| found.get(parameter.tensor()).unwrap().clone());
            [vec![tokens], gradients.collect()]
        };
        let (exact, mixed) = (GraphPass::training(), GraphPass { autocast: true, ..GraphPass::training() });
        let [full, engine] = [all(&exact), all(&mixed)];
        let [composed_full, composed] = ops::composed(|| [all(&exact), all(&mixed)]);
        let again = ops::composed(|| all(&GraphPass { checkpoint: true, ..mixed }));
        for (place, what) in ["tokens", "gradients"].into_iter().enumerate() {
            let off = |found: &[Vec<Tensor>; 2], expected: &[Vec<Tensor>; 2]| apart(&found[place], &expected[place]);
            let name = format!("{}, {what}", model.name);
            assert!(off(&composed_full, &full) < 2e-4, "{name}: off by {:e} in 32 bits", off(&composed_full, &full));
            // Their products are rounded besides, so that they are somewhat further from full precision.
            let [own, engines] = [&composed, &engine].map(|mixed| off(mixed, &full));
            assert!(own > engines / 3.0 && own < engines * 3.0, "{name}: off by {own:e}, the engine's by {engines:e}");
            assert!(off(&again, &composed) < 1e-6, "{name}: computed again, off by {:e}", off(&again, &composed));
        }
    }
}

/// A graph that is walked twice gives the same twice, and two columns' gradients add up.
#[test]
fn graphs_can_be_walked_again_and_parameters_used_twice() {
    let model = described::all().into_iter().next().unwrap();
    let [_, graph] = graphs(&model);
    let once = loss(&graph, &GraphPass::training());
    let first = st_candle::backward(&once).unwrap();
    let again = st_candle::backward(&once).unwrap();
    let twice = (loss(&graph, &GraphPass::training()) + loss(&graph, &GraphPass::training())).unwrap();
    let twice = st_candle::backward(&twice).unwrap();
    for parameter in graph.parameters() {
        let [first, again, twice] = [&first, &again, &twice].map(|all| all.get(parameter.tensor()).unwrap());
        assert_eq!(difference(again, first), 0.0, "{}", parameter.name());
        assert!(difference(twice, &(first * 2.0).unwrap()) < 1e-5, "{}", parameter.name());
    }
}

#[test]
fn frozen_parameters_get_nothing() {
    let model = described::all().into_iter().find(|model| model.name == "bert").unwrap();
    let [_, mut graph] = graphs(&model);
    let all = st_candle::backward(&loss(&graph, &GraphPass::training())).unwrap();
    graph.freeze(|name| name.contains("layer.1.") && name.contains("dense.weight"));
    let some = st_candle::backward(&loss(&graph, &GraphPass::training())).unwrap();
    let mut trained = 0;
    for parameter in graph.parameters() {
        assert_eq!(parameter.is_trainable(), some.get(parameter.tensor()).is_some(), "{}", parameter.name());
        if let Some(gradient) = some.get(parameter.tensor()) {
            assert!(difference(gradient, all.get(parameter.tensor()).unwrap()) < 1e-6, "{}", parameter.name());
            trained += 1;
        }
    }
    assert!(trained > 0, "{} has such parameters", model.name);
}

/// Rows of an operation, made of variables of both types.
fn check(shapes: &[&[usize]], operation: impl Fn(&[Tensor]) -> Tensor) {
    let mut results = Vec::new();
    for dtype in [DType::F64, DType::F32] {
        let variables: Vec<Var> = shapes
            .iter()
            .enumerate()
            .map(|(seed, shape)| {
                let count = shape.iter().product::<usize>();
                let numbers: Vec<f64> = (0..count).map(|i| ((i * 7 + 13 * seed) as f64 * 0.91).sin() + 0.1).collect();
                let tensor = Tensor::from_vec(numbers, *shape, &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
                Var::from_tensor(&tensor).unwrap()
            })
            .collect();
        let tensors: Vec<Tensor> = variables.iter().map(|variable| variable.as_tensor().clone()).collect();
        let output = operation(&tensors);
        let gathered = st_candle::backward(&scalar(&output)).unwrap();
        let plain = scalar(&output).backward().unwrap();
        let mut all = vec![output];
        for tensor in &tensors {
            all.push(gathered.get(tensor).unwrap().clone());
            assert_eq!(difference(plain.get(tensor).unwrap(), gathered.get(tensor).unwrap()), 0.0);
        }
        results.push(all);
    }
    for (place, (expected, found)) in results[0].iter().zip(&results[1]).enumerate() {
        let off = difference(found, expected);
        assert!(off < 1e-5, "output or gradient {place}: off by {off:e}");
    }
}

#[test]
fn operations_have_the_gradients_of_composed_ones() {
    for [rows, inputs, outputs] in [[5, 16, 32], [70, 7, 3]] {
        check(&[&[rows, inputs], &[outputs, inputs], &[outputs]], |x| ops::linear(&x[0], &x[1], Some(&x[2])).unwrap());
        check(&[&[rows, inputs], &[outputs, inputs]], |x| ops::linear(&x[0], &x[1], None).unwrap());
        // Rows of a transpose are not contiguous.
        check(&[&[inputs, rows], &[outputs, inputs]], |x| ops::linear(&x[0].t().unwrap(), &x[1], None).unwrap());
    }
    let spec = |kind, unit_offset| NormSpec { kind, epsilon: 1e-3, bias: true, unit_offset };
    for (kind, unit_offset) in [(NormKind::Layer, false), (NormKind::RootMeanSquare, true)] {
        check(&[&[9, 20], &[20], &[20]], |x| ops::norm(&x[0], &x[1], Some(&x[2]), &spec(kind, unit_offset)).unwrap());
        check(&[&[3, 4, 16], &[16]], |x| ops::norm(&x[0], &x[1], None, &spec(kind, unit_offset)).unwrap());
    }
    for kind in [
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::QuickGelu,
        Activation::Relu,
        Activation::Silu,
        Activation::Tanh,
    ] {
        check(&[&[7, 9]], |x| ops::activation(&x[0], kind).unwrap());
        check(&[&[7, 9], &[7, 9]], |x| ops::gated(&x[0], &x[1], kind).unwrap());
    }
    let sequences = ops::Sequences::new(&[0, 4, 4, 5, 9], &Device::Cpu).unwrap();
    for (groups, shape) in [(1, [6, 4, 3]), (2, [6, 2, 5])] {
        check(&[&[9, 4], &shape, &[6]], |x| ops::convolution(&x[0], &x[1], Some(&x[2]), groups, &sequences).unwrap());
    }
    let ids = Tensor::new(&[3u32, 0, 3, 1], &Device::Cpu).unwrap();
    check(&[&[5, 11]], |x| ops::embedding(&x[0], &ids).unwrap());
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    assert!(ops::linear(&zeros(&[2, 3]), &zeros(&[4, 5]), None).is_err());
    assert!(ops::linear(&zeros(&[2, 3]), &zeros(&[4, 3]), Some(&zeros(&[3]))).is_err());
    let spec = NormSpec::layer(1e-5);
    assert!(ops::norm(&zeros(&[2, 3]), &zeros(&[4]), None, &spec).is_err());
    assert!(ops::gated(&zeros(&[2, 3]), &zeros(&[3, 2]), Activation::Silu).is_err());
    let ids = Tensor::new(&[3u32], &Device::Cpu).unwrap();
    assert!(ops::embedding(&zeros(&[3, 2]), &ids).is_err());
}
