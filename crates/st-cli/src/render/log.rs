//! [`Log`]: the library's warnings on stderr.

use log::{LevelFilter, Metadata, Record};

/// Writes `warning: …` and, when asked, what is worth knowing.
#[derive(Debug)]
pub(crate) struct Log;

impl Log {
    /// Starts it. A second start, which only tests make, changes nothing.
    pub(crate) fn install(level: LevelFilter) {
        if log::set_logger(&Self).is_ok() {
            log::set_max_level(level);
        }
    }
}

impl log::Log for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // What other crates warn of concerns their authors: the seed of a hash table that did not fit, say.
        let target = metadata.target();
        let ours = target.starts_with("sentence_transformers") || target.starts_with("st_");
        metadata.level() <= log::max_level() && (ours || metadata.level() == log::Level::Error)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let level = match record.level() {
                log::Level::Warn => "warning".to_owned(),
                other => other.as_str().to_lowercase(),
            };
            eprintln!("{level}: {}", record.args());
        }
    }

    fn flush(&self) {}
}
