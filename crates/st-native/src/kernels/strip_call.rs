//! What a strip kernel is called with, and the table that holds such kernels.

/// `output[r][c] = Σ left[r][k] · right[k][c]` for a kernel's rows and columns.
#[derive(Debug)]
pub(crate) struct StripCall {
    /// Terms of every sum.
    pub(crate) depth: usize,
    /// The left matrix; row-major, or depth by depth where a kernel takes it transposed.
    pub(crate) left: *const f32,
    /// Numbers from one row (where transposed, one depth) of it to the next.
    pub(crate) left_stride: usize,
    /// First row of the right matrix.
    pub(crate) right: *const f32,
    /// Numbers from one of its rows to the next.
    pub(crate) right_stride: usize,
    /// First row of the output.
    pub(crate) output: *mut f32,
    /// Numbers from one of its rows to the next.
    pub(crate) output_stride: usize,
}

/// A strip kernel.
///
/// # Safety
/// The pointers must be valid for the rows and columns of the kernel.
pub(crate) type StripKernel = unsafe fn(&StripCall);

/// Strip kernels by whether the left matrix is transposed, by vectors − 1 and rows − 1.
pub(crate) type Strips = [[&'static [StripKernel]; 2]; 2];
