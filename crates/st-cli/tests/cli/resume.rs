//! Runs that are killed in the middle and continued.

use crate::program::{bad, ended, file, good, npy, run, with_model};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

const ROWS: usize = 700;
const PART: &str = "64";

fn text(row: usize) -> String {
    format!("text number {row} about {}\n", ["cats", "dogs", "rain", "trains"][row % 4])
}

fn encode(input: &Path, output: &Path) -> Command {
    let mut command = with_model("encode");
    command.args(["--rows-per-part", PART, "--input"]).arg(input).arg("--output").arg(output);
    command
}

/// Begins a run over rows that come slowly, and waits until some parts are written. The run then waits for more rows.
fn begun(command: &mut Command, parts: &Path) -> (Child, ChildStdin) {
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    for row in 0..200 {
        input.write_all(text(row).as_bytes()).unwrap();
    }
    let start = Instant::now();
    while !parts.join("part-000002.parquet").exists() {
        assert!(start.elapsed() < Duration::from_secs(60), "no third part was written");
        std::thread::sleep(Duration::from_millis(20));
    }
    (child, input)
}

#[test]
fn a_killed_run_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let all: String = (0..ROWS).map(text).collect();
    let input = file(&folder, "all.txt", &all);
    for (name, extra) in [("a.parquet", &[][..]), ("b.parquet", &["--precision", "int8"]), ("c.npy", &["--resume"])] {
        let whole = folder.path().join(format!("whole-{name}"));
        good(encode(&input, &whole).args(extra));
        let output = folder.path().join(name);
        let parts = folder.path().join(format!("{name}.parts"));
        let (mut child, _open) = begun(encode(Path::new("-"), &output).args(extra), &parts);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!output.exists(), "a killed run left an output");

        let again: Vec<&str> =
            extra.iter().copied().filter(|&option| option != "--resume").chain(["--resume"]).collect();
        good(encode(&input, &output).args(&again));
        assert!(fs::read(&output).unwrap() == fs::read(&whole).unwrap(), "{name} differs from the uninterrupted run");
        assert!(!parts.exists(), "the parts were left");
    }
    assert_eq!(npy(&folder.path().join("c.npy")).0, ROWS);
}

#[test]
fn a_run_is_continued_only_as_it_was_begun() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("a.parquet");
    let parts = folder.path().join("a.parquet.parts");
    let (mut child, _open) = begun(&mut encode(Path::new("-"), &output), &parts);
    let input = file(&folder, "all.txt", (0..ROWS).map(text).collect::<String>());
    let refused = |command: &mut Command, message: &str| {
        let error = bad(command, 1);
        assert!(error.contains(message) && error.contains("hint: "), "{error}");
    };
    refused(encode(&input, &output).arg("--resume"), "another run writes into");
    child.kill().unwrap();
    child.wait().unwrap();
    refused(&mut encode(&input, &output), "an unfinished run of 192 rows");
    refused(encode(&input, &output).args(["--resume", "--normalize"]), "--normalize was false and is now true");
    let other = file(&folder, "other.txt", (1..ROWS).map(text).collect::<String>());
    refused(encode(&other, &output).arg("--resume"), "the first 192 rows of the input have changed");
    assert!(parts.join("part-000002.parquet").exists(), "a refusal must not harm the run");
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_a_run_that_can_be_continued() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("a.parquet");
    let parts = folder.path().join("a.parquet.parts");
    let (child, mut open) = begun(&mut encode(Path::new("-"), &output), &parts);
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    std::thread::sleep(Duration::from_millis(300));
    for row in 200..300 {
        open.write_all(text(row).as_bytes()).unwrap();
    }
    drop(open);
    let ended = ended(child.wait_with_output().unwrap());
    assert_eq!(ended.code, Some(130), "{}", ended.err);
    assert!(ended.err.contains("error: interrupted\nhint: "), "{}", ended.err);
    assert!(ended.err.contains("rows are safe; the same command with --resume"), "{}", ended.err);
    let input = file(&folder, "all.txt", (0..ROWS).map(text).collect::<String>());
    assert_eq!(run(encode(&input, &output).arg("--resume")).code, Some(0));
}
