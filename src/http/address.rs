//! The address of a destination: URL, headers and certificates. Only the host appears in logs and errors.

use std::time::Duration;

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::builder::{has_certificates, is_local};
use crate::protocol::HttpRequest;

/// The time for a whole request and its response, unless the user sets another.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// The address of a remote destination.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) timeout: Duration,
    /// PEM certificates to trust in addition to the system's.
    pub(super) ca: Option<Vec<u8>>,
}

/// Why an address is invalid.
#[derive(thiserror::Error, Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressError {
    /// The text is not an HTTPS URL with a host.
    #[error("url: it has no host, or its scheme is not https; give a URL such as cloudevents+https://host/path")]
    Malformed,
    /// The keys would be sent in clear text.
    #[error("url: plain http to another machine would expose keys; use https, or set allow_http=True")]
    Plain,
    /// The URL holds a user name or a password.
    #[error("url: it holds a user or a password; give them as a header, or as token=…")]
    Userinfo,
    /// A header is not valid in HTTP.
    #[error("headers: a name or a value is invalid in HTTP; remove line breaks and other control characters")]
    Header,
    /// The certificate file holds no valid certificate.
    #[error(
        "ca_bundle: the file holds no valid PEM certificate; name a file that begins with -----BEGIN CERTIFICATE-----"
    )]
    Certificates,
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Address").field("host", &self.host()).finish_non_exhaustive()
    }
}

impl Address {
    /// Checks a URL and headers and makes an address of them.
    ///
    /// # Errors
    /// If the URL or a header is invalid, or the URL would expose keys. The error contains neither the URL nor a header.
    pub fn new(url: &str, headers: &[(String, String)], allow_http: bool) -> Result<Self, AddressError> {
        // The parser skips further slashes and takes the next part as the host, which may be logged.
        if url.split_once("://").is_none_or(|(_, place)| place.starts_with(['/', '\\'])) {
            return Err(AddressError::Malformed);
        }
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

    /// Sets another time limit for a request and its response.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Trusts these PEM certificates in addition to the system's.
    ///
    /// # Errors
    /// If it holds no valid certificate.
    pub fn with_ca(self, pem: Vec<u8>) -> Result<Self, AddressError> {
        has_certificates(&pem).then_some(Self { ca: Some(pem), ..self }).ok_or(AddressError::Certificates)
    }

    /// The host. It is not secret.
    #[must_use]
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// A checksum that identifies the address without revealing it. It ignores the query, so that a changed key keeps the identity.
    #[must_use]
    pub fn checksum(&self) -> u32 {
        let mut place = self.url.clone();
        place.set_query(None);
        crc32fast::hash(place.as_str().as_bytes())
    }

    /// The URL of a request: the path and the query of the request are appended to those of the address.
    pub(super) fn url_of(&self, request: &HttpRequest) -> Url {
        let mut url = self.url.clone();
        let base = if request.is_at_root { "" } else { self.url.path().trim_end_matches('/') };
        if !request.path.is_empty() {
            url.set_path(&format!("{base}{}", request.path));
        }
        if !request.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&request.query);
        }
        url
    }

    /// The path of the URL.
    #[must_use]
    pub fn path(&self) -> &str {
        self.url.path()
    }

    /// Removes everything from a foreign text that repeats parts of the URL or the headers.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn address(url: &str, allow_http: bool) -> Result<Address, AddressError> {
        Address::new(url, &[("Authorization".into(), "Bearer canary".into())], allow_http)
    }

    #[test]
    fn keys_are_sent_over_https_or_to_this_machine_only() {
        assert!(address("https://collector.example/v1", false).is_ok());
        assert!(address("http://127.0.0.1:8080/", false).is_ok());
        assert!(address("http://[::1]:8080/", false).is_ok());
        assert_eq!(address("http://collector.example/", false), Err(AddressError::Plain));
        assert!(address("http://collector.example/", true).is_ok());
        assert_eq!(address("https://user:canary@collector.example/", false), Err(AddressError::Userinfo));
        for invalid in ["", "collector.example", "ftp://collector.example/", "https://", "https:///path"] {
            assert_eq!(address(invalid, true), Err(AddressError::Malformed), "{invalid}");
        }
        let bad = Address::new("https://c.example/", &[("a b".into(), "c".into())], false);
        assert_eq!(bad, Err(AddressError::Header));
    }

    #[test]
    fn keys_repeated_in_a_response_are_redacted() {
        let address = address("https://collector.example/secret-path?key=canary%2Fkey&a=1", false).unwrap();
        let text = address.redact("Bearer canary at /secret-path?key=canary%2Fkey&a=1 and canary/key");
        assert!(!text.contains("canary") && !text.contains("secret-path"), "{text}");
        let hook = address.redact("unknown secret-path, unknown canary%2Fkey");
        assert!(!hook.contains("canary") && !hook.contains("secret-path"), "{hook}");
    }

    #[test]
    fn paths_and_queries_are_appended_to_those_of_the_address() {
        let of = |url: &str| Address::new(url, &[], true).unwrap();
        let request = |path: &str| HttpRequest { path: path.to_owned(), ..HttpRequest::default() };
        assert_eq!(of("http://s.example/a/").url_of(&request("/usage")).as_str(), "http://s.example/a/usage");
        let query = vec![("q".to_owned(), "a b&c".to_owned())];
        let asked = HttpRequest { query, ..request("") };
        assert_eq!(of("http://s.example/a?k=1").url_of(&asked).as_str(), "http://s.example/a?k=1&q=a+b%26c");
        assert_eq!(of("http://s.example/a/").url_of(&request("")).as_str(), "http://s.example/a/");
        let at_root = HttpRequest { is_at_root: true, ..request("/") };
        assert_eq!(of("http://s.example/a?k=1").url_of(&at_root).as_str(), "http://s.example/?k=1");
    }

    #[test]
    fn debug_output_shows_only_the_host() {
        let shown = format!("{:?}", address("https://collector.example/v1?key=canary", false).unwrap());
        assert!(shown.contains("collector.example") && !shown.contains("canary"), "{shown}");
    }
}
