//! What commands print on tiny models, as snapshots: outputs, and the messages of typical mistakes.
//!
//! Paths, processor and version are masked; scores are rounded to three digits, because instruction sets differ in the last.

use std::process::Command;

use crate::program::{file, program, run, with_model};

const TEXTS: &str =
    "The weather is lovely today.\nIt's so sunny outside!\nHe drove to the stadium.\nThe sun shines today.\n";

/// Standard output, standard error and exit code of a command, without what differs between machines.
fn shown(command: &mut Command, folder: &tempfile::TempDir) -> String {
    let run = run(command);
    let text = format!("exit code {}\n--- output\n{}--- error\n{}", run.code.unwrap_or(-1), run.out, run.err);
    let models = st_testing::tiny_model("tiny-bert");
    let models = models.parent().unwrap().to_string_lossy().into_owned();
    let text = text.replace(&*folder.path().to_string_lossy(), "[FOLDER]").replace(&models, "[MODELS]");
    let masked = text.lines().map(|line| match line.split_whitespace().next() {
        Some(name @ ("instructions" | "threads")) => format!("{name} [MACHINE]"),
        _ => rounded(line),
    });
    masked.collect::<Vec<_>>().join("\n") + "\n"
}

/// A line whose decimal fractions are cut to three digits.
fn rounded(line: &str) -> String {
    let mut out = String::new();
    let mut digits: Option<usize> = None;
    for character in line.chars() {
        digits = match (character, digits) {
            ('.', None) if out.ends_with(|c: char| c.is_ascii_digit()) => Some(0),
            (digit, Some(count)) if digit.is_ascii_digit() => {
                if count >= 3 {
                    digits = Some(count + 1);
                    continue;
                }
                Some(count + 1)
            }
            _ => None,
        };
        out.push(character);
    }
    out
}

#[test]
fn outputs() {
    let folder = tempfile::tempdir().unwrap();
    let texts = file(&folder, "texts.txt", TEXTS);
    let sts = file(
        &folder,
        "sts.tsv",
        "sentence1\tsentence2\tscore\na cat\ta dog\t2.5\nthe sun\tthe sun\t5\na boat\tthe river\t1\nmusic\tbread\t0\n",
    );
    let vectors = folder.path().join("texts.npy");
    let embedded = run(with_model("encode").arg("--input").arg(&texts).arg("--output").arg(&vectors));
    assert_eq!(embedded.code, Some(0), "{}", embedded.err);
    let show = |name: &str, command: &mut Command| insta::assert_snapshot!(name, shown(command, &folder));
    show("output-info", &mut with_model("info"));
    show("output-similarity", with_model("similarity").args(TEXTS.lines()));
    show("output-search", with_model("search").arg("--corpus").arg(&texts).args(["-k", "2", "sunny weather"]));
    show("output-evaluate", with_model("evaluate").arg(format!("sts={}", sts.display())));
    show("output-mine", with_model("mine").arg(&texts));
    show("output-cluster", with_model("cluster").arg(&texts).args(["--threshold", "0.5", "--min-community-size", "2"]));
    show("output-card", with_model("card").arg("--new"));
    let bytes = folder.path().join("texts-int8.npy");
    show(
        "output-quantize",
        program().arg("quantize").arg(&vectors).args(["--precision", "int8", "--output"]).arg(bytes),
    );
}

#[test]
fn mistakes() {
    let folder = tempfile::tempdir().unwrap();
    let rows = file(&folder, "rows.jsonl", "{\"text\": \"a\"}\n");
    let hostile = folder.path().join("hostile");
    std::fs::create_dir(&hostile).unwrap();
    let modules =
        r#"[{"idx": 0, "name": "0", "path": "../../etc", "type": "sentence_transformers.models.Transformer"}]"#;
    std::fs::write(hostile.join("modules.json"), modules).unwrap();
    let show = |name: &str, command: &mut Command| insta::assert_snapshot!(name, shown(command, &folder));
    show("mistake-missing-folder", program().args(["info", "--model"]).arg(folder.path().join("nothing/here/at/all")));
    show("mistake-hostile-folder", program().args(["info", "--model"]).arg(&hostile));
    show("mistake-wrong-column", with_model("encode").arg("--input").arg(&rows).args(["--column", "sentence"]));
    show("mistake-unknown-value", with_model("encode").args(["--precision", "int4", "a"]));
    show("mistake-unknown-option", with_model("encode").args(["--precison", "int8", "a"]));
    show("mistake-no-such-file", with_model("cluster").arg(folder.path().join("none.txt")));
}
