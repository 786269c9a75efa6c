//! Data sets of the Hub: the same protocol and cache as for models, at other addresses.

use std::path::PathBuf;

use crate::error::HubError;
use crate::model::HubModel;
use crate::names::RepositoryKind;
use crate::options::HubOptions;
use crate::selection::Selection;

/// A data set repository of the Hub at one revision.
///
/// ```no_run
/// use st_hub::{HubDataset, HubOptions, Selection};
///
/// let dataset = HubDataset::new("sentence-transformers/NanoBEIR-en", &HubOptions::new())?;
/// let folder = dataset.snapshot(&Selection::matching(|name| name.contains("NanoNQ-")))?;
/// println!("{}", folder.join("corpus").display());
/// # Ok::<(), st_hub::HubError>(())
/// ```
#[derive(Debug, Clone)]
pub struct HubDataset(HubModel);

impl HubDataset {
    /// The data set with exactly this id; makes no request.
    ///
    /// # Errors
    /// An impossible id, revision or endpoint.
    pub fn new(id: &str, options: &HubOptions) -> Result<Self, HubError> {
        HubModel::of_kind(RepositoryKind::Dataset, id, options).map(Self)
    }

    /// `organisation/name`.
    #[must_use]
    pub fn id(&self) -> &str {
        self.0.id()
    }

    /// The revision that was asked for.
    #[must_use]
    pub fn revision(&self) -> &str {
        self.0.revision()
    }

    /// The commit in use, once a file was asked for.
    #[must_use]
    pub fn commit(&self) -> Option<String> {
        self.0.commit()
    }

    /// One file, or `None` where the data set has no such file; as [`Source::file`](crate::Source::file).
    ///
    /// # Errors
    /// As there.
    pub fn file(&self, relative: &str) -> Result<Option<PathBuf>, HubError> {
        self.0.file(relative)
    }

    /// Brings the selected files and returns the folder that holds them; as
    /// [`Source::snapshot`](crate::Source::snapshot).
    ///
    /// # Errors
    /// As there.
    pub fn snapshot(&self, selection: &Selection) -> Result<PathBuf, HubError> {
        self.0.snapshot(selection)
    }

    /// Why a file was reported absent although the Hub did not say so: the first such reason.
    #[must_use]
    pub fn failure(&self) -> Option<HubError> {
        self.0.failure()
    }
}
