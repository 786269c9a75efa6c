//! Values of arguments that are one of several words.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How often something happens in training.
///
/// ```
/// use st_train::Interval;
/// assert_eq!(serde_json::from_str::<Interval>("\"epoch\"")?, Interval::Epoch);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interval {
    /// Never.
    No,
    /// Every so many steps.
    Steps,
    /// At the end of each epoch.
    Epoch,
}

impl Interval {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Steps => "steps",
            Self::Epoch => "epoch",
        }
    }
}

/// How often a checkpoint is saved.
///
/// ```
/// use st_train::SaveInterval;
/// assert_eq!(serde_json::to_string(&SaveInterval::Best)?, "\"best\"");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SaveInterval {
    /// Never.
    No,
    /// Every so many steps, and at the end.
    Steps,
    /// At the end of each epoch.
    Epoch,
    /// Whenever the metric by which models are chosen is better than before.
    Best,
}

impl SaveInterval {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Steps => "steps",
            Self::Epoch => "epoch",
            Self::Best => "best",
        }
    }
}

/// Where to go on from.
///
/// ```
/// use st_train::Resume;
/// assert_eq!(serde_json::from_str::<Resume>("true")?, Resume::Last(true));
/// assert_eq!(serde_json::from_str::<Resume>("\"out/checkpoint-5\"")?, Resume::Folder("out/checkpoint-5".into()));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Resume {
    /// From the last checkpoint in the output folder, if true.
    Last(bool),
    /// From this checkpoint.
    Folder(PathBuf),
}
