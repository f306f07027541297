//! Combines what the messages of a response say into one summary.

use std::borrow::Cow;
use std::time::Instant;

use serde_json::{Value, json};

use super::message::{Answers, Delta, Item, Message, image_tool};
use super::tools::Tools;
use super::usage::{Dialect, Family, Part, image_output, mixed_output, normalize};
use super::wire::{Json, TooLarge};
use crate::event::{CostNotes, Usage, UsageStatus};
use crate::money::Usd;

/// The most values and names in all usage reports of a response. The longest known reports have a few hundred.
const MAX_NODES: usize = 1 << 15;
/// How deeply responses may be nested: in an Anthropic batch, a line has a result with a message.
const MAX_DEPTH: u32 = 4;

/// Why no usage was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// The response is complete and reports no usage.
    Unreported,
    /// The response ended before its usage was reported, because the caller stopped reading or the connection broke.
    Interrupted,
    /// The bytes are neither JSON nor a stream of JSON.
    Foreign,
    /// The bytes are invalid: broken JSON, frames or compression, or more than the limits allow.
    Malformed,
    /// Reading panicked, which is a bug in this library.
    InternalError,
}

/// The facts that a response states about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The model that answered.
    pub model: Option<String>,
    /// The usage.
    pub usage: Usage,
    /// The usage of other models for this response, each billed at its own rates.
    pub parts: Vec<Part>,
    /// The provider's own report, as JSON.
    pub report: Option<String>,
    /// Why there is no usage.
    pub gap: Option<Gap>,
    /// The cost that the provider states.
    pub cost: Option<Usd>,
    /// A usage field that is not a valid count. The usage is then missing.
    pub unreadable: Option<&'static str>,
    /// Whether the usage is final.
    pub usage_status: UsageStatus,
    /// Why generation stopped.
    pub finish_reason: Option<String>,
    /// The tier that served the call.
    pub service_tier: Option<String>,
    /// The region that served the call, if it affects the price.
    pub region: Option<String>,
    /// Remarks about the cost.
    pub notes: CostNotes,
    /// The provider's id of the response.
    pub id: Option<String>,
    /// Whether the response is generated in the background and fetched later.
    pub is_background: bool,
    /// Whether the provider reported an error in the response.
    pub is_error: bool,
    /// The kind of error: a type or a code, never a message.
    pub error: Option<String>,
    /// When the first part of the answer came.
    pub first_token: Option<Instant>,
}

/// What was found so far.
pub(super) struct Findings {
    family: Family,
    dialect: Dialect,
    summary: Summary,
    /// The usage reports, merged by field: later values replace earlier ones.
    report: Option<Value>,
    tools: Tools,
    /// The number of images in the output, and whether there is text too. For the images endpoint, one stands for any number.
    images: u64,
    has_text: bool,
    /// Whether the last event said that no more events follow.
    pub(super) has_ended: bool,
}

impl Findings {
    pub(super) fn new(family: Family, dialect: Dialect) -> Self {
        Self {
            family,
            dialect,
            summary: Summary::default(),
            report: None,
            tools: Tools::default(),
            images: 0,
            has_text: false,
            has_ended: false,
        }
    }

    /// Whether the answer has begun and its model is known.
    pub(super) fn is_under_way(&self) -> bool {
        self.summary.first_token.is_some() && self.summary.model.is_some()
    }

    /// The usage that the messages so far have reported.
    pub(super) fn usage_so_far(&self) -> Option<Usage> {
        normalize(self.report.as_ref()?, Some(self.family), self.dialect).map(|report| report.usage)
    }

    /// Sets the finish reason to a status, unless it is already set.
    pub(super) fn note_status(&mut self, status: Json<'_>) {
        keep(&mut self.summary.finish_reason, status);
    }

    /// Reads a message: an event of a stream, or a whole body.
    pub(super) fn note(&mut self, message: &Message<'_>, is_event: bool) -> Result<(), TooLarge> {
        self.message(message, is_event, MAX_DEPTH)
    }

