//! The client of a destination: sends requests and reads the beginning of each response.
//!
//! Only redirects that keep the body and the host are followed. Others could drop the body or take a key to another host. Errors never
//! contain the URL's path, its query or a header, because these hold keys.

use std::time::{Duration, Instant};

use reqwest::header::{CONTENT_ENCODING, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder};

use super::address::Address;
use super::builder::{Peer, client_builder, follow_same_origin, reason};
use crate::protocol::{HttpRequest, Method};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Idle connections are closed after this time. Servers close theirs after about a minute, and a request must not use a connection that
/// the server is closing.
const IDLE: Duration = Duration::from_secs(30);
/// Connections are replaced after this time, so that a new address of the host takes effect.
const MAX_CONNECTION_AGE: Duration = Duration::from_mins(5);

/// The response to a request.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The `Retry-After` header.
    pub retry_after: Option<String>,
    /// The header with the service's own code.
    pub code: Option<String>,
    /// The beginning of the body.
    pub body: Vec<u8>,
}

/// The kind of error that prevented a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendErrorKind {
    /// The host name could not be resolved.
    NameLookup,
    /// The connection was refused.
    ConnectionRefused,
    /// The TLS handshake failed, or a certificate is not trusted.
    Tls,
    /// The time limit was reached.
    TimedOut,
    /// Anything else.
    Other,
}

/// Why there was no response. Holds no secrets.
#[derive(Debug)]
pub struct SendError {
    /// The description.
    pub reason: String,
    /// The kind.
    pub kind: SendErrorKind,
    /// The connection broke before a response came. The server may have closed it while it was idle.
    pub is_broken: bool,
    /// The request timed out after connecting. Other connections may be dead, too.
    pub is_timeout: bool,
}

impl SendError {
    /// An error that does not concern the connection.
    #[must_use]
    pub fn other(reason: String) -> Self {
        Self { reason, kind: SendErrorKind::Other, is_broken: false, is_timeout: false }
    }
}

/// Sends requests to one address.
pub struct HttpClient {
    address: Address,
    max_response_bytes: usize,
    /// The read timeout (how long a connection may be idle) is the request timeout divided by this.
    read_timeout_divisor: u32,
    /// The name of the header with the service's own code.
    code_header: Option<&'static str>,
    client: Option<(Client, Instant)>,
}

impl HttpClient {
    /// A client for one address. The read timeout (how long a connection may be idle) is the request timeout divided by
    /// `read_timeout_divisor`.
    #[must_use]
    pub fn new(address: Address, max_response_bytes: usize, read_timeout_divisor: u32) -> Self {
        Self { address, max_response_bytes, read_timeout_divisor, code_header: None, client: None }
    }

    /// Reads the header with this name, too: the service's own code.
    #[must_use]
    pub fn with_code_header(self, code_header: Option<&'static str>) -> Self {
        Self { code_header, ..self }
    }

    /// The host. It is not secret.
    #[must_use]
    pub fn host(&self) -> &str {
        self.address.host()
    }

    /// The address.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The HTTP client, replaced when it is older than [`MAX_CONNECTION_AGE`]. Call it in the runtime that uses the client.
    fn client(&mut self) -> Result<Client, SendError> {
        if let Some((client, made)) = &self.client
            && made.elapsed() < MAX_CONNECTION_AGE
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
            .redirect(Policy::custom(follow_same_origin))
            .user_agent(concat!("taximeter/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| SendError::other(reason(&error.without_url())))?;
        self.client = Some((client.clone(), Instant::now()));
        Ok(client)
    }

    /// Closes all connections, after one of them has timed out.
    pub fn disconnect(&mut self) {
        self.client = None;
    }

    /// The headers of the address and of a request.
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

    /// A future that sends the requests in order and returns the last response. It stops at an earlier response only if the status of that
    /// response means that the same request may succeed later.
    ///
    /// # Errors
    /// If a request gets no response.
    pub fn send(
        &mut self,
        requests: Vec<HttpRequest>,
        is_gzip: bool,
    ) -> impl Future<Output = Result<Reply, SendError>> + Send + 'static {
        let client = self.client();
        let requests: Vec<_> = requests
            .into_iter()
            .map(|request| {
                let url = self.address.url_of(&request);
                let method = match request.method {
                    Method::Post => reqwest::Method::POST,
                    Method::Put => reqwest::Method::PUT,
                };
                (method, url, self.headers(&request.headers, is_gzip), request.body)
            })
            .collect();
        let (max_response_bytes, code_header) = (self.max_response_bytes, self.code_header);
        async move {
            let client = client?;
            let mut last = Err(SendError::other("there is nothing to send".to_owned()));
            let count = requests.len();
            for (index, (method, url, headers, body)) in requests.into_iter().enumerate() {
                let request = client.request(method, url).headers(headers).body(body);
                let reply = send_and_read(request, max_response_bytes, code_header).await?;
                let is_temporary = matches!(reply.status, 401..=403 | 407 | 408 | 425 | 429 | 500..=599);
                last = Ok(reply);
                if is_temporary && index + 1 < count {
                    break;
                }
            }
            last
        }
    }
}

/// Sends a request and reads its response.
async fn send_and_read(
    request: RequestBuilder,
    largest: usize,
    code_header: Option<&'static str>,
) -> Result<Reply, SendError> {
    let failed = |error: reqwest::Error| SendError {
        is_broken: error.is_request() && !error.is_connect() && !error.is_timeout(),
        is_timeout: error.is_timeout() && !error.is_connect(),
        kind: kind_of(&error),
        reason: reason(&error.without_url()),
    };
    let mut response = request.send().await.map_err(failed)?;
    let header = |value: Option<&HeaderValue>| value.and_then(|value| value.to_str().ok()).map(str::to_owned);
    let headers = response.headers();
    let mut reply = Reply {
        status: response.status().as_u16(),
        retry_after: header(headers.get(RETRY_AFTER)),
        code: header(code_header.and_then(|name| headers.get(name))),
        body: Vec::new(),
    };
    // The status decides. A body that breaks off or is too long is simply cut.
    while reply.body.len() < largest
        && let Ok(Some(piece)) = response.chunk().await
    {
        let room = largest - reply.body.len();
        reply.body.extend_from_slice(&piece[..piece.len().min(room)]);
    }
    Ok(reply)
}

/// The kind of an error, found in its chain of causes.
pub(super) fn kind_of(error: &reqwest::Error) -> SendErrorKind {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(this) = cause {
        // The error inside an `io::Error` is not among its sources, and may itself be an `io::Error`.
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
        // This error type of the connector is private: only its text identifies it.
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

    /// The name may point to another machine by then, so an old connection is closed even if it is busy.
    #[test]
    fn a_connection_is_replaced_when_it_is_old() {
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
                *made = made.checked_sub(MAX_CONNECTION_AGE).unwrap();
            }
            let sent = transport.send(post(b"body"), false);
            assert_eq!(runtime.block_on(sent).unwrap().status, 200);
        }
        let last = transport.send(post(b"last"), false);
        assert!(runtime.block_on(last).is_err());
        assert_eq!(connections.join().unwrap(), 2);
    }
}
