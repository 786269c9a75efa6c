//! [`Sink`]: where a run's embeddings go — into a file at once, into parts first, or before a person's eyes.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use sentence_transformers::{Embeddings, EncodeOptions, Precision, SentenceTransformer};
use serde_json::{Map, Value};
use tempfile::TempDir;

use super::tally::Tally;
use super::{Arguments, OutputValue};
use crate::failure::{Failure, Result};
use crate::output::{self, Block, OutputFormat, Parts, Plan, Shape, Target, Writer};
use crate::render::Preview;

pub(super) use crate::output::Values;

/// A text that is embedded to tell one model from another.
const PROBE: &str = "The quick brown fox jumps over the lazy dog.";

pub(super) struct Sink {
    way: Way,
    /// The precision in which the output holds the embeddings.
    precision: Precision,
    tally: Tally,
}

enum Way {
    Preview(Preview),
    Direct(Box<dyn Writer>),
    Parts {
        parts: Box<Parts>,
        format: &'static OutputFormat,
        /// `None` for standard output.
        output: Option<PathBuf>,
        /// Holds the parts of a run that nothing can continue.
        _folder: Option<TempDir>,
    },
}

impl Arguments {
    /// The output, where it is not standard output.
    fn output_path(&self) -> Option<&Path> {
        self.output.output.as_deref().filter(|path| path.as_os_str() != "-")
    }

    /// The format asked for by name or extension.
    fn output_format(&self) -> Result<Option<&'static OutputFormat>> {
        if let Some(format) = self.output.format {
            return Ok(Some(format));
        }
        let Some(path) = self.output_path() else { return Ok(None) };
        output::format_of(path).map(Some).ok_or_else(|| {
            Failure::usage(format!("{} does not say its format", path.display()))
                .with_hint(format!("end the name in one of {}, or give --format", output::extensions()))
        })
    }

    /// The format, JSON lines when nothing says another.
    fn settled_format(&self) -> Result<&'static OutputFormat> {
        let format = self.output_format()?.or_else(|| output::format_named("jsonl"));
        format.ok_or_else(|| Failure::new("there is no format jsonl"))
    }

    /// Whether the arguments fit together; what can be said before a model is loaded.
    pub(super) fn check(&self) -> Result<()> {
        let format = self.settled_format()?;
        if let Some(path) = self.output_path()
            && let Some(folder) = path.parent()
            && !folder.as_os_str().is_empty()
            && !folder.is_dir()
        {
            return Err(Failure::usage(format!("there is no folder {}", folder.display()))
                .with_hint("make it first, or write elsewhere"));
        }
        if self.encode.output_value == OutputValue::SentenceEmbedding {
            return Ok(());
        }
        let conflict = if self.input.images {
            Some("--images".to_owned())
        } else if format.name != "jsonl" {
            Some(format!("--format {}", format.name))
        } else if self.encode.precision != Precision::Float32 {
            Some(format!("--precision {}", self.encode.precision))
        } else if self.output.resume {
            Some("--resume".to_owned())
        } else {
            None
        };
        match conflict {
            None => Ok(()),
            Some(other) => Err(Failure::usage(format!("--output-value cannot go with {other}"))
                .with_hint("token embeddings differ in number from text to text; they are written as JSON lines, and images have none")),
        }
    }

    /// Where rows of any kind of JSON lines go.
    pub(super) fn json_target(&self) -> Result<Target> {
        match self.output_path() {
            Some(path) => Target::file(path, true),
            None => Target::stdout(true),
        }
    }
}

impl Sink {
    pub(super) fn open(arguments: &Arguments, model: &SentenceTransformer) -> Result<Self> {
        let precision = arguments.encode.precision;
        let format = arguments.settled_format()?;
        let scaled = matches!(precision, Precision::Int8 | Precision::Uint8);
        let path = arguments.output_path();
        let regular = path.is_some_and(|path| !path.exists() || path.is_file());
        let probe = probe(arguments, model)?;
        let dimension = probe.len();
        let way = if scaled || arguments.output.resume || (format.name == "parquet" && regular) {
            if arguments.output.resume && !regular {
                return Err(Failure::usage("only a run into a file can be continued")
                    .with_hint("give the name of a file with --output"));
            }
            let (folder, temporary) = match path {
                Some(path) if regular => (parts_folder(path), None),
                _ => {
                    let temporary = tempfile::tempdir();
                    let temporary = temporary.map_err(|error| Failure::io("make", "a temporary folder", &error))?;
                    (temporary.path().join("parts"), Some(temporary))
                }
            };
            let held = if scaled { Precision::Float32 } else { precision };
            let plan = Plan {
                folder,
                options: identity(arguments, format),
                probe,
                rows_per_part: arguments.output.rows_per_part,
                shape: Shape::of(held, dimension),
                resume: arguments.output.resume,
            };
            let parts = Box::new(Parts::open(plan)?);
            Way::Parts { parts, format, output: path.map(Path::to_path_buf), _folder: temporary }
        } else if arguments.output.output.is_none()
            && arguments.output.format.is_none()
            && std::io::stdout().is_terminal()
        {
            Way::Preview(Preview::new())
        } else {
            let target = match path {
                Some(path) => Target::file(path, format.sequential)?,
                None => Target::stdout(format.sequential)?,
            };
            Way::Direct((format.create)(target, Shape::of(precision, dimension))?)
        };
        let mut sink = Self { way, precision, tally: Tally::default() };
        if let Way::Parts { parts, .. } = &sink.way {
            sink.tally.texts = parts.earlier_rows();
        }
        Ok(sink)
    }

