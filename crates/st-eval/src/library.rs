//! The library's model as an [`Embedder`], and [`evaluate`].

use std::io::{IsTerminal, Write};
use std::path::Path;

use sentence_transformers::{EncodeOptions, Progress, Prompt, SentenceTransformer};
use st_vectors::{Embeddings, SimilarityFunction};

use crate::{EmbedOptions, Embedder, EvalError, Evaluation, Evaluator, Occasion, Result, Role};

/// Queries go through `encode_query`, documents through `encode_document`, other texts through `encode`.
impl Embedder for SentenceTransformer {
    fn embed(&self, texts: &[&str], role: Role, options: &EmbedOptions<'_>) -> Result<Embeddings> {
        let prompt = match (options.prompt, options.prompt_name) {
            (Some(text), _) => Prompt::text(text),
            (None, Some(name)) => Prompt::named(name),
            (None, None) => Prompt::Default,
        };
        let mut encode = EncodeOptions::new().prompt(prompt).batch_size(options.batch_size);
        if let Some(dimension) = options.truncate_dim {
            encode = encode.truncate_dim(dimension);
        }
        if options.show_progress && std::io::stderr().is_terminal() {
            encode = encode.progress(show);
        }
        let embeddings = match role {
            Role::Plain => self.encode_with(texts, &encode),
            Role::Query => self.encode_query(texts, &encode),
            Role::Document => self.encode_document(texts, &encode),
        };
        embeddings.map_err(|error| EvalError::model(texts.len(), error))
    }

    fn similarity(&self) -> SimilarityFunction {
        self.similarity_function()
    }
}

/// One line on stderr that is written over and over, and removed at the end.
fn show(progress: Progress) {
    let Progress { done, total } = progress;
    let end = if done >= total { "\r\x1b[K" } else { "" };
    let mut stderr = std::io::stderr().lock();
    // What cannot be shown is no reason to stop.
    drop(write!(stderr, "\r\x1b[Kencoding: {done} of {total} texts{end}").and_then(|()| stderr.flush()));
}

/// Evaluates a model, writes into the output folder (made when missing), and records the results in the model's card
/// data, from where they go into the card when the model is saved or published.
///
/// ```no_run
/// use sentence_transformers::SentenceTransformer;
/// use st_eval::{EmbeddingSimilarityEvaluator, SimilarityPairs, evaluate};
///
/// let mut model = SentenceTransformer::load("sentence-transformers/all-MiniLM-L6-v2")?;
/// let pairs = SimilarityPairs::read_tsv("stsbenchmark.tsv.gz".as_ref(), Some("test"))?;
/// let evaluator = EmbeddingSimilarityEvaluator::from_pairs(pairs)?.named("sts-test");
/// let evaluation = evaluate(&mut model, &evaluator, Some("results".as_ref()))?;
/// println!("{:?}", evaluation.score());
/// assert_eq!(model.card_data().evaluations[0].name, "sts-test");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// What the evaluator reports, and an output folder that cannot be made.
pub fn evaluate(
    model: &mut SentenceTransformer,
    evaluator: &dyn Evaluator,
    output_path: Option<&Path>,
) -> Result<Evaluation> {
    let mut occasion = Occasion::new();
    if let Some(folder) = output_path {
        std::fs::create_dir_all(folder).map_err(EvalError::file("writing", folder))?;
        occasion = occasion.output_path(folder);
    }
    let evaluation = evaluator.evaluate(&*model, &occasion)?;
    evaluation.record(model.card_data_mut(), &occasion);
    Ok(evaluation)
}
