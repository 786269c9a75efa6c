//! [`AdapterLayer`]: the change of one module, and its mathematics.

use std::ops::Range;

use super::modules::ModuleKind;

/// Numbers of an adapter, row-major.
///
/// ```
/// let tensor = st_encoder::adapters::AdapterTensor::new(vec![1, 2], vec![3.0, 4.0]).unwrap();
/// assert_eq!((tensor.shape(), tensor.data()), (&[1, 2][..], &[3.0, 4.0][..]));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterTensor {
    shape: Vec<usize>,
    data: Vec<f32>,
}

impl AdapterTensor {
    /// A tensor; `None` when the numbers do not fill the shape.
    #[must_use]
    pub fn new(shape: Vec<usize>, data: Vec<f32>) -> Option<Self> {
        let size = shape.iter().try_fold(1_usize, |size, &length| size.checked_mul(length))?;
        (size == data.len()).then_some(Self { shape, data })
    }

    pub(super) fn zeros(shape: Vec<usize>) -> Self {
        let size = shape.iter().product();
        Self { shape, data: vec![0.0; size] }
    }

    /// Shape, outermost first.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The numbers.
    #[must_use]
    pub fn data(&self) -> &[f32] {
        &self.data
    }
}

/// The change of one module.
///
/// Of a linear layer `[out, in]`: `A [r, in]`, `B [out, r]`; of a table `[rows, width]`: `A [r, rows]`, `B [width, r]`; of a
/// convolution `[out, channels, height, width]`: `A [r, channels, height, width]`, `B [out, r, 1, 1]`.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterLayer {
    /// What it changes.
    pub kind: ModuleKind,
    /// `A`.
    pub a: AdapterTensor,
    /// `B`.
    pub b: AdapterTensor,
    /// Bias of the change `[out]` (`lora_bias`).
    pub bias: Option<AdapterTensor>,
    /// The magnitude vector of DoRA: `[out]` of a linear layer, `[width]` of a table, `[1, out, 1, 1]` of a convolution.
    pub magnitude: Option<AdapterTensor>,
    /// What the change is scaled by: `alpha / r` or `alpha / √r`.
    pub scaling: f64,
}

