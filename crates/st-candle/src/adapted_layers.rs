//! Layers and tables of a network with its adapters' changes.
//!
//! Without dropout the adapters' changes are added to a layer's weight, one after the other, so that whatever runs the layer
//! runs the sum, and the derivatives reach `A` and `B` through it. With dropout each change has inputs of its own and is added
//! to the output.

use std::ops::Range;
use std::sync::Arc;

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
        self.weight_after(weight, weight)
    }

    /// The weight with this change too, where other changes made `weight` of `base`: DoRA divides by the lengths that the
    /// rows of the base have with this change alone, as PEFT computes it.
    ///
    /// # Errors
    /// When shapes, types or devices do not fit.
    pub fn weight_after(&self, base: &Tensor, weight: &Tensor) -> candle_core::Result<Tensor> {
        let change = self.product()?;
        let sum = (weight + &change)?;
        let Some(magnitude) = &self.magnitude else { return Ok(sum) };
        let alone = if base.id() == weight.id() { sum.clone() } else { (base.detach() + change.detach())? };
        sum.broadcast_mul(&(magnitude / lengths(&alone, D::Minus1)?)?.unsqueeze(1)?)
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

    /// What the changed layer makes of `x` `[n, in]` when inputs of changes are dropped: `result` is what the layer made of
    /// it with the changes before this one, bias included. `base` is the layer as no change left it. Without a mask nothing is
    /// dropped by this change.
    ///
    /// With DoRA and a mask, the product of the base's weight with the inputs that are kept is scaled together with the
    /// change, and the rest of the result is left as it is; without a mask the whole result is scaled: as PEFT computes it.
    ///
    /// # Errors
    /// When shapes, types or devices do not fit.
    pub fn result(
        &self,
        result: Tensor,
        x: &Tensor,
        base: (&Tensor, Option<&Tensor>),
        mask: Option<&DropoutMask>,
    ) -> candle_core::Result<Tensor> {
        let (weight, bias) = base;
        let kept = ops::dropout(x, mask)?;
        let inner = ops::linear(&kept, &self.a, None)?;
        let change = (ops::linear(&inner, &self.b.contiguous()?, self.bias.as_ref())? * self.scaling)?;
        let Some(magnitude) = &self.magnitude else { return result.add(&change) };
        let scale = (magnitude / lengths(&(weight + self.product()?)?, D::Minus1)?)?;
        match (mask, bias) {
            (Some(_), _) => {
                let product = ops::linear(&kept, weight, None)?;
                (&product + change)?.broadcast_mul(&scale)? + (result - &product)?
            }
            (None, Some(bias)) => (result.broadcast_sub(bias)? + change)?.broadcast_mul(&scale)?.broadcast_add(bias),
            (None, None) => (result + change)?.broadcast_mul(&scale),
        }
    }

    /// `s·B·A`.
    fn product(&self) -> candle_core::Result<Tensor> {
        self.b.matmul(&self.a)? * self.scaling
    }
}

impl Network {
    /// The changes of a slot's module, in the adapters' order, and which of the module's rows the slot has.
    fn changes_of(&self, slot: Slot) -> Vec<(&GraphAdapter, &GraphLayer, Option<Range<usize>>)> {
        if self.adapters.is_empty() {
            return Vec::new();
        }
        let module = self.parameters.source(slot);
        let Some((module, rows)) = module.and_then(|(name, rows)| Some((name.strip_suffix(".weight")?, rows))) else {
            return Vec::new();
        };
        let adapters = self.adapters.iter().map(Arc::as_ref);
        adapters.filter_map(|adapter| Some((adapter, adapter.layers.get(module)?, rows.clone()))).collect()
    }

