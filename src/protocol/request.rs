//! A request over HTTP as a value: what a format makes and a client sends.

/// How a request is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// The events are added.
    #[default]
    Post,
    /// The events are put at the path that is named.
    Put,
}

/// One request to a destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpRequest {
    /// How it is made.
    pub method: Method,
    /// What is put after the path of the destination's URL; empty for the URL itself.
    pub path: String,
    /// Pairs that are added to the query of the destination's URL.
    pub query: Vec<(String, String)>,
    /// Headers beside the destination's own; they win over those.
    pub headers: Vec<(&'static str, String)>,
    /// The body as it is before compression.
    pub body: Vec<u8>,
}

impl HttpRequest {
    /// A `POST` to the destination's URL with this body.
    #[must_use]
    pub fn post(content_type: &str, body: Vec<u8>) -> Self {
        Self { headers: vec![("content-type", content_type.to_owned())], body, ..Self::default() }
    }

    /// The same request with a path after the destination's.
    #[must_use]
    pub fn at(self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self }
    }
}
