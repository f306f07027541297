//! The few relevant fields of a response in any wire format. All others are skipped and not kept.
//!
//! A field is kept as a slice of the response, and parsed only when it is needed. So no response, however large or deeply nested,
//! takes more memory than its own bytes. Texts are cut before they are copied, and usage reports of more than [`MAX_REPORT`] bytes
//! are not parsed at all.

use std::borrow::Cow;
use std::fmt;

use aho_corasick::{AhoCorasick, Match};
use once_cell::race::OnceBox;
use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::tables::METRICS;
use super::usage::Family;

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

    /// Calls `look` with each object of a list.
    pub(super) fn each(self, mut look: impl FnMut(Item<'a>)) {
        if self.is_list() {
            for_each(self.0, |item: Self| {
                if let Some(item) = item.item() {
                    look(item);
                }
                Some(())
            });
        }
    }

    /// Calls `look` with each text of a list.
    pub(super) fn each_text(self, mut look: impl FnMut(&str)) {
        if self.is_list() {
            for_each(self.0, |item: Self| {
                if let Some(text) = item.text() {
                    look(&text);
                }
                Some(())
            });
        }
    }

    /// The first item of a list.
    pub(super) fn first(self) -> Option<Self> {
        let mut found = None;
        if self.is_list() {
            for_each(self.0, |item: Self| {
                found.get_or_insert(item);
                Some(())
            });
        }
        found.filter(|item: &Self| item.is_some())
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
    pub(super) fn message(self) -> Option<Message<'a>> {
        self.is_object().then(|| serde_json::from_str(self.0).ok()).flatten()
    }

    /// The object, if it is one, as an item of a list or a nested object.
    pub(super) fn item(self) -> Option<Item<'a>> {
        self.is_object().then(|| serde_json::from_str(self.0).ok()).flatten()
    }

    /// Summarizes a list of answers. `reason` selects the finish reason of an answer. `None` if this is not a list of objects.
    pub(super) fn answers(self, reason: impl Fn(&Message<'a>) -> Json<'a>) -> Option<Answers<'a>> {
        let mut answers = Answers::default();
        for_each(self.0, |answer: Json<'a>| {
            // Some providers write an empty text until they know the reason.
            let reason = Some(reason(&answer.message()?)).filter(|reason| reason.0 != "\"\"").unwrap_or_default();
            answers.count += 1;
            answers.has_reason |= reason.is_some();
            answers.reason = answers.reason.take().or_else(|| reason.text());
            Some(())
        })?;
        Some(answers)
    }

    /// The image generation tool in a list of tools, with only its type and model.
    pub(super) fn image_tool(self) -> Option<Value> {
        let mut found = None;
        for_each(self.0, |tool: Json<'a>| {
            if found.is_none()
                && let Some(tool) = tool.message()
                && tool.r#type.text().is_some_and(|kind| kind == "image_generation")
            {
                found = Some(json!({"type": "image_generation", "model": tool.model.text()}));
            }
            Some(())
        })?;
        found
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

/// Calls `look` with each item of a list; `None` if this is not a list, or if `look` rejects an item.
fn for_each<'a>(list: &'a str, look: impl FnMut(Json<'a>) -> Option<()>) -> Option<()> {
    struct Items<F>(F);
    impl<'de, F: FnMut(Json<'de>) -> Option<()>> Visitor<'de> for Items<F> {
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
    serde_json::Deserializer::from_str(list).deserialize_seq(Items(look)).ok()
}

/// A summary of the answers of a response.
#[derive(Default)]
pub(super) struct Answers<'a> {
    pub(super) count: usize,
    /// The first reason that is a text.
    pub(super) reason: Option<Cow<'a, str>>,
    /// Whether any answer has a finish reason.
    pub(super) has_reason: bool,
}

macro_rules! fields_of {
    ($(#[$struct_doc:meta])* $message:ident { $($(#[$doc:meta])* $field:ident: $($name:literal)|+;)+ }) => {
        $(#[$struct_doc])*
        #[derive(Default)]
        pub(super) struct $message<'a> { $($(#[$doc])* pub(super) $field: Json<'a>),+ }

        const _: () = {
            #[derive(Clone, Copy)]
            #[expect(non_camel_case_types, reason = "the names of the fields")]
            enum Name { $($field,)+ other }

            struct NameVisitor;

            struct MessageVisitor<'a>(std::marker::PhantomData<&'a ()>);

            impl<'de> Visitor<'de> for NameVisitor {
                type Value = Name;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("a name")
                }

                fn visit_str<E: Error>(self, text: &str) -> Result<Name, E> {
                    Ok(match text { $($($name)|+ => Name::$field,)+ _ => Name::other })
                }
            }

            impl<'de: 'a, 'a> Visitor<'de> for MessageVisitor<'a> {
                type Value = $message<'a>;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("an object")
                }

                fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<$message<'a>, A::Error> {
                    let mut message = $message::default();
                    while let Some(found) = fields.next_key::<Name>()? {
                        match found {
                            $(Name::$field => message.$field = fields.next_value()?,)+
                            Name::other => drop(fields.next_value::<IgnoredAny>()?),
                        }
                    }
                    Ok(message)
                }
            }

            impl<'de> Deserialize<'de> for Name {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    deserializer.deserialize_identifier(NameVisitor)
                }
            }

            impl<'de: 'a, 'a> Deserialize<'de> for $message<'a> {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    deserializer.deserialize_map(MessageVisitor(std::marker::PhantomData))
                }
            }
        };
    };
}

