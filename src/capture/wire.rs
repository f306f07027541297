//! Unparsed fields of a response.
//!
//! A field is kept as a slice of the response, and parsed only when it is needed. So no response, however large or deeply nested,
//! takes more memory than its own bytes. Texts are cut before they are copied, and usage reports of more than [`MAX_REPORT`] bytes
//! are not parsed at all.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// The most bytes of a usage report that is parsed. The longest known reports, Anthropic's with an entry for each of its own calls, are
/// a hundred times shorter. The parsed values take up to sixteen times as much memory as the report.
const MAX_REPORT: usize = 256 << 10;
/// The most bytes of a JSON text that are read. Even if everything is escaped, this is more than an event records.
const MAX_TEXT: usize = 4 << 10;

/// An unparsed field of a response. It is empty if the field is absent or null.
#[derive(Clone, Copy, Default)]
pub(super) struct Json<'a>(&'a str);

/// The usage report is too large to be valid.
#[derive(Debug)]
pub(super) struct TooLarge;

impl<'de: 'a, 'a> Deserialize<'de> for Json<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&'de RawValue>::deserialize(deserializer)?.get();
        Ok(Self(if raw == "null" { "" } else { raw }))
    }
}

impl<'a> Json<'a> {
    /// Whether it is present and not null.
    pub(super) fn is_some(self) -> bool {
        !self.0.is_empty()
    }

    /// This field or, if it is absent, the other one.
    pub(super) fn or(self, other: Self) -> Self {
        if self.is_some() { self } else { other }
    }

    /// This field; none if it is an empty text.
    pub(super) fn unless_blank(self) -> Self {
        if self.0 == "\"\"" { Self::default() } else { self }
    }

    pub(super) fn is_true(self) -> bool {
        self.0 == "true"
    }

    pub(super) fn is_object(self) -> bool {
        self.0.starts_with('{')
    }

    pub(super) fn is_list(self) -> bool {
        self.0.starts_with('[')
    }

    /// Whether its bytes contain this text. That is cheaper than parsing it.
    pub(super) fn contains(self, text: &str) -> bool {
        self.0.len() > text.len() && memchr::memmem::find(self.0.as_bytes(), text.as_bytes()).is_some()
    }

    /// How many texts in it begin with this. `start` includes the quote. A quote inside of a text is escaped.
    pub(super) fn texts_from(self, start: &str) -> u64 {
        let bytes = self.0.as_bytes();
        let is_start = |at: &usize| at.checked_sub(1).is_none_or(|before| bytes[before] != b'\\');
        memchr::memmem::find_iter(bytes, start.as_bytes()).filter(is_start).count() as u64
    }

    /// Calls `look` with each object of a list. Other items are ignored.
    pub(super) fn each<T: Deserialize<'a>>(self, mut look: impl FnMut(T)) {
        self.items(|item: Self| {
            if let Some(item) = item.object() {
                look(item);
            }
        });
    }

    /// Calls `look` with each text of a list.
    pub(super) fn each_text(self, mut look: impl FnMut(&str)) {
        self.items(|item: Self| {
            if let Some(text) = item.text() {
                look(&text);
            }
        });
    }

    /// Calls `look` with each item of a list; `None` if this is not a list, or has an item of another type.
    pub(super) fn items<T: Deserialize<'a>>(self, mut look: impl FnMut(T)) -> Option<()> {
        if !self.is_list() {
            return None;
        }
        for_each(self.0, |item| {
            look(item);
            Some(())
        })
    }

    /// The first item of a list.
    pub(super) fn first(self) -> Option<Self> {
        let mut found = None;
        self.items(|item: Self| {
            found.get_or_insert(item);
        });
        found.filter(|item| item.is_some())
    }

    /// Whether it reports a failure: a text, or an object that is not empty.
    pub(super) fn is_failure(self) -> bool {
        let says = |value: &Value| match value {
            Value::Null | Value::Bool(false) => false,
            Value::String(text) => !text.is_empty() && text != "0",
            Value::Number(number) => number.as_f64() != Some(0.0),
            Value::Array(items) => !items.is_empty(),
            Value::Object(fields) => !fields.is_empty(),
            Value::Bool(true) => true,
        };
        if !self.is_some() {
            return false;
        }
        match self.value() {
            // A value that is too large to be parsed is not empty.
            Err(TooLarge) => true,
            Ok(Some(Value::Object(fields))) => fields.values().any(says),
            Ok(value) => value.as_ref().is_some_and(says),
        }
    }

    /// Whether it is the code of HTTP for a success.
    pub(super) fn is_success(self) -> bool {
        matches!(self.0, "200" | "\"200\"")
    }

    /// The text, if it is one. A very long text is cut.
    pub(super) fn text(self) -> Option<Cow<'a, str>> {
        let inner = self.0.strip_prefix('"')?.strip_suffix('"')?;
        if inner.len() <= MAX_TEXT {
            return read_text(self.0);
        }
        let head = &inner[..inner.floor_char_boundary(MAX_TEXT)];
        // The cut may be in the middle of an escape. The longest escape is a pair of `\\uXXXX`.
        let ends = (0..=12).map(|back| head.floor_char_boundary(head.len() - back));
        ends.map(|end| format!("\"{}\"", &head[..end])).find_map(|json| Some(read_text(&json)?.into_owned().into()))
    }

    /// The parsed value of a count or a usage report.
    pub(super) fn value(self) -> Result<Option<Value>, TooLarge> {
        if self.0.len() > MAX_REPORT {
            return Err(TooLarge);
        }
        Ok(read_report(self.0))
    }

    /// The object, if it is one.
    pub(super) fn object<T: Deserialize<'a>>(self) -> Option<T> {
        self.is_object().then(|| serde_json::from_str(self.0).ok()).flatten()
    }
}

/// Parses a usage report; `None` if it is not valid JSON or too large.
#[must_use]
pub fn read_report(json: &str) -> Option<Value> {
    if json.len() > MAX_REPORT { None } else { serde_json::from_str(json).ok() }
}

fn read_text(json: &str) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str::<Text<'_>>(json).ok().map(|text| text.0)
}

/// Calls `look` with each item of a list; `None` if this is not a list, if an item has another type, or if `look` rejects one.
pub(super) fn for_each<'a, T: Deserialize<'a>>(list: &'a str, look: impl FnMut(T) -> Option<()>) -> Option<()> {
    struct Items<F, T>(F, PhantomData<T>);
    impl<'de, T: Deserialize<'de>, F: FnMut(T) -> Option<()>> Visitor<'de> for Items<F, T> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
            while let Some(item) = items.next_element()? {
                (self.0)(item).ok_or_else(|| A::Error::custom("not an object"))?;
            }
            Ok(())
        }
    }
    serde_json::Deserializer::from_str(list).deserialize_seq(Items(look, PhantomData)).ok()
}
