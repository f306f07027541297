//! One HTTP request: a body there, the beginning of the answer back.
//!
//! Redirects are not followed, for they could drop the body or carry a key to another host. Nothing that is reported names the URL's
//! path, its query or a header: they hold keys.

use std::time::{Duration, Instant};

use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, RequestBuilder, Url};

use crate::protocol::Post;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A whole request and its answer, unless the user says otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// Servers close idle connections after a minute or so; ours go first, so that a request does not meet one that is closing.
const IDLE: Duration = Duration::from_secs(30);
/// A connection keeps its address: after this long the name is looked up again.
const LONGEST_USE: Duration = Duration::from_mins(5);

/// Where a remote destination is, and how it is addressed.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    url: Url,
    headers: HeaderMap,
    timeout: Duration,
    /// Certificates in PEM that are trusted beside the system's.
    ca: Option<Vec<u8>>,
}

/// Why an address is none.
#[derive(thiserror::Error, Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressError {
    /// No URL, or one without a host.
    #[error("is no URL of the form cloudevents+https://host/path")]
    Malformed,
    /// Keys in clear text.
    #[error("is plain http to another machine: use https, or allow_http=True")]
    Plain,
    /// A password in the URL.
    #[error("holds a user or a password: give it as a header")]
    Userinfo,
    /// A header that cannot be sent.
    #[error("has a header that is none")]
    Header,
    /// A file of certificates without one.
    #[error("has a ca_bundle without a certificate in PEM")]
    Certificates,
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Address").field("host", &self.host()).finish_non_exhaustive()
    }
}

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// When the URL is none or would show keys, or a header is none. The error repeats neither.
    pub fn new(url: &str, headers: &[(String, String)], allow_http: bool) -> Result<Self, AddressError> {
        let url = Url::parse(url).map_err(|_| AddressError::Malformed)?;
        match (url.scheme(), url.has_host()) {
            ("https", true) => {}
            ("http", true) if is_local(&url) || allow_http => {}
            ("http", true) => return Err(AddressError::Plain),
            _ => return Err(AddressError::Malformed),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(AddressError::Userinfo);
        }
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: HeaderName = name.parse().map_err(|_| AddressError::Header)?;
            let mut value: HeaderValue = value.parse().map_err(|_| AddressError::Header)?;
            value.set_sensitive(true);
            map.insert(name, value);
        }
        Ok(Self { url, headers: map, timeout: DEFAULT_TIMEOUT, ca: None })
    }

    /// With another limit of time for a request and its answer.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Trusts these certificates, in PEM, beside the system's.
    ///
    /// # Errors
    /// When there is none.
    pub fn with_ca(self, pem: Vec<u8>) -> Result<Self, AddressError> {
        use_ring();
        // Whether a certificate is one shows only in a client.
        let is_usable = |found: Vec<Certificate>| {
            !found.is_empty() && Client::builder().no_proxy().tls_certs_only(found).build().is_ok()
        };
        let is_one = Certificate::from_pem_bundle(&pem).is_ok_and(is_usable);
        is_one.then_some(Self { ca: Some(pem), ..self }).ok_or(AddressError::Certificates)
    }

    /// The host, which may be named.
    #[must_use]
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// A checksum that tells addresses apart without telling them. A query is left out: a key that changes is the same place.
    pub(super) fn checksum(&self) -> u32 {
        let mut place = self.url.clone();
        place.set_query(None);
        crc32fast::hash(place.as_str().as_bytes())
    }

    /// The URL with something put after its path; the URL itself for nothing.
    fn with_path(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        if !path.is_empty() {
            url.set_path(&format!("{}{path}", self.url.path().trim_end_matches('/')));
        }
        url
    }

    /// A text that somebody else wrote, without what he may have repeated of the address and the headers.
    pub(super) fn redact(&self, text: &str) -> String {
        let headers = self.headers.values().filter_map(|value| value.to_str().ok());
        let mut secrets: Vec<String> = headers.flat_map(|value| value.split(' ')).map(str::to_owned).collect();
        secrets.extend(self.url.query().map(str::to_owned));
        secrets.extend(self.url.query_pairs().map(|(_, value)| value.into_owned()));
        let raw_values = self.url.query().into_iter().flat_map(|query| query.split('&'));
        secrets.extend(raw_values.filter_map(|pair| Some(pair.split_once('=')?.1.to_owned())));
        secrets.push(self.url.path().to_owned());
        // Short segments are words such as `events`; keys are longer.
        let segments = self.url.path_segments().into_iter().flatten();
        secrets.extend(segments.filter(|segment| segment.len() >= 8).map(str::to_owned));
        secrets.retain(|secret| secret.len() > 3);
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "…"))
    }
}

/// What came back.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) retry_after: Option<String>,
    pub(super) body: Vec<u8>,
}

