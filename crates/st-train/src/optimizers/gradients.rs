//! [`Gradients`]: sums of gradients over the mini-batches of a step.

use std::collections::HashMap;
use std::sync::OnceLock;

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, DType, Device, Storage, Tensor, TensorId, Var};
use st_native::training::Compute;

use crate::Result;

/// What gets added to the norm before dividing by it, as `torch.nn.utils.clip_grad_norm_` does.
const CLIP_EPSILON: f64 = 1e-6;

/// The gradients of a step: sums over mini-batches, with a common factor that clipping sets.
///
/// ```
/// use candle_core::{Device, Var};
/// use st_train::optimizers::Gradients;
///
/// let weight = Var::new(&[1.5f32, 2.0], &Device::Cpu)?;
/// let mut gradients = Gradients::new();
/// for _ in 0..2 {
///     gradients.accumulate(&mut weight.sqr()?.sum_all()?.backward()?, [&weight])?; // 2·weight each time
/// }
/// assert_eq!(gradients.get(&weight)?.unwrap().to_vec1::<f32>()?, [6.0, 8.0]);
/// assert_eq!(gradients.clip([&weight], 5.0)?, 10.0);
/// let clipped = gradients.get(&weight)?.unwrap().to_vec1::<f32>()?;
/// assert!((clipped[0] - 3.0).abs() < 1e-5 && (clipped[1] - 4.0).abs() < 1e-5);
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug)]
pub struct Gradients {
    sums: HashMap<TensorId, Tensor>,
    factor: f64,
}

impl Default for Gradients {
    fn default() -> Self {
        Self::new()
    }
}

impl Gradients {
    /// No gradients.
    #[must_use]
    pub fn new() -> Self {
        Self { sums: HashMap::new(), factor: 1.0 }
    }

    /// Adds the gradients of some variables, which are taken out of the store.
    ///
    /// # Errors
    /// When an addition fails.
    pub fn accumulate<'a>(
        &mut self,
        store: &mut GradStore,
        variables: impl IntoIterator<Item = &'a Var>,
    ) -> Result<()> {
        for variable in variables {
            let Some(gradient) = store.remove(variable) else { continue };
            let sum = match self.sums.remove(&variable.id()) {
                Some(sum) => (sum + gradient)?,
                None => gradient,
            };
            self.sums.insert(variable.id(), sum.contiguous()?.detach());
        }
        Ok(())
    }

    /// The gradient of a variable.
    ///
    /// # Errors
    /// When it cannot be multiplied with the factor.
    pub fn get(&self, variable: &Var) -> Result<Option<Tensor>> {
        match self.sums.get(&variable.id()) {
            Some(sum) if self.factor == 1.0 => Ok(Some(sum.clone())),
            Some(sum) => Ok(Some((sum * self.factor)?)),
            None => Ok(None),
        }
    }

    /// The gradient of a variable before it is multiplied with [`Gradients::factor`].
    #[must_use]
    pub fn unscaled(&self, variable: &Var) -> Option<&Tensor> {
        self.sums.get(&variable.id())
    }

    /// What all gradients are multiplied with.
    #[must_use]
    pub fn factor(&self) -> f64 {
        self.factor
    }

    /// The root of the sum of all squares.
    ///
    /// # Errors
    /// When a gradient cannot be read from the device.
    pub fn norm<'a>(&self, variables: impl IntoIterator<Item = &'a Var>) -> Result<f64> {
        let mut total = 0.0;
        for variable in variables {
            if let Some(sum) = self.sums.get(&variable.id()) {
                total += sum_of_squares(sum)?;
            }
        }
        Ok(total.sqrt() * self.factor)
    }

    /// Makes the norm no larger than `largest` (`torch.nn.utils.clip_grad_norm_`); gives the norm before.
    ///
    /// # Errors
    /// When a gradient cannot be read from the device.
    pub fn clip<'a>(&mut self, variables: impl IntoIterator<Item = &'a Var>, largest: f64) -> Result<f64> {
        let norm = self.norm(variables)?;
        let factor = largest / (norm + CLIP_EPSILON);
        // A norm that is no number makes no gradient larger; the optimizer sees it as it is.
        if factor < 1.0 {
            self.factor *= factor;
        }
        Ok(norm)
    }
}

fn sum_of_squares(tensor: &Tensor) -> Result<f64> {
    let (storage, layout) = tensor.storage_and_layout();
    if let (Storage::Cpu(storage), Some((start, end))) = (&*storage, layout.contiguous_offsets()) {
        // Blocks keep one order of summation whatever the number of threads.
        match storage {
            CpuStorage::F32(numbers) => return Ok(compute().sum_of_squares(&numbers[start..end])),
            CpuStorage::F64(numbers) => return Ok(blocks(&numbers[start..end])),
            _ => {}
        }
    }
    drop(storage);
    let wide = if tensor.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
    let sum = tensor.to_dtype(wide)?.sqr()?.sum_all()?;
    Ok(sum.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.to_scalar()?)
}

/// The engine's kernels.
fn compute() -> &'static Compute {
    static COMPUTE: OnceLock<Compute> = OnceLock::new();
    COMPUTE.get_or_init(Compute::detect)
}

fn blocks(numbers: &[f64]) -> f64 {
    let square = |number: &f64| number.powi(2);
    use rayon::prelude::*;
    let parts: Vec<f64> = numbers
        .par_chunks(1 << 14)
        .map(|block| {
            let mut lanes = [0.0; 8];
            let whole = block.chunks_exact(8);
            let rest: f64 = whole.remainder().iter().map(square).sum();
            for eight in whole {
                lanes.iter_mut().zip(eight).for_each(|(lane, number)| *lane += square(number));
            }
            lanes.iter().sum::<f64>() + rest
        })
        .collect();
    parts.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_without_gradient_have_none() {
        let (used, unused) = (Var::new(3f64, &Device::Cpu).unwrap(), Var::new(1f64, &Device::Cpu).unwrap());
        let mut gradients = Gradients::new();
        gradients.accumulate(&mut used.sqr().unwrap().backward().unwrap(), [&used, &unused]).unwrap();
        assert!(gradients.get(&unused).unwrap().is_none());
        assert_eq!(gradients.norm([&used, &unused]).unwrap(), 6.0);
        gradients.clip([&used], 10.0).unwrap();
        assert_eq!(gradients.factor(), 1.0);
    }

    #[test]
    fn long_and_transposed_gradients_have_their_norm() {
        let weight = Var::rand(0f32, 1.0, (300, 70), &Device::Cpu).unwrap();
        let input = Tensor::rand(0f32, 1.0, (5, 300), &Device::Cpu).unwrap();
        let mut store = input.matmul(&weight).unwrap().sqr().unwrap().sum_all().unwrap().backward().unwrap();
        let wanted = store.get(&weight).unwrap().sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
        let mut gradients = Gradients::new();
        gradients.accumulate(&mut store, [&weight]).unwrap();
        let found = gradients.norm([&weight]).unwrap();
        assert!((found / f64::from(wanted) - 1.0).abs() < 1e-5, "{found} {wanted}");
    }
}
