//! The blocking HTTP client: sends a request and returns the whole response.
//!
//! Each calling thread has its state runtime, so that callers do not block each other, and keeps its connections open. A forked child
//! starts with new ones. It leaks the inherited ones instead of closing them, because they belong to the parent.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder, Url};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::address::AddressError;
use super::builder::{Peer, client_builder, follow_same_origin, has_certificates, is_local, reason};
use super::client::{SendErrorKind, kind_of};
use crate::sys::fork::fork_generation;

/// Clients that a thread keeps. If it uses more, the oldest one and its connections are dropped.
const MAX_CLIENTS: usize = 8;
/// Bytes of a response body, unless the caller sets more. The services' responses have a few hundred.
const MAX_RESPONSE_BYTES: usize = 4 << 20;
/// Idle connections are closed after this time. Servers keep theirs longer, and a request must not use a connection that the server is
/// closing.
const IDLE: Duration = Duration::from_secs(4);
/// How often a waiting call checks whether it should continue.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// Turns of the runtime before a request. In the first turn the client learns of connections that the server has closed; in the second
/// it removes them.
const RUNTIME_TURNS: usize = 3;

/// The settings of a blocking client. Its connections belong to the calling threads.
#[derive(Debug)]
pub struct SyncClient {
    number: u64,
    /// The time limit for a connection.
    connect: Duration,
    /// The time limit for each wait for bytes.
    timeout: Duration,
    /// PEM certificates to trust in addition to the system's.
    ca: Option<Vec<u8>>,
    /// The most bytes of a response's body.
    max_bytes: usize,
}

/// The response to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The URL that answered, after redirects that keep the body.
    pub url: String,
    /// The headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// Why there is no response.
#[derive(thiserror::Error, Debug, Clone, PartialEq, Eq)]
pub enum RequestError {
    /// The URL is invalid.
    #[error("invalid URL: it must have the form https://host/path")]
    Url,
    /// The method is invalid.
    #[error("invalid HTTP method")]
    Method,
    /// A header is invalid.
    #[error("invalid header {0:?}: it contains characters that HTTP does not allow")]
    Header(String),
    /// There was no connection in time.
    #[error("timed out while connecting")]
    ConnectTimeout,
    /// The server sent no bytes in time.
    #[error("timed out while waiting for a response")]
    ReadTimeout,
    /// The connection could not be opened.
    #[error("{0}")]
    Connect(String),
    /// The TLS handshake failed, or the certificate is not trusted.
    #[error("{0}")]
    Tls(String),
    /// The connection broke.
    #[error("{0}")]
    Broken(String),
    /// The caller stopped the request, for example after a signal.
    #[error("interrupted")]
    Interrupted,
    /// The body is larger than the limit.
    #[error("the response is larger than {} MiB", .0 >> 20)]
    TooLarge(usize),
}

/// The runtime and clients of one thread. Not usable in a forked child, where the fork generation differs.
struct ThreadState {
    generation: u64,
    parts: Option<Parts>,
}

struct Parts {
    runtime: Runtime,
    clients: Vec<(Key, Client)>,
}

impl ThreadState {
    fn new() -> Result<Self, RequestError> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| broken(&error))?;
        Ok(Self { generation: fork_generation(), parts: Some(Parts { runtime, clients: Vec::new() }) })
    }
}

impl Drop for ThreadState {
    fn drop(&mut self) {
        let parts = self.parts.take();
        if self.generation != fork_generation() {
            // Closing inherited descriptors would remove the parent's connections from the epoll instance that parent and child share.
            std::mem::forget(parts);
        } else if let Some(Parts { runtime, clients }) = parts {
            drop(clients);
            // Do not wait for a running name lookup.
            runtime.shutdown_background();
        }
    }
}

/// The key of a client within a thread.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    number: u64,
    is_local: bool,
    is_plain: bool,
}

thread_local! {
    static THREAD_STATE: RefCell<Option<ThreadState>> = const { RefCell::new(None) };
}

static NUMBERS: AtomicU64 = AtomicU64::new(0);

impl SyncClient {
    /// A client with these time limits and certificates.
    ///
    /// # Errors
    /// If `ca` holds no valid certificate.
    pub fn new(connect: Duration, timeout: Duration, ca: Option<Vec<u8>>) -> Result<Self, AddressError> {
        if ca.as_deref().is_some_and(|pem| !has_certificates(pem)) {
            return Err(AddressError::Certificates);
        }
        Ok(Self {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            connect,
            timeout,
            ca,
            max_bytes: MAX_RESPONSE_BYTES,
        })
    }

    /// Sets another limit for the bytes of a response's body.
    #[must_use]
    pub fn with_max_bytes(self, max_bytes: usize) -> Self {
        Self { max_bytes, ..self }
    }

