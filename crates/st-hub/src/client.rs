//! One HTTP client: who gets the token, which failures are worth another attempt, how an answer becomes an error.

use std::fmt;
use std::io::Read;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use ureq::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, LOCATION};
use ureq::http::{Method, Request, Response, StatusCode, Uri};
use ureq::{Agent, Body, Proxy, SendBody};

use crate::error::{HubError, HubErrorKind};
use crate::options::HubOptions;

/// An answer of the API is read up to this size.
pub(crate) const LARGEST_ANSWER: u64 = 64 << 20;
/// The content type of the API.
pub(crate) const JSON: &str = "application/json";
/// The content type of the large file protocol.
pub(crate) const LARGE_FILE_JSON: &str = "application/vnd.git-lfs+json";
const LARGEST_ERROR: u64 = 64 << 10;
const MOST_REDIRECTS: usize = 8;
const LONGEST_DELAY: Duration = Duration::from_secs(8);

/// A failed attempt and whether another one may help.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: HubError,
    pub(crate) retry: Retry,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    Never,
    /// No connection came about, or the host was silent.
    Connection,
    /// The host is there: it broke the connection off, or said "later", perhaps how much later.
    Later(Option<Duration>),
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        Self { error, retry: Retry::Never }
    }
}

impl Failure {
    pub(crate) fn connection(error: HubError) -> Self {
        Self { error, retry: Retry::Connection }
    }
}

/// Which failures are repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Only refusals for too many requests: the request must not be carried out twice.
    Limits,
    /// Those in which the host answered: a machine without network falls back to its cache at once.
    Answers,
    /// Those of the connection too.
    Everything,
}

/// What is sent; made anew for every attempt.
pub(crate) enum Payload<'a> {
    Empty,
    Bytes(&'a [u8]),
    Stream { reader: &'a mut dyn Read, length: u64 },
}

pub(crate) struct Client {
    agent: Agent,
    endpoint: String,
    token: Option<String>,
    retries: u32,
    retry_delay: Duration,
    longest_wait: Duration,
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Client")
            .field("endpoint", &self.endpoint)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .finish_non_exhaustive()
    }
}

