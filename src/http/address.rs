//! Where a destination is: its URL, its headers, its certificates, none of which is ever shown but the host.

use std::time::Duration;

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::builder::{has_certificates, is_local};

/// A whole request and its answer, unless the user says otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// Where a remote destination is, and how it is addressed.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) timeout: Duration,
    /// Certificates in PEM that are trusted beside the system's.
    pub(super) ca: Option<Vec<u8>>,
}

/// Why an address is invalid.
#[derive(thiserror::Error, Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressError {
    /// No URL, or one without a host.
    #[error("url: it has no host, or another scheme than https; give a URL such as cloudevents+https://host/path")]
    Malformed,
    /// Keys in clear text.
    #[error("url: it is plain http to another machine, which shows keys; use https, or say allow_http=True")]
    Plain,
    /// A password in the URL.
    #[error("url: it holds a user or a password; give them as a header, or token=…")]
    Userinfo,
    /// A header that cannot be sent.
    #[error("headers: a name or a value is not allowed in HTTP; take out line breaks and other control characters")]
    Header,
    /// A file of certificates without one.
    #[error(
        "ca_bundle: it holds no valid certificate in PEM; name a file that begins with -----BEGIN CERTIFICATE-----"
    )]
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
    /// When the URL is invalid or would show keys, or a header is invalid. The error repeats neither.
    pub fn new(url: &str, headers: &[(String, String)], allow_http: bool) -> Result<Self, AddressError> {
        // The parser would take what follows further slashes for the host, and a host is shown.
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

    /// With another limit of time for a request and its answer.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Trusts these certificates, in PEM, beside the system's.
    ///
    /// # Errors
    /// When it holds no valid certificate.
    pub fn with_ca(self, pem: Vec<u8>) -> Result<Self, AddressError> {
        has_certificates(&pem).then_some(Self { ca: Some(pem), ..self }).ok_or(AddressError::Certificates)
    }

    /// The host, which may be named.
    #[must_use]
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// A checksum that tells addresses apart without telling them. A query is left out: a key that changes is the same place.
    #[must_use]
    pub fn checksum(&self) -> u32 {
        let mut place = self.url.clone();
        place.set_query(None);
        crc32fast::hash(place.as_str().as_bytes())
    }

    /// The URL with something put after its path and its query.
    pub(super) fn with_path(&self, path: &str, query: &[(String, String)]) -> Url {
        let mut url = self.url.clone();
        if !path.is_empty() {
            url.set_path(&format!("{}{path}", self.url.path().trim_end_matches('/')));
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    /// A text from elsewhere, without what it repeats of the address and the headers.
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
    fn keys_go_over_https_or_stay_on_this_machine() {
        assert!(address("https://collector.example/v1", false).is_ok());
        assert!(address("http://127.0.0.1:8080/", false).is_ok());
        assert!(address("http://[::1]:8080/", false).is_ok());
        assert_eq!(address("http://collector.example/", false), Err(AddressError::Plain));
        assert!(address("http://collector.example/", true).is_ok());
        assert_eq!(address("https://user:canary@collector.example/", false), Err(AddressError::Userinfo));
        for none in ["", "collector.example", "ftp://collector.example/", "https://", "https:///path"] {
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

    #[test]
    fn a_path_of_the_address_is_kept() {
        let of = |url: &str| Address::new(url, &[], true).unwrap();
        assert_eq!(of("http://s.example/a/").with_path("/usage", &[]).as_str(), "http://s.example/a/usage");
        let query = [("q".to_owned(), "a b&c".to_owned())];
        assert_eq!(of("http://s.example/a?k=1").with_path("", &query).as_str(), "http://s.example/a?k=1&q=a+b%26c");
        assert_eq!(of("http://s.example/a/").with_path("", &[]).as_str(), "http://s.example/a/");
    }

    #[test]
    fn an_address_shows_its_host_alone() {
        let shown = format!("{:?}", address("https://collector.example/v1?key=canary", false).unwrap());
        assert!(shown.contains("collector.example") && !shown.contains("canary"), "{shown}");
    }
}
