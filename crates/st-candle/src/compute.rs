//! The engine's kernels as every fused operation uses them.

use std::cell::Cell;
use std::sync::OnceLock;
use std::thread::LocalKey;

use st_native::training::Compute;

thread_local! {
    /// Whether operations that are made now multiply bfloat16.
    static AUTOCAST: Cell<bool> = const { Cell::new(false) };
    /// Whether operations that are made now are composed of candle's own on a processor too.
    static COMPOSED: Cell<bool> = const { Cell::new(false) };
}

/// The kernels of this machine, on the threads of rayon's pool. An operation keeps what it got when it was made, so that
/// its derivatives are computed as it was.
pub(crate) fn compute() -> &'static Compute {
    static EXACT: OnceLock<Compute> = OnceLock::new();
    static ROUNDED: OnceLock<Compute> = OnceLock::new();
    let exact = || EXACT.get_or_init(Compute::detect);
    if AUTOCAST.get() { ROUNDED.get_or_init(|| exact().clone().with_bf16_products()) } else { exact() }
}

/// Puts a setting of the thread back, whatever happens.
struct Before(&'static LocalKey<Cell<bool>>, bool);

impl Drop for Before {
    fn drop(&mut self) {
        self.0.set(self.1);
    }
}

/// Calls `work`; operations that it makes multiply bfloat16 if `wanted`.
pub(crate) fn autocast<R>(wanted: bool, work: impl FnOnce() -> R) -> R {
    let _before = Before(&AUTOCAST, AUTOCAST.replace(wanted));
    work()
}

/// Whether operations that are made now multiply bfloat16.
pub(crate) fn is_autocast() -> bool {
    AUTOCAST.get()
}

/// Calls `work`; what it makes on this thread is composed of candle's own operations on a processor too, as it is on every
/// other device: to compare the two.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use st_candle::ops;
///
/// let x = Tensor::new(&[[1f32, 2.0]], &Device::Cpu)?;
/// let weight = Tensor::new(&[[3f32, 4.0]], &Device::Cpu)?;
/// let y = ops::composed(|| ops::linear(&x, &weight, None))?;
/// assert_eq!(y.to_vec2::<f32>()?, ops::linear(&x, &weight, None)?.to_vec2::<f32>()?);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn composed<R>(work: impl FnOnce() -> R) -> R {
    let _before = Before(&COMPOSED, COMPOSED.replace(true));
    work()
}

/// Whether operations that are made now are composed of candle's own on a processor too.
pub(crate) fn is_composed() -> bool {
    COMPOSED.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_ends_with_the_work_even_in_a_panic() {
        let rounded = || std::ptr::from_ref(compute());
        let exact = rounded();
        assert_ne!(autocast(true, rounded), exact);
        assert_eq!(autocast(true, || autocast(false, rounded)), exact);
        let panicked = std::panic::catch_unwind(|| autocast(true, || panic!("in the middle")));
        assert!(panicked.is_err());
        assert_eq!(rounded(), exact);
    }
}
