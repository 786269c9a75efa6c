//! Operations over ragged rows: the tokens of several texts, one text after the other.

use candle_core::Tensor;

use crate::error::Result;

use super::module::Run;

/// Sums of rows: row `i` of `x` is added to row `into[i]` of the result, `[count, width]`.
pub(crate) fn sum_into(x: &Tensor, into: &Tensor, count: usize) -> Result<Tensor> {
    let zeros = Tensor::zeros((count, x.dim(1)?), x.dtype(), x.device())?;
    if x.dim(0)? == 0 {
        return Ok(zeros);
    }
    Ok(zeros.index_add(into, &x.contiguous()?, 0)?)
}

/// Rows of `x` by their index; where there is none, a row of `filler`.
pub(crate) fn rows_or(x: &Tensor, rows: &[Option<usize>], filler: f32, run: &Run<'_>) -> Result<Tensor> {
    let count = x.dim(0)?;
    let index = |row: &Option<usize>| row.map_or(count, |row| row.min(count)) as u32;
    let indices = run.indices(rows.iter().map(index).collect())?;
    if count > 0 && rows.iter().all(Option::is_some) {
        return Ok(x.index_select(&indices, 0)?);
    }
    let width = x.dim(1)?;
    let last = run.constant(vec![filler; width], &[1, width])?;
    Ok(Tensor::cat(&[x, &last], 0)?.index_select(&indices, 0)?)
}

/// The index of the text that each token belongs to.
pub(crate) fn owners(offsets: &[usize]) -> Vec<u32> {
    let texts = offsets.windows(2).enumerate();
    texts.flat_map(|(text, pair)| std::iter::repeat_n(text as u32, pair[1] - pair[0])).collect()
}
