//! The few fields of a response that matter, whatever the wire format. Everything else is skipped without being kept.
//!
//! A field is kept as the bytes it stands in and read when it is asked for, so that no response, however large and however it is
//! nested, takes more memory than its own bytes: texts are cut before they are copied, reports of usage beyond [`MAX_REPORT`] bytes are
//! not read at all.

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

/// Bytes of a report of usage that is read. The longest that are known, Anthropic's with an entry for each of its own calls, take a
/// hundredth; as values in memory they take up to sixteen times this.
const MAX_REPORT: usize = 256 << 10;
/// Bytes of a text in JSON that are read: of what is left of them when all is escaped, an event still records no more than a part.
const MAX_TEXT: usize = 4 << 10;

/// A field of a response, unread. One that is absent or null holds nothing.
#[derive(Clone, Copy, Default)]
pub(super) struct Json<'a>(&'a str);

/// A report of usage that is too large to be one.
#[derive(Debug)]
pub(super) struct TooLarge;

impl<'de: 'a, 'a> Deserialize<'de> for Json<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&'de RawValue>::deserialize(deserializer)?.get();
        Ok(Self(if raw == "null" { "" } else { raw }))
    }
}

impl<'a> Json<'a> {
    /// Whether there is something other than null.
    pub(super) fn is_some(self) -> bool {
        !self.0.is_empty()
    }

    /// This, or the other where this is absent.
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

    /// Whether its bytes have this somewhere, which costs less than reading it.
    pub(super) fn contains(self, text: &str) -> bool {
        self.0.len() > text.len() && memchr::memmem::find(self.0.as_bytes(), text.as_bytes()).is_some()
    }

    /// Shows `look` each object of a list.
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

    /// Shows `look` each text of a list.
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

    /// Whether it says that something failed: a text, or an object that has more than nothing in it.
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
            // Too large to be read is something.
            Err(TooLarge) => true,
            Ok(Some(Value::Object(fields))) => fields.values().any(says),
            Ok(value) => value.as_ref().is_some_and(says),
        }
    }

    /// The text, if it is one, or the beginning of a very long one.
    pub(super) fn text(self) -> Option<Cow<'a, str>> {
        let inner = self.0.strip_prefix('"')?.strip_suffix('"')?;
        if inner.len() <= MAX_TEXT {
            return read_text(self.0);
        }
        let head = &inner[..inner.floor_char_boundary(MAX_TEXT)];
        // The cut may be in the middle of an escape, the longest of which is a pair of `\\uXXXX`.
        let ends = (0..=12).map(|back| head.floor_char_boundary(head.len() - back));
        ends.map(|end| format!("\"{}\"", &head[..end])).find_map(|json| Some(read_text(&json)?.into_owned().into()))
    }

    /// The value of a count or of a report of usage.
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

    /// The object, if it is one that lies in a list or deeper.
    pub(super) fn item(self) -> Option<Item<'a>> {
        self.is_object().then(|| serde_json::from_str(self.0).ok()).flatten()
    }

    /// What the answers of a response say of themselves, each where `reason` finds it; `None` where this is no list of objects.
    pub(super) fn answers(self, reason: impl Fn(&Message<'a>) -> Json<'a>) -> Option<Answers<'a>> {
        let mut answers = Answers::default();
        for_each(self.0, |answer: Json<'a>| {
            // Some write an empty text until there is a reason.
            let reason = Some(reason(&answer.message()?)).filter(|reason| reason.0 != "\"\"").unwrap_or_default();
            answers.count += 1;
            answers.has_reason |= reason.is_some();
            answers.reason = answers.reason.take().or_else(|| reason.text());
            Some(())
        })?;
        Some(answers)
    }

    /// Of a list of tools the one that generates images: its type and model alone.
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

/// A report of usage from its JSON; `None` when it is not an object, or too large for a report.
#[must_use]
pub fn read_report(json: &str) -> Option<Value> {
    if json.len() > MAX_REPORT { None } else { serde_json::from_str(json).ok() }
}

fn read_text(json: &str) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str::<Text<'_>>(json).ok().map(|text| text.0)
}

/// Shows `look` the items of a list, one after the other; `None` when it is not a list, or when `look` does not know an item.
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

/// What the answers of a response say of themselves.
#[derive(Default)]
pub(super) struct Answers<'a> {
    pub(super) count: usize,
    /// The first reason that is a text.
    pub(super) reason: Option<Cow<'a, str>>,
    /// Whether any says why it ended.
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
/// An item of a list in a response, or what lies inside of one: an answer, a tool that was used, an error.
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
    /// What an answer of Gemini's rests on.
    grounding: "groundingMetadata" | "grounding_metadata";
    web_queries: "webSearchQueries" | "web_search_queries";
    grounding_chunks: "groundingChunks" | "grounding_chunks";
    maps: "maps";
    retrieved: "retrievedContext" | "retrieved_context";
    titan_count: "tokenCount";
    /// What Bedrock tells of how it chose: the model that a prompt router invoked.
    router: "promptRouter";
    invoked: "invokedModelId";
}
}

