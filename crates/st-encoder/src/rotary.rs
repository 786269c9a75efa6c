//! [`RotaryScaling`] and the wave numbers of rotary position embeddings.

/// How the wave numbers of rotary embeddings are stretched beyond the lengths that a model was first trained on.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum RotaryScaling {
    /// Not at all.
    #[default]
    None,
    /// All wave numbers are divided by this (Chen et al. 2023).
    Divided(f64),
    /// LLaMA 3.1: long waves are divided by `factor`, short ones kept, those between interpolated (Grattafiori et al.
    /// 2024).
    Smoothed {
        /// Divisor of the long waves.
        factor: f64,
        /// Waves longer than `original / low` are long.
        low: f64,
        /// Waves shorter than `original / high` are short.
        high: f64,
        /// Length of the texts of the first training, in tokens.
        original: f64,
    },
}

/// Wave numbers of rotary embeddings, one per pair of components: the angle of pair `i` at position `p` is
/// `p · numbers[i]`. Before scaling `numbers[i] = base^(−2i/dimensions)` (Su et al. 2021).
///
/// ```
/// use st_encoder::{RotaryScaling, rotary_wave_numbers};
///
/// assert_eq!(rotary_wave_numbers(10_000.0, 4, RotaryScaling::None), [1.0, 0.01]);
/// assert_eq!(rotary_wave_numbers(10_000.0, 4, RotaryScaling::Divided(8.0)), [0.125, 0.00125]);
/// ```
#[must_use]
pub fn rotary_wave_numbers(base: f64, dimensions: usize, scaling: RotaryScaling) -> Vec<f64> {
    let plain = (0..dimensions / 2).map(|pair| base.powf(-((2 * pair) as f64) / dimensions as f64));
    plain.map(|number| scale(number, scaling)).collect()
}

fn scale(number: f64, scaling: RotaryScaling) -> f64 {
    match scaling {
        RotaryScaling::None => number,
        RotaryScaling::Divided(factor) => number / factor,
        RotaryScaling::Smoothed { factor, low, high, original } => {
            let waves = original * number / std::f64::consts::TAU;
            let kept = ((waves - low) / (high - low)).clamp(0.0, 1.0);
            number / factor * (1.0 - kept) + number * kept
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `LlamaConfig(hidden_size=128, num_attention_heads=8, rope_theta=500000, rope_scaling={"rope_type": "llama3",
    /// "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4, "original_max_position_embeddings": 8192})`,
    /// transformers 4.57.6, in 32-bit floats.
    #[test]
    fn smoothed_wave_numbers_are_those_of_transformers() {
        let expected = [
            1.0,
            0.193922758,
            0.0376060307,
            0.00729266508,
            0.000524846022,
            3.42810235e-05,
            6.64786967e-06,
            1.28917316e-06,
        ];
        let scaling = RotaryScaling::Smoothed { factor: 8.0, low: 1.0, high: 4.0, original: 8192.0 };
        let found = rotary_wave_numbers(500_000.0, 16, scaling);
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() <= 1e-6 * expected, "{found} against {expected}");
        }
    }
}
