//! One request and its whole answer, for a caller who waits for it.
//!
//! Each thread that asks has a runtime of its own, so that callers do not wait for each other, and keeps its connections alive. A
//! forked child begins anew: what it inherited belongs to its parent, and is leaked rather than closed.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, Method, RequestBuilder, Url};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::address::AddressError;
use super::builder::{Peer, client_builder, has_certificates, is_local, reason};
use crate::sys::fork::fork_generation;

/// Clients that a thread keeps; who has more of them at once opens connections anew.
const MOST_CLIENTS: usize = 8;
/// Bytes of an answer that are read: the services' own are a few hundred.
const LARGEST_ANSWER: usize = 4 << 20;
const MOST_REDIRECTS: usize = 5;
/// Shorter than any server keeps an idle connection, so that a request does not meet one that is closing.
const IDLE: Duration = Duration::from_secs(4);
/// How often a caller is asked whether to go on.
const SLICE: Duration = Duration::from_millis(100);
/// Turns of the runtime before a request: in the first it hears of connections that were closed meanwhile, in the second they go.
const TURNS: usize = 3;

/// How requests are made.
#[derive(Debug)]
pub struct SyncClient {
    number: u64,
    /// For a connection.
    connect: Duration,
    /// For each wait for bytes.
    timeout: Duration,
    /// Certificates in PEM that are trusted beside the system's.
    ca: Option<Vec<u8>>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Where it came from: redirects that keep the body are followed.
    pub url: String,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(thiserror::Error, Debug, Clone, PartialEq, Eq)]
pub enum RequestError {
    /// The URL is invalid.
    #[error("invalid URL: it must have the form https://host/path")]
    Url,
    /// The method is invalid.
    #[error("invalid HTTP method")]
    Method,
    /// A header cannot be sent.
    #[error("invalid header {0:?}: it cannot be sent")]
    Header(String),
    /// No connection in time.
    #[error("timed out while connecting")]
    ConnectTimeout,
    /// No bytes in time.
    #[error("timed out while waiting for an answer")]
    ReadTimeout,
    /// No connection.
    #[error("{0}")]
    Connect(String),
    /// The connection broke.
    #[error("{0}")]
    Broken(String),
    /// The caller was told to stop.
    #[error("interrupted")]
    Interrupted,
    /// More than is read.
    #[error("the answer is larger than 4 MiB")]
    TooLarge,
}

/// What one thread has; nothing in a process that was forked meanwhile.
struct Own {
    generation: u64,
    parts: Option<Parts>,
}

struct Parts {
    runtime: Runtime,
    clients: Vec<(Key, Client)>,
}

impl Own {
    fn new() -> Result<Self, RequestError> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| broken(&error))?;
        Ok(Self { generation: fork_generation(), parts: Some(Parts { runtime, clients: Vec::new() }) })
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let parts = self.parts.take();
        if self.generation != fork_generation() {
            // Closing what was inherited would take the parent's connections out of what it waits with.
            std::mem::forget(parts);
        } else if let Some(Parts { runtime, clients }) = parts {
            drop(clients);
            // A name that is being looked up is not waited for.
            runtime.shutdown_background();
        }
    }
}

/// What clients of a thread are told apart by.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    number: u64,
    is_local: bool,
    is_plain: bool,
}

thread_local! {
    static OWN: RefCell<Option<Own>> = const { RefCell::new(None) };
}

static NUMBERS: AtomicU64 = AtomicU64::new(0);

impl SyncClient {
    /// How to make requests.
    ///
    /// # Errors
    /// When there is no certificate in `ca`.
    pub fn new(connect: Duration, timeout: Duration, ca: Option<Vec<u8>>) -> Result<Self, AddressError> {
        if ca.as_deref().is_some_and(|pem| !has_certificates(pem)) {
            return Err(AddressError::Certificates);
        }
        Ok(Self { number: NUMBERS.fetch_add(1, Ordering::Relaxed), connect, timeout, ca })
    }