    /// The distinct parameters of those slots that `wanted` names, those of the adapters' changes among them.
    pub(crate) fn parameters_of(&self, wanted: impl Fn(&Slot) -> bool) -> Vec<&Parameter> {
        let slots = self.parameters.slots().filter(|slot| wanted(slot));
        let changes = slots.flat_map(|slot| self.changes_of(*slot));
        let mut numbers: Vec<usize> = changes.flat_map(|(_, layer, _)| layer.numbers()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let mut found = self.parameters.of(&wanted);
        found.extend(numbers.into_iter().map(|number| &self.parameters.all[number]));
        found
    }

    /// Whether an adapter drops inputs of its changes in this pass.
    pub(crate) fn adapters_drop(&self, context: &Context) -> bool {
        let drops = |adapter: &Arc<GraphAdapter>| adapter.adapter.config().dropout > 0.0;
        context.dropout().is_some() && self.adapters.iter().any(drops)
    }

    /// A linear layer with the adapters' changes; as it is when one drops inputs, see [`Network::adapt_result`].
    pub(crate) fn adapt(&self, linear: Linear, slot: Slot, context: &Context) -> Result<Linear, EncoderError> {
        if self.adapters_drop(context) {
            return Ok(linear);
        }
        let base = linear.weight.clone();
        let mut adapted = linear;
        for (_, layer, rows) in self.changes_of(slot) {
            let change = self.linear_change(layer, rows.as_ref(), context.gradients);
            let next = change.and_then(|change| {
                let weight = change.weight_after(&base, &adapted.weight)?;
                Ok(Linear { weight, bias: adapted.bias.as_ref().map(|bias| change.bias(bias)).transpose()? })
            });
            adapted = next.map_err(failed)?;
        }
        Ok(adapted)
    }

    /// Adds the adapters' changes to what a linear layer made of `x`, when an adapter drops inputs.
    pub(crate) fn adapt_result(
        &self,
        result: Tensor,
        x: &Tensor,
        linear: &Linear,
        slot: Slot,
        context: &Context,
    ) -> Result<Tensor, EncoderError> {
        if !self.adapters_drop(context) {
            return Ok(result);
        }
        let mut result = result;
        for (adapter, layer, rows) in self.changes_of(slot) {
            let rate = adapter.adapter.config().dropout;
            let mask = context.dropout().and_then(|pass| pass.mask(layer.place, rate));
            let change = self.linear_change(layer, rows.as_ref(), context.gradients);
            let base = (&linear.weight, linear.bias.as_ref());
            result = change.and_then(|change| change.result(result, x, base, mask.as_ref())).map_err(failed)?;
        }
        Ok(result)
    }

    /// The change of a linear layer, or of some of its rows.
    fn linear_change(
        &self,
        layer: &GraphLayer,
        rows: Option<&Range<usize>>,
        gradients: bool,
    ) -> candle_core::Result<LinearChange> {
        let tensor = |index: usize| self.parameters.at(index, gradients);
        // A convolution's tensors have more dimensions than those of the linear layer that it is.
        let matrix = |index: usize| tensor(index).flatten_from(1);
        let vector = |index: usize| part(tensor(index).flatten_all()?, rows);
        Ok(LinearChange {
            a: matrix(layer.a)?,
            b: part(matrix(layer.b)?, rows)?,
            bias: layer.bias.map(vector).transpose()?,
            magnitude: layer.magnitude.map(vector).transpose()?,
            scaling: layer.scaling,
        })
    }

    /// Rows of a table with the adapters' changes.
    pub(crate) fn rows(&self, slot: Slot, ids: &Tensor, context: &Context) -> Result<Tensor, EncoderError> {
        let table = self.parameters.tensor(slot, context.gradients)?;
        let mut rows = ops::embedding(&table, ids).map_err(failed)?;
        for (_, layer, _) in self.changes_of(slot) {
            let tensor = |index: usize| self.parameters.at(index, context.gradients);
            let compute = || -> candle_core::Result<Tensor> {
                let a = ops::embedding(&tensor(layer.a).t()?.contiguous()?, ids)?;
                let sum = (&rows + (ops::linear(&a, &tensor(layer.b), None)? * layer.scaling)?)?;
                match self.table_scale(layer, &table, context.gradients)? {
                    Some(scale) => sum.broadcast_mul(&scale),
                    None => Ok(sum),
                }
            };
            rows = compute().map_err(failed)?;
        }
        Ok(rows)
    }

    /// A whole table with the adapters' changes.
    pub(crate) fn table(&self, slot: Slot, context: &Context) -> Result<Tensor, EncoderError> {
        let base = self.parameters.tensor(slot, context.gradients)?;
        let mut table = base.clone();
        for (_, layer, _) in self.changes_of(slot) {
            let compute = || -> candle_core::Result<Tensor> {
                let sum = (&table + self.table_change(layer, context.gradients)?)?;
                match self.table_scale(layer, &base, context.gradients)? {
                    Some(scale) => sum.broadcast_mul(&scale),
                    None => Ok(sum),
                }
            };
            table = compute().map_err(failed)?;
        }
        Ok(table)
    }

    /// What DoRA multiplies the columns of a table by, which no change left yet; `None` without DoRA.
    fn table_scale(&self, layer: &GraphLayer, base: &Tensor, gradients: bool) -> candle_core::Result<Option<Tensor>> {
        let Some(magnitude) = layer.magnitude else { return Ok(None) };
        let whole = (base.detach() + self.table_change(layer, false)?)?;
        Ok(Some((self.parameters.at(magnitude, gradients) / lengths(&whole, 0)?)?))
    }

    /// The change of a whole table.
    fn table_change(&self, layer: &GraphLayer, gradients: bool) -> candle_core::Result<Tensor> {
        let tensor = |index: usize| self.parameters.at(index, gradients);
        tensor(layer.b).matmul(&tensor(layer.a))?.t()?.contiguous()? * layer.scaling
    }
}
