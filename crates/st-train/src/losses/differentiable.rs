//! Pieces that losses are made of, with the values and (sub)gradients of the original's.
//!
//! Candle's own `relu` and `abs` have slope 1 at 0 where the original has 0, its `max` along an axis passes the gradient
//! to every maximum where the original picks one, and its `sqrt` gives not-a-number for the gradient at 0. These do not.

use candle_core::{DType, Device, Tensor};

use crate::error::Result;
use crate::loss::LossCard;

/// Floor of a norm when embeddings are normalised.
pub(crate) const NORM_FLOOR: f64 = 1e-12;
/// Floor of a norm in a cosine similarity.
pub(crate) const COSINE_FLOOR: f64 = 1e-8;

/// The columns of a batch: as many as the loss takes, one shape, at least float32.
pub(crate) fn columns(card: &LossCard, given: &[Tensor]) -> Result<Vec<Tensor>> {
    if !card.accepts(given.len()) {
        let expected = match card.at_most {
            Some(most) if most == card.at_least => most.to_string(),
            Some(most) => format!("{} to {most}", card.at_least),
            None => format!("at least {}", card.at_least),
        };
        return Err(card.error(format!("got {} columns, expected {expected}: {}", given.len(), card.columns)));
    }
    let mut out = Vec::with_capacity(given.len());
    for column in given {
        if column.rank() != 2 || column.dims() != given[0].dims() || column.elem_count() == 0 {
            let shapes: Vec<&[usize]> = given.iter().map(Tensor::dims).collect();
            return Err(card.error(format!("expected embeddings of one shape [rows, dimension], got {shapes:?}")));
        }
        out.push(at_least_f32(column)?);
    }
    Ok(out)
}

/// The columns of a loss that takes exactly `N`.
pub(crate) fn exactly<const N: usize>(card: &LossCard, given: &[Tensor]) -> Result<[Tensor; N]> {
    let message = format!("got {} columns, expected {N}: {}", given.len(), card.columns);
    columns(card, given)?.try_into().map_err(|_| card.error(message))
}

/// Half precision widened, others as they are.
pub(crate) fn at_least_f32(tensor: &Tensor) -> Result<Tensor> {
    Ok(match tensor.dtype() {
        DType::F32 | DType::F64 => tensor.clone(),
        _ => tensor.to_dtype(DType::F32)?,
    })
}

/// max(x, 0), slope 0 at 0.
pub(crate) fn relu(x: &Tensor) -> Result<Tensor> {
    let positive = x.gt(&x.zeros_like()?)?.to_dtype(x.dtype())?;
    Ok(x.mul(&positive)?)
}

/// |x|, slope 0 at 0.
pub(crate) fn absolute(x: &Tensor) -> Result<Tensor> {
    Ok(x.mul(&x.sign()?)?)
}

/// √x for x > 0, else 0 with slope 0.
pub(crate) fn square_root(x: &Tensor) -> Result<Tensor> {
    let positive = x.gt(&x.zeros_like()?)?;
    Ok(positive.where_cond(x, &x.ones_like()?)?.sqrt()?.mul(&positive.to_dtype(x.dtype())?)?)
}

/// ln(1 + eˣ) without overflow.
pub(crate) fn soft_plus(x: &Tensor) -> Result<Tensor> {
    let small = (absolute(x)?.neg()?.exp()? + 1.0)?.log()?;
    // At 0 the two slopes are 0 and 0, but the true one is ½: half of x instead of relu's half of |x| keeps it.
    Ok(((x + absolute(x)?)? * 0.5)?.add(&small)?)
}

/// Rows divided by their L2 norms, the norm being at least `floor`.
pub(crate) fn normalize(x: &Tensor, floor: f64) -> Result<Tensor> {
    let last = x.rank() - 1;
    let norm = x.sqr()?.sum_keepdim(last)?.maximum(floor * floor)?.sqrt()?;
    Ok(x.broadcast_div(&norm)?)
}

/// Cosine similarity of rows with rows of the same number, `[rows]`.
pub(crate) fn row_cosines(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    Ok(normalize(a, COSINE_FLOOR)?.mul(&normalize(b, COSINE_FLOOR)?)?.sum(1)?)
}

/// ln Σ eˣ along an axis, which is kept with length 1.
pub(crate) fn log_sum_exp(x: &Tensor, axis: usize) -> Result<Tensor> {
    let largest = x.max_keepdim(axis)?.detach();
    Ok((x.broadcast_sub(&largest)?.exp()?.sum_keepdim(axis)?.log()? + largest)?)
}

/// ln softmax along the last axis.
pub(crate) fn log_softmax(x: &Tensor) -> Result<Tensor> {
    Ok(x.broadcast_sub(&log_sum_exp(x, x.rank() - 1)?)?)
}

