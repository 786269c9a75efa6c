//! [`ParaphraseMiningEvaluator`].

use std::collections::{HashMap, HashSet};

use st_vectors::{MiningOptions, paraphrase_mining_embeddings};

use crate::embedder::embed_all;
use crate::metrics::score_mined_pairs;
use crate::report::{Report, python_float};
use crate::{EmbedOptions, Embedder, EvalError, Evaluation, Evaluator, EvaluatorKind, Occasion, Result, Role};

/// How well mining finds known duplicates among all sentences.
///
/// # Formula
/// [`score_mined_pairs`] of the pairs that [`paraphrase_mining_embeddings`] finds by cosine.
///
/// # Metrics
/// `average_precision`, `f1`, `precision`, `recall`, `threshold`.
///
/// ```
/// use st_eval::{Evaluator, ParaphraseMiningEvaluator};
/// let sentences = vec![("1".into(), "hello".into()), ("2".into(), "hello there".into())];
/// let evaluator = ParaphraseMiningEvaluator::new(sentences, [("1".into(), "2".into())], false)?;
/// assert_eq!(evaluator.duplicates(), 1);
/// # Ok::<(), st_eval::EvalError>(())
/// ```
#[derive(Debug)]
pub struct ParaphraseMiningEvaluator {
    sentences: Vec<String>,
    /// Pairs of rows, the smaller first.
    duplicates: HashSet<(usize, usize)>,
    add_transitive_closure: bool,
    mining: MiningOptions,
    name: String,
    batch_size: usize,
    write_csv: bool,
    truncate_dim: Option<usize>,
    show_progress: bool,
}

impl ParaphraseMiningEvaluator {
    /// The row of the table.
    pub const KIND: EvaluatorKind = EvaluatorKind {
        class_name: "ParaphraseMiningEvaluator",
        description: "Paraphrase Mining",
        summary: "known duplicates among the mined pairs of a set of sentences",
        metrics: "average_precision, f1, precision, recall, threshold",
        primary_metric: "average_precision",
        csv_file: "paraphrase_mining_evaluation{_name}_results.csv",
    };

    /// Sentences as (id, text), and pairs of ids that are duplicates; pairs with an id that no sentence has are left
    /// out. With `add_transitive_closure`, sentences that are connected by duplicates are all duplicates of each other.
    ///
    /// # Errors
    /// [`EvalError::Nothing`] when no pair is left, [`EvalError::Option`] when an id occurs twice.
    pub fn new(
        sentences: Vec<(String, String)>,
        duplicates: impl IntoIterator<Item = (String, String)>,
        add_transitive_closure: bool,
    ) -> Result<Self> {
        let rows: HashMap<&str, usize> =
            sentences.iter().enumerate().map(|(row, (id, _))| (id.as_str(), row)).collect();
        if rows.len() != sentences.len() {
            return Err(EvalError::Option { message: "`sentences` has an id more than once".to_owned() });
        }
        let mut pairs = HashSet::new();
        for (first, second) in duplicates {
            if let (Some(&first), Some(&second)) = (rows.get(first.as_str()), rows.get(second.as_str())) {
                pairs.insert((first.min(second), first.max(second)));
            }
        }
        if add_transitive_closure {
            pairs = closure(sentences.len(), &pairs);
        }
        if pairs.is_empty() {
            return Err(EvalError::Nothing { evaluator: Self::KIND.class_name, what: "duplicates" });
        }
        Ok(Self {
            sentences: sentences.into_iter().map(|(_, text)| text).collect(),
            duplicates: pairs,
            add_transitive_closure,
            mining: MiningOptions::default(),
            name: String::new(),
            batch_size: 16,
            write_csv: true,
            truncate_dim: None,
            show_progress: false,
        })
    }

    /// Pairs to find.
    #[must_use]
    pub fn duplicates(&self) -> usize {
        self.duplicates.len()
    }

    /// Similar sentences considered per sentence; default 100.
    #[must_use]
    pub fn top_k(mut self, sentences: usize) -> Self {
        self.mining.top_k = sentences;
        self
    }

