use proptest::prelude::*;

use super::super::{AdamStep, Compute, Matrix, Weight};
use super::{computes, near, numbers, wide};

/// `left · right` of row-major matrices.
fn product(left: &[f64], right: &[f64], depth: usize) -> Vec<f64> {
    let columns = right.len() / depth;
    left.chunks(depth)
        .flat_map(|row| (0..columns).map(|c| row.iter().enumerate().map(|(k, x)| x * right[k * columns + c]).sum()))
        .collect()
}

fn transposed(matrix: &[f64], columns: usize) -> Vec<f64> {
    (0..columns).flat_map(|c| matrix.iter().skip(c).step_by(columns).copied()).collect()
}

/// As [`computes`], multiplying bfloat16: by the processor's instruction, and by its twin.
fn rounding_computes() -> impl Iterator<Item = [Compute; 2]> {
    computes().into_iter().flat_map(|pair| {
        let fastest = pair.clone().map(Compute::with_bf16_products);
        let twin = pair.map(|mut compute| {
            compute.pairs = Some(compute.kernels.widened_pairs());
            compute
        });
        [fastest, twin]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn linear_layers_and_gradients_are_those_of_plain_loops(
        rows in 1usize..300, inputs in 1usize..70, first in 1usize..70, second in 0usize..40, whole in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let whole = |n: usize| if whole { n.next_multiple_of(16) } else { n };
        let (inputs, first, second) = (whole(inputs), whole(first), whole(second));
        let outputs = first + second;
        // Numbers that bfloat16 has, so that products of bfloat16 are held to the same loops.
        let short = |numbers: Vec<f32>| -> Vec<f32> {
            numbers.into_iter().map(|number| half::bf16::from_f32(number).to_f32()).collect()
        };
        let (weight, bias) = (short(numbers(outputs * inputs, seed, 0.5)), numbers(outputs, seed + 1, 1.0));
        let (x, g) = (short(numbers(rows * inputs, seed + 2, 1.0)), short(numbers(rows * outputs, seed + 3, 1.0)));
        let weights = [
            Weight { numbers: &weight[..first * inputs], bias: Some(&bias[..first]), outputs: first },
            Weight { numbers: &weight[first * inputs..], bias: Some(&bias[first..]), outputs: second },
        ];
        let weights = &weights[..if second == 0 { 1 } else { 2 }];
        let mut y_expected = product(&wide(&x), &transposed(&wide(&weight), inputs), inputs);
        y_expected.iter_mut().enumerate().for_each(|(i, y)| *y += f64::from(bias[i % outputs]));
        let dx_expected = product(&wide(&g), &wide(&weight), outputs);
        let dw_expected = product(&transposed(&wide(&g), outputs), &wide(&x), rows);
        let db_expected = product(&vec![1.0; rows], &wide(&g), rows);
        for pair in computes().into_iter().chain(rounding_computes()) {
            let mut results = Vec::new();
            for compute in &pair {
                let (mut y, mut dx) = (vec![9.0; rows * outputs], vec![9.0; rows * inputs]);
                compute.linear(&x, inputs, weights, &mut y);
                compute.linear_input_gradient(&g, inputs, weights, &mut dx, false);
                let (mut dw, mut db) = (vec![9.0; outputs * inputs], vec![9.0; outputs]);
                let (gradient, input) = (Matrix::new(&g, outputs), Matrix::new(&x, inputs));
                compute.linear_weight_gradient(gradient, input, &mut dw, Some(&mut db), false);
                near(&y, &y_expected, 1e-5, "y");
                near(&dx, &dx_expected, 1e-5, "dx");
                near(&dw, &dw_expected, 1e-5, "dW");
                near(&db, &db_expected, 1e-5, "db");
                let mut again = dx.clone();
                compute.linear_input_gradient(&g, inputs, weights, &mut again, true);
                near(&again, &dx_expected.iter().map(|x| 2.0 * x).collect::<Vec<_>>(), 1e-5, "2 dx");
                let mut again = dw.clone();
                let mut sums = db.clone();
                compute.linear_weight_gradient(gradient, input, &mut again, Some(&mut sums), true);
                near(&again, &dw_expected.iter().map(|x| 2.0 * x).collect::<Vec<_>>(), 1e-5, "2 dW");
                near(&sums, &db_expected.iter().map(|x| 2.0 * x).collect::<Vec<_>>(), 1e-5, "2 db");
                // Columns of a wider matrix.
                let part = Matrix::columns(&g, outputs, first.min(outputs - 1), outputs - first.min(outputs - 1));
                let mut some = vec![0.0; part.width * inputs];
                compute.linear_weight_gradient(part, input, &mut some, None, false);
                near(&some, &dw_expected[(outputs - part.width) * inputs..], 1e-5, "part of dW");
                sums.fill(0.0);
                compute.add_column_sums(gradient, &mut sums);
                near(&sums, &db_expected, 1e-5, "db alone");
                results.push((y, dx, dw, db));
            }
            prop_assert_eq!(&results[0], &results[1], "threads change nothing");
        }
    }
}

#[test]
fn what_is_multiplied_is_rounded_to_bfloat16() {
    let (x, weight) = (numbers(7 * 48, 1, 1.0), numbers(32 * 48, 2, 1.0));
    let short = |numbers: &[f32]| -> Vec<f64> {
        numbers.iter().map(|&number| f64::from(half::bf16::from_f32(number).to_f32())).collect()
    };
    let expected = product(&short(&x), &transposed(&short(&weight), 48), 48);
    for compute in rounding_computes().flatten() {
        let mut y = vec![0.0; 7 * 32];
        compute.linear(&x, 48, &[Weight { numbers: &weight, bias: None, outputs: 32 }], &mut y);
        near(&y, &expected, 1e-5, "y");
    }
}

/// PyTorch's steps, in 64 bits.
#[test]
fn adam_steps_are_the_formula() {
    let count = 100;
    let step = |number| AdamStep {
        learning_rate: 0.01,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay: 0.1,
        number,
        gradient_factor: 0.5,
    };
    let start = numbers(count, 3, 1.0);
    for compute in computes().into_iter().flatten() {
        let mut p = start.clone();
        let (mut m, mut v) = (vec![0.0; count], vec![0.0; count]);
        let (mut p64, mut m64, mut v64) = (wide(&start), vec![0.0f64; count], vec![0.0f64; count]);
        for number in 1..6 {
            let gradient = numbers(count, 10 + number, 0.1);
            compute.adam(&step(number), &mut p, &gradient, &mut m, &mut v);
            let power = number as i32;
            for i in 0..count {
                let g = 0.5 * f64::from(gradient[i]);
                p64[i] *= 1.0 - 0.01 * 0.1;
                m64[i] += (g - m64[i]) * 0.1;
                v64[i] = v64[i] * 0.999 + 0.001 * g * g;
                let root = v64[i].sqrt() / (1.0 - 0.999f64.powi(power)).sqrt() + 1e-8;
                p64[i] -= 0.01 / (1.0 - 0.9f64.powi(power)) * m64[i] / root;
            }
        }
        near(&p, &p64, 1e-6, "parameters");
        near(&m, &m64, 1e-6, "means");
        near(&v, &v64, 1e-6, "mean squares");
    }
}

#[test]
fn sums_are_those_of_64_bits() {
    let numbers = numbers(70_001, 5, 2.0);
    let expected: f64 = wide(&numbers).iter().map(|x| x * x).sum();
    for [one, three] in computes() {
        let sum = one.sum_of_squares(&numbers);
        assert!((sum - expected).abs() < 1e-6 * expected, "{sum} {expected}");
        assert_eq!(sum, three.sum_of_squares(&numbers), "threads change nothing");
        let mut twice = numbers.clone();
        three.add(&mut twice, &numbers);
        assert!(twice.iter().zip(&numbers).all(|(twice, number)| *twice == 2.0 * number));
    }
}

#[test]
fn rows_of_a_table_are_added_in_order() {
    let (ids, width) = ([3u32, 0, 3, 3, 1], 70);
    let gradient = numbers(ids.len() * width, 5, 1.0);
    for compute in computes().into_iter().flatten() {
        let mut table = vec![0.5; 4 * width];
        compute.add_rows(&ids, width, &gradient, &mut table);
        for row in 0..4 {
            for column in 0..width {
                let rows = ids.iter().enumerate().filter(|(_, id)| **id as usize == row);
                let expected = rows.fold(0.5, |sum, (place, _)| sum + gradient[place * width + column]);
                assert_eq!(table[row * width + column], expected);
            }
        }
    }
}
