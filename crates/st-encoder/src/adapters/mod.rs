//! Adapters: low-rank changes of a network's weights (LoRA, Hu et al. 2021; DoRA, Liu et al. 2024) in PEFT's file format.
//!
//! An [`Adapter`] is read from a folder with `adapter_config.json` and `adapter_model.safetensors` (or `.bin`), or made
//! fresh from an [`AdapterConfig`]. [`MergedAdapters`] lays adapters over the weights of a checkpoint while an executor
//! reads them, tensor by tensor, so that every executor runs adapted networks, at no cost once they are loaded; the
//! checkpoint stays mapped and untouched.
//!
//! Of a linear layer `W [out, in]` an adapter of rank `r` makes `W + s·B·A`, where `A` is `[r, in]`, `B` is `[out, r]` and
//! `s` is `alpha / r` (`alpha / √r` when rank-stabilised, Kalajdzievski 2023). With DoRA every row of the sum is then
//! scaled to the length that the magnitude vector says. Tables of embeddings are changed in the same way, transposed; CLIP's
//! map of patches as the linear layer that it is, although its tensors have a convolution's shapes.

mod adapter;
mod config;
mod config_fields;
mod layer;
mod merged;
mod modules;
mod parameters;
mod random;
mod targets;

pub use adapter::Adapter;
pub use config::{AdapterBias, AdapterConfig, Initialisation, ModuleNames};
pub use layer::{AdapterLayer, AdapterTensor};
pub use merged::MergedAdapters;
pub use modules::{AdaptableModule, AdaptableModules, ModuleKind};

/// The file that says what an adapter is.
pub const ADAPTER_CONFIG: &str = "adapter_config.json";
/// The files that hold its weights, first to last.
pub const ADAPTER_WEIGHTS: [&str; 2] = ["adapter_model.safetensors", "adapter_model.bin"];
