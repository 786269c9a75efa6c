//! The encoder contract: what an encoder is given, what it is, and what it gives back.
//!
//! Three decisions shape this crate.
//!
//! **Batches are ragged.** A [`Batch`] is one run of token ids and the offsets of its sequences; there is no padding and
//! no attention mask. Padding is a device of frameworks whose tensors are rectangles: it costs work in proportion to the
//! longest text of a batch and lets a text's vector depend, through rounding, on its neighbours. Without padding neither
//! happens, and an executor that needs rectangles can still make them.
//!
//! **Pooling is outside.** An [`Encoder`] returns [`TokenEmbeddings`], never sentence vectors, so that pooling is written
//! once, in the library, whatever engine ran.
//!
//! **A network is described as data.** An architecture file turns a `config.json` into an [`EncoderSpec`] and says which
//! tensor of the checkpoint fills which [`Slot`]. Every executor (the native CPU engine, a training graph, an exporter)
//! reads that one description, so a new architecture is one file and one line in [`architectures::ARCHITECTURES`].
//!
//! ```
//! use st_encoder::Batch;
//!
//! let mut batch = Batch::new();
//! batch.push(&[101, 7592, 102]);
//! batch.push(&[101, 102]);
//! assert_eq!((batch.len(), batch.tokens()), (2, 5));
//! assert_eq!(batch.sequence(1), &[101, 102]);
//! ```

pub mod adapters;
mod alibi;
pub mod architectures;
mod batch;
mod disentangled;
mod encoder;
mod error;
mod required_slots;
mod rotary;
mod slot;
mod spec;
mod token_embeddings;
pub mod weights;

pub use alibi::alibi_slopes;
pub use batch::Batch;
pub use disentangled::disentangled_place;
pub use encoder::{Backend, Encoder, EncoderFiles, EncoderInfo, EncoderOptions, Pass, Rows, WeightFormat};
pub use error::EncoderError;
pub use required_slots::required_slots;
pub use rotary::{RotaryScaling, rotary_wave_numbers};
pub use slot::{LayerSlot, Part, Slot, TensorSource};
pub use spec::{
    Activation, AttentionMask, AttentionPosition, AttentionSpec, ConvolutionSpec, DisentangledTerms, EmbeddingsSpec,
    EncoderSpec, FeedForwardSpec, LayerSpec, NormKind, NormPlacement, NormSpec, PatchSpec, PositionSpec,
};
pub use token_embeddings::TokenEmbeddings;
pub use weights::{DataType, PartOverlay, RawTensor, Tensor, Weights, WeightsOverlay};
