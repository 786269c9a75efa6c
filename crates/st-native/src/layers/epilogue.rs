//! [`Epilogue`]: what follows a product, done while its sums are at hand.

use st_encoder::Activation;

use crate::kernels::tile::Finish;

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

impl Epilogue {
    /// What a tile itself does with its sums; an activation follows when they are stored.
    pub(super) fn finish(self) -> Finish {
        match self {
            Self::Store | Self::Activate(_) => Finish::Store,
            Self::Add => Finish::Add,
            Self::Multiply => Finish::Multiply,
        }
    }
}
