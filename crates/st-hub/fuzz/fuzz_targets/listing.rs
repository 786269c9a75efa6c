//! The listing of a repository, from a server on the loopback interface that gives the bytes as every answer's body:
//! nothing is written beside the cache.

#![no_main]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use st_hub::{HubOptions, Selection, Source};
use tempfile::TempDir;

static BODY: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Place {
    folder: TempDir,
    options: HubOptions,
}

fn place() -> &'static Place {
    static PLACE: OnceLock<Place> = OnceLock::new();
    PLACE.get_or_init(|| {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                drop(serve(stream));
            }
        });
        let folder = TempDir::new().unwrap();
        let options = HubOptions::new()
            .endpoint(endpoint)
            .cache_folder(folder.path().join("cache"))
            .without_token()
            .retries(0, Duration::ZERO);
        Place { folder, options }
    })
}

/// Answers one request. A thread for each connection would look like a leak to the sanitizer while it ends.
fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let body = BODY.lock().unwrap().clone();
    let length = body.len();
    let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n").into_bytes();
    if !first.starts_with("HEAD") {
        answer.extend(body);
    }
    stream.write_all(&answer)
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Place { folder, options } = place();
    *BODY.lock().unwrap() = bytes.to_vec();
    let source = Source::resolve("organisation/name", options).unwrap();
    let _ = source.snapshot(&Selection::everything());
    let beside = std::fs::read_dir(folder.path()).unwrap().flatten();
    assert!(beside.map(|entry| entry.file_name()).all(|name| name == "cache"));
});
