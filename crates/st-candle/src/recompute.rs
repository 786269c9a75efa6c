//! Gradient checkpointing (Chen et al. 2016): a block's intermediate results are computed again when its derivatives are
//! wanted, instead of being kept.
//!
//! candle's custom operations know three arguments at most, and a block has a dozen parameters. So a block is an operation
//! of two: its input, and a carrier of one number per parameter. In the backward pass the block runs again, leaves its
//! parameters' gradients in a table, and the carrier's numbers, whose turn comes next, hand them on to the parameters.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::backend::{BackendDevice, BackendStorage};
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp2, Error, Layout, MetalStorage, Result, Shape, Storage, Tensor, Var,
    bail,
};
use st_encoder::{EncoderError, Slot};

use crate::error::failed;
use crate::gathering;
use crate::network::{Context, Network};

/// Gradients on their way from a block to its parameters.
type Table = Arc<Mutex<Vec<Option<Tensor>>>>;

/// Runs a block and keeps its input and output only.
pub(crate) fn block(
    network: &Arc<Network>,
    layer: usize,
    x: &Tensor,
    context: &Arc<Context>,
) -> std::result::Result<Tensor, EncoderError> {
    let result = network.block(layer, &x.detach(), &context.without_gradients())?;
    let belongs = |slot: &Slot| match slot {
        Slot::Layer { layer: other, .. } => *other == layer,
        Slot::RelativeBias | Slot::RelativeEmbedding | Slot::RelativeEmbeddingNorm(_) => true,
        _ => false,
    };
    let parameters = network.parameters_of(belongs).into_iter().filter(|parameter| parameter.is_trainable());
    let variables: Vec<Var> = parameters.map(|parameter| parameter.variable().clone()).collect();
    let carried = || {
        let table: Table = Arc::new(Mutex::new(vec![None; variables.len()]));
        let carry = |(index, variable): (usize, &Var)| variable.apply_op1(Carry { index, table: table.clone() });
        let numbers = variables.iter().enumerate().map(carry).collect::<Result<Vec<_>>>()?;
        let carrier =
            if numbers.is_empty() { Tensor::zeros(1, x.dtype(), x.device())? } else { Tensor::cat(&numbers, 0)? };
        let again = Again {
            network: network.clone(),
            context: context.clone(),
            layer,
            variables,
            table,
            result: Mutex::new(Some(result.contiguous()?)),
        };
        x.apply_op2(&carrier, again)
    };
    carried().map_err(failed)
}

/// A block that was run and will be again.
struct Again {
    network: Arc<Network>,
    context: Arc<Context>,
    layer: usize,
    variables: Vec<Var>,
    table: Table,
    /// What it gave, until it is handed out.
    result: Mutex<Option<Tensor>>,
}

impl Again {
    fn take<S>(&self, of: impl Fn(&Storage, &Layout) -> Result<S>) -> Result<(S, Shape)> {
        let Some(result) = self.result.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            bail!("a block's result is handed out once")
        };
        let result = if result.layout().start_offset() == 0 { result } else { result.copy()? };
        let (storage, layout) = result.storage_and_layout();
        Ok((of(&storage, layout)?, result.shape().clone()))
    }
}

impl CustomOp2 for Again {
    fn name(&self) -> &'static str {
        "recomputed block"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.take(|storage, _| match storage {
            Storage::Cpu(storage) => Ok(storage.clone()),
            _ => bail!("the block ran on another device"),
        })
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        self.take(|storage, layout| match storage {
            Storage::Cuda(storage) => storage.try_clone(layout),
            _ => bail!("the block ran on another device"),
        })
    }

    fn metal_fwd(&self, _: &MetalStorage, _: &Layout, _: &MetalStorage, _: &Layout) -> Result<(MetalStorage, Shape)> {
        self.take(|storage, layout| match storage {
            Storage::Metal(storage) => storage.try_clone(layout),
            _ => bail!("the block ran on another device"),
        })
    }

    fn bwd(
        &self,
        x: &Tensor,
        carrier: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let input = Var::from_tensor(&x.detach())?;
        let output = self.network.block(self.layer, &input, &self.context).map_err(Error::wrap)?;
        let mut gradients = gathering::backward(&output.mul(&gradient.detach())?.sum_all()?)?;
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        for (place, variable) in table.iter_mut().zip(&self.variables) {
            *place = gradients.remove(variable);
        }
        Ok((gradients.remove(&input), Some(carrier.zeros_like()?)))
    }
}

/// One number that stands for a parameter.
struct Carry {
    index: usize,
    table: Table,
}

impl Carry {
    fn number<S: BackendStorage>(storage: &S) -> Result<(S, Shape)>
    where
        S::Device: BackendDevice<Storage = S>,
    {
        let shape = Shape::from(1);
        Ok((storage.device().zeros_impl(&shape, storage.dtype())?, shape))
    }
}

impl CustomOp1 for Carry {
    fn name(&self) -> &'static str {
        "parameter of a recomputed block"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Self::number(storage)
    }

    fn cuda_fwd(&self, storage: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        Self::number(storage)
    }

    fn metal_fwd(&self, storage: &MetalStorage, _: &Layout) -> Result<(MetalStorage, Shape)> {
        Self::number(storage)
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(table.get_mut(self.index).and_then(Option::take))
    }
}
