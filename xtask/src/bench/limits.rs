//! What the machine allows, measured between the rounds.

use super::options::Options;
use super::places::Places;
use super::worker::Worker;
use super::workloads::Model;
use anyhow::Result;
use std::collections::BTreeMap;

/// The processes that measure it.
pub(crate) struct Limits {
    workers: Vec<Worker>,
}

impl Limits {
    pub(crate) fn start(places: &Places, options: &Options, model: &Model) -> Result<Self> {
        let threads = options.threads.to_string();
        let mut commands = vec![vec![places.rust_opponents.join("limits").display().to_string(), threads.clone()]];
        if !model.table {
            let folder = places.model_folder(model).display().to_string();
            commands.push(places.python("worker.py", &["limits", &folder, &threads]));
        }
        let log = places.folder.join("limits.log");
        let start = |command: &Vec<String>| Worker::start("limits", command, &options.cores, options.threads, &log);
        Ok(Self { workers: commands.iter().map(start).collect::<Result<_>>()? })
    }

    /// Measures once more, into operations per second by name.
    pub(crate) fn measure(&mut self, found: &mut BTreeMap<String, Vec<f64>>) -> Result<()> {
        for worker in &mut self.workers {
            for (name, rate) in worker.rates()? {
                found.entry(name).or_default().push(rate);
            }
        }
        Ok(())
    }
}
