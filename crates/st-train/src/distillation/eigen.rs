//! Eigenvectors of symmetric matrices.

/// Eigenvalues of a symmetric matrix, the largest first, and the eigenvectors as rows in the same order.
///
/// The matrix is `[size, size]`, row-major. It is made tridiagonal by Householder reflections, and the tridiagonal matrix
/// diagonal by implicit QL steps (Golub & Van Loan, Matrix Computations, §8.3).
pub(super) fn symmetric(mut matrix: Vec<f64>, size: usize) -> (Vec<f64>, Vec<f64>) {
    let (mut diagonal, mut beside) = tridiagonal(&mut matrix, size);
    // Columns become rows, so that a rotation runs along memory.
    let mut vectors = vec![0.0; size * size];
    for row in 0..size {
        for column in 0..size {
            vectors[column * size + row] = matrix[row * size + column];
        }
    }
    diagonalise(&mut diagonal, &mut beside, &mut vectors, size);
    let mut order: Vec<usize> = (0..size).collect();
    order.sort_by(|&a, &b| diagonal[b].total_cmp(&diagonal[a]));
    let values = order.iter().map(|&index| diagonal[index]).collect();
    let vectors = order.iter().flat_map(|&index| vectors[index * size..(index + 1) * size].to_vec()).collect();
    (values, vectors)
}

