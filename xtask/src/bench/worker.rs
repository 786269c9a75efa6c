//! A contestant's process.

use super::contestants::{Contestant, environment};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

/// A contestant and its process.
pub(crate) struct Running {
    pub(crate) contestant: &'static Contestant,
    pub(crate) worker: Worker,
}

/// A running contestant. It is told to quit when dropped.
#[derive(Debug)]
pub(crate) struct Worker {
    name: String,
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// Seconds from the start of the process to its first embedding.
    pub(crate) cold_start: f64,
    /// Of the library.
    pub(crate) version: String,
}

impl Worker {
    /// Starts it on the given cores, its messages going to `log`, and waits until it is ready.
    pub(crate) fn start(name: &str, command: &[String], cores: &str, threads: usize, log: &Path) -> Result<Self> {
        let messages = fs::File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut process = Command::new("taskset");
        process.args(["--cpu-list", cores]).args(command);
        environment(&mut process, threads);
        process.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(messages);
        let begin = Instant::now();
        let mut child = process.spawn().context("cannot start taskset, which pins the contestants (util-linux)")?;
        let (Some(requests), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("{name} has no pipes");
        };
        let (name, answers) = (name.to_owned(), BufReader::new(answers));
        let mut worker = Self { name, child, requests, answers, cold_start: 0.0, version: String::new() };
        let ready = worker.answer().with_context(|| format!("it did not start; see {}", log.display()))?;
        worker.cold_start = begin.elapsed().as_secs_f64();
        ready["version"].as_str().unwrap_or_default().clone_into(&mut worker.version);
        Ok(worker)
    }

    /// Asks and waits.
    pub(crate) fn ask(&mut self, request: &Value) -> Result<Value> {
        writeln!(self.requests, "{request}").with_context(|| format!("{} is gone", self.name))?;
        self.requests.flush()?;
        self.answer().with_context(|| format!("{} was asked {request}", self.name))
    }

    fn answer(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.answers.read_line(&mut line).with_context(|| format!("{} cannot be read", self.name))?;
        if line.is_empty() {
            bail!("{} ended", self.name);
        }
        let answer: Value = serde_json::from_str(&line).with_context(|| format!("{} says {line}", self.name))?;
        if let Some(error) = answer["error"].as_str() {
            bail!("{}: {error}", self.name);
        }
        Ok(answer)
    }

    /// Its rates, of a process that has some.
    pub(crate) fn rates(&mut self) -> Result<Vec<(String, f64)>> {
        let answer = self.ask(&json!({"op": "rates"}))?;
        let rates = answer["rates"].as_object().with_context(|| format!("{} gives no rates", self.name))?;
        Ok(rates.iter().filter_map(|(name, rate)| Some((name.clone(), rate.as_f64()?))).collect())
    }

    /// Begins to measure peak memory anew.
    pub(crate) fn forget_peak_memory(&self) {
        // Without permission the peak stays that of the whole run, which is no less true.
        drop(fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5"));
    }

    /// Peak resident memory in MiB.
    pub(crate) fn peak_memory(&self) -> Option<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(line.split_whitespace().next()?.parse::<f64>().ok()? / 1024.0)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let told = writeln!(self.requests, "{}", json!({"op": "quit"})).and_then(|()| self.requests.flush());
        if told.is_err() {
            drop(self.child.kill());
        }
        drop(self.child.wait());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_contestant() {
        let log = std::env::temp_dir().join(format!("bench-worker-{}.log", std::process::id()));
        let script =
            r#"echo '{"ready": true, "version": "7"}'; read -r line; echo '{"error": "too hot"}'; read -r line"#;
        let command = ["sh", "-c", script].map(str::to_owned);
        let mut worker = Worker::start("stove", &command, "0", 1, &log).unwrap();
        assert_eq!(worker.version, "7");
        assert!(worker.cold_start > 0.0 && worker.peak_memory().is_some_and(|memory| memory > 0.0));
        let error = format!("{:#}", worker.rates().unwrap_err());
        assert!(error.contains("stove: too hot"), "{error}");
        drop(worker);
        let error = format!("{:#}", Worker::start("mute", &["true".to_owned()], "0", 1, &log).unwrap_err());
        assert!(error.contains("mute ended") && error.contains("bench-worker"), "{error}");
        std::fs::remove_file(log).unwrap();
    }
}
