//! `cargo xtask demo`: the main job on a real model, from nothing.
//!
//! Fetches all-MiniLM-L6-v2, builds the command-line program and lets it do the work, so that what is shown is what a
//! user gets.

use crate::{models, process};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const USAGE: &str = "usage: cargo xtask demo [--texts FOLDER] [QUERY…]

Searches the .txt files of FOLDER (examples/texts), each line a text, for the QUERYs.";

/// The sentences of the original's quickstart.
const SENTENCES: [&str; 3] = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."];
const QUERIES: [&str; 2] = ["How can I tell that a storm is coming?", "repairing a flat tire"];

/// What was asked for.
#[derive(Debug, Eq, PartialEq)]
struct Wishes {
    folder: PathBuf,
    queries: Vec<String>,
}

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let wishes = read_arguments(arguments)?;
    let model = models::ensure(models::find("minilm")?, &st_testing::models_folder())?;
    println!("The model lies in {}", model.display());

    process::run(process::cargo().args(["build", "--release", "--package", "st-cli"]))?;
    let name = format!("sentence-transformers{}", std::env::consts::EXE_SUFFIX);
    let program = process::target_folder()?.join("release").join(name);
    let command = |name: &str| {
        let mut command = Command::new(&program);
        command.arg(name).arg("--model").arg(&model);
        command
    };
    let scratch = process::target_folder()?.join("demo");
    fs::create_dir_all(&scratch).with_context(|| format!("cannot make {}", scratch.display()))?;

    println!("\n# Embed {} sentences", SENTENCES.len());
    let vectors = scratch.join("quickstart.npy");
    process::run(command("encode").arg("--output").arg(&vectors).args(SENTENCES))?;
    println!("{} holds an array of shape {}", vectors.display(), npy_shape(&vectors)?);

    println!("\n# Compare them");
    process::run(command("similarity").args(SENTENCES))?;

    println!("\n# Search {}", wishes.folder.display());
    let texts = texts_in(&wishes.folder)?;
    let corpus = scratch.join("corpus.txt");
    fs::write(&corpus, texts.join("\n") + "\n").with_context(|| format!("cannot write {}", corpus.display()))?;
    println!("{} texts", texts.len());
    process::run(command("search").args(["--top-k", "3"]).arg("--corpus").arg(&corpus).args(&wishes.queries))
}

fn read_arguments(arguments: &[String]) -> Result<Wishes> {
    let mut wishes = Wishes { folder: st_testing::repository().join("examples").join("texts"), queries: Vec::new() };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--texts" => wishes.folder = arguments.next().with_context(|| USAGE)?.into(),
            option if option.starts_with('-') => bail!("there is no option {option}\n{USAGE}"),
            query => wishes.queries.push(query.to_owned()),
        }
    }
    if wishes.queries.is_empty() {
        wishes.queries = QUERIES.map(str::to_owned).to_vec();
    }
    Ok(wishes)
}

/// Every non-empty line of the `.txt` files, in order of the files' names.
fn texts_in(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            files.push(path);
        }
    }
    files.sort();
    let mut texts = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {} as UTF-8", file.display()))?;
        texts.extend(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned));
    }
    if texts.is_empty() {
        bail!("{} holds no text: put .txt files there, one text a line", folder.display());
    }
    Ok(texts)
}

/// The shape that a `.npy` file's header states, such as `(3, 384)`.
fn npy_shape(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let header = String::from_utf8_lossy(&bytes[..bytes.len().min(512)]).into_owned();
    let shape = header.split_once("'shape':").and_then(|(_, rest)| Some(rest.split_once(')')?.0.trim().to_owned()));
    Ok(shape.with_context(|| format!("{} is no .npy file", path.display()))? + ")")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn arguments_are_a_folder_and_queries() {
        let wishes = read_arguments(&words(&["a query", "--texts", "/x", "another"])).unwrap();
        assert_eq!(wishes, Wishes { folder: "/x".into(), queries: words(&["a query", "another"]) });
        assert_eq!(read_arguments(&[]).unwrap().queries.len(), QUERIES.len());
        assert!(read_arguments(&words(&["--texts"])).is_err());
        assert!(read_arguments(&words(&["--nope"])).is_err());
    }

    #[test]
    fn the_shipped_texts_are_found_and_an_empty_folder_is_an_error() {
        let shipped = read_arguments(&[]).unwrap().folder;
        assert!(texts_in(&shipped).unwrap().len() >= 30);
        let empty = tempfile::tempdir().unwrap();
        assert!(texts_in(empty.path()).unwrap_err().to_string().contains(".txt files"));
    }

    #[test]
    fn the_shape_is_read_from_the_header() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        fs::write(&path, b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (3, 384), }\n\0\0")
            .unwrap();
        assert_eq!(npy_shape(&path).unwrap(), "(3, 384)");
        fs::write(&path, b"nothing").unwrap();
        assert!(npy_shape(&path).is_err());
    }
}
