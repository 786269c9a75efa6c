//! Files that tell how a training run went: TensorBoard's events, and a chart of the losses.

mod chart;
mod font;
mod png;
mod tensorboard;

pub(crate) use chart::loss_chart;
pub(crate) use tensorboard::EventFile;
