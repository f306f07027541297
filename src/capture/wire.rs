//! The few fields of a response that matter, whatever the wire format. Everything else is skipped without being kept.

use std::borrow::Cow;

use aho_corasick::{AhoCorasick, Match};
use once_cell::race::OnceBox;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use super::usage::Family;

/// A response body, or one event of a stream.
#[derive(Deserialize, Default)]
#[serde(default)]
#[expect(clippy::struct_field_names, reason = "the names are the wire's")]
pub(super) struct Message {
    pub(super) r#type: Option<Value>,
    pub(super) id: Option<Value>,
    pub(super) model: Option<Value>,
    pub(super) usage: Option<Value>,
    pub(super) service_tier: Option<Value>,
    pub(super) status: Option<Value>,
    #[serde(alias = "stopReason")]
    pub(super) stop_reason: Option<Value>,
    pub(super) choices: Option<Vec<Choice>>,
    pub(super) delta: Option<Lenient<Delta>>,
    pub(super) error: Option<IgnoredOrNull>,
    /// The whole of an OpenAI response, in events of its life, or of a Cohere one, in the last event of its first version. Ollama has
    /// the answer's text there.
    pub(super) response: Option<Lenient<Box<Message>>>,
    /// The whole of an Anthropic message, in the event that starts it, or an answer.
    pub(super) message: Option<Lenient<Box<Message>>>,
    /// Gemini's.
    #[serde(alias = "modelVersion", alias = "model_version")]
    pub(super) gemini_model: Option<Value>,
    #[serde(alias = "usageMetadata", alias = "usage_metadata")]
    pub(super) gemini_usage: Option<Value>,
    pub(super) candidates: Option<Lenient<Vec<Candidate>>>,
    /// Whether an OpenAI response is made in the background.
    pub(super) background: Option<Value>,
    /// The outcome of one request of an Anthropic batch.
    pub(super) result: Option<Lenient<Box<Message>>>,
    /// OpenAI's tools that run at its side, beside the usage of the model.
    pub(super) tool_usage: Option<Value>,
    pub(super) tools: Option<Value>,
    /// Mistral's reader of documents has its usage here.
    pub(super) usage_info: Option<Value>,
    /// What the model used that draws for OpenAI's image models.
    pub(super) svg_usage: Option<Value>,
    /// The whole of one of Gemini's interactions, in events of its life.
    pub(super) interaction: Option<Lenient<Box<Message>>>,
    /// Groq's streams have usage here, beside or instead of where everybody has it.
    pub(super) x_groq: Option<Lenient<Groq>>,
    /// Bedrock's, in the last message of a stream of whatever form.
    #[serde(rename = "amazon-bedrock-invocationMetrics")]
    pub(super) bedrock: Option<Value>,
    /// What an event is, in Gemini's interactions and Cohere's first version.
    pub(super) event_type: Option<Value>,
    /// Cohere's: usage of its first version, of embeddings and of reranking; why it ended.
    pub(super) meta: Option<Value>,
    pub(super) finish_reason: Option<Value>,
    /// Ollama's: all at the top.
    pub(super) done: Option<Value>,
    pub(super) done_reason: Option<Value>,
    pub(super) prompt_eval_count: Option<Value>,
    pub(super) eval_count: Option<Value>,
}

/// Whether a message has nothing but a part of the answer, told without parsing it: none of the names is there with a value under
/// which OpenAI, Anthropic and who speaks their formats report anything else.
///
/// Names in the answer's own text do not count: quotes are escaped there.
pub(super) fn is_part_alone(data: &[u8]) -> bool {
    // Not behind a lock while it is made, which a child that is forked meanwhile would find taken for ever.
    static NAMES: OnceBox<Option<AhoCorasick>> = OnceBox::new();
    let names = NAMES.get_or_init(|| {
        let names =
            ["usage\"", "finish_reason\"", "stop_reason\"", "error\"", "response\"", "message", "x_groq\"", "done\""];
        Box::new(AhoCorasick::new(names.map(|name| format!("\"{name}"))).ok())
    });
    let is_nothing = |found: Match| {
        let value = data[found.end()..].trim_ascii_start();
        value.strip_prefix(b":").is_some_and(|value| value.trim_ascii_start().starts_with(b"null"))
    };
    names.as_ref().is_some_and(|names| names.find_iter(data).all(is_nothing))
}

