//! One HTTP request: a body there, the beginning of the answer back.
//!
//! Redirects are not followed, for they could drop the body or carry a key to another host. Nothing that is reported names the URL's
//! path, its query or a header: they hold keys.

use std::time::{Duration, Instant};

use reqwest::header::{CONTENT_ENCODING, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder};

use super::address::Address;
use super::builder::{Peer, client_builder, reason};
use crate::protocol::{HttpRequest, Method};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Servers close idle connections after a minute or so; ours go first, so that a request does not meet one that is closing.
const IDLE: Duration = Duration::from_secs(30);
/// A connection keeps its address: after this long the name is looked up again.
const LONGEST_USE: Duration = Duration::from_mins(5);

/// What came back.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The header Retry-After.
    pub retry_after: Option<String>,
    /// The beginning of the body.
    pub body: Vec<u8>,
}

/// What kept a request from an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendErrorKind {
    /// The host's name could not be looked up.
    NameLookup,
    /// Nothing listens there.
    ConnectionRefused,
    /// The two sides could not agree on encryption, or a certificate is not trusted.
    Tls,
    /// Nothing came in time.
    TimedOut,
    /// Anything else.
    Other,
}

/// Why nothing came back, without what is secret.
#[derive(Debug)]
pub struct SendError {
    /// In words.
    pub reason: String,
    /// What it was.
    pub kind: SendErrorKind,
    /// The connection broke before an answer: it may have been closed while idle.
    pub is_broken: bool,
    /// Something hung: of the other connections nothing good is known any more.
    pub is_dubious: bool,
}

impl SendError {
    /// One that says nothing of the connection.
    #[must_use]
    pub fn other(reason: String) -> Self {
        Self { reason, kind: SendErrorKind::Other, is_broken: false, is_dubious: false }
    }
}

/// Sends requests to one address.
pub struct HttpClient {
    address: Address,
    max_response_bytes: usize,
    /// The time for a request, divided by this, is how long a connection may move nothing.
    read_timeout_divisor: u32,
    client: Option<(Client, Instant)>,
}

impl HttpClient {
    /// A client for one address. `read_timeout_divisor`: the time for a request, divided by it, is how
    /// long a connection may move nothing.
    #[must_use]
    pub fn new(address: Address, max_response_bytes: usize, read_timeout_divisor: u32) -> Self {
        Self { address, max_response_bytes, read_timeout_divisor, client: None }
    }

    /// The host, which may be named.
    #[must_use]
    pub fn host(&self) -> &str {
        self.address.host()
    }

