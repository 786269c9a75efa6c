//! Saving: files as the original writes them, the same vectors after loading again, and never a half-written folder.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::fs;

use sentence_transformers::SentenceTransformer;
use sentence_transformers::save::SaveOptions;
use st_testing::tiny_model;

const TEXTS: [&str; 3] = ["The weather is lovely today.", "It's so sunny outside!", ""];

fn load(path: &std::path::Path) -> SentenceTransformer {
    SentenceTransformer::load(path.to_str().unwrap()).unwrap()
}

#[test]
fn what_was_saved_gives_the_same_vectors() {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(st_testing::fixture_path("models")).unwrap() {
        let source = entry.unwrap().path();
        let model = load(&source);
        let target = folder.path().join(source.file_name().unwrap());
        model.save_pretrained(&target).unwrap();
        let again = load(&target);
        assert_eq!(model.encode(&TEXTS).unwrap(), again.encode(&TEXTS).unwrap(), "{}", source.display());
        assert_eq!(format!("{model:?}"), format!("{again:?}"));
        assert_eq!(model.prompts(), again.prompts());
    }
}

#[test]
fn configuration_files_are_the_original_s_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["tiny-bert", "tiny-bert-cls-dense", "tiny-bert-concat", "tiny-bert-prompts", "tiny-mpnet"] {
        let (source, target) = (tiny_model(name), folder.path().join(name));
        load(&source).save_pretrained(&target).unwrap();
        let same = |file: &str| {
            let read = |path: &std::path::Path| fs::read_to_string(path.join(file)).unwrap();
            // The versions of other libraries differ from machine to machine.
            let without_versions = |text: String| -> String {
                text.lines()
                    .filter(|line| !line.contains("\"transformers\"") && !line.contains("\"pytorch\""))
                    .collect()
            };
            assert_eq!(without_versions(read(&target)), without_versions(read(&source)), "{name}: {file}");
        };
        same("config_sentence_transformers.json");
        same("modules.json");
        same("sentence_bert_config.json");
        for entry in fs::read_dir(&source).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() && entry.path().join("config.json").exists() {
                same(&format!("{}/config.json", entry.file_name().to_str().unwrap()));
            }
        }
    }
}

#[test]
fn an_older_folder_is_replaced_whole_and_its_other_files_stay() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("model");
    fs::create_dir_all(target.join("notes")).unwrap();
    fs::write(target.join("notes/mine.txt"), "mine").unwrap();
    fs::write(target.join("modules.json"), "old").unwrap();
    load(&tiny_model("tiny-bert")).save_pretrained(&target).unwrap();
    assert_eq!(fs::read_to_string(target.join("notes/mine.txt")).unwrap(), "mine");
    assert!(load(&target).encode(&TEXTS).is_ok());
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["model"]);
}

#[test]
fn a_failure_leaves_the_older_folder_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    load(&tiny_model("tiny-bert")).save_pretrained(&source).unwrap();
    let model = load(&source);
    let target = folder.path().join("target");
    fs::create_dir(&target).unwrap();
    fs::write(target.join("modules.json"), "precious").unwrap();
    fs::remove_file(source.join("model.safetensors")).unwrap();
    let error = model.save_pretrained(&target).unwrap_err();
    assert!(error.to_string().contains("no weights to save"), "{error}");
    assert_eq!(fs::read_to_string(target.join("modules.json")).unwrap(), "precious");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[cfg(unix)]
#[test]
fn a_saved_folder_is_as_open_as_any_other() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    load(&tiny_model("tiny-bert")).save_pretrained(folder.path().join("model")).unwrap();
    fs::create_dir(folder.path().join("plain")).unwrap();
    let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
    assert_eq!(mode("model"), mode("plain"));
}

#[test]
fn weights_are_saved_as_pytorch_files_where_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["tiny-bert-cls-dense", "tiny-bert-sharded", "tiny-bert-bf16"] {
        let target = folder.path().join(name);
        let model = load(&tiny_model(name));
        model.save_pretrained_with(&target, &SaveOptions::new().safe_serialization(false)).unwrap();
        let files: Vec<_> = walk(&target);
        assert!(files.iter().all(|file| !file.contains("safetensors")), "{files:?}");
        assert!(files.iter().any(|file| file.ends_with(".bin")), "{files:?}");
        assert_eq!(load(&target).encode(&TEXTS).unwrap(), model.encode(&TEXTS).unwrap(), "{name}");
    }
}

#[test]
fn a_card_is_left_out_or_names_model_and_datasets() {
    let folder = tempfile::tempdir().unwrap();
    let model = load(&tiny_model("tiny-bert"));
    let without = folder.path().join("without");
    model.save_pretrained_with(&without, &SaveOptions::new().create_model_card(false)).unwrap();
    assert!(!without.join("README.md").exists());
    let with = folder.path().join("with");
    let options = SaveOptions::new().model_name("me/mine").train_datasets(["sentence-transformers/all-nli"]);
    model.save_pretrained_with(&with, &options).unwrap();
    let card = fs::read_to_string(with.join("README.md")).unwrap();
    assert!(card.contains("SentenceTransformer(\"me/mine\")"), "{card}");
    assert!(card.contains("https://huggingface.co/datasets/sentence-transformers/all-nli"), "{card}");
}

fn walk(folder: &std::path::Path) -> Vec<String> {
    let mut out = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            out.extend(walk(&path));
        } else {
            out.push(path.file_name().unwrap().to_str().unwrap().to_owned());
        }
    }
    out
}