impl Client {
    pub(crate) fn new(options: &HubOptions) -> Result<Self, HubError> {
        let endpoint = options.hub_endpoint().to_owned();
        let scheme_is_known = endpoint.starts_with("https://") || endpoint.starts_with("http://");
        if !scheme_is_known || origin(&endpoint).is_none() {
            return Err(HubError::new(
                HubErrorKind::InvalidName,
                format!("the Hub endpoint {endpoint:?} is not an http or https address"),
            )
            .with_hint("unset HF_ENDPOINT, or give an address such as https://huggingface.co"));
        }
        let environment = &options.environment;
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("sentence-transformers-rs/", env!("CARGO_PKG_VERSION"), "; st-hub"))
            .accept_encoding("identity")
            .timeout_resolve(Some(environment.etag_timeout))
            .timeout_connect(Some(environment.etag_timeout))
            .timeout_recv_response(Some(environment.etag_timeout.max(environment.download_timeout)))
            .timeout_per_read(Some(environment.download_timeout))
            .timeout_per_write(Some(environment.download_timeout))
            .proxy(if environment.use_system_proxy { Proxy::try_from_env() } else { None })
            .build()
            .new_agent();
        Ok(Self {
            agent,
            endpoint,
            token: options.access_token(),
            retries: options.retries,
            retry_delay: options.retry_delay,
            longest_wait: options.longest_wait,
        })
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Sends one request and returns whatever status comes back; follows no redirect.
    pub(crate) fn send(
        &self,
        method: &Method,
        url: &str,
        headers: &[(&str, &str)],
        payload: Payload<'_>,
    ) -> Result<Response<Body>, Failure> {
        let mut request = Request::builder().method(method.clone()).uri(url);
        if let Some(token) = self.token.as_deref().filter(|_| same_origin(url, &self.endpoint)) {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let bad_request = |error: ureq::http::Error| {
            Failure::from(
                HubError::new(HubErrorKind::Protocol, "the request cannot be written").at_url(url).caused_by(error),
            )
        };
        let outcome = match payload {
            Payload::Empty => self.agent.run(request.body(()).map_err(bad_request)?),
            Payload::Bytes(bytes) => self.agent.run(request.body(bytes).map_err(bad_request)?),
            Payload::Stream { reader, length } => {
                let request = request.header("Content-Length", length.to_string());
                self.agent.run(request.body(SendBody::from_reader(reader)).map_err(bad_request)?)
            }
        };
        outcome.map_err(|error| transport_failure(url, error))
    }

    /// Sends a request without a body and follows redirects; the token goes to the endpoint only.
    ///
    /// With `stop` a redirect whose headers satisfy it is returned as it is.
    pub(crate) fn follow(
        &self,
        method: &Method,
        url: &str,
        headers: &[(&str, &str)],
        stop: impl Fn(&HeaderMap) -> bool,
    ) -> Result<(String, Response<Body>), Failure> {
        let mut url = url.to_owned();
        for _ in 0..MOST_REDIRECTS {
            let response = self.send(method, &url, headers, Payload::Empty)?;
            if !response.status().is_redirection() || response.status() == StatusCode::NOT_MODIFIED {
                return Ok((url, response));
            }
            if stop(response.headers()) {
                return Ok((url, response));
            }
            url = redirect_target(&url, response.headers())?;
        }
        Err(HubError::new(HubErrorKind::Protocol, "too many redirects").at_url(url).into())
    }

    /// Repeats `attempt` while its failure is worth it, with pauses that double.
    pub(crate) fn repeat<T>(
        &self,
        patience: Patience,
        mut attempt: impl FnMut() -> Result<T, Failure>,
    ) -> Result<T, HubError> {
        let mut tried = 0;
        loop {
            match attempt() {
                Ok(value) => return Ok(value),
                Err(failure) => self.pause(patience, tried, failure)?,
            }
            tried += 1;
        }
    }

    /// Waits before attempt `tried + 1`, or returns the failure where it is final.
    pub(crate) fn pause(&self, patience: Patience, tried: u32, failure: Failure) -> Result<(), HubError> {
        let worth_it = match failure.retry {
            Retry::Never => false,
            Retry::Connection => patience == Patience::Everything,
            Retry::Later(_) => patience != Patience::Limits || failure.error.kind() == HubErrorKind::RateLimited,
        };
        if !worth_it || tried >= self.retries {
            return Err(failure.error);
        }
        let delay = match failure.retry {
            Retry::Later(Some(asked)) if asked > self.longest_wait => {
                return Err(failure.error);
            }
            Retry::Later(Some(asked)) => asked,
            _ => self.retry_delay.saturating_mul(1 << tried.min(16)).min(LONGEST_DELAY),
        };
        log::info!("{}; next attempt in {:.1} s", failure.error, delay.as_secs_f32());
        thread::sleep(delay);
        Ok(())
    }

    /// Asks the API and returns its JSON answer; `path` begins with a slash.
    pub(crate) fn get_json(&self, path: &str) -> Result<Value, HubError> {
        let url = format!("{}{path}", self.endpoint);
        self.repeat(Patience::Everything, || {
            let (url, response) = self.follow(&Method::GET, &url, &[("Accept", JSON)], |_| false)?;
            read_json(&url, check_status(&url, response)?)
        })
    }

    /// Posts a body to an address and returns the JSON answer, whatever its length.
    pub(crate) fn post(
        &self,
        url: &str,
        content_type: &str,
        body: &[u8],
        patience: Patience,
    ) -> Result<Value, HubError> {
        self.repeat(patience, || {
            let (url, response) = self.post_once(url, content_type, body)?;
            read_json(&url, check_status(&url, response)?)
        })
    }

    /// One post. A renamed repository is followed within the same host.
    pub(crate) fn post_once(
        &self,
        url: &str,
        content_type: &str,
        body: &[u8],
    ) -> Result<(String, Response<Body>), Failure> {
        let accept = if content_type == LARGE_FILE_JSON { LARGE_FILE_JSON } else { JSON };
        let headers = [("Accept", accept), (CONTENT_TYPE.as_str(), content_type)];
        let mut url = url.to_owned();
        for _ in 0..MOST_REDIRECTS {
            let response = self.send(&Method::POST, &url, &headers, Payload::Bytes(body))?;
            if !matches!(response.status().as_u16(), 307 | 308) {
                return Ok((url, response));
            }
            let target = redirect_target(&url, response.headers())?;
            if !same_origin(&url, &target) {
                return Ok((url, response));
            }
            url = target;
        }
        Err(HubError::new(HubErrorKind::Protocol, "too many redirects").at_url(url).into())
    }

    /// Whether requests to the endpoint carry a token.
    pub(crate) fn has_token(&self) -> bool {
        self.token.is_some()
    }
}

/// Parses the body; an empty body is `null`.
pub(crate) fn read_json(url: &str, response: Response<Body>) -> Result<Value, Failure> {
    let bytes = read_body(url, response, LARGEST_ANSWER)?;
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&bytes).map_err(|error| {
        let message = "the answer is not valid JSON";
        HubError::new(HubErrorKind::Protocol, message)
            .at_url(url)
            .caused_by(error)
            .with_hint("is HF_ENDPOINT the address of a Hub, and no proxy or login page in between?")
            .into()
    })
}