fields_of! {
/// An item of a list in a response, or an object inside of one: an answer, a tool that was used, an error.
Item {
    r#type: "type";
    status: "status";
    error: "error";
    message: "message";
    delta: "delta";
    usage: "usage";
    action: "action";
    container_id: "container_id";
    executed_tools: "executed_tools";
    tool_calls: "tool_calls";
    function: "function";
    called: "name";
    code: "code";
    status_code: "status_code";
    /// The sources of an answer of Gemini.
    grounding: "groundingMetadata" | "grounding_metadata";
    web_queries: "webSearchQueries" | "web_search_queries";
    grounding_chunks: "groundingChunks" | "grounding_chunks";
    maps: "maps";
    retrieved: "retrievedContext" | "retrieved_context";
    titan_count: "tokenCount";
    /// Bedrock's routing: the model that a prompt router invoked.
    router: "promptRouter";
    invoked: "invokedModelId";
}
}

fields_of! {
/// A response body, one event of a stream, or an object inside of one. If a name occurs twice, the last one counts.
Message {
    r#type: "type";
    id: "id";
    model: "model";
    usage: "usage";
    service_tier: "service_tier" | "serviceTier";
    /// Bedrock's routing: the model that a prompt router invoked.
    trace: "trace";
    status: "status";
    stop_reason: "stop_reason" | "stopReason";
    choices: "choices";
    /// The content that an event adds. In some formats it is a text.
    delta: "delta";
    error: "error";
    /// The complete OpenAI response in its status events, or the complete Cohere response in the last event of its first version. For
    /// Ollama, the text of the answer.
    response: "response";
    /// The complete Anthropic message in the event that starts it, or an answer.
    whole: "message";
    /// Gemini's names.
    gemini_model: "gemini_model" | "modelVersion" | "model_version";
    gemini_usage: "gemini_usage" | "usageMetadata" | "usage_metadata";
    candidates: "candidates";
    candidate_reason: "finishReason";
    /// Whether an OpenAI response is generated in the background.
    background: "background";
    /// The result of one request in an Anthropic batch.
    result: "result";
    /// The usage of tools that run at OpenAI, separate from that of the model.
    tool_usage: "tool_usage";
    tools: "tools";
    /// The usage of Mistral's document reader.
    usage_info: "usage_info";
    /// The usage of the model that draws for OpenAI's image models.
    svg_usage: "svg_usage";
    /// The complete Gemini interaction in its status events.
    interaction: "interaction";
    /// The usage in Groq's streams, in addition to or instead of the usual field.
    x_groq: "x_groq";
    /// Bedrock's metrics in the last message of a stream in any format.
    bedrock: "amazon-bedrock-invocationMetrics";
    /// The type of an event, in Gemini's interactions and in Cohere's first version.
    event_type: "event_type";
    /// Cohere's usage in its first version, for embeddings and for reranking; and its finish reason.
    meta: "meta";
    finish_reason: "finish_reason";
    /// Ollama's fields, all at the top level.
    done: "done";
    done_reason: "done_reason";
    prompt_eval_count: "prompt_eval_count";
    eval_count: "eval_count";
    /// The items of an OpenAI response: its texts, and the tools that were used.
    output: "output";
    /// The results of the images endpoint, of embeddings and of all kinds of lists.
    data: "data";
    object: "object";
    web_search: "web_search";
    /// `MiniMax`'s report of a failure.
    base_resp: "base_resp";
    /// Fields in bodies of Bedrock's models: Titan's, Llama's, Nova's.
    titan_input: "inputTextTokenCount";
    titan_output: "totalOutputTextTokenCount";
    titan_results: "results";
    titan_reason: "completionReason";
    llama_input: "prompt_token_count";
    llama_output: "generation_token_count";
    metadata: "metadata";
}
}

/// Whether a message of a stream has only content, decided without parsing it. It is if it has none of the names, with a value, under
/// which OpenAI, Anthropic and compatible providers report anything else.
///
/// Names in the text of the answer do not match, because their quotes are escaped.
pub(super) fn is_content_delta(data: &[u8]) -> bool {
    // Initialized without a lock. A child forked during the initialization would find a lock held forever.
    static NAMES: OnceBox<Option<AhoCorasick>> = OnceBox::new();
    let names = NAMES.get_or_init(|| {
        let names = [
            "usage\"",
            "finish_reason\"",
            "stop_reason\"",
            "error\"",
            "response\"",
            "message",
            "x_groq\"",
            "done\"",
            "executed_tools\"",
            "$web_search\"",
            "amazon-bedrock",
        ];
        Box::new(AhoCorasick::new(names.map(|name| format!("\"{name}"))).ok())
    });
    let is_nothing = |found: Match| {
        let value = data[found.end()..].trim_ascii_start();
        value.strip_prefix(b":").is_some_and(|value| value.trim_ascii_start().starts_with(b"null"))
    };
    names.as_ref().is_some_and(|names| names.find_iter(data).all(is_nothing))
}

