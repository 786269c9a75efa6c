//! Reading requests, timing, answering.

use crate::{Contestant, Failure, npy};
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// How the start of a contestant went.
///
/// ```
/// let ready = bench_protocol::Ready { version: "0.1.0".to_owned(), load: 0.2, first: 0.01 };
/// assert!(ready.load > ready.first);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Ready {
    /// The library's version.
    pub version: String,
    /// Seconds that loading the model took.
    pub load: f64,
    /// Seconds that the first embedding took.
    pub first: f64,
}

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Request {
    Encode { path: PathBuf, n: Option<usize>, out: Option<PathBuf>, batch_size: Option<usize> },
    Single { path: PathBuf, n: Option<usize> },
    Tokens { path: PathBuf, n: Option<usize> },
    Rates,
    Quit,
}

/// Says ready and answers requests until `quit` or the end of the input. A failed request is answered with `error`.
///
/// # Errors
/// When the input cannot be read or the output cannot be written.
///
/// ```
/// use bench_protocol::{Contestant, Failure, Ready, Vectors, serve};
///
/// struct Ones;
/// impl Contestant for Ones {
///     fn encode(&mut self, texts: &[String], _: Option<usize>) -> Result<Vectors, Failure> {
///         Ok(Vectors { values: vec![1.0; texts.len()], dimension: 1 })
///     }
/// }
/// let ready = Ready { version: "1".to_owned(), load: 0.0, first: 0.0 };
/// let mut out = Vec::new();
/// serve(&mut Ones, &ready, &b"{\"op\": \"quit\"}\n"[..], &mut out)?;
/// assert!(out.starts_with(b"{\"ready\":true"));
/// # Ok::<(), Failure>(())
/// ```
pub fn serve<C: Contestant>(
    contestant: &mut C,
    ready: &Ready,
    requests: impl BufRead,
    mut answers: impl Write,
) -> Result<(), Failure> {
    let hello =
        json!({"ready": true, "version": ready.version, "import": 0.0, "load": ready.load, "first": ready.first});
    writeln!(answers, "{hello}")?;
    answers.flush()?;
    for line in requests.lines() {
        let line = line?;
        let answer = match serde_json::from_str(&line) {
            Ok(Request::Quit) => break,
            Ok(request) => answer(contestant, &request).unwrap_or_else(|error| json!({"error": error.to_string()})),
            Err(error) => json!({"error": format!("not a request: {error}: {line}")}),
        };
        writeln!(answers, "{answer}")?;
        answers.flush()?;
    }
    Ok(())
}

fn answer<C: Contestant>(contestant: &mut C, request: &Request) -> Result<Value, Failure> {
    match request {
        Request::Encode { path, n, out, batch_size } => {
            let texts = read(path, *n)?;
            let start = Instant::now();
            let vectors = contestant.encode(&texts, *batch_size)?;
            let seconds = start.elapsed().as_secs_f64();
            if let Some(out) = out {
                npy::write(out, &vectors)?;
            }
            Ok(json!({"seconds": seconds, "texts": texts.len(), "dimension": vectors.dimension}))
        }
        Request::Single { path, n } => {
            let mut milliseconds = Vec::new();
            for text in read(path, *n)? {
                let start = Instant::now();
                contestant.encode(&[text], Some(1))?;
                milliseconds.push(start.elapsed().as_secs_f64() * 1e3);
            }
            Ok(json!({"milliseconds": milliseconds}))
        }
        Request::Tokens { path, n } => Ok(json!({"tokens": contestant.tokens(&read(path, *n)?)?})),
        Request::Rates => {
            let rates = contestant.rates()?;
            Ok(
                json!({"rates": rates.into_iter().map(|(name, rate)| (name, json!(rate))).collect::<serde_json::Map<_, _>>()}),
            )
        }
        Request::Quit => Ok(Value::Null),
    }
}

/// One text per line, the first `n` of them.
fn read(path: &Path, n: Option<usize>) -> Result<Vec<String>, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(text.lines().take(n.unwrap_or(usize::MAX)).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Vectors;

    struct Lengths;
    impl Contestant for Lengths {
        fn encode(&mut self, texts: &[String], batch_size: Option<usize>) -> Result<Vectors, Failure> {
            if batch_size == Some(13) {
                return Err("an unlucky batch size".into());
            }
            Ok(Vectors { values: texts.iter().map(|text| text.len() as f32).collect(), dimension: 1 })
        }
    }

    fn ask(requests: &[Value]) -> Vec<Value> {
        let lines: String = requests.iter().map(|request| format!("{request}\n")).collect();
        let mut out = Vec::new();
        let ready = Ready { version: "1".to_owned(), load: 0.5, first: 0.25 };
        serve(&mut Lengths, &ready, lines.as_bytes(), &mut out).unwrap();
        String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn answers_and_writes_vectors() {
        let folder = std::env::temp_dir().join(format!("bench-protocol-serve-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (texts, out) = (folder.join("texts.txt"), folder.join("out.npy"));
        std::fs::write(&texts, "a\nbcd\nef\n").unwrap();
        let answers = ask(&[
            json!({"op": "encode", "path": texts, "n": 2, "out": out, "batch_size": 8}),
            json!({"op": "encode", "path": texts, "batch_size": 13}),
            json!({"op": "single", "path": texts}),
            json!({"op": "tokens", "path": texts}),
            json!({"op": "sing"}),
            json!({"op": "quit"}),
            json!({"op": "single", "path": texts}),
        ]);
        let bytes = std::fs::read(&out).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(answers.len(), 6, "nothing is answered after quit");
        assert_eq!(answers[0]["load"], 0.5);
        assert_eq!(answers[1]["texts"], 2);
        assert_eq!(answers[2]["error"], "an unlucky batch size");
        assert_eq!(answers[3]["milliseconds"].as_array().unwrap().len(), 3);
        assert_eq!(answers[4]["tokens"], Value::Null);
        assert!(answers[5]["error"].as_str().unwrap().contains("not a request"));
        assert_eq!(&bytes[128..], [1.0_f32.to_le_bytes(), 3.0_f32.to_le_bytes()].concat());
    }
}
