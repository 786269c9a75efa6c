//! Linear layers and embeddings on the engine's kernels.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};
use st_native::training::{Compute, Matrix, Weight};

use super::fused::{Numbers, compute, gradient, slice, tensor};

/// `x·Wᵀ + b`.
struct Linear(&'static Compute);

pub(super) fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    let (rows, inputs) = x.dims2()?;
    let (outputs, depth) = weight.dims2()?;
    if inputs != depth || bias.is_some_and(|bias| bias.dims() != [outputs]) || rows * inputs * outputs == 0 {
        bail!("linear: inputs {:?}, weight {:?}, bias {:?}", x.shape(), weight.shape(), bias.map(Tensor::shape));
    }
    match bias {
        Some(bias) => x.apply_op3(&weight, &bias.contiguous()?, Linear(compute())),
        None => x.apply_op2(&weight, Linear(compute())),
    }
}

impl Linear {
    fn forward(
        &self,
        x: (&CpuStorage, &Layout),
        weight: (&CpuStorage, &Layout),
        bias: Option<&[f32]>,
    ) -> Result<(CpuStorage, Shape)> {
        let ((rows, inputs), (outputs, _)) = (x.1.shape().dims2()?, weight.1.shape().dims2()?);
        let mut output = Compute::zeros(rows * outputs);
        let weight = Weight { numbers: slice(weight.0, weight.1)?, bias, outputs };
        self.0.linear(slice(x.0, x.1)?, inputs, &[weight], &mut output);
        Ok((CpuStorage::F32(output), (rows, outputs).into()))
    }

    fn backward(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        output_gradient: &Tensor,
    ) -> Result<[Option<Tensor>; 3]> {
        let output_gradient = output_gradient.contiguous()?;
        let (outputs, inputs) = weight.dims2()?;
        let numbers = Numbers::of(&output_gradient);
        let numbers = numbers.slice()?;
        let of_x = if x.track_op() {
            let mut of_x = Compute::zeros(x.elem_count());
            let weights = Numbers::of(weight);
            let weight = Weight { numbers: weights.slice()?, bias: None, outputs };
            self.0.linear_input_gradient(numbers, inputs, &[weight], &mut of_x, false);
            Some(tensor(of_x, x.shape())?)
        } else {
            None
        };
        let of_weight = |to: &mut [f32], bias: Option<&mut [f32]>| {
            let x = Numbers::of(x);
            let (gradient, input) = (Matrix::new(numbers, outputs), Matrix::new(x.slice()?, inputs));
            self.0.linear_weight_gradient(gradient, input, to, bias, true);
            Ok(())
        };
        let Some(bias) = bias.filter(|bias| bias.track_op()) else {
            return Ok([of_x, gradient(weight, |to| of_weight(to, None))?, None]);
        };
        let mut weight_gradient = None;
        let bias_gradient = gradient(bias, |bias_gradient| {
            if weight.track_op() {
                weight_gradient = gradient(weight, |to| of_weight(to, Some(bias_gradient)))?;
            } else {
                self.0.add_column_sums(Matrix::new(numbers, outputs), bias_gradient);
            }
            Ok(())
        })?;
        Ok([of_x, weight_gradient, bias_gradient])
    }
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, l1: &Layout, weight: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        self.forward((x, l1), (weight, l2), None)
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [of_x, of_weight, _] = self.backward(x, weight, None, gradient)?;
        Ok((of_x, of_weight))
    }
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        l1: &Layout,
        weight: &CpuStorage,
        l2: &Layout,
        bias: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward((x, l1), (weight, l2), Some(slice(bias, l3)?))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [of_x, of_weight, of_bias] = self.backward(x, weight, Some(bias), gradient)?;
        Ok((of_x, of_weight, of_bias))
    }
}

/// Rows of a table.
struct Embedding;

pub(super) fn embedding(table: &Tensor, ids: &Tensor) -> Result<Tensor> {
    table.contiguous()?.apply_op2(&ids.contiguous()?, Embedding)
}

/// The ids of a tensor.
fn ids<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [u32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::U32(ids), Some((start, end))) => Ok(&ids[start..end]),
        _ => bail!("embedding: ids are contiguous u32"),
    }
}

impl CustomOp2 for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn cpu_fwd(&self, table: &CpuStorage, l1: &Layout, list: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, width) = l1.shape().dims2()?;
        let (table, ids) = (slice(table, l1)?, ids(list, l2)?);
        let mut output = Vec::with_capacity(ids.len() * width);
        for &id in ids {
            let start = id as usize * width;
            let Some(row) = table.get(start..start + width) else { bail!("embedding: id {id} of {rows} rows") };
            output.extend_from_slice(row);
        }
        Ok((CpuStorage::F32(output), (ids.len(), width).into()))
    }

    fn bwd(
        &self,
        table: &Tensor,
        list: &Tensor,
        _: &Tensor,
        output: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (output, width) = (output.contiguous()?, table.dim(1)?);
        let of_table = gradient(table, |to| {
            let (storage, layout) = list.storage_and_layout();
            let candle_core::Storage::Cpu(storage) = &*storage else { bail!("embedding: ids on a processor") };
            compute().add_rows(ids(storage, layout)?, width, Numbers::of(&output).slice()?, to);
            Ok(())
        })?;
        Ok((of_table, None))
    }
}
