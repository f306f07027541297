//! An HTTP request as a value: a format creates it and a client sends it.

/// The method of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// Adds the events.
    #[default]
    Post,
    /// Stores the events at the path of the request.
    Put,
}

/// One request to a destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpRequest {
    /// The HTTP method.
    pub method: Method,
    /// The path to append to that of the destination's URL; empty to use the URL itself.
    pub path: String,
    /// Whether the path stands instead of that of the URL.
    pub is_at_root: bool,
    /// Pairs to add to the query of the destination's URL.
    pub query: Vec<(String, String)>,
    /// Headers to add to the destination's own; they override those.
    pub headers: Vec<(&'static str, String)>,
    /// The body before compression.
    pub body: Vec<u8>,
}

impl HttpRequest {
    /// A `POST` to the destination's URL with this body.
    #[must_use]
    pub fn post(content_type: &str, body: Vec<u8>) -> Self {
        Self { headers: vec![("content-type", content_type.to_owned())], body, ..Self::default() }
    }

    /// The same request with this path appended to the destination's URL.
    #[must_use]
    pub fn at(self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self }
    }
}
