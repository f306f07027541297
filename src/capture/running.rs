//! The output of a stream so far, for budgets that close a stream.

use serde_json::Value;

/// Bytes of text for a token. A part of a stream has at least one token, so languages with more bytes for a token count by parts.
const BYTES_PER_TOKEN: u64 = 4;
/// The fields whose texts are output, in the parts of streams of all providers.
const TEXTS: [&str; 9] =
    ["content", "text", "delta", "partial_json", "arguments", "thinking", "reasoning_content", "reasoning", "response"];

/// Output that was counted from the parts of a stream.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Output {
    parts: u64,
    bytes: u64,
}

impl Output {
    /// Counts a part of a stream, which is JSON. Nothing of it is kept.
    pub(super) fn add(&mut self, data: &[u8]) {
        let Ok(message) = serde_json::from_slice::<Value>(data) else { return };
        let kind = message.get("type").and_then(Value::as_str);
        // Other events with a type, such as the last ones, repeat what the deltas had.
        if kind.is_some_and(|kind| !kind.contains("delta")) {
            return;
        }
        let bytes = text_bytes(&message, false);
        if bytes > 0 || kind == Some("delta") {
            self.parts += 1;
            self.bytes += bytes;
        }
    }

    /// Its tokens, about.
    pub(super) fn tokens(self) -> u64 {
        self.parts.max(self.bytes / BYTES_PER_TOKEN)
    }
}

/// The bytes of the texts of the output in a message. Its nesting is limited by the parser.
fn text_bytes(value: &Value, is_output: bool) -> u64 {
    match value {
        Value::String(text) if is_output => text.len() as u64,
        Value::Array(all) => all.iter().map(|one| text_bytes(one, is_output)).sum(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| text_bytes(value, TEXTS.contains(&name.as_str()))).sum()
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_streams_are_counted_once() {
        let long = "word ".repeat(80);
        let all = [
            (
                serde_json::json!({"choices": [{"delta": {"role": "assistant", "content": long}}], "model": "gpt-4o"}),
                100,
            ),
            (serde_json::json!({"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Hi"}}), 1),
            (serde_json::json!({"type": "response.output_text.delta", "delta": "Hi", "item_id": "i"}), 1),
            (serde_json::json!({"type": "response.completed", "response": {"output": [{"text": long}]}}), 0),
            (serde_json::json!({"candidates": [{"content": {"parts": [{"text": long}], "role": "model"}}]}), 100),
            (serde_json::json!({"message": {"role": "assistant", "content": "Hi"}, "done": false}), 1),
            (serde_json::json!({"type": "delta"}), 1),
            (serde_json::json!({"usage": {"output_tokens": 9}}), 0),
        ];
        for (message, tokens) in all {
            let mut output = Output::default();
            output.add(message.to_string().as_bytes());
            assert_eq!(output.tokens(), tokens, "{message}");
        }
    }
}
