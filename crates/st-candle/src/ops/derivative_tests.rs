//! The derivative of every operation against finite differences, in 64-bit floats.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor, Var};
use st_encoder::{Activation, AttentionMask, AttentionPosition, AttentionSpec, DisentangledTerms, NormKind, NormSpec};

use super::*;
use crate::dropout::DropoutState;

/// Numbers between −1 and 1 that look random, none nearer to 0 than 0.01 (ReLU has no derivative there).
fn numbers(shape: &[usize], seed: usize) -> Tensor {
    let count = shape.iter().product::<usize>();
    let values: Vec<f64> = (0..count)
        .map(|index| ((index * 7919 + seed * 104_729 + 13) % 1009) as f64 / 504.5 - 1.0)
        .map(|value: f64| if value.abs() < 0.01 { 0.3 } else { value })
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Checks the derivatives of a function of some inputs of the given shapes, in every component.
fn check(what: &str, shapes: &[&[usize]], function: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let inputs: Vec<Tensor> = shapes.iter().enumerate().map(|(seed, shape)| numbers(shape, seed)).collect();
    // Any scalar will do whose derivative is another in every component of the result.
    let scalar = |inputs: &[Tensor]| {
        let result = function(inputs).unwrap();
        (result.mul(&numbers(result.dims(), 99)).unwrap()).sum_all().unwrap()
    };
    let variables: Vec<Var> = inputs.iter().map(|input| Var::from_tensor(input).unwrap()).collect();
    let tracked: Vec<Tensor> = variables.iter().map(|variable| variable.as_tensor().clone()).collect();
    let gradients = scalar(&tracked).backward().unwrap();
    for (place, variable) in variables.iter().enumerate() {
        let gradient = gradients.get(variable).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let values = inputs[place].flatten_all().unwrap().to_vec1::<f64>().unwrap();
        assert_eq!(gradients.get(variable).unwrap().dims(), inputs[place].dims());
        for component in 0..values.len() {
            let step = 1e-5;
            let at = |offset: f64| {
                let mut moved = values.clone();
                moved[component] += offset;
                let mut inputs = inputs.clone();
                inputs[place] = Tensor::from_vec(moved, inputs[place].shape(), &Device::Cpu).unwrap();
                scalar(&inputs).to_scalar::<f64>().unwrap()
            };
            let expected = (at(step) - at(-step)) / (2.0 * step);
            let found = gradient[component];
            let difference = (found - expected).abs() / expected.abs().max(1.0);
            assert!(difference < 1e-7, "{what}, input {place}, component {component}: {found} against {expected}");
        }
    }
}

#[test]
fn rows() {
    check("linear", &[&[3, 4], &[5, 4], &[5]], |x| linear(&x[0], &x[1], Some(&x[2])));
    check("linear without bias", &[&[3, 4], &[5, 4]], |x| linear(&x[0], &x[1], None));
    check("rows of a weight", &[&[3, 4], &[9, 4]], |x| linear(&x[0], &x[1].narrow(0, 2, 5)?, None));
    for kind in [NormKind::Layer, NormKind::RootMeanSquare] {
        for (bias, unit_offset) in [(true, false), (false, true)] {
            let spec = NormSpec { kind, epsilon: 1e-3, bias, unit_offset };
            check(&format!("{spec:?}"), &[&[3, 5], &[5], &[5]], |x| {
                // A bias that the norm has not is added, so that it has a derivative.
                let normed = norm(&x[0], &x[1], bias.then_some(&x[2]), &spec)?;
                if bias { Ok(normed) } else { normed.broadcast_add(&x[2]) }
            });
            if bias {
                check("residual norm", &[&[3, 5], &[3, 5], &[5], &[5]], |x| {
                    add_norm(&x[0], &x[1], &x[2], Some(&x[3]), &spec)
                });
            }
        }
    }
    for function in [
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::QuickGelu,
        Activation::Relu,
        Activation::Silu,
        Activation::Tanh,
    ] {
        check(&format!("{function:?}"), &[&[6, 7]], |x| activation(&(&x[0] * 4.0)?, function));
        check(&format!("gated {function:?}"), &[&[3, 4], &[3, 4]], |x| gated(&x[0], &x[1], function));
    }
    check("sum", &[&[3, 4], &[3, 4]], |x| add(&x[0], &x[1]));
    let ids = Tensor::new(&[2u32, 0, 2, 3], &Device::Cpu).unwrap();
    check("embedding", &[&[5, 3]], |x| embedding(&x[0], &ids));
    let mask = DropoutState::new(3).next_pass().mask(1, 0.4).unwrap();
    check("dropout", &[&[4, 6]], |x| dropout(&x[0], Some(&mask)));
    for waves in [&[1.0, 0.1][..], &[1.0, 0.3, 0.1]] {
        let rotation = Rotation::new(&[0, 2, 5], waves, DType::F64, &Device::Cpu).unwrap();
        check("rotary", &[&[5, 12]], |x| rotary(&x[0], &rotation, 6));
    }
}

/// Values of activations from their formulas, with Python's math module.
#[test]
fn activations_are_exact() {
    let x = Tensor::new(&[-2.0f64, -0.5, 0.0, 1.0, 3.0], &Device::Cpu).unwrap();
    let cases = [
        (Activation::Gelu, [-0.0455002638963584, -0.15426876936299347, 0.0, 0.8413447460685429, 2.99595030590511]),
        (
            Activation::GeluTanh,
            [-0.04540230591222494, -0.15428599017485606, 0.0, 0.8411919906082768, 2.996362607918227],
        ),
        (
            Activation::QuickGelu,
            [-0.06434137685579186, -0.1496115633936199, 0.0, 0.8457957659328212, 2.981928690292214],
        ),
        (Activation::Relu, [0.0, 0.0, 0.0, 1.0, 3.0]),
        (Activation::Silu, [-0.2384058440442351, -0.18877033439907273, 0.0, 0.7310585786300049, 2.8577223804673]),
        (Activation::Tanh, [-0.9640275800758169, -0.46211715726000973, 0.0, 0.7615941559557649, 0.9950547536867305]),
    ];
    for (function, expected) in cases {
        let found = activation(&x, function).unwrap().to_vec1::<f64>().unwrap();
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{function:?}: {found} against {expected}");
        }
    }
    let x = Var::new(&[0.0f64], &Device::Cpu).unwrap();
    let gradients = activation(&x, Activation::Relu).unwrap().sum_all().unwrap().backward().unwrap();
    assert_eq!(gradients.get(&x).unwrap().to_vec1::<f64>().unwrap(), [0.0], "as in PyTorch");
}