    /// Makes a request and waits for all of its answer, as long as `may_go_on` says so; it is asked a few times a second.
    ///
    /// # Errors
    /// When there is no answer. The error repeats no header's value.
    pub fn request(
        &self,
        method: &str,
        url: &str,
        headers: &[(String, String)],
        body: Vec<u8>,
        may_go_on: impl Fn() -> bool,
    ) -> Result<Response, RequestError> {
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| RequestError::Method)?;
        let url = Url::parse(url).map_err(|_| RequestError::Url)?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(RequestError::Url);
        }
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let refused = || RequestError::Header(name.clone());
            let key: HeaderName = name.parse().map_err(|_| refused())?;
            let mut value = HeaderValue::from_str(value).map_err(|_| refused())?;
            value.set_sensitive(true);
            map.insert(key, value);
        }
        // Taken out while it is used: `may_go_on` runs signal handlers, which may make requests in this same thread.
        let mut own = match OWN.try_with(RefCell::take) {
            Ok(Some(own)) if own.generation == fork_generation() => own,
            _ => Own::new()?,
        };
        let answer = self.request_with(&mut own, method, url, map, body, may_go_on);
        // One that a handler's request put there meanwhile is closed.
        let _ = OWN.try_with(|slot| slot.replace(Some(own)));
        answer
    }

    fn request_with(
        &self,
        own: &mut Own,
        method: Method,
        url: Url,
        headers: HeaderMap,
        body: Vec<u8>,
        may_go_on: impl Fn() -> bool,
    ) -> Result<Response, RequestError> {
        let generation = own.generation;
        let Some(parts) = own.parts.as_mut() else { return Err(RequestError::Interrupted) };
        let client = self.client(parts, &url)?;
        let mut answer = Box::pin(exchange(client.request(method, url).headers(headers).body(body)));
        loop {
            match parts.runtime.block_on(async { timeout(SLICE, &mut answer).await }) {
                Ok(ended) => return ended,
                Err(_) if !may_go_on() => return Err(RequestError::Interrupted),
                Err(_) if generation != fork_generation() => {
                    // A handler forked: the connection is the parent's, which waits for the answer.
                    std::mem::forget((answer, client));
                    return Err(RequestError::Interrupted);
                }
                Err(_) => {}
            }
        }
    }

    fn client(&self, own: &mut Parts, url: &Url) -> Result<Client, RequestError> {
        let key = Key { number: self.number, is_local: is_local(url), is_plain: url.scheme() == "http" };
        if let Some((_, client)) = own.clients.iter().find(|(known, _)| *known == key) {
            return Ok(client.clone());
        }
        let client = client_builder(Peer::of(url, self.ca.as_deref()))
            .connect_timeout(self.connect)
            // Counted from the beginning, so that it would end at the same time as the wait for a connection.
            .read_timeout(self.timeout + SLICE)
            .pool_idle_timeout(IDLE)
            .redirect(Policy::custom(redirect))
            .build()
            .map_err(|error| RequestError::Connect(reason(&error.without_url())))?;
        if own.clients.len() == MOST_CLIENTS {
            own.clients.remove(0);
        }
        own.clients.push((key, client.clone()));
        Ok(client)
    }
}

/// Follows what keeps the method, the body and the host. Others would lose the event, or show the key to another host.
fn redirect(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let is_same = attempt.previous().last().is_some_and(|last| last.origin() == attempt.url().origin());
    if is_same && matches!(attempt.status().as_u16(), 307 | 308) && attempt.previous().len() <= MOST_REDIRECTS {
        attempt.follow()
    } else {
        attempt.stop()
    }
}

fn broken(error: &dyn std::error::Error) -> RequestError {
    RequestError::Broken(error.to_string())
}

fn failure(error: reqwest::Error) -> RequestError {
    match (error.is_connect(), error.is_timeout()) {
        (true, true) => RequestError::ConnectTimeout,
        (false, true) => RequestError::ReadTimeout,
        (true, false) => RequestError::Connect(reason(&error.without_url())),
        (false, false) => RequestError::Broken(reason(&error.without_url())),
    }
}

