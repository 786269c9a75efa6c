//! The configuration of every kind of module, alone or after an encoder. The first byte chooses the kind.

#![no_main]

mod place;

use sentence_transformers::SentenceTransformer;
use sentence_transformers::modules::MODULES;

/// Names that configurations have had.
const FILES: [&str; 10] = [
    "config.json",
    "pooling_config.json",
    "dense_config.json",
    "lstm_config.json",
    "cnn_config.json",
    "wordembedding_config.json",
    "router_config.json",
    "whitespacetokenizer_config.json",
    "phrasetokenizer_config.json",
    "sentence_bert_config.json",
];

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let [choice, rest @ ..] = bytes else { return };
    let choice = usize::from(*choice);
    let kind = MODULES[choice % MODULES.len()].type_path;
    let folder = place::folder("models/tiny-bert");
    let module = folder.join("9_Module");
    let _ = std::fs::create_dir_all(&module);
    for name in FILES {
        let path = module.join(name);
        let _ = std::fs::remove_file(&path);
        std::fs::write(path, rest).unwrap();
    }
    let first = r#"{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},"#;
    let first = if choice / MODULES.len() % 2 == 0 { first } else { "" };
    let list = format!(r#"[{first}{{"idx": 1, "name": "1", "path": "9_Module", "type": "{kind}"}}]"#);
    std::fs::write(folder.join("modules.json"), list).unwrap();
    if let Ok(model) = SentenceTransformer::load(folder.to_string_lossy()) {
        let _ = model.encode(&["The weather is lovely today."]);
    }
});
