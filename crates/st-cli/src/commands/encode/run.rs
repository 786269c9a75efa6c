//! The run of `encode`: chunk by chunk from the input into the sink.

use sentence_transformers::{EncodedChunk, SentenceTransformer};

use super::row::Row;
use super::sink::{Sink, Values};
use super::tally::{Tally, refuse_cut};
use super::{Arguments, OutputValue, features};
use crate::commands::Surroundings;
use crate::failure::{Exit, Failure, Result};
use crate::input::Texts;
use crate::interrupt::Watch;
use crate::render::Progress;

/// Texts that go through together at most; what Ctrl-C waits for.
const CHUNK: usize = 2048;

pub(crate) fn run(arguments: &Arguments, surroundings: Surroundings) -> Result<Exit> {
    let mut texts = arguments.texts()?;
    arguments.check()?;
    let model = arguments.model.load(surroundings)?;
    let tally = if arguments.encode.output_value == OutputValue::SentenceEmbedding {
        sentences(arguments, &model, &mut texts, surroundings)?
    } else {
        features::run(arguments, &model, &mut texts, surroundings)?
    };
    if !surroundings.quiet
        && let Some(summary) = tally.summary(model.max_seq_length())
    {
        eprintln!("{summary}");
    }
    if let Some(summary) = texts.summary() {
        eprintln!("warning: {summary}");
        return Ok(Exit::DamagedRows);
    }
    Ok(Exit::Done)
}

fn sentences(
    arguments: &Arguments,
    model: &SentenceTransformer,
    texts: &mut Texts,
    surroundings: Surroundings,
) -> Result<Tally> {
    let watch = Watch::begin();
    let mut sink = Sink::open(arguments, model)?;
    sink.read_over(&mut texts.by_ref().map(|text| text.text))?;
    let options = arguments.encode.options(model.prompts()).precision(sink.encoder_precision());
    let options = options.chunk_size(CHUNK.min(arguments.output.rows_per_part));
    let progress = Progress::new(texts.extent(), surroundings.quiet || sink.is_on_screen());
    progress.advance(sink.tally().texts);
    // The iterator has the texts while it lives, so a chunk that is refused is told of after it.
    let mut refused = None;
    let images = arguments.input.images;
    for chunk in model.encode_iter(texts.by_ref().map(|text| Row::new(text, images)), &options)? {
        watch.check().map_err(|failure| sink.with_way_on(failure))?;
        let chunk = chunk.map_err(|error| sink.with_way_on(error.into()))?;
        if arguments.encode.strict && !chunk.truncated.is_empty() {
            refused = Some(chunk);
            break;
        }
        write(&mut sink, &chunk)?;
        progress.advance(chunk.texts.len() as u64);
    }
    if let Some(chunk) = refused {
        let number = |index: usize| chunk.texts.get(index - chunk.start).map(|row| row.text.number);
        refuse_cut(texts, number, &chunk.truncated)?;
    }
    watch.check().map_err(|failure| sink.with_way_on(failure))?;
    texts.finish().map_err(|failure| sink.with_way_on(failure))?;
    progress.clear();
    sink.finish()
}

fn write(sink: &mut Sink, chunk: &EncodedChunk<Row>) -> Result<()> {
    let texts: Vec<&str> = chunk.texts.iter().map(|row| row.text.text.as_str()).collect();
    let mut cut = vec![false; texts.len()];
    for truncation in &chunk.truncated {
        cut[truncation.index - chunk.start] = true;
    }
    let (values, width) = match &chunk.quantized {
        None => (Values::Float(chunk.embeddings.as_slice()), chunk.embeddings.dimension()),
        Some(stored) => match (stored.as_i8(), stored.as_u8()) {
            (Some(values), _) => (Values::Signed(values), stored.dimension()),
            (_, Some(values)) => (Values::Unsigned(values), stored.dimension()),
            _ => return Err(Failure::new(format!("{} is not stored in bytes", stored.precision()))),
        },
    };
    sink.write(&texts, values, width, &cut)
}