fields_of! {
/// A response body, one event of a stream, or an object inside of one. A name that comes twice means the last.
Message {
    r#type: "type";
    id: "id";
    model: "model";
    usage: "usage";
    service_tier: "service_tier" | "serviceTier";
    /// What Bedrock tells of how it chose: the model that a prompt router invoked.
    trace: "trace";
    status: "status";
    stop_reason: "stop_reason" | "stopReason";
    choices: "choices";
    /// What an event adds. In some formats it is a text.
    delta: "delta";
    error: "error";
    /// The whole of an OpenAI response, in events of its life, or of a Cohere one, in the last event of its first version. Ollama has
    /// the answer's text there.
    response: "response";
    /// The whole of an Anthropic message, in the event that starts it, or an answer.
    whole: "message";
    /// Gemini's.
    gemini_model: "gemini_model" | "modelVersion" | "model_version";
    gemini_usage: "gemini_usage" | "usageMetadata" | "usage_metadata";
    candidates: "candidates";
    candidate_reason: "finishReason";
    /// Whether an OpenAI response is made in the background.
    background: "background";
    /// The outcome of one request of an Anthropic batch.
    result: "result";
    /// OpenAI's tools that run at its side, beside the usage of the model.
    tool_usage: "tool_usage";
    tools: "tools";
    /// Mistral's reader of documents has its usage here.
    usage_info: "usage_info";
    /// What the model used that draws for OpenAI's image models.
    svg_usage: "svg_usage";
    /// The whole of one of Gemini's interactions, in events of its life.
    interaction: "interaction";
    /// Groq's streams have usage here, beside or instead of where everybody has it.
    x_groq: "x_groq";
    /// Bedrock's, in the last message of a stream of whatever form.
    bedrock: "amazon-bedrock-invocationMetrics";
    /// What an event is, in Gemini's interactions and Cohere's first version.
    event_type: "event_type";
    /// Cohere's: usage of its first version, of embeddings and of reranking; why it ended.
    meta: "meta";
    finish_reason: "finish_reason";
    /// Ollama's: all at the top.
    done: "done";
    done_reason: "done_reason";
    prompt_eval_count: "prompt_eval_count";
    eval_count: "eval_count";
    /// The items of an OpenAI response: what it said, and which tools were used.
    output: "output";
    /// Of the images endpoint, embeddings and lists of all kinds.
    data: "data";
    object: "object";
    web_search: "web_search";
    /// `MiniMax`'s way to say that something failed.
    base_resp: "base_resp";
    /// Of bodies of Bedrock's models: Titan's, Llama's, Nova's.
    titan_input: "inputTextTokenCount";
    titan_output: "totalOutputTextTokenCount";
    titan_results: "results";
    titan_reason: "completionReason";
    llama_input: "prompt_token_count";
    llama_output: "generation_token_count";
    metadata: "metadata";
}
}

/// Whether a message of a stream has only content, judged without parsing it: it has none of the names, with a value, under
/// which OpenAI, Anthropic and those who speak their formats report anything else.
///
/// Names in the answer's own text do not count: quotes are escaped there.
pub(super) fn is_content_delta(data: &[u8]) -> bool {
    // Not behind a lock while it is made, which a child that is forked meanwhile would find taken for ever.
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

/// The bytes with what is not UTF-8 in them replaced; `None` when they are UTF-8, or so many that a copy would cost too much.
pub(super) fn mended(data: &[u8]) -> Option<String> {
    const LARGEST: usize = 16 << 20;
    (data.len() <= LARGEST && std::str::from_utf8(data).is_err()).then(|| String::from_utf8_lossy(data).into_owned())
}

/// Shows `look` each object of a list, as a stream's events are sent without `alt=sse` at Gemini's; whether it is such a list, and whole.
pub(super) fn for_each_message<'a>(list: &'a [u8], mut look: impl FnMut(Message<'a>)) -> bool {
    let list = std::str::from_utf8(list).unwrap_or_default();
    for_each(list, |item: Json<'a>| {
        look(item.message()?);
        Some(())
    })
    .is_some()
}

impl<'a> Message<'a> {
    /// Reads those that follow each other, up to what is not one.
    pub(super) fn read_all(data: &'a [u8]) -> impl Iterator<Item = Self> {
        serde_json::Deserializer::from_slice(data).into_iter().map_while(Result::ok)
    }

    /// Reads one. What is odd about a part that matters less does not hide the usage.
    pub(super) fn read(data: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(data).ok()
    }

    /// Whether it is a part of the answer, of this kind.
    pub(super) fn is_part(&self, kind: &str) -> bool {
        let has_any = |answers: Option<Answers<'_>>| answers.is_some_and(|answers| answers.count > 0);
        kind.ends_with("delta")
            || has_any(self.candidates.answers(|candidate| candidate.candidate_reason))
            || has_any(self.choices.answers(|choice| choice.finish_reason))
            || kind == "text-generation"
            || self.done.is_some()
    }

    /// What is reported of usage, wherever a family has it; objects all.
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

    /// Moonshot has usage in the last part of a stream's answer.
    fn usage_of_choices(&self) -> Json<'a> {
        let mut usage = Json::default();
        if self.choices.contains("\"usage\"") {
            self.choices.each(|choice| usage = choice.usage.or(usage));
        }
        usage
    }

    /// What Titan and Llama say of their usage, at the top of a body or of a part of a stream.
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
