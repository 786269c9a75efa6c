//! Dropout (Srivastava et al. 2014) whose masks are a function of a seed, so that a run repeats to the bit.
//!
//! No generator is advanced while a graph is built. Every mask is computed from four numbers (the seed, the pass, the place
//! in the network, the row), so that a part of the network that runs again (gradient checkpointing) drops the same
//! components, in whatever order and on however many threads it runs.

use serde::{Deserialize, Serialize};

/// Where the random numbers of a training run stand: a seed and how many passes it has served.
///
/// Written to a checkpoint and read again, a run goes on with the masks that it would have had.
///
/// ```
/// use st_candle::DropoutState;
///
/// let mut state = DropoutState::new(12);
/// let first = state.next_pass();
/// let second = state.next_pass();
/// assert_ne!(first, second);
/// assert_eq!(state, DropoutState { seed: 12, passes: 2 });
/// assert_eq!(DropoutState { seed: 12, passes: 1 }.next_pass(), second);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropoutState {
    /// What the masks are drawn from.
    pub seed: u64,
    /// Passes served so far.
    pub passes: u64,
}

impl DropoutState {
    /// The beginning of a run.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { seed, passes: 0 }
    }

    /// The masks of one more forward pass.
    pub fn next_pass(&mut self) -> DropoutPass {
        let pass = DropoutPass { seed: self.seed, pass: self.passes };
        self.passes += 1;
        pass
    }
}

/// The masks of one forward pass.
///
/// ```
/// use st_candle::DropoutState;
///
/// let pass = DropoutState::new(12).next_pass();
/// assert!(pass.mask(3, 0.0).is_none());
/// let mut row = [0.0; 8];
/// pass.mask(3, 0.5).unwrap().fill_row(0, &mut row);
/// assert!(row.iter().all(|&factor| factor == 0.0 || factor == 2.0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DropoutPass {
    seed: u64,
    pass: u64,
}

impl DropoutPass {
    /// The mask of a place in the network; `None` where nothing is dropped.
    ///
    /// `probability` is that of a component being dropped, from 0 to 1.
    #[must_use]
    pub fn mask(&self, place: u64, probability: f64) -> Option<DropoutMask> {
        (probability > 0.0).then(|| DropoutMask {
            key: mix(mix(mix(self.seed) ^ self.pass) ^ place),
            threshold: (probability.min(1.0) * 4_294_967_296.0) as u64,
            scale: if probability < 1.0 { (1.0 / (1.0 - probability)) as f32 } else { 0.0 },
        })
    }
}

/// Factors of 0 for what is dropped and `1 / (1 − probability)` for what is kept.
///
/// ```
/// use st_candle::DropoutState;
///
/// let mask = DropoutState::new(1).next_pass().mask(0, 0.1).unwrap();
/// let (mut whole, mut start) = ([0.0; 9], [0.0; 4]);
/// mask.fill_row(5, &mut whole);
/// mask.fill_row(5, &mut start);
/// assert_eq!(whole[..4], start);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DropoutMask {
    key: u64,
    threshold: u64,
    scale: f32,
}

impl DropoutMask {
    /// Writes the factors of a row. They depend on the row's number, not on its length.
    ///
    /// Rows of hidden states are numbered by token, rows of attention probabilities `token · heads + head`, the tokens
    /// counted over the whole batch.
    pub fn fill_row(&self, row: u64, factors: &mut [f32]) {
        let key = mix(self.key ^ row.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for (pair, factors) in factors.chunks_mut(2).enumerate() {
            let bits = mix(key.wrapping_add(pair as u64));
            for (factor, bits) in factors.iter_mut().zip([bits >> 32, bits & 0xffff_ffff]) {
                *factor = if bits >= self.threshold { self.scale } else { 0.0 };
            }
        }
    }
}

/// One step of SplitMix64 (Steele et al. 2014): neighbouring numbers become independent ones.
fn mix(number: u64) -> u64 {
    let state = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let state = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ state >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ state >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(mask: &DropoutMask, rows: u64, width: usize) -> Vec<f32> {
        let mut factors = vec![0.0; rows as usize * width];
        for (row, factors) in factors.chunks_mut(width).enumerate() {
            mask.fill_row(row as u64, factors);
        }
        factors
    }

    #[test]
    fn as_much_is_dropped_as_was_asked_for() {
        for probability in [0.1, 0.5, 0.9] {
            let mask = DropoutState::new(7).next_pass().mask(4, probability).unwrap();
            let factors = rows(&mask, 500, 401);
            let dropped = factors.iter().filter(|&&factor| factor == 0.0).count() as f64 / factors.len() as f64;
            // Five standard deviations of 200 500 draws.
            assert!((dropped - probability).abs() < 5.0 * (0.25f64 / 200_500.0).sqrt(), "{dropped} for {probability}");
            let mean = factors.iter().map(|&factor| f64::from(factor)).sum::<f64>() / factors.len() as f64;
            assert!((mean - 1.0).abs() < 0.05, "kept components make up for dropped ones, {mean}");
        }
        let all = DropoutState::new(7).next_pass().mask(4, 1.0).unwrap();
        assert!(rows(&all, 3, 50).iter().all(|&factor| factor == 0.0));
    }

    #[test]
    fn seeds_passes_places_and_rows_have_masks_of_their_own() {
        let mask = |seed, pass, place| DropoutPass { seed, pass }.mask(place, 0.5).unwrap();
        let reference = rows(&mask(1, 0, 0), 2, 256);
        for other in [mask(2, 0, 0), mask(1, 1, 0), mask(1, 0, 1), mask(0, 1, 0), mask(0, 0, 1)] {
            let other = rows(&other, 2, 256);
            let same = reference.iter().zip(&other).filter(|(a, b)| a == b).count();
            assert!((176..336).contains(&same), "{same} of 512 factors agree");
        }
        let same = reference[..256].iter().zip(&reference[256..]).filter(|(a, b)| a == b).count();
        assert!((78..178).contains(&same), "{same} of 256 factors of two rows agree");
        assert_eq!(reference, rows(&mask(1, 0, 0), 2, 256));
    }
}
