//! The program as a child process, with a tiny model and nothing of the user's environment that matters.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Width of the tiny model's embeddings.
pub(crate) const DIMENSION: usize = 32;

/// A command of the program.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sentence-transformers"));
    command.env("HF_HUB_OFFLINE", "1").env_remove("HF_TOKEN").stdin(Stdio::null());
    command
}

/// A command with the tiny model.
pub(crate) fn with_model(name: &str) -> Command {
    let mut command = program();
    command.arg(name).arg("--model").arg(st_testing::tiny_model("tiny-bert"));
    command
}

/// What a run left.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs to the end.
pub(crate) fn run(command: &mut Command) -> Run {
    ended(command.output().unwrap())
}

pub(crate) fn ended(output: Output) -> Run {
    Run {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs to the end, which must be a good one and quiet.
pub(crate) fn good(command: &mut Command) -> String {
    let run = run(command);
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""), "{}", run.out);
    run.out
}

/// Runs to the end, which must be of that code; gives stderr.
pub(crate) fn bad(command: &mut Command, code: i32) -> String {
    let run = run(command);
    assert_eq!(run.code, Some(code), "{}", run.err);
    run.err
}

/// The embedding on every JSON line.
pub(crate) fn embeddings(lines: &str) -> Vec<Vec<f32>> {
    let row = |line: &str| -> Vec<f32> {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        value["embedding"].as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
    };
    lines.lines().map(row).collect()
}

/// Rows, columns and bytes of a `.npy` file.
pub(crate) fn npy(path: &Path) -> (usize, usize, String, Vec<u8>) {
    let bytes = fs::read(path).unwrap();
    let header = String::from_utf8(bytes[10..128].to_vec()).unwrap();
    let between = |start: &str, end: &str| {
        let (_, rest) = header.split_once(start).unwrap();
        rest.split_once(end).unwrap().0.to_owned()
    };
    let shape = between("'shape': (", ")");
    let (rows, columns) = shape.split_once(", ").unwrap();
    (rows.parse().unwrap(), columns.parse().unwrap(), between("'descr': '", "'"), bytes[128..].to_vec())
}

/// Numbers of little-endian bytes.
pub(crate) fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect()
}

/// A file in a folder.
pub(crate) fn file(folder: &tempfile::TempDir, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    path
}
