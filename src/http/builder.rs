//! The one place where clients of requests are built, and what is told of a request that failed.

use reqwest::{Certificate, Client, ClientBuilder, Url};

/// What a client is told of the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer<'a> {
    /// Whether the system's proxies lead to it.
    pub(super) has_proxy: bool,
    /// Whether certificates are verified: plain HTTP has no certificates.
    pub(super) is_encrypted: bool,
    /// Certificates in PEM that are trusted beside the system's.
    pub(super) ca: Option<&'a [u8]>,
}

impl<'a> Peer<'a> {
    pub(super) fn of(url: &Url, ca: Option<&'a [u8]>) -> Self {
        // A proxy would see in clear text what is meant for this machine.
        Self { has_proxy: !is_local(url), is_encrypted: url.scheme() == "https", ca }
    }
}

/// A builder of clients for such a peer.
pub(super) fn client_builder(peer: Peer<'_>) -> ClientBuilder {
    // What encrypts is settled once for the process; this fails when it is settled already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder();
    if !peer.has_proxy {
        builder = builder.no_proxy();
    }
    if !peer.is_encrypted {
        // Nothing to verify, so nothing is missing where the system has no certificates.
        builder = builder.tls_certs_only(Vec::new());
    }
    if let Some(pem) = peer.ca {
        builder = builder.tls_certs_merge(Certificate::from_pem_bundle(pem).unwrap_or_default());
    }
    builder
}

/// Whether PEM holds certificates that a client can be built with: whether one is valid shows only there.
pub(super) fn has_certificates(pem: &[u8]) -> bool {
    let is_usable = |found: Vec<Certificate>| {
        let peer = Peer { has_proxy: false, is_encrypted: true, ca: None };
        !found.is_empty() && client_builder(peer).tls_certs_only(found).build().is_ok()
    };
    Certificate::from_pem_bundle(pem).is_ok_and(is_usable)
}

/// Whether a URL is of this machine.
pub(super) fn is_local(url: &Url) -> bool {
    matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"))
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