    /// Sends a request and waits for the whole response while `should_continue` returns true. It is called a few times a second.
    ///
    /// # Errors
    /// If there is no response. The error never contains the value of a header.
    pub fn request(
        &self,
        method: &str,
        url: &str,
        headers: &[(String, String)],
        body: Vec<u8>,
        should_continue: impl Fn() -> bool,
    ) -> Result<Response, RequestError> {
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| RequestError::Method)?;
        let url = Url::parse(url).map_err(|_| RequestError::Url)?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(RequestError::Url);
        }
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let invalid = || RequestError::Header(name.clone());
            let key: HeaderName = name.parse().map_err(|_| invalid())?;
            let mut value = HeaderValue::from_str(value).map_err(|_| invalid())?;
            value.set_sensitive(true);
            map.insert(key, value);
        }
        // Take the state out while it is used: `should_continue` runs signal handlers, which may make requests in the same thread.
        let mut state = match THREAD_STATE.try_with(RefCell::take) {
            Ok(Some(state)) if state.generation == fork_generation() => state,
            _ => ThreadState::new()?,
        };
        let response = self.request_with(&mut state, method, url, map, body, should_continue);
        // This closes the state that such a handler's request has put there.
        let _ = THREAD_STATE.try_with(|slot| slot.replace(Some(state)));
        response
    }

    fn request_with(
        &self,
        state: &mut ThreadState,
        method: Method,
        url: Url,
        headers: HeaderMap,
        body: Vec<u8>,
        should_continue: impl Fn() -> bool,
    ) -> Result<Response, RequestError> {
        let generation = state.generation;
        let Some(parts) = state.parts.as_mut() else { return Err(RequestError::Interrupted) };
        let client = self.client(parts, &url)?;
        let mut response =
            Box::pin(send_and_read(client.request(method, url).headers(headers).body(body), self.max_bytes));
        loop {
            match parts.runtime.block_on(async { timeout(CHECK_INTERVAL, &mut response).await }) {
                Ok(ended) => return ended,
                Err(_) if !should_continue() => return Err(RequestError::Interrupted),
                Err(_) if generation != fork_generation() => {
                    // A signal handler forked. The connection belongs to the parent, which is still waiting for the response.
                    std::mem::forget((response, client));
                    return Err(RequestError::Interrupted);
                }
                Err(_) => {}
            }
        }
    }

    fn client(&self, parts: &mut Parts, url: &Url) -> Result<Client, RequestError> {
        let key = Key { number: self.number, is_local: is_local(url), is_plain: url.scheme() == "http" };
        if let Some((_, client)) = parts.clients.iter().find(|(known, _)| *known == key) {
            return Ok(client.clone());
        }
        let client = client_builder(Peer::of(url, self.ca.as_deref()))
            .connect_timeout(self.connect)
            // The read timeout starts with the request. Without the extra time it would expire together with the connect timeout.
            .read_timeout(self.timeout + CHECK_INTERVAL)
            .pool_idle_timeout(IDLE)
            .redirect(Policy::custom(follow_same_origin))
            .build()
            .map_err(|error| RequestError::Connect(reason(&error.without_url())))?;
        if parts.clients.len() == MAX_CLIENTS {
            parts.clients.remove(0);
        }
        parts.clients.push((key, client.clone()));
        Ok(client)
    }
}

/// The host in a URL, if it is valid.
#[must_use]
pub fn host_of(url: &str) -> Option<String> {
    Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned))
}

fn broken(error: &dyn std::error::Error) -> RequestError {
    RequestError::Broken(error.to_string())
}

fn failure(error: reqwest::Error) -> RequestError {
    if kind_of(&error) == SendErrorKind::Tls {
        return RequestError::Tls(reason(&error.without_url()));
    }
    match (error.is_connect(), error.is_timeout()) {
        (true, true) => RequestError::ConnectTimeout,
        (false, true) => RequestError::ReadTimeout,
        (true, false) => RequestError::Connect(reason(&error.without_url())),
        (false, false) => RequestError::Broken(reason(&error.without_url())),
    }
}

