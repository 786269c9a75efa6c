//! Norms and activations on the engine's kernels.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};
use st_encoder::{Activation, NormKind, NormSpec};
use st_native::training::{Compute, NormWeights};

use super::fused::{Numbers, compute, gradient, slice};

/// A norm over the last dimension.
struct Norm {
    kind: NormKind,
    epsilon: f32,
}

pub(super) fn norm(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, spec: &NormSpec) -> Result<Tensor> {
    let x = x.contiguous()?;
    let weight = if spec.unit_offset { (weight + 1.0)? } else { weight.contiguous()? };
    let width = weight.dims1()?;
    if x.dims().last() != Some(&width) || bias.is_some_and(|bias| bias.dims() != [width]) || width == 0 {
        bail!("norm: rows {:?}, weight {:?}, bias {:?}", x.shape(), weight.shape(), bias.map(Tensor::shape));
    }
    let op = Norm { kind: spec.kind, epsilon: spec.epsilon as f32 };
    match bias {
        Some(bias) => x.apply_op3(&weight, &bias.contiguous()?, op),
        None => x.apply_op2(&weight, op),
    }
}

impl Norm {
    fn forward(&self, x: &[f32], shape: &Shape, weight: &[f32], bias: Option<&[f32]>) -> (CpuStorage, Shape) {
        let mut output = Compute::zeros(x.len());
        let weights = NormWeights { kind: self.kind, epsilon: self.epsilon, weight, bias };
        compute().norm(&weights, x, &mut output);
        (CpuStorage::F32(output), shape.clone())
    }

    fn backward(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        output_gradient: &Tensor,
    ) -> Result<[Option<Tensor>; 3]> {
        let output_gradient = output_gradient.contiguous()?;
        let (numbers, rows, weights) = (Numbers::of(&output_gradient), Numbers::of(x), Numbers::of(weight));
        let mut of_x = Compute::zeros(x.elem_count());
        let width = weight.elem_count();
        let (mut of_weight, mut of_bias) = (vec![0.0; width], vec![0.0; width]);
        let norm = NormWeights { kind: self.kind, epsilon: self.epsilon, weight: weights.slice()?, bias: None };
        let (rows, numbers) = (rows.slice()?, numbers.slice()?);
        compute().norm_gradient(&norm, rows, numbers, &mut of_x, Some(&mut of_weight), Some(&mut of_bias));
        let add = |from: Vec<f32>| {
            move |to: &mut [f32]| {
                compute().add(to, &from);
                Ok(())
            }
        };
        let of_x = if x.track_op() { Some(super::fused::tensor(of_x, x.shape())?) } else { None };
        let of_bias = bias.map(|bias| gradient(bias, add(of_bias))).transpose()?.flatten();
        Ok([of_x, gradient(weight, add(of_weight))?, of_bias])
    }
}

impl CustomOp2 for Norm {
    fn name(&self) -> &'static str {
        "norm"
    }

    fn cpu_fwd(&self, x: &CpuStorage, l1: &Layout, weight: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok(self.forward(slice(x, l1)?, l1.shape(), slice(weight, l2)?, None))
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

impl CustomOp3 for Norm {
    fn name(&self) -> &'static str {
        "norm"
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
        Ok(self.forward(slice(x, l1)?, l1.shape(), slice(weight, l2)?, Some(slice(bias, l3)?)))
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

/// An activation function, with a factor where there are two arguments.
struct Activate(Activation);

pub(super) fn activation(x: &Tensor, activation: Activation) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Activate(activation))
}

pub(super) fn gated(gate: &Tensor, up: &Tensor, activation: Activation) -> Result<Tensor> {
    if gate.shape() != up.shape() {
        bail!("gated: {:?} and {:?}", gate.shape(), up.shape());
    }
    gate.contiguous()?.apply_op2(&up.contiguous()?, Activate(activation))
}

impl CustomOp1 for Activate {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = slice(x, layout)?;
        let mut output = Compute::zeros(x.len());
        compute().activate(self.0, x, None, &mut output);
        Ok((CpuStorage::F32(output), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let gradient = gradient.contiguous()?;
        let (numbers, x_numbers) = (Numbers::of(&gradient), Numbers::of(x));
        let mut of_x = Compute::zeros(x.elem_count());
        compute().activation_gradient(self.0, x_numbers.slice()?, None, numbers.slice()?, &mut of_x, None);
        super::fused::tensor(of_x, x.shape()).map(Some)
    }
}

impl CustomOp2 for Activate {
    fn name(&self) -> &'static str {
        "gated activation"
    }

    fn cpu_fwd(&self, gate: &CpuStorage, l1: &Layout, up: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let gate = slice(gate, l1)?;
        let mut output = Compute::zeros(gate.len());
        compute().activate(self.0, gate, Some(slice(up, l2)?), &mut output);
        Ok((CpuStorage::F32(output), l1.shape().clone()))
    }

    fn bwd(
        &self,
        gate: &Tensor,
        up: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let (numbers, gates, ups) = (Numbers::of(&gradient), Numbers::of(gate), Numbers::of(up));
        let (mut of_gate, mut of_up) = (Compute::zeros(gate.elem_count()), Compute::zeros(up.elem_count()));
        let (gates, ups) = (gates.slice()?, ups.slice()?);
        compute().activation_gradient(self.0, gates, Some(ups), numbers.slice()?, &mut of_gate, Some(&mut of_up));
        let tensor = |numbers, like: &Tensor| super::fused::tensor(numbers, like.shape()).map(Some);
        Ok((tensor(of_gate, gate)?, tensor(of_up, up)?))
    }
}
