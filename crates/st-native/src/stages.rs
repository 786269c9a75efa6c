//! Where a pass spends its time.
#![cfg_attr(unix, expect(unsafe_code, reason = "the thread's clock is a system call"))]

use std::cell::{Cell, RefCell};
use std::time::Duration;

/// A part of a forward pass.
///
/// ```
/// assert_eq!(st_native::limits::Stage::ALL[0].0, "embed");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Look-ups of the tables, their sum, norm and projection.
    Embed,
    /// Query, key and value projection.
    Project,
    /// Scores, softmax and their product with the values.
    Attend,
    /// Output projection and residual.
    Output,
    /// Norms.
    Norm,
    /// Feed-forward network and residual.
    FeedForward,
    /// A convolution beside a block.
    Convolve,
    /// Copying the result.
    Write,
}

impl Stage {
    /// Every stage with its name.
    pub const ALL: [(&'static str, Self); 8] = [
        ("embed", Self::Embed),
        ("project", Self::Project),
        ("attend", Self::Attend),
        ("output", Self::Output),
        ("norm", Self::Norm),
        ("feed-forward", Self::FeedForward),
        ("convolve", Self::Convolve),
        ("write", Self::Write),
    ];
}

/// Processor time per stage, in the order of [`Stage::ALL`].
pub type StageTimes = [Duration; Stage::ALL.len()];

thread_local! {
    static RECORDING: Cell<bool> = const { Cell::new(false) };
    static TIMES: RefCell<(Duration, StageTimes)> = const { RefCell::new((Duration::ZERO, [Duration::ZERO; Stage::ALL.len()])) };
}

/// Runs something and returns what it gave and how long this thread's forward passes spent in each stage meanwhile.
///
/// ```
/// let (result, times) = st_native::limits::record(|| 2 + 2);
/// assert_eq!((result, times.iter().sum()), (4, std::time::Duration::ZERO));
/// ```
pub fn record<R>(work: impl FnOnce() -> R) -> (R, StageTimes) {
    TIMES.with_borrow_mut(|times| *times = (now(), StageTimes::default()));
    RECORDING.set(true);
    let result = work();
    RECORDING.set(false);
    (result, TIMES.with_borrow(|times| times.1))
}

/// Says that a pass begins.
pub(crate) fn begin() {
    if RECORDING.get() {
        TIMES.with_borrow_mut(|times| times.0 = now());
    }
}

/// Says that what ran since the last call was a stage.
pub(crate) fn done(stage: Stage) {
    if RECORDING.get() {
        TIMES.with_borrow_mut(|(last, times)| {
            let now = now();
            times[stage as usize] += now - *last;
            *last = now;
        });
    }
}

/// Processor time of this thread.
#[cfg(unix)]
pub(crate) fn now() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a valid place for the answer.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Wall time since the first call.
#[cfg(not(unix))]
pub(crate) fn now() -> Duration {
    use std::sync::OnceLock;
    use std::time::Instant;
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}