/// A copy with invalid UTF-8 replaced; `None` if the bytes are valid, or too many to copy.
pub(super) fn repaired(data: &[u8]) -> Option<String> {
    const MAX_COPY: usize = 16 << 20;
    (data.len() <= MAX_COPY && std::str::from_utf8(data).is_err()).then(|| String::from_utf8_lossy(data).into_owned())
}

/// Calls `look` with each object of a list, as Gemini streams them without `alt=sse`. Returns whether it is a complete list of objects.
pub(super) fn for_each_message<'a>(list: &'a [u8], mut look: impl FnMut(Message<'a>)) -> bool {
    let list = std::str::from_utf8(list).unwrap_or_default();
    for_each(list, |item: Json<'a>| {
        look(item.message()?);
        Some(())
    })
    .is_some()
}

impl<'a> Message<'a> {
    /// Reads consecutive messages, up to the first invalid one.
    pub(super) fn read_all(data: &'a [u8]) -> impl Iterator<Item = Self> {
        serde_json::Deserializer::from_slice(data).into_iter().map_while(Result::ok)
    }

    /// Reads one message. Invalid values of less important fields do not hide the usage.
    pub(super) fn read(data: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(data).ok()
    }

    /// Whether it is a part of the answer. `kind` is its type.
    pub(super) fn is_part(&self, kind: &str) -> bool {
        let has_any = |answers: Option<Answers<'_>>| answers.is_some_and(|answers| answers.count > 0);
        kind.ends_with("delta")
            || has_any(self.candidates.answers(|candidate| candidate.candidate_reason))
            || has_any(self.choices.answers(|choice| choice.finish_reason))
            || kind == "text-generation"
            || self.done.is_some()
    }

    /// All usage reports of the message, wherever the family has them. All are objects.
    pub(super) fn reports(&self, family: Family) -> Result<Vec<Value>, TooLarge> {
        let usage_in = |holder: Json<'a>| holder.message().map(|holder| holder.usage).unwrap_or_default();
        let mut all = Vec::with_capacity(2);
        for held in [
            self.usage,
            self.usage_info,
            self.gemini_usage,
            usage_in(self.x_groq),
            usage_in(self.delta),
            if matches!(family, Family::Cohere | Family::Invoke) { self.meta } else { Json::default() },
            if family == Family::OpenAi && !self.usage.is_object() { self.usage_of_choices() } else { Json::default() },
        ] {
            if held.is_object() {
                all.push(held.value()?);
            }
        }
        if family == Family::Ollama && (self.eval_count.is_some() || self.prompt_eval_count.is_some()) {
            let (prompt, answer) = (self.prompt_eval_count.value()?, self.eval_count.value()?);
            all.push(Some(json!({"prompt_eval_count": prompt, "eval_count": answer})));
        }
        if self.bedrock.is_object() {
            all.push(Some(json!({METRICS: self.bedrock.value()?})));
        }
        if family == Family::Invoke {
            all.push(self.counts_of_bedrock()?);
        }
        Ok(all.into_iter().flatten().filter(Value::is_object).collect())
    }

    /// Moonshot's usage, which is in the last part of a stream's answer.
    fn usage_of_choices(&self) -> Json<'a> {
        let mut usage = Json::default();
        if self.choices.contains("\"usage\"") {
            self.choices.each(|choice| usage = choice.usage.or(usage));
        }
        usage
    }

    /// The counts of Titan and Llama, at the top level of a body or of a part of a stream.
    fn counts_of_bedrock(&self) -> Result<Option<Value>, TooLarge> {
        let mut counts = serde_json::Map::new();
        for (name, held) in [
            ("inputTextTokenCount", self.titan_input),
            ("totalOutputTextTokenCount", self.titan_output),
            ("prompt_token_count", self.llama_input),
            ("generation_token_count", self.llama_output),
        ] {
            if let Some(count) = held.value()? {
                counts.insert(name.to_owned(), count);
            }
        }
        if self.titan_input.is_some() && self.titan_results.is_list() {
            let mut sum = 0_u64;
            self.titan_results.each(|result| {
                let count = result.titan_count.value().ok().flatten().and_then(|count| count.as_u64());
                sum = sum.saturating_add(count.unwrap_or(0));
            });
            counts.insert("totalOutputTextTokenCount".to_owned(), sum.into());
        }
        Ok((!counts.is_empty()).then_some(Value::Object(counts)))
    }
}
