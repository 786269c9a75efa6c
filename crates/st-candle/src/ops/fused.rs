//! What the fused operations share: when they can be used, and candle's tensors as slices.

use candle_core::{CpuStorage, DType, Device, Layout, Result, Shape, Storage, StorageRef, Tensor, bail};
use st_native::training::Compute;

pub(crate) use crate::compute::compute;
use crate::compute::is_composed;
use crate::gathering;

/// Whether all tensors are 32-bit floats on a processor, and the engine's kernels are wanted for them.
pub(crate) fn usable<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> bool {
    !is_composed() && tensors.into_iter().all(|tensor| tensor.device().is_cpu() && tensor.dtype() == DType::F32)
}

/// The numbers of a contiguous tensor.
pub(crate) fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(numbers), Some((start, end))) => Ok(&numbers[start..end]),
        _ => bail!("a fused operation takes contiguous 32-bit floats"),
    }
}

/// A tensor's numbers while they are read.
pub(crate) struct Numbers<'a> {
    storage: StorageRef<'a>,
    layout: &'a Layout,
}

impl<'a> Numbers<'a> {
    pub(crate) fn of(tensor: &'a Tensor) -> Self {
        let (storage, layout) = tensor.storage_and_layout();
        Self { storage, layout }
    }

    pub(crate) fn slice(&self) -> Result<&[f32]> {
        match &*self.storage {
            Storage::Cpu(storage) => slice(storage, self.layout),
            _ => bail!("a fused operation takes tensors on a processor"),
        }
    }
}

/// A new tensor on the processor.
pub(crate) fn tensor(numbers: Vec<f32>, shape: &Shape) -> Result<Tensor> {
    Tensor::from_vec(numbers, shape.clone(), &Device::Cpu)
}

/// The gradient of an argument: added to what is gathered, or a new tensor; nothing where none is needed. `add` adds it to
/// what it is given.
pub(crate) fn gradient(argument: &Tensor, add: impl FnOnce(&mut [f32]) -> Result<()>) -> Result<Option<Tensor>> {
    if !argument.track_op() {
        return Ok(None);
    }
    let mut gradient = gathering::begin(argument).unwrap_or_else(|| Compute::zeros(argument.elem_count()));
    add(&mut gradient)?;
    gathering::end(argument, gradient).map(|gradient| tensor(gradient, argument.shape())).transpose()
}
