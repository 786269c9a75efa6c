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
        metadata.level() <= log::max_level()
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
