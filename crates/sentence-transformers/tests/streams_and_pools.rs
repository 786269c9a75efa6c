//! `encode_iter`, reports, strictness, progress, and worker pools that survive what happens to them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use sentence_transformers::encoder::{
    Backend, Batch, Encoder, EncoderError, EncoderFiles, EncoderInfo, EncoderOptions, Pass, TokenEmbeddings,
};
use sentence_transformers::native::NativeBackend;
use sentence_transformers::{EncodeOptions, ErrorKind, LoadOptions, Precision, Ranges, SentenceTransformer};
use st_testing::tiny_model;

fn model() -> SentenceTransformer {
    SentenceTransformer::load(tiny_model("tiny-bert").to_str().unwrap()).unwrap()
}

fn texts(count: usize) -> Vec<String> {
    (0..count).map(|index| format!("the weather is lovely {}", "today ".repeat(index % 9))).collect()
}

#[test]
fn a_stream_gives_the_rows_of_a_list() {
    let (model, texts) = (model(), texts(100));
    let whole = model.encode(&texts).unwrap();
    let options = EncodeOptions::new().chunk_size(7);
    let mut rows = Vec::new();
    for chunk in model.encode_iter(texts.iter(), &options).unwrap() {
        let chunk = chunk.unwrap();
        assert_eq!(chunk.start * whole.dimension(), rows.len());
        assert!(chunk.texts.len() <= 7);
        rows.extend_from_slice(chunk.embeddings.as_slice());
    }
    assert_eq!(rows, whole.as_slice());
    assert_eq!(model.encode_iter(Vec::<String>::new(), &options).unwrap().count(), 0);
}

#[test]
fn dropping_a_stream_stops_reading() {
    let read = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&read);
    let endless = std::iter::repeat_with(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        "endless"
    });
    let model = model();
    let mut stream = model.encode_iter(endless, &EncodeOptions::new().chunk_size(10)).unwrap();
    stream.next().unwrap().unwrap();
    drop(stream);
    assert_eq!(read.load(Ordering::Relaxed), 10);
}

#[test]
fn a_stream_in_int8_wants_ranges() {
    let model = model();
    let options = EncodeOptions::new().precision(Precision::Int8);
    let error = model.encode_iter(texts(3), &options).unwrap_err();
    assert!(error.hint().unwrap().contains("Ranges"), "{error}");
    let sample = model.encode(&texts(20)).unwrap();
    let options = options.ranges(Ranges::from_embeddings(&sample).unwrap());
    let chunk = model.encode_iter(texts(3), &options).unwrap().next().unwrap().unwrap();
    assert_eq!(chunk.quantized.unwrap().as_i8().unwrap().len(), 3 * 32);
}

#[test]
fn truncation_is_reported_and_can_be_refused() {
    let model = model();
    let limit = model.max_seq_length().unwrap();
    let texts = ["short".to_owned(), "the ".repeat(limit + 10), "also short".to_owned()];
    let report = model.encode_report(&texts, &EncodeOptions::new()).unwrap();
    assert_eq!(report.truncated.len(), 1);
    assert_eq!((report.truncated[0].index, report.truncated[0].kept), (1, limit));
    assert_eq!(report.truncated[0].lost, limit + 10 + 2 - limit);
    let error = model.encode_with(&texts, &EncodeOptions::new().strict(true)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLong);
    assert!(error.to_string().starts_with("text 1 has"), "{error}");
    let mut longer = model;
    longer.set_max_seq_length(Some(8));
    assert_eq!(longer.tokenize(&texts).unwrap().texts()[1].kept(), 8);
}

#[test]
fn progress_reaches_the_total() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    let options = EncodeOptions::new().progress(move |progress| sink.lock().unwrap().push(progress));
    model().encode_with(&texts(300), &options).unwrap();
    let seen = seen.lock().unwrap();
    assert!(seen.len() > 2);
    assert_eq!(seen.iter().map(|progress| progress.done).max(), Some(300));
    assert!(seen.iter().all(|progress| progress.total == 300));
}

#[test]
fn a_pool_gives_the_rows_of_one_call_and_serves_many() {
    let model = Arc::new(model());
    let texts = texts(57);
    let whole = model.encode(&texts).unwrap();
    let pool = SentenceTransformer::start_pool(&model, 3).unwrap();
    for size in [None, Some(1), Some(10), Some(1000)] {
        let mut options = EncodeOptions::new();
        if let Some(size) = size {
            options = options.chunk_size(size);
        }
        assert_eq!(pool.encode_with(&texts, &options).unwrap(), whole);
    }
    let int8 = EncodeOptions::new().precision(Precision::Int8);
    assert_eq!(pool.encode_quantized(&texts, &int8).unwrap(), model.encode_quantized(&texts, &int8).unwrap());
    assert_eq!(pool.encode_with::<&str>(&[], &EncodeOptions::new()).unwrap().rows(), 0);
    pool.stop();
    let error = pool.encode_with(&texts, &EncodeOptions::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Worker);
}

/// An encoder that panics on a token, as a bug in a backend would.
#[derive(Debug)]
struct Fragile(Box<dyn Encoder>, u32);

#[derive(Debug)]
struct FragileBackend(u32);

impl Encoder for Fragile {
    fn info(&self) -> &EncoderInfo {
        self.0.info()
    }

    fn forward(&self, batch: &Batch, pass: &Pass) -> Result<TokenEmbeddings, EncoderError> {
        assert!(!batch.ids().contains(&self.1), "token {} is poison", self.1);
        self.0.forward(batch, pass)
    }
}

impl Backend for FragileBackend {
    fn name(&self) -> &'static str {
        "fragile"
    }

    fn load(&self, files: &EncoderFiles, options: &EncoderOptions) -> Result<Box<dyn Encoder>, EncoderError> {
        Ok(Box::new(Fragile(NativeBackend::new().load(files, options)?, self.0)))
    }
}

#[test]
fn a_dead_worker_is_an_error_and_not_a_hang() {
    let poison = model().tokenize(&["outside"]).unwrap().texts()[0].ids()[1];
    let path = tiny_model("tiny-bert");
    let fragile = LoadOptions::new().backend(Arc::new(FragileBackend(poison))).load(path.to_str().unwrap()).unwrap();
    let pool = SentenceTransformer::start_pool(&Arc::new(fragile), 2).unwrap();
    let options = EncodeOptions::new().chunk_size(1);
    assert_eq!(pool.encode_with(&["the weather"; 4], &options).unwrap().rows(), 4);
    // The first poison kills one worker, the second the other; nobody waits for an answer that cannot come.
    for _ in 0..2 {
        let error = pool.encode_with(&["outside"], &options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Worker);
        assert!(error.to_string().contains("is poison"), "{error}");
    }
    let error = pool.encode_with(&["the weather"; 40], &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Worker);
    assert!(error.hint().unwrap().contains("new pool"), "{error}");
}

#[test]
fn two_callers_share_one_model() {
    let model = Arc::new(model());
    let texts = texts(64);
    let whole = model.encode(&texts).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(model.encode(&texts).unwrap(), whole));
        }
    });
}
