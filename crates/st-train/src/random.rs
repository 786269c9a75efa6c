//! [`Generator`]: PyTorch's random numbers on the CPU, bit for bit, so that shuffled data comes in the original's order.

use serde::{Deserialize, Serialize};

/// Words of the state.
const STATE: usize = 624;
/// Distance of the word that is mixed in.
const SHIFT: usize = 397;

/// The Mersenne twister MT19937 (Matsumoto and Nishimura, 1998) with the derived draws of `torch.Generator`.
///
/// Its whole state can be written down and read back, mid-way.
///
/// ```
/// use st_train::random::Generator;
///
/// let mut generator = Generator::new(42);
/// assert_eq!(generator.next_u32(), 1608637542); // as every MT19937 with seed 42
/// let saved = serde_json::to_string(&generator)?;
/// let order = generator.permutation(5);
/// let mut again: Generator = serde_json::from_str(&saved)?;
/// assert_eq!(again.permutation(5), order);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Saved", into = "Saved")]
pub struct Generator {
    seed: u64,
    position: usize,
    state: Vec<u32>,
}

/// The written form.
#[derive(Serialize, Deserialize)]
struct Saved {
    seed: u64,
    position: usize,
    state: Vec<u32>,
}

impl From<Generator> for Saved {
    fn from(generator: Generator) -> Self {
        let Generator { seed, position, state } = generator;
        Self { seed, position, state }
    }
}

impl TryFrom<Saved> for Generator {
    type Error = String;

    fn try_from(saved: Saved) -> Result<Self, String> {
        let Saved { seed, position, state } = saved;
        if state.len() != STATE || position > STATE {
            return Err(format!(
                "a generator has {STATE} words and a position up to that, not {} and {position}",
                state.len()
            ));
        }
        Ok(Self { seed, position, state })
    }
}

impl std::fmt::Debug for Generator {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Generator")
            .field("seed", &self.seed)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

impl Generator {
    /// A generator as `torch.Generator().manual_seed(seed)` makes it: only the lower 32 bits count.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut generator = Self { seed, position: STATE, state: vec![0; STATE] };
        generator.seed(seed);
        generator
    }

    /// Starts anew from a seed.
    #[expect(clippy::cast_possible_truncation, reason = "the lower 32 bits are the seed, as in the original")]
    pub fn seed(&mut self, seed: u64) {
        self.seed = seed;
        let mut word = seed as u32;
        for (index, slot) in self.state.iter_mut().enumerate() {
            if index > 0 {
                word = 1_812_433_253u32.wrapping_mul(word ^ (word >> 30)).wrapping_add(index as u32);
            }
            *slot = word;
        }
        self.position = STATE;
    }

    /// The seed that it last started from.
    #[must_use]
    pub fn initial_seed(&self) -> u64 {
        self.seed
    }

    /// The next 32 bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.position == STATE {
            self.twist();
        }
        let mut word = self.state[self.position];
        self.position += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    /// The next 64 bits: two draws, the first one is the upper half.
    pub fn next_u64(&mut self) -> u64 {
        let upper = u64::from(self.next_u32());
        (upper << 32) | u64::from(self.next_u32())
    }

    /// A whole number below `bound`, as `torch.randint(bound, ())` draws it; 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        match bound {
            0 => 0,
            // Small ranges take 32 bits; the slight favour of small values is the original's.
            bound if bound < 1 << 28 => u64::from(self.next_u32()) % bound,
            bound => self.next_u64() % bound,
        }
    }

    /// A number in [0, 1) as `torch.rand(())` draws it in float32: 24 random bits.
    #[expect(clippy::cast_precision_loss, reason = "24 bits fit a float32")]
    pub fn uniform(&mut self) -> f32 {
        (self.next_u32() & 0x00ff_ffff) as f32 / (1 << 24) as f32
    }

    /// The numbers below `count` in random order, as `torch.randperm(count)` gives them.
    #[must_use]
    pub fn permutation(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        // From this size on the original draws 64 bits, so that the remainder stays even.
        let wide = count >= (u32::MAX / 20) as usize;
        for index in 0..count.saturating_sub(1) {
            let left = (count - index) as u64;
            let draw = if wide { self.next_u64() } else { u64::from(self.next_u32()) };
            #[expect(clippy::cast_possible_truncation, reason = "below `left`, which was a usize")]
            let step = (draw % left) as usize;
            order.swap(index, index + step);
        }
        order
    }

    fn twist(&mut self) {
        for index in 0..STATE {
            let mixed = (self.state[index] & 0x8000_0000) | (self.state[(index + 1) % STATE] & 0x7fff_ffff);
            let odd = if mixed & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[index] = self.state[(index + SHIFT) % STATE] ^ (mixed >> 1) ^ odd;
        }
        self.position = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // The values were drawn by torch 2.15.
    #[test]
    fn draws_are_those_of_torch() {
        let mut generator = Generator::new(42);
        assert_eq!(generator.permutation(10), [2, 6, 1, 8, 4, 5, 0, 9, 3, 7]);
        assert_eq!(generator.permutation(1), [0]);
        assert_eq!(generator.permutation(7), [0, 5, 6, 1, 4, 2, 3]);
        generator.seed(42);
        let small: Vec<u64> = (0..5).map(|_| generator.below(100)).collect();
        assert_eq!(small, [42, 67, 76, 14, 26]);
        assert_eq!([generator.below(1 << 30), generator.below(1 << 30)], [423_734_972, 670_094_950]);
        assert_eq!([(); 3].map(|()| generator.uniform()), [0.133_185_92, 0.934_598_1, 0.593_579_65]);
    }

    #[test]
    fn a_long_order_is_that_of_torch() {
        let order = Generator::new(7).permutation(40_000);
        assert_eq!(order[..5], [21615, 38303, 13217, 38042, 21599]);
        assert_eq!(order[39_995..], [5993, 38942, 19912, 10674, 24326]);
        let checksum: usize = order.iter().enumerate().map(|(index, value)| index * value).sum();
        assert_eq!(checksum % 1_000_003, 923_407);
    }

    #[test]
    fn a_damaged_state_is_refused() {
        let damaged = r#"{"seed": 1, "position": 3, "state": [1, 2]}"#;
        let error = serde_json::from_str::<Generator>(damaged).unwrap_err();
        assert!(error.to_string().contains("624 words"), "{error}");
    }

    proptest! {
        #[test]
        fn an_order_has_every_number_once(seed: u64, count in 0usize..300) {
            let mut order = Generator::new(seed).permutation(count);
            order.sort_unstable();
            prop_assert_eq!(order, (0..count).collect::<Vec<_>>());
        }

        #[test]
        fn a_saved_state_goes_on_as_before(seed: u64, drawn in 0usize..1500) {
            let mut generator = Generator::new(seed);
            for _ in 0..drawn {
                generator.next_u32();
            }
            let text = serde_json::to_string(&generator).unwrap();
            let mut again: Generator = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(generator.next_u64(), again.next_u64());
        }
    }
}