fn read_body(url: &str, response: Response<Body>, limit: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let mut reader = response.into_body().into_reader().take(limit + 1);
    reader.read_to_end(&mut bytes).map_err(|error| Failure::connection(broken_transfer(url, error)))?;
    if bytes.len() as u64 > limit {
        let message = format!("the answer is larger than {limit} bytes");
        return Err(HubError::new(HubErrorKind::TooLarge, message).at_url(url).into());
    }
    Ok(bytes)
}

/// A connection that broke in the middle of a body.
pub(crate) fn broken_transfer(url: &str, error: std::io::Error) -> HubError {
    let timed_out = error.kind() == std::io::ErrorKind::TimedOut || error.to_string().contains("timeout");
    let (kind, message) = if timed_out {
        (HubErrorKind::Timeout, "the transfer stood still for too long")
    } else {
        (HubErrorKind::Network, "the connection broke during the transfer")
    };
    HubError::new(kind, message).at_url(url).caused_by(error)
}

fn transport_failure(url: &str, error: ureq::Error) -> Failure {
    use ureq::Error as E;
    let (kind, message, hint) = match &error {
        E::Timeout(_) => (HubErrorKind::Timeout, "the Hub did not answer in time", RAISE_TIMEOUT),
        E::Io(io) if io.kind() == std::io::ErrorKind::TimedOut => {
            (HubErrorKind::Timeout, "the Hub did not answer in time", RAISE_TIMEOUT)
        }
        E::Tls(_) | E::Rustls(_) => {
            (HubErrorKind::Network, "no secure connection to the Hub", "does a proxy present its own certificate?")
        }
        E::HostNotFound => (HubErrorKind::Network, "the Hub's host name cannot be resolved", CHECK_NETWORK),
        E::BadUri(_) | E::InvalidProxyUrl | E::Http(_) => {
            let message = "the address is not valid";
            return HubError::new(HubErrorKind::Protocol, message).at_url(url).caused_by(error).into();
        }
        E::Protocol(_) => (HubErrorKind::Protocol, "the answer is not valid HTTP", CHECK_NETWORK),
        _ => (HubErrorKind::Network, "no connection to the Hub", CHECK_NETWORK),
    };
    let retry = if broke_off(&error) { Retry::Later(None) } else { Retry::Connection };
    Failure { error: HubError::new(kind, message).at_url(url).caused_by(error).with_hint(hint), retry }
}

/// Whether the host took the connection and then ended it.
fn broke_off(error: &ureq::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    match error {
        ureq::Error::Io(io) => matches!(io.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof),
        ureq::Error::Protocol(_) => true,
        _ => false,
    }
}

const CHECK_NETWORK: &str =
    "check the network and HF_ENDPOINT; with the model in the cache, HF_HUB_OFFLINE=1 avoids every request";
const RAISE_TIMEOUT: &str = "raise HF_HUB_ETAG_TIMEOUT and HF_HUB_DOWNLOAD_TIMEOUT (seconds)";

/// Turns a refusal into a typed error.
pub(crate) fn check_status(url: &str, response: Response<Body>) -> Result<Response<Body>, Failure> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let code = header("X-Error-Code").unwrap_or_default();
    let retry_after = header("Retry-After").and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
    let said = header("X-Error-Message").or_else(|| {
        let bytes = read_body(url, response, LARGEST_ERROR).ok()?;
        serde_json::from_slice::<Value>(&bytes).ok()?.get("error")?.as_str().map(str::to_owned)
    });
    let (kind, what, hint) = match (code.as_str(), status.as_u16()) {
        ("RepoNotFound", _) => (HubErrorKind::RepositoryNotFound, "no such repository", Some(CHECK_NAME)),
        ("RevisionNotFound", _) => (HubErrorKind::RevisionNotFound, "no such revision", None),
        ("EntryNotFound", _) => (HubErrorKind::FileNotFound, "no such file", None),
        ("GatedRepo", _) => (HubErrorKind::Forbidden, "the repository is gated", Some(ACCEPT_TERMS)),
        (_, 401) => (HubErrorKind::Unauthorized, "the Hub asks for a valid token", Some(CHECK_NAME)),
        (_, 403) => (HubErrorKind::Forbidden, "the Hub forbids this", Some(ACCEPT_TERMS)),
        (_, 404 | 410) => (HubErrorKind::FileNotFound, "not found", None),
        (_, 409) => (HubErrorKind::Conflict, "it exists already", None),
        (_, 429) => (HubErrorKind::RateLimited, "too many requests", Some("wait, or give a token: HF_TOKEN")),
        (_, 500..) => (HubErrorKind::Server, "the Hub failed", Some("try again later")),
        (_, 300..=399) => (HubErrorKind::Protocol, "an unexpected redirect", None),
        _ => (HubErrorKind::Refused, "the Hub refused the request", None),
    };
    let said = said.map(|text| format!(": {}", printable(&text))).unwrap_or_default();
    let mut error = HubError::new(kind, format!("{what} (HTTP {}){said}", status.as_u16())).at_url(url);
    if let Some(hint) = hint {
        error = error.with_hint(hint);
    }
    let retry = match status.as_u16() {
        429 | 500 | 502 | 503 | 504 => Retry::Later(retry_after),
        408 => Retry::Connection,
        _ => Retry::Never,
    };
    Err(Failure { error, retry })
}

