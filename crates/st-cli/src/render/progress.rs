//! Progress bars on stderr, on a terminal only.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use sentence_transformers::hub;

use crate::input::Extent;

/// How often a bar is drawn, per second.
const RATE: u8 = 10;

pub(super) fn target(quiet: bool) -> ProgressDrawTarget {
    // What is not a terminal draws nothing.
    if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(RATE) }
}

pub(super) fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Texts that are done, of those to come.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    extent: Extent,
    texts: AtomicU64,
}

impl Progress {
    pub(crate) fn new(extent: Extent, quiet: bool) -> Self {
        let (length, template) = match &extent {
            Extent::Unknown => (None, "{spinner} {msg}, {elapsed}"),
            Extent::Texts(texts) => (Some(*texts), "{bar:32} {percent}% {msg}, {eta} left"),
            Extent::Bytes(bytes, _) => (Some(*bytes), "{bar:32} {percent}% {msg}, {eta} left"),
        };
        let bar = ProgressBar::with_draw_target(length, target(quiet)).with_style(style(template));
        bar.enable_steady_tick(Duration::from_millis(250));
        Self { bar, extent, texts: AtomicU64::new(0) }
    }

    /// So many more texts are done.
    pub(crate) fn advance(&self, texts: u64) {
        let done = self.texts.fetch_add(texts, Ordering::Relaxed) + texts;
        match &self.extent {
            Extent::Bytes(_, read) => self.bar.set_position(read.load(Ordering::Relaxed)),
            _ => self.bar.set_position(done),
        }
        let seconds = self.bar.elapsed().as_secs_f64();
        let rate = if seconds > 0.0 { done as f64 / seconds } else { 0.0 };
        self.bar.set_message(format!("{done} texts, {rate:.0} a second"));
    }

    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A bar for every file on its way from the Hub.
#[derive(Debug)]
pub(crate) struct Downloads {
    all: MultiProgress,
    bars: Mutex<BTreeMap<String, ProgressBar>>,
}

impl Downloads {
    pub(crate) fn new(quiet: bool) -> Self {
        Self { all: MultiProgress::with_draw_target(target(quiet)), bars: Mutex::default() }
    }

    pub(crate) fn clear(&self) {
        if let Err(error) = self.all.clear() {
            log::debug!("cannot clear the progress bars: {error}");
        }
    }

    fn bars(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, ProgressBar>> {
        self.bars.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl hub::Progress for Downloads {
    fn started(&self, file: &str, total: u64, already: u64) {
        let mut bars = self.bars();
        let bar = bars.entry(file.to_owned()).or_insert_with(|| {
            let template = "{bar:32} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left  {msg}";
            self.all.add(ProgressBar::new(total).with_style(style(template)).with_message(file.to_owned()))
        });
        bar.set_length(total);
        bar.set_position(already);
        bar.reset_eta();
    }

    fn advanced(&self, file: &str, bytes: u64) {
        if let Some(bar) = self.bars().get(file) {
            bar.inc(bytes);
        }
    }

    fn finished(&self, file: &str) {
        if let Some(bar) = self.bars().remove(file) {
            bar.finish_and_clear();
        }
    }
}
