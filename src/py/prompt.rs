//! Counts the tokens of a request before it is sent, from the objects that the client was given.
//!
//! The texts are counted where they are. Nothing of them is kept.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};

use crate::tokens::{Encoding, models::encoding_of};

/// The most bytes of text that are looked at.
const MOST: usize = 4 << 20;
/// From here on, the bytes tell the tokens: counting would take longer than a millisecond.
const COUNTED: usize = 32 << 10;
/// Bytes of a token in longer texts.
const BYTES_PER_TOKEN: u64 = 3;
/// The tokens of an image.
const IMAGE: u64 = 2_000;
/// The tokens that each message takes beside its text.
const MESSAGE: u64 = 4;
/// The deepest nesting of a request.
const DEPTH: u32 = 24;
/// Fields that hold no text of the prompt.
const SKIPPED: [&str; 24] = [
    "model",
    "stream",
    "stream_options",
    "extra_headers",
    "extra_query",
    "headers",
    "timeout",
    "metadata",
    "user",
    "store",
    "api_key",
    "base_url",
    "temperature",
    "top_p",
    "seed",
    "stop",
    "service_tier",
    "modalities",
    "cache_control",
    "id",
    "call_id",
    "tool_call_id",
    "detail",
    "media_type",
];
/// Types of parts that are images, and those whose tokens cannot be estimated.
const IMAGES: [&str; 4] = ["image", "image_url", "input_image", "inline_image"];
const UNKNOWN: [&str; 9] =
    ["audio", "input_audio", "file", "input_file", "document", "video", "file_data", "file_search", "container_upload"];

/// What was found in a request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Prompt {
    /// Its tokens, not corrected.
    pub(super) tokens: u64,
    /// Whether a part of it could not be counted.
    pub(super) is_incomplete: bool,
}

struct Walk {
    encoding: Option<std::sync::Arc<Encoding>>,
    bytes: usize,
    found: Prompt,
}

/// Counts the tokens of a request. Exceptions of its objects are ignored: such parts are not counted.
pub(super) fn count(request: &Bound<'_, PyAny>, model: &str) -> Prompt {
    let name = encoding_of(model).unwrap_or("o200k_base");
    let mut walk = Walk { encoding: Encoding::named(name).ok(), bytes: 0, found: Prompt::default() };
    walk.visit(request, DEPTH);
    walk.found
}

impl Walk {
    fn text(&mut self, text: &str) {
        let left = MOST.saturating_sub(self.bytes);
        if text.len() > left {
            self.found.is_incomplete = true;
        }
        let text = &text[..text.floor_char_boundary(left)];
        let counted = &text[..text.floor_char_boundary(COUNTED.saturating_sub(self.bytes))];
        self.bytes += text.len();
        self.found.tokens += match &self.encoding {
            Some(encoding) => encoding.count(counted) as u64,
            None => (counted.len() as u64).div_ceil(BYTES_PER_TOKEN),
        };
        self.found.tokens += ((text.len() - counted.len()) as u64).div_ceil(BYTES_PER_TOKEN);
    }

    fn visit(&mut self, value: &Bound<'_, PyAny>, depth: u32) {
        let Some(depth) = depth.checked_sub(1).filter(|_| self.bytes < MOST) else {
            self.found.is_incomplete = true;
            return;
        };
        if let Ok(text) = value.cast::<PyString>() {
            match text.to_str() {
                Ok(text) => self.text(text),
                Err(_) => self.text(&text.to_string_lossy()),
            }
        } else if let Ok(dict) = value.cast::<PyDict>() {
            self.fields(dict, depth);
        } else if value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>() {
            for item in value.try_iter().into_iter().flatten().map_while(Result::ok) {
                self.visit(&item, depth);
            }
        } else if value.is_instance_of::<PyBytes>() {
            self.found.is_incomplete = true;
        } else if let Ok(fields) = value.getattr("__dict__").and_then(|fields| Ok(fields.cast_into::<PyDict>()?)) {
            // A model of pydantic, a dataclass and such. Classes and functions are described by their schema, which the client makes.
            if value.is_callable() {
                self.found.tokens += MESSAGE * 16;
            } else {
                self.fields(&fields, depth);
            }
        }
    }

    fn fields(&mut self, fields: &Bound<'_, PyDict>, depth: u32) {
        let kind = fields.get_item("type").ok().flatten();
        let kind = kind.as_ref().and_then(|kind| kind.cast::<PyString>().ok()?.to_str().ok());
        if kind.is_some_and(|kind| IMAGES.contains(&kind)) || is_image(fields) {
            self.found.tokens += IMAGE;
            return;
        }
        if kind.is_some_and(|kind| UNKNOWN.contains(&kind)) || has(fields, &["file_data", "fileData", "input_audio"]) {
            self.found.is_incomplete = true;
            return;
        }
        if has(fields, &["role"]) {
            self.found.tokens += MESSAGE;
        }
        // Copied, because attributes of odd objects can run code that changes the dict.
        let items: Vec<_> = fields.iter().collect();
        for (name, value) in items {
            let Some(name) = name.cast::<PyString>().ok().and_then(|name| name.to_str().ok()) else { continue };
            if !name.starts_with('_') && !SKIPPED.contains(&name) && !value.is_none() {
                // The names of a schema's properties are a part of the prompt.
                if depth < DEPTH - 3 && !matches!(name, "role" | "content" | "type" | "text" | "parts") {
                    self.text(name);
                }
                self.visit(&value, depth);
            }
        }
    }
}

fn has(fields: &Bound<'_, PyDict>, names: &[&str]) -> bool {
    names.iter().any(|name| fields.get_item(name).ok().flatten().is_some_and(|value| !value.is_none()))
}

/// Whether a part is an image in the form of Gemini or Bedrock.
fn is_image(fields: &Bound<'_, PyDict>) -> bool {
    if has(fields, &["image_url", "inline_data", "inlineData"]) {
        return true;
    }
    let image = fields.get_item("image").ok().flatten();
    image.is_some_and(|image| image.cast::<PyDict>().is_ok_and(|image| has(image, &["source", "bytes", "format"])))
}