fn spec(heads: usize, key_value_heads: usize, mask: AttentionMask, position: AttentionPosition) -> AttentionSpec {
    AttentionSpec {
        heads,
        key_value_heads,
        head_size: 3,
        scale: 0.7,
        input_bias: false,
        output_bias: false,
        position,
        mask,
        query_key_norm: None,
    }
}

const OFFSETS: [usize; 6] = [0, 4, 5, 5, 9, 11];

/// The shapes of an attention over [`OFFSETS`]: grouped by length, and padded.
fn shapes(spec: &AttentionSpec) -> [AttentionShape; 2] {
    [true, false].map(|exact| {
        let sequences = Sequences::grouped(&OFFSETS, &Device::Cpu, exact).unwrap();
        AttentionShape::new(spec, Arc::new(sequences), DType::F64)
    })
}

const MASKS: [AttentionMask; 4] = [
    AttentionMask::Full,
    AttentionMask::Causal,
    AttentionMask::Window { reach: 1 },
    AttentionMask::CausalWindow { reach: 2 },
];

#[test]
fn attentions() {
    let relative = AttentionPosition::RelativeBias { buckets: 6, max_distance: 4 };
    let dropped = DropoutState::new(5).next_pass().mask(2, 0.3);
    for mask in MASKS {
        for position in [AttentionPosition::None, AttentionPosition::Alibi, relative.clone()] {
            for dropout in [None, dropped] {
                let spec = spec(4, 2, mask, position.clone());
                for shape in shapes(&spec) {
                    let what = format!("{mask:?} {position:?} {dropout:?}");
                    let bias = matches!(position, AttentionPosition::RelativeBias { .. });
                    let inputs: [&[usize]; 4] = [&[11, 12], &[11, 6], &[11, 6], &[6, 4]];
                    check(&what, &inputs[..if bias { 4 } else { 3 }], |x| {
                        attention(&x[0], &x[1], &x[2], &shape, x.get(3), dropout.as_ref())
                    });
                }
            }
        }
    }
}