/// Mean over rows of −ln softmax(logits)[row, wanted[row]].
pub(crate) fn cross_entropy(logits: &Tensor, wanted: &[u32]) -> Result<Tensor> {
    let logits = logits.contiguous()?;
    let index = Tensor::new(wanted, logits.device())?.unsqueeze(1)?;
    let chosen = logits.gather(&index, 1)?;
    Ok((log_sum_exp(&logits, 1)? - chosen)?.mean_all()?)
}

/// Cross-entropy where the row's own number is wanted.
pub(crate) fn diagonal_cross_entropy(logits: &Tensor) -> Result<Tensor> {
    #[expect(clippy::cast_possible_truncation, reason = "a batch has fewer than 2³² rows")]
    let rows = logits.dim(0)? as u32;
    cross_entropy(logits, &(0..rows).collect::<Vec<_>>())
}

/// Σ p·(ln p − ln q) / rows, of logits whose softmax is p and q. Differentiable in both.
pub(crate) fn kl_divergence(p: &Tensor, q: &Tensor) -> Result<Tensor> {
    let (p, q) = (log_softmax(p)?, log_softmax(q)?);
    #[expect(clippy::cast_precision_loss, reason = "a batch has few rows")]
    let rows = p.dim(0)? as f64;
    Ok((p.exp()?.mul(&p.sub(&q)?)?.sum_all()? / rows)?)
}

/// Mean of squared differences.
pub(crate) fn mean_squared(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    Ok(a.sub(b)?.sqr()?.mean_all()?)
}

/// A tensor's numbers, row after row, for choices that are not differentiated.
pub(crate) fn numbers(x: &Tensor) -> Result<Vec<f64>> {
    Ok(x.detach().to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

/// The elements at these places of a tensor read row after row; `None` when there are no places.
pub(crate) fn elements(x: &Tensor, places: &[u32]) -> Result<Option<Tensor>> {
    if places.is_empty() {
        return Ok(None);
    }
    Ok(Some(x.flatten_all()?.index_select(&Tensor::new(places, x.device())?, 0)?))
}

/// One element per row, `[rows]`.
pub(crate) fn one_per_row(x: &Tensor, places: &[u32]) -> Result<Tensor> {
    Ok(x.gather(&Tensor::new(places, x.device())?.unsqueeze(1)?, 1)?.squeeze(1)?)
}

/// The constant 0 as a scalar.
pub(crate) fn zero(like: &Tensor) -> Result<Tensor> {
    Ok(Tensor::zeros((), like.dtype(), like.device())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Var;

    fn slopes(function: impl Fn(&Tensor) -> Result<Tensor>, at: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let x = Var::new(at, &Device::Cpu).unwrap();
        let y = function(&x).unwrap();
        let gradients = y.sum_all().unwrap().backward().unwrap();
        (y.to_vec1().unwrap(), gradients.get(&x).unwrap().to_vec1().unwrap())
    }

    #[test]
    fn kinks_have_the_slopes_of_the_original() {
        assert_eq!(slopes(relu, &[-1.0, 0.0, 2.0]), (vec![0.0, 0.0, 2.0], vec![0.0, 0.0, 1.0]));
        assert_eq!(slopes(absolute, &[-1.5, 0.0, 2.0]), (vec![1.5, 0.0, 2.0], vec![-1.0, 0.0, 1.0]));
        assert_eq!(slopes(square_root, &[-1.0, 0.0, 4.0]), (vec![0.0, 0.0, 2.0], vec![0.0, 0.0, 0.25]));
    }

    #[test]
    fn soft_plus_neither_overflows_nor_loses_its_slope_at_zero() {
        let (values, slope) = slopes(soft_plus, &[-800.0, 0.0, 800.0]);
        assert_eq!(values, [0.0, 2f64.ln(), 800.0]);
        assert_eq!(slope, [0.0, 0.5, 1.0]);
    }

    #[test]
    fn rows_of_zeros_stay_finite() {
        let x = Var::new(&[[0f32, 0.0], [3.0, 4.0]], &Device::Cpu).unwrap();
        let y = normalize(&x, NORM_FLOOR).unwrap();
        assert_eq!(y.to_vec2::<f32>().unwrap(), [[0.0, 0.0], [0.6, 0.8]]);
        let gradients = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        let slope: Vec<f32> = gradients.get(&x).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        assert!(slope.iter().all(|x| x.is_finite() && x.abs() < 1e-6), "{slope:?}");
    }

    #[test]
    fn large_logits_do_not_overflow() {
        let logits = Tensor::new(&[[1000f32, 0.0], [0.0, -1000.0]], &Device::Cpu).unwrap();
        assert_eq!(cross_entropy(&logits, &[0, 1]).unwrap().to_scalar::<f32>().unwrap(), 500.0);
        assert_eq!(log_softmax(&logits).unwrap().to_vec2::<f32>().unwrap(), [[0.0, -1000.0], [0.0, -1000.0]]);
    }
}
