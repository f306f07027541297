//! What the messages of a response say, put together.

use std::borrow::Cow;
use std::time::Instant;

use serde_json::{Value, json};

use super::usage::{Dialect, Family, Part, normalize};
use super::wire::{Json, Message, TooLarge};
use crate::event::{Usage, UsageStatus};
use crate::money::Usd;

/// Values and names in all reports of usage of a response. The longest that are known have some hundred.
const MAX_NODES: usize = 1 << 15;
/// How deep a response may be inside of others: an Anthropic batch has a message in the result in a line.
const MAX_DEPTH: u32 = 4;

/// Why no usage was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// The response is whole and says nothing of it.
    Unreported,
    /// The response ended before it would have been said: it was left, or cut.
    Interrupted,
    /// The bytes are not what they say they are: broken JSON, frames or compression, or more than fits.
    Malformed,
    /// Reading it panicked: a fault of this library.
    InternalError,
}

/// What a response said of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The model that answered.
    pub model: Option<String>,
    /// What was used.
    pub usage: Usage,
    /// What other models used for it, each billed by its own rates.
    pub parts: Vec<Part>,
    /// The provider's own report, as JSON.
    pub report: Option<String>,
    /// Why there is no usage.
    pub gap: Option<Gap>,
    /// What the provider says it charges.
    pub cost: Option<Usd>,
    /// A field of the usage that is no count; the usage is then missing.
    pub unreadable: Option<&'static str>,
    /// Whether that is final.
    pub usage_status: UsageStatus,
    /// Why generation stopped.
    pub finish_reason: Option<String>,
    /// The tier that served.
    pub service_tier: Option<String>,
    /// What the provider calls the answer.
    pub id: Option<String>,
    /// Whether it is made in the background, to be fetched later.
    pub is_background: bool,
    /// Whether the provider reported an error in the stream.
    pub is_error: bool,
    /// When the first part of the answer came.
    pub first_token: Option<Instant>,
}

/// What was found so far.
pub(super) struct Findings {
    family: Family,
    dialect: Dialect,
    summary: Summary,
    /// Usage reports, merged field by field: later ones replace what they repeat.
    report: Option<Value>,
    /// The last event said that there are no more.
    pub(super) has_ended: bool,
}

impl Findings {
    pub(super) fn new(family: Family, dialect: Dialect) -> Self {
        Self { family, dialect, summary: Summary::default(), report: None, has_ended: false }
    }

    /// Whether the answer has begun, and the model that gives it is known.
    pub(super) fn is_under_way(&self) -> bool {
        self.summary.first_token.is_some() && self.summary.model.is_some()
    }

    /// Says why it ended, where nothing said so before.
    pub(super) fn note_status(&mut self, status: Json<'_>) {
        keep(&mut self.summary.finish_reason, status);
    }

    /// Takes a message: an event of a stream, or all of a body.
    pub(super) fn note(&mut self, message: &Message<'_>, is_event: bool) -> Result<(), TooLarge> {
        self.message(message, is_event, MAX_DEPTH)
    }

    fn message(&mut self, message: &Message<'_>, is_event: bool, depth: u32) -> Result<(), TooLarge> {
        let kind = message.r#type.text().or_else(|| message.event_type.text()).unwrap_or_default();
        if self.summary.first_token.is_none() && is_event && message.is_part(&kind) {
            self.summary.first_token = Some(Instant::now());
        }
        keep(&mut self.summary.model, message.model.or(message.gemini_model));
        // The tier that was asked for comes first, the one that served last.
        if let Some(tier) = message.service_tier.text() {
            self.summary.service_tier = Some(tier.into_owned());
        }
        keep(&mut self.summary.id, message.id);
        self.summary.is_background |= message.background.is_true();
        keep(&mut self.summary.finish_reason, message.stop_reason);
        let delta = message.delta.message().unwrap_or_default();
        for (answers, is_gemini) in [
            (message.choices.answers(|choice| choice.finish_reason), false),
            (message.candidates.answers(|candidate| candidate.candidate_reason), true),
        ] {
            let Some(answers) = answers else { continue };
            if self.summary.finish_reason.is_none() {
                self.summary.finish_reason = answers.reason.map(Cow::into_owned);
            }
            // Gemini says so in its last chunk, and nothing else tells which that is.
            self.has_ended |= is_gemini && is_event && answers.has_reason;
        }
        for reason in [delta.stop_reason, delta.finish_reason, message.finish_reason, message.done_reason] {
            keep(&mut self.summary.finish_reason, reason);
        }
        self.note_reports(message)?;
        // Bedrock's streams end with the message that carries usage.
        let is_last = match self.family {
            Family::Converse => message.usage.is_some(),
            Family::Invoke => message.bedrock.is_some(),
            _ => false,
        };
        self.has_ended |= is_last || message.done.is_true();
        self.summary.is_error |= kind == "error" || (is_event && message.error.is_some());
        match &*kind {
            // Streams of Cohere's, and OpenAI's of images and transcripts, end with the event that carries usage.
            "message_stop"
            | "message-end"
            | "stream-end"
            | "image_generation.completed"
            | "image_edit.completed"
            | "transcript.text.done"
            | "speech.audio.done"
            | "conversation.response.done"
            | "interaction.completed" => {
                self.has_ended = true;
            }
            "response.completed" | "response.incomplete" | "response.failed" => {
                self.has_ended = true;
                self.summary.is_error |= kind == "response.failed";
                if let Some(response) = message.response.message() {
                    keep(&mut self.summary.finish_reason, response.status);
                }
            }
            _ => {}
        }
        let Some(depth) = depth.checked_sub(1) else { return Ok(()) };
        for whole in [message.response, message.interaction, message.result, message.message] {
            if let Some(whole) = whole.message() {
                self.message(&whole, false, depth)?;
            }
        }
        Ok(())
    }

