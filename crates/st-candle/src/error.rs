//! candle's errors as the contract's.

use st_encoder::EncoderError;

/// The executor's name in messages.
pub(crate) const NAME: &str = "candle";

/// An error of candle, with itself as the source.
pub(crate) fn failed(error: candle_core::Error) -> EncoderError {
    EncoderError::Execution { executor: NAME, source: Box::new(error) }
}

/// What this executor cannot do, and the way out.
pub(crate) fn unsupported(message: impl Into<String>) -> EncoderError {
    EncoderError::Unsupported { executor: NAME, message: message.into() }
}
