//! The run of `encode`: chunk by chunk from the input into the sink.

use sentence_transformers::{EncodedChunk, SentenceTransformer, Truncation};

use super::sink::{Sink, Values};
use super::{Arguments, OutputValue, features};
use crate::commands::Surroundings;
use crate::failure::{Exit, Failure, Result};
use crate::input::{Text, Texts};
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

/// How many texts there were, and how many were cut.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) texts: u64,
    pub(super) cut: u64,
}

impl Tally {
    fn summary(&self, limit: Option<usize>) -> Option<String> {
        let limit = limit.map_or(String::new(), |limit| format!(" than {limit} tokens"));
        let were = if self.cut == 1 { "was" } else { "were" };
        (self.cut > 0)
            .then(|| format!("{} of {} texts {were} longer{limit}; the rest was cut off", self.cut, self.texts))
    }
}

/// With `--strict`, an error that names the first text that is too long.
pub(super) fn refuse_cut(texts: &Texts, numbers: impl Fn(usize) -> Option<u64>, cut: &[Truncation]) -> Result<()> {
    let Some(first) = cut.iter().min_by_key(|truncation| truncation.index) else { return Ok(()) };
    let place = texts.place(numbers(first.index).unwrap_or(0));
    let (all, kept) = (first.kept + first.lost, first.kept);
    Err(Failure::new(format!("{place}: the text has {all} tokens, but the model reads {kept}"))
        .with_hint("split the text, or leave --strict out to have it cut"))
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
    for chunk in model.encode_iter(texts.by_ref(), &options)? {
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
        let number = |index: usize| chunk.texts.get(index - chunk.start).map(|text| text.number);
        refuse_cut(texts, number, &chunk.truncated)?;
    }
    watch.check().map_err(|failure| sink.with_way_on(failure))?;
    texts.finish().map_err(|failure| sink.with_way_on(failure))?;
    progress.clear();
    sink.finish()
}

fn write(sink: &mut Sink, chunk: &EncodedChunk<Text>) -> Result<()> {
    let texts: Vec<&str> = chunk.texts.iter().map(|text| text.text.as_str()).collect();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_cut_is_summed_up() {
        let summary = |texts, cut| Tally { texts, cut }.summary(Some(256));
        assert_eq!(summary(10, 0), None);
        assert_eq!(summary(1000, 3).unwrap(), "3 of 1000 texts were longer than 256 tokens; the rest was cut off");
        assert_eq!(summary(1, 1).unwrap(), "1 of 1 texts was longer than 256 tokens; the rest was cut off");
    }
}