    /// Puts a message's reports of usage over earlier ones.
    fn note_reports(&mut self, message: &Message<'_>) -> Result<(), TooLarge> {
        for usage in message.reports(self.family)? {
            replace(&mut self.summary.service_tier, usage.get("service_tier"));
            // Anthropic's fast mode is no tier by name, but is billed as one.
            replace(&mut self.summary.service_tier, usage.get("speed").filter(|speed| speed.as_str() == Some("fast")));
            merge(&mut self.report, usage);
        }
        if message.svg_usage.is_object() {
            merge(&mut self.report, json!({"svg_usage": message.svg_usage.value()?}));
        }
        if message.tool_usage.is_object() {
            let tools: Vec<_> = message.tools.image_tool().into_iter().collect();
            merge(&mut self.report, json!({"tool_usage": message.tool_usage.value()?, "tools": tools}));
        }
        if self.report.as_ref().is_some_and(|report| nodes(report) > MAX_NODES) {
            self.report = None;
            return Err(TooLarge);
        }
        Ok(())
    }

    /// What was found, and whether it is all; `gap` tells why there is no usage.
    pub(super) fn summary(mut self, keeps_report: bool, gap: impl FnOnce(&Self) -> Gap) -> Summary {
        let raw = self.report.take();
        let report = raw.as_ref().and_then(|report| normalize(report, Some(self.family), self.dialect));
        let gap = report.is_none().then(|| gap(&self));
        let mut found = self.summary;
        found.gap = gap;
        found.unreadable = report.as_ref().and_then(|report| report.unreadable);
        found.report = raw.filter(|_| keeps_report).map(|mut report| {
            report.as_object_mut().map(|fields| fields.remove("tools"));
            report.to_string()
        });
        let report = report.filter(|report| report.unreadable.is_none());
        found.usage_status = match report {
            None => UsageStatus::Missing,
            Some(_) if self.has_ended => UsageStatus::Complete,
            Some(_) => UsageStatus::Partial,
        };
        let report = report.unwrap_or_default();
        (found.usage, found.cost, found.parts) = (report.usage, report.cost, report.parts);
        found
    }
}

/// Keeps a text; the first that is not null stays, so that the start of a stream names the model.
fn keep(slot: &mut Option<String>, value: Json<'_>) {
    if slot.is_none() {
        *slot = value.text().map(Cow::into_owned);
    }
}

/// Keeps a text; the last that is not null stays.
fn replace(slot: &mut Option<String>, value: Option<&Value>) {
    if let Some(text) = value.and_then(Value::as_str) {
        *slot = Some(text.to_owned());
    }
}

/// Puts a report over an earlier one. Reports are running totals, so fields are replaced, never added; null says nothing.
fn merge(into: &mut Option<Value>, report: Value) {
    match (into.as_mut().and_then(Value::as_object_mut), report) {
        (Some(known), Value::Object(fields)) => {
            for (name, value) in fields.into_iter().filter(|(_, value)| !value.is_null()) {
                known.insert(name, value);
            }
        }
        (None, report) => *into = Some(report),
        (Some(_), _) => {}
    }
}

/// How many values there are in one, and names.
fn nodes(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(nodes).sum::<usize>(),
        Value::Object(fields) => 1 + fields.values().map(|value| 1 + nodes(value)).sum::<usize>(),
        _ => 1,
    }
}