/// Replaces a symmetric matrix `A` by the orthogonal `Q` with `A = Q T Qᵀ`; gives the diagonal of the tridiagonal `T`, and
/// what stands beside it: element `i` between `i` and `i + 1`.
fn tridiagonal(matrix: &mut [f64], size: usize) -> (Vec<f64>, Vec<f64>) {
    let mut reflections: Vec<(Vec<f64>, f64)> = Vec::new();
    let mut beside = vec![0.0; size.saturating_sub(1)];
    for column in 0..size.saturating_sub(2) {
        let start = column + 1;
        let mut v: Vec<f64> = (start..size).map(|row| matrix[row * size + column]).collect();
        let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        let alpha = if v[0] > 0.0 { -norm } else { norm };
        beside[column] = alpha;
        v[0] -= alpha;
        let square: f64 = v.iter().map(|x| x * x).sum();
        let factor = if square > 0.0 { 2.0 / square } else { 0.0 };
        // A ← H A H with H = 1 − factor·v·vᵀ: with p = factor·A·v and w = p − (factor/2)(pᵀv)·v, A ← A − v·wᵀ − w·vᵀ.
        let rows = |row: usize| &matrix[(start + row) * size + start..(start + row + 1) * size];
        let mut w: Vec<f64> = (0..v.len()).map(|row| factor * dot(rows(row), &v)).collect();
        let half = 0.5 * factor * dot(&w, &v);
        w.iter_mut().zip(&v).for_each(|(w, v)| *w -= half * v);
        for row in 0..v.len() {
            let (vr, wr) = (v[row], w[row]);
            let values = &mut matrix[(start + row) * size + start..(start + row + 1) * size];
            for (x, (v, w)) in values.iter_mut().zip(v.iter().zip(&w)) {
                *x -= vr * w + wr * v;
            }
        }
        reflections.push((v, factor));
    }
    if let (Some(last), true) = (beside.last_mut(), size >= 2) {
        *last = matrix[(size - 1) * size + size - 2];
    }
    let diagonal = (0..size).map(|index| matrix[index * size + index]).collect();
    // Q = H₀ H₁ …, built from the last reflection on.
    matrix.fill(0.0);
    (0..size).for_each(|index| matrix[index * size + index] = 1.0);
    for (column, (v, factor)) in reflections.iter().enumerate().rev() {
        let start = column + 1;
        let mut products = vec![0.0; size - start];
        for (row, v) in v.iter().enumerate() {
            let values = &matrix[(start + row) * size + start..(start + row + 1) * size];
            products.iter_mut().zip(values).for_each(|(sum, x)| *sum += v * x);
        }
        for (row, v) in v.iter().enumerate() {
            let values = &mut matrix[(start + row) * size + start..(start + row + 1) * size];
            values.iter_mut().zip(&products).for_each(|(x, product)| *x -= factor * v * product);
        }
    }
    (diagonal, beside)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Makes a tridiagonal matrix diagonal; `vectors` are rows, which are rotated along.
fn diagonalise(diagonal: &mut [f64], beside: &mut [f64], vectors: &mut [f64], size: usize) {
    /// A root takes two or three steps; this many are never needed.
    const MOST_STEPS: usize = 60;
    for low in 0..size {
        for _ in 0..MOST_STEPS {
            let negligible = |at: &usize| {
                let around = diagonal[*at].abs() + diagonal[*at + 1].abs();
                beside[*at].abs() <= f64::EPSILON * around
            };
            let high = (low..size - 1).find(negligible).unwrap_or(size - 1);
            if high == low {
                break;
            }
            // Wilkinson's shift, then a sweep of rotations from the bottom up.
            let mut g = (diagonal[low + 1] - diagonal[low]) / (2.0 * beside[low]);
            g = diagonal[high] - diagonal[low] + beside[low] / (g + g.hypot(1.0).copysign(g));
            let (mut sine, mut cosine, mut p) = (1.0, 1.0, 0.0);
            let mut whole = true;
            for at in (low..high).rev() {
                let (f, b) = (sine * beside[at], cosine * beside[at]);
                let radius = f.hypot(g);
                if let Some(next) = beside.get_mut(at + 1) {
                    *next = radius;
                }
                if radius == 0.0 {
                    diagonal[at + 1] -= p;
                    whole = false;
                    break;
                }
                (sine, cosine) = (f / radius, g / radius);
                g = diagonal[at + 1] - p;
                let r = (diagonal[at] - g) * sine + 2.0 * cosine * b;
                p = sine * r;
                diagonal[at + 1] = g + p;
                g = cosine * r - b;
                let (upper, lower) = vectors.split_at_mut((at + 1) * size);
                for (x, y) in upper[at * size..].iter_mut().zip(&mut lower[..size]) {
                    let old = *y;
                    *y = sine * *x + cosine * old;
                    *x = cosine * *x - sine * old;
                }
            }
            if whole {
                diagonal[low] -= p;
                beside[low] = g;
            }
            if high < size - 1 {
                beside[high] = 0.0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(matrix: &[f64], size: usize) -> Result<(), TestCaseError> {
        let (values, vectors) = symmetric(matrix.to_vec(), size);
        let scale = matrix.iter().fold(1e-12f64, |largest, x| largest.max(x.abs()));
        prop_assert!(values.windows(2).all(|pair| pair[0] >= pair[1]));
        for index in 0..size {
            let vector = &vectors[index * size..(index + 1) * size];
            for other in 0..size {
                let product = dot(vector, &vectors[other * size..(other + 1) * size]);
                prop_assert!((product - f64::from(u8::from(index == other))).abs() < 1e-9, "{product}");
            }
            for row in 0..size {
                let product = dot(&matrix[row * size..(row + 1) * size], vector);
                prop_assert!((product - values[index] * vector[row]).abs() < 1e-9 * scale * size as f64);
            }
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn eigenvectors_are_orthonormal_and_solve_the_equation(
            size in 1usize..12,
            numbers in proptest::collection::vec(-3.0f64..3.0, 144),
            rank in 0usize..12,
        ) {
            // A sum of squares of few vectors has repeated zeros; the plain matrix has both signs.
            let mut matrix = vec![0.0; size * size];
            for row in 0..size {
                for column in 0..size {
                    matrix[row * size + column] = if rank < 6 {
                        (0..rank).map(|k| numbers[k * 12 + row] * numbers[k * 12 + column]).sum()
                    } else {
                        numbers[row.min(column) * 12 + row.max(column)]
                    };
                }
            }
            check(&matrix, size)?;
        }
    }

    #[test]
    fn known_values() {
        let (values, vectors) = symmetric(vec![2.0, 1.0, 1.0, 2.0], 2);
        assert!((values[0] - 3.0).abs() < 1e-12 && (values[1] - 1.0).abs() < 1e-12);
        assert!((vectors[0] - vectors[1]).abs() < 1e-12);
        assert_eq!(symmetric(vec![5.0], 1), (vec![5.0], vec![1.0]));
        assert_eq!(symmetric(vec![], 0), (vec![], vec![]));
    }
}
