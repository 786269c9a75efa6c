//! The RoBERTa family (Liu et al. 2019): BERT whose positions start after the padding id. XLM-R and CamemBERT differ from
//! it only in numbers.

use super::{Architecture, Config, bert};
use crate::{EncoderError, EncoderSpec};

pub(super) const ROBERTA: Architecture = Architecture {
    name: "roberta",
    model_types: &["roberta", "xlm-roberta", "camembert"],
    prefixes: &["", "roberta."],
    describe,
    source: bert::source,
    ..Architecture::PLAIN
};

fn describe(config: &Config<'_>) -> Result<EncoderSpec, EncoderError> {
    let mut spec = bert::describe(config)?;
    let padding = config.count_or("pad_token_id", 1)?;
    let padding = u32::try_from(padding).map_err(|_| config.error("'pad_token_id' is too large"))?;
    bert::offset_positions(&mut spec, config, 512, padding)?;
    Ok(spec)
}
