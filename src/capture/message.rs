//! The few relevant fields of messages in any wire format. All others are skipped and not kept.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use aho_corasick::{AhoCorasick, Match, MatchKind};
use once_cell::race::OnceBox;
use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::{Value, json};

use super::tables::METRICS;
use super::usage::Family;
use super::wire::{Json, TooLarge, for_each};

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

            struct MessageVisitor<'a>(PhantomData<&'a ()>);

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
                    deserializer.deserialize_map(MessageVisitor(PhantomData))
                }
            }
        };
    };
}

fields_of! {
/// One of the answers of a response, or of the parts that a stream adds to them.
Answer {
    finish_reason: "finish_reason";
    gemini_reason: "finishReason";
    error: "error";
    /// Moonshot's usage, in the last part of a stream.
    usage: "usage";
    /// The sources of an answer of Gemini.
    grounding: "groundingMetadata" | "grounding_metadata";
}
}

fields_of! {
/// The content that an event of a stream adds.
Delta {
    stop_reason: "stop_reason" | "stopReason";
    finish_reason: "finish_reason";
    usage: "usage";
}
}

fields_of! {
/// An item of a list in a response, or an object inside of one: an answer, a tool that was used, an error.
Item {
    r#type: "type";
    id: "id";
    error: "error";
    status: "status";
    model: "model";
    message: "message";
    delta: "delta";
    action: "action";
    container_id: "container_id";
    environment: "environment";
    executed_tools: "executed_tools";
    tool_calls: "tool_calls";
    function: "function";
    called: "name";
    code: "code";
    status_code: "status_code";
    /// Fields of the sources of an answer of Gemini.
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
    /// The failure of an assistant's run, and that of a realtime response.
    last_error: "last_error";
    status_details: "status_details";
    /// The complete OpenAI response in its status events, or the complete Cohere response in the last event of its first version. For
    /// Ollama, the text of the answer.
    response: "response";
    /// The complete Anthropic message in the event that starts it, or an answer.
    whole: "message";
    /// Gemini's names.
    gemini_model: "gemini_model" | "modelVersion" | "model_version";
    gemini_usage: "gemini_usage" | "usageMetadata" | "usage_metadata";
    candidates: "candidates";
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
    /// One of them, in the events of a stream.
    item: "item";
    /// What Mistral's conversations have instead; and the name of a tool in the events of a stream.
    outputs: "outputs";
    called: "name";
    /// The blocks of an answer of Anthropic, and the block that an event of a stream begins.
    content: "content";
    content_block: "content_block";
    /// The results of the images endpoint, of embeddings and of all kinds of lists.
    data: "data";
    object: "object";
    web_search: "web_search";
    /// `MiniMax`'s report of a failure.
    base_resp: "base_resp";
    code: "code";
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

/// A summary of the answers of a message.
#[derive(Default)]
pub(super) struct Answers<'a> {
    pub(super) count: usize,
    /// The first reason that is a text.
    pub(super) reason: Option<Cow<'a, str>>,
    /// Whether an answer of Gemini has a finish reason. Only its last part has one, and nothing else marks it as the last.
    pub(super) is_last_of_gemini: bool,
    /// The first error in an answer, and the last usage.
    pub(super) error: Json<'a>,
    pub(super) usage: Json<'a>,
    /// Whether an answer names its sources.
    pub(super) has_sources: bool,
}

impl<'a> Answers<'a> {
    fn add(&mut self, answer: &Answer<'a>, reason: Json<'a>) {
        self.count += 1;
        // Some providers write an empty text until they know the reason.
        self.reason = self.reason.take().or_else(|| reason.unless_blank().text());
        self.error = self.error.or(answer.error);
        self.usage = answer.usage.or(self.usage);
        self.has_sources |= answer.grounding.is_some();
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
            "server_tool_use\"",
            "tool.execution",
            "item\"",
            "amazon-bedrock",
        ];
        // Only the search for the leftmost match compares many bytes at once.
        let mut builder = AhoCorasick::builder();
        builder.match_kind(MatchKind::LeftmostFirst);
        Box::new(builder.build(names.map(|name| format!("\"{name}"))).ok())
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
    for_each(list, |message| {
        look(message);
        Some(())
    })
    .is_some()
}

/// The image generation tool in a list of tools, with only its type and model.
pub(super) fn image_tool(tools: Json<'_>) -> Option<Value> {
    let mut found = None;
    tools.each(|tool: Item<'_>| {
        if found.is_none() && tool.r#type.text().is_some_and(|kind| kind == "image_generation") {
            found = Some(json!({"type": "image_generation", "model": tool.model.text()}));
        }
    });
    found
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
    pub(super) fn is_part(&self, kind: &str, answers: &Answers<'_>) -> bool {
        kind.ends_with("delta") || answers.count > 0 || kind == "text-generation" || self.done.is_some()
    }

    /// The answers, in OpenAI's format or in Gemini's.
    pub(super) fn answers(&self) -> Answers<'a> {
        let mut answers = Answers::default();
        self.choices.items(|answer: Answer<'a>| answers.add(&answer, answer.finish_reason));
        self.candidates.items(|answer: Answer<'a>| {
            answers.is_last_of_gemini |= answer.gemini_reason.unless_blank().is_some();
            answers.add(&answer, answer.gemini_reason);
        });
        answers
    }

    /// Whether it is an error object itself, as older versions of vLLM and some compatible hosts send it: a code and a text, and nothing
    /// of an answer.
    pub(super) fn is_error(&self) -> bool {
        let is_named = self.object.text().is_some_and(|object| object == "error");
        let has_answer = [self.choices, self.usage, self.output, self.data, self.response, self.candidates, self.id];
        let is_coded = self.code.is_failure() && !self.code.is_success() && self.whole.text().is_some();
        is_named || (is_coded && !has_answer.iter().any(|field| field.is_some()))
    }

    /// Whether it has a list of answers in OpenAI's format that is empty.
    pub(super) fn has_no_choices(&self) -> bool {
        let mut is_empty = true;
        self.choices.items(|_: Json<'_>| is_empty = false).is_some() && is_empty
    }

    /// All usage reports of the message, wherever the family has them. All are objects.
    /// `choice` is the usage in the answers, and `delta` is the content that the message adds.
    pub(super) fn reports(&self, family: Family, choice: Json<'a>, delta: &Delta<'a>) -> Result<Vec<Value>, TooLarge> {
        let mut all = Vec::with_capacity(2);
        for held in [
            self.usage,
            self.usage_info,
            self.gemini_usage,
            self.x_groq.object().map(|holder: Delta<'a>| holder.usage).unwrap_or_default(),
            delta.usage,
            if matches!(family, Family::Cohere | Family::Invoke) { self.meta } else { Json::default() },
            if family == Family::OpenAi && !self.usage.is_object() { choice } else { Json::default() },
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
            self.titan_results.each(|result: Item<'_>| {
                let count = result.titan_count.value().ok().flatten().and_then(|count| count.as_u64());
                sum = sum.saturating_add(count.unwrap_or(0));
            });
            counts.insert("totalOutputTextTokenCount".to_owned(), sum.into());
        }
        Ok((!counts.is_empty()).then_some(Value::Object(counts)))
    }
}
