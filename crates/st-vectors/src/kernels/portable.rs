//! What runs where no vector kernel does. The lanes let the compiler use the baseline vectors (SSE2, NEON).

use super::{AbsoluteDistance, Dot, Kind, Measure, SquaredDistance, for_each_tile};

const LANES: usize = 16;

pub(super) fn block(measure: Measure, a: &[f32], b: &[f32], dimension: usize, out: &mut [f32], stride: usize) {
    match measure {
        Measure::Dot => rows::<Dot>(a, b, dimension, out, stride),
        Measure::SquaredDistance => rows::<SquaredDistance>(a, b, dimension, out, stride),
        Measure::AbsoluteDistance => rows::<AbsoluteDistance>(a, b, dimension, out, stride),
    }
}

fn rows<K: Kind>(a: &[f32], b: &[f32], dimension: usize, out: &mut [f32], stride: usize) {
    for_each_tile(a.len() / dimension, b.len() / dimension, 1, 1, |tile| {
        let (x, y) = (&a[tile.i * dimension..][..dimension], &b[tile.j * dimension..][..dimension]);
        out[tile.i * stride + tile.j] = pair::<K>(x, y);
    });
}

#[inline(always)]
fn step<K: Kind>(sum: f32, a: f32, b: f32) -> f32 {
    match K::MEASURE {
        Measure::Dot => sum + a * b,
        Measure::SquaredDistance => sum + (a - b) * (a - b),
        Measure::AbsoluteDistance => sum + (a - b).abs(),
    }
}

fn pair<K: Kind>(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0f32; LANES];
    let (whole_a, rest_a) = a.as_chunks::<LANES>();
    let (whole_b, rest_b) = b.as_chunks::<LANES>();
    for (a, b) in whole_a.iter().zip(whole_b) {
        for lane in 0..LANES {
            sums[lane] = step::<K>(sums[lane], a[lane], b[lane]);
        }
    }
    for (sum, (&a, &b)) in sums.iter_mut().zip(rest_a.iter().zip(rest_b)) {
        *sum = step::<K>(*sum, a, b);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}
