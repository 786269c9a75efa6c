//! A model card that came with a model, written again under another name.

#![no_main]

libfuzzer_sys::fuzz_target!(|card: &str| {
    let again = sentence_transformers::card::update_saved(card, Some("organisation/name"));
    assert!(again.len() + 64 >= card.len());
});