impl Message {
    /// Reads one. What is odd about a part that matters less does not hide the usage: a name that comes twice means the last, as
    /// everywhere else, and choices that are none are left out.
    pub(super) fn read(data: &[u8]) -> Result<Self, serde_json::Error> {
        // Derived code takes a list for the fields in their order.
        if data.trim_ascii_start().first() != Some(&b'{') {
            return serde_json::from_slice::<Map<String, Value>>(data).map(|_| Self::default());
        }
        serde_json::from_slice(data).or_else(|error| {
            let mut fields: Map<String, Value> = serde_json::from_slice(data).map_err(|_| error)?;
            fields.remove("choices");
            serde_json::from_value(Value::Object(fields))
        })
    }

    /// Whether it is a part of the answer, of this kind.
    pub(super) fn is_part(&self, kind: &str) -> bool {
        let has_candidates = self.candidates.as_ref().and_then(Lenient::known).is_some_and(|all| !all.is_empty());
        kind.ends_with("delta")
            || has_candidates
            || self.choices.as_ref().is_some_and(|choices| !choices.is_empty())
            || kind == "text-generation"
            || self.done.is_some()
    }

    /// What is reported of usage, wherever a family has it; objects all.
    pub(super) fn reports(&self, family: Family) -> Vec<Cow<'_, Value>> {
        let groq = self.x_groq.as_ref().and_then(Lenient::known).and_then(|groq| groq.usage.as_ref());
        let delta = self.delta.as_ref().and_then(Lenient::known).and_then(|delta| delta.usage.as_ref());
        let meta = self.meta.as_ref().filter(|_| family == Family::Cohere);
        let ollama = (family == Family::Ollama
            && self.eval_count.as_ref().or(self.prompt_eval_count.as_ref()).is_some())
        .then(|| json!({"prompt_eval_count": self.prompt_eval_count, "eval_count": self.eval_count}));
        let bedrock = self.bedrock.as_ref();
        if family == Family::Invoke {
            return bedrock.into_iter().map(Cow::Borrowed).collect();
        }
        let held = [self.usage.as_ref(), self.usage_info.as_ref(), self.gemini_usage.as_ref(), groq, delta, meta];
        let all = held.into_iter().flatten().map(Cow::Borrowed).chain(ollama.map(Cow::Owned));
        all.filter(|report| report.is_object()).collect()
    }
}

/// What an event adds. In some formats it is a text.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Delta {
    pub(super) stop_reason: Option<Value>,
    pub(super) finish_reason: Option<Value>,
    pub(super) usage: Option<Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Choice {
    pub(super) finish_reason: Option<Value>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Candidate {
    pub(super) finish_reason: Option<Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Groq {
    pub(super) usage: Option<Value>,
}

/// What is expected in one format, or whatever another has under that name.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Lenient<T> {
    Known(T),
    Other(IgnoredAny),
}

impl<T> Lenient<T> {
    pub(super) fn known(&self) -> Option<&T> {
        match self {
            Self::Known(known) => Some(known),
            Self::Other(_) => None,
        }
    }
}

/// Says only whether something was there.
#[derive(Deserialize)]
pub(super) struct IgnoredOrNull(#[serde(deserialize_with = "ignore")] ());

fn ignore<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    IgnoredAny::deserialize(deserializer).map(drop)
}

/// A text, if the value is one.
pub(super) fn text(value: Option<&Value>) -> Option<&str> {
    value.and_then(Value::as_str)
}
