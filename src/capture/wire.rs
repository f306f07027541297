//! The few fields of a response that matter, whatever the wire format. Everything else is skipped without being kept.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

/// A response body, or one event of a stream.
#[derive(Deserialize, Default)]
#[serde(default)]
#[expect(clippy::struct_field_names, reason = "the names are the wire's")]
pub(super) struct Message {
    pub(super) r#type: Option<Value>,
    pub(super) model: Option<Value>,
    pub(super) usage: Option<Value>,
    pub(super) service_tier: Option<Value>,
    pub(super) status: Option<Value>,
    pub(super) stop_reason: Option<Value>,
    pub(super) choices: Option<Vec<Choice>>,
    pub(super) delta: Option<Delta>,
    pub(super) error: Option<IgnoredOrNull>,
    /// The whole of an OpenAI response, in events of its life.
    pub(super) response: Option<Box<Message>>,
    /// The whole of an Anthropic message, in the event that starts it.
    pub(super) message: Option<MessageOrText>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Choice {
    pub(super) finish_reason: Option<Value>,
}

/// What an event adds. In some formats it is a text.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Delta {
    Fields { stop_reason: Option<Value> },
    Other(IgnoredAny),
}

/// A message, or an error's text.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum MessageOrText {
    Message(Box<Message>),
    Other(IgnoredAny),
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