#[test]
fn disentangled_attentions() {
    let dropped = DropoutState::new(5).next_pass().mask(2, 0.3);
    for max_distance in [None, Some(8)] {
        for terms in
            [DisentangledTerms::Both, DisentangledTerms::ContentToPosition, DisentangledTerms::PositionToContent]
        {
            let position = AttentionPosition::Disentangled { span: 2, max_distance, terms, own_projections: false };
            for shape in shapes(&spec(2, 2, AttentionMask::Full, position.clone())) {
                let inputs = [&[11, 6][..], &[11, 6], &[11, 6], &[4, 6], &[4, 6]];
                let inputs = &inputs[..2 + terms.products()];
                check(&format!("{position:?}"), inputs, |x| {
                    let queries = terms.has_queries().then(|| &x[3]);
                    let keys = terms.has_keys().then(|| &x[x.len() - 1]);
                    disentangled_attention(&x[0], &x[1], &x[2], queries, keys, &shape, dropped.as_ref())
                });
            }
        }
    }
}

#[test]
fn padding_changes_nothing() {
    let x: Vec<_> = (0..3).map(|seed| numbers(&[11, 12], seed)).collect();
    let dropped = DropoutState::new(5).next_pass().mask(2, 0.3);
    for mask in MASKS {
        let [exact, padded] = shapes(&spec(4, 4, mask, AttentionPosition::Alibi));
        let run = |shape| attention(&x[0], &x[1], &x[2], shape, None, dropped.as_ref()).unwrap();
        let difference = (run(&exact) - run(&padded)).unwrap().abs().unwrap().max_all().unwrap();
        assert!(difference.to_scalar::<f64>().unwrap() < 1e-14, "{mask:?}");
    }
}

#[test]
fn tables_go_with_relative_positions() {
    let x = numbers(&[11, 12], 0);
    let table = numbers(&[6, 4], 1);
    let [none, _] = shapes(&spec(4, 4, AttentionMask::Full, AttentionPosition::None));
    assert!(attention(&x, &x, &x, &none, Some(&table), None).is_err());
    assert!(disentangled_attention(&x, &x, &x, Some(&x), Some(&x), &none, None).is_err());
    let position = AttentionPosition::RelativeBias { buckets: 6, max_distance: 4 };
    let [relative, _] = shapes(&spec(4, 4, AttentionMask::Full, position));
    assert!(attention(&x, &x, &x, &relative, None, None).is_err());
}

#[test]
fn sixteen_bits_stay_near() {
    let spec = spec(4, 2, AttentionMask::Causal, AttentionPosition::Alibi);
    let x: Vec<_> = [12, 6, 6].iter().enumerate().map(|(seed, &width)| numbers(&[11, width], seed)).collect();
    let run = |dtype: DType| {
        let shape = AttentionShape::new(&spec, Arc::new(Sequences::new(&OFFSETS, &Device::Cpu)?), dtype);
        let x = x.iter().map(|x| x.to_dtype(dtype)).collect::<Result<Vec<_>>>()?;
        let attended = attention(&x[0], &x[1], &x[2], &shape, None, None)?;
        assert_eq!(attended.dtype(), dtype);
        let activated = activation(&attended, Activation::Gelu)?;
        let weight = numbers(&[12], 5).to_dtype(dtype)?;
        norm(&activated, &weight, None, &NormSpec::root_mean_square(1e-6))?.to_dtype(DType::F64)
    };
    let exact = run(DType::F64).unwrap();
    for (dtype, bound) in [(DType::F32, 1e-5), (DType::F16, 0.01), (DType::BF16, 0.08)] {
        let difference = (run(dtype).unwrap() - &exact).unwrap().abs().unwrap().max_all().unwrap();
        let difference = difference.to_scalar::<f64>().unwrap();
        assert!(difference > 0.0 && difference < bound, "{dtype:?}: {difference}");
    }
}
