//! What may go wrong with an answer.

use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::http::{Answer, Manner, Request};

/// A fault of one answer.
///
/// ```
/// use st_testing::{Fault, LocalHub};
///
/// let hub = LocalHub::start();
/// hub.fault("GET", "model.safetensors", 1, Fault::DropAfter(100));
/// ```
#[derive(Debug, Clone)]
pub enum Fault {
    /// This status, with headers and no body.
    Status(u16, Vec<(&'static str, &'static str)>),
    /// The connection ends before the answer begins.
    Close,
    /// The connection ends after this many bytes of the body.
    DropAfter(usize),
    /// The header announces this many bytes.
    ContentLength(u64),
    /// The first byte of the body is changed.
    Corrupt,
    /// The answer begins after a pause.
    Slow(Duration),
    /// The body pauses after this many bytes.
    Stall(usize, Duration),
    /// The client is sent to another address.
    Redirect(String),
    /// `Range` is not heeded.
    IgnoreRange,
    /// A header has another value.
    Header(&'static str, String),
    /// The body is this.
    Body(&'static str),
}

#[derive(Debug)]
pub(super) struct Planned {
    pub(super) method: String,
    pub(super) part: String,
    pub(super) times: usize,
    pub(super) fault: Fault,
}

pub(super) fn take(planned: &Mutex<Vec<Planned>>, request: &Request) -> Option<Fault> {
    let mut planned = planned.lock().unwrap_or_else(PoisonError::into_inner);
    let matching = planned
        .iter_mut()
        .find(|plan| plan.times > 0 && plan.method == request.method && request.target.contains(plan.part.as_str()))?;
    matching.times -= 1;
    Some(matching.fault.clone())
}

/// The answer that is given in place of the right one.
pub(super) fn replacement(fault: Option<&Fault>) -> Option<Answer> {
    let (status, headers) = match fault? {
        Fault::Status(status, headers) => (*status, headers.clone()),
        Fault::Redirect(target) => (302, vec![("Location", target.as_str())]),
        _ => return None,
    };
    let mut answer = Answer::new(status);
    for (name, value) in headers {
        answer.set(name, value);
    }
    Some(answer)
}

pub(super) fn apply(fault: Option<Fault>, answer: &mut Answer) -> Manner {
    let mut manner = Manner::default();
    match fault {
        None | Some(Fault::Status(..) | Fault::Redirect(_)) => {}
        Some(Fault::Close) => manner.close = true,
        Some(Fault::DropAfter(bytes)) => manner.drop_after = Some(bytes),
        Some(Fault::ContentLength(length)) => manner.content_length = Some(length),
        Some(Fault::Corrupt) => {
            if let Some(first) = answer.body.first_mut() {
                *first ^= 0xff;
            }
        }
        Some(Fault::Slow(pause)) => thread::sleep(pause),
        Some(Fault::Stall(bytes, pause)) => manner.stall = Some((bytes, pause)),
        Some(Fault::IgnoreRange) => manner.ignore_range = true,
        Some(Fault::Header(name, value)) => answer.set(name, &value),
        Some(Fault::Body(text)) => answer.body = text.as_bytes().to_vec(),
    }
    manner
}