    /// The address.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// A client whose connections are young; made in the runtime that uses it.
    fn client(&mut self) -> Result<Client, SendError> {
        if let Some((client, made)) = &self.client
            && made.elapsed() < LONGEST_USE
        {
            return Ok(client.clone());
        }
        let peer = Peer::of(&self.address.url, self.address.ca.as_deref());
        let timeout = self.address.timeout;
        let client = client_builder(peer)
            .connect_timeout(CONNECT_TIMEOUT.min(timeout))
            .read_timeout(timeout / self.read_timeout_divisor.max(1))
            .timeout(timeout)
            .pool_idle_timeout(IDLE)
            .redirect(Policy::none())
            .user_agent(concat!("taximeter/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| SendError::other(reason(&error.without_url())))?;
        self.client = Some((client.clone(), Instant::now()));
        Ok(client)
    }

    /// Lets go of every connection: of one of them nothing good is known any more.
    pub fn disconnect(&mut self) {
        self.client = None;
    }

    /// The address's headers, and those of a request.
    fn headers(&self, own: &[(&'static str, String)], is_gzip: bool) -> HeaderMap {
        let mut headers = self.address.headers.clone();
        for (name, value) in own {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        if is_gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        headers
    }

    /// The future of requests that are made one after the other. The last one's answer is what counts; those before it stop there only
    /// where the same may go well later.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn send(
        &mut self,
        requests: Vec<HttpRequest>,
        is_gzip: bool,
    ) -> impl Future<Output = Result<Reply, SendError>> + Send + 'static {
        let client = self.client();
        let requests: Vec<_> = requests
            .into_iter()
            .map(|request| {
                let url = self.address.with_path(&request.path, &request.query);
                let method = match request.method {
                    Method::Post => reqwest::Method::POST,
                    Method::Put => reqwest::Method::PUT,
                };
                (method, url, self.headers(&request.headers, is_gzip), request.body)
            })
            .collect();
        let max_response_bytes = self.max_response_bytes;
        async move {
            let client = client?;
            let mut last = Err(SendError::other("there is nothing to send".to_owned()));
            let count = requests.len();
            for (index, (method, url, headers, body)) in requests.into_iter().enumerate() {
                let request = client.request(method, url).headers(headers).body(body);
                let reply = answered(request, max_response_bytes).await?;
                let is_passing = matches!(reply.status, 401..=403 | 407 | 408 | 425 | 429 | 500..=599);
                last = Ok(reply);
                if is_passing && index + 1 < count {
                    break;
                }
            }
            last
        }
    }
}

/// The answer of one request.
async fn answered(request: RequestBuilder, largest: usize) -> Result<Reply, SendError> {
    let failed = |error: reqwest::Error| SendError {
        is_broken: error.is_request() && !error.is_connect() && !error.is_timeout(),
        is_dubious: error.is_timeout() && !error.is_connect(),
        kind: kind_of(&error),
        reason: reason(&error.without_url()),
    };
    let mut answer = request.send().await.map_err(failed)?;
    let retry_after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let mut reply =
        Reply { status: answer.status().as_u16(), retry_after: retry_after.map(str::to_owned), body: Vec::new() };
    // The status is what decides; an answer that breaks off, or goes on for ever, is enough of one.
    while reply.body.len() < largest
        && let Ok(Some(piece)) = answer.chunk().await
    {
        let room = largest - reply.body.len();
        reply.body.extend_from_slice(&piece[..piece.len().min(room)]);
    }
    Ok(reply)
}

/// What an error is, by the causes that it has.
fn kind_of(error: &reqwest::Error) -> SendErrorKind {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(this) = cause {
        // What an `io::Error` holds is not among its sources, and may be one itself.
        let mut io = this.downcast_ref::<std::io::Error>();
        while let Some(error) = io {
            if error.kind() == std::io::ErrorKind::ConnectionRefused {
                return SendErrorKind::ConnectionRefused;
            }
            let held = error.get_ref();
            if held.is_some_and(|held| held.downcast_ref::<rustls::Error>().is_some()) {
                return SendErrorKind::Tls;
            }
            io = held.and_then(|held| held.downcast_ref());
        }
        if this.is::<rustls::Error>() {
            return SendErrorKind::Tls;
        }
        // A private type of the connector, which tells it in words only.
        if this.to_string().starts_with("dns error") {
            return SendErrorKind::NameLookup;
        }
        cause = this.source();
    }
    if error.is_timeout() { SendErrorKind::TimedOut } else { SendErrorKind::Other }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name may lead to another machine meanwhile: an old connection is not used again, however busy it is.
    #[test]
    fn a_connection_is_used_until_it_is_old_and_then_no_more() {
        use std::io::{Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let connections = std::thread::spawn(move || {
            let mut count = 0;
            for mut stream in listener.incoming().flatten() {
                count += 1;
                let mut bytes = [0; 4096];
                while let Ok(read) = stream.read(&mut bytes)
                    && read > 0
                {
                    if bytes[..read].ends_with(b"last") {
                        return count;
                    }
                    if bytes[..read].ends_with(b"body") {
                        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
                    }
                }
            }
            count
        });
        let mut transport = HttpClient::new(Address::new(&url, &[], false).unwrap(), 1024, 3);
        let post = |body: &[u8]| vec![HttpRequest::post("text/plain", body.to_vec())];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for round in 0..6 {
            if round == 3
                && let Some((_, made)) = &mut transport.client
            {
                *made = made.checked_sub(LONGEST_USE).unwrap();
            }
            let sent = transport.send(post(b"body"), false);
            assert_eq!(runtime.block_on(sent).unwrap().status, 200);
        }
        let last = transport.send(post(b"last"), false);
        assert!(runtime.block_on(last).is_err());
        assert_eq!(connections.join().unwrap(), 2);
    }
}
