//! Every kernel against its portable twin and against plain loops in 64 bits.

use proptest::prelude::*;
use st_encoder::{Activation, AttentionMask, NormKind, NormSpec, WeightFormat};

use super::attention::{AttentionCall, QUERIES};
use super::quantise::{Levels, QuantiseCall, UNSIGNED, bytes_of, place, rotate};
use super::{Kernels, STEP};
use crate::InstructionSet;
use crate::calibration::{Observations, Seen};
use crate::layers::linear::{Epilogue, Linear, Source};
use crate::layers::norm::Norm;
use crate::layers::packing::{Axis, Part, pack};
use crate::layers::pairs::Pairs;
use crate::layers::{Run, padded};
use crate::memory::Buffer;
use crate::split::{Shared, Split};

fn sets() -> impl Iterator<Item = (InstructionSet, &'static Kernels)> {
    InstructionSet::ALL.into_iter().filter_map(|(_, set)| Some((set, Kernels::of(set)?)))
}

/// Numbers between −scale and scale, the same for the same seed.
fn numbers(count: usize, seed: u64, scale: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 40) as f32 / 8_388_608.0 - 1.0) * scale
    };
    (0..count).map(next).collect()
}

/// Rows of a matrix, each padded with zeros.
fn padded_rows(rows: &[f32], width: usize) -> Buffer<f32> {
    let stride = padded(width);
    let mut buffer = Buffer::zeroed(rows.len() / width * stride);
    for (to, from) in buffer.chunks_exact_mut(stride).zip(rows.chunks_exact(width)) {
        to[..width].copy_from_slice(from);
    }
    buffer
}

fn close(found: f64, expected: f64, tolerance: f64) -> bool {
    (found - expected).abs() <= tolerance * (1.0 + expected.abs())
}

fn exact(kind: Option<Activation>, x: f64) -> f64 {
    let logistic = |x: f64| 1.0 / (1.0 + (-x).exp());
    match kind {
        None => x,
        Some(Activation::QuickGelu) => x * logistic(1.702 * x),
        Some(Activation::Relu) => x.max(0.0),
        Some(Activation::Silu) => x * logistic(x),
        Some(Activation::Tanh) => x.tanh(),
        Some(Activation::GeluTanh) => {
            x * logistic(2.0 * (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3)))
        }
        Some(Activation::Gelu) => {
            // Φ by Simpson's rule over the density.
            let steps = 2000;
            let width = x / f64::from(steps);
            let density = |t: f64| (-t * t / 2.0).exp() / std::f64::consts::TAU.sqrt();
            let sum: f64 = (0..=steps)
                .map(|i| {
                    let weight = if i == 0 || i == steps {
                        1.0
                    } else if i % 2 == 1 {
                        4.0
                    } else {
                        2.0
                    };
                    weight * density(f64::from(i) * width)
                })
                .sum();
            x * (0.5 + sum * width / 3.0)
        }
    }
}

