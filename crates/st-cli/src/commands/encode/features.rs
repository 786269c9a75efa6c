//! `encode --output-value token_embeddings|all`: rows of different lengths, as JSON lines.

use sentence_transformers::{EncodeOptions, Prompt, SentenceTransformer, TextFeatures};
use serde_json::{Value, json};

use super::tally::{Tally, refuse_cut};
use super::{Arguments, OutputValue};
use crate::commands::Surroundings;
use crate::failure::Result;
use crate::input::{Text, Texts};
use crate::interrupt::Watch;
use crate::output::JsonLines;
use crate::render::Progress;

/// Token embeddings are as wide as the network, for every token: few texts at a time.
const CHUNK: usize = 128;

pub(super) fn run(
    arguments: &Arguments,
    model: &SentenceTransformer,
    texts: &mut Texts,
    surroundings: Surroundings,
) -> Result<Tally> {
    let watch = Watch::begin();
    let encode = &arguments.encode;
    let options = encode.options(model.prompts());
    let prompt = prompt_text(&options, model);
    let mut out = JsonLines::new(arguments.json_target()?);
    let progress = Progress::new(texts.extent(), surroundings.quiet);
    let mut tally = Tally::default();
    loop {
        let chunk: Vec<Text> = texts.by_ref().take(CHUNK).collect();
        if chunk.is_empty() {
            break;
        }
        watch.check()?;
        let features = model.encode_features(&chunk, &options)?;
        let prompted: Vec<String> = chunk.iter().map(|text| format!("{prompt}{}", text.text)).collect();
        let cut: Vec<_> = model.tokenize(&prompted)?.truncated().collect();
        if encode.strict {
            refuse_cut(texts, |index| chunk.get(index).map(|text| text.number), &cut)?;
        }
        for (text, features) in chunk.iter().zip(&features) {
            out.write_value(&row(&text.text, features, encode.output_value))?;
        }
        out.flush()?;
        tally.texts += chunk.len() as u64;
        tally.cut += cut.len() as u64;
        progress.advance(chunk.len() as u64);
    }
    watch.check()?;
    texts.finish()?;
    progress.clear();
    out.commit()?;
    Ok(tally)
}

/// The prompt that the options lead to; its name was checked by the encoding itself.
fn prompt_text(options: &EncodeOptions, model: &SentenceTransformer) -> String {
    let named = |name: &str| model.prompts().get(name).unwrap_or_default().to_owned();
    match options.chosen_prompt() {
        Prompt::Text(text) => text.clone(),
        Prompt::Named(name) => named(name),
        Prompt::Default => model.default_prompt_name().map(named).unwrap_or_default(),
    }
}

fn row(text: &str, features: &TextFeatures, output_value: OutputValue) -> Value {
    let tokens: Option<Vec<&[f32]>> =
        features.token_embeddings.as_ref().map(|all| all.chunks_exact(features.hidden.max(1)).collect());
    if output_value == OutputValue::TokenEmbeddings {
        return json!({ "text": text, "token_embeddings": tokens });
    }
    json!({
        "text": text,
        "input_ids": features.input_ids,
        "token_type_ids": features.token_type_ids,
        "prompt_length": features.prompt_length,
        "token_embeddings": tokens,
        "sentence_embedding": features.sentence_embedding,
    })
}