    fn message(&mut self, message: &Message<'_>, is_event: bool, depth: u32) -> Result<(), TooLarge> {
        let kind = message.r#type.text().or_else(|| message.event_type.text()).unwrap_or_default();
        let answers = message.answers();
        if self.summary.first_token.is_none() && is_event && message.is_part(&kind, &answers) {
            self.summary.first_token = Some(Instant::now());
        }
        keep(&mut self.summary.model, message.model.or(message.gemini_model));
        if let Some(trace) = message.trace.object::<Item<'_>>() {
            keep(&mut self.summary.model, trace.router.object::<Item<'_>>().unwrap_or_default().invoked);
        }
        // The first messages name the requested tier, the last ones the tier that served the call. Bedrock's is an object with a type.
        let tier = message.service_tier;
        if let Some(tier) = tier.text().or_else(|| tier.object::<Item<'_>>()?.r#type.text()) {
            self.summary.service_tier = Some(tier.into_owned());
        }
        keep(&mut self.summary.id, message.id);
        self.summary.is_background |= message.background.is_true();
        keep(&mut self.summary.finish_reason, message.stop_reason);
        let delta: Delta<'_> = message.delta.object().unwrap_or_default();
        if self.summary.finish_reason.is_none() {
            self.summary.finish_reason = answers.reason.as_deref().map(str::to_owned);
        }
        self.has_ended |= is_event && answers.is_last_of_gemini;
        for reason in [delta.stop_reason, delta.finish_reason, message.finish_reason, message.done_reason] {
            keep(&mut self.summary.finish_reason, reason);
        }
        keep(&mut self.summary.finish_reason, message.titan_reason);
        self.note_reports(message, &answers, &delta)?;
        self.tools.note(message, &answers, self.family, &kind);
        self.note_images(message, &kind);
        // Bedrock's streams end with the message that carries usage.
        let is_last = match self.family {
            Family::Converse => message.usage.is_some(),
            // Models that report no metrics end with a reason. Nova's streams end with metadata.
            Family::Invoke => {
                message.bedrock.is_some() || message.metadata.is_object() || self.summary.finish_reason.is_some()
            }
            _ => message.bedrock.is_some(),
        };
        self.has_ended |= is_last || message.done.is_true();
        self.note_failure(message, &answers, &kind);
        match &*kind {
            // Cohere's streams, and OpenAI's streams of images and transcripts, end with the event that carries usage.
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
            "response.completed" | "response.incomplete" | "response.failed" | "response.done" => {
                self.has_ended = true;
                self.summary.is_error |= kind == "response.failed";
                if let Some(response) = message.response.object::<Item<'_>>() {
                    self.summary.is_error |= response.status.text().is_some_and(|status| status == "failed");
                    keep(&mut self.summary.finish_reason, response.status);
                }
            }
            _ => {}
        }
        let Some(depth) = depth.checked_sub(1) else { return Ok(()) };
        let metadata = if self.family == Family::Invoke { message.metadata } else { Json::default() };
        for whole in [message.response, message.interaction, message.result, message.whole, metadata] {
            if let Some(whole) = whole.object() {
                self.message(&whole, false, depth)?;
            }
        }
        Ok(())
    }

    /// Notes an error in a response with a success status, in a stream or as a whole body.
    fn note_failure(&mut self, message: &Message<'_>, answers: &Answers<'_>, kind: &str) {
        let refused = message.base_resp.object().is_some_and(|base: Item<'_>| base.status_code.is_failure());
        let detailed = message.status_details.object::<Item<'_>>().map(|details| details.error).unwrap_or_default();
        let error = message.error.or(answers.error).or(message.last_error).or(detailed);
        let is_itself = !error.is_some() && self.family == Family::OpenAi && message.is_error();
        // A response without the details of its failure has at least this status.
        let is_failed = self.family == Family::OpenAi && message.status.text().is_some_and(|status| status == "failed");
        if kind != "error" && !refused && !is_itself && !is_failed && !error.is_failure() {
            return;
        }
        self.summary.is_error = true;
        let mut details: Item<'_> = error.object().unwrap_or_default();
        if is_itself {
            (details.r#type, details.code) = (message.r#type, message.code);
        }
        let name = |text: &Cow<'_, str>| !text.is_empty() && text.len() <= 64 && text.bytes().all(is_of_name);
        for named in [details.r#type, details.code, details.status] {
            if self.summary.error.is_none() {
                self.summary.error = named.text().filter(name).map(Cow::into_owned);
            }
        }
    }

    /// Notes whether the output is images, for reports that do not say so.
    fn note_images(&mut self, message: &Message<'_>, kind: &str) {
        match self.family {
            Family::OpenAi => {
                let is_list = message.data.is_list() && !message.object.is_some() && message.usage.is_object();
                let is_image = is_list || matches!(kind, "image_generation.completed" | "image_edit.completed");
                self.images = self.images.max(u64::from(is_image));
            }
            // Most answers are text from the first part on, of models that do not draw. Then nothing else is searched.
            Family::Gemini
                if !self.has_text || self.summary.model.as_deref().is_some_and(|name| name.contains("image")) =>
            {
                self.has_text = self.has_text || message.candidates.contains("\"text\"");
                self.images += message.candidates.texts_from("\"image/");
            }
            _ => {}
        }
    }

    /// Merges a message's usage reports into earlier ones.
    fn note_reports(
        &mut self,
        message: &Message<'_>,
        answers: &Answers<'_>,
        delta: &Delta<'_>,
    ) -> Result<(), TooLarge> {
        for mut usage in message.reports(self.family, answers.usage, delta)? {
            if self.family == Family::OpenAi && message.data.is_list() {
                total_of_vectors(&mut usage);
            }
            replace(&mut self.summary.service_tier, usage.get("service_tier"));
            // Anthropic's fast mode is not called a tier, but is billed like one.
            replace(&mut self.summary.service_tier, usage.get("speed").filter(|speed| speed.as_str() == Some("fast")));
            merge(&mut self.report, usage);
        }
        if message.svg_usage.is_object() {
            merge(&mut self.report, json!({"svg_usage": message.svg_usage.value()?}));
        }
        if message.tool_usage.is_object() {
            let tools: Vec<_> = image_tool(message.tools).into_iter().collect();
            merge(&mut self.report, json!({"tool_usage": message.tool_usage.value()?, "tools": tools}));
        }
        if self.report.as_ref().is_some_and(|report| nodes(report) > MAX_NODES) {
            self.report = None;
            return Err(TooLarge);
        }
        Ok(())
    }

    /// Returns what was found. `gap` tells why there is no usage.
    pub(super) fn summary(mut self, keeps_report: bool, gap: impl FnOnce(&Self) -> Gap) -> Summary {
        let raw = self.report.take();
        let dialect = self.dialect.or_of_model(self.summary.model.as_deref());
        let report = raw.as_ref().and_then(|report| normalize(report, Some(self.family), dialect));
        if let Some(report) = &raw {
            if let Some(tier) = tier_of_google(report) {
                self.summary.service_tier = Some(tier);
            }
            let geography = report.get("inference_geo").filter(|geography| geography.as_str() != Some("not_available"));
            replace(&mut self.summary.region, geography);
        }
        let raw_text = raw.as_ref().and_then(text_output).unwrap_or(0);
        // An error explains by itself why a complete response has no usage.
        let gap =
            report.is_none().then(|| gap(&self)).filter(|gap| !(self.summary.is_error && *gap == Gap::Unreported));
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
        let mut report = report.unwrap_or_default();
        if !report.usage.is_empty() {
            if self.images > 0 && !self.has_text {
                image_output(&mut report.usage, raw_text, self.family);
            } else if self.images > 0 && !mixed_output(&mut report.usage, self.images, found.model.as_deref()) {
                report.notes |= CostNotes::UNSPLIT_OUTPUT;
            }
            let has_parts = !report.parts.is_empty();
            self.tools.add_to(&mut report.usage, self.family, self.dialect, found.model.as_deref(), has_parts);
        }
        (found.usage, found.cost, found.parts, found.notes) = (report.usage, report.cost, report.parts, report.notes);
        found
    }
}

/// Sets a text once: the first value that is neither null nor empty stays, because the start of a stream names the model. Azure's
/// streams begin with a part that has an empty name.
fn keep(slot: &mut Option<String>, value: Json<'_>) {
    if slot.is_none() {
        *slot = value.text().filter(|text| !text.is_empty()).map(Cow::into_owned);
    }
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

/// The tier that served a call according to Google: by its own name, or as a traffic type.
fn tier_of_google(usage: &Value) -> Option<String> {
    let of = |names: &[&str]| names.iter().find_map(|name| usage.get(name)).and_then(Value::as_str);
    let compatible = usage.get("extra_properties").and_then(|own| own.get("google")?.get("traffic_type")?.as_str());
    let named = of(&["serviceTier"]).map(|tier| tier.to_ascii_lowercase().replace("service_tier_", ""));
    let traffic = of(&["trafficType", "traffic_type"]).or(compatible).map(str::to_ascii_lowercase);
    let tier = named.or_else(|| {
        traffic.map(|traffic| match traffic.strip_prefix("on_demand") {
            Some("") => "standard".to_owned(),
            Some(rest) => rest.trim_start_matches('_').to_owned(),
            None => traffic,
        })
    });
    tier.filter(|tier| !tier.is_empty() && !tier.ends_with("unspecified"))
}

/// Embeddings have only input, so a total alone is the input. Voyage reports no more.
fn total_of_vectors(usage: &mut Value) {
    let is_given = |name: &str| usage.get(name).is_some_and(|value| !value.is_null());
    if !is_given("prompt_tokens") && !is_given("input_tokens") && is_given("total_tokens") {
        usage["prompt_tokens"] = usage["total_tokens"].clone();
    }
}

/// How much of the output is text, if the report says so.
fn text_output(report: &Value) -> Option<u64> {
    report.pointer("/output_tokens_details/text_tokens")?.as_u64()
}

/// Sets a text: the last value that is not null stays.
fn replace(slot: &mut Option<String>, value: Option<&Value>) {
    if let Some(text) = value.and_then(Value::as_str) {
        *slot = Some(text.to_owned());
    }
}

/// Merges a report into an earlier one. Reports are running totals, so fields are replaced, never added. Null values are ignored.
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

/// The number of values and names in a value.
fn nodes(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(nodes).sum::<usize>(),
        Value::Object(fields) => 1 + fields.values().map(|value| 1 + nodes(value)).sum::<usize>(),
        _ => 1,
    }
}
