//! Kernels of plain Rust.
#![expect(unsafe_code, reason = "pointers to rows of matrices")]

use super::strip::Strips;
use super::vector::Lanes;

super::kernels! {
    vector: Lanes,
    tile: [1, 2, 3, 4] x [1],
    strip: [1, 2, 3, 4],
    #[inline(never)]
}
