//! `quantize`: float embeddings of a file as bytes or bits.

use std::path::{Path, PathBuf};

use clap::Args;
use sentence_transformers::{Embeddings, Precision, Ranges, quantize_embeddings};

use super::Surroundings;
use super::encode::{output_formats, precisions};
use crate::failure::{Exit, Failure, Result};
use crate::input::{Extent, VectorFile};
use crate::interrupt::Watch;
use crate::output::{self, Block, OutputFormat, Shape, Target, Values, Writer};
use crate::render::Progress;

#[derive(Debug, Args)]
#[command(after_help = "int8 and uint8 need the range of every dimension: that of --calibration, else --ranges, else \
that of the embeddings themselves. Queries must be quantized with the ranges of the corpus: keep them with --save-ranges.

Examples:
  sentence-transformers quantize corpus.npy --precision int8 --output corpus-int8.npy --save-ranges ranges.npy
  sentence-transformers quantize queries.npy --precision int8 --output queries-int8.npy --ranges ranges.npy
  sentence-transformers quantize corpus.parquet --precision ubinary --output corpus-bits.parquet")]
pub(crate) struct Arguments {
    /// File of float embeddings: .npy, .safetensors or .parquet
    #[arg(value_name = "FILE")]
    input: PathBuf,
    /// Column or tensor that holds the embeddings [default: embedding, embeddings, or the only one]
    #[arg(long, value_name = "NAME")]
    column: Option<String>,
    /// Number format to store
    #[arg(long, value_parser = precisions(), value_name = "FORMAT")]
    precision: Precision,
    /// File to write
    #[arg(short, long, value_name = "FILE|-")]
    output: PathBuf,
    /// Format of the output [default: by its extension]
    #[arg(long, value_name = "FORMAT", value_parser = output_formats())]
    format: Option<&'static OutputFormat>,
    /// File of embeddings that the ranges of int8 and uint8 are taken from
    #[arg(long, value_name = "FILE", conflicts_with = "ranges")]
    calibration: Option<PathBuf>,
    /// File of two rows: the smallest and the largest value of every dimension
    #[arg(long, value_name = "FILE")]
    ranges: Option<PathBuf>,
    /// File to write the ranges in use into
    #[arg(long, value_name = "FILE")]
    save_ranges: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, surroundings: Surroundings) -> Result<Exit> {
    let format = arguments.format()?;
    let scaled = matches!(arguments.precision, Precision::Int8 | Precision::Uint8);
    let given = [&arguments.calibration, &arguments.ranges, &arguments.save_ranges];
    if !scaled && given.iter().any(|file| file.is_some()) {
        return Err(Failure::usage(format!("{} has no ranges", arguments.precision))
            .with_hint("--calibration, --ranges and --save-ranges go with --precision int8 and uint8"));
    }
    let input = VectorFile::open(&arguments.input, arguments.column.as_deref())?;
    let watch = Watch::begin();
    let ranges = if scaled { Some(arguments.ranges_of(&input, &watch)?) } else { None };
    if let (Some(path), Some(ranges)) = (&arguments.save_ranges, &ranges) {
        save(path, ranges)?;
    }
    let target = if arguments.output.as_os_str() == "-" {
        Target::stdout(format.sequential)?
    } else {
        Target::file(&arguments.output, format.sequential)?
    };
    let mut writer = (format.create)(target, Shape::of(arguments.precision, input.dimension))?;
    let progress = Progress::new(Extent::Texts(input.rows), surroundings.quiet);
    for block in input.blocks()? {
        watch.check()?;
        let block = block?;
        write(writer.as_mut(), &block.texts, &block.embeddings, arguments.precision, ranges.as_ref())?;
        progress.advance(block.embeddings.rows() as u64);
    }
    progress.clear();
    watch.check()?;
    writer.finish()?;
    Ok(Exit::Done)
}

impl Arguments {
    fn format(&self) -> Result<&'static OutputFormat> {
        if let Some(format) = self.format {
            return Ok(format);
        }
        output::format_of(&self.output).ok_or_else(|| {
            Failure::usage(format!("{} does not say its format", self.output.display()))
                .with_hint(format!("end the name in one of {}, or give --format", output::extensions()))
        })
    }

    fn ranges_of(&self, input: &VectorFile, watch: &Watch) -> Result<Ranges> {
        if let Some(path) = &self.ranges {
            let rows = VectorFile::open(path, None)?.read()?;
            if rows.rows() != 2 {
                return Err(Failure::new(format!("{} has {} rows", path.display(), rows.rows()))
                    .with_hint("ranges are two rows: the smallest and the largest value of every dimension"));
            }
            return Ok(Ranges::new(rows.row(0).to_vec(), rows.row(1).to_vec())?);
        }
        match &self.calibration {
            Some(path) => extent(&VectorFile::open(path, None)?, watch),
            None => {
                if input.rows < 100 {
                    log::warn!(
                        "{} ranges come from {} embeddings only; --calibration takes them from a larger file",
                        self.precision,
                        input.rows
                    );
                }
                extent(input, watch)
            }
        }
    }
}

/// The smallest and largest value of every dimension, block by block.
fn extent(file: &VectorFile, watch: &Watch) -> Result<Ranges> {
    let mut found: Option<Embeddings> = None;
    for block in file.blocks()? {
        watch.check()?;
        let ranges = Ranges::from_embeddings(&block?.embeddings)?;
        let mut rows = [ranges.minima().to_vec(), ranges.maxima().to_vec()].to_vec();
        rows.extend(found.iter().flat_map(|found| found.rows_iter().map(<[f32]>::to_vec)));
        let ranges = Ranges::from_embeddings(&Embeddings::from_rows(rows)?)?;
        found = Some(Embeddings::from_rows([ranges.minima(), ranges.maxima()])?);
    }
    let rows = found.ok_or_else(|| Failure::new("there are no embeddings to take ranges from"))?;
    Ok(Ranges::new(rows.row(0).to_vec(), rows.row(1).to_vec())?)
}

fn save(path: &Path, ranges: &Ranges) -> Result<()> {
    let format = output::format_of(path).ok_or_else(|| {
        Failure::usage(format!("{} does not say its format", path.display())).with_hint("end the name in .npy")
    })?;
    let shape = Shape::of(Precision::Float32, ranges.dimension());
    let mut writer = (format.create)(Target::file(path, format.sequential)?, shape)?;
    let values = [ranges.minima(), ranges.maxima()].concat();
    writer.write(&Block { texts: &["minima", "maxima"], values: Values::Float(&values), width: shape.width })?;
    writer.finish()
}

fn write(
    writer: &mut dyn Writer,
    texts: &[String],
    embeddings: &Embeddings,
    precision: Precision,
    ranges: Option<&Ranges>,
) -> Result<()> {
    let stored = quantize_embeddings(embeddings, precision, ranges, None)?;
    // Files without texts have empty ones.
    let texts: Vec<&str> = (0..embeddings.rows()).map(|row| texts.get(row).map_or("", String::as_str)).collect();
    let values = match (stored.as_f32(), stored.as_i8(), stored.as_u8()) {
        (Some(values), ..) => Values::Float(values),
        (_, Some(values), _) => Values::Signed(values),
        (.., Some(values)) => Values::Unsigned(values),
        _ => return Err(Failure::new(format!("{precision} is not stored in bytes"))),
    };
    writer.write(&Block { texts: &texts, values, width: stored.dimension() })
}
