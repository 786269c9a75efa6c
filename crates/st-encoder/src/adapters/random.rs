//! Random numbers for fresh adapters, the same on every machine.

/// SplitMix64 (Steele, Lea and Flood 2014): the state goes up by a constant and is mixed.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Uniform in [0, 1).
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Numbers that are uniform within `±bound`.
    #[expect(clippy::cast_possible_truncation, reason = "weights are 32-bit floats")]
    pub(super) fn uniform(&mut self, count: usize, bound: f64) -> Vec<f32> {
        (0..count).map(|_| ((2.0 * self.unit() - 1.0) * bound) as f32).collect()
    }

    /// Normal numbers with a standard deviation (Box and Muller 1958).
    #[expect(clippy::cast_possible_truncation, reason = "weights are 32-bit floats")]
    pub(super) fn normal(&mut self, count: usize, deviation: f64) -> Vec<f32> {
        let mut one = || {
            let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
            (deviation * radius * (std::f64::consts::TAU * self.unit()).cos()) as f32
        };
        (0..count).map(|_| one()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_the_published_one() {
        let mut random = Random::new(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| random.next()).collect();
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn moments_are_as_asked() {
        let moments = |numbers: &[f32]| {
            let mean = numbers.iter().map(|&x| f64::from(x)).sum::<f64>() / numbers.len() as f64;
            let square = numbers.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / numbers.len() as f64;
            (mean, square.sqrt())
        };
        let uniform = Random::new(7).uniform(100_000, 0.5);
        assert!(uniform.iter().all(|x| x.abs() <= 0.5));
        let (mean, deviation) = moments(&uniform);
        assert!(mean.abs() < 0.005 && (deviation - 1.0 / 12.0_f64.sqrt()).abs() < 0.005, "{mean} {deviation}");
        let (mean, deviation) = moments(&Random::new(7).normal(100_000, 2.0));
        assert!(mean.abs() < 0.03 && (deviation - 2.0).abs() < 0.03, "{mean} {deviation}");
    }
}