/// A row's bytes, the value of a step, and that of byte 0.
fn quantised(kernels: &Kernels, levels: Levels, input: &[f32], factor: &[f32]) -> (Vec<u8>, f32, f32) {
    let width = input.len();
    let (mut rotated, mut bytes) = (vec![0.0f32; width], vec![7u8; bytes_of(width)]);
    let (mut scale, mut offset, shift) = (0.0f32, 0.0f32, vec![0.0f32; width]);
    let call = QuantiseCall {
        levels,
        rows: 1,
        width,
        input: input.as_ptr(),
        input_stride: width,
        activation: None,
        factor: factor.as_ptr(),
        shift: shift.as_ptr(),
        rotated: rotated.as_mut_ptr(),
        output: bytes.as_mut_ptr(),
        scale: &raw mut scale,
        offset: &raw mut offset,
    };
    // SAFETY: one row of the width, as are its factors.
    unsafe { (kernels.quantise)(&call) };
    (bytes, scale, offset)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn products_are_those_of_plain_loops(
        rows in 1usize..40, inputs in 1usize..100, outputs in 1usize..130, seed in any::<u64>(), epilogue in 0usize..4,
    ) {
        let (weight, bias) = (numbers(inputs * outputs, seed, 0.5), numbers(outputs, seed + 1, 1.0));
        let (input, before) = (numbers(rows * inputs, seed + 2, 1.0), numbers(rows * outputs, seed + 3, 1.0));
        let epilogue =
            [Epilogue::Store, Epilogue::Activate(Activation::Relu), Epilogue::Add, Epilogue::Multiply][epilogue];
        for (set, kernels) in sets() {
            let source = Source { weight: &weight, bias: Some(&bias), outputs: Axis::whole(outputs) };
            let linear = Linear::new(kernels, WeightFormat::F32, &[source], Axis::whole(inputs));
            let run = Run { kernels, split: Split::none() };
            let padded_input = padded_rows(&input, inputs);
            let apply = |linear: &Linear, rows: std::ops::Range<usize>| {
                let mut output = padded_rows(&before[rows.start * outputs..rows.end * outputs], outputs);
                let from = &padded_input[rows.start * padded(inputs)..];
                linear.apply(run, rows.len(), from, padded(inputs), &mut output, padded(outputs), epilogue);
                output
            };
            let output = apply(&linear, 0..rows);
            let mut seen = Observations::default();
            let (depth, stride) = (padded(inputs), padded(inputs));
            seen.add(kernels, run.split, Seen { rows, depth, input: &padded_input, stride });
            let quantised = linear.quantised(run, set, &seen);
            let bytes = apply(&quantised, 0..rows);
            for row in 0..rows {
                // A row alone is the same to the bit, whatever the height of its tile.
                prop_assert_eq!(&*apply(&linear, row..row + 1), &output[row * padded(outputs)..(row + 1) * padded(outputs)]);
                prop_assert_eq!(&*apply(&quantised, row..row + 1), &bytes[row * padded(outputs)..(row + 1) * padded(outputs)]);
                for column in 0..outputs {
                    let sum: f64 = (0..inputs)
                        .map(|k| f64::from(weight[column * inputs + k]) * f64::from(input[row * inputs + k]))
                        .sum();
                    let value = sum + f64::from(bias[column]);
                    let old = f64::from(before[row * outputs + column]);
                    let expected = match epilogue {
                        Epilogue::Store => value,
                        Epilogue::Activate(_) => value.max(0.0),
                        Epilogue::Add => old + value,
                        Epilogue::Multiply => old * value,
                    };
                    let place = row * padded(outputs) + column;
                    prop_assert!(close(f64::from(output[place]), expected, 2e-6 * inputs as f64), "{set}: {} {expected}", output[place]);
                    // Steps of an input row are 1/127 of its range and of a column 1/127, over so many terms.
                    let bound = 0.02 * (inputs as f64).sqrt() + 0.01;
                    prop_assert!((f64::from(bytes[place]) - expected).abs() < bound, "{set} in bytes: {} {expected}", bytes[place]);
                }
            }
        }
    }

    #[test]
    fn products_of_bfloat16_are_those_of_plain_loops(
        rows in 1usize..40, inputs in 1usize..100, outputs in 1usize..130, seed in any::<u64>(),
    ) {
        let (weight, bias) = (numbers(inputs * outputs, seed, 0.5), numbers(outputs, seed + 1, 1.0));
        let input = padded_rows(&numbers(rows * inputs, seed + 2, 1.0), inputs);
        let (depth, width) = (padded(inputs), padded(outputs));
        let wide_bias = padded_rows(&bias, outputs);
        let rounded = |number: f32| f64::from(half::bf16::from_f32(number).to_f32());
        for (set, kernels) in sets() {
            let part = Part { weight: &weight, outputs: Axis::whole(outputs) };
            let packed = pack(kernels, &[part], Axis::whole(inputs));
            // The processor's own instruction, where there is one, and its twin.
            for pairs in [kernels.pairs(), kernels.widened_pairs()] {
                prop_assert_eq!(pairs.panel(), kernels.panel());
                let layer = Pairs::new(pairs, &packed, width, depth);
                let apply = |rows: std::ops::Range<usize>| {
                    let mut output = Buffer::zeroed(rows.len() * width);
                    let (all, shared) = (width.div_ceil(pairs.panel()), Shared::new(&mut output));
                    let from = &input[rows.start * depth..];
                    // SAFETY: rows and columns are there, and nobody else uses them.
                    unsafe {
                        let bias = &wide_bias;
                        layer.part(kernels, bias, 0..rows.len(), 0..all, from, depth, shared, width, Epilogue::Store);
                    }
                    output
                };
                let output = apply(0..rows);
                for row in 0..rows {
                    prop_assert_eq!(&*apply(row..row + 1), &output[row * width..(row + 1) * width]);
                    for column in 0..outputs {
                        let product = |k: usize| rounded(weight[column * inputs + k]) * rounded(input[row * depth + k]);
                        let expected = (0..inputs).map(product).sum::<f64>() + f64::from(bias[column]);
                        let found = output[row * width + column];
                        prop_assert!(close(f64::from(found), expected, 2e-6 * inputs as f64), "{set}: {found} {expected}");
                    }
                }
            }
        }
    }

    #[test]
    fn norms_are_those_of_plain_loops(rows in 1usize..6, width in 1usize..120, seed in any::<u64>(), layer in any::<bool>()) {
        let kind = if layer { NormKind::Layer } else { NormKind::RootMeanSquare };
        let spec = NormSpec { kind, epsilon: 1e-5, bias: true, unit_offset: false };
        let (weight, bias) = (numbers(width, seed, 1.0), numbers(width, seed + 1, 1.0));
        let input = numbers(rows * width, seed + 2, 3.0);
        for (set, kernels) in sets() {
            let mut found = padded_rows(&input, width);
            let run = Run { kernels, split: Split::none() };
            Norm::new(spec, &weight, Some(&bias)).in_place(run, rows, &mut found, padded(width));
            for (row, found) in input.chunks_exact(width).zip(found.chunks_exact(padded(width))) {
                let row: Vec<f64> = row.iter().map(|&x| f64::from(x)).collect();
                let mean = if layer { row.iter().sum::<f64>() / width as f64 } else { 0.0 };
                let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
                for (j, x) in row.iter().enumerate() {
                    let expected = (x - mean) / (variance + 1e-5).sqrt() * f64::from(weight[j]) + f64::from(bias[j]);
                    prop_assert!(close(f64::from(found[j]), expected, 1e-4), "{set}: {} {expected}", found[j]);
                }
                prop_assert!(found[width..].iter().all(|&x| x == 0.0));
            }
        }
    }

    #[test]
    fn attention_is_that_of_plain_loops(
        tokens in 1usize..80, steps in 1usize..4, group in 1usize..3, seed in any::<u64>(), mask in 0usize..4,
        with_bias in any::<bool>(),
    ) {
        let head = steps * STEP;
        let mask = [
            AttentionMask::Full,
            AttentionMask::Causal,
            AttentionMask::Window { reach: 5 },
            AttentionMask::CausalWindow { reach: 3 },
        ][mask];
        let stride = (group + 2) * head;
        let projected = numbers(tokens * stride, seed, 1.0);
        let bias_stride = padded(2 * tokens) + QUERIES;
        let bias = numbers(group * bias_stride, seed + 1, 2.0);
        let scale = 0.3;
        let sees = |query: usize, key: usize| match mask {
            AttentionMask::Full => true,
            AttentionMask::Causal => key <= query,
            AttentionMask::Window { reach } => key.abs_diff(query) <= reach,
            AttentionMask::CausalWindow { reach } => key <= query && query - key <= reach,
        };
        let kernels = sets().flat_map(|(set, kernels)| {
            [(set, kernels.attend, 1e-5), (set, kernels.attend_narrowed(), 0.02)]
        });
        for (set, kernel, tolerance) in kernels {
            let mut output = vec![0.0f32; tokens * group * head];
            let mut transposed = vec![0.0f32; head * QUERIES];
            let mut scores = vec![0.0f32; tokens * QUERIES];
            let mut halves = vec![0u16; head * (2 * tokens + 1)];
            let call = AttentionCall {
                tokens,
                queries: tokens,
                head,
                group,
                query: projected.as_ptr(),
                key: projected[group * head..].as_ptr(),
                value: projected[(group + 1) * head..].as_ptr(),
                stride,
                output: output.as_mut_ptr(),
                output_stride: group * head,
                scale,
                bias: if with_bias { bias.as_ptr() } else { std::ptr::null() },
                bias_stride,
                relative: std::ptr::null(),
                mask,
                transposed: transposed.as_mut_ptr(),
                scores: scores.as_mut_ptr(),
                halves: halves.as_mut_ptr(),
            };
            // SAFETY: the matrices and the scratch are as large as the call says.
            unsafe { kernel(&call) };
            let at = |token: usize, column: usize| f64::from(projected[token * stride + column]);
            for (query, member) in (0..tokens).flat_map(|query| (0..group).map(move |member| (query, member))) {
                let powers: Vec<f64> = (0..tokens)
                    .map(|key| {
                        let dot: f64 = (0..head).map(|d| at(query, member * head + d) * at(key, group * head + d)).sum();
                        let bias = if with_bias { bias[member * bias_stride + tokens - 1 + query - key] } else { 0.0 };
                        if sees(query, key) { (dot * f64::from(scale) + f64::from(bias)).exp2() } else { 0.0 }
                    })
                    .collect();
                let sum: f64 = powers.iter().sum();
                for d in 0..head {
                    let expected: f64 =
                        powers.iter().enumerate().map(|(key, p)| p * at(key, (group + 1) * head + d)).sum::<f64>() / sum;
                    let found = output[(query * group + member) * head + d];
                    prop_assert!(close(f64::from(found), expected, tolerance), "{set} {mask:?}: {found} {expected}");
                }
            }
        }
    }

    #[test]
    fn bytes_hold_a_row_to_half_a_step(
        steps in 1usize..40, seed in any::<u64>(), signed in any::<bool>(), below in 0u32..=510,
    ) {
        let width = steps * STEP;
        let mut scaled = vec![1.0f32; width];
        // Numbers from end to end of a range whose zero lies so many half steps above its smallest; rotated twice a row is
        // as it was.
        let (low, high) = (-0.5 * below as f32, UNSIGNED - 0.5 * below as f32);
        let mut expected = numbers(width, seed, 1.0);
        expected.iter_mut().for_each(|number| *number = low + (*number + 1.0) / 2.0 * (high - low));
        (expected[0], expected[1]) = (low, high);
        let mut input = expected.clone();
        rotate(&mut input);
        for (start, points) in super::quantise::rotations(width) {
            scaled[start..start + points * STEP].fill(super::quantise::rotation_factor(points));
        }
        for (set, kernels) in sets() {
            let levels = if signed { Levels::Signed } else { Levels::Unsigned };
            let (bytes, scale, offset) = quantised(kernels, levels, &input, &scaled);
            let range = high.max(0.0) - low.min(0.0);
            let step = if signed { high.max(-low) / 127.0 } else { range / UNSIGNED };
            prop_assert!((scale - step).abs() <= 1e-4 * step, "{set}: {scale} {step}");
            for (column, expected) in expected.iter().enumerate() {
                let byte = bytes[place(column)];
                let found = (if signed { f32::from(byte.cast_signed()) } else { f32::from(byte) }) * scale + offset;
                prop_assert!((found - expected).abs() <= 0.505 * scale, "{set}: {found} {expected}");
            }
        }
    }
}

