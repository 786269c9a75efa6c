//! Dropout masks.

use candle_core::Tensor;

use crate::error::Result;

use super::pass::TrainingPass;

/// Sets each number to zero with the given probability and scales the others up, so that the mean stays (Srivastava et
/// al. 2014); nothing in evaluation.
pub(super) fn dropout(x: &Tensor, probability: f64, pass: &mut TrainingPass) -> Result<Tensor> {
    if probability <= 0.0 {
        return Ok(x.clone());
    }
    let Some(seed) = pass.dropout_seed() else { return Ok(x.clone()) };
    let mask = mask(x.elem_count(), probability, seed);
    let mask = Tensor::from_vec(mask, x.shape(), x.device())?.to_dtype(x.dtype())?;
    Ok((x * mask)?)
}

/// The factors of a mask: 0 with the given probability, else what keeps the mean.
///
/// Each is a hash of the seed and its index, so that the mask does not depend on who computes which part.
fn mask(count: usize, probability: f64, seed: u64) -> Vec<f32> {
    if probability >= 1.0 {
        return vec![0.0; count];
    }
    let kept = (1.0 / (1.0 - probability)) as f32;
    // 64-bit numbers below this threshold fall out.
    let threshold = (probability * 2f64.powi(64)) as u64;
    (0..count as u64).map(|index| if mix(seed ^ mix(index)) < threshold { 0.0 } else { kept }).collect()
}

/// One number of SplitMix64 (Steele, Lea & Flood 2014).
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Generator;
    use candle_core::{DType, Device, Var};

    #[test]
    fn the_hash_is_splitmix64() {
        // First output of the reference implementation for seed 1234567.
        assert_eq!(mix(1_234_567), 6_457_827_717_110_365_317);
    }

    #[test]
    fn masks_keep_the_mean() {
        let factors = mask(100_000, 0.1, 7);
        let mean = factors.iter().map(|&x| f64::from(x)).sum::<f64>() / 100_000.0;
        assert!((mean - 1.0).abs() < 0.005, "{mean}");
        let zeros = factors.iter().filter(|&&x| x == 0.0).count();
        assert!((9_500..10_500).contains(&zeros), "{zeros}");
        assert_ne!(factors, mask(100_000, 0.1, 8));
        assert_eq!(mask(3, 1.0, 1), [0.0; 3]);
    }

    #[test]
    fn gradients_pass_where_the_mask_lets_them() {
        let x = Var::ones((40, 5), DType::F64, &Device::Cpu).unwrap();
        let mut pass = TrainingPass::training(Generator::new(1));
        let y = dropout(&x, 0.5, &mut pass).unwrap();
        let gradients = y.sum_all().unwrap().backward().unwrap();
        let gradient = gradients.get(&x).unwrap().to_vec2::<f64>().unwrap();
        assert_eq!(gradient, y.to_vec2::<f64>().unwrap());
        assert!(gradient.iter().flatten().any(|&x| x == 0.0) && gradient.iter().flatten().any(|&x| x == 2.0));
        assert_eq!(dropout(&x, 0.5, &mut TrainingPass::evaluation()).unwrap().id(), x.id());
    }
}