/// Why nothing came back, without what is secret.
#[derive(Debug)]
pub(super) struct SendError {
    pub(super) reason: String,
    /// The connection broke before an answer: it may have been closed while idle.
    pub(super) is_broken: bool,
    /// Something hung: of the other connections nothing good is known any more.
    pub(super) is_dubious: bool,
}

impl SendError {
    /// One that says nothing of the connection.
    pub(super) fn other(reason: String) -> Self {
        Self { reason, is_broken: false, is_dubious: false }
    }
}

/// Sends requests to one address.
pub(super) struct Transport {
    address: Address,
    content_type: &'static str,
    largest_answer: usize,
    /// The part of the time for a request after which a connection that moves nothing is given up.
    stall: u32,
    client: Option<(Client, Instant)>,
}

impl Transport {
    pub(super) fn new(address: Address, content_type: &'static str, largest_answer: usize, stall: u32) -> Self {
        Self { address, content_type, largest_answer, stall, client: None }
    }

    pub(super) fn host(&self) -> &str {
        self.address.host()
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// A client whose connections are young; made in the runtime that uses it.
    fn client(&mut self) -> Result<Client, SendError> {
        if let Some((client, made)) = &self.client
            && made.elapsed() < LONGEST_USE
        {
            return Ok(client.clone());
        }
        use_ring();
        let mut builder = Client::builder();
        if is_local(&self.address.url) {
            // A proxy would see in clear text what is meant for this machine.
            builder = builder.no_proxy();
        }
        if self.address.url.scheme() == "http" {
            // Nothing to verify, so nothing is missing where the system has no certificates.
            builder = builder.tls_certs_only(Vec::new());
        }
        if let Some(pem) = &self.address.ca {
            let found = Certificate::from_pem_bundle(pem).unwrap_or_default();
            builder = builder.tls_certs_merge(found);
        }
        let timeout = self.address.timeout;
        let client = builder
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
    pub(super) fn disconnect(&mut self) {
        self.client = None;
    }

    /// The future of requests that are made one after the other. The last one's answer is what counts; those before it stop there only
    /// where the same may go well later.
    pub(super) fn send(
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

/// Whether a URL is of this machine.
pub(super) fn is_local(url: &Url) -> bool {
    matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"))
}

/// Settles what encrypts, for the process.
pub(super) fn use_ring() {
    // Fails when that is settled already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The innermost cause: what lies above it says only that there was one.
pub(super) fn reason(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let kind = if error.is_timeout() { "timed out: " } else { "" };
    format!("{kind}{cause}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(url: &str, allow_http: bool) -> Result<Address, AddressError> {
        Address::new(url, &[("Authorization".into(), "Bearer canary".into())], allow_http)
    }

    #[test]
    fn keys_go_over_https_or_stay_on_this_machine() {
        assert!(address("https://collector.example/v1", false).is_ok());
        assert!(address("http://127.0.0.1:8080/", false).is_ok());
        assert!(address("http://[::1]:8080/", false).is_ok());
        assert_eq!(address("http://collector.example/", false), Err(AddressError::Plain));
        assert!(address("http://collector.example/", true).is_ok());
        assert_eq!(address("https://user:canary@collector.example/", false), Err(AddressError::Userinfo));
        for none in ["", "collector.example", "ftp://collector.example/", "https://"] {
            assert_eq!(address(none, true), Err(AddressError::Malformed), "{none}");
        }
        let bad = Address::new("https://c.example/", &[("a b".into(), "c".into())], false);
        assert_eq!(bad, Err(AddressError::Header));
    }

    #[test]
    fn what_an_answer_repeats_of_keys_is_taken_out() {
        let address = address("https://collector.example/secret-path?key=canary%2Fkey&a=1", false).unwrap();
        let text = address.redact("Bearer canary at /secret-path?key=canary%2Fkey&a=1 and canary/key");
        assert!(!text.contains("canary") && !text.contains("secret-path"), "{text}");
        let hook = address.redact("unknown secret-path, unknown canary%2Fkey");
        assert!(!hook.contains("canary") && !hook.contains("secret-path"), "{hook}");
    }

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
        let mut transport = Transport::new(Address::new(&url, &[], false).unwrap(), "text/plain", 1024, 3);
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

    #[test]
    fn a_path_of_the_address_is_kept() {
        let of = |url: &str| Address::new(url, &[], true).unwrap();
        assert_eq!(of("http://s.example/a/").with_path("/usage").as_str(), "http://s.example/a/usage");
        assert_eq!(of("http://s.example/a/").with_path("").as_str(), "http://s.example/a/");
    }

    #[test]
    fn an_address_shows_its_host_alone() {
        let shown = format!("{:?}", address("https://collector.example/v1?key=canary", false).unwrap());
        assert!(shown.contains("collector.example") && !shown.contains("canary"), "{shown}");
    }
}
