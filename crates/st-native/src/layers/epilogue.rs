//! [`Epilogue`]: what follows a product, done while its sums are at hand.

use st_encoder::Activation;

/// What happens with the sums of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Epilogue {
    /// They are the output.
    Store,
    /// Their activation is the output.
    Activate(Activation),
    /// They are added to the output.
    Add,
    /// They are multiplied with the output.
    Multiply,
}
