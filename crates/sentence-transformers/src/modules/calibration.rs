//! Texts on which encoders in bytes are calibrated.

use st_encoder::Batch;

use super::InputModule;
use crate::Result;
use crate::input::Input;

/// The token ids of texts as `reader`, which has an encoder, reads them.
pub(super) fn calibration_batch(reader: &dyn InputModule, texts: &[String]) -> Result<Batch> {
    let mut batch = Batch::new();
    for text in texts {
        let (text, _) = Input::Text(text).prepare("", reader.strips(), reader.lower_case())?;
        let tokens = reader.tokenize(&text, None)?;
        match tokens.type_ids() {
            Some(types) => batch.push_with_types(tokens.ids(), types)?,
            None => batch.push(tokens.ids()),
        }
    }
    if reader.encoder().is_some_and(|encoder| encoder.token_types == 0) {
        batch.clear_types();
    }
    Ok(batch)
}
