//! A model card that came with a model, written again under another name.

#![no_main]

libfuzzer_sys::fuzz_target!(|card: &str| {
    use sentence_transformers::card::update_saved;
    assert_eq!(update_saved(card, None), card);
    let _ = update_saved(card, Some("organisation/name"));
});
