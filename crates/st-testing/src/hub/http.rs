//! As much of HTTP/1.1 as the clients of a test speak: one request per connection.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use super::Host;

const LONGEST_LINE: u64 = 64 << 10;
const MOST_HEADERS: usize = 100;
const LARGEST_BODY: u64 = 256 << 20;
const PATIENCE: Duration = Duration::from_secs(30);

/// A request as it arrived.
///
/// ```
/// let hub = st_testing::LocalHub::start();
/// let tokens = hub.requests().iter().filter(|request| request.header("Authorization").is_some()).count();
/// assert_eq!(tokens, 0);
/// ```
#[derive(Debug, Clone)]
pub struct Request {
    /// The listener that it came to.
    pub host: Host,
    /// `GET`, `HEAD`, …
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names and values in the order of arrival.
    pub headers: Vec<(String, String)>,
    /// The body, with chunks put together.
    pub body: Vec<u8>,
}

impl Request {
    /// The value of a header, whatever the case of its name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The address without its query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    pub(super) fn json(value: &serde_json::Value) -> Self {
        let mut answer = Self::new(200);
        answer.set("Content-Type", "application/json");
        answer.body = value.to_string().into_bytes();
        answer
    }

    pub(super) fn error(status: u16, code: &str, message: &str) -> Self {
        let mut answer = Self::json(&serde_json::json!({ "error": message }));
        answer.status = status;
        if !code.is_empty() {
            answer.set("X-Error-Code", code);
        }
        answer.set("X-Error-Message", message);
        answer
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.headers.retain(|(key, _)| !key.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
    }
}

/// How the bytes of an answer are written.
#[derive(Debug, Default)]
pub(super) struct Manner {
    pub(super) close: bool,
    pub(super) drop_after: Option<usize>,
    pub(super) stall: Option<(usize, Duration)>,
    pub(super) ignore_range: bool,
    pub(super) content_length: Option<u64>,
}

pub(super) fn read_request(host: Host, stream: &mut TcpStream) -> io::Result<Request> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let first = line(&mut reader)?;
    let mut words = first.split(' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let mut headers = Vec::new();
    loop {
        let text = line(&mut reader)?;
        if text.is_empty() {
            break;
        }
        if headers.len() >= MOST_HEADERS {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if let Some((name, value)) = text.split_once(':') {
            headers.push((name.trim().to_owned(), value.trim().to_owned()));
        }
    }
    let mut request = Request { host, method: method.to_owned(), target: target.to_owned(), headers, body: Vec::new() };
    if request.header("Expect").is_some() {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    if request.header("Transfer-Encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        request.body = chunks(&mut reader)?;
    } else if let Some(length) = request.header("Content-Length").and_then(|value| value.parse::<u64>().ok()) {
        reader.take(length.min(LARGEST_BODY)).read_to_end(&mut request.body)?;
    }
    Ok(request)
}

fn line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut text = String::new();
    if reader.take(LONGEST_LINE).read_line(&mut text)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(text.trim_end().to_owned())
}

fn chunks(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = u64::from_str_radix(line(reader)?.split(';').next().unwrap_or_default(), 16)
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        if body.len() as u64 + size > LARGEST_BODY {
            return Err(io::ErrorKind::InvalidData.into());
        }
        reader.take(size).read_to_end(&mut body)?;
        line(reader)?;
        if size == 0 {
            return Ok(body);
        }
    }
}

pub(super) fn write_answer(
    stream: &mut TcpStream,
    request: &Request,
    answer: &Answer,
    manner: &Manner,
) -> io::Result<()> {
    if manner.close {
        return Ok(());
    }
    let mut status = answer.status;
    let mut body = answer.body.as_slice();
    let mut head = String::new();
    let asked = request.header("Range").filter(|_| !manner.ignore_range && status == 200);
    if let Some(first) = asked.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok())
    {
        let total = body.len();
        if first >= total {
            status = 416;
            body = &[];
            head.push_str(&format!("Content-Range: bytes */{total}\r\n"));
        } else {
            status = 206;
            body = &body[first..];
            head.push_str(&format!("Content-Range: bytes {first}-{}/{total}\r\n", total - 1));
        }
    }
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let length = manner.content_length.unwrap_or(body.len() as u64);
    let has_length = answer.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("Content-Length"));
    if !has_length {
        head.push_str(&format!("Content-Length: {length}\r\n"));
    }
    write!(stream, "HTTP/1.1 {status} Status\r\nConnection: close\r\n{head}\r\n")?;
    if request.method == "HEAD" {
        return Ok(());
    }
    let end = manner.drop_after.map_or(body.len(), |bytes| bytes.min(body.len()));
    if let Some((at, pause)) = manner.stall {
        let at = at.min(end);
        stream.write_all(&body[..at])?;
        stream.flush()?;
        thread::sleep(pause);
        stream.write_all(&body[at..end])?;
    } else {
        stream.write_all(&body[..end])?;
    }
    stream.flush()
}
