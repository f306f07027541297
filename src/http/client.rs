//! One HTTP request: a body there, the beginning of the answer back.
//!
//! Redirects are not followed, for they could drop the body or carry a key to another host. Nothing that is reported names the URL's
//! path, its query or a header: they hold keys.

use std::time::{Duration, Instant};

use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder};

use super::address::Address;
use super::builder::{Peer, client_builder, reason};
use crate::protocol::Post;

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

/// Why nothing came back, without what is secret.
#[derive(Debug)]
pub struct SendError {
    /// In words.
    pub reason: String,
    /// The connection broke before an answer: it may have been closed while idle.
    pub is_broken: bool,
    /// Something hung: of the other connections nothing good is known any more.
    pub is_dubious: bool,
}

impl SendError {
    /// One that says nothing of the connection.
    #[must_use]
    pub fn other(reason: String) -> Self {
        Self { reason, is_broken: false, is_dubious: false }
    }
}

/// Sends requests to one address.
pub struct HttpClient {
    address: Address,
    content_type: &'static str,
    largest_answer: usize,
    /// The part of the time for a request after which a connection that moves nothing is given up.
    stall: u32,
    client: Option<(Client, Instant)>,
}

impl HttpClient {
    /// A client for one address. `stall` is the part of the time for a request after which a connection that moves nothing is given up.
    #[must_use]
    pub fn new(address: Address, content_type: &'static str, largest_answer: usize, stall: u32) -> Self {
        Self { address, content_type, largest_answer, stall, client: None }
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
            .read_timeout(timeout / self.stall)
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

    /// The future of requests that are made one after the other. The last one's answer is what counts; those before it stop there only
    /// where the same may go well later.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn send(
        &mut self,
        posts: Vec<Post>,
        is_gzip: bool,
    ) -> impl Future<Output = Result<Reply, SendError>> + Send + 'static {
        let client = self.client();
        let mut headers = self.address.headers.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        if is_gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let requests: Vec<_> = posts.into_iter().map(|post| (self.address.with_path(&post.path), post.body)).collect();
        let largest_answer = self.largest_answer;
        async move {
            let client = client?;
            let mut last = Err(SendError::other("there is nothing to send".to_owned()));
            let count = requests.len();
            for (index, (url, body)) in requests.into_iter().enumerate() {
                let request = client.post(url).headers(headers.clone()).body(body);
                let reply = answered(request, largest_answer).await?;
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
        let mut transport = HttpClient::new(Address::new(&url, &[], false).unwrap(), "text/plain", 1024, 3);
        let post = |body: &[u8]| vec![Post { path: String::new(), body: body.to_vec() }];
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
