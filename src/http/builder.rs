//! The only place where HTTP clients are built, and the text of a request's error.

use reqwest::redirect::{Action, Attempt};
use reqwest::{Certificate, Client, ClientBuilder, Url};

const MAX_REDIRECTS: usize = 5;

/// What a client must know about the server it connects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer<'a> {
    /// Whether to use the system's proxies.
    pub(super) has_proxy: bool,
    /// Whether the connection uses TLS and certificates are verified.
    pub(super) is_encrypted: bool,
    /// PEM certificates to trust in addition to the system's.
    pub(super) ca: Option<&'a [u8]>,
}

impl<'a> Peer<'a> {
    pub(super) fn of(url: &Url, ca: Option<&'a [u8]>) -> Self {
        // No proxy for this machine: the proxy would see requests in clear text.
        Self { has_proxy: !is_local(url), is_encrypted: url.scheme() == "https", ca }
    }
}

/// A client builder for such a server.
pub(super) fn client_builder(peer: Peer<'_>) -> ClientBuilder {
    // The TLS provider can be set once per process. This fails if it is already set, which is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder();
    if !peer.has_proxy {
        builder = builder.no_proxy();
    }
    if !peer.is_encrypted {
        // Without TLS, no certificates are loaded, so the client also works on systems that have none.
        builder = builder.tls_certs_only(Vec::new());
    }
    if let Some(pem) = peer.ca {
        builder = builder.tls_certs_merge(Certificate::from_pem_bundle(pem).unwrap_or_default());
    }
    builder
}

/// Whether a client can be built with the certificates in this PEM text. Only building the client shows whether they are valid.
pub(super) fn has_certificates(pem: &[u8]) -> bool {
    let is_usable = |found: Vec<Certificate>| {
        let peer = Peer { has_proxy: false, is_encrypted: true, ca: None };
        !found.is_empty() && client_builder(peer).tls_certs_only(found).build().is_ok()
    };
    Certificate::from_pem_bundle(pem).is_ok_and(is_usable)
}

/// Follows redirects that keep method, body and origin. Others would lose the event or expose the key to another host.
pub(super) fn follow_same_origin(attempt: Attempt<'_>) -> Action {
    let is_same = attempt.previous().last().is_some_and(|last| last.origin() == attempt.url().origin());
    if is_same && matches!(attempt.status().as_u16(), 307 | 308) && attempt.previous().len() <= MAX_REDIRECTS {
        attempt.follow()
    } else {
        attempt.stop()
    }
}

/// Whether a URL points to this machine.
pub(super) fn is_local(url: &Url) -> bool {
    matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"))
}

/// The innermost cause of an error. The outer ones add no details.
pub(super) fn reason(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let kind = if error.is_timeout() { "timed out: " } else { "" };
    format!("{kind}{cause}")
}
