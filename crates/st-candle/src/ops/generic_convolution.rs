//! Convolutions over ragged sequences, composed of candle's operations.

use candle_core::{Result, Tensor, bail};

use super::{Sequences, linear};

/// One product per group, whose inputs are windows of rows side by side.
pub(super) fn convolution(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    groups: usize,
    sequences: &Sequences,
) -> Result<Tensor> {
    let ((rows, inputs), (outputs, inside, kernel)) = (x.dims2()?, weight.dims3()?);
    let fits = rows == sequences.tokens() && inside.checked_mul(groups) == Some(inputs);
    if !fits || kernel % 2 == 0 || outputs.checked_rem(groups) != Some(0) {
        bail!("a convolution of {:?} in {groups} groups over {:?}", weight.shape(), x.shape());
    }
    // Rows of zeros stand before and behind a sequence, never its neighbours.
    let zeros = Tensor::zeros((1, inputs), x.dtype(), x.device())?;
    let padded = Tensor::cat(&[x, &zeros], 0)?;
    let places = sequences.windows(kernel, rows as u32);
    let places = Tensor::from_vec(places, rows * kernel, x.device())?;
    let windows = padded.index_select(&places, 0)?.reshape((rows, kernel, inputs))?;
    let weight = weight.transpose(1, 2)?;
    let (inside, outputs) = (inputs / groups, outputs / groups);
    let of_group = |group: usize| {
        let window = windows.narrow(2, group * inside, inside)?.contiguous()?.reshape((rows, kernel * inside))?;
        let weight = weight.narrow(0, group * outputs, outputs)?.contiguous()?.reshape((outputs, kernel * inside))?;
        let bias = bias.map(|bias| bias.narrow(0, group * outputs, outputs)).transpose()?;
        linear(&window, &weight, bias.as_ref())
    };
    Tensor::cat(&(0..groups).map(of_group).collect::<Result<Vec<_>>>()?, 1)
}