impl AdapterLayer {
    /// The rank.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.a.shape.first().copied().unwrap_or(0)
    }

    /// Rows and columns of the matrix that it changes.
    pub(super) fn matrix(&self) -> [usize; 2] {
        let (columns, rows) = (self.a.data.len() / self.rank().max(1), self.b.shape[0]);
        if self.kind.is_table() { [columns, rows] } else { [rows, columns] }
    }

    /// Changes `weight`: the given rows of the module's weight as adapters before this one left it. `base` is the same
    /// rows as no adapter left them, whose lengths DoRA divides by. All rows of a table are given at once.
    pub(super) fn apply(&self, rows: Range<usize>, base: &[f32], weight: &mut [f32]) {
        match self.kind {
            ModuleKind::Linear | ModuleKind::Convolution => self.apply_to_linear(rows, base, weight),
            ModuleKind::Embedding => self.apply_to_table(base, weight),
        }
    }

    fn apply_to_linear(&self, rows: Range<usize>, base: &[f32], weight: &mut [f32]) {
        let (rank, [_, inputs], scaling) = (self.rank(), self.matrix(), to_f32(self.scaling));
        let mut change = vec![0.0_f32; inputs];
        let rows = rows.zip(base.chunks_exact(inputs)).zip(weight.chunks_exact_mut(inputs));
        for ((row, base), weight) in rows {
            change.fill(0.0);
            for (&factor, a) in self.b.data[row * rank..][..rank].iter().zip(self.a.data.chunks_exact(inputs)) {
                add_scaled(&mut change, factor * scaling, a);
            }
            let scale = self.magnitude.as_ref().map(|magnitude| magnitude.data[row] / length_of_sum(base, &change));
            for (weight, change) in weight.iter_mut().zip(&change) {
                *weight = (*weight + change) * scale.unwrap_or(1.0);
            }
        }
    }

    fn apply_to_table(&self, base: &[f32], weight: &mut [f32]) {
        let (rank, count, width) = (self.rank(), self.a.shape[1], self.b.shape[0]);
        let scaling = to_f32(self.scaling);
        let transposed: Vec<f32> =
            (0..rank).flat_map(|k| (0..width).map(move |d| self.b.data[d * rank + k] * scaling)).collect();
        let change_of = |row: usize, change: &mut [f32]| {
            change.fill(0.0);
            for (k, b) in transposed.chunks_exact(width).enumerate() {
                add_scaled(change, self.a.data[k * count + row], b);
            }
        };
        let mut change = vec![0.0_f32; width];
        let scale = self.magnitude.as_ref().map(|magnitude| {
            let mut squares = vec![0.0_f64; width];
            for (row, base) in base.chunks_exact(width).enumerate() {
                change_of(row, &mut change);
                for ((square, base), change) in squares.iter_mut().zip(base).zip(&change) {
                    *square += f64::from(base + change).powi(2);
                }
            }
            let scales = magnitude.data.iter().zip(&squares);
            scales.map(|(magnitude, square)| magnitude / to_f32(square.sqrt())).collect::<Vec<f32>>()
        });
        for (row, weight) in weight.chunks_exact_mut(width).enumerate() {
            change_of(row, &mut change);
            for (d, (weight, change)) in weight.iter_mut().zip(&change).enumerate() {
                *weight = (*weight + change) * scale.as_ref().map_or(1.0, |scale| scale[d]);
            }
        }
    }

    /// The magnitudes with which DoRA begins: the lengths of the rows (of a table: the columns) of `W + s·B·A`.
    #[must_use]
    pub fn magnitudes(&self, base: &[f32]) -> AdapterTensor {
        let mut weight = base.to_vec();
        let plain = Self { magnitude: None, ..self.clone() };
        let data = match self.kind {
            ModuleKind::Linear | ModuleKind::Convolution => {
                let [outputs, inputs] = self.matrix();
                plain.apply(0..outputs, base, &mut weight);
                let zeros = vec![0.0; inputs];
                weight.chunks_exact(inputs).map(|row| length_of_sum(row, &zeros)).collect::<Vec<f32>>()
            }
            ModuleKind::Embedding => {
                let (count, width) = (self.a.shape[1], self.b.shape[0]);
                plain.apply(0..count, base, &mut weight);
                let square =
                    |d: usize| weight.iter().skip(d).step_by(width).map(|&x| f64::from(x).powi(2)).sum::<f64>();
                (0..width).map(|d| to_f32(square(d).sqrt())).collect()
            }
        };
        let shape = match self.kind {
            ModuleKind::Convolution => vec![1, data.len(), 1, 1],
            _ => vec![data.len()],
        };
        AdapterTensor { shape, data }
    }
}

fn add_scaled(sum: &mut [f32], factor: f32, numbers: &[f32]) {
    for (sum, number) in sum.iter_mut().zip(numbers) {
        *sum += factor * number;
    }
}

/// Euclidean length of `a + b`.
fn length_of_sum(a: &[f32], b: &[f32]) -> f32 {
    to_f32(a.iter().zip(b).map(|(a, b)| f64::from(a + b).powi(2)).sum::<f64>().sqrt())
}