const CHECK_NAME: &str = "check the name; for a private model give a token: HF_TOKEN, or `hf auth login`";
const ACCEPT_TERMS: &str = "ask for access on the model's page and give a token that has it";

/// A server's text in an error message: bounded, and unable to steer a terminal.
fn printable(text: &str) -> String {
    text.chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn redirect_target(url: &str, headers: &HeaderMap) -> Result<String, HubError> {
    let bad = |message: &str| HubError::new(HubErrorKind::Protocol, message).at_url(url);
    let location = headers
        .get(LOCATION)
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| bad("a redirect without a usable address"))?;
    let target = absolute(url, location).ok_or_else(|| bad("a redirect without a usable address"))?;
    if url.starts_with("https://") && !target.starts_with("https://") {
        return Err(bad("a redirect from https to an insecure address is refused"));
    }
    Ok(target)
}

/// Resolves a `Location` against the address it came from.
pub(crate) fn absolute(base: &str, location: &str) -> Option<String> {
    if location.starts_with("http://") || location.starts_with("https://") {
        return origin(location).map(|_| location.to_owned());
    }
    let (scheme, authority) = origin(base)?;
    if let Some(rest) = location.strip_prefix("//") {
        let target = format!("{scheme}://{rest}");
        return origin(&target).map(|_| target);
    }
    if location.contains("://") {
        return None;
    }
    if location.starts_with('/') {
        return Some(format!("{scheme}://{authority}{location}"));
    }
    let path = base.split(['?', '#']).next().unwrap_or(base);
    let folder = path.rfind('/').filter(|&at| at > scheme.len() + 2).map_or(path, |at| &path[..at]);
    Some(format!("{folder}/{location}"))
}

/// Scheme and authority (host and port, without user info), in lower case.
fn origin(url: &str) -> Option<(String, String)> {
    let uri: Uri = url.parse().ok()?;
    let authority = uri.authority()?;
    if authority.as_str().contains('@') {
        return None;
    }
    Some((uri.scheme_str()?.to_ascii_lowercase(), authority.as_str().to_ascii_lowercase()))
}

pub(crate) fn same_origin(a: &str, b: &str) -> bool {
    match (origin(a), origin(b)) {
        (Some(a), Some(b)) => a == b,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_resolved_against_its_page() {
        let base = "https://hub.example/a/b/resolve/main/x?y=/z";
        let cases = [
            ("https://cdn.example/q", Some("https://cdn.example/q")),
            ("/c/d", Some("https://hub.example/c/d")),
            ("//cdn.example/q", Some("https://cdn.example/q")),
            ("w", Some("https://hub.example/a/b/resolve/main/w")),
            ("file:///etc/passwd", None),
            ("https://user:password@cdn.example/", None),
        ];
        for (location, expected) in cases {
            assert_eq!(absolute(base, location).as_deref(), expected, "{location}");
        }
    }

    #[test]
    fn a_token_is_bound_to_scheme_host_and_port() {
        let endpoint = "https://hub.example";
        assert!(same_origin("https://HUB.example/x", endpoint));
        for other in ["http://hub.example/", "https://hub.example:8443/", "https://hub.example.evil/", "nonsense"] {
            assert!(!same_origin(other, endpoint), "{other}");
        }
    }

    #[test]
    fn a_redirect_does_not_leave_https() {
        let mut headers = HeaderMap::new();
        assert!(redirect_target("https://hub.example/a", &headers).is_err());
        headers.insert(LOCATION, "http://hub.example/b".parse().unwrap());
        assert_eq!(redirect_target("https://hub.example/a", &headers).unwrap_err().kind(), HubErrorKind::Protocol);
        assert_eq!(redirect_target("http://hub.example/a", &headers).unwrap(), "http://hub.example/b");
    }

    #[test]
    fn server_texts_cannot_steer_a_terminal() {
        assert_eq!(printable("a\u{1b}[31mb\n"), "a [31mb ");
        assert_eq!(printable(&"x".repeat(1000)).len(), 300);
    }
}