    /// Pairs kept while mining; default 500,000.
    #[must_use]
    pub fn max_pairs(mut self, pairs: usize) -> Self {
        self.mining.max_pairs = pairs;
        self
    }

    /// Sentences compared at a time, on either side; defaults 5,000 and 100,000.
    #[must_use]
    pub fn chunk_sizes(mut self, query: usize, corpus: usize) -> Self {
        (self.mining.query_chunk_size, self.mining.corpus_chunk_size) = (query, corpus);
        self
    }
}

/// All pairs within each connected component, the smaller row first.
fn closure(rows: usize, pairs: &HashSet<(usize, usize)>) -> HashSet<(usize, usize)> {
    let mut neighbours = vec![Vec::new(); rows];
    for &(first, second) in pairs {
        neighbours[first].push(second);
        neighbours[second].push(first);
    }
    let mut closed = pairs.clone();
    let mut seen = vec![false; rows];
    for start in 0..rows {
        let mut component = Vec::new();
        let mut open = vec![start];
        while let Some(row) = open.pop() {
            if !std::mem::replace(&mut seen[row], true) {
                component.push(row);
                open.extend(&neighbours[row]);
            }
        }
        for (index, &first) in component.iter().enumerate() {
            closed.extend(component[index + 1..].iter().map(|&second| (first.min(second), first.max(second))));
        }
    }
    closed
}

super::shared_setters!(ParaphraseMiningEvaluator);

impl Evaluator for ParaphraseMiningEvaluator {
    fn kind(&self) -> &'static EvaluatorKind {
        &Self::KIND
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn evaluate(&self, model: &dyn Embedder, occasion: &Occasion) -> Result<Evaluation> {
        log::info!(
            "Paraphrase Mining Evaluation of the model on the {} dataset{}:",
            self.name,
            occasion.suffix(self.truncate_dim)
        );
        let options = EmbedOptions {
            batch_size: self.batch_size,
            truncate_dim: self.truncate_dim,
            show_progress: self.show_progress,
            ..EmbedOptions::default()
        };
        let embeddings = embed_all(model, &self.sentences, Role::Plain, &options)?;
        let pairs = paraphrase_mining_embeddings(&embeddings, &self.mining)?;
        log::info!("Number of candidate pairs: {}", pairs.len());
        let known = |first: usize, second: usize| self.duplicates.contains(&(first.min(second), first.max(second)));
        let pairs: Vec<(f32, bool)> = pairs.iter().map(|pair| (pair.score, known(pair.first, pair.second))).collect();
        let score = score_mined_pairs(&pairs, self.duplicates.len());
        log::info!("Average Precision: {:.2}", score.average_precision * 100.0);
        log::info!("Optimal threshold: {:.4}", score.threshold);
        log::info!("Precision: {:.2}", score.precision * 100.0);
        log::info!("Recall: {:.2}", score.recall * 100.0);
        log::info!("F1: {:.2}\n", score.f1 * 100.0);
        if let Some(folder) = occasion.folder(self.write_csv) {
            let file = format!("paraphrase_mining_evaluation{}_results.csv", super::suffixed(&self.name));
            let columns = ["precision", "recall", "f1", "threshold", "average_precision"].map(str::to_owned).to_vec();
            let cells = [score.precision, score.recall, score.f1, score.threshold, score.average_precision];
            Report { file, columns, line_end: "\r\n" }.append(folder, occasion, &cells.map(python_float))?;
        }
        let metrics = vec![
            ("average_precision".to_owned(), score.average_precision),
            ("f1".to_owned(), score.f1),
            ("precision".to_owned(), score.precision),
            ("recall".to_owned(), score.recall),
            ("threshold".to_owned(), score.threshold),
        ];
        let mut evaluation = Evaluation::new(Self::KIND.class_name, &self.name, metrics, "average_precision");
        super::parameter(&mut evaluation, "add_transitive_closure", Some(self.add_transitive_closure));
        super::parameter(&mut evaluation, "max_pairs", Some(self.mining.max_pairs));
        super::parameter(&mut evaluation, "top_k", Some(self.mining.top_k));
        super::parameter(&mut evaluation, "truncate_dim", self.truncate_dim);
        Ok(evaluation)
    }
}