#[expect(clippy::cast_possible_truncation, reason = "rounding to 32 bits is the purpose")]
pub(super) fn to_f32(number: f64) -> f32 {
    number as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(shape: &[usize], data: &[f32]) -> AdapterTensor {
        AdapterTensor::new(shape.to_vec(), data.to_vec()).unwrap()
    }

    /// `A = [1 2]`, `B = [3; 4]`, `s = 0.5`: the change is `[1.5 3; 2 4]`.
    fn layer(magnitude: Option<&[f32]>) -> AdapterLayer {
        AdapterLayer {
            kind: ModuleKind::Linear,
            a: tensor(&[1, 2], &[1.0, 2.0]),
            b: tensor(&[2, 1], &[3.0, 4.0]),
            bias: None,
            magnitude: magnitude.map(|numbers| tensor(&[2], numbers)),
            scaling: 0.5,
        }
    }

    #[test]
    fn a_linear_layer_gains_the_product() {
        let base = [1.0, 1.0, 1.0, 0.0];
        let mut weight = base;
        layer(None).apply(0..2, &base, &mut weight);
        assert_eq!(weight, [2.5, 4.0, 3.0, 4.0]);
        let mut second = [1.0, 0.0];
        layer(None).apply(1..2, &base[2..], &mut second);
        assert_eq!(second, [3.0, 4.0], "some rows of a fused weight alone");
    }

    #[test]
    fn dora_gives_rows_their_magnitude() {
        let base = [-1.5, 1.0, 1.0, 0.0];
        let mut weight = base;
        layer(Some(&[2.0, 10.0])).apply(0..2, &base, &mut weight);
        assert_eq!(weight, [0.0, 2.0, 6.0, 8.0]);
        assert_eq!(layer(None).magnitudes(&base).data(), [4.0, 5.0]);
        // A second adapter divides by the length that the base has with it, not by what the first one made.
        let mut weight = [0.0, 1.0, 1.0, 0.0];
        layer(Some(&[2.0, 10.0])).apply(0..2, &base, &mut weight);
        assert_eq!(weight, [0.75, 2.0, 6.0, 8.0]);
    }

    #[test]
    fn a_convolution_is_the_linear_layer_of_its_windows() {
        let convolution = AdapterLayer {
            kind: ModuleKind::Convolution,
            a: tensor(&[1, 2, 1, 1], &[1.0, 2.0]),
            b: tensor(&[2, 1, 1, 1], &[3.0, 4.0]),
            magnitude: Some(tensor(&[1, 2, 1, 1], &[2.0, 10.0])),
            ..layer(None)
        };
        let base = [-1.5, 1.0, 1.0, 0.0];
        let (mut weight, mut expected) = (base, base);
        convolution.apply(0..2, &base, &mut weight);
        layer(Some(&[2.0, 10.0])).apply(0..2, &base, &mut expected);
        assert_eq!((weight, convolution.matrix()), (expected, [2, 2]));
        let magnitudes = convolution.magnitudes(&base);
        assert_eq!((magnitudes.shape(), magnitudes.data()), (&[1, 2, 1, 1][..], &[4.0, 5.0][..]));
    }

    #[test]
    fn a_table_gains_the_transposed_product() {
        // A [1, 3 rows], B [2 components, 1]: row v gains s·A[v]·B.
        let mut table = AdapterLayer {
            kind: ModuleKind::Embedding,
            a: tensor(&[1, 3], &[1.0, 0.0, 2.0]),
            b: tensor(&[2, 1], &[3.0, 4.0]),
            bias: None,
            magnitude: None,
            scaling: 1.0,
        };
        let base = [0.0, 0.0, 4.0, 0.0, 6.0, 0.0];
        let mut weight = base;
        table.apply(0..3, &base, &mut weight);
        assert_eq!(weight, [3.0, 4.0, 4.0, 0.0, 12.0, 8.0]);
        assert_eq!(table.magnitudes(&base).data(), [13.0, 80.0_f32.sqrt()]);
        table.magnitude = Some(tensor(&[2], &[26.0, 0.0]));
        let mut weight = base;
        table.apply(0..3, &base, &mut weight);
        assert_eq!(weight, [6.0, 0.0, 8.0, 0.0, 24.0, 0.0]);
    }

    #[test]
    fn numbers_must_fill_the_shape() {
        assert!(AdapterTensor::new(vec![2, 2], vec![0.0; 3]).is_none());
        assert!(AdapterTensor::new(vec![usize::MAX, 2], vec![]).is_none());
    }
}
