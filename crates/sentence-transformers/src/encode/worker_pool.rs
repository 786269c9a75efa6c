//! [`WorkerPool`]: several workers that each encode whole chunks.
//!
//! The original starts processes, because Python threads cannot compute at the same time; here workers are threads over
//! one model in memory. What callers rely on is kept: the chunking rule, results in order, a pool that serves many calls,
//! and that a stopped pool refuses. One thing is repaired: int8 and uint8 ranges are taken over all rows of the call, not
//! chunk by chunk.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use st_vectors::{Embeddings, QuantizedEmbeddings, quantize_embeddings};

use crate::input::{AsInput, Input};
use crate::{Error, ErrorKind, Image, Result, SentenceTransformer};

use super::EncodeOptions;

/// Largest chunk of the default chunking rule.
const LARGEST_CHUNK: usize = 5000;
/// Chunks per worker of the default chunking rule.
const CHUNKS_PER_WORKER: usize = 10;

/// Workers over one model; see [`SentenceTransformer::start_pool`].
///
/// ```no_run
/// use std::sync::Arc;
/// use sentence_transformers::{EncodeOptions, SentenceTransformer};
///
/// let model = Arc::new(SentenceTransformer::load("all-MiniLM-L6-v2")?);
/// let pool = SentenceTransformer::start_pool(&model, 2)?;
/// let embeddings = pool.encode_with(&["one", "two", "three"], &EncodeOptions::new().chunk_size(1))?;
/// assert_eq!(embeddings.rows(), 3);
/// pool.stop();
/// # Ok::<(), sentence_transformers::Error>(())
/// ```
#[derive(Debug)]
pub struct WorkerPool {
    model: Arc<SentenceTransformer>,
    jobs: Mutex<Option<Sender<Job>>>,
    workers: Mutex<Vec<JoinHandle<()>>>,
    count: usize,
}

struct Job {
    chunk: usize,
    texts: Vec<Owned>,
    options: EncodeOptions,
    reply: Sender<(usize, Result<Embeddings>)>,
}

/// A text, a pair, or an image that a worker owns.
enum Owned {
    Text(String),
    Pair(String, String),
    Image(Image),
}

impl AsInput for Owned {
    fn as_input(&self) -> Input<'_> {
        match self {
            Self::Text(text) => Input::Text(text),
            Self::Pair(first, second) => Input::Pair(first, second),
            Self::Image(image) => Input::Image(image),
        }
    }
}

impl SentenceTransformer {
    /// Starts `workers` workers over this model, each on one thread.
    ///
    /// # Errors
    /// When there are none, or a thread cannot be started.
    pub fn start_pool(model: &Arc<Self>, workers: usize) -> Result<WorkerPool> {
        if workers == 0 {
            return Err(Error::new(ErrorKind::Argument, "a pool needs at least one worker"));
        }
        let (sender, receiver) = channel();
        let receiver = Arc::new(Mutex::new(receiver));
        let mut handles = Vec::with_capacity(workers);
        for index in 0..workers {
            let (model, receiver) = (Arc::clone(model), Arc::clone(&receiver));
            let handle = std::thread::Builder::new()
                .name(format!("encode-worker-{index}"))
                .spawn(move || work(&model, &receiver))
                .map_err(|error| Error::new(ErrorKind::Worker, "cannot start a worker").with_source(error))?;
            handles.push(handle);
        }
        Ok(WorkerPool {
            model: Arc::clone(model),
            jobs: Mutex::new(Some(sender)),
            workers: Mutex::new(handles),
            count: workers,
        })
    }
}

/// A worker's life: take a chunk, encode it, reply. It ends with the pool, or when encoding panics; then the chunk's
/// caller is told, and once no worker is left, the queue is dropped and every caller still waiting is told too.
fn work(model: &SentenceTransformer, jobs: &Mutex<Receiver<Job>>) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        let encoded = catch_unwind(AssertUnwindSafe(|| model.encode_report(&job.texts, &job.options)));
        let died = encoded.is_err();
        let result = encoded.unwrap_or_else(|panic| Err(death(panic.as_ref())));
        // A caller that has given up is no reason to stop.
        let _ = job.reply.send((job.chunk, result.map(|encoded| encoded.embeddings)));
        if died {
            return;
        }
    }
}

