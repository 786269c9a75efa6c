//! [`Rotary`]: rotary position embeddings (Su et al. 2021).

use st_encoder::{RotaryScaling, rotary_wave_numbers};

/// Angles of the first positions, and how to compute more.
#[derive(Debug)]
pub(crate) struct Rotary {
    /// Rotated components per head.
    dimensions: usize,
    /// Cosine and sine per position: `dimensions / 2` cosines, then as many sines.
    table: Vec<f32>,
    positions: usize,
    wave_numbers: Vec<f64>,
}

/// Positions whose angles are kept where nothing limits the sequence.
const KEPT: usize = 8192;

impl Rotary {
    pub(crate) fn new(base: f64, dimensions: usize, scaling: RotaryScaling, max_sequence: Option<usize>) -> Self {
        let positions = max_sequence.unwrap_or(KEPT).min(KEPT);
        let dimensions = dimensions / 2 * 2;
        let wave_numbers = rotary_wave_numbers(base, dimensions, scaling);
        let mut rotary = Self { dimensions, table: vec![0.0; positions * dimensions], positions, wave_numbers };
        let mut table = std::mem::take(&mut rotary.table);
        for (position, row) in table.chunks_exact_mut(dimensions.max(1)).enumerate() {
            rotary.angles(position, row);
        }
        rotary.table = table;
        rotary
    }

    fn angles(&self, position: usize, row: &mut [f32]) {
        let half = self.dimensions / 2;
        for (i, number) in self.wave_numbers.iter().enumerate() {
            let angle = position as f64 * number;
            row[i] = angle.cos() as f32;
            row[half + i] = angle.sin() as f32;
        }
    }

    /// Rotates the heads of one token: component `i` pairs with `i + dimensions / 2`.
    pub(crate) fn rotate(&self, position: usize, heads: &mut [f32], head_stride: usize) {
        let half = self.dimensions / 2;
        let mut computed = Vec::new();
        let row = if position < self.positions {
            &self.table[position * self.dimensions..][..self.dimensions]
        } else {
            computed.resize(self.dimensions, 0.0);
            self.angles(position, &mut computed);
            &computed
        };
        let (cosines, sines) = row.split_at(half);
        for head in heads.chunks_exact_mut(head_stride) {
            let (first, second) = head[..2 * half].split_at_mut(half);
            for (((a, b), cosine), sine) in first.iter_mut().zip(second).zip(cosines).zip(sines) {
                (*a, *b) = (*a * cosine - *b * sine, *b * cosine + *a * sine);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotation_keeps_lengths_and_depends_on_the_distance_only() {
        let rotary = Rotary::new(10_000.0, 8, RotaryScaling::None, Some(64));
        let vector = |seed: f32| (0..16).map(|i| (i as f32 * seed).sin()).collect::<Vec<_>>();
        let dot = |p: usize, q: usize| {
            let (mut a, mut b) = (vector(0.7), vector(1.3));
            rotary.rotate(p, &mut a, 16);
            rotary.rotate(q, &mut b, 16);
            a.iter().zip(&b).map(|(x, y)| x * y).sum::<f32>()
        };
        assert!((dot(3, 10) - dot(40, 47)).abs() < 1e-5);
        assert!((dot(3, 10) - dot(3, 11)).abs() > 1e-3);
        // Past the kept angles they are computed.
        assert!((dot(3, 10) - dot(90, 97)).abs() < 1e-5);
    }
}