#[test]
fn rows_whose_range_has_no_inverse_become_zeros() {
    for (tiny, width) in [0.0, 1e-45, 1e-38, 1e-31].into_iter().zip([16, 32, 64, 256]) {
        for (set, kernels) in sets() {
            let input: Vec<f32> = (0..width).map(|i| if i % 3 == 0 { tiny } else { -tiny }).collect();
            let (bytes, scale, offset) = quantised(kernels, Levels::Unsigned, &input, &vec![1.0; width]);
            for byte in bytes {
                let number = f32::from(byte) * scale + offset;
                assert!(number.abs() <= 64.0 * tiny, "{set}: {tiny} became {number}");
            }
        }
    }
}

#[test]
fn rough_activations_are_within_their_bound() {
    let inputs: Vec<f32> = (-1200..1200).map(|i| i as f32 * 0.01).collect();
    for (set, kernels) in sets() {
        let mut numbers = padded_rows(&inputs, inputs.len());
        let columns = numbers.len();
        // SAFETY: one row of so many columns.
        unsafe { (kernels.activate_roughly)(Activation::Gelu, numbers.as_mut_ptr(), 1, columns, columns) };
        for (&x, &found) in inputs.iter().zip(numbers.iter()) {
            let expected = exact(Some(Activation::Gelu), f64::from(x));
            assert!((f64::from(found) - expected).abs() < 7e-4, "{set}: {x} became {found}, not {expected}");
        }
    }
}