    /// The precision in which rows are to be given to [`Sink::write`].
    pub(super) fn encoder_precision(&self) -> Precision {
        match self.precision {
            // Their ranges are known only when all rows are.
            Precision::Int8 | Precision::Uint8 => Precision::Float32,
            other => other,
        }
    }

    /// Whether it writes where a progress bar would stand.
    pub(super) fn is_on_screen(&self) -> bool {
        matches!(self.way, Way::Preview(_))
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Passes over the texts that an earlier run has encoded.
    pub(super) fn read_over(&mut self, texts: &mut dyn Iterator<Item = String>) -> Result<()> {
        match &mut self.way {
            Way::Parts { parts, .. } => parts.read_over(texts),
            _ => Ok(()),
        }
    }

    pub(super) fn write(&mut self, texts: &[&str], values: Values<'_>, width: usize, cut: &[bool]) -> Result<()> {
        self.tally.texts += texts.len() as u64;
        self.tally.cut += cut.iter().filter(|&&cut| cut).count() as u64;
        let block = Block { texts, values, width };
        match &mut self.way {
            Way::Preview(preview) => preview.write(&block),
            Way::Direct(writer) => writer.write(&block),
            Way::Parts { parts, .. } => parts.write(&block, cut),
        }
    }

    /// Adds how a run goes on that `failure` has ended.
    pub(super) fn with_way_on(&self, failure: Failure) -> Failure {
        match &self.way {
            Way::Parts { parts, _folder: None, .. } if parts.safe_rows() > 0 => {
                let rows = parts.safe_rows();
                failure.with_hint(format!("{rows} rows are safe; the same command with --resume goes on after them"))
            }
            _ => failure,
        }
    }

    pub(super) fn finish(self) -> Result<Tally> {
        let scale = (self.encoder_precision() != self.precision).then_some(self.precision);
        match self.way {
            Way::Preview(_) => Ok(self.tally),
            Way::Direct(writer) => writer.finish().map(|()| self.tally),
            Way::Parts { parts, format, output, _folder } => {
                let target = match &output {
                    Some(path) => Target::file(path, format.sequential)?,
                    None => Target::stdout(format.sequential)?,
                };
                let (texts, cut) = parts.counts();
                parts.finish(format, target, scale)?;
                Ok(Tally { texts, cut })
            }
        }
    }
}

fn parts_folder(output: &Path) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(".parts");
    PathBuf::from(name)
}

/// The probe's embedding, as wide as every row will be.
fn probe(arguments: &Arguments, model: &SentenceTransformer) -> Result<Vec<f32>> {
    let options: EncodeOptions = arguments.encode.options(model.prompts());
    let embeddings: Embeddings = model.encode_with(&[PROBE], &options)?;
    Ok(embeddings.into_vec())
}

/// What makes two runs the same run, by the names of the options.
fn identity(arguments: &Arguments, format: &OutputFormat) -> Map<String, Value> {
    let (model, encode) = (&arguments.model, &arguments.encode);
    let entries: [(&str, Value); 17] = [
        ("--model", model.model.clone().into()),
        ("--revision", model.hub.revision.clone().into()),
        ("--weights", model.weights.as_str().into()),
        ("--max-seq-length", model.max_seq_length.into()),
        ("--adapter", model.adapter.clone().into()),
        ("--prompt", encode.prompt.clone().into()),
        ("--prompt-name", encode.prompt_name.clone().into()),
        ("--query", encode.query.into()),
        ("--document", encode.document.into()),
        ("--task", encode.task.clone().into()),
        ("--normalize", encode.normalize.into()),
        ("--truncate-dim", encode.truncate_dim.into()),
        ("--precision", encode.precision.as_str().into()),
        ("--on-error", format!("{:?}", arguments.input.on_error).to_lowercase().into()),
        ("--images", arguments.input.images.into()),
        ("--rows-per-part", arguments.output.rows_per_part.into()),
        ("--format", format.name.into()),
    ];
    entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
