//! OpenTelemetry: OTLP over HTTP in binary protobuf, one span per event.
//!
//! A span may arrive late, twice or from another process, unlike a counter. Its ids derive from the event's id, so a repeated span is
//! recognized as the same one.
//!
//! ```text
//! ExportTraceServiceRequest {1: ResourceSpans {1: Resource, 2: ScopeSpans {1: InstrumentationScope, 2: Span, 2: Span, …}}}
//! ```

mod fields;
mod response;
mod span;
mod wire;

use self::response::{error_message, partial_success};
use self::span::{Span, TYPICAL_LENGTH};
use self::wire::{Value, put_bytes, put_message, put_pair};
use super::format::{Format, Options, Protocol};
use super::limits::BatchLimits;
use super::request::HttpRequest;
use super::verdict::{Answer, Verdict, by_status};
use crate::event::UsageEvent;

/// Some receivers compare this text exactly, without parameters.
const CONTENT_TYPE: &str = "application/x-protobuf";
/// The dialect without attributes that only single receivers read.
const PLAIN_DIALECT: &str = "genai";

/// The entry of this format in the table.
pub(super) const FORMAT: Format = Format::new("otlp", true, |options| Box::new(Otlp::new(options)));

/// The wire format.
pub struct Otlp {
    is_plain: bool,
    compresses: bool,
    /// The fields `Resource` and `InstrumentationScope`, which are the same in every request.
    resource: Vec<u8>,
    scope: Vec<u8>,
}

impl Otlp {
    /// The format with these options.
    #[must_use]
    pub fn new(options: &Options) -> Self {
        let mut attributes = Vec::new();
        for (key, value) in &options.resource {
            put_pair(&mut attributes, 1, (b"", key.as_bytes()), Value::Text(value.as_bytes()));
        }
        let mut this = Self {
            is_plain: options.dialect.as_deref() == Some(PLAIN_DIALECT),
            compresses: !options.is_uncompressed,
            resource: Vec::new(),
            scope: Vec::new(),
        };
        put_bytes(&mut this.resource, 1, &attributes);
        let mut scope = Vec::new();
        put_bytes(&mut scope, 1, b"taximeter");
        put_bytes(&mut scope, 2, env!("CARGO_PKG_VERSION").as_bytes());
        put_bytes(&mut this.scope, 1, &scope);
        this
    }
}

impl Protocol for Otlp {
    fn encode(&self, events: &[UsageEvent<'_>]) -> Vec<HttpRequest> {
        // Nearly all spans have 700 to 1,100 bytes. Only the room for the lengths of the whole depends on it.
        let likely = events.len() * 900;
        let mut body = Vec::with_capacity(self.resource.len() + self.scope.len() + events.len() * TYPICAL_LENGTH);
        let mut scratch = Vec::new();
        put_message(&mut body, 1, likely, |body| {
            body.extend_from_slice(&self.resource);
            put_message(body, 2, likely, |body| {
                body.extend_from_slice(&self.scope);
                for event in events {
                    Span::new(event, self.is_plain).put(body, 2, &mut scratch);
                }
            });
        });
        vec![HttpRequest::post(CONTENT_TYPE, body)]
    }

    fn limits(&self) -> BatchLimits {
        BatchLimits { compresses: self.compresses, ..BatchLimits::default() }
    }

    fn verdict(&self, answer: &Answer<'_>, sent: u64) -> Verdict {
        match by_status(answer) {
            // Rejected spans must not be sent again.
            Verdict::Accepted { .. } => Verdict::Accepted { rejected: partial_success(answer.body).0.min(sent) },
            other => other,
        }
    }

    fn message(&self, answer: &Answer<'_>) -> Option<String> {
        match answer.status {
            200..=299 => match partial_success(answer.body) {
                (0, message) => message,
                (rejected, message) => {
                    Some(format!("{rejected} spans rejected: {}", message.as_deref().unwrap_or("no reason given")))
                }
            },
            _ => error_message(answer.body),
        }
    }
}

#[cfg(test)]
mod tests;
