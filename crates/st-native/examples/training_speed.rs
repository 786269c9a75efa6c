//! How near the kernels of a training step come to what the machine allows.
//!
//! `cargo run --release -p st-native --example training_speed [INSTRUCTIONS…]` prints, for the shapes of MiniLM over 4096
//! tokens, the rate of products (of 32-bit floats, then of bfloat16) beside the peak of multiply-adds, and the time of everything
//! else. All figures are per
//! second of one thread's processor time; each is the best of several rounds.

use st_encoder::{Activation, AttentionMask, NormKind};
use st_native::InstructionSet;
use st_native::limits::{multiply_add_peak, thread_time};
use st_native::training::{
    AdamStep, Attention, AttentionGradients, AttentionInputs, Compute, Matrix, NormWeights, Weight,
};

const ROUNDS: usize = 7;
const TOKENS: usize = 4096;

/// Seconds of the quickest round.
fn best(mut work: impl FnMut()) -> f64 {
    let round = |_| {
        let start = thread_time();
        work();
        (thread_time() - start).as_secs_f64()
    };
    (0..ROUNDS).map(round).fold(f64::MAX, f64::min)
}

fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919 + 13) % 1009) as f32 / 504.5 - 1.0).collect()
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    for (name, set) in InstructionSet::ALL {
        if !wanted.is_empty() && !wanted.iter().any(|wanted| wanted == name) {
            continue;
        }
        let Some(compute) = Compute::with(set, 1) else { continue };
        let peak = (0..ROUNDS).map(|_| multiply_add_peak(set)).fold(0.0, f64::max);
        println!("{set}: peak {:.1} GFLOP/s", peak / 1e9);
        products(&compute, peak);
        println!("  bfloat16:");
        products(&compute.clone().with_bf16_products(), peak);
        rows(&compute);
        for length in [64, 128] {
            attention(&compute, length);
        }
        update(&compute);
    }
}

fn products(compute: &Compute, peak: f64) {
    for (name, inputs, outputs) in [("qkv", 384, 1152), ("out", 384, 384), ("up", 384, 1536), ("down", 1536, 384)] {
        let (x, weight, gradient) = (numbers(TOKENS * inputs), numbers(inputs * outputs), numbers(TOKENS * outputs));
        let weights = [Weight { numbers: &weight, bias: None, outputs }];
        let (mut y, mut dx) = (vec![0.0; TOKENS * outputs], vec![0.0; TOKENS * inputs]);
        let (mut dw, mut db) = (vec![0.0; inputs * outputs], vec![0.0; outputs]);
        let operations = 2.0 * (TOKENS * inputs * outputs) as f64;
        let show = |what: &str, seconds: f64| {
            let rate = operations / seconds;
            println!("  {name:5} {what:16} {:6.1} GFLOP/s {:5.1} %", rate / 1e9, 100.0 * rate / peak);
        };
        show("forward", best(|| compute.linear(&x, inputs, &weights, &mut y)));
        show("input gradient", best(|| compute.linear_input_gradient(&gradient, inputs, &weights, &mut dx, false)));
        let (gradient, x) = (Matrix::new(&gradient, outputs), Matrix::new(&x, inputs));
        show("weight gradient", best(|| compute.linear_weight_gradient(gradient, x, &mut dw, Some(&mut db), true)));
    }
}

fn show(what: &str, seconds: f64) {
    println!("  {what:32} {:7.2} ms", seconds * 1e3);
}

fn rows(compute: &Compute) {
    let (x, gradient) = (numbers(TOKENS * 1536), numbers(TOKENS * 1536));
    let mut output = vec![0.0; TOKENS * 1536];
    show("gelu", best(|| compute.activate(Activation::Gelu, &x, None, &mut output)));
    show(
        "gelu, gradient",
        best(|| compute.activation_gradient(Activation::Gelu, &x, None, &gradient, &mut output, None)),
    );
    let (weight, bias) = (numbers(384), numbers(384));
    let norm = NormWeights { kind: NormKind::Layer, epsilon: 1e-12, weight: &weight, bias: Some(&bias) };
    let size = TOKENS * 384;
    let (mut dw, mut db) = (vec![0.0; 384], vec![0.0; 384]);
    show("norm", best(|| compute.norm(&norm, &x[..size], &mut output[..size])));
    show(
        "norm, gradient",
        best(|| {
            let (x, gradient, output) = (&x[..size], &gradient[..size], &mut output[..size]);
            compute.norm_gradient(&norm, x, gradient, output, Some(&mut dw), Some(&mut db));
        }),
    );
}

fn attention(compute: &Compute, length: usize) {
    let description = Attention { heads: 12, key_value_heads: 12, head: 32, scale: 0.177, mask: AttentionMask::Full };
    let packed = numbers(TOKENS * 1152);
    let offsets: Vec<usize> = (0..=TOKENS).step_by(length).collect();
    let part = |index: usize| Matrix::columns(&packed, 1152, 384 * index, 384);
    let inputs =
        AttentionInputs { query: part(0), key: part(1), value: part(2), offsets: &offsets, bias: None, dropout: None };
    let mut output = vec![0.0; TOKENS * 384];
    let mut statistics = compute.attend(&description, &inputs, &mut output);
    show(
        &format!("attention over {length}"),
        best(|| {
            compute.attend(&description, &inputs, &mut output);
        }),
    );
    let gradient = numbers(TOKENS * 384);
    let mut packed_gradient = vec![0.0; packed.len()];
    show(
        &format!("attention over {length}, gradient"),
        best(|| {
            let target = AttentionGradients::Packed(&mut packed_gradient);
            compute.attention_gradient(&description, &inputs, &mut statistics, &gradient, target, None);
        }),
    );
}

fn update(compute: &Compute) {
    let count = 22_713_216;
    let gradient = numbers(count);
    let (mut parameter, mut mean, mut square) = (numbers(count), vec![0.0; count], vec![0.0; count]);
    let step = AdamStep {
        learning_rate: 2e-5,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay: 0.01,
        number: 10,
        gradient_factor: 1.0,
    };
    show("adam over 22.7 million", best(|| compute.adam(&step, &mut parameter, &gradient, &mut mean, &mut square)));
    show(
        "norm of 22.7 million gradients",
        best(|| {
            std::hint::black_box(compute.sum_of_squares(&gradient));
        }),
    );
}
