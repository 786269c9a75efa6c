//! Datasets: in memory, from files, streamed; one or several with names; and what makes batches of them.
//!
//! The first text column is what losses call the anchor, the second the positive, and so on: order matters, names do
//! not, apart from [`LABEL_COLUMNS`].

mod cell;
mod collator;
mod column_order;
mod dataset;
mod formats;
mod images;
mod names;
mod packed;
mod parquet;
mod settings;
mod table;
mod text_files;

pub use cell::Cell;
pub use collator::{CollatedBatch, Collator};
pub use dataset::{DataSource, Dataset, Datasets, LABEL_COLUMNS, RowIterator, StreamedDataset};
pub use formats::{FILE_FORMATS, FileDataset, FileFormat};
pub use settings::{Mapping, PromptEntry, PromptSettings, RouteEntry, RouterMapping};
pub use table::Table;

pub(crate) use collator::targets;
pub(crate) use names::listed;
pub(crate) use packed::open_text;
