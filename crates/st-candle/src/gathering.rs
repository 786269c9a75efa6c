//! [`backward`]: derivatives with those of parameters gathered in place.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use candle_core::backprop::GradStore;
use candle_core::{Device, Result, Shape, Tensor, TensorId};
use st_native::training::Compute;

use crate::compute::compute;

/// Gradients of parameters on their way.
type Gathered = HashMap<TensorId, (Shape, Vec<f32>)>;

thread_local! {
    /// What [`backward`] of this thread gathers; `None` outside of it.
    static GATHERED: RefCell<Option<Gathered>> = const { RefCell::new(None) };
}

/// The derivatives of a scalar with respect to every variable it depends on: what [`Tensor::backward`] gives, faster for
/// networks on a processor.
///
/// candle adds every gradient to a tensor of zeros into a third one. Here the fused operations of [`crate::ops`] add the
/// gradients of variables to memory that is there once.
///
/// ```
/// use candle_core::{Device, Tensor, Var};
///
/// let weight = Var::new(&[[1f32, 2.0], [3.0, 4.0]], &Device::Cpu)?;
/// let x = Tensor::new(&[[1f32, 10.0]], &Device::Cpu)?;
/// let loss = st_candle::ops::linear(&x, weight.as_tensor(), None)?.sum_all()?;
/// let gradients = st_candle::backward(&loss)?;
/// let gradient = gradients.get(weight.as_tensor()).ok_or(candle_core::Error::Msg("no gradient".into()))?;
/// assert_eq!(gradient.to_vec2::<f32>()?, [[1.0, 10.0], [1.0, 10.0]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
///
/// # Errors
/// Those of [`Tensor::backward`].
pub fn backward(loss: &Tensor) -> Result<GradStore> {
    let outer = Outer(GATHERED.with_borrow_mut(|gathered| gathered.replace(HashMap::new())));
    let mut gradients = loss.backward()?;
    let gathered = GATHERED.with_borrow_mut(Option::take).unwrap_or_default();
    drop(outer);
    for (id, (shape, numbers)) in gathered {
        let gradient = Tensor::from_vec(numbers, shape, &Device::Cpu)?;
        let sum = match gradients.get_id(id) {
            Some(other) => other.add(&gradient)?,
            None => gradient,
        };
        gradients.insert_id(id, sum);
    }
    Ok(gradients)
}

/// Puts back what an enclosing [`backward`] has gathered, also when the inner one fails.
struct Outer(Option<Gathered>);

impl Drop for Outer {
    fn drop(&mut self) {
        GATHERED.with_borrow_mut(|gathered| *gathered = self.0.take());
    }
}

/// Takes the gradient of a variable out, to be added to and brought back by [`end`].
pub(crate) fn begin(tensor: &Tensor) -> Option<Vec<f32>> {
    if !tensor.is_variable() {
        return None;
    }
    // Not borrowed while the caller computes: a thread that waits may be given other work, another `backward` even.
    GATHERED.with_borrow_mut(|gathered| {
        let gathered = gathered.as_mut()?;
        let known = gathered.remove(&tensor.id());
        Some(known.map_or_else(|| Compute::zeros(tensor.elem_count()), |(_, gradient)| gradient))
    })
}

/// Brings a gradient back; gives it to the caller where it is not gathered.
pub(crate) fn end(tensor: &Tensor, gradient: Vec<f32>) -> Option<Vec<f32>> {
    GATHERED.with_borrow_mut(|gathered| {
        let Some(gathered) = gathered.as_mut().filter(|_| tensor.is_variable()) else { return Some(gradient) };
        match gathered.entry(tensor.id()) {
            // The same variable was taken out twice.
            Entry::Occupied(mut other) => compute().add(&mut other.get_mut().1, &gradient),
            Entry::Vacant(place) => {
                place.insert((tensor.shape().clone(), gradient));
            }
        }
        None
    })
}
