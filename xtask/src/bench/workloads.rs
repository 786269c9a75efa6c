//! The models and the kinds of text.

use anyhow::{Context, Result};
use std::path::Path;

/// A model that the benchmark knows.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) short: &'static str,
    /// Its folder's name.
    pub(crate) name: &'static str,
    /// Whether it is a table of token vectors, without an encoder.
    pub(crate) table: bool,
}

pub(crate) const MODELS: &[Model] = &[
    Model { short: "minilm", name: "all-MiniLM-L6-v2", table: false },
    Model { short: "mpnet", name: "all-mpnet-base-v2", table: false },
    Model { short: "static", name: "static-30522x256", table: true },
];

/// A kind of text.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// Texts per call: MiniLM, MPNet, static table.
    counts: [usize; 3],
    /// What the sweep tries; nothing where there is one text per call.
    pub(crate) batch_sizes: &'static [usize],
    /// How many times fewer texts the sweep takes.
    pub(crate) sweep_share: usize,
}

pub(crate) const WORKLOADS: &[Workload] = &[
    Workload {
        name: "short",
        about: "dictionary glosses",
        counts: [2000, 500, 40_000],
        batch_sizes: &[8, 16, 32, 64, 128],
        sweep_share: 4,
    },
    Workload {
        name: "long",
        about: "paragraphs of 150 to 400 words",
        counts: [200, 48, 400],
        batch_sizes: &[1, 4, 8, 16, 32],
        sweep_share: 3,
    },
    Workload {
        name: "mixed",
        about: "half glosses, a quarter paragraphs, a quarter long ones",
        counts: [2000, 400, 4000],
        batch_sizes: &[1, 4, 8, 16, 32, 64],
        sweep_share: 5,
    },
    Workload { name: "single", about: "one gloss per call", counts: [200, 100, 400], batch_sizes: &[], sweep_share: 1 },
];

impl Workload {
    /// Texts per call for this model.
    pub(crate) fn count(&self, model: &Model, quick: bool) -> usize {
        let place = MODELS.iter().position(|other| other.short == model.short).unwrap_or(0);
        if quick { (self.counts[place] / 16).clamp(8, 2000) } else { self.counts[place] }
    }

    /// The file of its texts, which `texts.py` names.
    pub(crate) fn file(&self, model: &Model) -> String {
        // The table is so fast that it needs many more glosses.
        if model.table && self.name == "short" { "glosses.txt".to_owned() } else { format!("{}.txt", self.name) }
    }

    /// Whether every text is a call of its own.
    pub(crate) fn one_by_one(&self) -> bool {
        self.batch_sizes.is_empty()
    }
}

/// The sizes of a BERT-like encoder.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    layers: f64,
    hidden: f64,
    inner: f64,
}

impl Shape {
    /// Reads `config.json`.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let config: serde_json::Value =
            serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))?;
        let number = |name: &str| config[name].as_f64().with_context(|| format!("{} lacks {name}", path.display()));
        let (layers, hidden, inner) =
            (number("num_hidden_layers")?, number("hidden_size")?, number("intermediate_size")?);
        Ok(Self { layers, hidden, inner })
    }

    /// Floating-point operations that a text of so many tokens needs: a multiply-add is two. Per layer and token four
    /// products hidden × hidden and two hidden × inner; per layer scores and weighted values, each tokens² × hidden.
    pub(crate) fn operations(&self, tokens: usize) -> f64 {
        let tokens = tokens as f64;
        let products = 2.0 * tokens * (4.0 * self.hidden * self.hidden + 2.0 * self.hidden * self.inner);
        self.layers * (products + 4.0 * tokens * tokens * self.hidden)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_of_minilm_by_hand() {
        let shape = Shape { layers: 6.0, hidden: 384.0, inner: 1536.0 };
        // 6 × (2 × (4 × 147,456 + 2 × 589,824) + 4 × 384) for one token.
        assert_eq!(shape.operations(1), 6.0 * (2.0 * 1_769_472.0 + 1536.0));
    }

    #[test]
    fn quick_takes_few_texts() {
        for workload in WORKLOADS {
            assert!(workload.count(&MODELS[0], true) < workload.count(&MODELS[0], false));
        }
    }
}