fn death(panic: &(dyn std::any::Any + Send)) -> Error {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    Error::new(ErrorKind::Worker, format!("a worker of the pool died: {message}"))
        .with_hint("start a new pool; if it happens again with the same texts, report it")
}

impl WorkerPool {
    /// Number of workers that were started.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.count
    }

    /// Sentence embeddings, computed by all workers; otherwise as [`SentenceTransformer::encode_with`].
    ///
    /// Texts go out in contiguous chunks of [`EncodeOptions::chunk_size`], by default
    /// `max(1, min(⌈N / workers / 10⌉, 5000))`.
    ///
    /// # Errors
    /// As there; and when a worker dies or the pool was stopped.
    pub fn encode_with<T: AsInput>(&self, texts: &[T], options: &EncodeOptions) -> Result<Embeddings> {
        options.require_float()?;
        self.encode_rows(texts, options)
    }

    /// [`WorkerPool::encode_with`] in the precision of the options; ranges come from all rows of the call.
    ///
    /// # Errors
    /// As there.
    pub fn encode_quantized<T: AsInput>(&self, texts: &[T], options: &EncodeOptions) -> Result<QuantizedEmbeddings> {
        let rows = self.encode_rows(texts, options)?;
        Ok(quantize_embeddings(&rows, options.precision, options.ranges.as_ref(), None)?)
    }

    /// Ends the workers, after the chunks that they are at. A stopped pool refuses further calls.
    pub fn stop(&self) {
        drop(self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take());
        let workers = std::mem::take(&mut *self.workers.lock().unwrap_or_else(PoisonError::into_inner));
        for worker in workers {
            // A worker that died has already told its caller.
            let _ = worker.join();
        }
    }

    fn encode_rows<T: AsInput>(&self, texts: &[T], options: &EncodeOptions) -> Result<Embeddings> {
        let chunk_size = match options.chunk_size {
            Some(0) => return Err(Error::new(ErrorKind::Argument, "chunk_size should be at least 1")),
            Some(size) => size,
            None => chunk_size(texts.len(), self.count),
        };
        let stopped = || {
            Error::new(ErrorKind::Worker, "the pool has no workers any more: it was stopped, or they all died")
                .with_hint("start a new pool")
        };
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(stopped)?;
        // Errors that concern the call as a whole come before any work, and for empty calls too.
        self.model.prepare_prompt(options)?;
        let (reply, replies) = channel();
        let mut options_of_worker = options.clone().threads(1);
        options_of_worker.progress = None;
        let chunks = texts.chunks(chunk_size).len();
        for (chunk, texts) in texts.chunks(chunk_size).enumerate() {
            let texts = texts.iter().map(|text| own(text.as_input())).collect();
            let job = Job { chunk, texts, options: options_of_worker.clone(), reply: reply.clone() };
            jobs.send(job).map_err(|_| stopped())?;
        }
        drop((reply, jobs));
        let mut parts: Vec<Option<Embeddings>> = vec![None; chunks];
        let mut done = 0;
        for _ in 0..chunks {
            let (chunk, result) = replies.recv().map_err(|_| stopped())?;
            let part = result?;
            done += part.rows();
            parts[chunk] = Some(part);
            options.report(done, texts.len());
        }
        let dimension = self.model.encode_report::<&str>(&[], options)?.embeddings.dimension();
        let mut rows = Vec::with_capacity(texts.len() * dimension);
        for part in parts.into_iter().flatten() {
            rows.append(&mut part.into_vec());
        }
        Ok(Embeddings::new(rows, texts.len(), dimension)?)
    }
}

impl Drop for WorkerPool {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The original's rule: ten chunks per worker, of 1 to 5,000 texts.
fn chunk_size(texts: usize, workers: usize) -> usize {
    texts.div_ceil(workers * CHUNKS_PER_WORKER).clamp(1, LARGEST_CHUNK)
}

fn own(input: Input<'_>) -> Owned {
    match input {
        Input::Text(text) => Owned::Text(text.to_owned()),
        Input::Pair(first, second) => Owned::Pair(first.to_owned(), second.to_owned()),
        Input::Image(image) => Owned::Image(image.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::chunk_size;

    #[test]
    fn chunks_follow_the_rule_of_the_original() {
        assert_eq!(chunk_size(0, 4), 1);
        assert_eq!(chunk_size(40, 4), 1);
        assert_eq!(chunk_size(41, 4), 2);
        assert_eq!(chunk_size(10_000_000, 4), 5000);
    }
}
