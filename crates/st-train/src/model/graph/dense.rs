//! `Dense` as a graph.

use std::sync::Arc;

use candle_core::Tensor;
use sentence_transformers::modules::{Dense, DenseActivation, Module};
use st_candle::ops;

use crate::error::{Result, TrainError};

use super::module::{Builder, Flow, GraphModule, Run, typed};

#[derive(Debug)]
struct DenseGraph {
    path: String,
    bias: bool,
    activation: DenseActivation,
}

pub(super) fn build(module: &dyn Module, path: &str, builder: &mut Builder) -> Result<Arc<dyn GraphModule>> {
    let activation = typed::<Dense>(module)?.activation();
    let bias = module.tensors()?.len() > 1;
    builder.parameters_of(module, path, true)?;
    Ok(Arc::new(DenseGraph { path: path.to_owned(), bias, activation }))
}

impl GraphModule for DenseGraph {
    fn forward(&self, flow: Flow, run: &mut Run<'_>) -> Result<Flow> {
        let weight = run.weight(&self.path, "linear.weight")?;
        let bias = if self.bias { Some(run.weight(&self.path, "linear.bias")?) } else { None };
        let y = ops::linear(flow.sentences()?, &weight, bias.as_ref())?;
        let y = activated(&y, self.activation)?;
        Ok(flow.with_sentences(y))
    }
}

/// An activation with PyTorch's default arguments.
fn activated(x: &Tensor, activation: DenseActivation) -> Result<Tensor> {
    Ok(match activation {
        DenseActivation::Identity => x.clone(),
        DenseActivation::Tanh => x.tanh()?,
        DenseActivation::Relu => x.relu()?,
        DenseActivation::Gelu => x.gelu_erf()?,
        DenseActivation::Sigmoid => sigmoid(x)?,
        DenseActivation::Silu => (x * sigmoid(x)?)?,
        // The negative part is a difference, so that its derivative at 0 is the positive part's, as in PyTorch.
        DenseActivation::LeakyRelu => (x.relu()? - (x.neg()?.relu()? * 0.01)?)?,
        DenseActivation::Elu => x.elu(1.0)?,
        DenseActivation::Softplus => softplus(x)?,
        DenseActivation::Hardtanh => x.clamp(-1.0, 1.0)?,
        DenseActivation::Mish => (x * softplus(x)?.tanh()?)?,
        DenseActivation::Relu6 => x.clamp(0.0, 6.0)?,
        other => {
            let message = format!("the activation {} of Dense cannot be trained", other.class_name());
            return Err(TrainError::unsupported(message, "choose one of the activations that train, such as Tanh"));
        }
    })
}

/// `1 / (1 + e⁻ˣ)`.
pub(super) fn sigmoid(x: &Tensor) -> Result<Tensor> {
    // By the hyperbolic tangent, which does not overflow: σ(x) = (1 + tanh(x/2)) / 2.
    Ok(((x * 0.5)?.tanh()? * 0.5)?.affine(1.0, 0.5)?)
}

/// `ln(1 + eˣ)`, without overflow.
fn softplus(x: &Tensor) -> Result<Tensor> {
    let small = x.abs()?.neg()?.exp()?.affine(1.0, 1.0)?.log()?;
    Ok((x.relu()? + small)?)
}
