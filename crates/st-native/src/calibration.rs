//! What the inputs of linear layers look like: ranges and means per component, and some rows.

use std::cell::RefCell;
use std::collections::HashMap;

use st_encoder::Batch;

/// Rows that are kept of each layer's inputs.
const SAMPLES: usize = 96;
/// Of the rows that pass, one in this many is kept until there are enough.
const EVERY: usize = 11;

/// The inputs that one layer has seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observations {
    pub(crate) smallest: Vec<f32>,
    pub(crate) largest: Vec<f32>,
    sums: Vec<f64>,
    rows: usize,
    /// Some rows, one after the other.
    pub(crate) samples: Vec<f32>,
}

impl Observations {
    fn add(&mut self, rows: usize, input: &[f32], stride: usize, depth: usize) {
        if self.sums.is_empty() {
            self.smallest = vec![f32::INFINITY; depth];
            self.largest = vec![f32::NEG_INFINITY; depth];
            self.sums = vec![0.0; depth];
        }
        for row in 0..rows {
            let numbers = &input[row * stride..row * stride + depth];
            for (j, &number) in numbers.iter().enumerate() {
                self.smallest[j] = self.smallest[j].min(number);
                self.largest[j] = self.largest[j].max(number);
                self.sums[j] += f64::from(number);
            }
            if self.rows % EVERY == 0 && self.samples.len() < SAMPLES * depth {
                self.samples.extend_from_slice(numbers);
            }
            self.rows += 1;
        }
    }

    /// Mean of component `j`.
    pub(crate) fn mean(&self, j: usize) -> f32 {
        (self.sums[j] / self.rows.max(1) as f64) as f32
    }
}

thread_local! {
    static OBSERVING: RefCell<Option<HashMap<usize, Observations>>> = const { RefCell::new(None) };
}

/// Runs something and returns what the linear layers that ran on this thread meanwhile have seen, by their address.
pub(crate) fn observe(work: impl FnOnce()) -> HashMap<usize, Observations> {
    OBSERVING.set(Some(HashMap::new()));
    work();
    OBSERVING.take().unwrap_or_default()
}

/// Says that a layer runs over rows.
pub(crate) fn note(layer: usize, rows: usize, input: &[f32], stride: usize, depth: usize) {
    OBSERVING.with_borrow_mut(|observing| {
        if let Some(layers) = observing {
            layers.entry(layer).or_default().add(rows, input, stride, depth);
        }
    });
}

/// Sequences of random words, of several lengths: what a model is calibrated on when nothing else is given. The first and
/// last id of each are `first` and `last`.
pub(crate) fn random_batch(vocabulary: usize, longest: usize) -> Batch {
    let mut batch = Batch::new();
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for sequence in 0..24 {
        let length = [12, 20, 33, 48, 64, 90][sequence % 6].min(longest);
        let ids: Vec<u32> = (0..length)
            .map(|_| {
                // xorshift64*
                state ^= state >> 12;
                state ^= state << 25;
                state ^= state >> 27;
                ((state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % vocabulary as u64) as u32
            })
            .collect();
        batch.push(&ids);
    }
    batch
}
