//! Updates of a variable's own memory, where it lies on the CPU.

use std::cell::RefCell;

use candle_core::{CpuStorage, InplaceOp2, Layout, Tensor, Var, bail};

use crate::Result;

/// A variable's numbers and its gradient's.
pub(super) enum Numbers<'a> {
    /// In float32.
    Single(&'a mut [f32], &'a [f32]),
    /// In float64.
    Double(&'a mut [f64], &'a [f64]),
}

/// Whether [`update`] can be used.
pub(super) fn is_plain(variable: &Var, gradient: &Tensor) -> bool {
    use candle_core::DType::{F32, F64};
    variable.device().is_cpu()
        && variable.is_contiguous()
        && gradient.is_contiguous()
        && matches!((variable.dtype(), gradient.dtype()), (F32, F32) | (F64, F64))
}

/// Changes a variable's numbers.
pub(super) fn update(variable: &Var, gradient: &Tensor, change: impl FnMut(Numbers<'_>)) -> Result<()> {
    Ok(variable.inplace_op2(gradient, &Update(RefCell::new(change)))?)
}

struct Update<F>(RefCell<F>);

impl<F: FnMut(Numbers<'_>)> InplaceOp2 for Update<F> {
    fn name(&self) -> &'static str {
        "optimizer-update"
    }

    fn cpu_fwd(
        &self,
        to: &mut CpuStorage,
        to_at: &Layout,
        from: &CpuStorage,
        from_at: &Layout,
    ) -> candle_core::Result<()> {
        let (Some((start, end)), Some((from_start, from_end))) =
            (to_at.contiguous_offsets(), from_at.contiguous_offsets())
        else {
            bail!("an update of numbers that do not lie side by side");
        };
        let mut change = self.0.borrow_mut();
        match (to, from) {
            (CpuStorage::F32(to), CpuStorage::F32(from)) => {
                change(Numbers::Single(&mut to[start..end], &from[from_start..from_end]));
            }
            (CpuStorage::F64(to), CpuStorage::F64(from)) => {
                change(Numbers::Double(&mut to[start..end], &from[from_start..from_end]));
            }
            _ => bail!("an update of numbers of another type"),
        }
        Ok(())
    }
}
