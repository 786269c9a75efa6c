//! The engine's kernels as every fused operation uses them.

use std::cell::Cell;
use std::sync::OnceLock;

use st_native::training::Compute;

thread_local! {
    /// Whether operations that are made now multiply bfloat16.
    static AUTOCAST: Cell<bool> = const { Cell::new(false) };
}

/// The kernels of this machine, on the threads of rayon's pool. An operation keeps what it got when it was made, so that
/// its derivatives are computed as it was.
pub(crate) fn compute() -> &'static Compute {
    static EXACT: OnceLock<Compute> = OnceLock::new();
    static ROUNDED: OnceLock<Compute> = OnceLock::new();
    let exact = || EXACT.get_or_init(Compute::detect);
    if AUTOCAST.get() { ROUNDED.get_or_init(|| exact().clone().with_bf16_products()) } else { exact() }
}

/// Calls `work`; operations that it makes multiply bfloat16 if `wanted`.
pub(crate) fn autocast<R>(wanted: bool, work: impl FnOnce() -> R) -> R {
    /// Puts the thread's setting back, whatever happens.
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            AUTOCAST.set(self.0);
        }
    }
    let _before = Before(AUTOCAST.replace(wanted));
    work()
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
