//! What a receiver of OTLP answers: `ExportTraceServiceResponse` or, with an error, `google.rpc.Status` or plain text.

use super::fields::{Field, Fields};

/// The number of rejected spans, and the receiver's message about them, in an `ExportTraceServiceResponse`.
///
/// An empty body means that all spans were accepted. So does a body of another kind: JSON, or a page.
pub(super) fn partial_success(body: &[u8]) -> (u64, Option<String>) {
    let (mut rejected, mut message) = (0, None);
    let mut parts = Fields(body);
    for (number, field) in parts.by_ref() {
        let (1, Field::Bytes(partial)) = (number, field) else { continue };
        let mut fields = Fields(partial);
        for (number, field) in fields.by_ref() {
            match (number, field) {
                // An int64: a negative number would be a fault of the receiver.
                (1, Field::Number(count)) if i64::try_from(count).is_ok() => rejected = count,
                (2, Field::Bytes(text)) => message = words(text),
                _ => {}
            }
        }
        if !fields.is_whole() {
            return (0, None);
        }
    }
    if parts.is_whole() { (rejected, message) } else { (0, None) }
}

/// The message of an error: the second field of `google.rpc.Status`, or the text itself.
pub(super) fn error_message(body: &[u8]) -> Option<String> {
    let mut fields = Fields(body);
    let mut message = None;
    for (number, field) in fields.by_ref() {
        if let (2, Field::Bytes(text)) = (number, field) {
            message = words(text);
        }
    }
    if fields.is_whole() { message } else { words(body) }
}

/// A text that is not empty. Its last character may be cut, because only the beginning of a long body is read.
fn words(bytes: &[u8]) -> Option<String> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&bytes[..error.valid_up_to()]).ok()?,
        Err(_) => return None,
    };
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}
