//! The encoder contract: ragged batches, EncoderSpec, weights, Encoder and Backend.