#[test]
fn activations_are_exact_to_a_millionth() {
    let kinds = [
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::QuickGelu,
        Activation::Relu,
        Activation::Silu,
        Activation::Tanh,
    ];
    let inputs: Vec<f32> = (-900..900).map(|i| i as f32 * 0.0123).chain([0.0, 1e-6, -1e-6, 80.0, -80.0]).collect();
    for ((set, kernels), kind) in sets().flat_map(|set| kinds.map(|kind| (set, kind))) {
        let mut numbers = padded_rows(&inputs, inputs.len());
        let columns = numbers.len();
        // SAFETY: one row of so many columns.
        unsafe { (kernels.activate)(kind, numbers.as_mut_ptr(), 1, columns, columns) };
        for (&x, &found) in inputs.iter().zip(numbers.iter()) {
            let expected = exact(Some(kind), f64::from(x));
            assert!(close(f64::from(found), expected, 1e-6), "{set} {kind:?}({x}) = {found}, not {expected}");
        }
    }
}

/// All ways of multiplying bytes, with the largest numbers that there are: none may saturate.
#[test]
fn sums_of_bytes_do_not_saturate() {
    use super::integer::{IntegerTileCall, PORTABLE};
    let mut ways = vec![("portable", &PORTABLE)];
    #[cfg(target_arch = "x86_64")]
    {
        use super::integer::x86::{VNNI256, VNNI512, WIDE256};
        if InstructionSet::Avx2.is_available() {
            ways.push(("avx2", &WIDE256));
            if std::arch::is_x86_feature_detected!("avxvnni") {
                ways.push(("avx-vnni", &VNNI256));
            }
        }
        if InstructionSet::Avx512.is_available() && std::arch::is_x86_feature_detected!("avx512vnni") {
            ways.push(("avx512-vnni", &VNNI512));
        }
    }
    let depth = 48;
    for (name, kernels) in ways {
        for (weight, byte) in [(127i8, 255u8), (-127, 255), (-127, 1)] {
            for (vectors, tiles) in kernels.tiles.iter().enumerate() {
                let columns = (vectors + 1) * kernels.lanes;
                let panel = vec![weight; depth * columns];
                let (ones, zeros) = (vec![1.0f32; columns], vec![0.0f32; columns]);
                for (rows, tile) in tiles.iter().enumerate() {
                    let input = vec![byte; depth * (rows + 1)];
                    let mut output = vec![0.0f32; columns * (rows + 1)];
                    let call = IntegerTileCall {
                        depth,
                        input: input.as_ptr(),
                        input_stride: depth,
                        panel: panel.as_ptr(),
                        column_scale: ones.as_ptr(),
                        column_sum: zeros.as_ptr(),
                        bias: zeros.as_ptr(),
                        row_scale: ones.as_ptr(),
                        row_offset: zeros.as_ptr(),
                        output: output.as_mut_ptr(),
                        output_stride: columns,
                        finish: super::tile::Finish::Store,
                        ahead: panel.as_ptr(),
                    };
                    assert!(rows < columns, "a row's scale is among the ones");
                    // SAFETY: all matrices are as large as the tile.
                    unsafe { tile(&call) };
                    let expected = depth as f32 * f32::from(weight) * f32::from(byte);
                    assert!(output.iter().all(|&sum| sum == expected), "{name}: {output:?} instead of {expected}");
                }
            }
        }
    }
}
