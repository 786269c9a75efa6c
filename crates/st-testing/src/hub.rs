//! A small Hub on the loopback interface: the protocol's download and upload halves, and faults on demand.
//!
//! Two listeners stand for two hosts: the Hub itself, and the storage that it sends clients to for large files.

mod faults;
mod http;
mod routes;
mod store;
mod uploads;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

pub use faults::Fault;
pub use http::Request;
use store::Store;

/// Which of the two listeners a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    /// The Hub.
    Hub,
    /// The storage of large files.
    Storage,
}

#[derive(Debug)]
struct Shared {
    hub: SocketAddr,
    storage: SocketAddr,
    stopped: AtomicBool,
    store: Mutex<Store>,
    requests: Mutex<Vec<Request>>,
    faults: Mutex<Vec<faults::Planned>>,
}

impl Shared {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A Hub that lives as long as this value.
///
/// ```
/// let hub = st_testing::LocalHub::start();
/// hub.add("org/name", &[("config.json", b"{}".as_slice())]);
/// assert!(hub.url().starts_with("http://127.0.0.1:"));
/// assert!(hub.requests().is_empty());
/// ```
#[derive(Debug)]
pub struct LocalHub(Arc<Shared>);

impl LocalHub {
    /// Listens on two free ports of 127.0.0.1.
    ///
    /// # Panics
    /// Where the loopback interface cannot be used.
    #[must_use]
    pub fn start() -> Self {
        let listen = || TcpListener::bind(("127.0.0.1", 0)).expect("a free port on the loopback interface");
        let (hub, storage) = (listen(), listen());
        let address = |listener: &TcpListener| listener.local_addr().expect("the address of a bound listener");
        let shared = Arc::new(Shared {
            hub: address(&hub),
            storage: address(&storage),
            stopped: AtomicBool::new(false),
            store: Mutex::default(),
            requests: Mutex::default(),
            faults: Mutex::default(),
        });
        for (host, listener) in [(Host::Hub, hub), (Host::Storage, storage)] {
            let shared = Arc::clone(&shared);
            thread::spawn(move || accept(&shared, host, &listener));
        }
        Self(shared)
    }

    /// The Hub's address: the endpoint of a client.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.0.hub)
    }

    /// Commits small files to `main` of a model, which is created where it does not exist; returns the commit.
    ///
    /// An id of the form `datasets/organisation/name` is a data set.
    pub fn add(&self, id: &str, files: &[(&str, &[u8])]) -> String {
        self.0.store().commit(id, "main", files, false)
    }

    /// The same with files that are kept in the storage (LFS).
    pub fn add_large(&self, id: &str, files: &[(&str, &[u8])]) -> String {
        self.0.store().commit(id, "main", files, true)
    }

    /// Commits small files to a branch.
    pub fn add_to(&self, id: &str, branch: &str, files: &[(&str, &[u8])]) -> String {
        self.0.store().commit(id, branch, files, false)
    }

    /// Lists a name that needs not be a file.
    pub fn list_also(&self, id: &str, name: &str) {
        self.0.store().repository(id).also_listed.push(name.to_owned());
    }

    /// Hides a model from everyone without this token.
    pub fn make_private(&self, id: &str, token: &str) {
        self.0.store().repository(id).token = Some(token.to_owned());
    }

    /// Takes writes from the holder of this token only.
    pub fn require_write_token(&self, token: &str) {
        self.0.store().write_token = Some(token.to_owned());
    }

    /// Sends large uploads in parts of this many bytes.
    pub fn upload_in_parts(&self, bytes: usize) {
        self.0.store().part_size = Some(bytes);
    }

    /// Says of files with this name that a commit ignores them.
    pub fn ignore(&self, name: &str) {
        self.0.store().ignored.push(name.to_owned());
    }

    /// Answers the next `times` requests of `method` whose address contains `part` with a fault.
    pub fn fault(&self, method: &str, part: &str, times: usize, fault: Fault) {
        let planned = faults::Planned { method: method.to_owned(), part: part.to_owned(), times, fault };
        self.0.faults.lock().unwrap_or_else(PoisonError::into_inner).push(planned);
    }

    /// All requests so far, in the order of their arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.0.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many requests of `method` had `part` in their address.
    #[must_use]
    pub fn count(&self, method: &str, part: &str) -> usize {
        self.requests().iter().filter(|request| request.method == method && request.target.contains(part)).count()
    }

    /// Forgets the requests so far.
    pub fn forget_requests(&self) {
        self.0.requests.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The files of a model at a branch or commit; none where there is no such thing.
    #[must_use]
    pub fn files(&self, id: &str, revision: &str) -> Option<BTreeMap<String, Vec<u8>>> {
        self.0.store().files(id, revision)
    }

    /// Whether a model is there, and whether it was created as private.
    #[must_use]
    pub fn is_private(&self, id: &str) -> Option<bool> {
        self.0.store().existing(id).map(|repository| repository.private)
    }

    /// The messages of the commits that clients made: summary and description, oldest first.
    #[must_use]
    pub fn messages(&self, id: &str) -> Vec<(String, String)> {
        self.0.store().existing(id).map(|repository| repository.messages.clone()).unwrap_or_default()
    }

    /// Refuses every connection from now on, like a host that is down.
    pub fn stop(&self) {
        self.0.stopped.store(true, Ordering::SeqCst);
        for address in [self.0.hub, self.0.storage] {
            // Wakes the listener, which then closes; a refused connection means that it has.
            drop(TcpStream::connect(address));
        }
    }
}

impl Drop for LocalHub {
    fn drop(&mut self) {
        self.stop();
    }
}

fn accept(shared: &Arc<Shared>, host: Host, listener: &TcpListener) {
    for stream in listener.incoming() {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            // A client that goes away in the middle is part of many tests.
            drop(serve(&shared, host, stream));
        });
    }
}

fn serve(shared: &Shared, host: Host, mut stream: TcpStream) -> std::io::Result<()> {
    let request = http::read_request(host, &mut stream)?;
    shared.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
    let fault = faults::take(&shared.faults, &request);
    let mut answer = match (faults::replacement(fault.as_ref()), host) {
        // What is refused is not carried out.
        (Some(answer), _) => answer,
        (None, Host::Hub) => routes::hub(shared, &request),
        (None, Host::Storage) => routes::storage(shared, &request),
    };
    let manner = faults::apply(fault, &mut answer);
    http::write_answer(&mut stream, &request, &answer, &manner)
}
