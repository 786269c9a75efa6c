//! Layers and tables of a network with its adapter's changes.
//!
//! Without dropout an adapter's change is added to a layer's weight, so that whatever runs the layer runs the sum, and the
//! derivatives reach `A` and `B` through it. With dropout the change has inputs of its own and is added to the output.

use std::ops::Range;

use candle_core::{D, Tensor};
use st_encoder::{EncoderError, Slot};

use crate::adapters::{GraphAdapter, GraphLayer};
use crate::dropout::DropoutMask;
use crate::error::failed;
use crate::network::{Context, Linear, Network};
use crate::ops;
use crate::parameters::Parameter;

/// Some rows of a tensor, or all.
fn part(tensor: Tensor, rows: Option<&Range<usize>>) -> candle_core::Result<Tensor> {
    match rows {
        Some(rows) => tensor.narrow(0, rows.start, rows.len()),
        None => Ok(tensor),
    }
}

/// Euclidean lengths along a dimension. They carry no derivative (Liu et al. 2024, section 4.3).
fn lengths(sum: &Tensor, dimension: impl candle_core::shape::Dim) -> candle_core::Result<Tensor> {
    sum.detach().sqr()?.sum(dimension)?.sqrt()
}

/// What an adapter changes about a linear layer `W` `[out, in]`, of rank `r`: the sum `W + s·B·A`, whose rows DoRA gives the
/// lengths of a magnitude vector.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use st_candle::LinearChange;
///
/// let (a, b) = (Tensor::new(&[[1f32, 0.0]], &Device::Cpu)?, Tensor::new(&[[2f32], [0.0]], &Device::Cpu)?);
/// let change = LinearChange { a, b, bias: None, magnitude: None, scaling: 0.5 };
/// let weight = change.weight(&Tensor::new(&[[1f32, 1.0], [1.0, 1.0]], &Device::Cpu)?)?;
/// assert_eq!(weight.to_vec2::<f32>()?, [[2.0, 1.0], [1.0, 1.0]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct LinearChange {
    /// `A`, `[r, in]`.
    pub a: Tensor,
    /// `B`, `[out, r]`.
    pub b: Tensor,
    /// Added to the layer's bias, scaled, `[out]`.
    pub bias: Option<Tensor>,
    /// Lengths of the rows, `[out]` (DoRA).
    pub magnitude: Option<Tensor>,
    /// `s`.
    pub scaling: f64,
}

impl LinearChange {
    /// The changed weight.
    ///
    /// # Errors
    /// When shapes, types or devices do not fit.
    pub fn weight(&self, weight: &Tensor) -> candle_core::Result<Tensor> {
        let sum = self.sum(weight)?;
        match &self.magnitude {
            Some(magnitude) => sum.broadcast_mul(&(magnitude / lengths(&sum, D::Minus1)?)?.unsqueeze(1)?),
            None => Ok(sum),
        }
    }

    /// The changed bias.
    ///
    /// # Errors
    /// When shapes, types or devices do not fit.
    pub fn bias(&self, bias: &Tensor) -> candle_core::Result<Tensor> {
        match &self.bias {
            Some(change) => bias + (change * self.scaling)?,
            None => Ok(bias.clone()),
        }
    }

    /// What the changed layer makes of `x` `[n, in]` when the change drops inputs: `result` is what the layer itself makes of
    /// it, bias included.
    ///
    /// With DoRA, the product of the weight with the inputs that are kept is scaled together with the change, and the rest
    /// of the layer's output is left as it is: as PEFT computes it.
    ///
    /// # Errors
    /// When shapes, types or devices do not fit.
    pub fn result(
        &self,
        result: Tensor,
        x: &Tensor,
        weight: &Tensor,
        mask: &DropoutMask,
    ) -> candle_core::Result<Tensor> {
        let kept = ops::dropout(x, Some(mask))?;
        let inner = ops::linear(&kept, &self.a, None)?;
        let change = (ops::linear(&inner, &self.b.contiguous()?, self.bias.as_ref())? * self.scaling)?;
        let Some(magnitude) = &self.magnitude else { return result.add(&change) };
        let scale = (magnitude / lengths(&self.sum(weight)?, D::Minus1)?)?;
        let product = ops::linear(&kept, weight, None)?;
        (&product + change)?.broadcast_mul(&scale)? + (result - &product)?
    }

    fn sum(&self, weight: &Tensor) -> candle_core::Result<Tensor> {
        weight + (self.b.matmul(&self.a)? * self.scaling)?
    }
}

impl Network {
    /// The change of a slot's module, and which of the module's rows the slot has.
    fn change_of(&self, slot: Slot) -> Option<(&GraphAdapter, &GraphLayer, Option<Range<usize>>)> {
        let adapter = self.adapter.as_deref()?;
        let (name, rows) = self.parameters.source(slot)?;
        Some((adapter, adapter.layers.get(name.strip_suffix(".weight")?)?, rows))
    }