async fn send_and_read(request: RequestBuilder, largest: usize) -> Result<Response, RequestError> {
    for _ in 0..RUNTIME_TURNS {
        tokio::task::yield_now().await;
    }
    let mut head = request.send().await.map_err(failure)?;
    let shown = |(name, value): (&HeaderName, &HeaderValue)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let mut response = Response {
        status: head.status().as_u16(),
        url: head.url().to_string(),
        headers: head.headers().iter().map(shown).collect(),
        body: Vec::new(),
    };
    while let Some(piece) = head.chunk().await.map_err(failure)? {
        if response.body.len() + piece.len() > largest {
            return Err(RequestError::TooLarge(largest));
        }
        response.body.extend_from_slice(&piece);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread::{JoinHandle, spawn};

    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(300);

    /// A server that gives these responses in order and returns how many connections it accepted.
    fn server(answers: Vec<&'static str>) -> (String, JoinHandle<usize>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let connections = spawn(move || {
            let mut answers = answers.into_iter().peekable();
            let mut connections = 0;
            while answers.peek().is_some() {
                let (mut stream, _) = listener.accept().unwrap();
                connections += 1;
                let mut bytes = [0; 4096];
                while answers.peek().is_some()
                    && let Ok(read) = stream.read(&mut bytes)
                    && read > 0
                    && let Some(response) = answers.next()
                {
                    if response.is_empty() {
                        break;
                    }
                    stream.write_all(response.as_bytes()).unwrap();
                }
            }
            connections
        });
        (url, connections)
    }

    fn post(client: &SyncClient, url: &str) -> Result<Response, RequestError> {
        client.request("POST", url, &[("X-Key".into(), "canary".into())], b"{}".to_vec(), || true)
    }

    #[test]
    fn a_connection_serves_many_requests_and_a_response_is_read_whole() {
        let ok = "HTTP/1.1 201 Created\r\nContent-Length: 2\r\nX-A: b\r\n\r\nhi";
        let (url, connections) = server(vec![ok, ok, ok]);
        let client = SyncClient::new(TIMEOUT, TIMEOUT, None).unwrap();
        for _ in 0..3 {
            let response = post(&client, &url).unwrap();
            assert_eq!((response.status, &response.body[..]), (201, &b"hi"[..]));
            assert!(response.headers.contains(&("x-a".into(), "b".into())));
        }
        assert_eq!(connections.join().unwrap(), 1);
    }

    /// The server promises to keep the connection open, but closes it.
    #[test]
    fn a_connection_that_the_server_closed_is_not_used_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            }
        });
        let client = SyncClient::new(TIMEOUT, TIMEOUT, None).unwrap();
        for _ in 0..20 {
            assert_eq!(post(&client, &url).unwrap().status, 200);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn a_caller_can_stop_a_request() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let client = SyncClient::new(TIMEOUT, Duration::from_mins(1), None).unwrap();
        let begun = std::time::Instant::now();
        let stopped = client.request("POST", &url, &[], Vec::new(), || false);
        assert_eq!(stopped, Err(RequestError::Interrupted));
        assert!(begun.elapsed() < Duration::from_secs(10));
    }

    /// As in a shutdown hook: a signal handler runs in the waiting thread and reports the last event.
    #[test]
    fn a_signal_handler_can_make_a_request_while_another_waits() {
        let ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        let (url, _) = server(vec![ok]);
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let slow = format!("http://{}/", silent.local_addr().unwrap());
        let client = SyncClient::new(TIMEOUT, Duration::from_mins(1), None).unwrap();
        let inner = RefCell::new(None);
        let handler = || {
            inner.replace(Some(client.request("POST", &url, &[], Vec::new(), || true)));
            false
        };
        assert_eq!(client.request("POST", &slow, &[], Vec::new(), handler), Err(RequestError::Interrupted));
        assert_eq!(inner.take().unwrap().unwrap().status, 200);
        let (url, _) = server(vec![ok]);
        assert_eq!(post(&client, &url).unwrap().status, 200);
    }

    #[test]
    fn each_failure_has_its_own_error() {
        let client = SyncClient::new(TIMEOUT, TIMEOUT, None).unwrap();
        let (url, _) = server(vec![""]);
        assert!(matches!(post(&client, &url), Err(RequestError::Broken(_))));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let silent = format!("http://{}/", listener.local_addr().unwrap());
        assert_eq!(post(&client, &silent), Err(RequestError::ReadTimeout));
        drop(listener);
        assert!(matches!(post(&client, &silent), Err(RequestError::Connect(_))));
        assert_eq!(post(&client, "ftp://127.0.0.1/"), Err(RequestError::Url));
        let bad = client.request("POST", &silent, &[("X-Key".into(), "can\nary".into())], Vec::new(), || true);
        assert_eq!(bad, Err(RequestError::Header("X-Key".into())));
    }

    #[test]
    fn redirects_are_followed_if_they_keep_the_body_and_the_host() {
        let ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        let kept = "HTTP/1.1 307 Temporary Redirect\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n";
        let (url, _) = server(vec![kept, ok]);
        let client = SyncClient::new(TIMEOUT, TIMEOUT, None).unwrap();
        let response = post(&client, &url).unwrap();
        assert_eq!((response.status, response.url.ends_with("/there")), (200, true));
        for other in [
            "HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.2/\r\nContent-Length: 0\r\n\r\n",
        ] {
            let (url, _) = server(vec![other]);
            assert_eq!(post(&client, &url).unwrap().status / 100, 3);
        }
    }
}
