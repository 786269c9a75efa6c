//! The engine's kernels as every fused operation uses them.

use std::sync::OnceLock;

use st_native::training::Compute;

/// The kernels of this machine, on the threads of rayon's pool.
pub(crate) fn compute() -> &'static Compute {
    static COMPUTE: OnceLock<Compute> = OnceLock::new();
    COMPUTE.get_or_init(Compute::detect)
}