async fn exchange(request: RequestBuilder) -> Result<Response, RequestError> {
    for _ in 0..TURNS {
        tokio::task::yield_now().await;
    }
    let mut answer = request.send().await.map_err(failure)?;
    let shown = |(name, value): (&HeaderName, &HeaderValue)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let mut response = Response {
        status: answer.status().as_u16(),
        url: answer.url().to_string(),
        headers: answer.headers().iter().map(shown).collect(),
        body: Vec::new(),
    };
    while let Some(piece) = answer.chunk().await.map_err(failure)? {
        if response.body.len() + piece.len() > LARGEST_ANSWER {
            return Err(RequestError::TooLarge);
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

    /// A server that gives these answers to the requests of one connection after the other, and says how many connections it had.
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
                    && let Some(answer) = answers.next()
                {
                    if answer.is_empty() {
                        break;
                    }
                    stream.write_all(answer.as_bytes()).unwrap();
                }
            }
            connections
        });
        (url, connections)
    }

    fn post(exchange: &SyncClient, url: &str) -> Result<Response, RequestError> {
        exchange.request("POST", url, &[("X-Key".into(), "canary".into())], b"{}".to_vec(), || true)
    }

    #[test]
    fn a_connection_serves_many_requests_and_an_answer_is_read_whole() {
        let ok = "HTTP/1.1 201 Created\r\nContent-Length: 2\r\nX-A: b\r\n\r\nhi";
        let (url, connections) = server(vec![ok, ok, ok]);
        let exchange = SyncClient::new(TIMEOUT, TIMEOUT, None).unwrap();
        for _ in 0..3 {
            let response = post(&exchange, &url).unwrap();
            assert_eq!((response.status, &response.body[..]), (201, &b"hi"[..]));
            assert!(response.headers.contains(&("x-a".into(), "b".into())));
        }
        assert_eq!(connections.join().unwrap(), 1);
    }

    /// It says that the connection stays, and closes it all the same.
    #[test]
    fn a_connection_that_was_closed_meanwhile_is_not_used_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            }
        });
        let exchange = SyncClient::new(TIMEOUT, TIMEOUT, None).unwrap();
        for _ in 0..20 {
            assert_eq!(post(&exchange, &url).unwrap().status, 200);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn a_caller_may_stop_waiting() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let exchange = SyncClient::new(TIMEOUT, Duration::from_mins(1), None).unwrap();
        let begun = std::time::Instant::now();
        let stopped = exchange.request("POST", &url, &[], Vec::new(), || false);
        assert_eq!(stopped, Err(RequestError::Interrupted));
        assert!(begun.elapsed() < Duration::from_secs(10));
    }

    /// A shutdown hook that reports its last event, as a signal handler does it in the thread that waits.
    #[test]
    fn a_signal_handler_may_make_a_request_while_another_waits() {
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
    fn what_goes_wrong_has_a_name() {
        let exchange = SyncClient::new(TIMEOUT, TIMEOUT, None).unwrap();
        let (url, _) = server(vec![""]);
        assert!(matches!(post(&exchange, &url), Err(RequestError::Broken(_))));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let silent = format!("http://{}/", listener.local_addr().unwrap());
        assert_eq!(post(&exchange, &silent), Err(RequestError::ReadTimeout));
        drop(listener);
        assert!(matches!(post(&exchange, &silent), Err(RequestError::Connect(_))));
        assert_eq!(post(&exchange, "ftp://127.0.0.1/"), Err(RequestError::Url));
        let bad = exchange.request("POST", &silent, &[("X-Key".into(), "can\nary".into())], Vec::new(), || true);
        assert_eq!(bad, Err(RequestError::Header("X-Key".into())));
    }

    #[test]
    fn redirects_are_followed_where_they_keep_the_body_and_the_host() {
        let ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        let kept = "HTTP/1.1 307 Temporary Redirect\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n";
        let (url, _) = server(vec![kept, ok]);
        let exchange = SyncClient::new(TIMEOUT, TIMEOUT, None).unwrap();
        let response = post(&exchange, &url).unwrap();
        assert_eq!((response.status, response.url.ends_with("/there")), (200, true));
        for other in [
            "HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.2/\r\nContent-Length: 0\r\n\r\n",
        ] {
            let (url, _) = server(vec![other]);
            assert_eq!(post(&exchange, &url).unwrap().status / 100, 3);
        }
    }
}