    /// The distinct parameters of those slots that `wanted` names, those of the adapter's changes among them.
    pub(crate) fn parameters_of(&self, wanted: impl Fn(&Slot) -> bool) -> Vec<&Parameter> {
        let slots = self.parameters.slots().filter(|slot| wanted(slot));
        let changes = slots.filter_map(|slot| self.change_of(*slot));
        let mut numbers: Vec<usize> = changes.flat_map(|(_, layer, _)| layer.numbers()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let mut found = self.parameters.of(&wanted);
        found.extend(numbers.into_iter().map(|number| &self.parameters.all[number]));
        found
    }

    /// Whether the adapter drops inputs of its changes in this pass.
    pub(crate) fn adapter_drops(&self, context: &Context) -> bool {
        let rate = self.adapter.as_deref().map_or(0.0, |adapter| adapter.adapter.config().dropout);
        context.dropout().is_some() && rate > 0.0
    }

    /// A linear layer with its adapter's change; as it is when the adapter drops inputs, see [`Network::adapt_result`].
    pub(crate) fn adapt(&self, linear: Linear, slot: Slot, context: &Context) -> Result<Linear, EncoderError> {
        let Some((_, layer, rows)) = self.change_of(slot).filter(|_| !self.adapter_drops(context)) else {
            return Ok(linear);
        };
        let change = self.linear_change(layer, rows.as_ref(), context.gradients);
        let adapted = change.and_then(|change| {
            let weight = change.weight(&linear.weight)?;
            Ok(Linear { weight, bias: linear.bias.map(|bias| change.bias(&bias)).transpose()? })
        });
        adapted.map_err(failed)
    }

    /// Adds the adapter's change to what a linear layer made of `x`, when the adapter drops inputs.
    pub(crate) fn adapt_result(
        &self,
        result: Tensor,
        x: &Tensor,
        linear: &Linear,
        slot: Slot,
        context: &Context,
    ) -> Result<Tensor, EncoderError> {
        let Some((adapter, layer, rows)) = self.change_of(slot) else { return Ok(result) };
        let rate = adapter.adapter.config().dropout;
        let Some(mask) = context.dropout().and_then(|pass| pass.mask(layer.place, rate)) else { return Ok(result) };
        let change = self.linear_change(layer, rows.as_ref(), context.gradients);
        change.and_then(|change| change.result(result, x, &linear.weight, &mask)).map_err(failed)
    }

    /// The change of a linear layer, or of some of its rows.
    fn linear_change(
        &self,
        layer: &GraphLayer,
        rows: Option<&Range<usize>>,
        gradients: bool,
    ) -> candle_core::Result<LinearChange> {
        let tensor = |index: usize| self.parameters.at(index, gradients);
        let rows_of = |index: usize| part(tensor(index), rows);
        Ok(LinearChange {
            a: tensor(layer.a),
            b: rows_of(layer.b)?,
            bias: layer.bias.map(rows_of).transpose()?,
            magnitude: layer.magnitude.map(rows_of).transpose()?,
            scaling: layer.scaling,
        })
    }

    /// Rows of a table with its adapter's change.
    pub(crate) fn rows(&self, slot: Slot, ids: &Tensor, context: &Context) -> Result<Tensor, EncoderError> {
        let table = self.parameters.tensor(slot, context.gradients)?;
        let rows = ops::embedding(&table, ids).map_err(failed)?;
        let Some((_, layer, _)) = self.change_of(slot) else { return Ok(rows) };
        let tensor = |index: usize| self.parameters.at(index, context.gradients);
        let compute = || -> candle_core::Result<Tensor> {
            let a = ops::embedding(&tensor(layer.a).t()?.contiguous()?, ids)?;
            let sum = (&rows + (ops::linear(&a, &tensor(layer.b), None)? * layer.scaling)?)?;
            match layer.magnitude {
                Some(magnitude) => {
                    let whole = (table.detach() + self.table_change(layer, false)?)?;
                    sum.broadcast_mul(&(tensor(magnitude) / lengths(&whole, 0)?)?)
                }
                None => Ok(sum),
            }
        };
        compute().map_err(failed)
    }

    /// A whole table with its adapter's change.
    pub(crate) fn table(&self, slot: Slot, context: &Context) -> Result<Tensor, EncoderError> {
        let table = self.parameters.tensor(slot, context.gradients)?;
        let Some((_, layer, _)) = self.change_of(slot) else { return Ok(table) };
        let compute = || -> candle_core::Result<Tensor> {
            let sum = (&table + self.table_change(layer, context.gradients)?)?;
            match layer.magnitude {
                Some(magnitude) => {
                    let magnitude = self.parameters.at(magnitude, context.gradients);
                    sum.broadcast_mul(&(magnitude / lengths(&sum, 0)?)?)
                }
                None => Ok(sum),
            }
        };
        compute().map_err(failed)
    }

    /// The change of a whole table.
    fn table_change(&self, layer: &GraphLayer, gradients: bool) -> candle_core::Result<Tensor> {
        let tensor = |index: usize| self.parameters.at(index, gradients);
        tensor(layer.b).matmul(&tensor(layer.a))?.t()?.contiguous()? * layer.scaling
    }
}
